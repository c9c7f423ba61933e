"""Workers that are jobs of a batch system (SLURM, SGE, PBS), with dask-jobqueue.

A batch system may refuse a job, and ends each job at its time limit. dask-jobqueue submits each job once. Here, a job
that was refused or has ended is submitted again, as long as the run lasts.
"""

from __future__ import annotations

import contextlib
import shutil
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
    """Submit jobs that are workers, and submit those again that end.

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
    import dask_jobqueue

    kind = getattr(dask_jobqueue, QUEUES[where])
    submit = kind.job_cls.submit_command
    if shutil.which(submit) is None:
        raise UserError(f"--cluster {where}: the command {submit} is not found. Run this where jobs can be submitted.")
    known = dask.config.get(f"jobqueue.{where}", {})
    ours = {"cores": _CORES, "memory": _MEMORY, "processes": 1}
    missing = {name: value for name, value in ours.items() if known.get(name) is None}
    # By default, its web page takes port 8787, and warns if another program has it.
    scheduler = {"dashboard": False, "dashboard_address": ":0", **(known.get("scheduler-options") or {})}
    refusals: list[str] = []
    try:
        queue = kind(job_cls=_patient(kind.job_cls, refusals), scheduler_options=scheduler, **missing)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"--cluster {where}: {_sentence(error)} Check {_SETTINGS}.") from None
    with queue:
        wanted = _Jobs(queue, jobs)
        queue.sync(wanted.submit)
        if len(refusals) == jobs:
            raise UserError(
                f"--cluster {where}: {submit} refused all jobs: {_sentence(refusals[0])} Check {_SETTINGS}."
            )
        if refusals:
            told(f"{submit} refused {len(refusals)} of {jobs} jobs: {_sentence(refusals[0])} It is asked again later.")
        with _repeated(queue, wanted.replace):
            yield queue


def _sentence(said: object) -> str:
    return " ".join(str(said).split()).rstrip(".") + "."


def _patient(job_cls: Any, refusals: list[str]) -> Any:
    """A kind of job that notes why it was refused; dask-jobqueue would raise an error."""
    from distributed.core import Status

    class Patient(job_cls):  # type: ignore[misc, unused-ignore]
        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError) as error:  # the command failed, or its answer has no number of a job
                _, _, said = str(error).partition("stderr:\n")
                refusals.append(" ".join((said or str(error)).split()))
                self.status = Status.running

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed

    return Patient


class _Jobs:
    """The jobs of this run."""

    def __init__(self, queue: Any, count: int) -> None:
        self._queue, self._count = queue, count
        self._began: set[str] = set()
        self._absent: set[str] = set()

    async def submit(self) -> None:
        """Submit as many jobs as are missing."""
        self._queue.scale(jobs=self._count)
        await self._queue

    async def replace(self) -> None:
        """Submit new jobs for those that were refused or have ended.

        A worker that is absent only once may just be restarting, because it took too much memory.
        """
        there = {str(worker.name) for worker in self._queue.scheduler.workers.values()}
        absent = set()
        for name, spec in list(self._queue.worker_spec.items()):
            job = self._queue.workers.get(name)
            if there & {f"{name}{suffix}" for suffix in spec.get("group", [""])}:
                self._began.add(name)
            elif job is None or job.job_id is None or name in self._absent:
                del self._queue.worker_spec[name]
                self._began.discard(name)  # the name is used again
            elif name in self._began:
                absent.add(name)
        self._absent = absent
        await self._queue  # it closes these jobs
        await self.submit()


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
