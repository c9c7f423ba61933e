"""Counts per section, ovary, animal and genotype. Zeros are rows; what cannot be seen is NA, not zero.

A profile is a follicle that the section shows; a countable one shows its oocyte's nucleus. The animal is the
unit: means and SDs of genotypes are over animals.

``abercrombie`` estimates the follicles of the ovary: countable ones times the interval, times T/(T + h). The height h
of the nuclei is worked out for each stage from the diameters of their profiles, over all animals of the study, so that
it is no difference between groups; it is NA where fewer than `_MIN_NUCLEI` were measured. ``countable_per_mm3`` is that
estimate over the volume that the sections stand for (area, interval and thickness; Cavalieri).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from follicle_stager.errors import StudyError
from follicle_stager.files import read_text, replacing, set_aside, sweep, write_csv
from follicle_stager.matching import overlapping
from follicle_stager.records import NOT_OVARY, Measurements
from follicle_stager.stages import LADDER, TABLE_ROWS, Countable, Health, Stage, Status
from follicle_stager.study.assignment import (
    ANIMAL_KEYS,
    SECTION_KEYS,
    CountedSection,
    assign_sections,
    named,
    with_owners,
)
from follicle_stager.study.samples import Sample, read_samples
from follicle_stager.study.sampling import abercrombie, height_from_profiles, interval_scaled
from follicle_stager.study.sources import SlideSource
from follicle_stager.tables import as_csv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from follicle_stager.config import CountingConfig
    from follicle_stager.records import Follicle, Section
    from follicle_stager.study.folder import Study


_OVARY_KEYS = ["model", "animal", "ovary"]
_COUNTS = ["n_profiles", "n_countable", "n_healthy", "n_atretic"]
# Columns of follicles that are asked for, also where there is none.
_NEEDED = ["follicle_id", "stage", "stage_predicted", "health", "countable", "status", "nucleus_um"]
_REJECTED = ["model", "animal", "stage_predicted", "countable", "health"]
# What a density is made of: bodies in the tissue, and its volume, mm³; in no table that is written.
_DENSITY = ["_bodies", "_mm3"]
# So many places where outlines overlap are named for a slide.
_PLACES = 5
# Profiles of nuclei from which a height can be worked out.
_MIN_NUCLEI = 5


@dataclass(frozen=True)
class _Slide:
    """What a slide adds to the tables: a row for each section and stage, for each follicle, and so on."""

    sections: list[dict[str, object]]
    follicles: list[dict[str, object]]
    rejected: list[dict[str, object]]
    left_out: list[dict[str, object]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """The tables of a study, as they are written; columns: docs/tables.md.

    Beside them ``notes``, on what is in none of them and what a person overruled; and ``rejected``: what a person said
    is no follicle, by ``model``, ``animal``, the ``stage_predicted``, ``countable`` and ``health`` that it was given.
    """

    follicles: pd.DataFrame
    section: pd.DataFrame
    ovary: pd.DataFrame
    animal: pd.DataFrame
    genotype: pd.DataFrame
    notes: tuple[str, ...] = ()
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_REJECTED))


def count_study(study: Study, *, samples_path: Path | None = None) -> Counts:
    """Count a study and write its tables.

    Parameters
    ----------
    study
        With finished slides.
    samples_path
        A sample sheet that replaces the study's own once it is found to be right.

    Returns
    -------
    Counts

    Raises
    ------
    StudyError, SampleSheetError
        If slides are missing, or sections cannot be told apart.
    """
    sweep(study.path)
    tally = Tally(study, samples_path=samples_path)
    kept: tuple[str, ...] = ()
    if samples_path is not None:
        kept = _replace_sheet(study.samples_path, as_csv(samples_path))
    counts = tally.counts()
    counts = replace(counts, notes=(*counts.notes, *kept))
    write_csv(study.tables / "follicles.csv", counts.follicles)
    for name in ("section", "ovary", "animal", "genotype"):
        write_csv(study.tables / f"counts_by_{name}.csv", getattr(counts, name))
    return counts


def _replace_sheet(path: Path, text: str) -> tuple[str, ...]:
    """Write a study's sample sheet; one that differs, which a person may have edited, is kept beside it and named."""
    if path.exists() and read_text(path) == text:
        return ()
    told: tuple[str, ...] = ()
    with replacing(path) as temporary:  # on a full disk this fails, and the old one stays
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        if path.exists():
            aside = set_aside(path, "replaced")
            told = (
                f"samples.csv of the study was replaced by the sheet that was given; the one before is {aside.name}",
            )
    return told


