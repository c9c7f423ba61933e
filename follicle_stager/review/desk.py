"""Review the slides of a study: the queue of follicles, all commands, and progress; no user interface.

Each key or button of a window makes one call here, so that everything can be tested without a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from follicle_stager.audit import is_open
from follicle_stager.corrections import Kind
from follicle_stager.errors import UserError
from follicle_stager.review.numbers import Numbers
from follicle_stager.review.open_slides import OpenSlide, OpenSlides
from follicle_stager.review.outline_desk import OutlineDesk
from follicle_stager.review.section_desk import SectionDesk
from follicle_stager.review.tour import Tour, opinions_of
from follicle_stager.review.walk import Walk
from follicle_stager.slides.crops import crop_of
from follicle_stager.stages import Stage, next_countable, next_health

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
    from follicle_stager.study import Study, Tally

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
    walk
        Queue, current follicle and selection of the open slide.
    changed
        Function that is called with the ids of follicles after they changed, were added or removed.
    outlines
        What changes, adds or finds outlines on the open slide.
    tissue
        Sections of the open slide.
    numbers
        Progress and counts.
    """

    def __init__(
        self, study: Study, *, author: str, tally: Tally | None = None, blinding: Blinding | None = None
    ) -> None:
        self.study = study
        #: Names of the slides for a blinded review, or None.
        self.blinding = blinding
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
        #: Whether the means of the groups are hidden, because the review is blinded or an audit is open.
        self.hides_groups = blinding is not None or is_open(study)
        #: Queue, current follicle and selection of the open slide.
        self.walk = Walk(lambda: self.session, lambda: opinions_of(study, self.follicles))
        #: Outlines of the open slide.
        self.outlines = OutlineDesk(self)
        #: Sections of the open slide.
        self.tissue = SectionDesk(lambda: self.session, tally, self.done)
        #: Progress and counts.
        self.numbers = Numbers(self, self._slides, tally)

    @property
    def slide_id(self) -> str:
        """Name of the open slide; empty if none is open."""
        return self._here.slide_id if self._here is not None else ""

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
        try:
            self._leave()
        except BaseException:  # nothing changed on the new slide, so nothing is written
            there.release()
            raise
        self._here = there
        self.walk.begin(there.steps)

    def _leave(self) -> None:
        """Leave the slide on the screen: save and release it.

        On a tour it stays open as it is, because to save and to count it would take longer than the way to the next.
        """
        if self.tour is None or self._here is None:
            self.save()
        else:
            self.numbers.set_aside()
            self._here.steps = self.walk.steps
            self._slides.keep(self._here)
            self._here = None
        self.release()

    def begin_tour(self, tour: Tour) -> None:
        """Go on through all slides, and to the first follicle of the tour."""
        self.end_tour()
        self.tour = tour
        self.numbers.know(tour.progress)
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
        if not self._find_next(self.tour, step):
            self.walk.let_go()
        if self._here is not None:
            self._slides.open_ahead(self.tour.ahead(_AHEAD), self._here)

    def _find_next(self, tour: Tour, step: int) -> bool:
        """Go to the next follicle of a tour; False if there is none."""
        here = (self.slide_id, self.walk.current) if self.walk.current is not None else None
        for _ in range(len(tour) + 1):
            place = tour.next(step, here)
            if place is None:
                return False
            slide_id, follicle_id = here = place
            try:
                self.open(slide_id)
            except BaseException:
                tour.is_closed(place)
                raise
            if self.walk.is_due(follicle_id) or (step < 0 and follicle_id in self.session):
                self.walk.go_to(follicle_id)
                return True
            tour.skip(place)
        return False

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
        self._here = None
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
        self.numbers.changed(slide_id, content)
        if self.tour is not None:
            self.tour.note_all(slide_id, content.included)

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
        return self._repeat(self._acts, lambda: self.session.history, lambda: self.session.undo())

    def redo(self) -> Edit | None:
        """Redo the edit that was undone last, and go to its follicle.

        Returns
        -------
        Edit or None
            The edit that was done again; None if there is none.
        """
        return self._repeat(self._undone, lambda: self.session.undone, lambda: self.session.redo())

    def _repeat(
        self, slides: list[str], edits: Callable[[], tuple[Edit, ...]], do: Callable[[], Edit | None]
    ) -> Edit | None:
        """Undo or redo the last of some edits, on a tour on the last of some slides; return this edit."""
        if self.tour is not None and slides:
            self.open(slides[-1])
        last = edits()[-1:]
        if not last and slides[-1:] == [self.slide_id]:  # the slide was searched again
            slides.pop()
        self._look_at(do())
        return last[0] if last else None

    def save(self) -> None:
        """Write the files of the open slide for other programs; without this, nothing is lost."""
        if self._here is None:
            return
        self.session.save(self.done)
        self.numbers.saved()

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
