"""Review the slides of a study: the queue of follicles, all commands, and progress; no user interface.

Each key or button of a window makes one call here, so that everything can be tested without a window.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from follicle_stager.audit import is_open
from follicle_stager.corrections import Kind
from follicle_stager.corrections.sections import places, section_of
from follicle_stager.errors import UserError
from follicle_stager.review.open_slides import OpenSlide, OpenSlides
from follicle_stager.review.outline_desk import OutlineDesk
from follicle_stager.review.queue import Progress, progress
from follicle_stager.review.section_desk import SectionDesk
from follicle_stager.review.tour import Tour, opinions_of
from follicle_stager.review.walk import Walk
from follicle_stager.slides.crops import crop_of
from follicle_stager.stages import Stage, Status, next_countable, next_health
from follicle_stager.study.content import placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from follicle_stager.corrections.edits import Edit
    from follicle_stager.corrections.session import ReviewSession
    from follicle_stager.pipeline import Examiner
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle
    from follicle_stager.review.blinding import Blinding
    from follicle_stager.slides import Slide
    from follicle_stager.study import Counts, Study, Tally

# Places of a tour that are read ahead.
_AHEAD = 3


class Desk:
    """The review of a study by one person.

    Parameters
    ----------
    study
        Study with finished slides.
    author
        Name of the person who corrects.
    tally
        Counts of animals and genotypes; None if there is no sample sheet.
    blinding
        Names of the slides for a blinded review; None if the person may see all names.

    Attributes
    ----------
    slide_id
        Name of the open slide; empty if none is open.
    walk
        Queue, current follicle and selection of the open slide.
    changed
        Function that is called with the ids of follicles after they changed, were added or removed.
    outlines
        What changes, adds or finds outlines on the open slide.
    tissue
        Sections of the open slide.
    """

    def __init__(
        self, study: Study, *, author: str, tally: Tally | None = None, blinding: Blinding | None = None
    ) -> None:
        self.study, self._tally = study, tally
        #: Names of the slides for a blinded review, or None.
        self.blinding = blinding
        self.slide_id = ""
        self.changed: Callable[[Iterable[str]], None] = lambda ids: None
        self._slides = OpenSlides(study, author=author, blind=blinding is not None)
        # The slide on the screen.
        self._here: OpenSlide | None = None
        #: The queue over all slides of the study; None while only the open slide is reviewed.
        self.tour: Tour | None = None
        # A slide whose follicles are shown beside those of the open one, with its name.
        self._beside: tuple[str, Slide] | None = None
        # Slides of the edits that can be undone and redone, the next one last; on a tour, these are on several slides.
        self._acts: list[str] = []
        self._undone: list[str] = []
        # Slides that changed and were left, and are not counted again yet.
        self._uncounted: set[str] = set()
        #: Whether the means of the groups are hidden, because the review is blinded or an audit is open.
        self.hides_groups = blinding is not None or is_open(study)
        #: Queue, current follicle and selection of the open slide.
        self.walk = Walk(lambda: self.session, lambda: opinions_of(study, self.follicles))
        #: Outlines of the open slide.
        self.outlines = OutlineDesk(self)
        #: Sections of the open slide.
        self.tissue = SectionDesk(lambda: self.session, tally, self.done)
        self._progress: dict[str, Progress] = {}

    def open(self, slide_id: str) -> None:
        """Open a slide for correction; the previous slide is saved and closed.

        Raises
        ------
        UserError
            If the slide is not finished, another person or window has it open, or its files are damaged; the previous
            slide stays open.
        OSError
            If the previous slide cannot be saved, for example on a full disk; it stays open.
        """
        if slide_id == self.slide_id:
            return
        there = self._slides.take(slide_id)
        if self.tour is not None:
            self._set_aside()
        try:
            self.save()
        except BaseException:  # nothing changed on the new slide, so nothing is written
            there.release()
            raise
        self.release()
        self._here, self.slide_id = there, slide_id
        self.walk.begin(there.steps)

    def begin_tour(self, tour: Tour) -> None:
        """Go on through all slides, and to the first follicle of the tour."""
        self.end_tour()
        self.tour = tour
        self._progress |= tour.progress
        self.walk.order, self.walk.only = tour.order, tour.only
        self.go()

    def end_tour(self) -> None:
        """Go on on the open slide only; the other ones are saved and released."""
        self.tour = None
        self._slides.close()

    def go(self, step: int = 1) -> None:
        """Go to the next follicle to review, or backwards; on a tour, it may be on another slide.

        Raises
        ------
        UserError, OSError
            If the next slide cannot be opened; pressing the key again passes it.
        """
        if self.tour is None:
            self.walk.go(step)
            return
        here = (self.slide_id, self.walk.current) if self.walk.current is not None else None
        for _ in range(len(self.tour) + 1):
            place = self.tour.next(step, here)
            if place is None:
                self.walk.let_go()
                break
            slide_id, follicle_id = here = place
            try:
                self.open(slide_id)
            except BaseException:
                self.tour.is_closed(place)
                raise
            if self.walk.is_due(follicle_id) or (step < 0 and follicle_id in self.session):
                self.walk.go_to(follicle_id)
                break
            self.tour.skip(place)
        else:
            self.walk.let_go()
        if self._here is not None:
            self._slides.open_ahead(self.tour.ahead(_AHEAD), self._here)

    def close(self) -> None:
        """Save and close all slides. They are closed even if saving fails; the log has everything."""
        try:
            self.save()
        finally:
            self.release()
            self.end_tour()

    def release(self) -> None:
        """Close the slide on the screen without saving; the log has everything."""
        self._close_beside()
        if self._here is not None:
            self._here.release()
        self._here, self.slide_id = None, ""
        self.walk.end()

    def slide_ids(self) -> list[str]:
        """Slides of the study in the order of the review: by their names, or by their random codes."""
        slides = self.study.slide_ids()
        return slides if self.blinding is None else self.blinding.in_order(slides)

    def shown_name(self, slide_id: str) -> str:
        """The name of a slide as the person may see it."""
        return slide_id if self.blinding is None else self.blinding.code(slide_id)

    def veiled(self, text: str) -> str:
        """A message as the person may see it: without names if the review is blinded."""
        return text if self.blinding is None else self.blinding.veil(text)

    def neighbour(self, step: int = 1) -> str | None:
        """The next or previous slide of the study; None if there is none."""
        slides = self.slide_ids()
        place = slides.index(self.slide_id) + step if self.slide_id in slides else 0
        return slides[place] if 0 <= place < len(slides) else None

    def open_next(self, step: int = 1) -> bool:
        """Open the next or previous slide of the study; False if there is none."""
        slide_id = self.neighbour(step)
        if slide_id is not None:
            self.open(slide_id)
        return slide_id is not None

    @property
    def here(self) -> OpenSlide:
        """The slide on the screen.

        Raises
        ------
        UserError
            If no slide is open.
        """
        if self._here is None:
            raise UserError("No slide is open: open one first.")
        return self._here

    @property
    def session(self) -> ReviewSession:
        """The session of the open slide.

        Raises
        ------
        UserError
            If no slide is open.
        """
        return self.here.session

    @property
    def slide(self) -> Slide:
        """The image of the open slide, with the pixel size of its run.

        Raises
        ------
        UserError
            If no slide is open, or the file is not found.
        """
        return self.here.image

    @property
    def source(self) -> Path:
        """Path of the image."""
        return self.study.source(self.slide_id)

    @property
    def pixel_size(self) -> PixelSize:
        """Pixel size of the run."""
        return self.here.pixel_size

    @property
    def examiner(self) -> Examiner:
        """What measures drawn outlines on the open slide; see `OpenSlide.examiner`.

        Raises
        ------
        UserError
            If no slide is open, or the image cannot be read.
        """
        return self.here.examiner

    @property
    def follicles(self) -> tuple[Follicle, ...]:
        """Follicles of the open slide, including rejected ones, in the order of the file."""
        return self.session.follicles

    @property
    def visible_stages(self) -> frozenset[Stage]:
        """Stages that are counted on the open slide; the others are NA."""
        return self.here.visible_stages

    def set_stage(self, stage: Stage) -> None:
        """Give the chosen follicles a stage, and go to the next."""
        self._decided(self.session.set_stage(self.walk.chosen, stage))

    def accept(self) -> None:
        """Accept the current state of the chosen follicles, and go to the next."""
        self._decided(self.session.accept(self.walk.chosen))

    def delete(self) -> None:
        """Reject the chosen follicles, and go to the next."""
        self._decided(self.session.delete(self.walk.chosen))

    def switch_health(self) -> None:
        """Switch the chosen follicles between atretic and healthy."""
        first = self.session[self.walk.chosen[0]]
        self.done(self.session.set_health(self.walk.chosen, next_health(first.health)))

    def switch_countable(self) -> None:
        """Switch whether the oocyte nucleus is visible in the chosen follicles."""
        first = self.session[self.walk.chosen[0]]
        self.done(self.session.set_countable(self.walk.chosen, next_countable(first.countable)))

    def crop(
        self, follicle: Follicle, side_px: int, *, slide_id: str = "", side_um: float | None = None
    ) -> NDArray[np.uint8]:
        """Crop of the image around a follicle, RGB, (side_px, side_px, 3); see `crops.crop_of`.

        Parameters
        ----------
        follicle
            A follicle of the slide.
        side_px
            Side of the crop, px.
        slide_id
            Slide of the follicle; by default, the open one.
        side_um
            Side of the crop, µm.

        Raises
        ------
        UserError
            If the image cannot be read.
        """
        if slide_id in ("", self.slide_id):
            return crop_of(self.slide, follicle, side_px, side_um=side_um)
        if self._beside is None or self._beside[0] != slide_id:
            self._close_beside()
            self._beside = slide_id, self.study.open_slide(slide_id)
        return crop_of(self._beside[1], follicle, side_px, side_um=side_um)

    def decide_on(self, slide_id: str, do: Callable[[ReviewSession], object]) -> None:
        """Correct a slide that is not open, as a gallery of the study does; its files are saved.

        Raises
        ------
        UserError
            If another person or window has it open.
        """
        slide = self._slides.take(slide_id)
        try:
            do(slide.session)
            slide.save()
        finally:
            slide.release()
        content = self.study.content(slide_id)
        self._progress[slide_id] = progress(content.included)
        if self.tour is not None:
            self.tour.note_all(slide_id, content.included)
        if self._tally is not None:
            with contextlib.suppress(UserError):  # this is reported where the counts are shown
                self._tally.update(slide_id, content.follicles, content.sections, content.notes)

    def _close_beside(self) -> None:
        if self._beside is not None:
            self._beside[1].close()
            self._beside = None

    def undo(self) -> Edit | None:
        """Undo the last edit, on a tour also that on another slide, and go to its follicle.

        Returns
        -------
        Edit or None
            The edit that was undone; None if there is none.
        """
        if self.tour is not None and self._acts:
            self.open(self._acts[-1])
        last = self.session.history[-1:]
        if not last and self._acts[-1:] == [self.slide_id]:  # the slide was searched again
            self._acts.pop()
        self._look_at(self.session.undo())
        return last[0] if last else None

    def redo(self) -> Edit | None:
        """Redo the edit that was undone last, and go to its follicle.

        Returns
        -------
        Edit or None
            The edit that was done again; None if there is none.
        """
        if self.tour is not None and self._undone:
            self.open(self._undone[-1])
        last = self.session.undone[-1:]
        if not last and self._undone[-1:] == [self.slide_id]:
            self._undone.pop()
        self._look_at(self.session.redo())
        return last[0] if last else None

    def save(self) -> None:
        """Write the files of the open slide for other programs; without this, nothing is lost."""
        if self._here is None:
            return
        self.session.save(self.done)
        self._progress[self.slide_id] = self.progress
        with contextlib.suppress(UserError):  # this is reported where the counts are shown
            self._tell(self.here)

    @property
    def progress(self) -> Progress:
        """Progress on the open slide, without follicles that are not counted."""
        return progress(f for f in self.follicles if self.walk.is_counted(f))

    def read_progress(self) -> bool:
        """Read the progress of one more slide; False if it is known of all. A window calls this when it is idle.

        Raises
        ------
        UserError
            If the files of the slide are damaged; it then counts as a slide without follicles.
        """
        for slide_id in self.study.slide_ids():
            if slide_id not in self._progress and slide_id != self.slide_id:
                self._progress[slide_id] = Progress(0, 0)
                self._progress[slide_id] = progress(self.study.content(slide_id).included)
                return True
        return False

    @property
    def progress_by_slide(self) -> dict[str, Progress]:
        """Progress on each slide of which it is known; the open one as it is now."""
        return self._progress | ({self.slide_id: self.progress} if self._here is not None else {})

    def progress_of_study(self) -> Progress:
        """Progress on all slides; each slide is read once."""
        while self.read_progress():
            pass
        return sum(self.progress_by_slide.values(), Progress(0, 0))

    def counts(self) -> Counts | None:
        """Current tables, as ``count`` would write them; None without a sample sheet.

        Raises
        ------
        UserError
            If the study cannot be counted.
        """
        if self._tally is None:
            return None
        kept = self._slides.among()
        for slide_id in sorted(self._uncounted - {self.slide_id}):
            if slide_id in kept:
                self._tell(kept[slide_id])
            else:
                content = self.study.content(slide_id)
                self._tally.update(slide_id, content.follicles, content.sections, content.notes)
            self._uncounted.discard(slide_id)
        if self._here is not None:
            self._tell(self._here)
        return self._tally.counts()

    def _tell(self, slide: OpenSlide) -> None:
        """Count an open slide again."""
        if self._tally is not None:
            session = slide.session
            folder = self.study.slide_folder(slide.slide_id)
            follicles = placed(folder, session.follicles, session.sections)
            self._tally.update(slide.slide_id, follicles, session.sections)

    def _set_aside(self) -> None:
        """Leave the open slide as it is on a tour: to save and count it would take longer than the way to the next."""
        if self._here is not None:
            if self._here.session.unsaved:
                self._progress[self.slide_id] = self.progress
                self._uncounted.add(self.slide_id)
            self._here.steps = self.walk.steps
            self._slides.keep(self._here)
            self._here = None

    def since_prediction(self) -> dict[Stage, tuple[int, int]]:
        """Predicted and current number of follicles of each stage on the open slide."""
        standing = [f.stage for f in self.follicles if f.status != Status.REJECTED and self.walk.is_counted(f)]
        predicted = [f.stage for f in self.session.predicted]
        return {stage: (predicted.count(stage), standing.count(stage)) for stage in Stage}

    def in_section(self) -> dict[Stage, int]:
        """Number of follicles of each stage on the section of the current follicle; empty if none is current."""
        if self.walk.current is None:
            return {}
        sections = self.session.sections
        own = section_of(self.session[self.walk.current], sections)
        counted = (f for f in self.follicles if f.status != Status.REJECTED)
        there = [f.stage for f, section_id in places(counted, sections) if section_id == own]
        return {stage: there.count(stage) for stage in Stage}

    def _decided(self, edit: Edit) -> None:
        self._take_in(edit)
        try:
            if self.walk.goes_on:
                self.go()
        finally:
            self._report(edit)

    def _look_at(self, edit: Edit | None) -> None:
        """Go to the follicle of an edit, and take it in."""
        if edit is None:
            return
        there = [f.id for f in (*edit.after, *edit.before) if f.id in self.session]
        if there:
            self.walk.go_to(there[0])
            if self.tour is not None:
                self.tour.go_to((self.slide_id, there[0]))
        self.done(edit)

    def done(self, edit: Edit) -> None:
        """Take an edit of the session into the queue, and report what changed."""
        self._take_in(edit)
        self._report(edit)

    def _take_in(self, edit: Edit) -> None:
        self.walk.follow(edit)
        if edit.kind in (Kind.UNDO, Kind.REDO):
            source, target = (self._acts, self._undone) if edit.kind == Kind.UNDO else (self._undone, self._acts)
            if self.slide_id in source:
                del source[len(source) - 1 - source[::-1].index(self.slide_id)]
            target.append(self.slide_id)
        elif edit.changes:
            self._acts.append(self.slide_id)
            self._undone.clear()
        if self.tour is not None:
            touched = self.follicles if edit.sections_before else edit.after
            gone = {f.id for f in edit.before} - {f.id for f in edit.after}
            self.tour.note(self.slide_id, touched, gone, self.walk.is_due)

    def _report(self, edit: Edit) -> None:
        self.changed({f.id for f in (*edit.before, *edit.after)})
