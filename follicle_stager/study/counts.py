"""Counts per section, ovary, animal and genotype. Zeros are rows; what cannot be seen is NA, not zero.

A profile is a follicle that the section shows; a countable one shows its oocyte's nucleus. The animal is the
unit: means and SDs of genotypes are over animals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from follicle_stager.errors import StudyError
from follicle_stager.files import write_csv
from follicle_stager.stages import COUNTED, Countable, Health, Stage, Status
from follicle_stager.study.samples import Sample, read_samples
from follicle_stager.study.sources import SlideSource

if TYPE_CHECKING:
    from follicle_stager.records import Follicle, Section
    from follicle_stager.study.folder import Study

ANIMAL_KEYS = ["model", "group", "genotype", "animal"]
_COUNTS = ["n_profiles", "n_countable", "n_atretic"]


@dataclass(frozen=True)
class Counts:
    """The tables of a study, as they are written."""

    follicles: pd.DataFrame
    section: pd.DataFrame
    ovary: pd.DataFrame
    animal: pd.DataFrame
    genotype: pd.DataFrame


def count_study(study: Study) -> Counts:
    """Count a study and write its tables.

    Parameters
    ----------
    study
        With a sample sheet and finished slides.

    Returns
    -------
    Counts

    Raises
    ------
    StudyError, SampleSheetError
        If slides are missing, or sections cannot be told apart.
    """
    slide_ids = study.slide_ids()
    if not slide_ids:
        raise StudyError(f"{study.path}: no slide is finished in this study; run 'follicle-stager stage' first.")
    sources = []
    for slide_id in slide_ids:
        info = study.run_info(slide_id) or {}
        sources.append(SlideSource(slide_id, study.path / str(info.get("source", slide_id))))
    samples = read_samples(
        study.samples_path,
        sources,
        without_row=f"add one, or delete the slide's folder in {study.path / 'slides'} if it is no longer part of it",
    )
    section_rows, follicle_rows = [], []
    # Tables follow the order of the sample sheet, as its author arranged it.
    for slide_id in dict.fromkeys(s.slide for s in samples):
        sections = study.sections(slide_id)
        owners = assign_sections(slide_id, sections, [s for s in samples if s.slide == slide_id])
        follicles = study.follicles(slide_id)
        info = study.run_info(slide_id) or {}
        visible = {Stage(s) for s in info.get("visible_stages", [])} | {Stage.UNSURE}
        for section in sections:
            sample = owners[section.section_id]
            own = [f for f in follicles if f.section_id == section.section_id]
            keys = _keys(sample, section)
            follicle_rows += [_follicle_row(keys, f) for f in own]
            if section.included:
                section_rows += _section_rows(keys, section, sample, own, visible)
    counts = _tables(pd.DataFrame(section_rows), pd.DataFrame(follicle_rows))
    write_csv(study.tables / "follicles.csv", counts.follicles)
    for name in ("section", "ovary", "animal", "genotype"):
        write_csv(study.tables / f"counts_by_{name}.csv", getattr(counts, name))
    return counts


def assign_sections(slide_id: str, sections: list[Section], samples: list[Sample]) -> dict[str, Sample]:
    """Say which row of the sheet each section on a slide belongs to.

    One row: all sections are its own. Several rows: the sections in reading order take the rows in the order of the
    sheet, one each.

    Raises
    ------
    StudyError
        If their numbers differ: no section is given to an animal by guess.
    """
    if len(samples) == 1:
        return {s.section_id: samples[0] for s in sections}
    if len(samples) != len(sections):
        raise StudyError(
            f"slide {slide_id}: the sample sheet has {len(samples)} rows for it, and {len(sections)} sections were "
            f"found (see slides/{slide_id}/overlay.jpg). Give it one row per section in reading order, or a single "
            "row if all sections are of one animal; torn pieces further apart than join_gap_um count as sections."
        )
    ordered = sorted(sections, key=lambda s: s.order)
    return {section.section_id: sample for section, sample in zip(ordered, samples, strict=True)}


def _keys(sample: Sample, section: Section) -> dict[str, object]:
    return {
        "model": sample.model,
        "group": sample.group,
        "genotype": sample.genotype,
        "animal": sample.animal,
        "ovary": sample.ovary,
        "slide": sample.slide,
        "section": section.section_id,
    }


def _follicle_row(keys: dict[str, object], f: Follicle) -> dict[str, object]:
    centre = f.outline.centroid
    return {
        **keys,
        "follicle_id": f.id,
        "x_px": round(centre.x, 1),
        "y_px": round(centre.y, 1),
        "stage": f.stage.value,
        "stage_predicted": f.stage_predicted.value,
        "health": f.health.value,
        "countable": f.countable.value,
        "status": f.status.value,
        "score": round(f.score, 3),
        **{name: round(value, 3) for name, value in f.measurements.items()},
        **{f"p_{stage.value}": round(p, 3) for stage, p in f.probabilities.items()},
        "reasons": "; ".join(f.reasons),
    }


def _section_rows(
    keys: dict[str, object], section: Section, sample: Sample, follicles: list[Follicle], visible: set[Stage]
) -> list[dict[str, object]]:
    rows = []
    for stage in COUNTED:
        own = [f for f in follicles if f.stage == stage and f.status != Status.REJECTED]
        seen = stage in visible or bool(own)
        profiles = len(own) if seen else math.nan
        countable = sum(f.countable == Countable.YES for f in own) if seen else math.nan
        rows.append(
            {
                **keys,
                "stage": stage.value,
                "n_profiles": profiles,
                "n_countable": countable,
                "n_atretic": sum(f.health == Health.ATRETIC for f in own) if seen else math.nan,
                "area_mm2": round(section.area_mm2, 4),
                "sections": 1,
                "interval_scaled": countable * sample.interval if sample.interval else math.nan,
            }
        )
    return rows


def _tables(section: pd.DataFrame, follicles: pd.DataFrame) -> Counts:
    ovary = _sum(section, [*ANIMAL_KEYS, "ovary"])
    animal = _sum(section, ANIMAL_KEYS)
    return Counts(
        follicles=follicles,
        section=_with_density(_whole_numbers(section)),
        ovary=_with_density(ovary),
        animal=_with_density(animal),
        genotype=_over_animals(animal),
    )


def _sum(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Add up sections. A stage that one section cannot show is NA for the whole: the sum would be too low."""
    grouped = table.groupby([*keys, "stage"], sort=False, dropna=False)
    columns = [*_COUNTS, "area_mm2", "sections", "interval_scaled"]
    summed = pd.DataFrame({name: grouped[name].agg(_sum_or_na) for name in columns})
    return _whole_numbers(summed.reset_index())


def _sum_or_na(values: pd.Series[Any]) -> Any:
    return values.sum(skipna=False)


def _over_animals(animal: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD over animals."""
    numbers = animal.astype(dict.fromkeys(_COUNTS, "float64"))
    grouped = numbers.groupby(["model", "group", "genotype", "stage"], sort=False)
    out = grouped.size().rename("n_animals").to_frame()
    out["sections"] = grouped["sections"].sum()
    for column in ("n_profiles", "n_countable"):
        values = grouped[column]
        out[f"{column}_mean"] = values.mean().round(3)
        out[f"{column}_sd"] = values.std(ddof=1).round(3)
    return out.reset_index()


def _with_density(table: pd.DataFrame) -> pd.DataFrame:
    """Add countable follicles per mm² of section."""
    density = table["n_countable"].astype(float) / table["area_mm2"]
    return table.assign(countable_per_mm2=density.round(3))


def _whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(dict.fromkeys([*_COUNTS, "interval_scaled"], "Int64"))
