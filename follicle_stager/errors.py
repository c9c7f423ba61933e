"""Errors that a user can cause. Each message says what is wrong, where, and how to fix it.

The command line prints the message and exits with code 2; in a batch, the slide becomes a line of the
summary. Any other exception is a defect of the software and keeps its traceback.
"""

from __future__ import annotations

import errno


class UserError(Exception):
    """Bad input that the user can fix; ``str(error)`` is shown unchanged."""


class SlideError(UserError):
    """A slide that cannot be read, or cannot be measured safely."""


class SampleSheetError(UserError):
    """A sample sheet with missing or contradictory entries."""


class StudyError(UserError):
    """A study folder that cannot be read or written."""


class TooManyWindows(Exception):
    """A slide has more windows than one worker should search; ``windows`` is their number. No user sees it."""

    def __init__(self, windows: int) -> None:
        super().__init__(f"{windows} windows")
        self.windows = windows


class Stopped(BaseException):
    """The user stopped the work. Progress callbacks raise it; handlers of ordinary errors do not catch it."""


def how_to_install(extra: str) -> str:
    """Say how an extra is installed; nothing is published yet, so it is from a copy of the repository."""
    return f'in your copy of the follicle-stager repository, run  pip install ".[{extra}]"'


def describe_os_error(error: OSError) -> str:
    """Explain to the user why the operating system refused.

    Parameters
    ----------
    error
        The exception of ``open``, ``write`` or ``os.replace``.

    Returns
    -------
    str
        Path, reason and remedy.
    """
    where = f"{error.filename}: " if error.filename else ""
    mend = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
        errno.EACCES: "permission denied; choose a folder that you may write to",
        errno.EPERM: "permission denied; choose a folder that you may write to",
        errno.EROFS: "the disk is read-only; choose another folder",
        errno.ENOENT: "no such file or folder; check the path",
        errno.ENOTDIR: "a part of this path is a file, not a folder; choose another path",
        errno.EISDIR: "this is a folder, but a file is needed here",
    }.get(error.errno or 0, error.strerror or str(error))
    return where + mend
