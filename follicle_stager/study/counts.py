"""Count a study: make table rows from the follicles and sections of each slide and the sample sheet.

Zeros have rows, too. A stage that cannot be seen is NA, which is not zero. A profile is what a section shows of a
follicle; in a countable one, the oocyte nucleus is visible. `sums` adds up the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
from shapely import unary_union

from follicle_stager.errors import StudyError
from follicle_stager.matching import overlapping, valid
from follicle_stager.measurements import Measurements
from follicle_stager.records import NOT_OVARY
from follicle_stager.stages import LADDER, TABLE_ROWS, Countable, Health, Stage, Status
from follicle_stager.study.assignment import SECTION_KEYS, AssignedSection, assign_sections, named, with_owners
from follicle_stager.study.samples import Sample, SampleSheet
from follicle_stager.study.sampling import interval_scaled
from follicle_stager.study.sources import SlideSource
from follicle_stager.study.sums import OVARY_KEYS, REJECTED, Counts, luteal_sums, summed, with_luteal_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle, Section
    from follicle_stager.study.content import SlideContent
    from follicle_stager.study.folder import Study

# Columns that the table of follicles needs even if it is empty.
_NEEDED = ["follicle_id", "stage", "stage_predicted", "health", "countable", "status", "nucleus_um"]
# Number of overlaps per slide whose positions are listed.
_PLACES = 5


@dataclass(frozen=True)
class _Slide:
    """Rows of one slide in the tables: one for each section and stage, one for each follicle, and so on."""

    sections: list[dict[str, object]]
    follicles: list[dict[str, object]]
    rejected: list[dict[str, object]]
    left_out: list[dict[str, object]]
    corpora_lutea: list[dict[str, object]]
    notes: tuple[str, ...]


def count(
    study: Study, sheet: SampleSheet | None = None, *, contents: Mapping[str, SlideContent] | None = None
) -> Counts:
    """Count the current state of a study. Nothing is written.

    Parameters
    ----------
    study
        Study with finished slides.
    sheet
        Sample sheet to use instead of the study's own.
    contents
        Current content of the slides, if it was read before: `Study.contents`.

    Returns
    -------
    Counts
        Tables of follicles, sections, ovaries, animals and genotypes; `write_counts` writes them.

    Raises
    ------
    StudyError, SampleSheetError
        If slides are missing, or sections cannot be assigned.
    """
    return Tally(study, sheet, contents=contents).counts()


class Tally:
    """Counts of a study that can be updated: only slides that changed are counted again.

    Parameters
    ----------
    study
        Study with finished slides.
    sheet
        Sample sheet to use instead of the study's own.
    contents
        Current content of the slides, if it was read before.

    Raises
    ------
    StudyError, SampleSheetError
        If no slide is finished, or the sheet does not match the slides.
    """

    def __init__(
        self,
        study: Study,
        sheet: SampleSheet | None = None,
        *,
        contents: Mapping[str, SlideContent] | None = None,
    ) -> None:
        self._samples = _samples(study, sheet)
        # Tables follow the order of the sample sheet.
        self._rows: dict[str, list[Sample]] = {}
        for sample in self._samples:
            self._rows.setdefault(sample.slide, []).append(sample)
        self._study, self._contents = study, contents or {}
        self._config = study.config.counting
        self._slides: dict[str, _Slide | None] = dict.fromkeys(self._rows)

    def update(
        self, slide_id: str, follicles: Sequence[Follicle], sections: Sequence[Section], notes: Sequence[str] = ()
    ) -> None:
        """Update the counts of a slide.

        Parameters
        ----------
        slide_id
            Name of the slide.
        follicles
            Current follicles in the order of their numbers on the overlay, including rejected ones.
        sections
            Current sections.
        notes
            Notes for the user.

        Raises
        ------
        StudyError
            If its sections cannot be assigned.
        """
        self._slides[slide_id] = None  # the previous counts are no longer valid
        sections = with_owners(slide_id, sections, self._rows_of(slide_id))
        run = self._study.run(slide_id)
        visible = {*run.visible_stages, Stage.UNSURE}
        section_rows: list[dict[str, object]] = []
        follicle_rows: list[dict[str, object]] = []
        rejected: list[dict[str, object]] = []
        lutea: list[dict[str, object]] = []
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
            lutea.append(_luteal_row(counted, own, run.pixel_size, visible))
            no_follicles = [f for f in follicles if f.section_id in ids and _is_rejected(f)]
            rejected += [
                {name: counted.keys()[name] for name in ("model", "animal")}
                | {name: getattr(f, name).value for name in REJECTED[2:]}
                for f in no_follicles
            ]
        left_out = self._left_out_of(slide_id, sections)
        left = (*_uncounted(sections), *self._against_the_sheet(slide_id, sections))
        notes = (*notes, *left, *_twice(slide_id, outlined))
        self._slides[slide_id] = _Slide(section_rows, follicle_rows, rejected, left_out, lutea, notes)

    def owners(self, slide_id: str) -> list[tuple[str, str]]:
        """Animals and ovaries of a slide, in the order of the sample sheet."""
        return list(dict.fromkeys((s.animal, s.ovary) for s in self._rows_of(slide_id)))

    def assigned(self, slide_id: str, sections: Sequence[Section]) -> list[AssignedSection]:
        """Sections of a slide with their animals; see `assign_sections`."""
        return assign_sections(slide_id, sections, self._rows_of(slide_id))

    def _rows_of(self, slide_id: str) -> list[Sample]:
        """Rows of the sample sheet for a slide."""
        return self._rows.get(slide_id, [])

    def counts(self) -> Counts:
        """Make the tables; slides that are not up to date are read from the study.

        Raises
        ------
        StudyError
            If sections cannot be assigned, or none is counted.
        """
        for slide_id in [slide_id for slide_id, rows in self._slides.items() if rows is None]:
            content = self._contents.get(slide_id) or self._study.content(slide_id)
            self.update(slide_id, content.follicles, content.sections, content.notes)
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
        left_out = pd.DataFrame([row for s in slides for row in s.left_out], columns=[*OVARY_KEYS, "area_mm2"])
        counts = summed(pd.DataFrame(section_rows), follicles, left_out, self._config)
        notes = [note for slide in slides for note in slide.notes]
        lutea = pd.DataFrame([row for slide in slides for row in slide.corpora_lutea])
        return replace(
            counts,
            corpora_lutea_section=with_luteal_fraction(lutea),
            corpora_lutea_animal=luteal_sums(lutea),
            rejected=pd.DataFrame([row for slide in slides for row in slide.rejected], columns=REJECTED),
            samples=pd.DataFrame([sample.model_dump() for sample in self._samples]),
            notes=(*self._not_counted(section_rows), *self._treatments(), *counts.notes, *notes),
        )

    def _left_out_of(self, slide_id: str, sections: Sequence[Section]) -> list[dict[str, object]]:
        """Tissue that was left out, for sections of known animals."""
        rows: dict[tuple[str, str], Sample] = {(s.animal, s.ovary): s for s in self._rows_of(slide_id)}
        only = next(iter(rows)) if len(rows) == 1 else None
        found = []
        for section in sections:
            sample = rows.get((section.animal, section.ovary) if section.animal else only or ("", ""))
            if not section.included and section.reason != NOT_OVARY and sample is not None:
                found.append({name: getattr(sample, name) for name in OVARY_KEYS} | {"area_mm2": section.area_mm2})
        return found

    def _against_the_sheet(self, slide_id: str, sections: Sequence[Section]) -> tuple[str, ...]:
        """Notes on sections that a person assigned to another animal than the order of the sheet would."""
        rows = self._rows_of(slide_id)
        pieces = sorted((s for s in sections if s.included), key=lambda s: s.place)
        if len(rows) != len(pieces):
            return ()
        return tuple(
            f"{piece.section_id}: counted as {named(piece.animal, piece.ovary)}, as a person decided; by the order of "
            f"the sample sheet, it would be {named(row.animal, row.ovary)}"
            for piece, row in zip(pieces, rows, strict=True)
            if piece.animal and (piece.animal, piece.ovary) != (row.animal, row.ovary)
        )

    def _treatments(self) -> tuple[str, ...]:
        """Note on groups whose means are over animals of several treatments."""
        by_group: dict[str, set[str]] = {}
        for sample in self._samples:
            by_group.setdefault(sample.genotype, set()).add(sample.stimulation or "none")
        several = sorted({name for names in by_group.values() if len(names) > 1 for name in names})
        if not several:
            return ()
        return (
            f"Means of the genotypes are over animals of several treatments ({', '.join(several)}); the comparison "
            "keeps these apart.",
        )

    def _not_counted(self, section_rows: list[dict[str, object]]) -> tuple[str, ...]:
        """Notes on animals and ovaries of the sheet without any counted section."""
        expected = dict.fromkeys((s.model, s.animal, s.ovary) for s in self._samples)
        counted = {(row["model"], row["animal"], row["ovary"]) for row in section_rows}
        return tuple(
            f"{named(animal, ovary)}: none of its sections is counted, so it is missing in the tables"
            for model, animal, ovary in expected
            if (model, animal, ovary) not in counted
        )


def _samples(study: Study, sheet: SampleSheet | None) -> list[Sample]:
    """Rows of the sample sheet for the finished slides of a study."""
    slide_ids = study.slide_ids()
    if not slide_ids:
        raise StudyError(f"{study.path}: no slide is finished in this study; run 'follicle-stager stage' first.")
    first: dict[str, str] = {}
    sources = []
    for slide_id in slide_ids:
        run = study.run(slide_id)
        if (other := first.setdefault(run.content or slide_id, slide_id)) != slide_id:
            raise StudyError(
                f"{study.path}: slides {other} and {slide_id} are the same image, and a section may be counted only "
                f"once. Delete {study.slide_folder(slide_id)}, the copy of the image, and its row in the sample sheet."
            )
        sources.append(SlideSource(slide_id, study.path / run.source))
    return (sheet or SampleSheet.read(study.samples_path)).for_slides(
        sources,
        without_row=f"add one, or delete the slide's folder in {study.path / 'slides'} if it is no longer part of it",
    )


def section_animals(study: Study) -> dict[str, dict[str, str]]:
    """Animal of each section that is counted, by slide and section id.

    Raises
    ------
    StudyError, SampleSheetError
        If the sheet does not match the slides, or sections cannot be assigned.
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


