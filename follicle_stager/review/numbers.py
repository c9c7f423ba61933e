"""The part of a desk that counts: progress on the slides, and the tables as they are now; no user interface."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from follicle_stager.corrections.sections import places, section_of
from follicle_stager.errors import UserError
from follicle_stager.review.queue import Progress, progress
from follicle_stager.stages import Stage, Status
from follicle_stager.study.content import placed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from follicle_stager.corrections import ReviewSession
    from follicle_stager.review.open_slides import OpenSlides
    from follicle_stager.review.walk import Walk
    from follicle_stager.study import Counts, SlideContent, Study, Tally

    class OpenSlide(Protocol):
        """What numbers need of a desk."""

        study: Study
        walk: Walk

        @property
        def slide_id(self) -> str:
            """Name of the open slide; empty if none is open."""

        @property
        def session(self) -> ReviewSession:
            """The session of the open slide."""


class Numbers:
    """Progress and counts of a desk.

    Parameters
    ----------
    desk
        The desk.
    slides
        Slides that it has open beside the one on the screen.
    tally
        Counts of animals and genotypes; None if there is no sample sheet.
    """

    def __init__(self, desk: OpenSlide, slides: OpenSlides, tally: Tally | None) -> None:
        self._desk, self._slides, self._tally = desk, slides, tally
        self._progress: dict[str, Progress] = {}
        # Slides that changed and were left, and are not counted again yet.
        self._uncounted: set[str] = set()

    @property
    def progress(self) -> Progress:
        """Progress on the open slide, without follicles that are not counted."""
        return progress(f for f in self._desk.session.follicles if self._desk.walk.is_counted(f))

    def read_progress(self) -> bool:
        """Read the progress of one more slide; False if it is known of all. A window calls this when it is idle.

        Raises
        ------
        UserError
            If the files of the slide are damaged; it then counts as a slide without follicles.
        """
        study = self._desk.study
        for slide_id in study.slide_ids():
            if slide_id not in self._progress and slide_id != self._desk.slide_id:
                self._progress[slide_id] = Progress(0, 0)
                self._progress[slide_id] = progress(study.content(slide_id).included)
                return True
        return False

    @property
    def progress_by_slide(self) -> dict[str, Progress]:
        """Progress on each slide of which it is known; the open one as it is now."""
        return self._progress | ({self._desk.slide_id: self.progress} if self._desk.slide_id else {})

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
        for slide_id in sorted(self._uncounted - {self._desk.slide_id}):
            if slide_id in kept:
                self._count(slide_id, kept[slide_id].session)
            else:
                self._count_content(slide_id, self._desk.study.content(slide_id))
            self._uncounted.discard(slide_id)
        if self._desk.slide_id:
            self._count(self._desk.slide_id, self._desk.session)
        return self._tally.counts()

    def since_prediction(self) -> dict[Stage, tuple[int, int]]:
        """Predicted and current number of follicles of each stage on the open slide."""
        session, walk = self._desk.session, self._desk.walk
        standing = [f.stage for f in session.follicles if f.status != Status.REJECTED and walk.is_counted(f)]
        predicted = [f.stage for f in session.predicted]
        return {stage: (predicted.count(stage), standing.count(stage)) for stage in Stage}

    def in_section(self) -> dict[Stage, int]:
        """Number of follicles of each stage on the section of the current follicle; empty if none is current."""
        session, current = self._desk.session, self._desk.walk.current
        if current is None:
            return {}
        own = section_of(session[current], session.sections)
        counted = (f for f in session.follicles if f.status != Status.REJECTED)
        there = [f.stage for f, section_id in places(counted, session.sections) if section_id == own]
        return {stage: there.count(stage) for stage in Stage}

    # What the desk tells

    def know(self, by_slide: Mapping[str, Progress]) -> None:
        """Take in the progress on slides that somebody has read."""
        self._progress |= by_slide

    def saved(self) -> None:
        """Take in the open slide, which was saved."""
        self._progress[self._desk.slide_id] = self.progress
        with contextlib.suppress(UserError):  # this is reported where the counts are shown
            self._count(self._desk.slide_id, self._desk.session)

    def set_aside(self) -> None:
        """Take in the open slide, which is left without being saved; it is counted later, because that takes time."""
        if self._desk.session.unsaved:
            self._progress[self._desk.slide_id] = self.progress
            self._uncounted.add(self._desk.slide_id)

    def changed(self, slide_id: str, content: SlideContent) -> None:
        """Take in a slide that is not open, and that was corrected."""
        self._progress[slide_id] = progress(content.included)
        with contextlib.suppress(UserError):  # this is reported where the counts are shown
            self._count_content(slide_id, content)

    def _count(self, slide_id: str, session: ReviewSession) -> None:
        if self._tally is not None:
            follicles = placed(self._desk.study.slide_folder(slide_id), session.follicles, session.sections)
            self._tally.update(slide_id, follicles, session.sections)

    def _count_content(self, slide_id: str, content: SlideContent) -> None:
        if self._tally is not None:
            self._tally.update(slide_id, content.follicles, content.sections, content.notes)
