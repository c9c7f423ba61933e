"""How wide the intervals of an audited comparison will be, before its result may be seen.

The expectation uses no difference between the groups: numbers are means over all animals, and the ratio is taken to be
1. Before the first field is audited, the errors of the claims are a guess; then they are learned from the fields.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from follicle_stager.audit.sampling import fields_to_draw, guessed_variance
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.simulate import SPREADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.audit.estimates import AuditedAnimal
    from follicle_stager.audit.results import AuditResult
    from follicle_stager.statistics.matrix import CountKind

    Values = NDArray[np.float64]

#: Shares of the fields for which `expected_intervals` is usually asked.
SHARES = (0.05, 0.1, 0.2)
# Weight of the guess against what was learned, in expected squared differences.
_PRIOR = 3.0


def expected_intervals(
    audit: AuditResult,
    *,
    contrast: int,
    shares: tuple[float, ...] = SHARES,
    kind: CountKind = "countable",
) -> pd.DataFrame:
    """Expected 95 % interval of a ratio that is truly 1, for each share of fields and stage.

    Parameters
    ----------
    audit
        Plan, and the fields that are audited already.
    contrast
        Rung of the question; the last row of a share is of all later rungs together.
    shares
        Shares of the fields of each animal.
    kind
        Kind of counts.

    Returns
    -------
    DataFrame
        ``share``, ``fields`` (of all animals), ``stage``, ``low`` and ``high``; infinite where the audit will be too
        small for an upper limit, NaN where nothing is claimed.
    """
    names = [*RUNGS, f"later than {list(RUNGS)[contrast]}"]
    groups = [*RUNGS.values(), [s for stages in list(RUNGS.values())[contrast + 1 :] for s in stages]]
    animals = audit.fields_of(audit.columns(kind, groups), least=0)
    factor = _learned(animals)
    sizes = audit.animals.groupby(["model", "group"], sort=False).size()
    pairs = [np.sort(own.to_numpy()) for _, own in sizes.groupby(level="model", sort=False) if len(own) > 1]
    n = min(pairs, key=lambda own: own.min()) if pairs else np.array([len(animals)] * 2)
    spread = SPREADS["real"]
    of_rungs = [*spread.stages, float(np.mean(spread.stages[contrast + 1 :]))]
    rows = []
    for share in shares:
        planned = [_planned(animal, share, factor) for animal in animals]
        fields = sum(number for number, _ in planned)
        sampling = np.mean([variance for _, variance in planned], axis=0)
        means = np.mean([animal.claims.sum(axis=0) for animal in animals], axis=0)
        for place, name in enumerate(names):
            between = spread.animal**2 + of_rungs[place] ** 2
            low, high = _interval(float(means[place]), float(sampling[place]), between, n[:2])
            rows.append({"share": share, "fields": fields, "stage": name, "low": low, "high": high})
    return pd.DataFrame(rows)


def _planned(animal: AuditedAnimal, share: float, factor: Values) -> tuple[int, Values]:
    """Number of fields of an animal, and the variance of the sampling errors of its totals."""
    variance = guessed_variance(animal.claims) * factor
    number = fields_to_draw(animal.strata, animal.claims, share)
    sizes = np.bincount(animal.strata)
    mean = np.stack([np.bincount(animal.strata, own) / sizes for own in variance.T], axis=-1)
    return int(number.sum()), ((sizes**2 * (1 / number - 1 / sizes))[:, None] * mean).sum(axis=0)


def _learned(animals: list[AuditedAnimal]) -> Values:
    """How many times as large the squared differences of the audited fields are as the guess, (columns,)."""
    squared = sum(((a.found - a.claims[a.audited]) ** 2).sum(axis=0) for a in animals)
    guessed = sum(guessed_variance(a.claims)[a.audited].sum(axis=0) for a in animals)
    return np.asarray((squared + _PRIOR) / (guessed + _PRIOR))


def _interval(mean: float, sampling: float, between: float, n: NDArray[Any]) -> tuple[float, float]:
    """Fieller's interval of a ratio of 1."""
    if mean <= 0 or n.min() < 2:
        return math.nan, math.nan
    variance = between + (sampling + mean) / mean**2
    g_knockout, g_control = (stdtrit(n.sum() - 2, 0.975) ** 2 * variance / n).tolist()
    if g_control >= 1:
        return max(0.0, 1 - math.sqrt(g_knockout + g_control)), math.inf
    root = math.sqrt(g_knockout + g_control - g_knockout * g_control)
    return max(0.0, (1 - root) / (1 - g_control)), (1 + root) / (1 - g_control)
