"""The part of a desk for sections: assign, merge, include and exclude them; no user interface."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from follicle_stager.corrections.sections import judged_whole
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shapely.geometry import Polygon

    from follicle_stager.corrections import Edit, ReviewSession
    from follicle_stager.records import Section
    from follicle_stager.study import Tally


class SectionDesk:
    """Sections of the open slide of a desk.

    Parameters
    ----------
    session
        Function that returns the session of the open slide.
    tally
        Counts with the sample sheet; None if there is no sheet.
    done
        Function that is called with each edit.
    """

    def __init__(self, session: Callable[[], ReviewSession], tally: Tally | None, done: Callable[[Edit], None]) -> None:
        self._open, self._tally, self._done = session, tally, done

    @property
    def _session(self) -> ReviewSession:
        return self._open()

    @property
    def sections(self) -> list[Section]:
        """Sections of the open slide in reading order, including those that are not counted."""
        return sorted(self._session.sections, key=lambda s: s.place)

    @property
    def judged_whole(self) -> list[Section]:
        """Sections of which every follicle is marked, as a person said, and which have no claim that is not judged."""
        return judged_whole(self._session.follicles, self._session.sections)

    @property
    def owners(self) -> list[tuple[str, str]]:
        """Animals and ovaries of the open slide in the sample sheet; empty without a sheet."""
        return self._tally.owners(self._session.folder.name) if self._tally is not None else []

    def owner_of(self) -> dict[str, tuple[str, str]]:
        """Animal and ovary of each counted section, by id: as a person assigned it, or else by the sample sheet.

        Sections without a known animal are left out.
        """
        owners = {s.section_id: (s.animal, s.ovary) for s in self.sections if s.included and s.animal}
        if self._tally is not None:
            with contextlib.suppress(UserError):  # the sheet does not match, so the other sections have no animal
                counted = self._tally.assigned(self._session.folder.name, self._session.sections)
                owners = {p.section_id: (c.sample.animal, c.sample.ovary) for c in counted for p in c.pieces}
        return owners

    def assign(self, ids: Iterable[str], owner: tuple[str, str] | None) -> None:
        """Assign sections to an animal; the other sections keep the animals that the sheet assigns to them.

        Parameters
        ----------
        ids
            Ids of sections.
        owner
            Animal and ovary; None returns to the assignment by the sheet.
        """
        if owner is None:
            self._done(self._session.assign(dict.fromkeys(ids, ("", ""))))
            return
        said = {s.section_id for s in self.sections if s.animal}
        sheet = {i: own for i, own in self.owner_of().items() if len(self.owners) > 1 and i not in said}
        self._done(self._session.assign(sheet | dict.fromkeys(ids, owner)))

    def include(self, ids: Iterable[str], included: bool, reason: str = "") -> None:
        """Exclude sections from the counts, or include them again."""
        self._done(self._session.set_included(ids, included, reason))

    def judge_whole(self, ids: Iterable[str]) -> None:
        """Say that every follicle of these sections is marked; if this was said of all of them, take it back."""
        ids = set(ids)
        known = ids <= {s.section_id for s in self.judged_whole}
        self._done(self._session.judge_whole(ids, not known))

    def merge(self, ids: Iterable[str]) -> None:
        """Merge sections."""
        self._done(self._session.merge_sections(ids))

    def exclude_region(self, region: Polygon, reason: str = "") -> None:
        """Cut a region (level-0 pixels) out of the sections below it; it is then not counted."""
        self._done(self._session.exclude_region(region, reason))
