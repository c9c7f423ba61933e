"""Each stage on its own: rate ratio of knockout to control by a negative-binomial model; a permutation test beside it.

The model is that of ``glm.nb`` in R's MASS: log link, offset log(exposure), variance mu + mu^2/theta. Where a group has
no follicle of a stage, or the model has no answer, the zero-safe quasi-Poisson ratio of `effects` stands instead, and
the table says so.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import UserError
from follicle_stager.statistics.effects import holm, permutation_p, rate_ratio
from follicle_stager.statistics.matrix import RUNGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix

#: Columns of a sample sheet that may be covariates.
COVARIATES = ("age_days", "body_weight_g", "estrous_stage", "stimulation", "litter", "batch")


def per_stage(matrix: CountMatrix, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rate ratios of the rungs.

    Parameters
    ----------
    matrix
        Counts of one mouse model.
    covariates
        A row for each animal, in its order; numbers are taken as they are, text as categories. Off by default: weight
        and estrous stage may be what the genotype acts through.

    Returns
    -------
    DataFrame
        ``stage``, mean counts, ``rate_ratio`` with its 95 % interval, ``p`` (two-sided), ``p_holm``, ``permutation_p``,
        ``method``.

    Raises
    ------
    UserError
        If there are too few animals for the covariates, or one is missing.
    """
    design = _design(matrix, covariates)
    rows = [_row(matrix, i, name, design) for i, name in enumerate(RUNGS)]
    table = pd.DataFrame(rows)
    table.insert(list(table.columns).index("p") + 1, "p_holm", holm(table["p"].to_numpy(float)))
    return table


def _row(matrix: CountMatrix, i: int, name: str, design: NDArray[np.float64]) -> dict[str, object]:
    y, exposure, ko = matrix.counts[:, i], matrix.exposure[:, i], matrix.knockout
    row: dict[str, object] = {"model": matrix.model, "stage": name}
    results = ("rate_ratio", "low", "high", "p", "permutation_p")
    if not matrix.seen[i]:
        return (
            row | {"n_control": math.nan, "n_knockout": math.nan} | dict.fromkeys(results, math.nan) | {"method": "NA"}
        )
    row |= {"n_control": int(y[~ko].sum()), "n_knockout": int(y[ko].sum())}
    if min(ko.sum(), (~ko).sum()) < 2 or not y.sum():
        return row | dict.fromkeys(results, math.nan) | {"method": "not estimable"}

    def statistic(knockout: NDArray[np.bool_]) -> float:
        return rate_ratio(y, exposure, knockout).log_ratio

    fitted = _negative_binomial(y, design, exposure) if min(y[ko].sum(), y[~ko].sum()) else None
    if fitted is not None:
        value, low, high, p = fitted
        method = "negative binomial"
    else:
        effect = rate_ratio(y, exposure, ko)
        value, (low, high), p = effect.log_ratio, effect.interval(), effect.p_two_sided
        method = "quasi-Poisson, 0.5 added" + (", without covariates" if design.shape[1] > 2 else "")
    return row | {
        "rate_ratio": math.exp(value),
        "low": math.exp(low),
        "high": math.exp(high),
        "p": p,
        "permutation_p": permutation_p(statistic, ko)[0],
        "method": method,
    }


def _negative_binomial(
    y: NDArray[np.float64], design: NDArray[np.float64], exposure: NDArray[np.float64]
) -> tuple[float, float, float, float] | None:
    """Log rate ratio, its 95 % interval and p; None where the model has no answer."""
    import statsmodels.api as sm
    from scipy import stats
    from statsmodels.discrete.discrete_model import NegativeBinomial

    offset = np.log(exposure / exposure.mean())
    df = len(y) - design.shape[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            poisson = sm.GLM(y, design, family=sm.families.Poisson(), offset=offset).fit()
            result, k = poisson, 1
            if poisson.pearson_chi2 > df:  # else the animals differ less than by chance, and theta is infinite
                negative = NegativeBinomial(y, design, offset=offset).fit(
                    start_params=[*poisson.params, 0.1], disp=0, maxiter=200
                )
                if negative.mle_retvals["converged"] and np.isfinite(negative.bse).all() and negative.params[-1] > 0:
                    result = negative
    except (np.linalg.LinAlgError, ValueError, FloatingPointError):
        return None
    value, se = float(result.params[k]), float(result.bse[k])
    if not (np.isfinite(value) and 0 < se < 10):
        return None
    # Few animals: Student's t instead of the normal distribution.
    reach = float(stats.t.ppf(0.975, df)) * se
    return value, value - reach, value + reach, float(2 * stats.t.sf(abs(value) / se, df))


def _design(matrix: CountMatrix, covariates: pd.DataFrame | None) -> NDArray[np.float64]:
    columns = [np.ones(len(matrix.animals)), matrix.knockout.astype(float)]
    for name, values in covariates.items() if covariates is not None else ():
        columns += _columns(str(name), values, matrix.animals)
    design = np.column_stack(columns)
    if design.shape[1] > 2 and len(design) - design.shape[1] < 2:
        raise UserError(f"{len(design)} animals are too few for these covariates; leave some out.")
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise UserError("A covariate says the same as the group or as another one; leave it out.")
    return design


def _columns(name: str, values: pd.Series[Any], animals: Sequence[str]) -> list[NDArray[np.float64]]:
    missing = [a for a, v in zip(animals, values, strict=True) if pd.isna(v) or v == ""]
    if missing:
        raise UserError(f"samples.csv, column {name}: it is empty for animals {', '.join(missing)}; fill it in.")
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float)
        return [(numbers - numbers.mean()) / (numbers.std() or 1.0)]
    return [(values == level).to_numpy(float) for level in sorted(set(values))[1:]]
