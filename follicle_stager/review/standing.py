"""What stands on a slide: what its last run found, the edits since, and what other programs did to follicles.geojson.

The edits of a run count from its last ``reattach`` on, which holds all that earlier ones came to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import follicle_stager
from follicle_stager.annotations import read_geojson
from follicle_stager.annotations.geojson import outline_id
from follicle_stager.errors import UserError
from follicle_stager.matching import valid
from follicle_stager.review.edits import Conflict, Edit, Kind, replay
from follicle_stager.review.log import NAME, read_edits
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle

FOLLICLES = "follicles.geojson"
#: Who changed follicles.geojson, if no session did.
_ELSEWHERE = "another program"
#: An outline has been changed if this share of it is elsewhere; programs round coordinates.
_MOVED = 0.005


@dataclass(frozen=True)
class Standing:
    """The follicles of a slide as they stand.

    Attributes
    ----------
    run_id
        The run that found them.
    follicles
        By id, in the order of the file.
    edits
        Of this run, those not undone included.
    imported
        What another program changed since, if the log does not have it; ``follicles`` has it.
    """

    run_id: str
    follicles: dict[str, Follicle]
    edits: tuple[Edit, ...]
    imported: Edit | None = None


def software() -> str:
    """Name and version that edits are signed with."""
    return f"follicle-stager {follicle_stager.__version__}"


def predictions(folder: Path, run_id: str) -> Path:
    """What a run found on the slide of this folder."""
    return folder / "predictions" / f"{run_id}.geojson"


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    found, path = predictions(folder, run_id), folder / FOLLICLES
    predicted, edits = read_geojson(found), edits_of(read_edits(folder), run_id)
    try:
        state = replay(predicted, edits)
    except Conflict as conflict:
        raise UserError(
            f"{folder / NAME}: the corrections do not fit to {found.name} ({conflict}); one of the two files was "
            "exchanged. Put the right one back, or move edits.jsonl away to start from the predictions."
        ) from None
    # Files that are known: those that a session wrote, and those of another program that one has taken in.
    known = [i for i, edit in enumerate(edits) if edit.kind in (Kind.SAVED, Kind.IMPORT) and edit.of]
    if not path.exists() or fingerprint(path) in {fingerprint(found), *(edits[i].of for i in known)}:
        return Standing(run_id, state, edits)
    base = replay(predicted, edits[: known[-1] + 1] if known else ())
    before, after = _changes(base, read_geojson(path), state)
    signature = {"author": _ELSEWHERE, "run_id": run_id, "software": software()}
    imported = Edit.make(Kind.IMPORT, before, after, **signature, of=fingerprint(path))
    imported.apply(state)
    return Standing(run_id, state, edits, imported)


def edits_of(edits: Sequence[Edit], run_id: str) -> tuple[Edit, ...]:
    """The edits of a run that count."""
    own = [edit for edit in edits if edit.run_id == run_id]
    starts = [i for i, edit in enumerate(own) if edit.kind == Kind.REATTACH]
    return tuple(own[starts[-1] :] if starts else own)


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
    old_area, new_area = valid(old), valid(new)
    return bool(old_area.symmetric_difference(new_area).area > _MOVED * old_area.area)
