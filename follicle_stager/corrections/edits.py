"""One correction: what stood before and what stands after, whose it is, when, and of which run.

An edit says nothing about how it was made: whatever a person does to follicles or sections is some that go and some
that come in their place. So every command has an inverse (the two exchanged), replaying needs no knowledge of commands,
and undo is an edit like any other. Follicles are not told which section they lie on: that is worked out from the
outlines when it is asked for, so that who stages and who assigns sections never edit the same thing.
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

from follicle_stager.annotations.geojson import (
    as_sections_are_written,
    as_written,
    follicle_features,
    follicles_of,
    section_feature,
    sections_of,
)
from follicle_stager.errors import UserError
from follicle_stager.files import parse_json
from follicle_stager.records import Follicle, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from shapely.geometry import MultiPolygon, Polygon

T = TypeVar("T", Follicle, Section)


class Kind(StrEnum):
    """What a person did; for people, since replaying does not ask."""

    SET_STAGE = "set_stage"
    SET_HEALTH = "set_health"
    SET_COUNTABLE = "set_countable"
    SET_STATUS = "set_status"
    ADD = "add"
    FIND = "find"
    """A part of the slide was searched again; what came of it nobody has judged."""
    DELETE = "delete"
    RESHAPE = "reshape"
    MERGE = "merge"
    SPLIT = "split"
    ASSIGN_SECTION = "assign_section"
    MERGE_SECTIONS = "merge_sections"
    EXCLUDE_REGION = "exclude_region"
    """A part was cut out of its section; it is one of its own then, which is not counted."""
    SET_INCLUDED = "set_included"
    """A whole section is not counted, or is again."""
    UNDO = "undo"
    REDO = "redo"
    IMPORT = "import"
    """follicles.geojson or sections.geojson was changed by another program."""
    REATTACH = "reattach"
    """A later run found the follicles that were corrected before."""
    SAVED = "saved"
    """No edit: one of these files was written."""


class Conflict(Exception):
    """An edit of something that does not stand as the edit found it."""


@dataclass(frozen=True)
class State:
    """What stands on a slide: follicles and sections by id, in the order of the files."""

    follicles: dict[str, Follicle]
    sections: dict[str, Section]

    @classmethod
    def of(cls, follicles: Iterable[Follicle], sections: Iterable[Section]) -> State:
        """The state that a run leaves."""
        return cls({f.id: f for f in follicles}, {s.section_id: s for s in sections})

    def copy(self) -> State:
        """Another one that can be changed."""
        return State(dict(self.follicles), dict(self.sections))


@dataclass(frozen=True)
class Edit:
    """One correction.

    Attributes
    ----------
    before, after
        Follicles that it takes away, and that come in their place; one that changes is in both with its id. As
        GeoJSON rounds them.
    sections_before, sections_after
        Sections likewise.
    author, time
        Who, and when (ISO 8601, UTC).
    run_id, software
        The run whose follicles were corrected, and by which version.
    of
        Of ``undo`` and ``redo``: id of the edit. Of ``saved`` and ``import``: SHA-256 of the file.
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
    ) -> Edit:
        """A new edit, of this moment."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        sections = tuple(sections_before), tuple(as_sections_are_written(sections_after))
        return cls(kind, tuple(before), tuple(as_written(after)), author, now, run_id, software, of, *sections)

    @property
    def changes(self) -> bool:
        """Whether anything is another after it."""
        return bool(self.before or self.after or self.sections_before or self.sections_after)

    @property
    def outline(self) -> Polygon | MultiPolygon:
        """Where it was made: the outline of the first thing that goes or comes."""
        outlines: list[Polygon | MultiPolygon] = [f.outline for f in (*self.before, *self.after)]
        outlines += [s.outline for s in (*self.sections_before, *self.sections_after)]
        return outlines[0]

    def apply(self, state: State) -> None:
        """Change what stands on a slide; what stays keeps its place.

        Raises
        ------
        Conflict
            If something of ``before`` is missing or differs, or something new exists; nothing is changed then.
        """
        follicles = self._exchange(state.follicles, self.before, self.after, attrgetter("id"))
        sections = self._exchange(state.sections, self.sections_before, self.sections_after, attrgetter("section_id"))
        follicles()
        sections()

    def _exchange(
        self, state: dict[str, T], before: Iterable[T], after: Iterable[T], id_of: Callable[[T], str]
    ) -> Callable[[], None]:
        """Check that something can be exchanged; what is returned does it."""
        gone, come = {id_of(x): x for x in before}, {id_of(x): x for x in after}
        for own, thing in gone.items():
            if state.get(own) != thing:
                raise Conflict(f"{self.kind}: {own} is not as it was when {self.author} edited it")
        for own in come:
            if own in state and own not in gone:
                raise Conflict(f"{self.kind}: there is a {own} already")

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
        features |= {side: [section_feature(s) for s in sections] for side, sections in pieces.items() if sections}
        return json.dumps(values | features, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Edit:
        """Read what `to_line` wrote.

        Raises
        ------
        UserError
            If the line is something else; ``where`` it stands is said.
        """
        try:
            values: dict[str, Any] = parse_json(line, where)
            said = [values.get(name, "") for name in ("id", "kind", "author", "time", "run_id", "software", "of")]
            if not all(isinstance(text, str) for text in said):
                raise TypeError("id, kind, author, time, run_id, software and of are text")
            if not all(isinstance(values[side], list) for side in ("before", "after")):
                raise TypeError("before and after are lists")
            before, after = (tuple(follicles_of(values.pop(side), where)) for side in ("before", "after"))
            for side in values.keys() & {"sections_before", "sections_after"}:
                values[side] = tuple(sections_of(values[side], where))
            return cls(Kind(values.pop("kind")), before, after, **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
            why = str(error).removeprefix(f"{where}: ")
            raise UserError(
                f"{where}: this is no edit ({why}). Restore the file from a copy; or delete this line, and that one "
                "correction is lost."
            ) from None


def another_id(made: str, taken: Container[str]) -> str:
    """An id itself, or another one made of it if it is taken: of the same follicle always the same."""
    while made in taken:
        made = str(uuid.uuid5(uuid.NAMESPACE_OID, made))
    return made


def replay(predicted: State, edits: Iterable[Edit]) -> State:
    """What stands after the edits of one run.

    Raises
    ------
    Conflict
        If an edit does not fit to what the earlier ones left.
    """
    state = predicted.copy()
    for edit in edits:
        edit.apply(state)
    return state
