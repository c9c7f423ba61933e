"""The part of a desk where a person says whose sections are, which are one, and what of them is counted. No screen."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shapely.geometry import Polygon

    from follicle_stager.corrections import Edit, ReviewSession
    from follicle_stager.records import Section
    from follicle_stager.study import Tally


class SectionDesk:
    """Sections of the slide that is open on a desk.

    Parameters
    ----------
    session
        Gives the slide that is open.
    tally
        Knows the sample sheet; None where there is none.
    done
        Told of each edit.
    """

    def __init__(self, session: Callable[[], ReviewSession], tally: Tally | None, done: Callable[[Edit], None]) -> None:
        self._open, self._tally, self._done = session, tally, done

    @property
    def _session(self) -> ReviewSession:
        return self._open()

    @property
    def sections(self) -> list[Section]:
        """Of the open slide, in reading order, those that are not counted included."""
        return sorted(self._session.sections, key=lambda s: s.place)

    @property
    def owners(self) -> list[tuple[str, str]]:
        """Animals and ovaries that the sample sheet names for the open slide; none without a sheet."""
        return self._tally.owners(self._session.folder.name) if self._tally is not None else []

    def owner_of(self) -> dict[str, tuple[str, str]]:
        """Animal and ovary of each section that is counted, by id: as a person said, else as the sheet has it.

        A section of which neither is known is left out.
        """
        owners = {s.section_id: (s.animal, s.ovary) for s in self.sections if s.included and s.animal}
        if self._tally is not None:
            with contextlib.suppress(UserError):  # the sheet does not fit, so it says nothing of the others
                counted = self._tally.assigned(self._session.folder.name, self._session.sections)
                owners = {p.section_id: (c.sample.animal, c.sample.ovary) for c in counted for p in c.pieces}
        return owners

    def assign(self, ids: Iterable[str], owner: tuple[str, str] | None) -> None:
        """Say whose sections are; others stay those of the animals that the sheet gave them to.

        Parameters
        ----------
        ids
            Of sections.
        owner
            Animal and ovary; None leaves it to the sheet again.
        """
        if owner is None:
            self._done(self._session.assign(dict.fromkeys(ids, ("", ""))))
            return
        said = {s.section_id for s in self.sections if s.animal}
        sheet = {i: own for i, own in self.owner_of().items() if len(self.owners) > 1 and i not in said}
        self._done(self._session.assign(sheet | dict.fromkeys(ids, owner)))

    def include(self, ids: Iterable[str], included: bool, reason: str = "") -> None:
        """Leave sections out of the counts, or take them in again."""
        self._done(self._session.set_included(ids, included, reason))

    def merge(self, ids: Iterable[str]) -> None:
        """Make one section of several."""
        self._done(self._session.merge_sections(ids))

    def exclude_region(self, region: Polygon, reason: str = "") -> None:
        """Cut a region (level-0 pixels) out of the sections below it: it is not counted."""
        self._done(self._session.exclude_region(region, reason))
