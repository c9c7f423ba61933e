"""Current state of a slide: the predictions of its last run, the edits since, and changes by other programs.

The edits of a run count from its last ``reattach`` on, which contains the result of earlier ones.
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
#: Authors of edits: of changes in these files that no session made, and of saving and carrying over.
_ELSEWHERE, SOFTWARE = "another program", "follicle-stager"
#: Changed share of an outline above which it counts as changed; other programs round coordinates.
_MOVED = 0.005
# Number of saves to look back: another program may have read a file that was written some saves ago.
_SAVES = 10
# Properties of a section that another program may change.
_OF_SECTION = ("animal", "ovary", "included", "reason", "judged_whole")


@dataclass(frozen=True)
class Standing:
    """Current state of a slide, and how it came about.

    Attributes
    ----------
    run_id
        Run that found the follicles.
    predicted
        State that the run found.
    state
        Current state.
    edits
        Edits of this run, including undone ones and their undo.
    imported
        Changes by another program that are not in the log yet; they are included in ``state``.
    left_out
        Objects of another program that are not follicles, in words.
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
        """Sections that a person assigned, merged, left out, cut, cut out of others, or judged as a whole."""
        return [s for s in self.state.sections.values() if self.predicted.sections.get(s.section_id) != s]


def software() -> str:
    """Name and version of the software, for edits."""
    return f"follicle-stager {__version__}"


def predictions(folder: Path, run_id: str) -> Path:
    """Path of the follicles that a run found on the slide of this folder."""
    return folder / "predictions" / f"{run_id}.geojson"


def predicted_sections(folder: Path, run_id: str) -> Path:
    """Path of the sections that a run found."""
    return folder / "predictions" / f"{run_id}.sections.geojson"


def runs(folder: Path) -> list[str]:
    """All runs whose predictions are kept."""
    return sorted(path.stem for path in (folder / "predictions").glob("*.geojson") if "." not in path.stem)


def standing(folder: Path, run_id: str) -> Standing:
    """Calculate the current state of a slide.

    Parameters
    ----------
    folder
        Folder of the slide.
    run_id
        Last run of the slide.

    Returns
    -------
    Standing
        Current state.

    Raises
    ------
    UserError
        If a file is missing or damaged, or the log does not fit the predictions.
    """
    found, log = predictions(folder, run_id), read_edits(folder)
    try:
        predicted = State.of(read_geojson(found), _predicted_sections(folder, run_id))
    except UserError as error:
        if not str(error).startswith(str(found.parent)):
            raise
        raise UserError(
            f"{error} This file contains the predictions of the run: delete the files in {found.parent} and run.json "
            "next to it, and run 'follicle-stager stage' on the slide again; corrections are kept."
        ) from None
    edits = with_predictions(edits_of(log, run_id), predicted.follicles)
    try:
        state = replay(predicted, edits)
    except Conflict as conflict:
        raise UserError(
            f"{folder / NAME}: the corrections do not fit {found.name} ({conflict}); one of the two files was "
            "replaced. Put the right one back, or move edits.jsonl away to start from the predictions."
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
                f"{error} All decisions made in napari are in {NAME}: if the file cannot be repaired, move it away, "
                "and it is written again from there."
            ) from None
        if changes is None:
            continue
        of = f"{name} {sha}"
        edit = Edit.make(Kind.IMPORT, **changes, author=_ELSEWHERE, run_id=run_id, software=software(), of=of)
        # The same file after the same edits gives the same edit, whoever reads it first.
        after = edits[-1].id if edits else ""
        edit = replace(edit, id=uuid.uuid5(uuid.NAMESPACE_OID, run_id + after + sha).hex)
        edit.apply(state)
        imported.append(edit)
    return Standing(run_id, predicted, state, edits, tuple(imported), in_words(left_out))


def imported(folder: Path, run_id: str) -> tuple[Edit, ...]:
    """Changes by another program since the log was written; the state is only calculated if there are any."""
    log = read_edits(folder)
    if not any(changed_elsewhere(folder, name, log, run_id) for name in (FOLLICLES, SECTIONS)):
        return ()
    return standing(folder, run_id).imported


def edits_of(edits: Sequence[Edit], run_id: str) -> tuple[Edit, ...]:
    """The effective edits of a run, from its last ``reattach`` on."""
    own = [edit for edit in edits if edit.run_id == run_id]
    starts = [i for i, edit in enumerate(own) if edit.kind == Kind.REATTACH]
    return tuple(own[starts[-1] :] if starts else own)


