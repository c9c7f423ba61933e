"""Reading and writing of files.

Reading: only regular files are opened, because a named pipe or a device would block for ever. Text of other programs
is decoded by its byte order mark. A file that cannot be read raises a `UserError` that names it.

Writing is atomic: a temporary file in the same folder, then ``os.replace``. An interrupted run, a full disk or a power
cut leaves either the old file or the new one, never half a file.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import psutil

from follicle_stager.errors import SlideError, UserError, how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

#: Longest text that is read, bytes after decompression. No table and no outlines of a slide are longer; parsed as JSON,
#: a text takes about eight times as much memory.
MAX_TEXT_BYTES = 150_000_000

# Temporary files are called ``.tmp-<machine>-<process>-<random>-<name>``; the name tells which process owns the file.
_TEMPORARY = re.compile(r"\.tmp-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-")
# Version 0.1 called them ``.<stem>-<random>.<ending>``.
_TEMPORARY_OLD = re.compile(r"\.[^/]+-[a-z0-9_]{8}\.(json|geojson|jpg|toml|csv|svg|pdf|html|R)")
# We cannot see whether a process of another machine still runs, but no file takes a day to write.
_DAY_S = 86_400


def as_path(place: str | Path) -> Path:
    """A path on this machine; or an address, such as ``s3://bucket/a.ome.zarr``, which is read with fsspec.

    Raises
    ------
    UserError
        If it is an address, and the ``remote`` extra is not installed or cannot read addresses of this kind.
    """
    if not isinstance(place, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place):
        return Path(place) if isinstance(place, str) else place
    try:
        from upath import UPath
    except ImportError:
        raise UserError(f"{place}: reading it needs the 'remote' extra: {how_to_install('remote')}.") from None
    try:
        return cast("Path", UPath(place))
    except ValueError:
        kind = place.partition("://")[0]
        raise UserError(
            f"{place}: addresses with {kind}:// cannot be read; write https:// or s3://, for example."
        ) from None


def is_remote(path: PurePath) -> bool:
    """Whether a path is an address, see `as_path`."""
    return not isinstance(path, PurePath)


def read_remote(image: Path, name: str) -> bytes | None:
    """Read a file of an image at an address; None if there is no such file.

    Raises
    ------
    SlideError
        If the address cannot be reached.
    """
    try:
        return (image / name).read_bytes()
    except Exception as error:  # each kind of store has its own errors
        cause = error.__cause__ or error  # for the web, fsspec calls every failure "not found"
        if isinstance(error, FileNotFoundError) and (cause is error or not isinstance(cause, OSError)):
            return None
        raise SlideError(
            f"{image}: cannot be reached ({cause}); check the address and your rights to read it."
        ) from None


def recorded(path: Path) -> str:
    """The absolute path, or the address, as text."""
    return str(path) if is_remote(path) else str(path.resolve())


def check_regular(path: Path) -> None:
    """Refuse a path that would block, or never end, when it is read.

    Raises
    ------
    UserError
        If the path is missing, a folder, a named pipe, a socket or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise UserError(f"{path}: this is a folder, but a file is needed here.")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path.")
    raise UserError(f"{path}: this is not a regular file, but a pipe, socket or device; give a file.")


def read_text(path: Path) -> str:
    """Read a text file that any program may have written.

    UTF-8 with or without byte order mark, UTF-16, and gzip of these; anything else is read as Windows' cp1252.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        The text without byte order mark, with the line ends of the file.

    Raises
    ------
    UserError
        If the file is missing, not a regular file, too long, or not text.
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
        raise UserError(f"{path}: the file holds more than {MAX_TEXT_BYTES / 1e6:g} MB of text; export only follicles.")
    try:
        text = raw.decode(_encoding(raw))
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: this is not a text file; export it again.")
    return text


def _encoding(raw: bytes) -> str:
    """The encoding, from the byte order mark; Excel's UTF-16 without one has a zero in every second byte."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    head = raw[:200]
    if len(head) > 3 and head.count(0) >= len(head) // 3:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8-sig"


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """Pause Python's search for unused objects while a file makes many: it finds none, and takes half of the time."""
    if not gc.isenabled():  # for example, another thread reads a file, too
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_json(path: Path) -> Any:
    """Read a JSON file. Whole numbers of 19 digits or more become floats, so huge ones become infinite.

    Raises
    ------
    UserError
        If the file cannot be read as text, or is not JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; error messages begin with ``where``, usually the path. See `read_json`."""
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:  # not JSON, or nested too deeply
        raise UserError(f"{where}: this is not valid JSON ({error}).") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it replaces ``path``, on failure it is removed."""
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
            # mkstemp makes private files, but a study is shared like any other folder.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make an error of the operating system name the target, not the temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileNotFoundError):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def sweep(folder: Path) -> None:
    """Delete temporary files of killed processes in a folder and below it; running processes keep theirs."""
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
    r"""Write a text file atomically, in UTF-8, with the same bytes on every system.

    Lone surrogates, as in file names that are not UTF-8, are written as ``\udcff``, which JSON reads back.
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
    """Write a table atomically; cells and headers that a spreadsheet would run as formulas are disarmed."""
    safe = table.rename(columns=plain_cell)
    for column in safe.columns:
        if safe[column].dtype == object or str(safe[column].dtype) in ("string", "str"):
            safe[column] = safe[column].map(plain_cell)
    with replacing(path) as temporary:
        safe.to_csv(
            temporary, index=False, lineterminator="\n", na_rep="NA", encoding="utf-8", errors="backslashreplace"
        )


def plain_cell(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; other values are unchanged.

    A formula begins with ``=``, ``@``, ``+`` or ``-``. After ``+`` or ``-`` it can do harm only by calling a function,
    a program or another file, which needs ``name(`` or ``!``. The genotypes ``+/+``, ``-/-`` and ``+ (wt)`` therefore
    stay as in the sample sheet. Some spreadsheets split cells at semicolons, so each part is checked as a cell.

    Source: OWASP, CSV injection; docs/tables.md explains the rule to users.
    """
    return "'" + value if isinstance(value, str) and _is_formula(value) else value


@functools.lru_cache(maxsize=10_000)  # a table repeats most of its texts in many rows
def _is_formula(text: str) -> bool:
    if text[:1] in ("\t", "\r", "\n"):
        return True
    # Invisible characters are skipped; Japanese spreadsheets also accept full-width signs.
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
    """Copy a file that will be replaced to ``name.what_1.ending``, or to the next free number.

    The file itself stays until the new one is written, so nothing is lost on a full disk.

    Parameters
    ----------
    path
        The file.
    what
        Word for the name of the copy that says why it is kept.

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
