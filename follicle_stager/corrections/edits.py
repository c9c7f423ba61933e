"""One correction: the state before and after, its author, its time, and its run.

An edit does not depend on how it was made: whatever a person does, some follicles or sections are removed, and others
take their place. Therefore every edit has an inverse (before and after exchanged), replaying needs no knowledge of
commands, and undo is an edit like any other. Edits do not assign follicles to sections: this is calculated from the
outlines when needed, so that staging and assigning sections never change the same object.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from follicle_stager.annotations import sections as section_files
from follicle_stager.annotations.geojson import (
    as_written,
    follicle_features,
    follicles_of,
)
from follicle_stager.errors import UserError
from follicle_stager.files import parse_json
from follicle_stager.records import Follicle, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from shapely.geometry import MultiPolygon, Polygon

T = TypeVar("T", Follicle, Section)


class Kind(StrEnum):
    """What a person did; only for information, as replaying does not use it."""

    SET_STAGE = "set_stage"
    SET_HEALTH = "set_health"
    SET_COUNTABLE = "set_countable"
    SET_STATUS = "set_status"
    ADD = "add"
    FIND = "find"
    """A part of the slide was searched again; the new follicles are not judged."""
    DELETE = "delete"
    RESHAPE = "reshape"
    MERGE = "merge"
    SPLIT = "split"
    ASSIGN_SECTION = "assign_section"
    MERGE_SECTIONS = "merge_sections"
    EXCLUDE_REGION = "exclude_region"
    """A part was cut out of its section; it becomes a section of its own that is not counted."""
    SET_INCLUDED = "set_included"
    """A whole section was excluded from the counts, or included again."""
    JUDGE_WHOLE = "judge_whole"
    """A person said that every follicle of a section is marked, or took this back."""
    UNDO = "undo"
    REDO = "redo"
    IMPORT = "import"
    """follicles.geojson or sections.geojson was changed by another program."""
    REATTACH = "reattach"
    """Earlier corrections were carried over to the follicles of a later run."""
    SAVED = "saved"
    """Not an edit: follicles.geojson or sections.geojson was written."""


class Conflict(Exception):
    """An edit does not fit the current state."""


@dataclass(frozen=True)
class State:
    """State of a slide: follicles and sections by id, in the order of the files."""

    follicles: dict[str, Follicle]
    sections: dict[str, Section]

    @classmethod
    def of(cls, follicles: Iterable[Follicle], sections: Iterable[Section]) -> State:
        """The state after a run."""
        return cls({f.id: f for f in follicles}, {s.section_id: s for s in sections})

    def copy(self) -> State:
        """A copy that can be changed."""
        return State(dict(self.follicles), dict(self.sections))


@dataclass(frozen=True)
class Edit:
    """One correction.

    Attributes
    ----------
    kind
        Kind of the edit.
    before, after
        Follicles that are removed, and follicles that take their place, rounded as in GeoJSON; a follicle that changes
        is in both with the same id.
    author, time
        Author, and time (ISO 8601, UTC).
    run_id, software
        Run whose follicles were corrected, and version of the software.
    of
        Id of the edit that is undone or redone; for ``saved`` and ``import``, name and SHA-256 of the file.
    sections_before, sections_after
        Sections that are removed, and sections that take their place.
    blind
        Whether the names of slides, animals and groups were hidden from the author.
    id
        Id of the edit.
    """

    kind: Kind
    before: tuple[Follicle, ...]
    after: tuple[Follicle, ...]
    author: str
    time: str
    run_id: str
    software: str
    of: str = ""
    sections_before: tuple[Section, ...] = ()
    sections_after: tuple[Section, ...] = ()
    blind: bool = False
    id: str = dataclass_field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def make(
        cls,
        kind: Kind,
        before: Iterable[Follicle] = (),
        after: Iterable[Follicle] = (),
        *,
        sections_before: Iterable[Section] = (),
        sections_after: Iterable[Section] = (),
        author: str,
        run_id: str,
        software: str,
        of: str = "",
        blind: bool = False,
    ) -> Edit:
        """A new edit with the current time."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        sections = tuple(sections_before), tuple(section_files.as_written(sections_after))
        follicles = tuple(before), tuple(as_written(after))
        return cls(kind, *follicles, author, now, run_id, software, of, *sections, blind)

    @property
    def changes(self) -> bool:
        """Whether the edit changes anything."""
        return bool(self.before or self.after or self.sections_before or self.sections_after)

    @property
    def outline(self) -> Polygon | MultiPolygon:
        """Place of the edit: the outline of its first follicle or section."""
        outlines: list[Polygon | MultiPolygon] = [f.outline for f in (*self.before, *self.after)]
        outlines += [s.outline for s in (*self.sections_before, *self.sections_after)]
        return outlines[0]

    def apply(self, state: State) -> None:
        """Change the state of a slide; objects that stay keep their place in the order.

        Raises
        ------
        Conflict
            If an object of ``before`` is missing or differs, or a new one already exists; nothing is then changed.
        """
        follicles = self._exchange(state.follicles, self.before, self.after, attrgetter("id"))
        sections = self._exchange(state.sections, self.sections_before, self.sections_after, attrgetter("section_id"))
        follicles()
        sections()

    def _exchange(
        self, state: dict[str, T], before: Iterable[T], after: Iterable[T], id_of: Callable[[T], str]
    ) -> Callable[[], None]:
        """Check that the objects can be exchanged; return a function that exchanges them."""
        gone, come = {id_of(x): x for x in before}, {id_of(x): x for x in after}
        for own, thing in gone.items():
            if state.get(own) != thing:
                raise Conflict(f"{self.kind}: {own} was changed since {self.author} edited it")
        for own in come:
            if own in state and own not in gone:
                raise Conflict(f"{self.kind}: {own} already exists")

        def do() -> None:
            state.update(come)
            for own in gone.keys() - come.keys():
                del state[own]

        return do

    def to_line(self) -> str:
        """The edit as one line of JSON."""
        values = {name: getattr(self, name) for name in ("id", "kind", "author", "time", "run_id", "software", "of")}
        sides = {"before": self.before, "after": self.after}
        features = {side: [x for f in follicles for x in follicle_features(f)] for side, follicles in sides.items()}
        pieces = {"sections_before": self.sections_before, "sections_after": self.sections_after}
        features |= {
            side: [section_files.section_feature(s) for s in sections] for side, sections in pieces.items() if sections
        }
        return json.dumps(values | ({"blind": True} if self.blind else {}) | features, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Edit:
        """Read a line that `to_line` wrote.

        Raises
        ------
        UserError
            If the line is something else; the message contains ``where``.
        """
        try:
            values: dict[str, Any] = parse_json(line, where)
            said = [values.get(name, "") for name in ("id", "kind", "author", "time", "run_id", "software", "of")]
            if not all(isinstance(text, str) for text in said):
                raise TypeError("id, kind, author, time, run_id, software and of are text")
            if not isinstance(values.get("blind", False), bool):
                raise TypeError("blind is true or false")
            if not all(isinstance(values[side], list) for side in ("before", "after")):
                raise TypeError("before and after are lists")
            before, after = (tuple(follicles_of(values.pop(side), where)) for side in ("before", "after"))
            for side in values.keys() & {"sections_before", "sections_after"}:
                values[side] = tuple(section_files.sections_of(values[side], where))
            return cls(Kind(values.pop("kind")), before, after, **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
            why = str(error).removeprefix(f"{where}: ")
            raise UserError(
                f"{where}: this is not an edit ({why}). Restore the file from a copy, or delete this line, which loses "
                "this one correction."
            ) from None


def another_id(made: str, taken: Container[str]) -> str:
    """The given id, or another one derived from it if it is taken; the result is reproducible."""
    while made in taken:
        made = str(uuid.uuid5(uuid.NAMESPACE_OID, made))
    return made


def replay(predicted: State, edits: Iterable[Edit]) -> State:
    """State after the edits of one run.

    Raises
    ------
    Conflict
        If an edit does not fit the state after the earlier ones.
    """
    state = predicted.copy()
    for edit in edits:
        edit.apply(state)
    return state
