"""Rate ratios of knockout to control for single stages, with covariates if given.

Without covariates, each stage is compared as in `effects`. With covariates, the animals' log rates are fitted by least
squares, with standard errors that allow unequal variances (HC3; MacKinnon and White 1985,
doi:10.1016/0304-4076(85)90158-7).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import UserError
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import columns_of
from follicle_stager.statistics.effects import HALF, Counted, Effect, holm, log_rates, rate_ratio, two_groups
from follicle_stager.statistics.stage_errors import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix

_BY_ANIMALS, _BY_SUMS, _LEAST_SQUARES = "Welch, animals", "sums of the groups", "least squares with covariates"
#: Columns of a sample sheet that may be covariates.
COVARIATES = ("age_days", "body_weight_g", "estrous_stage", "stimulation", "litter", "batch")


def per_stage(
    matrix: CountMatrix, *, covariates: pd.DataFrame | None = None, imputed: NDArray[np.float64] | None = None
) -> pd.DataFrame:
    """Compute rate ratios of the rungs, followed by those of ``unsure`` and ``atretic`` follicles.

    Parameters
    ----------
    matrix
        Counts of one mouse model.
    covariates
        Table with one row per animal, in the order of ``matrix``; numbers are used as they are, text as categories.
        None by default, because weight and estrous stage may be affected by the genotype.
    imputed
        Counts with the staging errors of follicles that were not judged, `StageErrors.imputed`; the errors are carried
        into the rungs.

    Returns
    -------
    DataFrame
        ``stage``, sums of counts, ``ratio`` with its 95 % interval, ``p`` (two-sided), ``p_holm`` (over the rungs),
        ``se`` and ``df`` of the log ratio, and ``method``.

    Raises
    ------
    UserError
        If there are too few animals for the covariates, or a covariate is missing, constant or redundant.
    """
    fit = partial(_fitted, knockout=matrix.knockout, design=_design(matrix, covariates))
    rows = []
    for i, name in enumerate(RUNGS):
        row, effect = _row(matrix, name, Counted(matrix.counts[:, i], matrix.exposure[:, i]), fit)
        if imputed is not None and effect is not None:
            drawn = fit(Counted(imputed[..., i], matrix.exposure[:, i]), few=bool(effect.few))[0]
            row |= _columns_of(pooled(effect, drawn)) | {"method": f"{row['method']}, errors of stage carried"}
        rows.append(row)
    rows += [_row(matrix, name, Counted(*beside), fit)[0] for name, beside in matrix.beside.items()]
    table = pd.DataFrame(rows)
    p = np.where(table["stage"].isin(list(RUNGS)), table["p"].to_numpy(float), np.nan)
    table.insert(list(table.columns).index("p") + 1, "p_holm", holm(p))
    return table


def _row(matrix: CountMatrix, name: str, stage: Counted, fit: Any) -> tuple[dict[str, Any], Effect | None]:
    ko, counts = matrix.knockout, stage.counts
    row: dict[str, Any] = {"model": matrix.model, "stage": name}
    row |= {"n_control": counts[~ko].sum(), "n_knockout": counts[ko].sum()}
    nothing = dict.fromkeys(("ratio", "low", "high", "p", "se", "df"), np.nan)
    if not np.isfinite(counts).all():
        return row | nothing | {"method": "NA"}, None
    if not matrix.enough or not counts.sum():
        return row | nothing | {"method": "not estimable"}, None
    effect, method = fit(stage)
    return row | _columns_of(effect) | {"method": method}, effect


def _columns_of(effect: Effect) -> dict[str, float]:
    columns = columns_of(effect) | {"p": effect.p_two_sided}
    return {name: float(columns[name]) for name in ("ratio", "low", "high", "p", "se", "df")}


def _fitted(
    stage: Counted, *, knockout: NDArray[np.bool_], design: NDArray[np.float64], few: bool | None = None
) -> tuple[Effect, str]:
    """Effects, and the method that was used; ``few`` as for the counts of which these are draws."""
    plain = rate_ratio(stage, two_groups(knockout))
    few = bool(plain.few) if few is None else few
    if design.shape[1] == 2:
        return plain, _BY_SUMS if few else _BY_ANIMALS
    if few:
        return plain, f"{_BY_SUMS}, without covariates"
    return _least_squares(stage, design), _LEAST_SQUARES


def _least_squares(stage: Counted, design: NDArray[np.float64]) -> Effect:
    """Coefficient of the group (the second column), with a variance of at least that of random counts."""
    values = log_rates(stage)
    inverse = np.linalg.inv(design.T @ design)
    weights = design @ inverse[:, 1]
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    residuals = values - values @ (design @ inverse @ design.T)
    alone = leverage > 1 - 1e-9  # an animal with a level of its own: its residual is 0, whatever it is
    spread = np.where(alone, 0.0, residuals / np.where(alone, 1.0, 1 - leverage))
    df = np.full(values.shape[:-1], float(len(design) - design.shape[1]))
    variance = np.maximum((weights**2 * spread**2).sum(axis=-1), (weights**2 / (stage.counts + HALF)).sum(axis=-1))
    return Effect(values @ weights, np.sqrt(variance), df, np.zeros(df.shape, bool))


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
