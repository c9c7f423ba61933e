"""Start of the command line, and ``python -m follicle_stager``.

Each command imports what it needs, which takes seconds. If a person presses Ctrl+C meanwhile, the program ends
without a traceback; some packages would turn the interrupt into an error of their own. Nothing has begun yet that
could be lost.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Import the command line, and run it."""
    signal.signal(signal.SIGINT, interrupt)
    from follicle_stager.cli import main as run

    try:
        run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Python ends, it would show a traceback


def interrupt(number: int, frame: FrameType | None) -> None:
    """End the program at once while something is imported; otherwise raise KeyboardInterrupt.

    Parameters
    ----------
    number
        Number of the signal.
    frame
        Frame that was interrupted.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
