"""Long tasks in a thread: the window stays responsive, shows the progress, and can stop the task.

The thread puts its progress into a queue, which the window polls, because Qt signals between threads crash with some
versions of PySide.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from follicle_stager.errors import Stopped, UserError
from follicle_stager_napari.words import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    #: ``tell(step, done, total)``; it raises `Stopped` if the user has pressed *Stop*.
    Tell = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)

_LOOK_EVERY_MS = 40


class Work:
    """One task in a thread of its own.

    Parameters
    ----------
    do
        Function that is called in the thread, with a function to report progress.

    Attributes
    ----------
    progress
        Reported steps that have not been read yet.
    result
        Value that ``do`` returned.
    why
        Reason why the task failed, in words; None if it did not fail.
    """

    def __init__(self, do: Callable[[Tell], Any]) -> None:
        self._do = do
        self._stop = threading.Event()
        self.progress: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
        self.result: Any = None
        self.why: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop the task at its next step; finished parts are kept."""
        self._stop.set()

    def wait(self) -> None:
        """Wait until the task has ended."""
        self._thread.join()

    def _tell(self, step: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self.progress.put((step, done, total))

    def _run(self) -> None:
        try:
            self.result = self._do(self._tell)
        except Stopped:
            self.why = "Stopped; nothing was changed."
        except (UserError, OSError) as error:
            self.why = refused(error)
        except Exception as error:  # otherwise the window would wait forever
            logger.exception("work failed")
            self.why = f"A defect of the software ({type(error).__name__}: {error}); please report it."


class WorkBar(QWidget):
    """Progress of one task at a time, with a button to stop it; hidden if no task is running.

    Parameters
    ----------
    say
        Function that shows why a task failed.
    changed
        Function that is called when a task begins and when it has ended.
    """

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        super().__init__()
        self._say, self._changed = say, changed
        self._work: Work | None = None
        self._then: Callable[[Any], None] = lambda result: None
        self._otherwise: Callable[[], None] = lambda: None
        self._bar = QProgressBar()
        stop = QPushButton("Stop")
        stop.setToolTip("Stop this task; nothing is lost.")
        stop.clicked.connect(self.stop)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar)
        layout.addWidget(stop)
        place = self.sizePolicy()
        place.setRetainSizeWhenHidden(True)  # otherwise everything below would move when a task begins
        self.setSizePolicy(place)
        self._looking = QTimer(self)
        self._looking.setInterval(_LOOK_EVERY_MS)
        self._looking.timeout.connect(self._look)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self._work is not None

    def start(
        self,
        do: Callable[[Tell], Any],
        then: Callable[[Any], None],
        *,
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Start a task in a thread; ``then`` is called with its result, or ``otherwise`` if it failed.

        Raises
        ------
        UserError
            If another task is running.
        """
        if self.busy:
            raise UserError("Another task is running: wait for it, or stop it.")
        self._then, self._otherwise = then, otherwise
        self._bar.setRange(0, 0)
        self._work = Work(do)
        self._looking.start()
        self.show()
        self._changed()

    def stop(self) -> None:
        """Ask the task to stop."""
        if self._work is not None:
            self._work.stop()

    def end(self) -> None:
        """Stop the task, and wait until it has ended; its result is discarded."""
        if self.busy:
            self.abandon()
            self._close()

    def abandon(self) -> None:
        """Do the same as `end` if Qt has already deleted the window."""
        work, self._work = self._work, None
        if work is not None:
            work.stop()
            work.wait()

    def _close(self) -> None:
        self._looking.stop()
        self._work = None
        self.hide()

    def _look(self) -> None:
        work = self._work
        if work is None:
            return
        ended = work.ended  # read this first: then all progress is already in the queue
        while not work.progress.empty():
            step, done, total = work.progress.get()
            self._bar.setRange(0, max(total, 1))
            self._bar.setValue(done)
            self._bar.setFormat(f"{step} %p %")
        if not ended:
            return
        self._close()
        self._changed()
        message = work.why
        try:
            if message is None:
                self._then(work.result)
            else:
                self._otherwise()
        except (UserError, OSError) as error:
            message = message or refused(error)
        if message:
            self._say(message)