def _section_rows(counted: AssignedSection, follicles: list[Follicle], visible: set[Stage]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    interval = counted.sample.interval
    for stage in TABLE_ROWS:
        own = [f for f in follicles if f.stage == stage]
        # A single predicted outline does not make a stage visible, but a person's judgement does.
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
                "area_mm2": counted.area_mm2,
                "sections": 1,
                "interval_scaled": interval_scaled(countable, interval) if interval else math.nan,
                "interval": interval or math.nan,
                "thickness_um": counted.sample.thickness_um or math.nan,
                "doubtful_sections": int(any(piece.doubt for piece in counted.pieces)),
            }
        )
    return rows


def _luteal_row(
    counted: AssignedSection, follicles: Sequence[Follicle], size: PixelSize | None, visible: set[Stage]
) -> dict[str, object]:
    """Number of profiles of corpora lutea in a section, and their area."""
    own = [f.outline for f in follicles if f.is_corpus_luteum]
    seen = Stage.CORPUS_LUTEUM in visible or any(f.is_corpus_luteum and f.status != Status.PREDICTED for f in follicles)
    luteal_mm2 = math.nan
    if seen and size is not None:
        # Outlines may overlap, or reach over the tissue that is counted.
        inside = unary_union([valid(o) for o in own]).intersection(unary_union([p.outline for p in counted.pieces]))
        luteal_mm2 = min(round(inside.area * size.mpp_x * size.mpp_y / 1e6, 4), counted.area_mm2)
    return {
        **counted.keys(),
        "n_profiles": len(own) if seen else math.nan,
        "luteal_mm2": luteal_mm2,
        "area_mm2": counted.area_mm2,
        "sections": 1,
    }


