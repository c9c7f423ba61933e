"""Process the slides of a study on several machines, with Dask.

A Dask scheduler hands out the work; dask-jobqueue starts workers on a batch system (SLURM, SGE, PBS). Only paths and
outlines travel, never pixels: each worker reads the slides from a shared folder and writes the results there, as a
process of `batch` does. One worker processes one slide at a time. A very large slide is searched by several workers,
window by window.

A worker with other software or another network would give other results, so each worker that joins is examined, and
only those that fit get work (`_examination`). A slide that fails on one worker is tried once more on another, because
the worker may have lost the shared folder; a worker on which slides fail that succeed elsewhere gets no more work.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
import time
import uuid
from collections import Counter, deque
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from follicle_stager.batch import Job, Outcome, work
from follicle_stager.config import Config
from follicle_stager.detection import detector_id
from follicle_stager.detection.network.engines import choose_engine
from follicle_stager.detection.network.model import use_threads
from follicle_stager.errors import UserError, how_to_install
from follicle_stager.files import as_path, is_remote
from follicle_stager.pipeline import Examiner, TooManyWindows
from follicle_stager.slides import open_slide
from follicle_stager.staging import stager_id
from follicle_stager.study import SlideSource, Study
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from follicle_stager.batch import OnProgress
    from follicle_stager.detection.search import Seen
    from follicle_stager.pipeline import SearchWindow
    from follicle_stager.study.runs import Request

#: Batch systems for which dask-jobqueue has a class.
QUEUES = {"slurm": "SLURMCluster", "sge": "SGECluster", "pbs": "PBSCluster"}
# A worker's processors and memory on a batch system, if the settings of dask-jobqueue do not say them.
_CORES, _MEMORY = 2, "4GB"
# By default, Dask looks at what each worker does up to a hundred times per second, which slows them down.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "2s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.tick.interval": "1s",
}
# A slide with more windows than this is searched by several workers.
_LARGE = 24
# How often the driver looks for new workers, and a worker reports progress, s.
_LOOK_S, _REPORT_S = 2.0, 0.5
# How long a scheduler may take to answer, s.
_CONNECT_S = 20.0
# How long workers may take to appear before the user is told, and results to appear in the shared folder, s.
_PATIENCE_S, _SHARED_S = 60.0, 90.0
# So many slides that fail on a worker and succeed elsewhere are one too many.
_STRIKES = 2
_GONE = (
    "The Dask scheduler no longer answers. Finished slides are kept: start it again, and run the same command again."
)
# Parameters of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class SharedFolder:
    """A folder that the workers know by another path.

    Attributes
    ----------
    here, there
        Its path on this machine and on the workers.
    """

    here: str
    there: str

    @classmethod
    def parse(cls, text: str) -> SharedFolder:
        """Read ``HERE=THERE``.

        Raises
        ------
        UserError
            If it is not two paths.
        """
        here, _, there = text.partition("=")
        if not here or not there:
            raise UserError(f"--map {text}: write the path here, =, and the path on the workers: /data=/mnt/lab/data.")
        return cls(str(Path(here).absolute()), there.rstrip("/\\") or there)

    def to_there(self, path: PurePath) -> str | None:
        """Path on the workers; None if the path is not in the folder."""
        if not path.is_relative_to(self.here):
            return None
        rest = path.relative_to(self.here).as_posix()
        return self.there if rest == "." else f"{self.there}/{rest}"


class Worker(NamedTuple):
    """A worker, as ``doctor --cluster`` shows it: its name and machine, and why it gets no work (empty if it does)."""

    name: str
    machine: str
    software: str
    processors: int
    refused: str


@dataclass
class Cluster:
    """Workers on other machines; see `connect_cluster`.

    Attributes
    ----------
    client
        Connection to the Dask scheduler.
    shared
        Folders that the workers know by other paths.
    told
        Function that is called with notes for the user.
    split_above
        Number of windows above which a slide is searched by several workers.
    refused
        Workers that failed the examination, and why, by address.
    """

    client: Any
    shared: Sequence[SharedFolder] = ()
    told: Callable[[str], None] = lambda said: None
    split_above: int = _LARGE
    refused: dict[str, str] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def process(self, jobs: list[Job], on_progress: OnProgress, finish: Callable[[Outcome], None]) -> None:
        """Process slides on the workers; see `batch.Workers`."""
        orders = [_Order.of(job, self.shared) for job in jobs]
        with self._examined(orders[0]) as right, self._progress(on_progress), self.client.as_current():
            done = _Dispatch(self, orders, right, finish).run()
        _wait_until_seen(jobs[0].study, done)

    def wait_for_workers(self) -> None:
        """Wait until workers are there, if any come soon."""
        with contextlib.suppress(TimeoutError):
            self.client.wait_for_workers(1, timeout=_PATIENCE_S)

    def workers(self, config: Config) -> list[Worker]:
        """All workers, and why those without work get none."""
        with self._examined(_Order.sample(config, self.shared)) as right:
            fit = set(self.fit(right))
            found = []
            for address, info in sorted(self._info().items()):
                said = self.client.run(_software, workers=[address], on_error="return")[address]
                software = said if isinstance(said, str) else "-"
                refused = "" if address in fit else self.refused.get(address, "did not answer")
                found.append(Worker(str(info["name"]), info["host"], software, info["nthreads"], refused))
            return found

    def readable(self, path: Path) -> dict[str, str]:
        """What each worker says about a slide or folder: empty if it can be read. By name."""
        there = _there(path if is_remote(path) else path.absolute(), self.shared)
        names = {address: str(info["name"]) for address, info in self._info().items() if address not in self.refused}
        answers = self.client.run(_can_read, there, workers=list(names), on_error="return") if names else {}
        return {names[address]: str(said) for address, said in answers.items()}

    def _info(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def fit(self, right: str) -> list[str]:
        """Addresses of the workers that passed the examination."""
        return sorted(address for address, info in self._info().items() if info.get("resources", {}).get(right))

    def name(self, address: str) -> str:
        """Name of a worker, for messages."""
        info = self._info().get(address)
        return f"{info['name']} on {info['host']}" if info else address

    @contextlib.contextmanager
    def _examined(self, order: _Order) -> Iterator[str]:
        """Examine all workers, also those that join later; gives the name of the right to work."""
        identity = order.identity
        right = f"follicle-stager-{hashlib.sha256(repr(identity).encode()).hexdigest()[:12]}"
        self.refused.clear()

        def hear(event: Any) -> None:
            said = event[1] if isinstance(event, tuple) else event
            if said["worker"] not in self.refused:
                self.refused[said["worker"]] = said["why"]
                self.told(f"worker {said['name']} gets no slides: {said['why']}")

        topic, plugin = f"refused-{self._run}", f"examine-{self._run}"
        self.client.subscribe_topic(topic, hear)
        self.client.register_plugin(_examination(identity, right, topic, order.config_text), name=plugin)
        try:
            yield right
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self.client.unregister_worker_plugin(plugin)
                self.client.unsubscribe_topic(topic)

    @contextlib.contextmanager
    def _progress(self, on_progress: OnProgress) -> Iterator[None]:
        def hear(event: Any) -> None:
            said = event[1] if isinstance(event, tuple) else event
            on_progress(said["slide"], said["step"], said["done"], said["total"])

        topic = f"progress-{self._run}"
        self.client.subscribe_topic(topic, hear)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                self.client.unsubscribe_topic(topic)

    @property
    def topic(self) -> str:
        """Topic of the messages about progress."""
        return f"progress-{self._run}"


@contextlib.contextmanager
def connect_cluster(
    where: str,
    *,
    workers: int = 0,
    shared: Sequence[SharedFolder] = (),
    told: Callable[[str], None] = lambda said: None,
) -> Iterator[Cluster]:
    """Connect to workers, and start them if ``where`` says how.

    Parameters
    ----------
    where
        Address of a Dask scheduler (``tcp://host:8786``), a scheduler file (``.json``), ``local`` for processes on this
        machine, or a batch system of `QUEUES`.
    workers
        Number of workers to start; 0 for as many as this machine has processors, or 4 on a batch system.
    shared
        Folders that the workers know by other paths.
    told
        Function that is called with notes for the user.

    Yields
    ------
    Cluster
        The workers, for `process_folder` or `run_batch`; the connection is closed at the end of the ``with`` block.

    Raises
    ------
    UserError
        If the ``cluster`` extra is not installed, the scheduler does not answer, or the batch system refuses.
    """
    if importlib.util.find_spec("distributed") is None:
        raise UserError(f"--cluster needs the 'cluster' extra: {how_to_install('cluster')}.")
    import distributed

    address: Any = where
    with contextlib.ExitStack() as held:
        try:
            if where == "local" or where in QUEUES:
                address = held.enter_context(_started(where, workers))
            options = {"scheduler_file": address} if str(address).endswith(".json") else {"address": address}
            client = held.enter_context(distributed.Client(**options, timeout=_CONNECT_S, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"--cluster {where}: no Dask scheduler answers there ({error}). Give its address, e.g. "
                f"tcp://host:8786, or one of local, {', '.join(QUEUES)}."
            ) from None
        yield Cluster(client, shared, told)


@contextlib.contextmanager
def _started(where: str, workers: int) -> Iterator[Any]:
    """Workers on this machine, or on a batch system."""
    import dask
    import distributed

    if where == "local":
        processors = os.cpu_count() or 1
        count = workers or processors
        with dask.config.set(_QUIET):
            local = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=max(1, processors // count),
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        with local:
            yield local
        return
    import dask_jobqueue

    kind = getattr(dask_jobqueue, QUEUES[where])
    submit = kind.job_cls.submit_command
    if shutil.which(submit) is None:
        raise UserError(f"--cluster {where}: the command {submit} is not found. Run this where jobs can be submitted.")
    known = dask.config.get(f"jobqueue.{where}", {})
    ours = {"cores": _CORES, "memory": _MEMORY, "processes": 1}
    missing = {name: value for name, value in ours.items() if known.get(name) is None}
    try:
        queue = kind(**missing)
    except RuntimeError as error:
        raise UserError(f"--cluster {where}: {error}") from None
    with queue:
        queue.scale(jobs=workers or 4)
        yield queue


def _there(path: PurePath, shared: Sequence[SharedFolder]) -> str:
    """Path of a file on the workers; addresses are the same everywhere."""
    if is_remote(path):
        return str(path)
    return next((there for folder in shared if (there := folder.to_there(path)) is not None), str(path))


@dataclass(frozen=True)
class _Order:
    """A job with the paths of the workers, as text: a worker may run another system."""

    slide_id: str
    study: str
    source: str
    parts: tuple[str, ...]
    config_text: str
    mpp: float | None
    find: bool
    request: Request
    identity: tuple[str, ...]
    shared: tuple[SharedFolder, ...]
    seen: tuple[Seen, ...] | None = None

    @classmethod
    def of(cls, job: Job, shared: Sequence[SharedFolder]) -> _Order:
        assert job.request is not None
        source = job.source
        there = functools.partial(_there, shared=shared)
        return cls(
            source.slide_id,
            there(job.study.path.absolute()),
            there(source.path if is_remote(source.path) else source.path.absolute()),
            tuple(there(part.absolute()) for part in source.parts),
            _config_there(job.config, shared).model_dump_json(),
            job.mpp,
            job.find,
            job.request,
            _identity(job.config),
            tuple(shared),
        )

    @classmethod
    def sample(cls, config: Config, shared: Sequence[SharedFolder]) -> _Order:
        """An order without a slide, to examine workers."""
        text = _config_there(config, shared).model_dump_json()
        return cls("", "", "", (), text, None, True, None, _identity(config), tuple(shared))  # type: ignore[arg-type]

    @property
    def config(self) -> Config:
        return Config.model_validate_json(self.config_text)

    def job(self) -> Job:
        """The job, on a worker."""
        source = SlideSource(self.slide_id, as_path(self.source), tuple(map(Path, self.parts)))
        return Job(Study(Path(self.study)), source, self.config, self.mpp, self.find, self.request, self.seen)

    def said_here(self, message: str) -> str:
        """A worker's message, with the paths of this machine."""
        for folder in self.shared:
            message = message.replace(folder.there, folder.here)
        return message


def _config_there(config: Config, shared: Sequence[SharedFolder]) -> Config:
    """The parameters with the paths of the workers."""
    network, classifier = (
        _there(Path(folder).absolute(), shared) if folder else ""
        for folder in (config.network.folder, config.staging.classifier)
    )
    return config.with_options(network={"folder": network}, staging={"classifier": classifier})


def _identity(config: Config) -> tuple[str, ...]:
    """What results depend on besides the slide: it must be the same on all workers."""
    return __version__, detector_id(config), stager_id(config.staging)


def _examination(identity: tuple[str, ...], right: str, topic: str, config_text: str) -> Any:
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
                cluster = importlib.import_module("follicle_stager.cluster")
                theirs = cluster.identity_of(config_text)
            except Exception as error:  # whatever is wrong there, the worker cannot be used
                return f"{type(error).__name__}: {error}"
            other = [f"{n} {a!r}, not {b!r}" for n, a, b in zip(names, theirs, identity, strict=True) if a != b]
            return f"it has {'; '.join(other)}" if other else ""

    return Examination()


def identity_of(config_text: str) -> tuple[str, ...]:
    """What results depend on here, see `_identity`, for parameters as JSON."""
    return _identity(Config.model_validate_json(config_text))


def _software() -> str:
    """Version and engine on a worker."""
    engine = choose_engine("auto")
    return f"{__version__}, {engine.name} {engine.precision()}"


def _can_read(path: str) -> str:
    """What is wrong with a slide or folder, on a worker; empty if it can be read."""
    try:
        if "://" not in path and Path(path).is_dir() and not path.lower().endswith(".zarr"):
            return "" if os.access(path, os.R_OK | os.W_OK) else f"{path}: may not be read and written"
        with open_slide(path):
            return ""
    except UserError as error:
        return str(error)


class _Large(NamedTuple):
    """Answer of a worker: this slide has so many windows that several workers should search it."""

    windows: int


class _Windows(NamedTuple):
    """Answer of a worker: what some windows show."""

    seen: tuple[Seen, ...]


def _process_there(order: _Order, topic: str, split_above: int | None) -> Outcome | _Large:
    """Process a slide on a worker, unless it has more windows than ``split_above``."""
    worker = _prepared()
    try:
        outcome = work(replace(order.job(), most_windows=split_above), _reporter(worker, topic))
    except TooManyWindows as large:
        return _Large(large.windows)
    where = f" (worker {worker.name} on {worker.ip})" if outcome.state == "failed" else ""
    return replace(outcome, message=order.said_here(outcome.message) + where)


def _look_there(order: _Order, numbers: tuple[int, ...], topic: str) -> _Windows:
    """Look at some windows of a large slide on a worker."""
    worker = _prepared()
    report = _reporter(worker, topic)
    seen = []
    with _examiner(order) as (examiner, windows):
        for number in numbers:
            seen.append(examiner.look(windows[number]))
            report(order.slide_id, "detection", number, len(windows))
    return _Windows(tuple(seen))


@contextlib.contextmanager
def _examiner(order: _Order) -> Iterator[tuple[Examiner, list[SearchWindow]]]:
    """A slide that is open for the search, and its windows."""
    job = order.job()
    with open_slide(job.source.path, mpp=job.mpp, limits=job.config.slides) as slide:
        examiner = Examiner(slide, job.config, slide_id=order.slide_id)
        yield examiner, examiner.windows()


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


@dataclass
class _Piece:
    """A piece of work: a slide, or some windows of a large one."""

    order: _Order
    numbers: tuple[int, ...] = ()
    failed_on: tuple[str, ...] = ()
    first: Outcome | None = None


class _Dispatch:
    """Hands out the slides: each worker with the right to work has one at a time.

    Dask itself runs a piece again if its worker dies. What is decided here is which slide comes next, and what
    happens if one fails.
    """

    def __init__(
        self, cluster: Cluster, orders: Sequence[_Order], right: str, finish: Callable[[Outcome], None]
    ) -> None:
        self._cluster, self._right, self._finish = cluster, right, finish
        self._waiting = deque(_Piece(order) for order in orders)
        self._running: dict[Any, tuple[_Piece, str]] = {}
        self._seen: dict[str, dict[int, Seen]] = {}
        self._windows: dict[str, int] = {}
        self._strikes: Counter[str] = Counter()
        self._done: list[str] = []
        self._failed: set[str] = set()
        self._told_at = 0.0

    def run(self) -> list[str]:
        """Process all slides; return the names of those that are done."""
        import distributed

        alone_since = time.monotonic()
        try:
            while self._waiting or self._running:
                if self._cluster.client.status in ("closing", "closed"):
                    raise UserError(_GONE)
                fit = [w for w in self._cluster.fit(self._right) if self._strikes[w] < _STRIKES]
                self._hand_out(fit)
                if fit:
                    alone_since, self._told_at = time.monotonic(), 0.0
                else:
                    self._check_for_workers(time.monotonic() - alone_since)
                if not self._running:
                    time.sleep(_LOOK_S)
                    continue
                with contextlib.suppress(TimeoutError, CancelledError):
                    distributed.wait(list(self._running), timeout=_LOOK_S, return_when="FIRST_COMPLETED")
                for future in [future for future in self._running if future.done()]:
                    self._take(future, *self._running.pop(future), fit)
        except (OSError, TimeoutError):
            raise UserError(_GONE) from None
        except BaseException:
            with contextlib.suppress(Exception):
                self._cluster.client.cancel(list(self._running))
            raise
        return self._done

    def _hand_out(self, fit: list[str]) -> None:
        busy = Counter(worker for _, worker in self._running.values())
        for worker in fit:
            if busy[worker]:
                continue
            piece = next((p for p in self._waiting if worker not in p.failed_on), None)
            if piece is None and len(fit) == 1 and self._waiting:
                piece = self._waiting[0]
            if piece is None:
                continue
            self._waiting.remove(piece)
            split_above = self._cluster.split_above if len(fit) > 1 else None
            self._running[self._submit(piece, worker, split_above)] = piece, worker

    def _submit(self, piece: _Piece, worker: str, split_above: int | None) -> Any:
        topic = self._cluster.topic
        how = {
            "workers": [worker],
            "allow_other_workers": True,  # if this one dies
            "resources": {self._right: 1},
            "pure": False,
            "key": f"{piece.order.slide_id}-{uuid.uuid4().hex[:8]}",
        }
        if piece.numbers:
            return self._cluster.client.submit(_look_there, piece.order, piece.numbers, topic, **how)
        return self._cluster.client.submit(_process_there, piece.order, topic, split_above, **how)

    def _take(self, future: Any, piece: _Piece, worker: str, fit: list[str]) -> None:
        """Take the answer of a worker."""
        order = piece.order
        if order.slide_id in self._failed:  # another window of the same slide
            return
        answer, again = self._answer(future, order)
        if answer is None:  # the scheduler lost it
            self._waiting.append(piece)
        elif isinstance(answer, _Large):
            self._split(order, answer.windows, len(fit))
        elif isinstance(answer, _Windows):
            self._join(piece, answer)
        elif answer.state != "failed":
            if piece.failed_on:
                self._strike(piece)
            self._done.append(answer.slide_id)
            self._finish(answer)
        elif again and not piece.failed_on and len(fit) > 1:
            self._waiting.append(replace(piece, failed_on=(worker,), first=answer))
        else:
            self._failed.add(order.slide_id)
            self._waiting = deque(p for p in self._waiting if p.order.slide_id != order.slide_id)
            self._finish(piece.first or answer)

    def _answer(self, future: Any, order: _Order) -> tuple[Outcome | _Large | _Windows | None, bool]:
        """What came back, and whether another worker should try if it is a failure."""
        if future.status == "finished":
            return future.result(), True
        if future.status == "cancelled":
            return None, True
        error = future.exception()
        died = type(error).__name__ == "KilledWorker"
        said = "several workers died while they processed it, probably because memory ran out" if died else str(error)
        path = order.said_here(order.source)
        message = order.said_here(said).removeprefix(f"{path}: ")
        return Outcome(order.slide_id, "failed", f"{path}: {message}"), not died

    def _strike(self, piece: _Piece) -> None:
        (before,) = piece.failed_on
        self._strikes[before] += 1
        if self._strikes[before] == _STRIKES and piece.first is not None:
            self._cluster.told(
                f"worker {self._cluster.name(before)} gets no more slides: {_STRIKES} of them failed there and "
                f"succeeded elsewhere. The last error: {piece.first.message}"
            )

    def _split(self, order: _Order, windows: int, workers: int) -> None:
        """Search a large slide with all workers; neighbouring windows go to the same one."""
        parts = min(windows, 2 * workers)
        edges = [windows * n // parts for n in range(parts + 1)]
        self._seen[order.slide_id], self._windows[order.slide_id] = {}, windows
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            self._waiting.appendleft(_Piece(order, tuple(range(start, stop))))

    def _join(self, piece: _Piece, answer: _Windows) -> None:
        slide_id = piece.order.slide_id
        seen = self._seen[slide_id]
        seen.update(zip(piece.numbers, answer.seen, strict=True))
        if len(seen) == self._windows[slide_id]:
            everything = tuple(seen[number] for number in range(len(seen)))
            self._waiting.appendleft(_Piece(replace(piece.order, seen=everything)))

    def _check_for_workers(self, alone_s: float) -> None:
        """Nobody works: end if all workers were refused, and otherwise tell the user from time to time."""
        refused, there = self._cluster.refused, self._cluster.client.nthreads()
        if there and all(address in refused for address in there):
            reasons = "; ".join(f"{self._cluster.name(address)}: {refused[address]}" for address in there)
            raise UserError(f"No worker can process the slides. {reasons}. Finished slides are kept.")
        if alone_s > self._told_at + _PATIENCE_S:
            self._told_at = alone_s
            self._cluster.told(
                f"No worker yet, {len(self._waiting)} slides wait. Ctrl+C stops; finished slides are kept."
            )


def _wait_until_seen(study: Study, slide_ids: Sequence[str], *, patience_s: float = _SHARED_S) -> None:
    """Wait until the results that workers wrote are seen here: a network folder may show them late.

    Raises
    ------
    UserError
        If they do not appear.
    """
    until = time.monotonic() + patience_s
    while missing := sorted(set(slide_ids) - set(study.slide_ids())):
        if time.monotonic() > until:
            raise UserError(
                f"{study.path}: the workers finished {len(missing)} slides whose results do not appear here, the first "
                f"is {missing[0]}. Is this folder shared with the workers? If they know it by another path, give "
                "--map HERE=THERE."
            )
        time.sleep(1.0)
