"""A person's work on an audit: each act is one line of ``audit/log.jsonl``, which `record` reads."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from follicle_stager.audit.plan import FOLDER, AuditPlan
from follicle_stager.audit.record import AuditRecord, Visit, claims_by_field, compared
from follicle_stager.corrections.log import LineLog
from follicle_stager.errors import UserError
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from follicle_stager.audit.record import Difference, Seen, VisitKey
    from follicle_stager.study import Study


class AuditSession:
    """The audit of a study by one person: each act is on disk before the state changes.

    Parameters
    ----------
    study
        Study with a plan.
    reader
        Name of the person.
    blind
        Whether the names of slides, animals and groups are hidden from the person.
    hidden
        Whether the claims of a field are hidden until the person has marked it.

    Raises
    ------
    UserError
        If the study has no plan, or another person or window has the audit open.
    """

    def __init__(self, study: Study, *, reader: str, blind: bool = True, hidden: bool = True) -> None:
        plan = AuditPlan.read(study)
        if plan is None:
            raise UserError(f"{study.path}: this study has no audit; plan one with 'follicle-stager audit plan'.")
        self.study, self.plan = study, plan
        self._reader, self._blind, self._hidden = reader, blind, hidden
        folder = study.path / FOLDER
        busy = f"{folder}: this audit is open in another window or by another person; close it there first."
        self._log = LineLog(folder / "log.jsonl", busy=busy)
        try:
            self.record = AuditRecord.read(study)
        except BaseException:
            self._log.close()
            raise
        self._claims = claims_by_field(plan)

    def __enter__(self) -> AuditSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the audit for others."""
        self._log.close()

    def visit(self, key: VisitKey) -> Visit:
        """The state of a visit."""
        return self.record.visits.get(key, Visit())

    def claims(self, key: VisitKey) -> list[Seen]:
        """The claims of a field."""
        return self._claims.get(key[0], [])

    def differences(self, key: VisitKey, mpp: float) -> list[Difference]:
        """Claims and marks of a field, matched; without marks that were set with the claims in view."""
        return compared(self.claims(key), self.visit(key).compared_marks, mpp)

    def open_differences(self, key: VisitKey, mpp: float) -> list[Difference]:
        """Differences that must still be settled; a mark without a claim stands if nothing else is said."""
        settled = self.visit(key).settled
        return [d for d in self.differences(key, mpp) if d.claim and not d.agrees and d.id not in settled]

    def mark(self, key: VisitKey, seen: Seen) -> None:
        """Set or change a mark."""
        self._write("mark", key, **_values(seen))

    def unmark(self, key: VisitKey, mark_id: str) -> None:
        """Take a mark away."""
        self._write("unmark", key, object=mark_id)

    def show(self, key: VisitKey) -> None:
        """Note that the claims are shown now: the first version is finished."""
        self._write("show", key, hidden=self._hidden)

    def settle(self, key: VisitKey, difference: Difference, seen: Seen) -> None:
        """Decide what a follicle is, with the claim in view; the stage *not a follicle* says that there is none."""
        self._write("settle", key, **_values(replace(seen, id=difference.id)))

    def finish(self, key: VisitKey) -> None:
        """Note that a visit is finished."""
        self._write("done", key)

    def undo(self, key: VisitKey) -> str:
        """Take back the last act in a visit; return its kind, or an empty text if there is none.

        That the claims were shown is not taken back: the person has seen them.
        """
        events = self.record.last.get(key, ())
        if not events or events[-1]["event"] == "show":
            return ""
        self._write("undo", key, of=events[-1]["id"])
        return str(events[-1]["event"])

    def close_audit(self, reason: str = "") -> None:
        """Close the audit: its results may be seen, and no field is added any more."""
        self._write("close", None, fields=len(self.record.done(self.plan)), of=len(self.plan.visits), reason=reason)

    def reopen(self, reason: str = "") -> None:
        """Open a closed audit again."""
        self._write("reopen", None, reason=reason)

    def _write(self, event: str, key: VisitKey | None, **values: Any) -> None:
        if key is not None and self.record.closed:
            raise UserError("The audit is closed: open it again with 'follicle-stager audit reopen' to go on.")
        line: dict[str, Any] = {
            "event": event,
            "id": uuid.uuid4().hex,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "reader": self._reader,
            "software": f"follicle-stager {__version__}",
            "blind": self._blind,
            "plan": self.plan.settings["id"],
        }
        line |= {"field": key[0], "again": key[1]} if key is not None else {}
        line |= values
        after = self.record.after(line)
        self._log.add(json.dumps(line, ensure_ascii=False))
        self.record = after


def _values(seen: Seen) -> dict[str, Any]:
    return {
        "object": seen.id,
        "x_px": round(seen.x_px, 2),
        "y_px": round(seen.y_px, 2),
        "stage": seen.stage.value,
        "health": seen.health.value,
        "countable": seen.countable.value,
    }
