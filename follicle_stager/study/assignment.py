"""Whose each piece of tissue on a slide is: by the sample sheet and what a person said, and never by guess."""

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
    """A section of the sample sheet: the pieces of tissue on the slide, and whose they are."""

    name: str
    sample: Sample
    pieces: list[Section]

    def keys(self) -> dict[str, str]:
        """Columns that say what is counted."""
        return {name: getattr(self.sample, name) for name in SECTION_KEYS} | {"section": self.name}


def assign_sections(slide_id: str, sections: Sequence[Section], samples: Sequence[Sample]) -> list[AssignedSection]:
    """Say which row of the sheet each piece of tissue on a slide belongs to.

    One row without section: each piece is a section of that animal. One row with a section: all pieces are that
    section, which tore. Several rows: the pieces in reading order take the rows in the order of the sheet; where a
    person gave pieces to animals, those of each animal and ovary take its rows so.

    Parameters
    ----------
    slide_id
        For names and messages.
    sections
        Pieces of tissue on the slide; those that are not included are left out.
    samples
        Rows of the sheet for this slide.

    Returns
    -------
    list of AssignedSection

    Raises
    ------
    StudyError
        If rows and pieces differ in number, or some pieces are assigned and others not: no section is given to an
        animal by guess.
    """
    owners = list(dict.fromkeys((s.animal, s.ovary) for s in samples))
    sections = with_owners(slide_id, sections, samples)
    pieces = sorted((s for s in sections if s.included), key=lambda s: s.place)
    given = [p for p in pieces if p.animal]
    if len(owners) == 1 or not given:
        return _in_order(slide_id, pieces, samples)
    if left := [p.section_id for p in pieces if not p.animal]:
        raise StudyError(
            f"slide {slide_id}: nobody said whose {', '.join(left)} is, while other sections of the slide were given "
            "to an animal. Give each one to its animal, or leave it out, in 'follicle-stager review', part Count."
        )
    counted = []
    for owner in owners:
        rows = [s for s in samples if (s.animal, s.ovary) == owner]
        own = [p for p in pieces if (p.animal, p.ovary) == owner]
        if not own and not any((s.animal, s.ovary) == owner for s in sections):
            raise StudyError(
                f"slide {slide_id}: the sample sheet has a section of {named(*owner)} on it, and none was given to "
                "it. Give it one in 'follicle-stager review', part Count, also one that is left out, or remove the row."
            )
        counted += _in_order(slide_id, own, rows, torn=False)
    return counted


def with_owners(slide_id: str, sections: Sequence[Section], samples: Sequence[Sample]) -> list[Section]:
    """Sections with the ovary that their animal has on the slide, where a person named the animal alone.

    Raises
    ------
    StudyError
        If the sheet has no such animal or ovary on the slide, or several ovaries.
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
    given = f"slide {slide_id}: section {section.section_id} was given to {named(section.animal, section.ovary)}"
    if section.animal and not section.ovary and own:
        raise StudyError(f"{given}; say to which ovary, L or R.")
    raise StudyError(
        f"{given}, and the sample sheet has no row for that on this slide. Add one, or give the section to another "
        "animal in 'follicle-stager review', part Count."
    )


def named(animal: str, ovary: str) -> str:
    """Animal and ovary, in words."""
    return f"{animal} {ovary}".strip()


def _in_order(
    slide_id: str, pieces: list[Section], samples: Sequence[Sample], *, torn: bool = True
) -> list[AssignedSection]:
    """Give pieces to rows of the sheet in reading order; ``torn``: several may be the section of one row."""
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
        found = "1 section is" if len(pieces) == 1 else f"{len(pieces)} sections are"
        raise StudyError(
            f"slide {slide_id}: the sample sheet has {rows} of {animals} for it, and {found} there (see "
            f"slides/{slide_id}/overlay.jpg). Give it one row per section in reading order, or a single row if all "
            "sections are of one animal; or merge what tore, leave out what is none, and say whose each section is in "
            "'follicle-stager review', part Count."
        )
    return [
        AssignedSection(f"{slide_id}_{sample.section}", sample, [piece])
        for piece, sample in zip(pieces, samples, strict=True)
    ]
