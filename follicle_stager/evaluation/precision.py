"""Average precision as defined by COCO: mean of 101 points of the interpolated precision-recall curve.

Unrecognisable true objects are *ignored*: finding them changes neither precision nor recall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Outcomes of a claim.
MISSED, HIT, IGNORED = 0, 1, 2


def match_claims(
    overlap: NDArray[np.float64], scores: NDArray[np.float64], ignored: NDArray[np.bool_], *, min_iou: float
) -> NDArray[np.int64]:
    """Decide for each claim whether it is a hit; in order of score, each takes the free object with the best overlap.

    Parameters
    ----------
    overlap
        IoU on one slide, (claims, true objects).
    scores
        Scores of the claims, (claims,).
    ignored
        (true objects,) bool; True for objects that do not count.
    min_iou
        Smallest overlap of a hit.

    Returns
    -------
    ndarray of int, (claims,)
        `MISSED`, `HIT` or `IGNORED`.
    """
    out = np.full(len(scores), MISSED)
    free = np.ones(overlap.shape[1], bool)
    for claim in np.argsort(-scores, kind="stable"):
        for among, outcome in ((~ignored, HIT), (ignored, IGNORED)):
            possible = np.flatnonzero(free & among & (overlap[claim] >= min_iou))
            if len(possible):
                free[possible[overlap[claim, possible].argmax()]] = False
                out[claim] = outcome
                break
    return out


def average_precision(scores: Sequence[float] | NDArray[np.float64], outcomes: NDArray[np.int64], n_true: int) -> float:
    """Mean precision over 101 levels of recall, all slides together.

    Parameters
    ----------
    scores, outcomes
        Scores and outcomes of all claims, see `match_claims`.
    n_true
        Number of true objects that count.

    Returns
    -------
    float
        Average precision, 0-1; NaN if ``n_true`` is 0.
    """
    if n_true == 0:
        return float("nan")
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    judged = np.asarray(outcomes)[order]
    judged = judged[judged != IGNORED]
    hits = np.cumsum(judged == HIT)
    recall, precision = hits / n_true, hits / np.arange(1, len(judged) + 1)
    # Best precision at this or any higher recall.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(best, 0.0)[np.minimum(at, len(best))].mean())
