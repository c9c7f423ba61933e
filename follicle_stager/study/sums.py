"""Add up sections to ovaries, animals and genotypes: sums, estimates and densities. The animal is the unit.

``abercrombie`` estimates the number of follicles in the ovary: countable follicles times the interval, times
T/(T + h). The height h of the nuclei is estimated for each stage from the diameters of their profiles over all animals
of the study, so it cannot cause a difference between groups; it is NA if fewer than `_MIN_NUCLEI` were measured.
``countable_per_mm3`` is this estimate divided by the volume that the sections represent (area, interval and thickness;
Cavalieri).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import StudyError
from follicle_stager.stages import Countable, Stage
from follicle_stager.study.assignment import ANIMAL_KEYS, named
from follicle_stager.study.sampling import abercrombie, height_from_profiles

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pandas.core.groupby import DataFrameGroupBy

    from follicle_stager.config import CountingConfig

OVARY_KEYS = ["model", "animal", "ovary"]
#: Columns of `Counts.rejected`.
REJECTED = ["model", "animal", "stage_predicted", "countable", "health"]
_COUNTS = ["n_profiles", "n_countable", "n_healthy", "n_atretic"]
# Columns from which densities are calculated: number of bodies, and tissue volume, mm³; they are not written.
_DENSITY = ["_bodies", "_mm3"]
# Smallest number of nucleus profiles from which a height is estimated.
_MIN_NUCLEI = 5


@dataclass(frozen=True)
class Counts:
    """The tables of a study; their columns are in docs/tables.md.

    Attributes
    ----------
    follicles, section, ovary, animal, genotype
        Tables as they are written.
    notes
        Notes on what is missing in the tables, and on decisions that differ from the sample sheet.
    rejected
        Predictions that a person rejected: ``model``, ``animal``, ``stage_predicted``, ``countable``, ``health``.
    samples
        Rows of the sample sheet with all columns.
    corpora_lutea_section, corpora_lutea_animal
        Profiles of corpora lutea and their share of the tissue, as they are written.
    """

    follicles: pd.DataFrame
    section: pd.DataFrame
    ovary: pd.DataFrame
    animal: pd.DataFrame
    genotype: pd.DataFrame
    notes: tuple[str, ...] = ()
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REJECTED))
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    corpora_lutea_section: pd.DataFrame = field(default_factory=pd.DataFrame)
    corpora_lutea_animal: pd.DataFrame = field(default_factory=pd.DataFrame)


def summed(section: pd.DataFrame, follicles: pd.DataFrame, left_out: pd.DataFrame, config: CountingConfig) -> Counts:
    """Add up sections to ovaries and animals, and calculate means over animals.

    Parameters
    ----------
    section
        One row per section and stage, as `counts.Tally` makes them.
    follicles
        One row per follicle.
    left_out
        Tissue of ovaries that was left out, mm²: ``model``, ``animal``, ``ovary``, ``area_mm2``.
    config
        Heights of nuclei.

    Returns
    -------
    Counts
        All tables.
    """
    section = _with_abercrombie(section, follicles, config)
    ovary = _sum(section, [*ANIMAL_KEYS, "ovary"])
    lost = left_out.groupby(OVARY_KEYS)["area_mm2"].sum()
    lost_mm2 = np.array([lost.get(tuple(keys), 0.0) for keys in ovary[OVARY_KEYS].to_numpy()], float)
    share = ovary["area_mm2"] / (ovary["area_mm2"] + lost_mm2)
    # Tissue that was left out was not sampled.
    ovary["ovaries_sampled"] = share / ovary["interval"].astype(float)
    known = ovary.assign(part=share).drop_duplicates(OVARY_KEYS)
    less = known[known["part"].lt(1) & known["interval"].notna()]
    notes = tuple(
        f"{named(row['animal'], row['ovary'])}: {1 - row['part']:.0%} of its tissue was left out; the offsets in "
        "the comparison account for this"
        for row in less.to_dict("records")
    )
    animal = _sum(section, ANIMAL_KEYS)
    keys = [*ANIMAL_KEYS, "stage"]
    sampled = _sums_or_na(ovary.groupby(keys, sort=False, dropna=False), ["ovaries_sampled"])
    animal = animal.join(sampled, on=keys)
    return Counts(
        follicles=follicles,
        section=_with_density(_whole_numbers(section)),
        ovary=_with_density(ovary),
        animal=_with_density(animal),
        genotype=_over_animals(animal),
        notes=notes,
    )


def luteal_sums(section: pd.DataFrame) -> pd.DataFrame:
    """Add up corpora lutea over the sections of each animal; NA if they cannot be seen on one of its slides."""
    grouped = section.groupby(ANIMAL_KEYS, sort=False, dropna=False)
    names = ["n_profiles", "luteal_mm2", "area_mm2", "sections"]
    summed = _sums_or_na(grouped, names).reset_index()
    return with_luteal_fraction(summed.round({"luteal_mm2": 4, "area_mm2": 4}))


def with_luteal_fraction(table: pd.DataFrame) -> pd.DataFrame:
    """Add the share of the tissue that is luteal."""
    share = (table["luteal_mm2"].astype(float) / table["area_mm2"]).round(4)
    return table.assign(luteal_fraction=share).astype({"n_profiles": "Int64"})


def _with_abercrombie(section: pd.DataFrame, follicles: pd.DataFrame, config: CountingConfig) -> pd.DataFrame:
    """Add ``nucleus_height_um`` by stage and section thickness, ``abercrombie``, and the columns for densities."""
    seen = follicles[follicles["countable"] == Countable.YES.value]
    nuclei = seen.groupby("stage")["nucleus_um"].agg(["mean", "count"])
    means = nuclei["mean"].where(nuclei["count"] >= _MIN_NUCLEI)

    @functools.cache
    def height_of(stage: str, thickness_um: float) -> float:
        return _height(stage, means, thickness_um, config)

    def of(row: dict[Hashable, Any]) -> tuple[float, float, float, float]:
        thickness, n = row["thickness_um"], row["n_countable"]
        height = height_of(row["stage"], thickness)
        known, k = not math.isnan(row["interval"]), 1 if math.isnan(row["interval"]) else int(row["interval"])
        volume = row["area_mm2"] * thickness / 1000 * k
        if math.isnan(height):  # a count of zero gives zero, whatever the height
            bodies = 0.0 if n == 0 else math.nan
        else:
            bodies = abercrombie(n, k, thickness_um=thickness, height_um=height)
        return height, round(bodies, 2) if known else math.nan, bodies, volume

    names = ["nucleus_height_um", "abercrombie", *_DENSITY]
    estimates = pd.DataFrame([of(row) for row in section.to_dict("records")], columns=names, index=section.index)
    return section.join(estimates.assign(nucleus_height_um=estimates["nucleus_height_um"].round(2)))


def _height(stage: str, means: pd.Series[Any], thickness_um: float, config: CountingConfig) -> float:
    """Height over which the nuclei of a stage are seen: as given or estimated, minus lost caps; NaN if unknown.

    Raises
    ------
    StudyError
        If no nucleus could be seen.
    """
    given, mean = config.nucleus_height_um.get(Stage(stage)), means.get(stage, math.nan)
    if math.isnan(thickness_um) or (given is None and math.isnan(mean)):
        return math.nan
    cap = config.lost_cap_um
    height = height_from_profiles(mean, thickness_um=thickness_um, lost_cap_um=cap) if given is None else given
    seen = height - 2 * cap
    if thickness_um + seen <= 0:
        raise StudyError(
            f"study.toml, counting.lost_cap_um: with {config.lost_cap_um:g} no {Stage(stage).label.lower()} follicle "
            f"could be seen in a section of {thickness_um:g} µm; write a smaller value."
        )
    return seen


def _sum(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Add up sections. If a stage cannot be seen in one of them, the sum is NA, because it would be too low."""
    grouped = table.groupby([*keys, "stage"], sort=False, dropna=False)
    columns = [*_COUNTS, "area_mm2", "sections", "doubtful_sections", "interval_scaled", "abercrombie", *_DENSITY]
    summed = _sums_or_na(grouped, columns).round({"area_mm2": 4, "abercrombie": 2})
    # Only if all sections have the same value: a mean interval would be meaningless.
    shared = grouped[["interval", "thickness_um", "nucleus_height_um"]]
    summed = summed.join(shared.first().where(shared.nunique(dropna=False) == 1))
    return _whole_numbers(summed.reset_index())


