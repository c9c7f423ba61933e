"""Many slides: skip what is finished, work in processes, let one bad slide not cost the others.

Each slide is independent and seeded by nothing, so results do not depend on the number of workers. Processes are
spawned (Windows and macOS know no other way), and talk back through a queue.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import traceback
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from follicle_stager.errors import UserError, describe_os_error
from follicle_stager.files import replacing
from follicle_stager.pipeline import process_slide
from follicle_stager.report.overlay import draw_overlay
from follicle_stager.slides import open_slide
from follicle_stager.study.folder import Study, run_id_of

if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Sequence

    from follicle_stager.config import Config
    from follicle_stager.study.sources import SlideSource

    #: ``on_progress(slide_id, step, done, total)``
    OnProgress = Callable[[str, str, int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one slide ended.

    Attributes
    ----------
    state
        ``done``, ``kept`` (finished before) or ``failed``.
    message
        Why it failed, for a person.
    follicles, sections
        How many were found.
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
class _Job:
    study: Study
    source: SlideSource
    config: Config
    mpp: float | None


def run_batch(
    study: Study,
    sources: Sequence[SlideSource],
    config: Config,
    *,
    mpp: dict[str, float] | float | None = None,
    jobs: int = 1,
    on_progress: OnProgress = lambda slide, step, done, total: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Process the slides of a study.

    Parameters
    ----------
    study
        Where results go. Slides that the same configuration has finished are kept.
    sources
        The slides.
    config
        All parameters.
    mpp
        µm/px that stands instead of the file's: one for all, or by slide id.
    jobs
        Number of processes; 1 works in this one.
    on_progress, on_done
        Called in this process, never two at a time.

    Returns
    -------
    list of Outcome
        In the order of ``sources``. A slide that fails is an outcome, not an exception.
    """
    tasks = [_Job(study, s, config, mpp.get(s.slide_id) if isinstance(mpp, dict) else mpp) for s in sources]
    outcomes: dict[str, Outcome] = {}

    def finish(outcome: Outcome) -> None:
        outcomes[outcome.slide_id] = outcome
        on_done(outcome)

    if jobs <= 1 or len(tasks) <= 1:
        for task in tasks:
            finish(_work(task, on_progress))
    else:
        _run_in_processes(tasks, min(jobs, len(tasks)), on_progress, finish)
    return [outcomes[s.slide_id] for s in sources]


def _run_in_processes(tasks: list[_Job], jobs: int, on_progress: OnProgress, finish: Callable[[Outcome], None]) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        messages: queue.Queue[Any] = manager.Queue()
        listener = threading.Thread(target=_listen, args=(messages, on_progress), daemon=True)
        listener.start()
        executor = ProcessPoolExecutor(jobs, mp_context=context)
        try:
            futures: dict[Future[Outcome], _Job] = {
                executor.submit(_work_remote, task, messages): task for task in tasks
            }
            for future in as_completed(futures):
                finish(_outcome_of(future, futures[future]))
        except BaseException:
            # Ctrl+C: finished slides are on disk; the others are not started.
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            messages.put(None)
            listener.join(timeout=5)


def _listen(messages: queue.Queue[Any], on_progress: OnProgress) -> None:
    while (message := messages.get()) is not None:
        on_progress(*message)


def _outcome_of(future: Future[Outcome], task: _Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            task.source.slide_id,
            "failed",
            f"{task.source.path}: the working process was ended by the system, most likely for lack of memory; "
            "run the same command again with fewer --jobs (finished slides are kept).",
        )


def _work_remote(task: _Job, messages: queue.Queue[Any]) -> Outcome:
    return _work(task, lambda *message: messages.put(message))


def _work(task: _Job, on_progress: OnProgress) -> Outcome:
    slide_id, path = task.source.slide_id, task.source.path
    try:
        return _process(task, on_progress)
    except UserError as error:
        return Outcome(slide_id, "failed", str(error))
    except MemoryError:
        return Outcome(slide_id, "failed", f"{path}: not enough memory; try --jobs 1.")
    except OSError as error:
        return Outcome(slide_id, "failed", f"{path}: {describe_os_error(error)}")
    except Exception as error:  # a defect on one slide must not cost the others; the traceback goes to the log
        log.error("slide %s: %s", slide_id, traceback.format_exc())
        return Outcome(
            slide_id,
            "failed",
            f"{path}: a defect of the software ({type(error).__name__}: {error}); please report it with this slide.",
        )


def _process(task: _Job, on_progress: OnProgress) -> Outcome:
    slide_id = task.source.slide_id
    with open_slide(task.source.path, mpp=task.mpp) as slide:
        run_id = run_id_of(task.source.path, task.config, task.mpp)
        before = task.study.run_info(slide_id)
        if before is not None and before.get("run_id") == run_id:
            return Outcome(
                slide_id,
                "kept",
                follicles=int(before["follicles"]),
                sections=int(before["sections"]),
                flags=tuple(before["flags"]),
            )
        result = process_slide(
            slide,
            task.config,
            slide_id=slide_id,
            progress=lambda step, done, total: on_progress(slide_id, step, done, total),
        )
        overlay = draw_overlay(slide, result)
    with replacing(task.study.slide_folder(slide_id) / "overlay.jpg") as temporary:
        overlay.save(temporary, quality=88)
    task.study.save(result, run_id=run_id, source=task.source.path, config=task.config)
    return Outcome(slide_id, "done", follicles=len(result.follicles), sections=len(result.sections), flags=result.flags)
