"""Agreement of two annotators: chance-corrected on follicles that both marked, and what only one of them marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.matching import match_points
from follicle_stager.stages import LADDER, read_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.annotations import Annotation


@dataclass(frozen=True)
class Agreement:
    """Agreement of two annotators of one slide.

    Attributes
    ----------
    n_a, n_b, n_matched
        Numbers of marks of each annotator, and of pairs.
    detection_f1
        F1 of detection: 2 · pairs / (marks of A + marks of B).
    same_class
        Share of the pairs with equal class names.
    kappa
        Cohen's kappa over all class names in the pairs.
    weighted_kappa
        Kappa with quadratic weights along the ladder of stages, over the pairs with both names on it.
    n_on_ladder
        Number of these pairs.
    confusion
        Table of class names of A (rows) by those of B (columns), with ``(only A)`` and ``(only B)``.
    """

    n_a: int
    n_b: int
    n_matched: int
    detection_f1: float
    same_class: float
    kappa: float
    weighted_kappa: float
    n_on_ladder: int
    confusion: pd.DataFrame


def agreement(a: Sequence[Annotation], b: Sequence[Annotation], *, distance_um: float = 40.0) -> Agreement:
    """Compare two annotators.

    Parameters
    ----------
    a, b
        Marks of each annotator on the same slide.
    distance_um
        Largest distance of two marks of the same follicle, µm.

    Returns
    -------
    Agreement
        Agreement; shares and kappas are NaN if there is nothing to compare.
    """
    pairs = match_points([(m.x_um, m.y_um) for m in a], [(m.x_um, m.y_um) for m in b], max_distance=distance_um)
    names_a, names_b = [a[p.found].label for p in pairs], [b[p.true].label for p in pairs]
    steps = [(s, t) for s, t in zip(map(_step, names_a), map(_step, names_b), strict=True) if s >= 0 and t >= 0]
    alone_a, alone_b = (
        {*range(len(m))} - taken for m, taken in ((a, {p.found for p in pairs}), (b, {p.true for p in pairs}))
    )
    rows = [*zip(names_a, names_b, strict=True)]
    rows += [(a[i].label, "(only A)") for i in sorted(alone_a)] + [("(only B)", b[i].label) for i in sorted(alone_b)]
    table = pd.DataFrame(rows, columns=["A", "B"])
    return Agreement(
        n_a=len(a),
        n_b=len(b),
        n_matched=len(pairs),
        detection_f1=2 * len(pairs) / (len(a) + len(b)) if len(a) + len(b) else float("nan"),
        same_class=float(np.mean([x == y for x, y in zip(names_a, names_b, strict=True)])) if pairs else float("nan"),
        kappa=cohen_kappa(names_a, names_b),
        weighted_kappa=weighted_kappa([s for s, _ in steps], [t for _, t in steps], len(LADDER)),
        n_on_ladder=len(steps),
        confusion=pd.crosstab(table["A"], table["B"]) if rows else pd.DataFrame(),
    )


def _step(name: str) -> int:
    """Place of a stage name on the ladder; -1 for other names."""
    stage, _ = read_class(name)
    return LADDER.index(stage) if stage in LADDER else -1


def cohen_kappa(a: Sequence[str], b: Sequence[str]) -> float:
    """Cohen's kappa (1960): agreement beyond chance, given the frequencies of the names.

    It is NaN without pairs, or if both annotators always use the same single name.
    """
    codes = {name: i for i, name in enumerate(sorted({*a, *b}))}
    return kappa_of(_crossed([codes[x] for x in a], [codes[y] for y in b], len(codes)))


def weighted_kappa(a: Sequence[int], b: Sequence[int], steps: int) -> float:
    """Cohen's kappa (1968) with quadratic weights: the weight of a disagreement is the square of its steps."""
    return kappa_of(_crossed(a, b, steps), quadratic=True)


def kappa_of(crossed: NDArray[np.float64], *, quadratic: bool = False) -> float:
    """Kappa of a square table of counts, unweighted or with quadratic weights; NaN if it is not defined."""
    from statsmodels.stats.inter_rater import cohens_kappa

    if not crossed.sum():
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(cohens_kappa(crossed, wt="quadratic" if quadratic else None, return_results=False))


def _crossed(a: Sequence[int], b: Sequence[int], size: int) -> NDArray[np.float64]:
    table = np.zeros((size, size))
    np.add.at(table, (np.asarray(a, np.intp), np.asarray(b, np.intp)), 1)
    return table
