"""One slide of a batch: whether it is finished, its processing, and what came of it.

A failure is an outcome, too: one bad slide must not stop the others.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from follicle_stager.errors import StudyError, TooManyWindows, UserError, describe_os_error
from follicle_stager.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.config import Config
    from follicle_stager.detection.search import Seen
    from follicle_stager.study import SlideSource, Study
    from follicle_stager.study.runs import Request, Run

    #: ``on_progress(slide_id, step, done, total)``.
    OnProgress = Callable[[str, str, int, int], None]

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one slide.

    Attributes
    ----------
    slide_id
        Name of the slide in the study.
    state
        State: ``done``, ``kept`` (finished before) or ``failed``.
    message
        Reason of a failure, for the user.
    follicles, sections
        Numbers of follicles and sections found.
    flags
        Quality warnings.
    """

    slide_id: str
    state: str
    message: str = ""
    follicles: int = 0
    sections: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A slide to process.

    Attributes
    ----------
    study, source, config, mpp, find
        As for `run_batch`.
    request
        What the record of the run will say; None until the slide's file was read.
    seen
        What the windows of the slide show, if they were looked at elsewhere.
    most_windows
        Largest number of windows to search; None without a limit.
    """

    study: Study
    source: SlideSource
    config: Config
    mpp: float | None
    find: bool
    request: Request | None = None
    seen: tuple[Seen, ...] | None = None
    most_windows: int | None = None


def work(job: Job, on_progress: OnProgress) -> Outcome:
    """Process one slide; a failure is an outcome, too.

    Raises
    ------
    TooManyWindows
        If it has more windows than the job allows.
    """
    return _guarded(job, lambda job: _process(job, on_progress))


def begun(job: Job) -> Job | Outcome:
    """The job with its request; or its outcome, if the slide was finished before."""
    return _guarded(job, _begun)


def _guarded(job: Job, do: Callable[[Job], Result]) -> Result | Outcome:
    """Do something with one slide; an error becomes the outcome."""
    slide_id, path = job.source.slide_id, job.source.path
    try:
        return do(job)
    except TooManyWindows:
        raise
    except UserError as error:
        return Outcome(slide_id, "failed", str(error))
    except MemoryError:
        return Outcome(slide_id, "failed", f"{path}: not enough memory; try --jobs 1.")
    except OSError as error:
        return Outcome(slide_id, "failed", f"{path}: {describe_os_error(error)}")
    except Exception as error:  # an error on one slide must not stop the others; the traceback goes to the log
        log.error("slide %s: %s", slide_id, traceback.format_exc())
        return Outcome(
            slide_id,
            "failed",
            f"{path}: a defect of the software ({type(error).__name__}: {error}); please report it with this slide.",
        )


def _begun(job: Job) -> Job | Outcome:
    slide_id, source = job.source.slide_id, job.source
    request = job.study.request(source.path, job.config, mpp=job.mpp, parts=source.parts, find=job.find)
    before = _recorded(job)
    if before is None:
        return replace(job, request=request)
    # Check this before opening the slide: opening a PNG decodes it, and a resumed study has many finished slides.
    same_file = (
        not before.source
        or before.source == request.source
        or (job.study.path / before.source).resolve() == Path(request.source)
    )
    same_picture = same_file or before.content in ("", request.content)
    if same_picture and _is_finished(before, request, find=job.find):
        job.study.moved_to(slide_id, source.path)
        return _kept(slide_id, before)
    if not same_picture:
        raise StudyError(
            f"{source.path}: this study already has a slide {slide_id}, which is {before.source}. Rename one of "
            "the two images, or choose another folder for the results."
        )
    return replace(job, request=request)


def _recorded(job: Job) -> Run | None:
    """The last run of a slide; None without one, or if its record is damaged: this run then writes it again."""
    try:
        return job.study.run(job.source.slide_id) if job.study.has_run(job.source.slide_id) else None
    except StudyError:
        return None


def _is_finished(before: Run, request: Request, *, find: bool) -> bool:
    return before.run_id == request.run_id or not find


def _kept(slide_id: str, before: Run) -> Outcome:
    return Outcome(slide_id, "kept", follicles=before.follicles, sections=before.sections, flags=before.flags)


def _process(job: Job, on_progress: OnProgress) -> Outcome:
    # Only here: a study that is resumed has many finished slides, and these take long to import.
    from follicle_stager.pipeline import process_slide
    from follicle_stager.report import draw_overlay

    slide_id, request = job.source.slide_id, job.request
    assert request is not None
    before = _recorded(job)
    if before is not None and _is_finished(before, request, find=job.find):
        return _kept(slide_id, before)  # by another run, since this one began
    with open_slide(job.source.path, mpp=job.mpp, limits=job.config.slides) as slide:
        result = process_slide(
            slide,
            job.config,
            slide_id=slide_id,
            find=job.find,
            seen=job.seen,
            most_windows=job.most_windows,
            progress=lambda step, done, total: on_progress(slide_id, step, done, total),
        )
        overlay = draw_overlay(slide, result)
    kept = job.study.save(result, request, overlay=overlay)
    flags = (*result.flags, *kept)
    return Outcome(slide_id, "done", follicles=result.number_of_follicles, sections=len(result.sections), flags=flags)
