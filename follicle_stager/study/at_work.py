"""Runs in progress in a study: a run with other settings is refused, because their results would mix.

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

# How long a run waits while another run checks for runs in progress, s.
_DOOR_S = 30


@contextlib.contextmanager
def door(folder: Path) -> Iterator[None]:
    """Let only one run at a time check for runs in progress in a study.

    Raises
    ------
    StudyError
        If another run checks for too long.
    """
    lock = folder / ".runs.lock"
    if lock.is_symlink():
        raise StudyError(f"{lock}: this is a link, which is not opened; delete it.")
    try:
        with FileLock(lock, timeout=_DOOR_S):
            yield
    except Timeout:
        raise StudyError(f"{folder}: another run has just started here; try again.") from None


def refuse_others(folder: Path, settings: str) -> None:
    """Refuse a run if one with other settings is in progress.

    Parameters
    ----------
    folder
        Folder of the study.
    settings
        Fingerprint of the configuration, or the longer name that `mark` gets.

    Raises
    ------
    StudyError
        If a run with other settings is in progress.
    """
    for path in folder.glob(".run-*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            if not path.name.startswith(f".run-{settings}"):
                raise StudyError(
                    f"{folder}: another run with other settings is in progress in this study. Wait until it has "
                    "finished, or choose another folder for the results."
                ) from None
        else:  # its run was killed
            path.unlink(missing_ok=True)


def mark(folder: Path, settings: str) -> contextlib.ExitStack:
    """Mark a run with these settings as in progress, until the returned object is closed."""
    path = folder / f".run-{settings}-{uuid.uuid4().hex}.lock"
    held = contextlib.ExitStack()
    held.callback(path.unlink, missing_ok=True)
    held.enter_context(FileLock(path))
    return held
