"""Something that takes long, in a thread of its own: the window goes on, is told how far it is, and can stop it.

The thread puts what it has to say into a queue, and the window looks there now and then: Qt's signals between threads
crash with some versions of PySide.
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

    #: ``tell(step, done, total)``; it raises `Stopped` when the person has pressed stop.
    Tell = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)

_LOOK_EVERY_MS = 40


class Work:
    """One piece of work in its thread.

    Parameters
    ----------
    do
        Called in the thread, with a function to tell how far it is.

    Attributes
    ----------
    progress
        Steps that were told and not looked at.
    result
        What ``do`` returned, when it has ended.
    why
        Why it did not, in words; None where it did.
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
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End at the next step; what was finished is kept."""
        self._stop.set()

    def wait(self) -> None:
        """Return when it has ended."""
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
        except Exception as error:  # the window must not wait for ever
            logger.exception("work failed")
            self.why = f"A defect of the software ({type(error).__name__}: {error}); please report it."


class WorkBar(QWidget):
    """One piece of work at a time, its progress, and a button to stop it; hidden while there is none.

    Parameters
    ----------
    say
        Told why something failed.
    changed
        Called when work begins and when it has ended.
    """

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        super().__init__()
        self._say, self._changed = say, changed
        self._work: Work | None = None
        self._then: Callable[[Any], None] = lambda result: None
        self._otherwise: Callable[[], None] = lambda: None
        self._bar = QProgressBar()
        stop = QPushButton("Stop")
        stop.setToolTip("End it; nothing is lost.")
        stop.clicked.connect(self.stop)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar)
        layout.addWidget(stop)
        place = self.sizePolicy()
        place.setRetainSizeWhenHidden(True)  # else all below it moves when work begins, away from the mouse
        self.setSizePolicy(place)
        self._looking = QTimer(self)
        self._looking.setInterval(_LOOK_EVERY_MS)
        self._looking.timeout.connect(self._look)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether something goes on."""
        return self._work is not None

    def start(
        self,
        do: Callable[[Tell], Any],
        then: Callable[[Any], None],
        *,
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Do something in a thread; ``then`` gets what it returned, ``otherwise`` is called where it did not.

        Raises
        ------
        UserError
            If something else goes on.
        """
        if self.busy:
            raise UserError("Something else goes on: wait for it, or stop it.")
        self._then, self._otherwise = then, otherwise
        self._bar.setRange(0, 0)
        self._work = Work(do)
        self._looking.start()
        self.show()
        self._changed()

    def stop(self) -> None:
        """Ask it to end."""
        if self._work is not None:
            self._work.stop()

    def end(self) -> None:
        """Stop, and return when it has ended; nothing comes of it."""
        if self.busy:
            self.abandon()
            self._close()

    def abandon(self) -> None:
        """As `end`, where Qt has taken the window away."""
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
        ended = work.ended  # asked first: what was told before is in the queue then
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
