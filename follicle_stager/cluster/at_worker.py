"""What runs on a worker: its examination, and the search of slides."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from follicle_stager.detection.network.engines import choose_engine
from follicle_stager.detection.network.model import use_threads
from follicle_stager.errors import TooManyWindows, UserError
from follicle_stager.job import Outcome, work
from follicle_stager.pipeline import Examiner
from follicle_stager.slides import open_slide
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from follicle_stager.cluster.orders import Order
    from follicle_stager.detection.search import Seen
    from follicle_stager.job import OnProgress

# How often a worker reports progress, s.
_REPORT_S = 0.5
# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def examination(identity: tuple[str, str, str], right: str, topic: str, config: str) -> Any:
    """A plugin that gives a worker the right to work on one slide, if it has the same software and network.

    The class is local, so it travels as code: a worker may have no follicle-stager, or one without this module.
    """
    from distributed import WorkerPlugin

    class Examination(WorkerPlugin):  # type: ignore[misc, unused-ignore]
        async def setup(self, worker: Any) -> None:
            import asyncio

            why = await asyncio.get_running_loop().run_in_executor(None, self.compare)
            await worker.set_resources(**{right: 0 if why else 1})  # an earlier run may have given it
            if why:
                worker.log_event(topic, {"worker": worker.address, "name": str(worker.name), "why": why})

        def compare(self) -> str:
            names = ("follicle-stager", "detector", "classifier")
            try:
                import importlib

                own = importlib.import_module("follicle_stager.version").__version__
            except ImportError:
                return "follicle-stager is not installed there"
            if own != identity[0]:
                return f"it has follicle-stager {own}, not {identity[0]}"
            try:
                theirs = importlib.import_module("follicle_stager.cluster.orders").identity_of(config)
            except Exception as error:  # whatever is wrong there, the worker cannot be used
                return f"{type(error).__name__}: {error}"
            other = [f"{n} {a!r}, not {b!r}" for n, a, b in zip(names, theirs, identity, strict=True) if a != b]
            return f"it has {'; '.join(other)}" if other else ""

    return Examination()


def dask_setup(worker: Any) -> None:
    """Let the process that started a worker of ``--cluster local`` handle Ctrl+C; Dask calls this at its start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def software() -> str:
    """Version and engine on a worker."""
    engine = choose_engine("auto")
    return f"{__version__}, {engine.name} {engine.precision()}"


def can_read(path: str) -> str:
    """What is wrong with a slide or folder, on a worker; empty if nothing is. A study must also be writable."""
    try:
        if "://" not in path and Path(path).is_dir() and not path.lower().endswith(".zarr"):
            if not os.access(path, os.R_OK):
                return f"{path}: may not be read"
            study = (Path(path) / "study.toml").exists()
            return f"{path}: may not be written" if study and not os.access(path, os.W_OK) else ""
        with open_slide(path):
            return ""
    except UserError as error:
        return str(error)


class Large(NamedTuple):
    """Answer of a worker: this slide has so many windows that several workers should search it."""

    windows: int


class Windows(NamedTuple):
    """Answer of a worker: what some windows show."""

    seen: tuple[Seen, ...]


def process_there(order: Order, topic: str, split_above: int | None) -> Outcome | Large:
    """Process a slide on a worker, unless it has more windows than ``split_above``."""
    worker = _prepared()
    where = f"worker {worker.name} on {worker.ip}"
    for here, there in ((order.path, order.source), (order.said_here(order.study), order.study)):
        if "://" not in there and not os.path.exists(there):  # pathlib raises some errors
            missing = f"{here}: {where} does not find {'it' if here == there else there}"
            remedy = "Share its folder with all workers; if they know it by another path, give --map HERE=THERE."
            return Outcome(order.slide_id, "failed", f"{missing}. {remedy}")
    try:
        outcome = work(replace(order.job(), most_windows=split_above), _reporter(worker, topic))
    except TooManyWindows as large:
        return Large(large.windows)
    said = order.said_here(outcome.message)
    return replace(outcome, message=f"{said} ({where})" if outcome.state == "failed" else said)


def look_there(order: Order, numbers: tuple[int, ...], topic: str) -> Windows:
    """Look at some windows of a large slide on a worker."""
    worker, job = _prepared(), order.job()
    report = _reporter(worker, topic)
    seen = []
    with open_slide(job.source.path, mpp=job.mpp, limits=job.config.slides) as slide:
        examiner = Examiner(slide, job.config, slide_id=order.slide_id)
        windows = examiner.windows()
        for number in numbers:
            seen.append(examiner.look(windows[number]))
            report(order.slide_id, "detection", number, len(windows))
    return Windows(tuple(seen))


def _prepared() -> Any:
    """The worker that runs this function; its network may use the worker's processors."""
    from distributed import get_worker

    worker = get_worker()
    use_threads(worker.state.nthreads)
    _keep_memory()
    return worker


@functools.cache
def _keep_memory() -> None:
    """Let the process keep freed memory for the next array, as it does without Dask.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_``, with which glibc gives each array back to the system at once.
    Taking it again costs a third of the time of a slide.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _reporter(worker: Any, topic: str) -> OnProgress:
    last = [0.0]

    def report(slide_id: str, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - last[0] < _REPORT_S:
            return
        last[0] = now
        worker.log_event(topic, {"slide": slide_id, "step": step, "done": done, "total": total})

    return report
