"""One correction: what stood before and what stands after, whose it is, when, and of which run.

An edit says nothing about how it was made: whatever a person does to follicles is some that go and some that come in
their place. So every command has an inverse (the two exchanged), replaying needs no knowledge of commands, and undo is
an edit like any other.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from follicle_stager.annotations.geojson import follicle_features, follicles_of
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from follicle_stager.records import Follicle


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
    UNDO = "undo"
    REDO = "redo"
    IMPORT = "import"
    """follicles.geojson was changed by another program."""
    REATTACH = "reattach"
    """A later run found the follicles that were corrected before."""
    SAVED = "saved"
    """No edit: follicles.geojson was written."""


class Conflict(Exception):
    """An edit of follicles that do not stand as the edit found them."""


@dataclass(frozen=True)
class Edit:
    """One correction.

    Attributes
    ----------
    before, after
        Follicles that it takes away, and that come in their place; one that changes is in both with its id. As
        GeoJSON rounds them (see `rounded`).
    author, time
        Who, and when (ISO 8601, UTC).
    run_id, software
        The run whose follicles were corrected, and by which version.
    of
        Of ``undo`` and ``redo``: id of the edit. Of ``saved`` and ``import``: SHA-256 of follicles.geojson.
    """

    kind: Kind
    before: tuple[Follicle, ...]
    after: tuple[Follicle, ...]
    author: str
    time: str
    run_id: str
    software: str
    of: str = ""
    id: str = dataclass_field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def make(
        cls,
        kind: Kind,
        before: Iterable[Follicle] = (),
        after: Iterable[Follicle] = (),
        *,
        author: str,
        run_id: str,
        software: str,
        of: str = "",
    ) -> Edit:
        """A new edit, of this moment."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(kind, tuple(before), rounded(after), author, now, run_id, software, of)

    def apply(self, state: dict[str, Follicle]) -> None:
        """Change the follicles of a slide, by id; a follicle that stays keeps its place.

        Raises
        ------
        Conflict
            If one of ``before`` is missing or differs, or one that is new exists; nothing is changed then.
        """
        gone = {f.id for f in self.before}
        for follicle in self.before:
            if state.get(follicle.id) != follicle:
                raise Conflict(f"{self.kind}: follicle {follicle.id} is not as it was when {self.author} edited it")
        for follicle in self.after:
            if follicle.id in state and follicle.id not in gone:
                raise Conflict(f"{self.kind}: there is a follicle {follicle.id} already")
        for follicle in self.after:
            state[follicle.id] = follicle
        for follicle_id in gone - {f.id for f in self.after}:
            del state[follicle_id]

    def to_line(self) -> str:
        """The edit as one line of JSON."""
        values = {name: getattr(self, name) for name in ("id", "kind", "author", "time", "run_id", "software", "of")}
        sides = {"before": self.before, "after": self.after}
        features = {side: [x for f in follicles for x in follicle_features(f)] for side, follicles in sides.items()}
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
            values: dict[str, Any] = json.loads(line)
            before, after = (tuple(follicles_of(values.pop(side), where)) for side in ("before", "after"))
            return cls(Kind(values.pop("kind")), before, after, **values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
            raise UserError(f"{where}: this is no edit ({error}).") from None


def rounded(follicles: Iterable[Follicle]) -> tuple[Follicle, ...]:
    """Follicles as they are when they were written and read: so those in memory and on disk are the same."""
    return tuple(follicles_of([x for f in follicles for x in follicle_features(f)], "follicles"))


def another_id(made: str, taken: Container[str]) -> str:
    """An id itself, or another one made of it if it is taken: of the same follicle always the same."""
    while made in taken:
        made = str(uuid.uuid5(uuid.NAMESPACE_OID, made))
    return made


def replay(predicted: Iterable[Follicle], edits: Iterable[Edit]) -> dict[str, Follicle]:
    """What stands after the edits of one run, by id.

    Raises
    ------
    Conflict
        If an edit does not fit to what the earlier ones left.
    """
    state = {f.id: f for f in predicted}
    for edit in edits:
        edit.apply(state)
    return state
