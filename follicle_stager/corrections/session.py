"""A session of one person on one slide: commands, undo and redo, and the current state; no user interface.

A command is on disk before the state changes here, so a window never shows anything that a crash could lose.
``follicles.geojson`` and ``sections.geojson`` are written by `ReviewSession.save`, for other programs; only the log is
authoritative.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shapely import union_all
from shapely.geometry import Polygon
from shapely.ops import split as cut

from follicle_stager.annotations import write_sections
from follicle_stager.corrections import sections as tissue
from follicle_stager.corrections.edits import Conflict, Edit, Kind, another_id, replay
from follicle_stager.corrections.log import ClosedLog, EditLog
from follicle_stager.corrections.standing import (
    imported,
    predicted_sections,
    say_saved,
    software,
    standing,
    write_standing,
)
from follicle_stager.errors import UserError
from follicle_stager.matching import valid
from follicle_stager.records import Assessment, Follicle, Shape, follicle_id
from follicle_stager.stages import Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from shapely.geometry import LineString

    from follicle_stager.records import Section

    #: Outline (level-0 pixels) -> the follicle that the software sees in it; None outside the tissue.
    Measure = Callable[[Polygon], Follicle | None]

# Errors of the system if a folder or disk is read-only.
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
# Kinds of log lines that cannot be undone.
_NO_STEP = (Kind.SAVED, Kind.REATTACH)
# Half of the gap between outlines that were drawn side by side, px.
_GAP_PX = 2.0


class ReviewSession:
    """A slide that is open for correction.

    Parameters
    ----------
    folder
        Folder of the slide in its study.
    run_id
        Last run of the slide.
    author
        Name of the person who corrects.
    measure
        Function that measures and stages the content of an outline, or returns None if it cannot.
    blind
        Whether the names of slides, animals and groups are hidden from the author; every edit says so.

    Raises
    ------
    UserError
        If another person or window has the slide open, or its files are damaged.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        *,
        author: str,
        measure: Measure = lambda outline: None,
        blind: bool = False,
    ) -> None:
        self.folder, self.run_id = folder, run_id
        self._author, self._measure, self._blind = author, measure, blind
        #: Whether the study cannot be written; it can then be viewed.
        self.read_only = False
        #: Whether the files for other programs may differ from the log.
        self.unsaved = False
        try:
            self._log: EditLog | ClosedLog = EditLog(folder)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            self._log, self.read_only = ClosedLog(folder), True
        try:
            now = standing(folder, run_id)
            self._predicted, self._state = now.predicted, replay(now.predicted, now.edits)
            self._done, self._undone = _history(now.edits)
            self.unsaved = any(edit.changes for edit in now.edits)  # a crash may have left the files as they were
            if self.read_only:
                self._state = now.state
                return
            if not predicted_sections(folder, run_id).exists():
                write_sections(predicted_sections(folder, run_id), now.predicted.sections.values())
            for edit in now.imported:
                self.adopt(edit)
            self._say_saved()
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> ReviewSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def follicles(self) -> tuple[Follicle, ...]:
        """Current follicles, including rejected ones, in the order of the file."""
        return tuple(self._state.follicles.values())

    @property
    def predicted(self) -> tuple[Follicle, ...]:
        """Follicles as the run found them."""
        return tuple(self._predicted.follicles.values())

    @property
    def sections(self) -> tuple[Section, ...]:
        """Current sections, including those that are not counted."""
        return tuple(self._state.sections.values())

    def __getitem__(self, follicle_id: str) -> Follicle:
        return self._state.follicles[follicle_id]

    def __contains__(self, follicle_id: str) -> bool:
        return follicle_id in self._state.follicles

    def set_stage(self, ids: Iterable[str], stage: Stage) -> Edit:
        """Give follicles a stage; the status is ``accepted`` if the software predicted it, otherwise ``corrected``."""

        def given(f: Follicle) -> Follicle:
            agreed = stage == f.assessment.stage and f.status in (Status.PREDICTED, Status.ACCEPTED)
            return f.judged(stage=stage, status=_status(f, Status.ACCEPTED if agreed else Status.CORRECTED))

        return self._change(Kind.SET_STAGE, ids, given)

    def set_health(self, ids: Iterable[str], health: Health) -> Edit:
        """Set whether follicles are atretic."""
        return self._change(
            Kind.SET_HEALTH, ids, lambda f: f.judged(health=health, status=_status(f, Status.CORRECTED))
        )

    def set_countable(self, ids: Iterable[str], countable: Countable) -> Edit:
        """Set whether the oocyte nucleus is visible."""
        return self._change(
            Kind.SET_COUNTABLE, ids, lambda f: f.judged(countable=countable, status=_status(f, Status.CORRECTED))
        )

    def accept(self, ids: Iterable[str]) -> Edit:
        """Accept the current state of follicles."""

        def agreed(f: Follicle) -> Follicle:
            if f.status in (Status.CORRECTED, Status.ADDED):  # now its stage is confirmed, too
                return f.judged(stage=f.stage)
            return f.judged(status=_status(f, Status.ACCEPTED))

        return self._change(Kind.SET_STATUS, ids, agreed)

    def delete(self, ids: Iterable[str]) -> Edit:
        """Reject follicles: they stay in the file but are not counted."""
        return self._change(Kind.DELETE, ids, _rejected)

    def add(self, follicle: Follicle) -> Edit:
        """Add a follicle that was missed; it gets an id made from its outline."""
        made = self._new_id(follicle.section_id, follicle.outline)
        return self._do(Kind.ADD, (), [replace(follicle.added(), id=made)])

    def find(self, follicles: Iterable[Follicle]) -> Edit:
        """Add follicles that a later search of a part found; they are not judged."""
        new = [replace(f, id=self._new_id(f.section_id, f.outline)) for f in follicles]
        return self._write(Kind.FIND, (), new)

    def reshape(self, one: str, outline: Polygon) -> Edit:
        """Give a follicle another outline.

        Raises
        ------
        UserError
            If the outline encloses nothing.
        """
        if outline.is_empty or not outline.area:
            raise UserError("This outline encloses nothing: draw it around the follicle, or delete the follicle.")
        old = self[one]
        new = self._reshaped(old, replace(old.shape, outline=outline))
        return self._do(Kind.RESHAPE, [old], [new.judged(status=_status(old, Status.CORRECTED))])

    def merge(self, ids: Iterable[str]) -> Edit:
        """Merge follicles: the largest gets the area of all, and the others are rejected.

        Raises
        ------
        UserError
            If there are fewer than two, they do not touch, or only some of them are corpora lutea.
        """
        parts = sorted((self[i] for i in dict.fromkeys(ids)), key=lambda f: -f.outline.area)
        if len(parts) < 2:
            raise UserError("Merging needs at least two follicles: select more.")
        if len({f.stage is Stage.CORPUS_LUTEUM for f in parts}) > 1:
            raise UserError("A corpus luteum and a follicle cannot be merged: give both the same stage first.")
        # Outlines that were drawn side by side have a gap of one or two pixels.
        whole = union_all([valid(f.outline).buffer(_GAP_PX) for f in parts]).buffer(-_GAP_PX)
        if not isinstance(whole, Polygon):
            raise UserError("These follicles do not touch and cannot be merged: reshape one until they do.")
        shape = Shape(
            Polygon(whole.exterior),
            next((f.oocyte for f in parts if f.oocyte is not None), None),
            next((f.nucleus for f in parts if f.nucleus is not None), None),
            tuple(space for f in parts for space in f.fluid),
        )
        one = self._reshaped(parts[0], shape).judged(status=_status(parts[0], Status.CORRECTED))
        return self._do(Kind.MERGE, parts, [one, *(_rejected(f) for f in parts[1:])])

    def split(self, one: str, line: LineString) -> Edit:
        """Split a follicle along a line; the part with the oocyte, or else the larger part, keeps its id.

        Raises
        ------
        UserError
            If the line does not cross it from side to side exactly once.
        """
        old = self[one]
        pieces = parts_of(old.outline, line)
        if len(pieces) != 2:
            raise UserError("The line must cross the follicle from side to side, once.")
        oocyte = old.oocyte
        pieces.sort(key=lambda p: (p.intersection(oocyte).area if oocyte is not None else 0.0, p.area), reverse=True)
        first = self._reshaped(old, replace(old.shape, outline=pieces[0]))
        own_id, shape = self._new_id(old.section_id, pieces[1]), Shape(pieces[1])
        kept: dict[str, Any] = {name: getattr(old, name) for name in ("health", "countable") if name in old.decided}
        if old.stage is Stage.CORPUS_LUTEUM:
            kept |= {"stage": old.stage, "countable": old.countable}
        piece = Follicle(own_id, old.section_id, shape).judged(status=Status.ADDED, **kept)
        second = self._reshaped(piece, shape)
        return self._do(Kind.SPLIT, [old], [first.judged(status=_status(old, Status.CORRECTED)), second])

    def assign(self, to: Mapping[str, tuple[str, str]]) -> Edit:
        """Assign sections to animal and ovary, by section id."""
        before = self._sections(to)
        after = [replace(s, animal=to[s.section_id][0], ovary=to[s.section_id][1]) for s in before]
        return self._write(Kind.ASSIGN_SECTION, sections_before=before, sections_after=after)

    def set_included(self, ids: Iterable[str], included: bool, reason: str = "") -> Edit:
        """Exclude whole sections from the counts, or include them again."""
        before = self._sections(ids)
        after = [replace(s, included=included, reason=reason) for s in before]
        return self._write(Kind.SET_INCLUDED, sections_before=before, sections_after=after)

    def judge_whole(self, ids: Iterable[str], judged: bool = True) -> Edit:
        """Say that every follicle of these sections is marked, or that they have none; or take this back.

        Follicles of these sections on which nobody decided yet are accepted, so that they stay after a later search.
        """
        before = self._sections(ids)
        after = [replace(s, judged_whole=judged) for s in before]
        names = {s.section_id for s in before}
        mine = [f for f, own in tissue.places(self.follicles, self.sections) if own in names]
        undecided = [f for f in mine if judged and f.status == Status.PREDICTED]
        accepted = [f.judged(status=Status.ACCEPTED) for f in undecided]
        return self._do(Kind.JUDGE_WHOLE, undecided, accepted, sections_before=before, sections_after=after)

    def merge_sections(self, ids: Iterable[str]) -> Edit:
        """Merge sections, such as pieces of a torn one; the first one on the slide keeps its name.

        Raises
        ------
        UserError
            If there are fewer than two sections, or they belong to different animals or ovaries.
        """
        parts = sorted(self._sections(ids), key=lambda s: s.place)
        return self._write(Kind.MERGE_SECTIONS, sections_before=parts, sections_after=[tissue.merged(parts)])

    def exclude_region(self, region: Polygon, reason: str = "") -> Edit:
        """Cut a region (a fold, a tear, pen) out of the sections below it; its tissue and follicles are not counted.

        Raises
        ------
        UserError
            If the region lies on no section that is counted.
        """
        before, after = tissue.cut_out(self.sections, region, reason)
        return self._write(Kind.EXCLUDE_REGION, sections_before=before, sections_after=after)

    @property
    def history(self) -> tuple[Edit, ...]:
        """Edits that can be undone, the last one last."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Edit, ...]:
        """Edits that can be redone, the next one last."""
        return tuple(self._undone)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo, from this or an earlier session."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._undone)

    def undo(self) -> Edit | None:
        """Undo the last edit; None if there is none."""
        if not self._done:
            return None
        last = self._done[-1]
        sections = {"sections_before": last.sections_after, "sections_after": last.sections_before}
        return self._write(Kind.UNDO, last.after, last.before, **sections, of=last.id)

    def redo(self) -> Edit | None:
        """Redo the edit that was undone last; None if there is none."""
        if not self._undone:
            return None
        last = self._undone[-1]
        sections = {"sections_before": last.sections_before, "sections_after": last.sections_after}
        return self._write(Kind.REDO, last.before, last.after, **sections, of=last.id)

    def adopt(self, edit: Edit) -> None:
        """Apply an edit and add it to the log: a new one, or one from another log of this slide.

        Raises
        ------
        Conflict
            If the edit does not fit the current state.
        """
        state = self._state.copy()
        edit.apply(state)
        self._log.append(edit)
        self._state, self.unsaved = state, True
        _step(edit, self._done, self._undone)

    def save(self, taken_in: Callable[[Edit], None] = lambda edit: None) -> None:
        """Write the files for other programs; first add changes that these made, and report them to ``taken_in``."""
        if isinstance(self._log, ClosedLog):
            return
        for edit in imported(self.folder, self.run_id):
            self.adopt(edit)
            taken_in(edit)
        write_standing(self.folder, self._state, self._log, run_id=self.run_id)
        self.unsaved = False

    def _say_saved(self) -> None:
        if isinstance(self._log, EditLog):
            say_saved(self.folder, self._log, run_id=self.run_id)

    def close(self) -> None:
        """Save, and release the slide for others."""
        try:
            self.save()
        finally:
            self.release()

    def release(self) -> None:
        """Release the slide for others; the files for other programs are not written."""
        self._log.close()

    def _sections(self, ids: Iterable[str]) -> list[Section]:
        gone = [i for i in ids if i not in self._state.sections]
        if gone:
            raise UserError(f"Section {gone[0]} no longer exists: it was merged, or another slide is open.")
        return [self._state.sections[i] for i in dict.fromkeys(ids)]

    def _reshaped(self, follicle: Follicle, shape: Shape) -> Follicle:
        """A follicle with another shape, measured again if the image can be read."""
        measured = self._measure(shape.outline)
        if follicle.stage is Stage.CORPUS_LUTEUM:  # it has no parts, and is not staged
            seen = measured.measurements if measured is not None else None
            own = Assessment.of_corpus_luteum(seen, follicle.score) if seen is not None else None
            return follicle.reshaped(Shape(shape.outline), own)
        if measured is None:
            return follicle.reshaped(shape)
        said = replace(measured.assessment, score=follicle.score)
        return follicle.reshaped(replace(measured.shape, outline=shape.outline), said)

    def _new_id(self, section_id: str, outline: Polygon) -> str:
        """An id that no follicle has, also no rejected one that was drawn at the same place."""
        return another_id(follicle_id(section_id, outline), self._state.follicles)

    def _change(self, kind: Kind, ids: Iterable[str], to: Callable[[Follicle], Follicle]) -> Edit:
        before = [self[i] for i in dict.fromkeys(ids)]
        return self._do(kind, before, [to(f) for f in before])

    def _do(self, kind: Kind, before: Sequence[Follicle], after: Sequence[Follicle], **more: Any) -> Edit:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self._write(kind, before, [f.signed(self._author, now) for f in after], **more)

    def _write(self, kind: Kind, before: Iterable[Follicle] = (), after: Iterable[Follicle] = (), **more: Any) -> Edit:
        more |= {"author": self._author, "blind": self._blind, "run_id": self.run_id, "software": software()}
        edit = Edit.make(kind, before, after, **more)
        try:
            self.adopt(edit)
        except Conflict:  # only undo and redo can meet a state that was changed since
            raise UserError(
                "This cannot be undone or redone: another person or program has changed it since."
            ) from None
        return edit


def parts_of(outline: Polygon, line: LineString) -> list[Polygon]:
    """Parts into which a line cuts an outline; one part if it does not cross it from side to side."""
    return [p for p in cut(valid(outline), line).geoms if isinstance(p, Polygon)]


def _history(edits: Iterable[Edit]) -> tuple[list[Edit], list[Edit]]:
    """Edits that can be undone and redone after these edits, the next one last."""
    done: list[Edit] = []
    undone: list[Edit] = []
    for edit in edits:
        _step(edit, done, undone)
    return done, undone


def _step(edit: Edit, done: list[Edit], undone: list[Edit]) -> None:
    """Update the lists of edits to undo and redo after an edit, also when the log is read again."""
    if edit.kind == Kind.UNDO and _move(edit.of, done, undone):
        return
    if edit.kind == Kind.REDO and _move(edit.of, undone, done):
        return
    if edit.kind not in _NO_STEP and edit.changes:
        done.append(edit)
        undone.clear()


def _move(edit_id: str, from_: list[Edit], to: list[Edit]) -> bool:
    """Move an edit between lists; False if it is missing, as another person's undo can be of any edit."""
    for edit in from_:
        if edit.id == edit_id:
            from_.remove(edit)
            to.append(edit)
            return True
    return False


def _status(follicle: Follicle, wanted: Status) -> Status:
    """The wanted status, but ``added`` for a follicle that a person added."""
    return Status.ADDED if follicle.status == Status.ADDED else wanted


def _rejected(follicle: Follicle) -> Follicle:
    return follicle.judged(status=Status.REJECTED)
