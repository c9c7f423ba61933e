"""Rate ratios of knockout to control for single stages, by a negative-binomial model and a permutation test.

The model is that of ``glm.nb`` in R's MASS: log link, offset log(exposure), variance mu + mu^2/theta. With few animals,
maximum likelihood underestimates their variance. As for a normal variance, the factor n/(n - p) corrects this, for n
animals and p coefficients (docs/statistics.md shows intervals with and without it). If a group has no follicles of a
stage, or the model does not converge, the zero-safe quasi-Poisson ratio of `effects` is used, and the table says so.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import UserError
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.effects import Effect, holm, permutation_p, rate_ratio
from follicle_stager.statistics.stage_errors import with_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix
    from follicle_stager.statistics.stage_errors import StageErrors

_MODEL, _ZERO_SAFE, _WITHOUT_COVARIATES = "negative binomial", "quasi-Poisson, 0.5 added", ", without covariates"
#: Columns of a sample sheet that may be covariates.
COVARIATES = ("age_days", "body_weight_g", "estrous_stage", "stimulation", "litter", "batch")


def per_stage(
    matrix: CountMatrix,
    *,
    covariates: pd.DataFrame | None = None,
    errors: StageErrors | None = None,
    permute: bool = True,
) -> pd.DataFrame:
    """Compute rate ratios of the rungs, followed by those of ``unsure`` and ``atretic`` follicles.

    Parameters
    ----------
    matrix
        Counts of one mouse model.
    covariates
        Table with one row per animal, in the order of ``matrix``; numbers are used as they are, text as categories.
        None by default, because weight and estrous stage may be affected by the genotype.
    errors
        Staging errors of the follicles that were not judged; they are carried into the rungs.
    permute
        Whether permutation tests are done.

    Returns
    -------
    DataFrame
        ``stage``, sums of counts, ``rate_ratio`` with its 95 % interval, ``p`` (two-sided), ``p_holm`` (over the
        rungs), ``permutation_p``, ``method``, ``se`` of the log ratio, and the ``variance_factor`` included in it.

    Raises
    ------
    UserError
        If there are too few animals for the covariates, or a covariate is missing, constant or redundant.
    """
    design = _design(matrix, covariates)

    def fit(drawn: CountMatrix, i: int) -> Effect:
        return _fitted(drawn.counts[:, i], drawn.exposure[:, i], drawn.knockout, design)[0]

    rows = []
    for i, name in enumerate(RUNGS):
        row = _row(matrix, name, matrix.counts[:, i], matrix.exposure[:, i], design, permute)
        if errors is not None and math.isfinite(row["rate_ratio"]):
            effect = with_errors(matrix, errors, partial(fit, i=i))
            if effect is not None:
                pooled = {"variance_factor": math.nan, "method": f"{row['method']}, errors of stage carried"}
                row |= _columns_of(effect) | pooled
        rows.append(row)
    beside = [_row(matrix, name, y, exposure, design, permute) for name, (y, exposure) in matrix.beside.items()]
    table = pd.DataFrame([*rows, *beside])
    p = np.where(table["stage"].isin(list(RUNGS)), table["p"].to_numpy(float), np.nan)
    table.insert(list(table.columns).index("p") + 1, "p_holm", holm(p))
    return table


def _row(
    matrix: CountMatrix,
    name: str,
    y: NDArray[np.float64],
    exposure: NDArray[np.float64],
    design: NDArray[np.float64],
    permute: bool,
) -> dict[str, Any]:
    ko = matrix.knockout
    row: dict[str, Any] = {"model": matrix.model, "stage": name}
    nothing = dict.fromkeys(("rate_ratio", "low", "high", "p", "se", "variance_factor", "permutation_p"), math.nan)
    if not np.isfinite(y).all():
        return row | {"n_control": math.nan, "n_knockout": math.nan} | nothing | {"method": "NA"}
    row |= {"n_control": int(y[~ko].sum()), "n_knockout": int(y[ko].sum())}
    if min(ko.sum(), (~ko).sum()) < 2 or not y.sum():
        return row | nothing | {"method": "not estimable"}

    def statistic(knockout: NDArray[np.bool_]) -> float:
        return rate_ratio(y, exposure, knockout).log_ratio

    effect, method = _fitted(y, exposure, ko, design)
    permuted = permutation_p(statistic, ko)[0] if permute else math.nan
    return row | _columns_of(effect) | {"permutation_p": permuted, "method": method}


def _columns_of(effect: Effect) -> dict[str, float]:
    low, high = effect.interval()
    ratios = {"rate_ratio": effect.log_ratio, "low": low, "high": high}
    columns = {name: float(np.exp(value)) for name, value in ratios.items()} | {"p": effect.p_two_sided}
    return columns | {"se": effect.se, "variance_factor": effect.dispersion}


def _fitted(
    y: NDArray[np.float64], exposure: NDArray[np.float64], knockout: NDArray[np.bool_], design: NDArray[np.float64]
) -> tuple[Effect, str]:
    """Rate ratio, and the method that was used."""
    fitted = _negative_binomial(y, design, exposure) if min(y[knockout].sum(), y[~knockout].sum()) else None
    if fitted is not None:
        return fitted, _MODEL
    without = _WITHOUT_COVARIATES if design.shape[1] > 2 else ""
    return rate_ratio(y, exposure, knockout), _ZERO_SAFE + without


def _negative_binomial(
    y: NDArray[np.float64], design: NDArray[np.float64], exposure: NDArray[np.float64]
) -> Effect | None:
    """Effect by the model, with Student's t instead of the normal distribution, for few animals; None if it fails."""
    import statsmodels.api as sm
    from statsmodels.discrete.discrete_model import NegativeBinomial

    offset = np.log(exposure / exposure.mean())
    df = len(y) - design.shape[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            poisson = sm.GLM(y, design, family=sm.families.Poisson(), offset=offset).fit()
            result, k, factor = poisson, 1, 1.0
            if poisson.pearson_chi2 > df:  # otherwise there is no overdispersion, and theta is infinite
                negative = NegativeBinomial(y, design, offset=offset).fit(
                    start_params=[*poisson.params, 0.1], disp=0, maxiter=200
                )
                found = (
                    negative.mle_retvals["converged"] and negative.params[-1] > 0 and np.isfinite(negative.bse).all()
                )
                result, factor = negative if found else _by_profile(y, design, offset), len(y) / df
    except (np.linalg.LinAlgError, ValueError, FloatingPointError):
        return None
    value, se = float(result.params[k]), float(result.bse[k])
    if not (np.isfinite(value) and 0 < se < 10):
        return None
    return Effect(value, se * math.sqrt(factor), df, dispersion=factor, added=False)


def _by_profile(y: NDArray[np.float64], design: NDArray[np.float64], offset: NDArray[np.float64]) -> Any:
    """Fit the same model with its dispersion found by profile likelihood, which is slower but more robust."""
    import statsmodels.api as sm
    from scipy.optimize import minimize_scalar

    def model(log_alpha: float) -> Any:
        family = sm.families.NegativeBinomial(alpha=math.exp(log_alpha))
        return sm.GLM(y, design, family=family, offset=offset).fit()

    return model(float(minimize_scalar(lambda a: -model(a).llf, bounds=(-14.0, 4.0), method="bounded").x))


def _design(matrix: CountMatrix, covariates: pd.DataFrame | None) -> NDArray[np.float64]:
    columns = [np.ones(len(matrix.animals)), matrix.knockout.astype(float)]
    for name, values in covariates.items() if covariates is not None else ():
        columns += _columns(str(name), values, matrix.animals)
    design = np.column_stack(columns)
    if design.shape[1] > 2 and len(design) - design.shape[1] < 2:
        raise UserError(f"{len(design)} animals are too few for these covariates; leave some out.")
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise UserError("A covariate says the same as the group or as another covariate; leave it out.")
    return design


def _columns(name: str, values: pd.Series[Any], animals: Sequence[str]) -> list[NDArray[np.float64]]:
    missing = [a for a, v in zip(animals, values, strict=True) if pd.isna(v) or v == ""]
    if missing:
        raise UserError(f"samples.csv, column {name}: it is empty for animals {', '.join(missing)}; fill it in.")
    if values.nunique() == 1:
        raise UserError(f"samples.csv, column {name}: it is the same for all animals; leave it out.")
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float)
        return [(numbers - numbers.mean()) / (numbers.std() or 1.0)]
    return [(values == level).to_numpy(float) for level in sorted(set(values))[1:]]
