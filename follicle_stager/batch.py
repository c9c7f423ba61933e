"""Process many slides: skip finished ones, use several processes, and continue if one slide fails.

Slides are independent and use no random seed, so results do not depend on the number of workers. Processes are spawned
(as Windows and macOS require), and report through a queue. On other machines, `cluster` does the same.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from follicle_stager.config import Config
from follicle_stager.job import Job, Outcome, begun, work
from follicle_stager.machine import processors
from follicle_stager.study import SampleSheet, SlideSource, Study, list_slides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from follicle_stager.job import OnProgress

    #: ``(slide_id, step, done, total)``, or None at the end.
    Messages = multiprocessing.Queue[tuple[str, str, int, int] | None]

# Windows cannot wait for more processes.
_MAX_WORKERS = 61
# Memory of a process, GB: the largest peak in docs/performance.md, rounded up.
_GB_EACH = 1.5
_BROKEN = (
    "{path}: the process was ended by the system, probably because memory ran out; "
    "run the same command again with fewer --jobs (finished slides are kept)."
)


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
        Functions that are called in the calling process, never two at a time. An error of one of them ends the run; one
        of ``on_progress`` does so when the next slide is finished.
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
        Functions that are called in the calling process, never two at a time. An error of one of them ends the run; one
        of ``on_progress`` does so when the next slide is finished.

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
    errors: list[BaseException] = []
    speaking, caller = threading.Lock(), threading.current_thread()

    def finish(outcome: Outcome) -> None:
        with speaking:
            outcomes[outcome.slide_id] = outcome
            if errors:
                raise errors[0]
            on_done(outcome)

    def advance(slide_id: str, step: str, done: int, total: int) -> None:
        with speaking:
            if slide_id in outcomes or errors:  # messages of a worker may come late
                return
            try:
                on_progress(slide_id, step, done, total)
            except BaseException as error:
                # It is not the fault of the slide, and must not end the thread that listens.
                if not isinstance(error, Exception) and threading.current_thread() is caller:
                    raise
                errors.append(error)

    with study.running(config, mpp=None if isinstance(mpp, dict) else mpp):
        left = []
        for one in every:
            job_or_outcome = begun(one)
            if isinstance(job_or_outcome, Outcome):
                finish(job_or_outcome)
            else:
                left.append(job_or_outcome)
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
        left, processes = jobs, min(self.processes, _MAX_WORKERS)
        while left:
            lost = _run_in_processes(left, min(processes, len(left)), on_progress, finish)
            # If the system ends one process, the whole pool breaks. Slides are begun in their order, so only the first
            # ones that were lost can be the reason. Each gets a process of its own; one that breaks again has failed.
            suspects, left = lost[:processes], lost[processes:]
            failed = [job for job in suspects if _run_in_processes([job], 1, on_progress, finish)]
            for job in failed:
                finish(Outcome(job.source.slide_id, "failed", _BROKEN.format(path=job.source.path)))
            if not failed:  # there were too many at a time
                processes = max(1, processes // 2)


def _run_in_processes(
    tasks: list[Job], jobs: int, on_progress: OnProgress, finish: Callable[[Outcome], None]
) -> list[Job]:
    """Work in spawned processes; return the jobs that were lost because the system ended a process, in their order."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    messages: Messages = context.Queue()
    listener = threading.Thread(target=_listen, args=(messages, on_progress), daemon=True)
    listener.start()
    threads = max(1, processors() // jobs)
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(messages, threads))
    futures: dict[Future[Outcome], int] = {}
    left = dict(enumerate(tasks))
    try:
        with contextlib.suppress(BrokenProcessPool):
            for number, task in left.items():
                futures[executor.submit(_work_remote, task)] = number
        for future in as_completed(futures):
            with contextlib.suppress(BrokenProcessPool):
                outcome = future.result()
                del left[futures[future]]
                finish(outcome)
    except BaseException:
        # Ctrl+C: finished slides are on disk, and writes are atomic, so do not wait for the other slides.
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        messages.put(None)
        listener.join(timeout=5)
        messages.cancel_join_thread()
    executor.shutdown()
    return list(left.values())


def _listen(messages: Messages, on_progress: OnProgress) -> None:
    while (message := messages.get()) is not None:
        on_progress(*message)


# Queue of a worker process, set when it starts.
_messages: Messages | None = None


def _start_worker(messages: Messages, threads: int) -> None:
    """Set up a worker process: the parent handles Ctrl+C, and the worker ends when the parent has ended."""
    from follicle_stager.detection.network.model import use_threads  # a study that is resumed needs no network

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
