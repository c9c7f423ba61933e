"""Designs: which animals are compared with which, and what is independent.

Each group is compared with the reference, within one treatment (or one value of another column): animals of several
treatments are never pooled. Several groups may share the reference. Litters are not ignored: littermates are one unit,
or they are compared with each other if litters have animals of both groups. Batches are held constant on request.
Designs that cannot answer the question are refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import UserError
from follicle_stager.statistics.matrix import CountMatrix, count_matrices, rows_of
from follicle_stager.study.samples import read_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.matrix import AllCounts, CountKind
    from follicle_stager.study import Counts

#: Columns of a sample sheet that describe the design.
FACTORS = ("stimulation", "litter", "batch", "age_days")
# Smallest number of complete litters, and smallest share of the animals in them, for pairs.
_LEAST_PAIRS, _LEAST_PAIRED = 3, 0.75
# Values of a treatment that mean none.
_NO_TREATMENT = ("", "none", "no", "untreated", "unstimulated", "vehicle", "saline", "pbs", "control", "sham")


def models_of(counts: Counts, kind: CountKind) -> list[tuple[AllCounts, pd.DataFrame]]:
    """The counts of each mouse model of a study, and its animals' columns of the sample sheet."""
    return [(whole, _of_animals(counts.samples, whole)) for whole in count_matrices(counts.animal, kind=kind)]


def comparisons(models: Sequence[tuple[AllCounts, pd.DataFrame]], config: ComparisonConfig) -> list[CountMatrix]:
    """Take the comparisons of all mouse models from their animals.

    Parameters
    ----------
    models
        Counts of all animals of each model, and columns of the sample sheet, one row per animal in the same order.
    config
        ``reference``, ``by``, ``litters`` and ``batches``.

    Returns
    -------
    list of CountMatrix
        Each group against the reference, within each value of ``by``.

    Raises
    ------
    UserError
        If the reference is not known, or a group or a treatment has nothing to be compared with.
    """
    return [matrix for whole, who in models for matrix in _of_model(whole, who, config, alone=len(models) == 1)]


def _of_model(whole: AllCounts, who: pd.DataFrame, config: ComparisonConfig, *, alone: bool) -> list[CountMatrix]:
    reference = _reference(whole, config)
    _check_dose(whole, config)
    _check_genotypes(whole)
    strata = _strata(whole, who, config, reference)
    others = [group for group in dict.fromkeys(whole.groups) if group != reference]
    out = []
    for value, members in strata.items():
        stratum = _named(value, config.by) if len(strata) > 1 else ""
        for group in others:
            own = [i for i in members if whole.groups[i] in (reference, group)]
            if all(whole.groups[i] == reference for i in own):
                continue
            matrix = _taken(whole, own, group)
            pair = f"{matrix.genotypes[1]} against {matrix.genotypes[0]}" if len(others) > 1 else ""
            title = ", ".join(part for part in ("" if alone else whole.model, pair, stratum) if part)
            matrix = replace(matrix, title=title, stratum=stratum, stratum_value=_number(value))
            out.append(_with_design(matrix, who.iloc[own], config, whole))
    return out


def _of_animals(samples: pd.DataFrame, whole: AllCounts) -> pd.DataFrame:
    """Columns of the sample sheet, one row per animal of a model; several values of an animal are joined by ``+``."""
    animals = pd.Index(whole.animals, name="animal")
    if samples.empty:
        return pd.DataFrame(index=animals)
    own = samples[samples["model"].fillna("") == whole.model]
    joined = own.drop(columns="animal").groupby(own["animal"].astype(str)).agg(_joined)
    return joined.reindex(animals)


def _joined(values: pd.Series[Any]) -> str:
    return "+".join(dict.fromkeys(map(_text, values)))


