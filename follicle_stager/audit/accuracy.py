"""How good the software is in the audited fields: shares expanded to the tissue, with intervals over animals.

The intervals are those of a jackknife: one animal is left out at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import betaincinv, stdtrit

from follicle_stager.stages import OUTLINED

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Stage of the missing partner of a claim or a finding.
NONE = "none"


def accuracy_of(pairs: pd.DataFrame, animals: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, share of right stages and count error of each stage, with intervals over animals.

    Parameters
    ----------
    pairs
        Claims and findings, matched: animal, ``weight``, ``claimed`` and ``true`` stage (`NONE` without a partner).
    animals
        Animals of the audit, one row each.

    Returns
    -------
    DataFrame
        ``stage``, ``measure``, ``group`` (``all``, or *knockout minus control* and so on), ``value``, ``low``,
        ``high``, and the number of audited follicles or claims, ``n``.
    """
    rows: list[dict[str, object]] = []
    groups = [g for g in animals["group"].unique() if g != "control"]
    for stage in ["all stages", *(s.value for s in OUTLINED)]:
        for measure, ratio in _MEASURES.items():
            parts = ratio(pairs, stage)
            by_animal = _by_animal(pairs, parts, animals)
            row = {"stage": stage, "measure": measure}
            n = int(parts[1].gt(0).sum())
            share = measure != "count error"
            rows.append(row | {"group": "all", "n": n} | _ratio(by_animal, n, share=share))
            for group in groups if "control" in set(animals["group"]) else []:
                own = (animals["group"] == group).to_numpy()
                reference = (animals["group"] == "control").to_numpy()
                difference = _difference(by_animal[own], by_animal[reference])
                n = int(parts[1].gt(0)[pairs["group"].isin([group, "control"])].sum())
                rows.append(row | {"group": f"{group} minus control", "n": n} | difference)
    return pd.DataFrame(rows)


def _is(names: pd.Series[str], stage: str) -> pd.Series[bool]:
    return names.ne(NONE) if stage == "all stages" else names.eq(stage)


def _precision(pairs: pd.DataFrame, stage: str) -> tuple[pd.Series[float], pd.Series[float]]:
    claimed = _is(pairs["claimed"], stage)
    return pairs["weight"] * (claimed & pairs["true"].ne(NONE)), pairs["weight"] * claimed


def _recall(pairs: pd.DataFrame, stage: str) -> tuple[pd.Series[float], pd.Series[float]]:
    true = _is(pairs["true"], stage)
    return pairs["weight"] * (true & pairs["claimed"].ne(NONE)), pairs["weight"] * true


def _right_stage(pairs: pd.DataFrame, stage: str) -> tuple[pd.Series[float], pd.Series[float]]:
    both = _is(pairs["true"], stage) & pairs["claimed"].ne(NONE)
    return pairs["weight"] * (both & pairs["true"].eq(pairs["claimed"])), pairs["weight"] * both


def _count_error(pairs: pd.DataFrame, stage: str) -> tuple[pd.Series[float], pd.Series[float]]:
    true = pairs["weight"] * _is(pairs["true"], stage)
    return pairs["weight"] * _is(pairs["claimed"], stage) - true, true


#: Measures of accuracy: each gives a numerator and a denominator for every pair.
_MEASURES = {
    "precision": _precision,
    "recall": _recall,
    "right stage": _right_stage,
    "count error": _count_error,
}


def _by_animal(
    pairs: pd.DataFrame, parts: tuple[pd.Series[float], pd.Series[float]], animals: pd.DataFrame
) -> NDArray[np.float64]:
    """Sums of numerator and denominator, (animals, 2)."""
    sums = pairs[["model", "animal"]].assign(above=parts[0], below=parts[1]).groupby(["model", "animal"]).sum()
    index = pd.MultiIndex.from_frame(animals[["model", "animal"]])
    return sums.reindex(index, fill_value=0.0).to_numpy(np.float64)


def _jackknife(sums: NDArray[np.float64]) -> tuple[float, float, int]:
    """A ratio of sums over animals, its standard error and degrees of freedom."""
    sums = sums[sums[:, 1] > 0]
    n = len(sums)
    if not n:
        return math.nan, math.nan, 0
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    if n < 2:
        return value, math.nan, 0
    above, below = (sums.sum(axis=0) - sums).T
    without = above / below
    return value, float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())), n - 1


def _ratio(sums: NDArray[np.float64], n: int, *, share: bool) -> dict[str, float]:
    """A ratio with its interval; that of a share is Korn and Graubard's (1998): Clopper and Pearson with fewer cases.

    Source: Korn and Graubard 1998, *Survey Methodology* 24, 193.
    """
    value, se, df = _jackknife(sums)
    if share and df:
        effective = n if se == 0 else min(value * (1 - value) / se**2, n)
        effective *= float(stdtrit(max(n - 1, 1), 0.975) / stdtrit(df, 0.975)) ** 2
        hits = value * effective
        low = betaincinv(hits, effective - hits + 1, 0.025) if hits > 0 else 0.0
        high = betaincinv(hits + 1, effective - hits, 0.975) if effective - hits > 1e-9 else 1.0
        return {"value": value, "low": float(low), "high": float(high)}
    reach = float(stdtrit(df, 0.975)) * se if df and se else math.nan  # animals that all agree give no interval
    return {"value": value, "low": value - reach, "high": value + reach}


def _difference(own: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float]:
    """Difference of two ratios, with Welch's degrees of freedom."""
    (a, se_a, df_a), (b, se_b, df_b) = _jackknife(own), _jackknife(reference)
    value, variance = a - b, se_a**2 + se_b**2
    if not (df_a and df_b) or not variance > 0:
        return {"value": value, "low": math.nan, "high": math.nan}
    df = variance**2 / (se_a**4 / df_a + se_b**4 / df_b)
    reach = float(stdtrit(df, 0.975)) * math.sqrt(variance)
    return {"value": value, "low": value - reach, "high": value + reach}
