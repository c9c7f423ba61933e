"""Tables of other programs, as text: CSV and TSV in any encoding that Excel and QuPath write, and xlsx.

Nothing is guessed that would move a value into another column: what does not fit is an error with its line.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from follicle_stager.errors import UserError
from follicle_stager.files import MAX_TEXT_BYTES, check_regular, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_EXCEL = (".xlsx", ".xlsm")


@dataclass(frozen=True)
class Table:
    """A table as it is written.

    Attributes
    ----------
    columns
        Names in the header, without white space around them; columns without a name are left out.
    header_line
        Its line in the file.
    rows
        Line in the file, and cells by column; cells that a short row lacks are empty. Empty rows are left out.
    """

    columns: list[str]
    header_line: int
    rows: list[tuple[int, dict[str, str]]]


def read_table(path: Path) -> Table:
    """Read a table with a header.

    Parameters
    ----------
    path
        ``.xlsx`` (its first sheet), or text separated by commas, semicolons or tabs; a first line ``sep=;`` as Excel
        writes it says which.

    Returns
    -------
    Table

    Raises
    ------
    UserError
        If it cannot be read, a column is there twice, a row has more cells than the header, or a quotation mark is
        not closed; the message names the line.
    """
    lines = _excel_lines(path) if path.suffix.lower() in _EXCEL else _text_lines(path)
    header_line, header = next(((n, cells) for n, cells in lines if any(cells)), (1, []))
    names = [cell.strip() for cell in header]
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    if twice:
        raise UserError(f"{path}: line {header_line}: there are two columns {twice[0]!r}; rename or delete one.")
    rows = []
    for line, cells in lines:
        if not any(cells):
            continue
        if any(cells[len(names) :]):
            raise UserError(
                f"{path}: line {line}: {len(cells)} cells for {len(names)} columns, so nobody knows which value is "
                "which. Is there a decimal comma in a sheet that is separated by commas? Write 5.0, or put the value "
                "in quotation marks."
            )
        whole = [cell.strip() for cell in cells] + [""] * (len(names) - len(cells))
        rows.append((line, {name: cell for name, cell in zip(names, whole, strict=False) if name}))
    return Table([name for name in names if name], header_line, rows)


def as_csv(path: Path) -> str:
    """A table as the text of a CSV file: what it is, or the first sheet of an Excel file."""
    if path.suffix.lower() not in _EXCEL:
        return read_text(path)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells for _, cells in _excel_lines(path))
    return text.getvalue()


def _text_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text, each with the number of its first line."""
    text = read_text(path)
    first, _, rest = text.partition("\n")
    skipped, delimiter = 0, ""
    if first.strip().strip('"').lower().startswith("sep="):
        skipped, text = 1, rest
        delimiter = first.strip("\r\n").strip('"')[4:5] or "\t"
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 0
    try:
        for cells in reader:
            yield skipped + line + 1, cells
            line = reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}: line {skipped + line + 1}: {error}; is a quotation mark missing there?") from None


def _excel_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    import openpyxl

    check_regular(path)
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(part.file_size for part in packed.infolist()) > MAX_TEXT_BYTES:
                raise UserError(f"{path}: the workbook is too large; save the sheet as 'CSV UTF-8'.")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows: Iterable[Sequence[object]] = book.worksheets[0].iter_rows(values_only=True)
        found = [[_cell(value) for value in row] for row in rows]
    except UserError:
        raise
    except Exception as error:  # damaged workbooks fail in any way
        raise UserError(f"{path}: this Excel workbook cannot be read ({error}); save it as CSV UTF-8.") from None
    yield from enumerate(found, start=1)


def _cell(value: object) -> str:
    """A cell as a person sees it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)
