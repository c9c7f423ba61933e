"""Slides that are open for correction, each with its session and image; the next ones are opened ahead in a thread.

A slide of 2,000 follicles takes half a second to open, and nobody should wait for that between two follicles.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from follicle_stager.errors import UserError
from follicle_stager.pipeline import Examiner
from follicle_stager.review.ahead import Ahead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle
    from follicle_stager.review.walk import Steps
    from follicle_stager.slides import Slide
    from follicle_stager.study import Study

logger = logging.getLogger(__name__)

# Slides that stay open (each needs two or three open files, of which macOS allows 256), and their follicles, of about
# 8 kB each.
_SLIDES, _KEPT = 20, 60_000
# What a window of this size shows around a follicle, in its diameters, of which small ones count as larger, µm; largest
# level that is decoded as a whole, px.
_SCREEN_PX, _DIAMETERS, _LEAST_UM = 1250, 5.0, 60.0
_MOST_PX = 4_000_000


class OpenSlide:
    """A slide of a study that is open for correction.

    Parameters
    ----------
    study
        The study.
    slide_id
        Name of the slide.
    author
        Name of the person who corrects.
    blind
        Whether names are hidden from the person.

    Attributes
    ----------
    session
        Its follicles and sections, and the commands that change them.
    pixel_size
        Pixel size of its last run.
    visible_stages
        Stages that are counted on it; the others are NA.
    steps
        What a walk knows of it; None before the first.

    Raises
    ------
    UserError
        If the slide is not finished, another person or window has it open, or its files are damaged.
    """

    def __init__(self, study: Study, slide_id: str, *, author: str, blind: bool) -> None:
        self._study, self.slide_id = study, slide_id
        self.steps: Steps | None = None
        # The window and the thread may ask for the image at the same time, and it must not be closed while it is read.
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._released = False
        self._image: Slide | None = None
        self._examiner: Examiner | None = None
        self.pixel_size = study.pixel_size(slide_id)
        self.visible_stages = frozenset(study.run(slide_id).visible_stages)
        self.session = study.review(slide_id, author=author, measure=self._measured, blind=blind)

    @property
    def image(self) -> Slide:
        """The image, with the pixel size of the run.

        Raises
        ------
        UserError
            If the file is not found or cannot be read.
        """
        with self._lock:
            if self._released:
                raise UserError(f"{self.slide_id}: this slide was closed; open it again.")
            if self._image is None:
                self._image = self._study.open_slide(self.slide_id)
            return self._image

    @property
    def examiner(self) -> Examiner:
        """What measures drawn outlines, with the configuration of the study.

        Raises
        ------
        UserError
            If the image cannot be read.
        """
        if self._examiner is None:
            self._examiner = Examiner(self.image, self._study.config, slide_id=self.slide_id)
        return self._examiner

    def look_ahead(self, follicle_id: str) -> None:
        """Decode the image around a follicle, and its map, so that they are at hand when the follicle comes."""
        # Whatever is wrong is reported when the follicle comes.
        with contextlib.suppress(Exception), self._reading:
            levels = self.image.levels
            left, top, right, bottom = self.session[follicle_id].outline.bounds
            side = _DIAMETERS * max(right - left, bottom - top, _LEAST_UM / self.pixel_size.mpp)
            x, y = (left + right) / 2, (top + bottom) / 2
            # The coarsest level that is not coarser than the screen, as napari chooses it.
            factors = [levels[0].width / level.width for level in levels]
            fine = max((n for n, factor in enumerate(factors) if factor <= side / _SCREEN_PX), default=0)
            (x0, x1), (y0, y1) = (
                (round((at - side / 2) / factors[fine]), round((at + side / 2) / factors[fine])) for at in (x, y)
            )
            self.image.decode_ahead(x0, y0, x1 - x0, y1 - y0, fine)
            if levels[-1].width * levels[-1].height <= _MOST_PX:
                self.image.decode_ahead(0, 0, levels[-1].width, levels[-1].height, len(levels) - 1)
            for level in range(len(levels)):
                self.image.to_dask(level)

    def rest(self) -> None:
        """Free what can be read again, while another slide is on the screen."""
        if self._image is not None:
            self._image.free_blocks()

    def save(self) -> None:
        """Write the files for other programs, if they are not as the log says.

        Raises
        ------
        UserError, OSError
            If they cannot be written; the log has everything.
        """
        if self.session.unsaved:
            self.session.save()

    def release(self) -> None:
        """Release the slide for others, without saving it."""
        with self._reading, self._lock:
            self._released = True
            self.session.release()
            if self._image is not None:
                self._image.close()
                self._image = None

    def _measured(self, outline: Polygon) -> Follicle | None:
        return self.examiner.measured(outline)


class OpenSlides:
    """The slides of a study that one person has open, apart from the one on the screen.

    Parameters
    ----------
    study
        The study.
    author
        Name of the person.
    blind
        Whether names are hidden from the person.
    """

    def __init__(self, study: Study, *, author: str, blind: bool) -> None:
        self._study, self._author, self._blind = study, author, blind
        self._thread, self._closing = Ahead("slides"), False
        # By name, the slide that was used last at the end; None is a slide that was released.
        self._slides: OrderedDict[str, Future[OpenSlide | None]] = OrderedDict()
        # What the thread was asked to look at ahead, by slide.
        self._waiting: list[tuple[str, Future[Any]]] = []

    def take(self, slide_id: str) -> OpenSlide:
        """A slide that is then open for the caller alone, who gives it to `keep` or releases it.

        Raises
        ------
        UserError
            If it cannot be opened.
        """
        ready = self._slides.pop(slide_id, None)
        return (self._thread.result(ready) if ready is not None else None) or self._opened(slide_id)

    def keep(self, slide: OpenSlide) -> None:
        """Keep a slide open; those that were used longest ago are saved and released, in the thread."""
        slide.rest()
        kept: Future[OpenSlide | None] = Future()
        kept.set_result(slide)
        self._slides[slide.slide_id] = kept
        among = self.among()
        count, gone = sum(len(one.session.follicles) for one in among.values()), 0
        for name, one in among.items():
            if (count <= _KEPT and len(among) - gone <= _SLIDES) or one is slide:
                break
            self._slides[name] = self._thread.submit(_let_go, one)
            count, gone = count - len(one.session.follicles), gone + 1

    def open_ahead(self, places: Iterable[tuple[str, str]], here: OpenSlide) -> None:
        """Open slides in the thread, and read their images around follicles.

        Parameters
        ----------
        places
            Names of slides, and ids of follicles.
        here
            The slide on the screen.
        """
        for slide_id, task in self._waiting:  # the way went elsewhere
            if task.cancel() and self._slides.get(slide_id) is task:
                del self._slides[slide_id]
        self._waiting.clear()
        among = self.among() | {here.slide_id: here}
        for slide_id, follicle_id in places:
            opened = among.get(slide_id)
            if opened is not None:
                self._waiting.append((slide_id, self._thread.submit(opened.look_ahead, follicle_id)))
            elif slide_id not in self._slides or self._slides[slide_id].done():
                self._slides[slide_id] = self._thread.submit(self._ahead, slide_id, follicle_id)
                self._waiting.append((slide_id, self._slides[slide_id]))

    def among(self) -> dict[str, OpenSlide]:
        """The slides that are open and at rest, by name; the one that was used last is the last one."""
        ended = {name: ready for name, ready in self._slides.items() if ready.done() and ready.exception() is None}
        return {name: one for name, ready in ended.items() if (one := ready.result()) is not None}

    def close(self) -> None:
        """Save and release all slides. They are released even if saving fails; the log has everything.

        Raises
        ------
        UserError, OSError
            The last failure.
        """
        self._closing = True  # nothing more is opened, but what is being saved is saved
        self._thread.end()
        self._closing = False
        slides = self.among()
        self._slides.clear()
        with contextlib.ExitStack() as stack:
            for one in slides.values():
                stack.callback(one.release)
                stack.callback(one.save)

    def _opened(self, slide_id: str) -> OpenSlide:
        return OpenSlide(self._study, slide_id, author=self._author, blind=self._blind)

    def _ahead(self, slide_id: str, follicle_id: str) -> OpenSlide | None:
        if self._closing:
            return None
        slide = self._opened(slide_id)
        slide.look_ahead(follicle_id)
        return slide


def _let_go(slide: OpenSlide) -> None:
    try:
        slide.save()
    except (UserError, OSError) as error:  # the log has everything, and the next session writes the files
        logger.warning("%s: %s", slide.slide_id, error)
    finally:
        slide.release()
