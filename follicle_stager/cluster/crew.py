"""The workers of a Dask scheduler, and which of them may work."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from follicle_stager.cluster.at_worker import examination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Worker(NamedTuple):
    """A worker, as ``doctor --cluster`` shows it: its name and machine, and why it gets no work (empty if it does)."""

    name: str
    machine: str
    software: str
    processors: int
    refused: str


def is_fit(info: Mapping[str, Any], right: str) -> bool:
    """Whether a worker passed the examination, and does not pause or end at the moment.

    Parameters
    ----------
    info
        What the scheduler says of it.
    right
        Name of the right to work.
    """
    return bool(info.get("resources", {}).get(right)) and info.get("status") == "running"


@dataclass
class Crew:
    """The workers that a Dask scheduler knows.

    Attributes
    ----------
    client
        Connection to the scheduler.
    told
        Function that is called with notes for the user.
    refused
        Workers that failed the examination, and why, by address.
    """

    client: Any
    told: Callable[[str], None]
    refused: dict[str, str] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def topic(self) -> str:
        """Topic of the messages about progress."""
        return f"progress-{self._run}"

    def info(self) -> dict[str, Any]:
        """What the scheduler says of each worker, by address."""
        # A client that was closed a moment ago knows none.
        return dict(self.client.scheduler_info(n_workers=-1).get("workers", {}))

    def fit(self, right: str) -> list[str]:
        """Addresses of the workers that may get a slide."""
        return sorted(address for address, info in self.info().items() if is_fit(info, right))

    def name(self, address: str) -> str:
        """Name of a worker, for messages."""
        info = self.info().get(address)
        return f"{info['name']} on {info['host']}" if info else address

    @contextlib.contextmanager
    def examined(self, identity: tuple[str, str, str], config: str) -> Iterator[str]:
        """Examine all workers, also those that join later; gives the name of the right to work.

        Parameters
        ----------
        identity
            What they must have, from `orders.identity_of`.
        config
            Parameters with the paths of the workers, as JSON.
        """
        # Another run may use the same workers with other paths: it must not take this right from them.
        right = f"follicle-stager-{hashlib.sha256(repr((identity, config)).encode()).hexdigest()[:12]}"
        self.refused.clear()

        def refuse(said: dict[str, Any]) -> None:
            if said["worker"] not in self.refused:
                self.refused[said["worker"]] = said["why"]
                self.told(f"worker {said['name']} gets no slides: {said['why']}")

        topic, plugin = f"refused-{self._run}", f"examine-{self._run}"
        with self.hearing(topic, refuse):
            self.client.register_plugin(examination(identity, right, topic, config), name=plugin)
            try:
                yield right
            finally:
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    self.client.unregister_worker_plugin(plugin)

    @contextlib.contextmanager
    def hearing(self, topic: str, do: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Call a function with each message of a topic."""
        # Dask gives each message with the time.
        self.client.subscribe_topic(topic, lambda event: do(event[1] if isinstance(event, tuple) else event))
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                self.client.unsubscribe_topic(topic)
