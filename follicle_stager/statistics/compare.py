"""A study's comparison: every mouse model against its own controls, written as tables that other programs read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.errors import UserError
from follicle_stager.files import write_csv, write_text
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import Arrest, find_arrest
from follicle_stager.statistics.matrix import Counted, count_matrices
from follicle_stager.statistics.per_stage import COVARIATES, per_stage
from follicle_stager.statistics.stage_errors import stage_errors
from follicle_stager.study import Counts, count_study, read_samples_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.matrix import CountMatrix
    from follicle_stager.study import Study


#: Refits a study's comparison; a copy lies beside its tables.
R_SCRIPT = files("follicle_stager.statistics").joinpath("analysis.R")


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes
    ----------
    arrests
        One for each mouse model.
    stages, steps, animals, verdicts
        Tables over all models, as they are written.
    count
        What was counted.
    notes
        What of the sample sheet is in none of it, and what a person overruled.
    covariates
        Of the models of single stages.
    """

    arrests: tuple[Arrest, ...]
    stages: pd.DataFrame
    steps: pd.DataFrame
    animals: pd.DataFrame
    verdicts: pd.DataFrame
    count: Counted
    notes: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()

    @property
    def together(self) -> str:
        """Whether several models block at the same step, in words; empty for one."""
        blocked = {a.matrix.model: a.verdict.blocks for a in self.arrests if a.verdict.blocks}
        if len(self.arrests) < 2 or not blocked:
            return ""
        shared = set.intersection(*(set(b) for b in blocked.values())) if len(blocked) == len(self.arrests) else set()
        if shared:
            where = ", ".join(name.replace("_", " ") for name in RUNGS if name in shared)
            return f"All {len(self.arrests)} models block after the {where} stage."
        return "The models do not surely block at one and the same step."


def compare_counts(
    counts: Counts,
    *,
    count: Counted = "countable",
    config: ComparisonConfig | None = None,
    covariates: pd.DataFrame | None = None,
) -> Comparison:
    """Compare knockouts with controls.

    Parameters
    ----------
    counts
        Of a study.
    count
        Follicles whose nucleus shows, those of them that are not atretic, or all outlines.
    config
        How verdicts are reached.
    covariates
        By model and animal, for the models of single stages.

    Raises
    ------
    UserError
        If there is nothing to compare.
    """
    _refuse_mixed_sampling(counts.section)
    matrices = count_matrices(counts.animal, count=count)
    errors = [stage_errors(counts.follicles, counts.rejected, matrix, count=count) for matrix in matrices]
    arrests = tuple(find_arrest(m, config, errors=e) for m, e in zip(matrices, errors, strict=True))
    stages = [
        per_stage(m, covariates=_of_animals(covariates, m), errors=e) for m, e in zip(matrices, errors, strict=True)
    ]
    verdicts = [
        {
            "model": a.matrix.model,
            "counted": count,
            "verdict": a.verdict.kind,
            "blocks_after": " ".join(a.verdict.blocks),
            "sentence": a.verdict.sentence,
            "warnings": " ".join(a.verdict.warnings),
            **{f"secondary_to_antral_{name}": value for name, value in a.contrast.items()},
        }
        for a in arrests
    ]
    return Comparison(
        arrests=arrests,
        stages=pd.concat(stages, ignore_index=True),
        steps=pd.concat([a.steps for a in arrests], ignore_index=True),
        animals=pd.concat([a.animals for a in arrests], ignore_index=True),
        verdicts=pd.DataFrame(verdicts),
        count=count,
        notes=counts.notes,
        covariates=() if covariates is None else tuple(map(str, covariates.columns)),
    )


def compare_study(
    study: Study,
    *,
    count: Counted = "countable",
    config: ComparisonConfig | None = None,
    covariates: Sequence[str] = (),
) -> Comparison:
    """Count a study, compare, and write ``statistics/`` and the tables for Prism.

    Parameters
    ----------
    study
        With finished slides and a sample sheet.
    count, config
        See `compare_counts`; the study's own configuration if it is None.
    covariates
        Columns of the sample sheet.

    Raises
    ------
    UserError
        If there is nothing to compare, or a covariate is unknown or differs within an animal.
    """
    counts = count_study(study)
    beside = _covariates(study, covariates) if covariates else None
    config = config or study.config().comparison
    result = compare_counts(counts, count=count, config=config, covariates=beside)
    folder = study.path / "statistics"
    exposures = [
        pd.DataFrame(a.matrix.exposure, columns=list(RUNGS)).assign(model=a.matrix.model, animal=a.matrix.animals)
        for a in result.arrests
    ]
    tables = {
        "per_stage": result.stages,
        "arrest": result.steps,
        "animals": result.animals,
        "verdict": result.verdicts,
        "exposures": pd.concat(exposures, ignore_index=True),
    }
    for name, table in tables.items():
        # Other programs take an empty name for a missing one, and leave its rows out.
        write_csv(folder / f"{name}.csv", table.round(6).replace({"model": {"": "study"}}))
    write_text(folder / "analysis.R", R_SCRIPT.read_text("utf-8"))
    write_csv(study.tables / "prism_grouped.csv", prism_grouped(result))
    write_csv(study.tables / "prism_arrest.csv", prism_arrest(result))
    return result


