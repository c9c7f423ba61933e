"""Assign the pieces of tissue on a slide to animals, by the sample sheet and a person's decisions, never by guess."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from follicle_stager.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from follicle_stager.records import Section
    from follicle_stager.study.samples import Sample

ANIMAL_KEYS = ["model", "group", "genotype", "animal"]
SECTION_KEYS = [*ANIMAL_KEYS, "ovary", "slide", "section"]


@dataclass(frozen=True)
class AssignedSection:
    """A section of the sample sheet, with its pieces of tissue on the slide and its animal."""

    name: str
    sample: Sample
    pieces: list[Section]

    @property
    def area_mm2(self) -> float:
        """Area of its tissue, mm²."""
        return round(sum(piece.area_mm2 for piece in self.pieces), 4)

    def keys(self) -> dict[str, str]:
        """Columns that identify the section in the tables."""
        return {name: getattr(self.sample, name) for name in SECTION_KEYS} | {"section": self.name}


def assign_sections(slide_id: str, sections: Sequence[Section], samples: Sequence[Sample]) -> list[AssignedSection]:
    """Assign each piece of tissue on a slide to a row of the sample sheet.

    With one row without a section name, each piece is a section of that animal. With one row with a section name, all
    pieces are that section, which tore. With several rows, the pieces in reading order take the rows in the order of
    the sheet. If a person assigned the pieces to animals, this is done for each animal and ovary.

    Parameters
    ----------
    slide_id
        Name of the slide, for section names and messages.
    sections
        Pieces of tissue on the slide; those that are not included are left out.
    samples
        Rows of the sheet for this slide.

    Returns
    -------
    list of AssignedSection
        Sections that are counted.

    Raises
    ------
    StudyError
        If the numbers of rows and pieces differ, or if only some of the pieces are assigned: no section is assigned by
        guess.
    """
    owners = list(dict.fromkeys((s.animal, s.ovary) for s in samples))
    sections = with_owners(slide_id, sections, samples)
    pieces = sorted((s for s in sections if s.included), key=lambda s: s.place)
    given = [p for p in pieces if p.animal]
    if len(owners) == 1 or not given:
        return _in_order(slide_id, pieces, samples)
    if left := [p.section_id for p in pieces if not p.animal]:
        raise StudyError(
            f"slide {slide_id}: {', '.join(left)} is not assigned to an animal, but other sections of the slide are. "
            "Assign each section to its animal, or leave it out, in 'follicle-stager review', part Count."
        )
    counted = []
    for owner in owners:
        rows = [s for s in samples if (s.animal, s.ovary) == owner]
        own = [p for p in pieces if (p.animal, p.ovary) == owner]
        if not own and not any((s.animal, s.ovary) == owner for s in sections):
            raise StudyError(
                f"slide {slide_id}: the sample sheet has a section of {named(*owner)}, but none is assigned to it. "
                "Assign one in 'follicle-stager review', part Count (also one that is left out), or remove the row."
            )
        counted += _in_order(slide_id, own, rows, torn=False)
    return counted


def with_owners(slide_id: str, sections: Sequence[Section], samples: Sequence[Sample]) -> list[Section]:
    """Complete sections for which a person named only the animal, with the ovary of this animal on the slide.

    Raises
    ------
    StudyError
        If the sheet has no such animal or ovary on the slide, or several ovaries of the animal.
    """
    owners = list(dict.fromkeys((s.animal, s.ovary) for s in samples))
    return [_owned(slide_id, section, owners) for section in sections]


def _owned(slide_id: str, section: Section, owners: Sequence[tuple[str, str]]) -> Section:
    own = [owner for owner in owners if owner[0] == section.animal]
    if not (section.animal or section.ovary) or (section.animal, section.ovary) in own:
        return section
    if section.animal and not section.ovary and len(own) == 1:
        return replace(section, ovary=own[0][1])
    if not section.included:
        return section
    given = f"slide {slide_id}: section {section.section_id} was assigned to {named(section.animal, section.ovary)}"
    if section.animal and not section.ovary and own:
        raise StudyError(f"{given}; choose the ovary, L or R.")
    raise StudyError(
        f"{given}, but the sample sheet has no such row for this slide. Add one, or assign the section to another "
        "animal in 'follicle-stager review', part Count."
    )


def named(animal: str, ovary: str) -> str:
    """Animal and ovary as text."""
    return f"{animal} {ovary}".strip()


def _in_order(
    slide_id: str, pieces: list[Section], samples: Sequence[Sample], *, torn: bool = True
) -> list[AssignedSection]:
    """Assign pieces to rows of the sheet in reading order; with ``torn``, one row may have several pieces."""
    if not pieces:
        return []
    if len(samples) == 1 and (torn or not samples[0].section):
        sample = samples[0]
        if sample.section:
            return [AssignedSection(f"{slide_id}_{sample.section}", sample, pieces)]
        return [AssignedSection(piece.section_id, sample, [piece]) for piece in pieces]
    if len(samples) != len(pieces):
        animals = ", ".join(dict.fromkeys(s.animal for s in samples))
        rows = "1 row" if len(samples) == 1 else f"{len(samples)} rows"
        found = "1 section was" if len(pieces) == 1 else f"{len(pieces)} sections were"
        raise StudyError(
            f"slide {slide_id}: the sample sheet has {rows} of {animals} for it, but {found} found (see "
            f"slides/{slide_id}/overlay.jpg). Write one row per section in reading order, or a single row if all "
            "sections are from one animal. Or, in 'follicle-stager review', part Count: merge torn sections, leave out "
            "what is not a section, and assign each section to its animal."
        )
    return [
        AssignedSection(f"{slide_id}_{sample.section}", sample, [piece])
        for piece, sample in zip(pieces, samples, strict=True)
    ]
