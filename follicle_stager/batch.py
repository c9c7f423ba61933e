"""Process many slides: skip finished ones, use several processes, and continue if one slide fails.

Slides are independent and use no random seed, so results do not depend on the number of workers. Processes are spawned
(as Windows and macOS require), and report through a queue. On other machines, `cluster` does the same.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import psutil

from follicle_stager.config import Config
from follicle_stager.detection.network.model import use_threads
from follicle_stager.errors import StudyError, UserError, describe_os_error
from follicle_stager.pipeline import TooManyWindows, process_slide
from follicle_stager.report.overlay import draw_overlay
from follicle_stager.slides import open_slide
from follicle_stager.study import SampleSheet, SlideSource, Study, list_slides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from follicle_stager.detection.search import Seen
    from follicle_stager.study.runs import Request, Run

    #: ``(slide_id, step, done, total)``, or None at the end.
    Messages = multiprocessing.Queue[tuple[str, str, int, int] | None]
    #: ``on_progress(slide_id, step, done, total)``.
    OnProgress = Callable[[str, str, int, int], None]

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# Windows cannot wait for more processes.
_MAX_WORKERS = 61
# Memory of a process, GB: the largest peak in docs/performance.md, rounded up.
_GB_EACH = 1.5
_BROKEN = (
    "{path}: the process was ended by the system, probably because memory ran out; "
    "run the same command again with fewer --jobs (finished slides are kept)."
)


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


class Workers(Protocol):
    """Other machines that process slides."""

    def process(self, jobs: list[Job], on_progress: OnProgress, finish: Callable[[Outcome], None]) -> None:
        """Process slides; call ``finish`` with the outcome of each."""


def process_folder(
    slides: str | Path | Sequence[SlideSource],
    study_folder: str | Path,
    *,
    samples: SampleSheet | str | Path | None = None,
    config: Config | None = None,
    mpp: float | None = None,
    jobs: int = 1,
    workers: Workers | None = None,
    on_progress: OnProgress = lambda slide, step, done, total: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
    told: Callable[[str], None] = lambda said: None,
) -> tuple[Study, list[Outcome]]:
    """Find and stage the follicles on all slides of a folder, and save them in a study.

    A repeated call continues an interrupted one: slides finished with the same configuration are kept.

    Parameters
    ----------
    slides
        Folder of slides, one slide, or slides as returned by `list_slides`.
    study_folder
        Folder of the study; it is made if it does not exist.
    samples
        Sample sheet, or its path. It is checked before the first slide is read; its column ``mpp`` gives pixel sizes.
    config
        All parameters; if None, those of the study, or the defaults for a new study.
    mpp
        Pixel size of all slides, µm/px, used instead of the value in their files.
    jobs
        Number of processes; with 1, all work is done in the calling process.
    workers
        Other machines that do the work instead, for example a `cluster.Cluster`.
    on_progress, on_done
        Functions that are called in the calling process, never two at a time.
    told
        Function that is called with notes for the user.

    Returns
    -------
    study : Study
        Study with the results.
    outcomes : list of Outcome
        Outcomes in the order of the slides. A slide that fails is an outcome, not an exception.

    Raises
    ------
    UserError
        If there are no slides, the sample sheet does not match them, the folder contains something else, or a run with
        other settings is in progress in it.
    """
    folder = Path(study_folder)
    if config is None:
        config = Study.open(folder).config if (folder / "study.toml").exists() else Config()
    sources = list_slides(slides) if isinstance(slides, str | Path) else list(slides)
    by_slide: dict[str, float] = {}
    if samples is not None:
        sheet = samples if isinstance(samples, SampleSheet) else SampleSheet.read(Path(samples))
        by_slide = {s.slide: s.mpp for s in sheet.for_slides(sources) if s.mpp is not None}
    study = Study.create(folder, config, told=told)
    with study.running(config, mpp=mpp):
        # Another run that began at the same moment may have written its settings before it was refused.
        Study.create(folder, config)
        outcomes = run_batch(
            study,
            sources,
            config,
            mpp=by_slide if mpp is None else mpp,
            jobs=jobs,
            workers=workers,
            on_progress=on_progress,
            on_done=on_done,
        )
    return study, outcomes


def run_batch(
    study: Study,
    sources: Sequence[SlideSource],
    config: Config,
    *,
    mpp: dict[str, float] | float | None = None,
    jobs: int = 1,
    workers: Workers | None = None,
    find: bool = True,
    on_progress: OnProgress = lambda slide, step, done, total: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Process the slides of a study.

    Parameters
    ----------
    study
        Study for the results. Slides finished with the same configuration are kept.
    sources
        Slides to process.
    config
        All parameters.
    mpp
        Pixel size, µm/px, used instead of the value in the files: one for all slides, or by slide id.
    jobs
        Number of processes; with 1, all work is done in the calling process.
    workers
        Other machines that do the work instead, for example a `cluster.Cluster`.
    find
        Whether to search for follicles. If False, slides that were never searched only get their sections, as a start
        for manual work.
    on_progress, on_done
        Functions that are called in the calling process, never two at a time.

    Returns
    -------
    list of Outcome
        Outcomes in the order of ``sources``. A slide that fails is an outcome, not an exception.

    Raises
    ------
    StudyError
        If a run with other settings is in progress in the study.
    """
    every = [Job(study, s, config, mpp.get(s.slide_id) if isinstance(mpp, dict) else mpp, find) for s in sources]
    outcomes: dict[str, Outcome] = {}
    speaking = threading.Lock()

    def finish(outcome: Outcome) -> None:
        with speaking:
            outcomes[outcome.slide_id] = outcome
            on_done(outcome)

    def advance(slide_id: str, step: str, done: int, total: int) -> None:
        with speaking:
            if slide_id not in outcomes:  # messages of a worker may come late
                on_progress(slide_id, step, done, total)

    with study.running(config, mpp=None if isinstance(mpp, dict) else mpp):
        left = []
        for one in every:
            begun = _guarded(one, _begun)
            if isinstance(begun, Outcome):
                finish(begun)
            else:
                left.append(begun)
        if left:
            (workers or _ThisMachine(jobs)).process(left, advance, finish)
    return [outcomes[s.slide_id] for s in sources]