class Tally:
    """The counts of a study; slides can change, and only those are counted again.

    Parameters
    ----------
    study
        With finished slides.
    samples_path
        A sample sheet other than the study's own.

    Raises
    ------
    StudyError, SampleSheetError
        If no slide is finished, or the sheet does not fit.
    """

    def __init__(self, study: Study, *, samples_path: Path | None = None) -> None:
        self._samples = _samples(study, samples_path)
        self._study = study
        self._config = study.config().counting
        # Tables follow the order of the sample sheet, as its author arranged it.
        self._slides: dict[str, _Slide | None] = dict.fromkeys(s.slide for s in self._samples)

    def update(
        self, slide_id: str, follicles: Sequence[Follicle], sections: Sequence[Section], notes: Sequence[str] = ()
    ) -> None:
        """Take a slide as it stands: follicles numbered as on the overlay, rejected ones included, and sections.

        Parameters
        ----------
        slide_id
            Name of the slide.
        follicles, sections
            What stands.
        notes
            What a person must know of them.

        Raises
        ------
        StudyError
            If its sections cannot be told apart.
        """
        self._slides[slide_id] = None  # what was counted before is not so any more
        sections = with_owners(slide_id, sections, self._rows_of(slide_id))
        info = self._study.run_info(slide_id)
        visible = {*(info.visible_stages if info is not None else ()), Stage.UNSURE}
        section_rows: list[dict[str, object]] = []
        follicle_rows: list[dict[str, object]] = []
        rejected: list[dict[str, object]] = []
        outlined: list[Follicle] = []
        for counted in self.assigned(slide_id, sections):
            ids = {piece.section_id for piece in counted.pieces}
            numbered = [
                (n, f) for n, f in enumerate(follicles, start=1) if f.section_id in ids and f.status != Status.REJECTED
            ]
            own = [f for _, f in numbered]
            outlined += own
            follicle_rows += [{**counted.keys(), "number": n, **_follicle_columns(f)} for n, f in numbered]
            section_rows += _section_rows(counted, own, visible)
            no_follicles = [f for f in follicles if f.section_id in ids and _is_rejected(f)]
            rejected += [
                {name: counted.keys()[name] for name in ("model", "animal")}
                | {name: getattr(f, name).value for name in _REJECTED[2:]}
                for f in no_follicles
            ]
        left_out = self._left_out_of(slide_id, sections)
        left = (*_uncounted(sections), *self._against_the_sheet(slide_id, sections))
        notes = (*notes, *left, *_twice(slide_id, outlined))
        self._slides[slide_id] = _Slide(section_rows, follicle_rows, rejected, left_out, notes)

    def owners(self, slide_id: str) -> list[tuple[str, str]]:
        """Animals and ovaries that the sheet names for a slide, in its order."""
        return list(dict.fromkeys((s.animal, s.ovary) for s in self._rows_of(slide_id)))

    def assigned(self, slide_id: str, sections: Sequence[Section]) -> list[CountedSection]:
        """Whose each piece of tissue on a slide is; see `assign_sections`."""
        return assign_sections(slide_id, sections, self._rows_of(slide_id))

    def _rows_of(self, slide_id: str) -> list[Sample]:
        """Of the sheet."""
        return [s for s in self._samples if s.slide == slide_id]

    def counts(self) -> Counts:
        """The tables; slides that were not given are read.

        Raises
        ------
        StudyError
            If sections cannot be told apart, or none is counted.
        """
        for slide_id in [slide_id for slide_id, rows in self._slides.items() if rows is None]:
            self.update(slide_id, *self._study.content(slide_id))
        slides = [slide for slide in self._slides.values() if slide is not None]
        section_rows = [row for slide in slides for row in slide.sections]
        follicle_rows = [row for slide in slides for row in slide.follicles]
        if not section_rows:
            path = self._study.path
            raise StudyError(
                f"{path}: no section is included in the counts; include some in 'follicle-stager review', part Count."
            )
        empty = None if follicle_rows else [*SECTION_KEYS, *_NEEDED]
        follicles = pd.DataFrame(follicle_rows, columns=empty)
        left_out = pd.DataFrame([row for s in slides for row in s.left_out], columns=[*_OVARY_KEYS, "area_mm2"])
        counts = _tables(_with_abercrombie(pd.DataFrame(section_rows), follicles, self._config), follicles, left_out)
        rejected = pd.DataFrame([row for slide in slides for row in slide.rejected], columns=_REJECTED)
        notes = [note for slide in slides for note in slide.notes]
        return replace(counts, rejected=rejected, notes=(*self._not_counted(section_rows), *counts.notes, *notes))

    def _left_out_of(self, slide_id: str, sections: Sequence[Section]) -> list[dict[str, object]]:
        """Tissue of ovaries that could not be looked at, where it is known whose it is."""
        rows: dict[tuple[str, str], Sample] = {(s.animal, s.ovary): s for s in self._rows_of(slide_id)}
        only = next(iter(rows)) if len(rows) == 1 else None
        found = []
        for section in sections:
            sample = rows.get((section.animal, section.ovary) if section.animal else only or ("", ""))
            if not section.included and section.reason != NOT_OVARY and sample is not None:
                found.append({name: getattr(sample, name) for name in _OVARY_KEYS} | {"area_mm2": section.area_mm2})
        return found

    def _against_the_sheet(self, slide_id: str, sections: Sequence[Section]) -> tuple[str, ...]:
        """Sections that a person gave to another animal than the order of the sheet does."""
        rows = self._rows_of(slide_id)
        pieces = sorted((s for s in sections if s.included), key=lambda s: s.place)
        if len(rows) != len(pieces):
            return ()
        return tuple(
            f"{piece.section_id}: counted as {named(piece.animal, piece.ovary)}, as a person said; by the order of "
            f"the sample sheet it would be {named(row.animal, row.ovary)}"
            for piece, row in zip(pieces, rows, strict=True)
            if piece.animal and (piece.animal, piece.ovary) != (row.animal, row.ovary)
        )

    def _not_counted(self, section_rows: list[dict[str, object]]) -> tuple[str, ...]:
        """Animals and ovaries of the sheet of which no section is counted."""
        expected = dict.fromkeys((s.model, s.animal, s.ovary) for s in self._samples)
        counted = {(row["model"], row["animal"], row["ovary"]) for row in section_rows}
        return tuple(
            f"{named(animal, ovary)}: no section of it is counted, so it is in no table"
            for model, animal, ovary in expected
            if (model, animal, ovary) not in counted
        )


