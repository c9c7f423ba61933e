"""Rate ratios of knockout to control for single stages, with covariates if given; each is compared as in `effects`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.audit.results import LEAST_FOLLICLES
from follicle_stager.errors import UserError
from follicle_stager.stages import RUNGS
from follicle_stager.statistics import linear
from follicle_stager.statistics.arrest import columns_of
from follicle_stager.statistics.effects import Counted, Effect, Layout, holm, rate_ratio
from follicle_stager.statistics.matrix import indicators
from follicle_stager.statistics.stage_errors import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix

#: Columns of a sample sheet that may be covariates.
COVARIATES = ("age_days", "body_weight_g", "estrous_stage", "stimulation", "litter", "batch")


def per_stage(
    matrix: CountMatrix, *, covariates: pd.DataFrame | None = None, imputed: NDArray[np.float64] | None = None
) -> pd.DataFrame:
    """Compute rate ratios of the rungs, followed by those of ``unsure`` and ``atretic`` follicles.

    Parameters
    ----------
    matrix
        Counts of one comparison.
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
    layout = _layout(matrix, covariates)
    rows = []
    for i, name in enumerate(RUNGS):
        sampling = None if matrix.sampling is None else matrix.sampling[:, i]
        row, effect = _row(matrix, name, Counted(matrix.counts[:, i], matrix.exposure[:, i]), layout, sampling)
        if matrix.seen_in_audit is not None:
            fewest = min(matrix.seen_in_audit[own, i].sum() for own in (matrix.knockout, ~matrix.knockout))
            few = f"; too few: {fewest:.0f} seen in a group"
            row["method"] += few if fewest < LEAST_FOLLICLES else ""
        if imputed is not None and effect is not None:
            drawn = rate_ratio(_of_units(matrix, Counted(imputed[..., i], matrix.exposure[:, i])), layout)
            row |= _columns_of(pooled(effect, drawn)) | {"method": f"{row['method']}, staging errors included"}
        rows.append(row)
    rows += [_row(matrix, name, Counted(*beside), layout)[0] for name, beside in matrix.beside.items()]
    table = pd.DataFrame(rows)
    p = np.where(table["stage"].isin(list(RUNGS)), table["p"].to_numpy(float), np.nan)
    table.insert(list(table.columns).index("p") + 1, "p_holm", holm(p))
    return table


def _of_units(matrix: CountMatrix, stage: Counted) -> Counted:
    return Counted(*(matrix.by_unit(values[..., None])[..., 0] for values in stage))


def _row(
    matrix: CountMatrix, name: str, stage: Counted, layout: Layout, sampling: NDArray[np.float64] | None = None
) -> tuple[dict[str, Any], Effect | None]:
    ko, counts = matrix.knockout, stage.counts
    row: dict[str, Any] = {"comparison": matrix.comparison, "stage": name}
    row |= {"n_control": counts[~ko].sum(), "n_knockout": counts[ko].sum()}
    nothing = dict.fromkeys(("ratio", "low", "high", "p", "se", "df"), np.nan)
    if not np.isfinite(counts).all():
        return row | nothing | {"method": "not counted"}, None
    if not matrix.enough or not counts.sum():
        return row | nothing | {"method": "not estimable"}, None
    own = _of_units(matrix, stage)
    if sampling is not None:
        variances = matrix.by_unit(sampling[:, None])
        (estimated,) = linear.estimated(own.counts[:, None], own.exposure[:, None], variances, layout)
        return row | _columns_of(linear.rate_ratio(estimated, layout)) | {"method": "audited, Fieller"}, None
    effect = rate_ratio(own, layout)
    return row | _columns_of(effect) | {"method": _method(layout, few=bool(effect.few))}, effect


def _method(layout: Layout, *, few: bool) -> str:
    if few:
        return "sums of the groups" + (", not adjusted" if layout.beside is not None else "")
    adjusted = "" if layout.beside is None else ", adjusted"
    return ("paired t, litters" if layout.pairs is not None else "Welch, animals") + adjusted


def _columns_of(effect: Effect) -> dict[str, float]:
    columns = columns_of(effect) | {"p": effect.p_two_sided}
    return {name: float(columns[name]) for name in ("ratio", "low", "high", "p", "se", "df")}


def _layout(matrix: CountMatrix, covariates: pd.DataFrame | None) -> Layout:
    """The layout of the comparison, with the covariates held constant too."""
    plain = matrix.layout
    columns = [
        column
        for name, values in (covariates.items() if covariates is not None else ())
        for column in _columns(str(name), values, matrix.animals)
    ]
    if not columns:
        return plain
    own = matrix.by_unit(np.column_stack(columns)) / matrix.by_unit(np.ones((len(matrix.animals), 1)))
    beside = own if plain.beside is None else np.column_stack([plain.beside, own])
    design = np.column_stack([*plain.groups, beside])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise UserError("A covariate says the same as the group or as another covariate; leave it out.")
    layout = replace(plain, beside=beside)
    if min(layout.free) < 1:
        raise UserError(f"{len(matrix.animals)} animals are too few for these covariates; leave some out.")
    return layout


def _columns(name: str, values: pd.Series[Any], animals: Sequence[str]) -> list[NDArray[np.float64]]:
    missing = [a for a, v in zip(animals, values, strict=True) if pd.isna(v) or v == ""]
    if missing:
        raise UserError(f"samples.csv, column {name}: it is empty for animals {', '.join(missing)}; fill it in.")
    if values.nunique() == 1:
        raise UserError(f"samples.csv, column {name}: it is the same for all animals; leave it out.")
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float)
        return [(numbers - numbers.mean()) / (numbers.std() or 1.0)]
    return list(indicators(values.to_numpy(str)).T)