def prism_grouped(result: Comparison) -> pd.DataFrame:
    """Prism's *Grouped* table: stages down, and a column for each animal, genotype by genotype."""
    table = pd.DataFrame({"stage": list(RUNGS)})
    for a in result.arrests:
        for group, own in (("control", ~a.matrix.knockout), ("knockout", a.matrix.knockout)):
            for i in np.flatnonzero(own):
                table[f"{_column(result, a, group == 'knockout')} {a.matrix.animals[i]}"] = a.matrix.counts[i]
    return table


def prism_arrest(result: Comparison) -> pd.DataFrame:
    """Prism's *Column* table: a genotype each, with its animals' log((antral + 0.5)/(secondary + 0.5))."""
    columns = {}
    for a in result.arrests:
        ratios = a.animals["arrest_log_ratio"].to_numpy()
        columns[_column(result, a, False)] = pd.Series(ratios[~a.matrix.knockout])
        columns[_column(result, a, True)] = pd.Series(ratios[a.matrix.knockout])
    return pd.DataFrame(columns)


def _column(result: Comparison, arrest: Arrest, knockout: bool) -> str:
    """Name of a group; several models may have groups of one name."""
    genotype = arrest.matrix.genotypes[knockout]
    names = [g for a in result.arrests for g in a.matrix.genotypes]
    return genotype if names.count(genotype) == 1 else f"{arrest.matrix.model} {genotype}"


def _refuse_mixed_sampling(section: pd.DataFrame) -> None:
    """Refuse what no offset could be worked out of: it would be taken for a difference of the animals.

    Raises
    ------
    UserError
        If an ovary has several sampling intervals, some have none, or some animals' ovaries are named and others' not.
    """
    for model in section["model"].unique():
        own = section[section["model"] == model]
        if own["interval"].isna().all():
            continue
        per_ovary = own.groupby(["animal", "ovary"], sort=False)["interval"].nunique(dropna=False)
        mixed = [animal for animal, _ in per_ovary.index[per_ovary > 1]]
        mixed += list(own.loc[own["interval"].isna(), "animal"])
        if mixed:
            raise UserError(
                f"samples.csv, column interval: animals {', '.join(dict.fromkeys(map(str, mixed)))} have no sampling "
                "interval, or several in one ovary; write one for each ovary, or none at all."
            )
        unnamed = own.loc[own["ovary"] == "", "animal"].unique()
        if len(unnamed) and (own["ovary"] != "").any():
            raise UserError(
                f"samples.csv, column ovary: of {model or 'the study'}, animals {', '.join(map(str, unnamed))} have no "
                "name of their ovary, and others have; fill in all (L, R), or none."
            )


def _of_animals(covariates: pd.DataFrame | None, matrix: CountMatrix) -> pd.DataFrame | None:
    if covariates is None:
        return None
    return covariates.loc[[(matrix.model, animal) for animal in matrix.animals]].reset_index(drop=True)


def _covariates(study: Study, names: Sequence[str]) -> pd.DataFrame:
    unknown = [name for name in names if name not in COVARIATES]
    if unknown:
        raise UserError(f"{unknown[0]}: this is no covariate; there are {', '.join(COVARIATES)}.")
    sheet = read_samples_table(study.samples_path)
    keys = ["model", "animal"]
    for name in names:
        per_animal = sheet.groupby(keys)[name].nunique(dropna=False)
        if (per_animal > 1).any():
            animal = str(per_animal.index[per_animal > 1][0][1])
            raise UserError(f"{study.samples_path}, column {name}: animal {animal} has several values; write one.")
    return sheet.drop_duplicates(keys).set_index(keys)[list(names)]
