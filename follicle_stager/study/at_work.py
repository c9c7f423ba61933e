"""Which runs are at work in a study: those with other settings are refused meanwhile, since their slides would mix.

Each run holds a lock file of its own, which the system releases however the run ends.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from follicle_stager.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As long a run waits for another one that looks who is at work.
_DOOR_S = 30


@contextlib.contextmanager
def door(folder: Path) -> Iterator[None]:
    """Let one run at a time look who is at work in a study.

    Raises
    ------
    StudyError
        If another one looks for very long.
    """
    lock = folder / ".runs.lock"
    if lock.is_symlink():
        raise StudyError(f"{lock}: this is a link, and is not opened; delete it.")
    try:
        with FileLock(lock, timeout=_DOOR_S):
            yield
    except Timeout:
        raise StudyError(f"{folder}: another run has just begun here; try again.") from None


def refuse_others(folder: Path, settings: str) -> None:
    """Refuse a run while one with other settings is at work.

    Parameters
    ----------
    folder
        Folder of the study.
    settings
        Fingerprint of the configuration, or a longer name of it as `mark` was given.

    Raises
    ------
    StudyError
        If there is one.
    """
    for path in folder.glob(".run-*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            if not path.name.startswith(f".run-{settings}"):
                raise StudyError(
                    f"{folder}: another run with other settings is at work in this study. Wait until it has ended, or "
                    "give another folder for the results."
                ) from None
        else:  # its run was killed
            path.unlink(missing_ok=True)


def mark(folder: Path, settings: str) -> contextlib.ExitStack:
    """Say that a run with these settings is at work, until what is returned is closed."""
    path = folder / f".run-{settings}-{uuid.uuid4().hex}.lock"
    held = contextlib.ExitStack()
    held.callback(path.unlink, missing_ok=True)
    held.enter_context(FileLock(path))
    return held
