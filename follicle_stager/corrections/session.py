"""One person at one slide: commands, undo and redo, and what stands now. No screen.

A command is on disk before anything changes here, so a screen shows nothing that a crash could take away.
``follicles.geojson`` and ``sections.geojson`` are written by `ReviewSession.save`, for other programs; the log alone
holds the truth.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shapely import union_all
from shapely.geometry import Polygon
from shapely.ops import split as cut

from follicle_stager.annotations import write_sections
from follicle_stager.corrections import sections as tissue
from follicle_stager.corrections.edits import Conflict, Edit, Kind, another_id, replay
from follicle_stager.corrections.log import EditLog
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
from follicle_stager.records import Follicle, Judgement, Shape, follicle_id
from follicle_stager.stages import Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from shapely.geometry import LineString

    from follicle_stager.records import Section

    #: Outline (level-0 pixels) -> the follicle that the software sees in it, None off the tissue
    Measure = Callable[[Polygon], Follicle | None]

# Lines of the log that nobody takes back.
_NO_STEP = (Kind.SAVED, Kind.REATTACH)
# Half of the gap between outlines that were drawn side by side.
_GAP_PX = 2.0


class ReviewSession:
    """A slide that is open for correction.

    Parameters
    ----------
    folder
        Of the slide in its study.
    run_id
        The slide's last run.
    author
        Who corrects.
    measure
        Measures and stages what an outline holds; None where it cannot.

    Raises
    ------
    UserError
        If somebody else has the slide open, or its files are damaged.
    """

    def __init__(self, folder: Path, run_id: str, *, author: str, measure: Measure = lambda outline: None) -> None:
        self.folder, self.run_id = folder, run_id
        self._author, self._measure = author, measure
        self._log = EditLog(folder)
        try:
            now = standing(folder, run_id)
            self._predicted, self._state = now.predicted, replay(now.predicted, now.edits)
            self._done, self._undone = _history(now.edits)
            if not predicted_sections(folder, run_id).exists():
                write_sections(predicted_sections(folder, run_id), now.predicted.sections.values())
            for edit in now.imported:
                self.adopt(edit)
            say_saved(folder, self._log, run_id=run_id)
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> ReviewSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def follicles(self) -> tuple[Follicle, ...]:
        """As they stand, rejected ones included, in the order of the file."""
        return tuple(self._state.follicles.values())

    @property
    def predicted(self) -> tuple[Follicle, ...]:
        """As the run found them."""
        return tuple(self._predicted.follicles.values())

    @property
    def sections(self) -> tuple[Section, ...]:
        """As they stand, those that are not counted included."""
        return tuple(self._state.sections.values())

    def __getitem__(self, follicle_id: str) -> Follicle:
        return self._state.follicles[follicle_id]

    def set_stage(self, ids: Iterable[str], stage: Stage) -> Edit:
        """Give follicles a stage: ``accepted`` where the software said the same, else ``corrected``."""

        def given(f: Follicle) -> Follicle:
            agreed = stage == f.assessment.stage and f.status in (Status.PREDICTED, Status.ACCEPTED)
            return f.judged(stage=stage, status=_status(f, Status.ACCEPTED if agreed else Status.CORRECTED))

        return self._change(Kind.SET_STAGE, ids, given)

    def set_health(self, ids: Iterable[str], health: Health) -> Edit:
        """Say whether follicles are atretic."""
        return self._change(
            Kind.SET_HEALTH, ids, lambda f: f.judged(health=health, status=_status(f, Status.CORRECTED))
        )

    def set_countable(self, ids: Iterable[str], countable: Countable) -> Edit:
        """Say whether the oocyte's nucleus shows."""
        return self._change(
            Kind.SET_COUNTABLE, ids, lambda f: f.judged(countable=countable, status=_status(f, Status.CORRECTED))
        )

    def accept(self, ids: Iterable[str]) -> Edit:
        """Agree with what stands."""

        def agreed(f: Follicle) -> Follicle:
            return f if f.status == Status.CORRECTED else f.judged(status=_status(f, Status.ACCEPTED))

        return self._change(Kind.SET_STATUS, ids, agreed)

    def delete(self, ids: Iterable[str]) -> Edit:
        """Reject follicles: they are kept in the file and counted nowhere."""
        return self._change(Kind.DELETE, ids, _rejected)

    def add(self, follicle: Follicle) -> Edit:
        """Add a follicle that was missed, as it is but for its id, which is made from its place."""
        made = self._new_id(follicle.section_id, follicle.outline)
        return self._do(Kind.ADD, (), [replace(follicle.added(), id=made)])

    def find(self, follicles: Iterable[Follicle]) -> Edit:
        """Add follicles that a search found where the run had not; nobody has judged them."""
        new = [replace(f, id=self._new_id(f.section_id, f.outline)) for f in follicles]
        return self._write(Kind.FIND, (), new)

    def reshape(self, one: str, outline: Polygon) -> Edit:
        """Give a follicle another outline.

        Raises
        ------
        UserError
            If it encloses nothing.
        """
        if outline.is_empty or not outline.area:
            raise UserError("This outline encloses nothing: draw it around the follicle, or delete the follicle.")
        old = self[one]
        new = self._reshaped(old, replace(old.shape, outline=outline))
        return self._do(Kind.RESHAPE, [old], [new.judged(status=_status(old, Status.CORRECTED))])

    def merge(self, ids: Iterable[str]) -> Edit:
        """Make one follicle of several: the largest takes the others in, and they are rejected.

        Raises
        ------
        UserError
            If they are fewer than two, or do not touch.
        """
        parts = sorted((self[i] for i in dict.fromkeys(ids)), key=lambda f: -f.outline.area)
        if len(parts) < 2:
            raise UserError("Merging needs two follicles at least: select more.")
        # Outlines that were drawn side by side leave a gap of a pixel or two.
        whole = union_all([valid(f.outline).buffer(_GAP_PX) for f in parts]).buffer(-_GAP_PX)
        if not isinstance(whole, Polygon):
            raise UserError("These follicles do not touch, and cannot be one: reshape one until they do.")
        shape = Shape(
            Polygon(whole.exterior),
            next((f.oocyte for f in parts if f.oocyte is not None), None),
            next((f.nucleus for f in parts if f.nucleus is not None), None),
            tuple(space for f in parts for space in f.fluid),
        )
        one = self._reshaped(parts[0], shape).judged(status=_status(parts[0], Status.CORRECTED))
        return self._do(Kind.MERGE, parts, [one, *(_rejected(f) for f in parts[1:])])

    def split(self, one: str, line: LineString) -> Edit:
        """Cut a follicle along a line; the part that holds the oocyte, or the larger one, keeps its id.

        Raises
        ------
        UserError
            If the line does not cross it from side to side once.
        """
        old = self[one]
        pieces = parts_of(old.outline, line)
        if len(pieces) != 2:
            raise UserError("The line must cross the follicle from side to side, once.")
        oocyte = old.oocyte
        pieces.sort(key=lambda p: (p.intersection(oocyte).area if oocyte is not None else 0.0, p.area), reverse=True)
        first = self._reshaped(old, replace(old.shape, outline=pieces[0]))
        own_id, shape = self._new_id(old.section_id, pieces[1]), Shape(pieces[1])
        second = self._reshaped(Follicle(own_id, old.section_id, shape, Judgement(status=Status.ADDED)), shape)
        return self._do(Kind.SPLIT, [old], [first.judged(status=_status(old, Status.CORRECTED)), second])

    def assign(self, to: Mapping[str, tuple[str, str]]) -> Edit:
        """Say whose sections are: animal and ovary, by section id."""
        before = self._sections(to)
        after = [replace(s, animal=to[s.section_id][0], ovary=to[s.section_id][1]) for s in before]
        return self._write(Kind.ASSIGN_SECTION, sections_before=before, sections_after=after)

    def set_included(self, ids: Iterable[str], included: bool, reason: str = "") -> Edit:
        """Leave whole sections out of the counts, or take them in again."""
        before = self._sections(ids)
        after = [replace(s, included=included, reason=reason) for s in before]
        return self._write(Kind.SET_INCLUDED, sections_before=before, sections_after=after)

    def merge_sections(self, ids: Iterable[str]) -> Edit:
        """Make one section of several, as of the pieces of one that tore; the first on the slide keeps its name.

        Raises
        ------
        UserError
            If they are fewer than two, or of two animals.
        """
        parts = sorted(self._sections(ids), key=lambda s: s.place)
        return self._write(Kind.MERGE_SECTIONS, sections_before=parts, sections_after=[tissue.merged(parts)])

    def exclude_region(self, region: Polygon, reason: str = "") -> Edit:
        """Cut a region (a fold, a tear, pen) out of the sections below it; its tissue and follicles are not counted.

        Raises
        ------
        UserError
            If it lies on no section that is counted.
        """
        before, after = tissue.cut_out(self.sections, region, reason)
        return self._write(Kind.EXCLUDE_REGION, sections_before=before, sections_after=after)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo, of this or an earlier session."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether the last thing was an undo."""
        return bool(self._undone)

    def undo(self) -> Edit | None:
        """Take the last edit back; None if there is none."""
        if not self._done:
            return None
        last = self._done[-1]
        sections = {"sections_before": last.sections_after, "sections_after": last.sections_before}
        return self._write(Kind.UNDO, last.after, last.before, **sections, of=last.id)

    def redo(self) -> Edit | None:
        """Do again what was undone last; None if there is nothing."""
        if not self._undone:
            return None
        last = self._undone[-1]
        sections = {"sections_before": last.sections_before, "sections_after": last.sections_after}
        return self._write(Kind.REDO, last.before, last.after, **sections, of=last.id)

    def adopt(self, edit: Edit) -> None:
        """Take in an edit as it is: a new one, or one of another log of this slide.

        Raises
        ------
        Conflict
            If what it changed stands otherwise here.
        """
        state = self._state.copy()
        edit.apply(state)
        self._log.append(edit)
        self._state = state
        _step(edit, self._done, self._undone)

    def save(self, taken_in: Callable[[Edit], None] = lambda edit: None) -> None:
        """Write the files for other programs; what these wrote there meanwhile is taken in first, and told."""
        for edit in imported(self.folder, self.run_id):
            self.adopt(edit)
            taken_in(edit)
        write_standing(self.folder, self._state, self._log, run_id=self.run_id)

    def close(self) -> None:
        """Save, and let others correct."""
        try:
            self.save()
        finally:
            self.release()

    def release(self) -> None:
        """Let others correct; the files for other programs stay as they are."""
        self._log.close()

    def _sections(self, ids: Iterable[str]) -> list[Section]:
        gone = [i for i in ids if i not in self._state.sections]
        if gone:
            raise UserError(f"Section {gone[0]} is not there any more: it was merged, or this is another slide.")
        return [self._state.sections[i] for i in dict.fromkeys(ids)]

    def _reshaped(self, follicle: Follicle, shape: Shape) -> Follicle:
        """A follicle in another shape, measured anew where the picture can be read."""
        measured = self._measure(shape.outline)
        if measured is None:
            return follicle.reshaped(shape)
        said = replace(measured.assessment, score=follicle.score)
        return follicle.reshaped(replace(measured.shape, outline=shape.outline), said)

    def _new_id(self, section_id: str, outline: Polygon) -> str:
        """An id that no follicle has, rejected ones included: one may have been drawn here before."""
        return another_id(follicle_id(section_id, outline), self._state.follicles)

    def _change(self, kind: Kind, ids: Iterable[str], to: Callable[[Follicle], Follicle]) -> Edit:
        before = [self[i] for i in dict.fromkeys(ids)]
        return self._do(kind, before, [to(f) for f in before])

    def _do(self, kind: Kind, before: Sequence[Follicle], after: Sequence[Follicle]) -> Edit:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self._write(kind, before, [f.signed(self._author, now) for f in after])

    def _write(self, kind: Kind, before: Iterable[Follicle] = (), after: Iterable[Follicle] = (), **more: Any) -> Edit:
        edit = Edit.make(kind, before, after, **more, author=self._author, run_id=self.run_id, software=software())
        try:
            self.adopt(edit)
        except Conflict:  # only what is undone or redone can meet another state than it left
            raise UserError(
                "This cannot be undone or done again: it was changed since, by another person or program."
            ) from None
        return edit


