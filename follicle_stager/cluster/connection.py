"""Connect to the workers of a Dask scheduler, or start some."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from follicle_stager.cluster import at_worker
from follicle_stager.cluster.batch_system import QUEUES, batch_system
from follicle_stager.cluster.crew import Crew, Worker, is_fit
from follicle_stager.cluster.dispatch import PATIENCE_S, Dispatch
from follicle_stager.cluster.orders import Order, SharedFolder, config_there, identity_of, place_there
from follicle_stager.errors import UserError, how_to_install
from follicle_stager.files import is_remote, read_json
from follicle_stager.machine import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from follicle_stager.config import Config
    from follicle_stager.job import Job, OnProgress, Outcome
    from follicle_stager.study import Study

# By default, Dask looks at what each worker does up to a hundred times per second, which slows them down.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "2s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.tick.interval": "1s",
}
_GIVE = f"Give its address, such as tcp://host:8786, a scheduler file (.json), or one of local, {', '.join(QUEUES)}."
# Dask would find a mistake in an address only while it connects, and then wait.
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[^/\s]+:\d+")
# A slide with more windows than this is searched by several workers.
_LARGE = 24
# How long a scheduler may take to answer, and results to appear in the shared folder, s.
_CONNECT_S, _SHARED_S = 20.0, 90.0


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
    """

    client: Any
    shared: Sequence[SharedFolder] = ()
    told: Callable[[str], None] = lambda said: None
    split_above: int = _LARGE

    def __post_init__(self) -> None:
        self._crew = Crew(self.client, self.told)

    def process(self, jobs: list[Job], on_progress: OnProgress, finish: Callable[[Outcome], None]) -> None:
        """Process slides on the workers; see `batch.Workers`."""
        self._check_shared(jobs)

        def report(said: dict[str, Any]) -> None:
            on_progress(said["slide"], said["step"], said["done"], said["total"])

        crew, orders = self._crew, [Order.of(job, self.shared) for job in jobs]
        with (
            self._examined(jobs[0].config) as right,
            crew.hearing(crew.topic, report),
            self.client.as_current(),
        ):
            done = Dispatch(crew, orders, right, finish, split_above=self.split_above).run()
        _wait_until_seen(jobs[0].study, done)

    def wait_for_workers(self, told: Callable[[str], None]) -> None:
        """Wait until workers are there, if any come soon."""
        if not self._crew.info():
            told(f"No worker yet; waiting for one, up to {PATIENCE_S:.0f} s.")
        with contextlib.suppress(TimeoutError):
            self.client.wait_for_workers(1, timeout=PATIENCE_S)

    def workers(self, config: Config) -> list[Worker]:
        """All workers, and why those without work get none."""
        with self._examined(config) as right:
            found = []
            for address, info in sorted(self._crew.info().items()):
                said = self.client.run(at_worker.software, workers=[address], on_error="return")[address]
                runs = said if isinstance(said, str) else "-"
                why = "did not answer" if info["status"] == "running" else f"it is {info['status']}"
                refused = "" if is_fit(info, right) else self._crew.refused.get(address, why)
                found.append(Worker(str(info["name"]), info["host"], runs, info["nthreads"], refused))
            return found

    def readable(self, path: Path) -> dict[str, str]:
        """What each worker says about a slide or folder: empty if it can be read. By name."""
        refused = self._crew.refused
        names = {address: str(info["name"]) for address, info in self._crew.info().items() if address not in refused}
        there = place_there(path, self.shared)
        answers = self.client.run(at_worker.can_read, there, workers=list(names), on_error="return") if names else {}
        return {names[address]: str(said) for address, said in answers.items()}

    def _check_shared(self, jobs: Sequence[Job]) -> None:
        """Tell of folders that this run does not use: their paths may be mistyped."""
        config = jobs[0].config
        named = (config.network.folder, config.staging.classifier)
        used = [jobs[0].study.path, *(job.source.path for job in jobs), *(Path(folder) for folder in named if folder)]
        for folder in self.shared:
            if all(is_remote(path) or folder.to_there(path.absolute()) is None for path in used):
                self.told(f"--map {folder.here}={folder.there}: this run uses nothing in {folder.here}.")

    def _examined(self, config: Config) -> contextlib.AbstractContextManager[str]:
        return self._crew.examined(identity_of(config), config_there(config, self.shared))


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
    needed = ("distributed", "dask_jobqueue") if where in QUEUES else ("distributed",)
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise UserError(f"--cluster {where} needs the 'cluster' extra: {how_to_install('cluster')}.")
    import distributed

    in_file = where.endswith(".json")
    with contextlib.ExitStack() as held:
        address: Any = where
        if where == "local":
            address = held.enter_context(_local(workers))
        elif where in QUEUES:
            address = held.enter_context(batch_system(where, workers or 4, told))
        elif in_file:
            _check_scheduler_file(Path(where))
        elif not _ADDRESS.fullmatch(where):
            raise UserError(f"--cluster {where}: this is no address of a Dask scheduler. {_GIVE}")
        try:
            options = {"scheduler_file" if in_file else "address": address}
            client = held.enter_context(distributed.Client(**options, timeout=_CONNECT_S, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"--cluster {where}: no Dask scheduler answers there ({error}). {_GIVE}") from None
        yield Cluster(client, shared, told)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Any]:
    """Workers on this machine."""
    import dask
    import distributed

    here = processors()
    count = workers or here
    with dask.config.set(_QUIET):
        local = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=max(1, here // count),
            memory_limit=0,
            preload=[at_worker.__name__],
            scheduler_kwargs={"dashboard_address": ":0"},  # its web page would take port 8787
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    with local:
        yield local


def _check_scheduler_file(path: Path) -> None:
    """Check the file of a scheduler: Dask would wait for one that is missing."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("address"), str):
        raise UserError(
            f"{path}: this file does not have the address of a Dask scheduler. Let the scheduler write it: "
            f"dask scheduler --scheduler-file {path}"
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
