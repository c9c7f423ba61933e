"""``edits.jsonl``: every correction of a slide, one line each, on disk before it is reported as done.

Lines are only added. If a power cut leaves an incomplete last line, this is moved to another file when the log is
opened for writing again; all other lines stay valid.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

from follicle_stager.corrections.edits import Edit
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

NAME = "edits.jsonl"


def read_edits(folder: Path) -> list[Edit]:
    """All edits in a slide's folder, the oldest first; an incomplete last line is left out.

    Raises
    ------
    UserError
        If another line is not an edit.
    """
    return [Edit.from_line(line, where) for line, where in lines_of(folder / NAME)]


def lines_of(path: Path) -> list[tuple[bytes, str]]:
    """Lines of a log with their places, for messages; an incomplete last line and empty ones are left out."""
    if not own_file(path).exists():
        return []
    whole, _ = _split(path.read_bytes())
    # Not splitlines(): it also splits at other characters, which a name may contain.
    lines = whole.split(b"\n")[:-1]
    return [(line, f"{path}: line {n}") for n, line in enumerate(lines, start=1) if line.strip()]


class LineLog:
    """A file to which lines are added, open for writing by one person at a time.

    Parameters
    ----------
    path
        The file; it need not exist.
    busy
        Message if another person or process has it open.
    wait_s
        How long to wait for another person or process to close it, s.

    Raises
    ------
    UserError
        If another person or process still has it open.
    """

    def __init__(self, path: Path, *, busy: str, wait_s: float = 0) -> None:
        self._path = own_file(path)
        own_file(path.with_name(f".{path.name}.lock"))
        # A window may open a file in one thread and close it in another.
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
        try:
            self._lock.acquire(timeout=wait_s)
        except Timeout:
            raise UserError(busy) from None
        try:
            self._mend()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, text: str) -> None:
        """Add a line; it is on disk when this method returns, and not in the file if it raises an error."""
        line, new = text.encode("utf-8", "backslashreplace") + b"\n", not self._path.exists()
        with self._path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        if new:
            _keep_name(self._path.parent)

    def close(self) -> None:
        """Release the file for others."""
        self._lock.release()

    def _mend(self) -> None:
        if not self._path.exists():
            return
        whole, torn = _split(self._path.read_bytes())
        if torn:
            aside = own_file(self._path.with_suffix(".torn"))
            with aside.open("ab") as file:
                file.write(torn + b"\n")
            with self._path.open("rb+") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
            logger.warning("%s: the last line is incomplete; it was moved to %s", self._path, aside.name)


class EditLog(LineLog):
    """The log of a slide's folder, open for writing by one person at a time; parameters and errors as of `LineLog`."""

    def __init__(self, folder: Path, *, wait_s: float = 0) -> None:
        busy = (
            f"{folder}: this slide is open for correction in another window or by another person; close it there first."
        )
        super().__init__(folder / NAME, busy=busy, wait_s=wait_s)

    def append(self, edit: Edit) -> None:
        """Add an edit; it is on disk when this method returns, and not in the log if it raises an error."""
        self.add(edit.to_line())


class ClosedLog:
    """The log of a slide in a study that cannot be written: it can be viewed, and every change is refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, edit: Edit) -> None:
        """Refuse an edit.

        Raises
        ------
        UserError
            Always.
        """
        raise UserError(
            f"{self._folder}: this study is read-only here, so nothing was changed. Copy the study to a folder in "
            "which you may write, and correct it there."
        )

    def close(self) -> None:
        """Do nothing."""


def _keep_name(folder: Path) -> None:
    """Make sure that the name of a new file survives a power cut, if the system supports this."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def own_file(path: Path) -> Path:
    """Refuse a link: in a study from somebody else, it could lead to any file of this computer."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(f"{path}: this is a link or not a regular file, and is not opened; put the file itself here.")
    return path


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Complete lines, and the rest of an incomplete last line."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]
