"""Every write is atomic: a temporary file beside the target, then ``os.replace``.

An interrupted run, a full disk or a power cut leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a study is shared like any other folder.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8, the same bytes on every system."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically; text that a spreadsheet would take for a formula is disarmed."""
    safe = table.copy()
    for column in safe.columns:
        if safe[column].dtype == object or str(safe[column].dtype) in ("string", "str"):
            safe[column] = safe[column].map(plain_cell)
    with replacing(path) as temporary:
        safe.to_csv(temporary, index=False, lineterminator="\n", na_rep="NA", encoding="utf-8")


def plain_cell(value: Any) -> Any:
    """Put an apostrophe before text that begins like a formula (= + - @ tab), as spreadsheets expect it."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def set_aside(path: Path, what: str) -> Path:
    """Rename a file that is to be replaced, as ``name.what_1.ending``, with the next number that is free.

    Parameters
    ----------
    path
        The file.
    what
        Why it is kept.

    Returns
    -------
    Path
        Where it is now.
    """
    number = 1
    while (aside := path.with_name(f"{path.stem}.{what}_{number}{path.suffix}")).exists():
        number += 1
    return path.replace(aside)
