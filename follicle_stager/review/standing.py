"""What stands on a slide: what its last run found, the edits since, and what other programs did to follicles.geojson.

The edits of a run count from its last ``reattach`` on, which holds all that earlier ones came to.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import follicle_stager
from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.annotations.geojson import outline_id
from follicle_stager.errors import UserError
from follicle_stager.files import replacing
from follicle_stager.matching import valid
from follicle_stager.review.edits import Conflict, Edit, Kind, replay
from follicle_stager.review.log import NAME, EditLog, read_edits
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle

FOLLICLES = "follicles.geojson"
#: Who changed follicles.geojson, if no session did; and who writes it and carries corrections over.
_ELSEWHERE, SOFTWARE = "another program", "follicle-stager"
#: An outline has been changed if this share of it is elsewhere; programs round coordinates.
_MOVED = 0.005
# Another program may have read a file that was written some saves ago; further back nobody looks.
_SAVES = 10


@dataclass(frozen=True)
class Standing:
    """The follicles of a slide as they stand.

    Attributes
    ----------
    run_id
        The run that found them.
    predicted
        What it found, by id.
    follicles
        What stands, by id, in the order of the file.
    edits
        Of this run, those not undone included.
    imported
        What another program changed since, if the log does not have it; ``follicles`` has it.
    """

    run_id: str
    predicted: dict[str, Follicle]
    follicles: dict[str, Follicle]
    edits: tuple[Edit, ...]
    imported: Edit | None = None

    @property
    def touched(self) -> list[Follicle]:
        """Follicles that a person judged, changed, rejected or added."""
        return [f for f in self.follicles.values() if self.predicted.get(f.id) != f]


def software() -> str:
    """Name and version that edits are signed with."""
    return f"follicle-stager {follicle_stager.__version__}"


def predictions(folder: Path, run_id: str) -> Path:
    """What a run found on the slide of this folder."""
    return folder / "predictions" / f"{run_id}.geojson"


def standing(folder: Path, run_id: str) -> Standing:
    """Work out what stands on a slide.

    Parameters
    ----------
    folder
        Of the slide.
    run_id
        Its last run.

    Raises
    ------
    UserError
        If a file is missing or damaged, or the log does not fit to the predictions.
    """
    found, log = predictions(folder, run_id), read_edits(folder)
    predicted, edits = {f.id: f for f in read_geojson(found)}, edits_of(log, run_id)
    try:
        state = replay(predicted.values(), edits)
    except Conflict as conflict:
        raise UserError(
            f"{folder / NAME}: the corrections do not fit to {found.name} ({conflict}); one of the two files was "
            "exchanged. Put the right one back, or move edits.jsonl away to start from the predictions."
        ) from None
    path = folder / FOLLICLES
    if not changed_elsewhere(folder, log):
        return Standing(run_id, predicted, state, edits)
    try:
        theirs = read_geojson(path)
    except UserError as error:
        raise UserError(
            f"{error} What was decided in napari is in {NAME} beside it: if the file cannot be mended, move it away, "
            "and it is written again from there."
        ) from None
    base = min(_saved(predicted.values(), edits), key=lambda base: len(_changes(base, theirs, base)[1]))
    before, after = _changes(base, theirs, state)
    signature = {"author": _ELSEWHERE, "run_id": run_id, "software": software()}
    sha = fingerprint(path)
    imported = Edit.make(Kind.IMPORT, before, after, **signature, of=sha)
    # The same file is the same edit, whoever reads it first.
    imported = replace(imported, id=uuid.uuid5(uuid.NAMESPACE_OID, run_id + sha).hex)
    imported.apply(state)
    return Standing(run_id, predicted, state, edits, imported)


def edits_of(edits: Sequence[Edit], run_id: str) -> tuple[Edit, ...]:
    """The edits of a run that count."""
    own = [edit for edit in edits if edit.run_id == run_id]
    starts = [i for i, edit in enumerate(own) if edit.kind == Kind.REATTACH]
    return tuple(own[starts[-1] :] if starts else own)


def changed_elsewhere(folder: Path, log: Iterable[Edit]) -> bool:
    """Whether follicles.geojson is there and neither a run nor a session wrote it, nor took it in already.

    That of another run is no change: a crash may leave it.
    """
    path = folder / FOLLICLES
    if not path.exists():
        return False
    known = {edit.of for edit in log if edit.kind in (Kind.SAVED, Kind.IMPORT)}
    return (now := fingerprint(path)) not in known and now not in _of_runs(folder)


def write_follicles(folder: Path, follicles: Iterable[Follicle], log: EditLog, *, run_id: str) -> None:
    """Write follicles.geojson, for other programs, if it is not as things stand.

    The log says first what will be written: whatever a crash leaves of it is known to be nobody else's.
    """
    path = folder / FOLLICLES
    with replacing(path) as temporary:
        write_geojson(temporary, follicles)
        written = fingerprint(temporary)
        if (not path.exists() or fingerprint(path) != written) and written not in _of_runs(folder):
            log.append(Edit.make(Kind.SAVED, author=SOFTWARE, run_id=run_id, software=software(), of=written))


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_runs(folder: Path) -> set[str]:
    return {fingerprint(path) for path in predictions(folder, "*").parent.glob("*.geojson")}


def _saved(predicted: Iterable[Follicle], edits: Sequence[Edit]) -> list[dict[str, Follicle]]:
    """States that follicles.geojson was in, the last one first."""
    state = replay(predicted, ())
    saved = [dict(state)]
    for edit in edits:
        edit.apply(state)
        if edit.kind in (Kind.SAVED, Kind.IMPORT, Kind.REATTACH):
            saved.append(dict(state))
    return saved[: -_SAVES - 1 : -1]


def _changes(
    base: dict[str, Follicle], theirs: Sequence[Follicle], now: dict[str, Follicle]
) -> tuple[list[Follicle], list[Follicle]]:
    """What another program made of ``base``, as an edit of what stands ``now``."""
    before, after = [], []
    known = base | now
    there: dict[str, Follicle] = {}
    for follicle in theirs:
        # A copy made elsewhere has the id of the first, and other programs give numbers: these are new follicles.
        alien = follicle.id in there or follicle.id not in known
        there[outline_id(follicle.outline) if alien else follicle.id] = follicle
    for follicle_id, own in now.items():
        old, new = base.get(follicle_id), there.get(follicle_id)
        if old is None:  # made after the file was written
            continue
        if new is None:
            changed = replace(own, status=Status.REJECTED)
        else:
            # A program that dropped the metadata says nothing of health and the like.
            told = ("stage", "health", "countable", "status") if new.section_id else ("stage",)
            said = {name: getattr(new, name) for name in told if getattr(new, name) != getattr(old, name)}
            if _moved(old.outline, new.outline):
                said["outline"] = new.outline
            changed = replace(own, **said)
            if said and "status" not in said and own.status != Status.ADDED:
                changed = replace(changed, status=Status.CORRECTED)
        if changed != own:
            before.append(own)
            after.append(changed)
    after += [replace(f, id=i, status=Status.ADDED) for i, f in there.items() if i not in known]
    return before, after


def _moved(old: Polygon, new: Polygon) -> bool:
    if old == new:
        return False
    old_area, new_area = valid(old), valid(new)
    return bool(old_area.symmetric_difference(new_area).area > _MOVED * old_area.area)
