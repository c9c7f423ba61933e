"""The values of animals, ovaries and sections on one scale: what the figure of a comparison shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from follicle_stager.stages import LADDER, RUNGS

if TYPE_CHECKING:
    from follicle_stager.statistics.matrix import CountKind, CountMatrix

_RUNG_OF = {stage.value: stage.rung for stage in LADDER}
_COLUMNS = ["comparison", "genotype", "level", "animal", "ovary", "section", "stage", "counted", "value"]


def points(matrix: CountMatrix, section: pd.DataFrame, kind: CountKind) -> pd.DataFrame:
    """Values of one comparison.

    Parameters
    ----------
    matrix
        Counts of the animals.
    section
        Counts by section of a study, as `Counts` has them; empty if only the animals' counts are known.
    kind
        Kind of counts.

    Returns
    -------
    DataFrame
        Columns: ``comparison``, ``genotype``, ``level`` (animal, ovary, section), ``animal``, ``ovary``, ``section``,
        ``stage``, ``counted`` and ``value``. The value of an animal is its count over its exposure. That of a section
        is what the animal would have if all its sections were like this one; the same for the ovaries of animals that
        have two.
    """
    exposure = pd.DataFrame(matrix.exposure, index=list(matrix.animals), columns=list(RUNGS)).stack()
    counted = pd.DataFrame(matrix.counts, index=list(matrix.animals), columns=list(RUNGS)).stack(future_stack=True)
    parts = [pd.DataFrame({"level": "animal", "counted": counted, "parts": 1.0})]
    if not section.empty:
        own = section[(section["model"].fillna("") == matrix.model) & section["animal"].isin(matrix.animals)]
        own = own.assign(stage=own["stage"].map(_RUNG_OF), counted=own[f"n_{kind}"].astype(float))
        for level, keys in (("ovary", ["ovary"]), ("section", ["ovary", "section"])):
            sums = own.groupby(["animal", "stage", *keys], sort=False)["counted"].agg(lambda n: n.sum(skipna=False))
            table = sums.reset_index(keys)
            table["parts"] = table.groupby(level=["animal", "stage"]).size().astype(float)
            parts.append(table[table["parts"] > 1].assign(level=level))
    whole = pd.concat(parts)
    whole["value"] = whole["counted"] * whole["parts"] / exposure.reindex(whole.index)
    whole = whole.rename_axis(["animal", "stage"]).reset_index()
    groups = {animal: matrix.genotypes[int(ko)] for animal, ko in zip(matrix.animals, matrix.knockout, strict=True)}
    whole = whole.assign(comparison=matrix.comparison, genotype=whole["animal"].map(groups))
    names = {name: whole[name].fillna("") if name in whole else "" for name in ("ovary", "section")}
    return whole.assign(**names)[_COLUMNS]