def _uncounted(sections: Sequence[Section]) -> tuple[str, ...]:
    """Notes on sections, and parts of sections, that are not counted, with the reason."""
    return tuple(
        f"{section.section_id}: not counted ({section.reason or 'left out'}), {section.area_mm2:.2f} mm²"
        for section in sections
        if not section.included
    )


def _twice(slide_id: str, follicles: Sequence[Follicle]) -> tuple[str, ...]:
    """Notes on outlines that overlap so much that one follicle may be counted twice, and what to do about it."""
    counted = [f for f in follicles if f.is_follicle]
    pairs = overlapping([f.outline for f in counted])
    places = [min((counted[i].outline for i in pair), key=lambda o: o.area).centroid for pair in pairs]
    if not places:
        return ()
    where = ", ".join(f"({place.x:.0f}, {place.y:.0f})" for place in places[:_PLACES])
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return (
        f"{slide_id}: {len(places)} {'pair' if len(places) == 1 else 'pairs'} of outlines overlap, so one follicle "
        f"may be counted twice, at (x, y) in pixels: {where}{more}; in 'follicle-stager review', reject one of the "
        "two (0) or merge them (J)",
    )


def _is_rejected(f: Follicle) -> bool:
    """Whether the software found it, but a person decided that it is not a follicle."""
    return f.status == Status.REJECTED or (f.stage == Stage.NOT_FOLLICLE and f.status != Status.ADDED)
