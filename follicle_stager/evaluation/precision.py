"""Average precision as COCO defines it: 101 points of the interpolated precision-recall curve.

A true object that nobody could recognise is *ignored*: who finds it gains nothing and loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: What became of a claim.
MISSED, HIT, IGNORED = 0, 1, 2


def judge(
    overlap: NDArray[np.float64], scores: NDArray[np.float64], ignored: NDArray[np.bool_], *, min_iou: float
) -> NDArray[np.int64]:
    """Say of each claim whether it hits: the best score chooses first, and takes the best overlap that is free.

    Parameters
    ----------
    overlap
        (claims, true objects) IoU on one slide.
    scores
        (claims,).
    ignored
        (true objects,) those that do not count.
    min_iou
        Least overlap of a hit.

    Returns
    -------
    (claims,) `MISSED`, `HIT` or `IGNORED`.
    """
    out = np.full(len(scores), MISSED)
    free = np.ones(overlap.shape[1], bool)
    for claim in np.argsort(-scores, kind="stable"):
        for among, verdict in ((~ignored, HIT), (ignored, IGNORED)):
            possible = np.flatnonzero(free & among & (overlap[claim] >= min_iou))
            if len(possible):
                free[possible[overlap[claim, possible].argmax()]] = False
                out[claim] = verdict
                break
    return out


def average_precision(scores: Sequence[float] | NDArray[np.float64], verdicts: NDArray[np.int64], n_true: int) -> float:
    """Mean precision over 101 levels of recall, all slides together.

    Parameters
    ----------
    scores, verdicts
        Of all claims, see `judge`.
    n_true
        True objects that count.

    Returns
    -------
    float
        NaN if there are none.
    """
    if n_true == 0:
        return float("nan")
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    judged = np.asarray(verdicts)[order]
    judged = judged[judged != IGNORED]
    hits = np.cumsum(judged == HIT)
    recall, precision = hits / n_true, hits / np.arange(1, len(judged) + 1)
    # The best precision at this recall or any higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(best, 0.0)[np.minimum(at, len(best))].mean())