def changed_elsewhere(folder: Path, name: str, log: Sequence[Edit], run_id: str | None = None) -> bool:
    """Whether another program changed one of a slide's two files, and this is not in the log yet.

    A file of another run is no change, because a crash may leave it. An older follicles.geojson is no change either,
    because a program may write again what it read long ago. But sections.geojson is edited by hand, and may also be
    changed back.

    Parameters
    ----------
    folder
        Folder of the slide.
    name
        Name of the file.
    log
        Edits of the slide.
    run_id
        Run of the current follicles; None if it is not known.

    Returns
    -------
    bool
        False if the file does not exist, or was written or already read by this software.
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
    """Write follicles.geojson and sections.geojson with the current state, for other programs.

    The hash of follicles.geojson is logged before it is written, so that after a crash the file is known as our own.
    That of sections.geojson is logged afterwards: a file left by a crash has the current state, and is no change.
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
    """Log that sections.geojson has the current state, if the log does not know it yet."""
    path = folder / SECTIONS
    if path.exists() and (now := fingerprint(path)) != _sections_written(folder, read_edits(folder), run_id):
        _log_saved(log, SECTIONS, now, run_id)


def _sections_written(folder: Path, log: Sequence[Edit], run_id: str) -> str:
    """SHA-256 of sections.geojson by the last log entry, or as the run wrote it; empty if it is not known."""
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
    """Name of the file that was saved or imported; older versions had only one file and did not write its name."""
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
    """Hashes of the files that runs wrote."""
    return {fingerprint(path) for path in (folder / "predictions").glob("*.geojson") if path != but}


def _predicted_sections(folder: Path, run_id: str) -> list[Section]:
    """Sections as a run found them; for runs of old versions, the current sections without later changes."""
    path = predicted_sections(folder, run_id)
    if path.exists():
        return read_sections(path)
    if not (folder / SECTIONS).exists():
        return []
    try:
        sections = read_sections(folder / SECTIONS)
    except UserError as error:
        mend = "If it cannot be repaired, delete it and run.json, and run 'stage' again; corrections are kept."
        raise UserError(f"{error} {mend}") from None
    return [replace(s, included=True, reason="", animal="", ovary="", judged_whole=False) for s in sections]


def _saved(predicted: State, edits: Sequence[Edit]) -> list[State]:
    """States in which the files were saved, the last one first."""
    state = predicted.copy()
    places = [n for n, edit in enumerate(edits) if edit.kind in (Kind.SAVED, Kind.IMPORT, Kind.REATTACH)]
    saved, wanted = [predicted], set(places[-_SAVES:])
    for place, edit in enumerate(edits):
        edit.apply(state)
        if place in wanted:
            saved.append(state.copy())
    return saved[: -_SAVES - 1 : -1]


def _their_follicles(theirs: Sequence[Follicle], predicted: State, edits: Sequence[Edit], now: State) -> dict[str, Any]:
    """Changes by another program in follicles.geojson, as arguments of an edit."""
    saved = [state.follicles for state in _saved(predicted, edits)]
    base = min(saved, key=lambda base: len(_changes(base, theirs, base)[1]))
    before, after = _changes(base, theirs, now.follicles)
    return {"before": before, "after": after}


def _their_sections(path: Path, predicted: State, edits: Sequence[Edit], now: State) -> dict[str, Any] | None:
    """Changes by others in sections.geojson, as arguments of an edit; None if it has the current state."""
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
                f"{path}: the outline of section {section_id} is new or was changed. Outlines of sections can only be "
                "changed in napari (follicle-stager review, part Count), because their area must be measured."
            )
    if theirs == now.sections:  # written by a session that ended before it could log this
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
    """Changes by another program since ``base``, as an edit of the state ``now``."""
    before, after = [], []
    known = base | now
    there: dict[str, Follicle] = {}
    for follicle in theirs:
        # A copy has the id of the original, and other programs use numbers as ids: these are new follicles.
        alien = follicle.id in there or follicle.id not in known
        there[outline_id(follicle.outline) if alien else follicle.id] = follicle
    for follicle_id, own in now.items():
        old, new = base.get(follicle_id), there.get(follicle_id)
        if old is None:  # made after the file was written
            continue
        if new is None:
            changed = own.judged(status=Status.REJECTED)
        else:
            # If a program dropped the metadata, health, countable and status are unknown, not changed.
            told = ("stage", "health", "countable", "status") if new.section_id else ("stage",)
            said = {name: getattr(new, name) for name in told if getattr(new, name) != getattr(old, name)}
            moved = _moved(old.outline, new.outline)
            changed = own.judged(**said)
            if moved:  # it cannot be measured here, because the image is not open
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
