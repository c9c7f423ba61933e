"""Files, in one place: how they are read, and how they are written.

Reading: only regular files are opened, since a named pipe or a device would block for ever; text of other programs is
decoded by its byte order mark; what cannot be read is a `UserError` that names the file.

Writing is atomic: a temporary file beside the target, then ``os.replace``. An interrupted run, a full disk or a power
cut leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

#: Text that is longer than this (bytes, after decompression) is no table and no outlines of a slide; read as JSON it
#: takes about eight times as much memory.
MAX_TEXT_BYTES = 150_000_000

# Temporary files are called ``.tmp-<machine>-<process>-<random>-<name>``: so one sees whose each is.
_TEMPORARY = re.compile(r"\.tmp-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-")
# Version 0.1 called them ``.<stem>-<random>.<ending>``.
_TEMPORARY_OLD = re.compile(r"\.[^/]+-[a-z0-9_]{8}\.(json|geojson|jpg|toml|csv|svg|pdf|html|R)")
# Whether a process of another machine still runs cannot be seen; no file takes a day to write.
_DAY_S = 86_400


def check_regular(path: Path) -> None:
    """Refuse what would block or never end when it is read.

    Raises
    ------
    UserError
        If the path is missing, a folder, a named pipe, a socket or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise UserError(f"{path}: this is a folder, and a file is needed here.")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path.")
    raise UserError(f"{path}: this is no regular file (a pipe, socket or device); give a file.")


def read_text(path: Path) -> str:
    """Read a text file of any program.

    UTF-8 with or without byte order mark, UTF-16, gzip; what is none of these is taken for Windows' cp1252.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        Without byte order mark; line ends are as in the file.

    Raises
    ------
    UserError
        If it is missing, no regular file, too long, or no text.
    """
    check_regular(path)
    with path.open("rb") as file:
        raw = file.read(MAX_TEXT_BYTES + 1)
    if raw[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                raw = file.read(MAX_TEXT_BYTES + 1)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path}: the compressed file is damaged ({error}); export it again.") from None
    if len(raw) > MAX_TEXT_BYTES:
        raise UserError(f"{path}: it holds more than {MAX_TEXT_BYTES / 1e6:g} MB of text; export only follicles.")
    try:
        text = raw.decode(_encoding(raw))
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: this is not a text file; export it again.")
    return text


def _encoding(raw: bytes) -> str:
    """By the byte order mark; Excel's UTF-16 without one has a zero in every second byte."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    head = raw[:200]
    if len(head) > 3 and head.count(0) >= len(head) // 3:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8-sig"


def read_json(path: Path) -> Any:
    """Read a JSON file; whole numbers that no computer counts with become infinite.

    Raises
    ------
    UserError
        If it cannot be read as text, or is no JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; ``where`` it stands is for the message. See `read_json`."""
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:  # no JSON, or nested too deep
        raise UserError(f"{where}: this is not valid JSON ({error}).") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".tmp-{_machine()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path):
            yield temporary
        with _naming(path):
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            # mkstemp makes files private; a study is shared like any other folder.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the system name the file that was meant."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileNotFoundError):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def sweep(folder: Path) -> None:
    """Delete what writers that were killed left in a folder and below it; those that still run keep theirs."""
    for path in folder.rglob(".*"):
        made = _TEMPORARY.match(path.name)
        with contextlib.suppress(OSError):
            if made is not None:
                here = made["machine"] == _machine()
                dead = here and not psutil.pid_exists(int(made["process"]))
                if dead or time.time() - path.stat().st_mtime > _DAY_S:
                    path.unlink()
            elif _TEMPORARY_OLD.fullmatch(path.name) and path.is_file():
                path.unlink()


def _machine() -> str:
    return hashlib.sha256(platform.node().encode(errors="replace")).hexdigest()[:8]


def write_text(path: Path, text: str) -> None:
    r"""Write a text file atomically, UTF-8, the same bytes on every system.

    Half characters, as in names of files that are not UTF-8, are written as ``\udcff``; JSON reads that again.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def as_toml(values: Mapping[str, Any]) -> str:
    """Write values as TOML: dicts as tables, lists of dicts as arrays of tables, and dicts inside these in one line."""
    import tomlkit

    def table(rows: Mapping[str, Any]) -> Any:
        made = tomlkit.table()
        for name, value in rows.items():
            inline = tomlkit.inline_table()
            made[name] = inline if isinstance(value, dict) else value
            inline.update(value if isinstance(value, dict) else {})
        return made

    document = tomlkit.document()
    for name, value in values.items():
        if isinstance(value, dict):
            document[name] = table(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            tables = tomlkit.aot()
            for rows in value:
                tables.append(table(rows))
            document[name] = tables
        else:
            document[name] = value
    return tomlkit.dumps(document)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically; text that a spreadsheet would run as a formula is disarmed, in headers too."""
    safe = table.rename(columns=plain_cell)
    for column in safe.columns:
        if safe[column].dtype == object or str(safe[column].dtype) in ("string", "str"):
            safe[column] = safe[column].map(plain_cell)
    with replacing(path) as temporary:
        safe.to_csv(
            temporary, index=False, lineterminator="\n", na_rep="NA", encoding="utf-8", errors="backslashreplace"
        )


def plain_cell(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; all other text stays as it is.

    A formula begins with ``=`` or ``@``, or with ``+`` or ``-``. Behind a sign it can only do harm with a function or
    with another program or file, which need ``name(`` or ``!``. So the genotypes ``+/+``, ``-/-`` and ``+ (wt)`` stay
    as the sample sheet has them. Where a spreadsheet parts cells at semicolons, each part is a cell.

    Source: OWASP, CSV injection; the rule is written for users in docs/tables.md.
    """
    return "'" + value if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    if text[:1] in ("\t", "\r", "\n"):
        return True
    # Signs that nobody sees are passed over; spreadsheets in Japanese take full-width signs too.
    cells = [cell.lstrip(" \u00a0\u200b\ufeff") for cell in re.split(r"[;\t\r\n]", text)]
    return any(
        cell[:1] in ("=", "@", "＝", "＠") or (cell[:1] in ("+", "-", "＋", "－") and re.search(r"\w\(|!", cell))
        for cell in cells
        if cell
    )


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def set_aside(path: Path, what: str) -> Path:
    """Keep a copy of a file that is to be replaced, as ``name.what_1.ending``, with the next number that is free.

    The file itself stays until its successor is there: on a full disk nothing is lost.

    Parameters
    ----------
    path
        The file.
    what
        Why it is kept.

    Returns
    -------
    Path
        The copy.
    """
    number = 1
    while (aside := path.with_name(f"{path.stem}.{what}_{number}{path.suffix}")).exists():
        number += 1
    with replacing(aside) as temporary:
        shutil.copyfile(path, temporary)
    return aside
