"""A thread that works ahead of a person, in the pauses: it lets the window draw first."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

# How long the thread waits after it got a task: Python runs one thread at a time, and reading a file of 2,000 follicles
# would keep the window from drawing.
_LET_DRAW_S = 0.3


class Ahead:
    """One thread for tasks that may be needed soon.

    Parameters
    ----------
    name
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._hurry = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Do something in the thread, soon; `result` waits for it."""
        start = time.monotonic() + _LET_DRAW_S

        def later() -> R:
            self._hurry.wait(max(0.0, start - time.monotonic()))
            return do(*args, **kwargs)

        return self._thread.submit(later)

    def result(self, task: Future[R]) -> R:
        """The result of a task, which is needed now."""
        self._hurry.set()
        try:
            return task.result()
        finally:
            self._hurry.clear()

    def end(self) -> None:
        """Wait for all tasks; another one can be submitted afterwards."""
        self._hurry.set()
        self._thread.shutdown()
        self._hurry.clear()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