def _sums_or_na(grouped: DataFrameGroupBy[Any, Any], columns: list[str]) -> pd.DataFrame:
    """Sums by group; NA if one of the values is."""
    own = grouped[columns]
    return own.sum().where(own.count().eq(grouped.size(), axis=0))


def _over_animals(animal: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD over animals."""
    numbers = animal.astype(dict.fromkeys(_COUNTS, "float64"))
    grouped = numbers.groupby(["model", "group", "genotype", "stage"], sort=False)
    out = grouped.size().rename("n_animals").to_frame()
    out["sections"] = grouped["sections"].sum()
    out["doubtful_sections"] = grouped["doubtful_sections"].sum()
    for column in ("n_profiles", "n_countable"):
        values = grouped[column]
        # If a stage cannot be seen in one animal, it is NA for the group: the others do not represent the group.
        out[f"{column}_mean"] = values.agg(lambda v: v.mean(skipna=False)).round(3)
        out[f"{column}_sd"] = values.agg(lambda v: v.std(ddof=1, skipna=False)).round(3)
    return out.reset_index()


def _with_density(table: pd.DataFrame) -> pd.DataFrame:
    """Add countable follicles per mm² of section, and per mm³ of ovary."""
    per_area = table["n_countable"].astype(float) / table["area_mm2"]
    per_volume = table[_DENSITY[0]].astype(float) / table[_DENSITY[1]]
    densities = {"countable_per_mm2": per_area.round(3), "countable_per_mm3": per_volume.round(2)}
    return table.drop(columns=_DENSITY).assign(**densities)


def _whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(dict.fromkeys([*_COUNTS, "interval_scaled"], "Int64"))