def _samples(study: Study, samples_path: Path | None = None) -> list[Sample]:
    """Rows of the sample sheet of a study's finished slides."""
    slide_ids = study.slide_ids()
    if not slide_ids:
        raise StudyError(f"{study.path}: no slide is finished in this study; run 'follicle-stager stage' first.")
    first: dict[str, str] = {}
    for slide_id in slide_ids:
        info = study.run_info(slide_id)
        content = (info.content if info is not None else "") or slide_id
        if (other := first.setdefault(content, slide_id)) != slide_id:
            raise StudyError(
                f"{study.path}: slides {other} and {slide_id} are the same picture, and a section is counted once. "
                f"Delete {study.slide_folder(slide_id)}, the picture's copy, and its row in the sample sheet."
            )
    return read_samples(
        samples_path or study.samples_path,
        [SlideSource(slide_id, study.source(slide_id)) for slide_id in slide_ids],
        without_row=f"add one, or delete the slide's folder in {study.path / 'slides'} if it is no longer part of it",
    )


def section_animals(study: Study) -> dict[str, dict[str, str]]:
    """Animal of each section that is counted, by slide and section id.

    Raises
    ------
    StudyError, SampleSheetError
        If the sheet does not fit, or sections cannot be told apart.
    """
    tally = Tally(study)
    animals: dict[str, dict[str, str]] = {}
    for slide_id in study.slide_ids():
        own = tally.assigned(slide_id, study.sections(slide_id))
        animals[slide_id] = {piece.section_id: c.sample.animal for c in own for piece in c.pieces}
    return animals