def jobs_for(slides: int) -> tuple[int, str]:
    """How many of some slides to process at the same time on this machine.

    Parameters
    ----------
    slides
        Number of slides.

    Returns
    -------
    jobs : int
        Number of processes: as many as there are processors, free memory and slides, at least 1.
    why : str
        The reason, a sentence.
    """
    available = processors()
    fit = int(psutil.virtual_memory().available / 1e9 / _GB_EACH)
    jobs = max(1, min(available, fit, slides, _MAX_WORKERS))
    why = (
        f"Processing {jobs} of {slides} slides at a time: {available} processors, and free memory for {fit} slides "
        f"({_GB_EACH} GB each). --jobs sets another number."
    )
    return jobs, why


def processors() -> int:
    """Number of processors that this process may use."""
    this = psutil.Process()
    # A cluster, or `taskset`, may give a process fewer processors than the machine has; macOS cannot tell.
    return len(this.cpu_affinity()) if hasattr(this, "cpu_affinity") else (os.cpu_count() or 1)


@dataclass(frozen=True)
class _ThisMachine:
    """The machine of the calling process, with a number of processes."""

    processes: int

    def process(self, jobs: list[Job], on_progress: OnProgress, finish: Callable[[Outcome], None]) -> None:
        """Process slides in processes, or in this one."""
        if self.processes <= 1 or len(jobs) <= 1:
            for job in jobs:
                finish(work(job, on_progress))
            return
        broken = _run_in_processes(jobs, min(self.processes, len(jobs), _MAX_WORKERS), on_progress, finish)
        # If the system ends one worker, the whole pool breaks. Each unfinished slide then gets a process of its own, so
        # that only a slide that breaks again counts as failed.
        for job in broken:
            if _run_in_processes([job], 1, on_progress, finish):
                finish(Outcome(job.source.slide_id, "failed", _BROKEN.format(path=job.source.path)))


def _run_in_processes(
    tasks: list[Job], jobs: int, on_progress: OnProgress, finish: Callable[[Outcome], None]
) -> list[Job]:
    """Work in spawned processes; return the jobs that were lost because the system ended a process."""
    context = multiprocessing.get_context("spawn")
    messages: Messages = context.Queue()
    listener = threading.Thread(target=_listen, args=(messages, on_progress), daemon=True)
    listener.start()
    threads = max(1, processors() // jobs)
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(messages, threads))
    broken = []
    try:
        futures: dict[Future[Outcome], Job] = {executor.submit(_work_remote, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                finish(future.result())
            except BrokenProcessPool:
                broken.append(futures[future])
    except BaseException:
        # Ctrl+C: finished slides are on disk, and writes are atomic, so do not wait for the other slides.
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        messages.put(None)
        listener.join(timeout=5)
        messages.cancel_join_thread()
    executor.shutdown()
    return broken


def _listen(messages: Messages, on_progress: OnProgress) -> None:
    while (message := messages.get()) is not None:
        on_progress(*message)


# Queue of a worker process, set when it starts.
_messages: Messages | None = None


def _start_worker(messages: Messages, threads: int) -> None:
    """Set up a worker process: the parent handles Ctrl+C, and the worker ends when the parent has ended."""
    global _messages
    _messages = messages
    use_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _work_remote(task: Job) -> Outcome:
    return work(task, lambda *message: _messages.put(message) if _messages is not None else None)


def work(job: Job, on_progress: OnProgress) -> Outcome:
    """Process one slide; a failure is an outcome, too.

    Raises
    ------
    TooManyWindows
        If it has more windows than the job allows.
    """
    return _guarded(job, lambda job: _process(job, on_progress))


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
    """The job with its request; or its outcome, if the slide was finished before."""
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
    if _is_finished(before, request, find=job.find):
        if same_picture:
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
