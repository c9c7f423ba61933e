"""``audit/log.jsonl``: what a person saw in the fields of an audit, one line each, on disk before it is shown.

In each field, the person first marks the follicles, then sees the claims of the software and settles the differences.
Both versions are kept: the first is what a person finds unaided, the second is taken for the truth. The marks of an
audit do not change the follicles of the slides, which go on to be what the audit is compared with.

Events: ``mark`` (also a changed mark), ``unmark``, ``show`` (the claims are shown), ``settle``, ``done``, ``undo``;
``close`` and ``reopen`` for the whole audit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from follicle_stager.audit.plan import FOLDER, AuditPlan, plan_id
from follicle_stager.corrections.log import lines_of
from follicle_stager.errors import UserError
from follicle_stager.files import parse_json
from follicle_stager.stages import Countable, Health, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.study import Study

#: The field of a visit, and whether it is the second visit.
VisitKey = tuple[str, bool]

# A mark is of a claim if it lies within its circle, or within this distance of its reference point, µm. A claim from
# this diameter on is no resting follicle, µm.
_NEAR_UM, _LARGE_UM = 10.0, 60.0
_RESTING = (Stage.PRIMORDIAL, Stage.TRANSITIONAL)


@dataclass(frozen=True)
class Seen:
    """A follicle or corpus luteum in a field: a mark of a person, or a claim of the software.

    Attributes
    ----------
    id
        Id of the mark; of a claim, the id of its follicle.
    x_px, y_px
        Reference point, level-0 pixels.
    stage, health, countable
        What it is; the stage *not a follicle* says that there is nothing.
    diameter_um
        Diameter of a claim, µm; 0 for a mark.
    """

    id: str
    x_px: float
    y_px: float
    stage: Stage
    health: Health = Health.HEALTHY
    countable: Countable = Countable.YES
    diameter_um: float = 0.0

    @property
    def kind(self) -> tuple[Stage, bool, bool]:
        """What is counted: the stage, whether it is atretic, and whether its nucleus is visible."""
        return self.stage, self.health == Health.ATRETIC, self.countable == Countable.YES


@dataclass(frozen=True)
class Visit:
    """One visit of a field.

    Attributes
    ----------
    readers
        Names of the persons, in the order of their acts.
    marks
        Marks by id, also those that were set after the claims were shown.
    first
        Marks at the time when the claims were shown; None before.
    settled
        Decisions about differences, by the id of the mark or claim.
    done
        Whether the visit is finished.
    hidden, blind
        Whether the claims were hidden at first, and the names of slides and animals.
    """

    readers: tuple[str, ...] = ()
    marks: dict[str, Seen] = field(default_factory=dict)
    first: tuple[Seen, ...] | None = None
    settled: dict[str, Seen] = field(default_factory=dict)
    done: bool = False
    hidden: bool = True
    blind: bool = True

    def after(self, event: dict[str, Any]) -> Visit:
        """The visit after an event."""
        readers = tuple(dict.fromkeys([*self.readers, str(event["reader"])]))
        kind, visit = event["event"], replace(self, readers=readers, blind=self.blind and event["blind"])
        if kind == "mark":
            seen = _seen(event)
            return replace(visit, marks=self.marks | {seen.id: seen})
        if kind == "unmark":
            return replace(visit, marks={k: m for k, m in self.marks.items() if k != event["object"]})
        if kind == "show":
            return replace(visit, first=tuple(self.marks.values()), hidden=event["hidden"])
        if kind == "settle":
            seen = _seen(event)
            return replace(visit, settled=self.settled | {seen.id: seen})
        return replace(visit, done=True)

    @property
    def compared_marks(self) -> list[Seen]:
        """Marks that are compared with the claims: those that were set before the claims were shown."""
        first = self.marks if self.first is None else {mark.id for mark in self.first}
        return [mark for mark_id, mark in self.marks.items() if mark_id in first]

    @property
    def later_marks(self) -> list[Seen]:
        """Marks that were set with the claims in view: each stands for a follicle of its own."""
        compared = {mark.id for mark in self.compared_marks}
        return [mark for mark_id, mark in self.marks.items() if mark_id not in compared]


@dataclass(frozen=True)
class Difference:
    """A claim and a mark that are of the same follicle, or one of them without the other."""

    claim: Seen | None
    mark: Seen | None

    @property
    def id(self) -> str:
        """Id under which it is settled: that of the mark if there is one."""
        one = self.mark or self.claim
        assert one is not None
        return one.id

    @property
    def agrees(self) -> bool:
        """Whether both are there and of the same kind."""
        return self.claim is not None and self.mark is not None and self.claim.kind == self.mark.kind


def compared(claims: Iterable[Seen], marks: Iterable[Seen], mpp: float) -> list[Difference]:
    """Match marks with claims one to one: as many as possible, then the nearest.

    Parameters
    ----------
    claims, marks
        Claims and marks of a field.
    mpp
        Pixel size, µm/px.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to import, and most studies have no audit

    claims, marks = list(claims), list(marks)
    near = np.zeros((len(claims), len(marks)))
    for i, claim in enumerate(claims):
        for j, mark in enumerate(marks):
            away_um = mpp * float(np.hypot(claim.x_px - mark.x_px, claim.y_px - mark.y_px))
            # A resting follicle between the cells of a large one, or beside its border, is another follicle.
            other = mark.stage in _RESTING and claim.stage not in _RESTING and claim.diameter_um > _LARGE_UM
            reach_um = _NEAR_UM if other else max(claim.diameter_um / 2, _NEAR_UM)
            near[i, j] = len(claims) + 1 - away_um / reach_um if away_um <= reach_um else 0.0
    pairs = {int(i): int(j) for i, j in zip(*linear_sum_assignment(near, maximize=True), strict=True) if near[i, j]}
    both = [Difference(claim, marks[pairs[i]] if i in pairs else None) for i, claim in enumerate(claims)]
    return both + [Difference(None, mark) for j, mark in enumerate(marks) if j not in pairs.values()]


