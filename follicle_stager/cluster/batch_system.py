"""Workers that are jobs of a batch system (SLURM, SGE, PBS), with dask-jobqueue.

A batch system may refuse a job, and ends each job at its time limit. dask-jobqueue submits each job once. Here, a job
that was refused, or whose worker has ended, is submitted again as long as the run lasts. A job that never began is left
alone, because jobs may wait for hours.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from typing import TYPE_CHECKING, Any

from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Batch systems for which dask-jobqueue has a class.
QUEUES = {"slurm": "SLURMCluster", "sge": "SGECluster", "pbs": "PBSCluster"}
# A worker's processors and memory, if the settings of dask-jobqueue do not say them.
_CORES, _MEMORY = 2, "4GB"
_SETTINGS = "~/.config/dask/jobqueue.yaml"
# How often to look for jobs that have ended, s.
_LOOK_S = 30.0


@contextlib.contextmanager
def batch_system(where: str, jobs: int, told: Callable[[str], None]) -> Iterator[Any]:
    """Start workers as jobs, and submit a job again when its worker has ended.

    Parameters
    ----------
    where
        A key of `QUEUES`.
    jobs
        Number of jobs.
    told
        Function that is called with notes for the user.

    Yields
    ------
    dask_jobqueue.JobQueueCluster
        The workers; their jobs are cancelled at the end of the ``with`` block.

    Raises
    ------
    UserError
        If the batch system is not found, its settings are wrong, or it refuses all jobs.
    """
    import dask

    dask_jobqueue = _import_quietly()
    kind = getattr(dask_jobqueue, QUEUES[where])
    submit = kind.job_cls.submit_command
    if shutil.which(submit) is None:
        raise UserError(f"--cluster {where}: the command {submit} is not found. Run this where jobs can be submitted.")
    known = dask.config.get(f"jobqueue.{where}", {})
    ours = {"cores": _CORES, "memory": _MEMORY, "processes": 1}
    # All are given: for `processes`, dask-jobqueue would not count the workers of a job otherwise.
    given = {name: known[name] if known.get(name) is not None else value for name, value in ours.items()}
    # By default, its web page takes port 8787, and warns if another program has it.
    scheduler = {"dashboard": False, "dashboard_address": ":0", **(known.get("scheduler-options") or {})}
    refusals: list[str] = []
    try:
        queue = kind(job_cls=_tolerant(kind.job_cls, refusals), scheduler_options=scheduler, **given)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"--cluster {where}: {_sentence(error)} Check {_SETTINGS}.") from None
    with queue:
        wanted = _Jobs(queue, jobs, submit, refusals, told)
        queue.sync(wanted.submit)
        if len(refusals) == jobs:
            raise UserError(
                f"--cluster {where}: {submit} refused all jobs: {_sentence(refusals[0])} Check {_SETTINGS}."
            )
        wanted.tell()
        with _repeated(queue, wanted.replace):
            yield queue


def _import_quietly() -> Any:
    """Import dask-jobqueue, and keep what Ctrl+C does: the import lets it end the program with exit code 0."""
    ours = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if ours is not None and signal.getsignal(signal.SIGINT) is not ours:
        signal.signal(signal.SIGINT, ours)
    return dask_jobqueue


def _sentence(said: object) -> str:
    return " ".join(str(said).split()).rstrip(".") + "."


def _tolerant(job_cls: Any, refusals: list[str]) -> Any:
    """A kind of job that notes why it was refused; dask-jobqueue would raise an error."""
    from distributed.core import Status

    class Tolerant(job_cls):  # type: ignore[misc, unused-ignore]
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:  # or the answer has no number of a job
                _, _, said = str(error).partition("stdout:\n")
                refusals.append(said.replace("stderr:", "").strip() or str(error))
                self.status = Status.running

        async def close(self) -> None:
            with contextlib.suppress(OSError):
                await super().close()
            self.status = Status.closed

    return Tolerant


class _Jobs:
    """The jobs of this run."""

    def __init__(self, queue: Any, count: int, command: str, refusals: list[str], told: Callable[[str], None]) -> None:
        self._queue, self._count, self._command, self._refusals, self._told = queue, count, command, refusals, told
        self._joined = _note_workers(queue.scheduler)
        self._absent: set[str] = set()
        self._why = ""

    async def submit(self, *, most: int | None = None) -> None:
        """Submit the jobs that are missing, or at most so many of them."""
        self._refusals.clear()
        have = len(self._queue.worker_spec)
        self._queue.scale(jobs=self._count if most is None else min(self._count, have + most))
        await self._queue

    def tell(self) -> None:
        """Tell the user why jobs were refused, if it was not told before."""
        if self._refusals and self._refusals[0] != self._why:
            self._why = self._refusals[0]
            refused = f"{self._command} refused {len(self._refusals)} of {self._count} jobs: {_sentence(self._why)}"
            self._told(f"{refused} They are submitted again later.")

    async def replace(self) -> None:
        """Submit new jobs for those that were refused, or whose worker has ended.

        A worker that is absent only once may just be restarting, because it took too much memory. After a refusal, one
        job at a time is tried: the number of jobs is probably limited.
        """
        there = {str(worker.name) for worker in self._queue.scheduler.workers.values()}
        absent, refused, ended = set(), set(), set()
        for name, spec in self._queue.worker_spec.items():
            job, workers = self._queue.workers.get(name), {f"{name}{suffix}" for suffix in spec.get("group", [""])}
            if there & workers:
                continue
            if job is not None and job.job_id is None:
                refused.add(name)
            elif job is None or name in self._absent:
                ended.add(name)
                self._joined -= workers  # the names are used again
            elif self._joined & workers:
                absent.add(name)
        for name in refused | ended:
            del self._queue.worker_spec[name]
        self._absent = absent
        if ended:
            self._told(f"Jobs that ended, and are submitted again: {len(ended)}.")
        await self._queue  # it closes these jobs
        await self.submit(most=1 if refused else None)
        self.tell()


def _note_workers(scheduler: Any) -> set[str]:
    """A set to which the names of all workers are added that join a scheduler."""
    from distributed import SchedulerPlugin

    names: set[str] = set()

    class Note(SchedulerPlugin):  # type: ignore[misc, unused-ignore]
        def add_worker(self, scheduler: Any, worker: str) -> None:
            names.add(str(scheduler.workers[worker].name))

    scheduler.add_plugin(Note())
    return names


@contextlib.contextmanager
def _repeated(queue: Any, do: Callable[[], Any]) -> Iterator[None]:
    """Call a function from time to time, in the thread of Dask."""
    from tornado.ioloop import PeriodicCallback

    timer = PeriodicCallback(do, _LOOK_S * 1e3)
    queue.loop.add_callback(timer.start)
    try:
        yield
    finally:
        queue.loop.add_callback(timer.stop)
