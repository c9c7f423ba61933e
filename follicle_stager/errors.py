"""The errors that a user can cause: each message says what, where, and how to mend it.

The command line prints the message and exits with code 2; in a batch the slide becomes a line of the
summary. Anything that is not a ``UserError`` is a defect of the software and keeps its traceback.
"""

from __future__ import annotations

import errno


class UserError(Exception):
    """Bad input that the user can mend; ``str(error)`` is shown as it is."""


class SlideError(UserError):
    """A slide that cannot be read, or not safely measured."""


class SampleSheetError(UserError):
    """A sample sheet that does not say what it must."""


class StudyError(UserError):
    """A study folder that cannot be read or written."""


class Stopped(BaseException):
    """A person stopped the work; raised from a progress callback, it passes through all that outlives an error."""


def how_to_install(extra: str) -> str:
    """Say how an extra is installed; nothing is published yet, so it is from a copy of the repository."""
    return f'in your copy of the follicle-stager repository, run  pip install ".[{extra}]"'


def describe_os_error(error: OSError) -> str:
    """Say in a user's words why the operating system refused.

    Parameters
    ----------
    error
        What ``open``, ``write`` or ``os.replace`` raised.

    Returns
    -------
    str
        Path, reason and what to do about it.
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
        errno.EISDIR: "this is a folder, and a file is needed here",
    }.get(error.errno or 0, error.strerror or str(error))
    return where + mend