def _follicle_columns(f: Follicle) -> dict[str, object]:
    centre, said = f.outline.centroid, f.first_assessment
    measured = f.measurements or Measurements()
    return {
        "follicle_id": f.id,
        "x_px": round(centre.x, 1),
        "y_px": round(centre.y, 1),
        "stage": f.stage.value,
        "stage_predicted": f.stage_predicted.value,
        "health": f.health.value,
        "health_predicted": (said.health if said is not None else Health.UNKNOWN).value,
        "countable": f.countable.value,
        "countable_predicted": (said.countable if said is not None else Countable.UNKNOWN).value,
        "status": f.status.value,
        "score": round(f.score, 3),
        **{name: round(value, 3) for name, value in measured.items()},
        **{f"p_{stage.value}": round(f.probabilities.get(stage, math.nan), 3) for stage in LADDER},
        "reasons": "; ".join(f.reasons),
    }


def _section_rows(counted: CountedSection, follicles: list[Follicle], visible: set[Stage]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    interval = counted.sample.interval
    for stage in TABLE_ROWS:
        own = [f for f in follicles if f.stage == stage]
        # A chance outline does not make a stage visible; a person's own does.
        seen = stage in visible or any(f.status != Status.PREDICTED for f in own)
        countable = sum(f.countable == Countable.YES for f in own) if seen else math.nan
        rows.append(
            {
                **counted.keys(),
                "stage": stage.value,
                "n_profiles": len(own) if seen else math.nan,
                "n_countable": countable,
                "n_healthy": sum(f.countable == Countable.YES and f.health != Health.ATRETIC for f in own)
                if seen
                else math.nan,
                "n_atretic": sum(f.health == Health.ATRETIC for f in own) if seen else math.nan,
                "pieces": " ".join(piece.section_id for piece in counted.pieces),
                "area_mm2": round(sum(piece.area_mm2 for piece in counted.pieces), 4),
                "sections": 1,
                "interval_scaled": interval_scaled(countable, interval) if interval else math.nan,
                "interval": interval or math.nan,
                "thickness_um": counted.sample.thickness_um or math.nan,
                "doubtful_sections": int(any(piece.doubt for piece in counted.pieces)),
            }
        )
    return rows


def _with_abercrombie(section: pd.DataFrame, follicles: pd.DataFrame, config: CountingConfig) -> pd.DataFrame:
    """Add ``nucleus_height_um`` of a stage and section thickness, ``abercrombie``, and what densities are made of."""
    seen = follicles[follicles["countable"] == Countable.YES.value]
    nuclei = seen.groupby("stage")["nucleus_um"].agg(["mean", "count"])
    means = nuclei["mean"].where(nuclei["count"] >= _MIN_NUCLEI)

    def of(row: pd.Series[Any]) -> tuple[float, float, float, float]:
        thickness, n = row["thickness_um"], row["n_countable"]
        height = _height(row["stage"], means, thickness, config)
        known, k = not math.isnan(row["interval"]), 1 if math.isnan(row["interval"]) else int(row["interval"])
        volume = row["area_mm2"] * thickness / 1000 * k
        if math.isnan(height):  # of none there are none, however high they are
            bodies = 0.0 if n == 0 else math.nan
        else:
            bodies = abercrombie(n, k, thickness_um=thickness, height_um=height)
        return height, round(bodies, 2) if known else math.nan, bodies, volume

    names = ["nucleus_height_um", "abercrombie", *_DENSITY]
    estimates = pd.DataFrame([of(row) for _, row in section.iterrows()], columns=names, index=section.index)
    return section.join(estimates.assign(nucleus_height_um=estimates["nucleus_height_um"].round(2)))


def _height(stage: str, means: pd.Series[Any], thickness_um: float, config: CountingConfig) -> float:
    """Height over which a stage's nuclei are seen: as given, or worked out, less the caps that are lost; else NaN.

    Raises
    ------
    StudyError
        If nothing is left of it.
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
            f"could be seen in a section of {thickness_um:g} µm; write less."
        )
    return seen


def _uncounted(sections: Sequence[Section]) -> tuple[str, ...]:
    """Sections, and parts of them, that are in no table, and why."""
    return tuple(
        f"{section.section_id}: not counted ({section.reason or 'left out'}), {section.area_mm2:.2f} mm²"
        for section in sections
        if not section.included
    )


def _twice(slide_id: str, follicles: Sequence[Follicle]) -> tuple[str, ...]:
    """Outlines that overlap so much that one follicle may be counted twice, and what to do about it."""
    counted = [f for f in follicles if f.stage != Stage.NOT_FOLLICLE]
    pairs = overlapping([f.outline for f in counted])
    places = [min((counted[i].outline for i in pair), key=lambda o: o.area).centroid for pair in pairs]
    if not places:
        return ()
    where = ", ".join(f"({place.x:.0f}, {place.y:.0f})" for place in places[:_PLACES])
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return (
        f"{slide_id}: {len(places)} {'pair' if len(places) == 1 else 'pairs'} of outlines overlap, and may be one "
        f"follicle that is counted twice, at (x, y) in pixels: {where}{more}; in 'follicle-stager review' reject one "
        "of the two (0), or make one of them (J)",
    )


def _is_rejected(f: Follicle) -> bool:
    """Whether the software had found it, and a person said that it is none."""
    return f.status == Status.REJECTED or (f.stage == Stage.NOT_FOLLICLE and f.status != Status.ADDED)


def _tables(section: pd.DataFrame, follicles: pd.DataFrame, left_out: pd.DataFrame) -> Counts:
    ovary = _sum(section, [*ANIMAL_KEYS, "ovary"])
    lost = left_out.groupby(_OVARY_KEYS)["area_mm2"].sum()
    lost_mm2 = np.array([lost.get(tuple(keys), 0.0) for keys in ovary[_OVARY_KEYS].to_numpy()], float)
    share = ovary["area_mm2"] / (ovary["area_mm2"] + lost_mm2)
    # Tissue that could not be looked at was not sampled.
    ovary["ovaries_sampled"] = share / ovary["interval"].astype(float)
    known = ovary.assign(part=share).drop_duplicates(_OVARY_KEYS)
    less = known[known["part"].lt(1) & known["interval"].notna()]
    notes = tuple(
        f"{named(row['animal'], row['ovary'])}: {1 - row['part']:.0%} of its tissue was left out; the offsets of "
        "single stages allow for it"
        for row in less.to_dict("records")
    )
    animal = _sum(section, ANIMAL_KEYS)
    keys = [*ANIMAL_KEYS, "stage"]
    sampled = ovary.groupby(keys, sort=False, dropna=False)["ovaries_sampled"].agg(_sum_or_na)
    animal = animal.join(sampled, on=keys)
    return Counts(
        follicles=follicles,
        section=_with_density(_whole_numbers(section)),
        ovary=_with_density(ovary),
        animal=_with_density(animal),
        genotype=_over_animals(animal),
        notes=notes,
    )


def _sum(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Add up sections. A stage that one section cannot show is NA for the whole: the sum would be too low."""
    grouped = table.groupby([*keys, "stage"], sort=False, dropna=False)
    columns = [*_COUNTS, "area_mm2", "sections", "doubtful_sections", "interval_scaled", "abercrombie", *_DENSITY]
    summed = pd.DataFrame({name: grouped[name].agg(_sum_or_na) for name in columns})
    summed["area_mm2"] = summed["area_mm2"].round(4)
    # Of one sampling only: a mean interval would be that of no section.
    for name in ("interval", "thickness_um", "nucleus_height_um"):
        summed[name] = grouped[name].agg(lambda v: v.iloc[0] if v.nunique(dropna=False) == 1 else math.nan)
    return _whole_numbers(summed.reset_index())


def _sum_or_na(values: pd.Series[Any]) -> Any:
    return values.sum(skipna=False)


def _over_animals(animal: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD over animals."""
    numbers = animal.astype(dict.fromkeys(_COUNTS, "float64"))
    grouped = numbers.groupby(["model", "group", "genotype", "stage"], sort=False)
    out = grouped.size().rename("n_animals").to_frame()
    out["sections"] = grouped["sections"].sum()
    out["doubtful_sections"] = grouped["doubtful_sections"].sum()
    for column in ("n_profiles", "n_countable"):
        values = grouped[column]
        # One animal that cannot show a stage makes it NA for the group: the others are no sample of all.
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