def found(visit: Visit, claims: Iterable[Seen], mpp: float) -> list[Seen]:
    """What is in the field after the differences were settled."""
    there = [visit.settled.get(pair.id, pair.mark) for pair in compared(claims, visit.compared_marks, mpp)]
    there += [visit.settled.get(mark.id, mark) for mark in visit.later_marks]
    return [seen for seen in there if seen is not None and seen.stage is not Stage.NOT_FOLLICLE]


@dataclass(frozen=True)
class AuditRecord:
    """The state of an audit, from its log.

    Attributes
    ----------
    visits
        Visits that were begun, by field and whether it is the second visit.
    closed
        Whether the audit is closed: its results may be seen.
    acts
        Closings and openings of the audit, as they were logged.
    last
        For each visit, its events, for undo.
    """

    visits: dict[VisitKey, Visit] = field(default_factory=dict)
    closed: bool = False
    acts: tuple[dict[str, Any], ...] = ()
    last: dict[VisitKey, tuple[dict[str, Any], ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, study: Study) -> AuditRecord:
        """Read the log of a study; events of another plan do not count.

        Raises
        ------
        UserError
            If a line is no event of an audit.
        """
        record, own = cls(), plan_id(study)
        for line, where in lines_of(study.path / FOLDER / "log.jsonl"):
            try:
                event = parse_json(line, where)
                record = record.after(event) if event["plan"] == own else record
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UserError(
                    f"{where}: this is no event of an audit ({error}). Restore the file from a copy, or delete this "
                    "line, which loses this one event."
                ) from None
        return record

    def after(self, event: dict[str, Any]) -> AuditRecord:
        """The state after an event."""
        if event["event"] in ("close", "reopen"):
            return replace(self, closed=event["event"] == "close", acts=(*self.acts, event))
        key = (str(event["field"]), bool(event["again"]))
        events = self.last.get(key, ())
        events = events[:-1] if event["event"] == "undo" else (*events, event)
        visit = Visit()
        for one in events:
            visit = visit.after(one)
        return replace(self, visits=self.visits | {key: visit}, last=self.last | {key: events})

    def done(self, plan: AuditPlan) -> list[VisitKey]:
        """Finished visits, in the order of the plan."""
        return [key for key in plan.visits if key in self.visits and self.visits[key].done]

    def next_visit(self, plan: AuditPlan) -> VisitKey | None:
        """The first visit that is not finished; None after the last."""
        return next((key for key in plan.visits if key not in self.visits or not self.visits[key].done), None)


def is_open(study: Study) -> bool:
    """Whether an audit is planned and not closed; the means of the groups are then hidden.

    Raises
    ------
    UserError
        If its log is damaged.
    """
    return (study.path / FOLDER / "plan.json").exists() and not AuditRecord.read(study).closed


def claims_by_field(plan: AuditPlan) -> dict[str, list[Seen]]:
    """The claims of a plan, by the name of their field; without fields that have none."""
    claims: dict[str, list[Seen]] = {}
    for row in plan.claims.itertuples(index=False):
        claims.setdefault(str(row.field), []).append(_claim(row))
    return claims


def _claim(row: Any) -> Seen:
    return Seen(
        str(row.follicle_id),
        float(row.x_px),
        float(row.y_px),
        Stage(row.stage),
        Health(row.health),
        Countable(row.countable),
        float(row.diameter_um),
    )


def _seen(event: dict[str, Any]) -> Seen:
    return Seen(
        str(event["object"]),
        float(event["x_px"]),
        float(event["y_px"]),
        Stage(event["stage"]),
        Health(event["health"]),
        Countable(event["countable"]),
    )
