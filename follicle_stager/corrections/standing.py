"""What stands on a slide: what its last run found, the edits since, and what other programs did to its files.

The edits of a run count from its last ``reattach`` on, which holds all that earlier ones came to.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from follicle_stager.annotations import (
    in_words,
    read_geojson,
    read_outlines,
    read_sections,
    write_geojson,
    write_sections,
)
from follicle_stager.annotations.geojson import outline_id
from follicle_stager.corrections.edits import Conflict, Edit, Kind, State, replay
from follicle_stager.corrections.log import NAME, EditLog, read_edits
from follicle_stager.corrections.older import with_predictions
from follicle_stager.errors import UserError
from follicle_stager.files import check_regular, replacing
from follicle_stager.matching import valid
from follicle_stager.records import NOT_OVARY
from follicle_stager.stages import Status
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shapely.geometry import MultiPolygon, Polygon

    from follicle_stager.records import Follicle, Section

FOLLICLES, SECTIONS = "follicles.geojson", "sections.geojson"
#: Who changed one of these files, if no session did; and who writes them and carries corrections over.
_ELSEWHERE, SOFTWARE = "another program", "follicle-stager"
#: An outline has been changed if this share of it is elsewhere; programs round coordinates.
_MOVED = 0.005
# Another program may have read a file that was written some saves ago; further back nobody looks.
_SAVES = 10
# What another program may say of a section.
_OF_SECTION = ("animal", "ovary", "included", "reason")


@dataclass(frozen=True)
class Standing:
    """A slide as it stands.

    Attributes
    ----------
    run_id
        The run that found its follicles.
    predicted
        What it found.
    state
        What stands.
    edits
        Of this run, those not undone included.
    imported
        What another program changed since, if the log does not have it; ``state`` has it.
    left_out
        Objects that it put there and that are no follicles, in words.
    """

    run_id: str
    predicted: State
    state: State
    edits: tuple[Edit, ...]
    imported: tuple[Edit, ...] = ()
    left_out: str = ""

    @property
    def touched(self) -> list[Follicle]:
        """Follicles that a person judged, changed, rejected or added."""
        return [f for f in self.state.follicles.values() if self.predicted.follicles.get(f.id) != f]

    @property
    def touched_sections(self) -> list[Section]:
        """Sections that a person assigned, merged, left out, or cut out of others; and what is left of those."""
        return [s for s in self.state.sections.values() if self.predicted.sections.get(s.section_id) != s]


def software() -> str:
    """Name and version that edits are signed with."""
    return f"follicle-stager {__version__}"


def predictions(folder: Path, run_id: str) -> Path:
    """Follicles that a run found on the slide of this folder."""
    return folder / "predictions" / f"{run_id}.geojson"


def predicted_sections(folder: Path, run_id: str) -> Path:
    """Sections that a run found."""
    return folder / "predictions" / f"{run_id}.sections.geojson"


def runs(folder: Path) -> list[str]:
    """All runs of which the follicles are kept."""
    return sorted(path.stem for path in (folder / "predictions").glob("*.geojson") if "." not in path.stem)


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
    try:
        predicted = State.of(read_geojson(found), _predicted_sections(folder, run_id))
    except UserError as error:
        if not str(error).startswith(str(found.parent)):
            raise
        raise UserError(
            f"{error} This is what the run found: delete the files in {found.parent} and run.json beside it, and run "
            "'follicle-stager stage' on the slide again; corrections are kept."
        ) from None
    edits = with_predictions(edits_of(log, run_id), predicted.follicles)
    try:
        state = replay(predicted, edits)
    except Conflict as conflict:
        raise UserError(
            f"{folder / NAME}: the corrections do not fit to {found.name} ({conflict}); one of the two files was "
            "exchanged. Put the right one back, or move edits.jsonl away to start from the predictions."
        ) from None
    imported = []
    left_out: Counter[str] = Counter()

    def their_follicles(path: Path, *state: Any) -> dict[str, Any]:
        outlines = read_outlines(path)
        left_out.update(outlines.left_out)
        return _their_follicles(outlines.follicles, *state)

    for name, read in ((FOLLICLES, their_follicles), (SECTIONS, _their_sections)):
        if not changed_elsewhere(folder, name, log, run_id):
            continue
        sha = fingerprint(folder / name)
        try:
            changes = read(folder / name, predicted, edits, state)
        except UserError as error:
            raise UserError(
                f"{error} What was decided in napari is in {NAME} beside it: if the file cannot be mended, move it "
                "away, and it is written again from there."
            ) from None
        if changes is None:
            continue
        of = f"{name} {sha}"
        edit = Edit.make(Kind.IMPORT, **changes, author=_ELSEWHERE, run_id=run_id, software=software(), of=of)
        # The same file after the same edits is the same edit, whoever reads it first.
        after = edits[-1].id if edits else ""
        edit = replace(edit, id=uuid.uuid5(uuid.NAMESPACE_OID, run_id + after + sha).hex)
        edit.apply(state)
        imported.append(edit)
    return Standing(run_id, predicted, state, edits, tuple(imported), in_words(left_out))


def imported(folder: Path, run_id: str) -> tuple[Edit, ...]:
    """What another program changed since the log was written; the whole log is read only if there is something."""
    log = read_edits(folder)
    if not any(changed_elsewhere(folder, name, log, run_id) for name in (FOLLICLES, SECTIONS)):
        return ()
    return standing(folder, run_id).imported


def edits_of(edits: Sequence[Edit], run_id: str) -> tuple[Edit, ...]:
    """The edits of a run that count."""
    own = [edit for edit in edits if edit.run_id == run_id]
    starts = [i for i, edit in enumerate(own) if edit.kind == Kind.REATTACH]
    return tuple(own[starts[-1] :] if starts else own)


def changed_elsewhere(folder: Path, name: str, log: Sequence[Edit], run_id: str | None = None) -> bool:
    """Whether one of a slide's two files is there and neither a run nor a session wrote it, nor took it in already.

    That of another run is no change: a crash may leave it. An older follicles.geojson is none either, since a program
    may write again what it had read long ago; sections.geojson is changed by hand, also back to what it was.

    Parameters
    ----------
    folder
        Of the slide.
    name
        Of the file.
    log
        Of the slide.
    run_id
        The run whose follicles stand; None if nobody knows.
    """
    path = folder / name
    if not path.exists():
        return False
    written = [edit for edit in log if _file_of(edit) == name]
    known = {_sha_of(edit) for edit in written} | _of_runs(folder)
    if name == SECTIONS and run_id is not None:
        known = {_sha_of(edit) for edit in written if edit.run_id != run_id}
        known |= _of_runs(folder, but=predicted_sections(folder, run_id)) | {_sections_written(folder, log, run_id)}
    return fingerprint(path) not in known


def write_standing(folder: Path, state: State, log: EditLog, *, run_id: str) -> None:
    """Write follicles.geojson and sections.geojson, for other programs, where they are not as things stand.

    The log says first what will be written to follicles.geojson: whatever a crash leaves of it is known to be nobody
    else's. Of sections.geojson it says so afterwards: what a crash leaves is as things stand, and so no change.
    """
    with replacing(folder / FOLLICLES) as temporary:
        write_geojson(temporary, state.follicles.values())
        written = fingerprint(temporary)
        if _differs(folder / FOLLICLES, written) and written not in _of_runs(folder):
            _log_saved(log, FOLLICLES, written, run_id)
    with replacing(folder / SECTIONS) as temporary:
        write_sections(temporary, state.sections.values())
    say_saved(folder, log, run_id=run_id)


def say_saved(folder: Path, log: EditLog, *, run_id: str) -> None:
    """Log that sections.geojson is as things stand, if it is not known."""
    path = folder / SECTIONS
    if path.exists() and (now := fingerprint(path)) != _sections_written(folder, read_edits(folder), run_id):
        _log_saved(log, SECTIONS, now, run_id)


def _sections_written(folder: Path, log: Sequence[Edit], run_id: str) -> str:
    """SHA-256 of sections.geojson as the log knows it last, or as the run wrote it; empty if nobody knows."""
    own = [edit for edit in log if edit.run_id == run_id and _file_of(edit) == SECTIONS]
    if own:
        return _sha_of(own[-1])
    found = predicted_sections(folder, run_id)
    return fingerprint(found) if found.exists() else ""


def _log_saved(log: EditLog, name: str, sha: str, run_id: str) -> None:
    of = f"{name} {sha}"
    log.append(Edit.make(Kind.SAVED, author=SOFTWARE, run_id=run_id, software=software(), of=of))


def _differs(path: Path, written: str) -> bool:
    return not path.exists() or fingerprint(path) != written


def _file_of(edit: Edit) -> str:
    """Which file was saved or taken in; before there were two it was not said."""
    if edit.kind not in (Kind.SAVED, Kind.IMPORT):
        return ""
    return edit.of.rpartition(" ")[0] or FOLLICLES


def _sha_of(edit: Edit) -> str:
    return edit.of.rpartition(" ")[2]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    check_regular(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_runs(folder: Path, *, but: Path | None = None) -> set[str]:
    """What runs wrote."""
    return {fingerprint(path) for path in (folder / "predictions").glob("*.geojson") if path != but}


def _predicted_sections(folder: Path, run_id: str) -> list[Section]:
    """Sections as a run found them; of a run before sections could be edited, those that stand, as if untouched."""
    path = predicted_sections(folder, run_id)
    if path.exists():
        return read_sections(path)
    if not (folder / SECTIONS).exists():
        return []
    try:
        sections = read_sections(folder / SECTIONS)
    except UserError as error:
        mend = "If it cannot be mended, delete it and run.json beside it, and run 'stage' again; corrections are kept."
        raise UserError(f"{error} {mend}") from None
    return [replace(s, included=True, reason="", animal="", ovary="") for s in sections]


def _saved(predicted: State, edits: Sequence[Edit]) -> list[State]:
    """States that the files were in, the last one first."""
    state = predicted.copy()
    places = [n for n, edit in enumerate(edits) if edit.kind in (Kind.SAVED, Kind.IMPORT, Kind.REATTACH)]
    saved, wanted = [predicted], set(places[-_SAVES:])
    for place, edit in enumerate(edits):
        edit.apply(state)
        if place in wanted:
            saved.append(state.copy())
    return saved[: -_SAVES - 1 : -1]


def _their_follicles(theirs: Sequence[Follicle], predicted: State, edits: Sequence[Edit], now: State) -> dict[str, Any]:
    """What another program wrote to follicles.geojson, as an edit has it."""
    saved = [state.follicles for state in _saved(predicted, edits)]
    base = min(saved, key=lambda base: len(_changes(base, theirs, base)[1]))
    before, after = _changes(base, theirs, now.follicles)
    return {"before": before, "after": after}


def _their_sections(path: Path, predicted: State, edits: Sequence[Edit], now: State) -> dict[str, Any] | None:
    """What was written to sections.geojson by others, as an edit has it; None where it is as things stand."""
    theirs = {section.section_id: section for section in read_sections(path)}
    base = _saved(predicted, edits)[0].sections
    known = base | now.sections
    for section_id, new in theirs.items():
        if section_id not in known or not any(
            s[section_id].outline == new.outline or not _moved(s[section_id].outline, new.outline)
            for s in (base, now.sections)
            if section_id in s
        ):
            raise UserError(
                f"{path}: the outline of section {section_id} is new or was changed, which only napari can do here "
                "(follicle-stager review, part Count), since its area must be measured."
            )
    if theirs == now.sections:  # a session wrote it that ended before it could say so
        return None
    before, after = [], []
    for section_id, own in now.sections.items():
        old, their = base.get(section_id), theirs.get(section_id)
        if old is None:  # made after the file was written
            continue
        if their is None:
            changed = replace(own, included=False, reason=own.reason or NOT_OVARY)
        else:
            said = {n: getattr(their, n) for n in _OF_SECTION if getattr(their, n) != getattr(old, n)}
            changed = replace(own, **said)
        if changed != own:
            before.append(own)
            after.append(changed)
    return {"sections_before": before, "sections_after": after}


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
            changed = own.judged(status=Status.REJECTED)
        else:
            # A program that dropped the metadata says nothing of health and the like.
            told = ("stage", "health", "countable", "status") if new.section_id else ("stage",)
            said = {name: getattr(new, name) for name in told if getattr(new, name) != getattr(old, name)}
            moved = _moved(old.outline, new.outline)
            changed = own.judged(**said)
            if moved:  # nothing is measured in it here: the picture is not at hand
                changed = changed.reshaped(replace(own.shape, outline=new.outline))
            if (said or moved) and "status" not in said and own.status != Status.ADDED:
                changed = changed.judged(status=Status.CORRECTED)
        if changed != own:
            before.append(own)
            after.append(changed)
    after += [replace(f.added(), id=i) for i, f in there.items() if i not in known]
    return before, after


def _moved(old: Polygon | MultiPolygon, new: Polygon | MultiPolygon) -> bool:
    if old == new:
        return False
    old_area, new_area = valid(old), valid(new)
    return bool(old_area.symmetric_difference(new_area).area > _MOVED * old_area.area)
