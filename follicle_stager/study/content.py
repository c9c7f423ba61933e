"""Current content of one slide of a study: its follicles, each assigned to its section."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from follicle_stager.annotations import in_words, read_outlines, read_sections
from follicle_stager.corrections.sections import places
from follicle_stager.corrections.standing import FOLLICLES, SECTIONS
from follicle_stager.errors import StudyError
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from follicle_stager.corrections.standing import Standing
    from follicle_stager.records import Follicle, Section


@dataclass(frozen=True)
class SlideContent:
    """Current content of a slide.

    Attributes
    ----------
    follicles
        Follicles in the order of their numbers on the overlay, including rejected ones.
    sections
        Sections, including those that are not counted.
    notes
        Notes for the user.
    """

    follicles: tuple[Follicle, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()

    @property
    def included(self) -> list[Follicle]:
        """Follicles on sections that are counted, including rejected ones."""
        sections = {section.section_id for section in self.sections if section.included}
        return [f for f in self.follicles if f.section_id in sections]


def read_content(folder: Path, stands: Standing | None) -> SlideContent:
    """Read the current content of a slide.

    Parameters
    ----------
    folder
        Folder of the slide in its study.
    stands
        Current state by the log. None if the run is not known, as in a study that was put together by hand; the state
        is then read from the files for other programs.

    Raises
    ------
    UserError
        If the files cannot be read, or a follicle lies on no section.
    """
    slide_id = folder.name
    if stands is None:
        outlines, sections = read_outlines(folder / FOLLICLES), read_sections(folder / SECTIONS)
        follicles, left_out = outlines.follicles, in_words(outlines.left_out)
    else:
        follicles, sections = list(stands.state.follicles.values()), list(stands.state.sections.values())
        left_out = stands.left_out
    notes = [f"{slide_id}: objects in {FOLLICLES} that are not follicles: {left_out}"] if left_out else []
    gone = sum(f.status == Status.REJECTED for edit in (stands.imported if stands else ()) for f in edit.after)
    if gone:
        notes.append(f"{slide_id}: {gone} follicles were removed from {FOLLICLES}, and count as rejected")
    return SlideContent(tuple(placed(folder, follicles, sections)), tuple(sections), tuple(notes))


def placed(folder: Path, follicles: Iterable[Follicle], sections: Sequence[Section]) -> list[Follicle]:
    """Assign the follicles of a slide to their sections; rejected follicles that lie on no section are left out.

    Raises
    ------
    StudyError
        If another follicle lies on no section.
    """
    if not sections:
        raise StudyError(
            f"{folder / SECTIONS}: the sections of this slide are lost. Delete run.json in this folder, and run "
            "'follicle-stager stage' again; corrections are kept."
        )
    there = []
    for follicle, section_id in places(follicles, sections):
        if section_id is not None:
            same = section_id == follicle.section_id
            there.append(follicle if same else replace(follicle, section_id=section_id))
        elif follicle.status != Status.REJECTED:
            centre = follicle.outline.centroid
            raise StudyError(
                f"{folder / FOLLICLES}: the {follicle.stage.label} outline at x = {centre.x:.0f}, y = {centre.y:.0f} "
                "lies on no section and cannot be counted; move or delete it."
            )
    return there
