"""Something that takes long, in a thread of its own: the window goes on, is told how far it is, and can stop it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]  # qtpy names it alike for all Qts
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from follicle_stager.errors import Stopped, UserError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    #: ``tell(step, done, total)``; it raises `Stopped` when the person has pressed stop.
    Tell = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)


class Work(QObject):
    """One piece of work. Its signals reach the window's own thread.

    Parameters
    ----------
    do
        Called in the thread, with a function to tell how far it is.
    """

    progressed = Signal(str, int, int)
    done = Signal(object)
    """With what ``do`` returned."""
    failed = Signal(str)
    """With why, in words; empty where the person stopped it."""

    def __init__(self, do: Callable[[Tell], object]) -> None:
        super().__init__()
        self._do = do
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End at the next step; what was finished is kept."""
        self._stop.set()

    def wait(self) -> None:
        """Return when it has ended."""
        if self._thread.is_alive():
            self._thread.join()

    def _tell(self, step: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self.progressed.emit(step, done, total)

    def _run(self) -> None:
        try:
            result = self._do(self._tell)
        except Stopped:
            self.failed.emit("")
        except UserError as error:
            self.failed.emit(str(error))
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        except Exception as error:  # the window must not wait for ever
            logger.exception("work failed")
            self.failed.emit(f"A defect of the software ({type(error).__name__}: {error}); please report it.")
        else:
            self.done.emit(result)


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
        self._bar = QProgressBar()
        stop = QPushButton("Stop")
        stop.setToolTip("End it; nothing is lost.")
        stop.clicked.connect(self.stop)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar)
        layout.addWidget(stop)
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
        """Do something in a thread; ``then`` gets what it returned, ``otherwise`` is called where it did not."""
        work = self._work = Work(do)
        work.progressed.connect(self._show)
        work.done.connect(lambda result: self._ended(lambda: then(result)))
        work.failed.connect(lambda why: self._ended(otherwise, why or "Stopped; nothing was changed."))
        self._bar.setRange(0, 0)
        self.show()
        self._changed()
        work.start()

    def stop(self) -> None:
        """Ask it to end."""
        if self._work is not None:
            self._work.stop()

    def end(self) -> None:
        """Stop, and return when it has ended."""
        if self._work is not None:
            self._work.stop()
            self._work.wait()
            self._work = None
            self.hide()

    def _show(self, step: str, done: int, total: int) -> None:
        self._bar.setRange(0, max(total, 1))
        self._bar.setValue(done)
        self._bar.setFormat(f"{step} %p %")

    def _ended(self, then: Callable[[], None], message: str = "") -> None:
        if self._work is None:  # the window was closed meanwhile
            return
        self._work = None
        self.hide()
        self._changed()
        try:
            then()
        except UserError as error:
            message = message or str(error)
        if message:
            self._say(message)