def _reference(whole: AllCounts, config: ComparisonConfig) -> str:
    """Group with which the others are compared."""
    groups = list(dict.fromkeys(whole.groups))
    reference = read_group(config.reference) or "control"
    if len(groups) == 1 or (reference not in groups and set(groups) <= {"control", "knockout"}):
        missing = reference if reference not in groups else "knockout" if reference == "control" else "other"
        raise UserError(
            f"{whole.source}, column group: {whole.name} has no {missing} animal, so there is nothing to compare; give "
            "each model its own controls (column model)."
        )
    if reference not in groups:
        raise UserError(
            f"{whole.source}, column group: the groups of {whole.name} are {', '.join(groups)}; name the one with "
            f"which the others are compared: reference, in {whole.settings}."
        )
    return reference


def _check_dose(whole: AllCounts, config: ComparisonConfig) -> None:
    groups = dict.fromkeys(whole.groups)
    unknown = [name for name in config.dose if read_group(name) not in groups]
    if unknown:
        raise UserError(
            f"{whole.source}, column group: {whole.name} has no group {unknown[0]}, which {whole.settings} names "
            f"(dose); the groups are {', '.join(groups)}."
        )


def _check_genotypes(whole: AllCounts) -> None:
    for group in dict.fromkeys(whole.groups):
        own = sorted({g for g, of in zip(whole.genotypes, whole.groups, strict=True) if of == group})
        if len(own) > 1:
            raise UserError(
                f"{whole.source}, column genotype: the {group} animals of {whole.name} have {len(own)} genotypes "
                f"({', '.join(own)}); write one, or give each a group of its own, and name the reference in "
                f"{whole.settings}."
            )


def _strata(whole: AllCounts, who: pd.DataFrame, config: ComparisonConfig, reference: str) -> dict[str, list[int]]:
    """Animals by their treatment as written; all of them under "" if they do not differ."""
    by, every = config.by, {"": list(range(len(whole.animals)))}
    if not by or (by not in who and by == type(config)().by):
        return every
    if by not in who:
        raise UserError(f"{whole.source}: there is no column {by}, which {whole.settings} names (by).")
    values = [_text(value) for value in who[by]]
    if len(set(values)) == 1:
        return every
    strata = {value: [i for i, own in enumerate(values) if own == value] for value in _ordered(set(values))}
    for value, members in strata.items():
        groups = {whole.groups[i] for i in members}
        if reference not in groups or len(groups) == 1:
            raise UserError(
                f"{whole.source}, column {by}: of {whole.name}, {_named(value, by)} has only animals of the group "
                f"{next(iter(groups - {reference}), reference)}, so its effect cannot be told from that of the group. "
                'Each value needs animals of both groups. To pool all animals nevertheless, write by = "" in '
                f"{whole.settings}."
            )
    return strata


def _text(value: Any) -> str:
    if value is None or pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _named(value: str, by: str) -> str:
    if not value:
        return f"no {by.replace('_', ' ')}"
    return value if _number(value) is None else f"{by.replace('_', ' ')} {value}"