def parts_of(outline: Polygon, line: LineString) -> list[Polygon]:
    """What a line cuts an outline into; one part where it does not cross it from side to side."""
    return [p for p in cut(valid(outline), line).geoms if isinstance(p, Polygon)]


def _history(edits: Iterable[Edit]) -> tuple[list[Edit], list[Edit]]:
    """What can be undone and redone after these edits, the next one last."""
    done: list[Edit] = []
    undone: list[Edit] = []
    for edit in edits:
        _step(edit, done, undone)
    return done, undone


def _step(edit: Edit, done: list[Edit], undone: list[Edit]) -> None:
    """What an edit leaves to be undone and redone; now and when the log is read again."""
    if edit.kind == Kind.UNDO and _move(edit.of, done, undone):
        return
    if edit.kind == Kind.REDO and _move(edit.of, undone, done):
        return
    if edit.kind not in _NO_STEP and edit.changes:
        done.append(edit)
        undone.clear()


def _move(edit_id: str, from_: list[Edit], to: list[Edit]) -> bool:
    """Another person's undo, taken in later, need not be of the last edit, nor of one that can be taken back here."""
    for edit in from_:
        if edit.id == edit_id:
            from_.remove(edit)
            to.append(edit)
            return True
    return False


def _status(follicle: Follicle, wanted: Status) -> Status:
    """A follicle that a person drew stays ``added``, whatever is said of it."""
    return Status.ADDED if follicle.status == Status.ADDED else wanted


def _rejected(follicle: Follicle) -> Follicle:
    return follicle.judged(status=Status.REJECTED)