def _number(text: str) -> float | None:
    """The number that a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def _ordered(values: set[str]) -> list[str]:
    """Ages in their order; of treatments, the one that means none first."""
    if all(_number(value) is not None for value in values):
        return sorted(values, key=float)
    return sorted(values, key=lambda value: (value.casefold() not in _NO_TREATMENT, value))


def _taken(whole: AllCounts, own: Sequence[int], group: str) -> CountMatrix:
    knockout = np.array([whole.groups[i] == group for i in own])
    genotypes = [next(whole.genotypes[i] for i, ko in zip(own, knockout, strict=True) if ko == side) for side in (0, 1)]
    return CountMatrix(
        model=whole.model,
        group=group,
        knockout=knockout,
        genotypes=(genotypes[0], genotypes[1]),
        exposure_note=whole.exposure_note,
        per=whole.per,
        **rows_of(whole, own),
    )


def _with_design(matrix: CountMatrix, who: pd.DataFrame, config: ComparisonConfig, whole: AllCounts) -> CountMatrix:
    """The same with its litters and batches, and notes on what is used."""
    notes, unused = list[str](), list[str]()
    columns = {factor: [_text(v) for v in who[factor]] for factor in FACTORS if factor in who}
    differing = {factor: own for factor, own in columns.items() if len(set(own)) > 1 and factor != config.by}
    litters = differing.pop("litter", None)
    if litters is not None and config.litters == "ignore":
        unused.append(f"litter ({len(set(litters))})")
    elif litters is not None and len(set(litters)) < len(litters):
        matrix, note = _with_litters(matrix, np.array(litters), whole)
        notes.append(note)
    batches = differing.pop("batch", None)
    if batches is not None and config.batches == "constant":
        matrix = _with_batches(matrix, np.array(batches), whole)
        notes.append(f"Batches are held constant: {', '.join(sorted(set(batches)))}.")
    elif batches is not None:
        unused.append(f"batch ({', '.join(sorted(set(batches)))})")
    unused += [f"{factor} ({', '.join(_ordered(set(own)))})" for factor, own in differing.items()]
    if unused:
        notes.append(f"Known of the animals, but not used in the comparison: {'; '.join(unused)}.")
    return replace(matrix, notes=tuple(notes))


def _with_litters(matrix: CountMatrix, litters: NDArray[np.str_], whole: AllCounts) -> tuple[CountMatrix, str]:
    missing = [animal for animal, litter in zip(matrix.animals, litters, strict=True) if not litter]
    if missing:
        raise UserError(
            f"{whole.source}, column litter: of {whole.name}, animals {', '.join(missing)} have no litter, but others "
            'have; fill it in. An animal without littermates is a litter of its own. Or write litters = "ignore" in '
            f"{whole.settings}."
        )
    both = [litter for litter in dict.fromkeys(litters) if len(set(matrix.knockout[litters == litter])) == 2]
    inside = np.isin(litters, both)
    if len(both) >= _LEAST_PAIRS and inside.mean() >= _LEAST_PAIRED:
        note = f"Littermates are compared with each other: {len(both)} litters with animals of both groups."
        if not inside.all():
            out = ", ".join(animal for animal, own in zip(matrix.animals, inside, strict=True) if not own)
            note += f" Animals of other litters are left out: {out}."
        return replace(matrix.only(inside), litters=litters[inside], paired=True), note
    controls, knockouts = (len(set(litters[own])) for own in (~matrix.knockout, matrix.knockout))
    groups = f"{controls} of {matrix.genotypes[0]}, {knockouts} of {matrix.genotypes[1]}"
    note = f"Littermates are not independent, so the litter is the unit ({groups})."
    return replace(matrix, litters=litters), note


def _with_batches(matrix: CountMatrix, batches: NDArray[np.str_], whole: AllCounts) -> CountMatrix:
    column, ignore = f"{whole.source}, column batch", f'batches = "ignore" in {whole.settings}'
    if matrix.litters is not None:
        for litter in dict.fromkeys(matrix.litters):
            own = sorted(set(batches[matrix.litters == litter]))
            if len(own) > 1:
                raise UserError(
                    f"{column}: of {whole.name}, litter {litter} is in several batches ({', '.join(own)}). Batches can "
                    f"be held constant only if each litter is in one; write {ignore}."
                )
    if not set(batches[matrix.knockout]) & set(batches[~matrix.knockout]):
        raise UserError(
            f"{column}: of {whole.name}, no batch has animals of both groups, so the batch cannot be told from the "
            f"group. Write {ignore}, and say so in your paper."
        )
    held = replace(matrix, batches=batches)
    if min(held.layout.free) <= 0.5:
        raise UserError(
            f"{column}: {len(set(batches))} batches are too many for {len(batches)} animals of {whole.name}; join "
            f"some, or write {ignore}."
        )
    return held
