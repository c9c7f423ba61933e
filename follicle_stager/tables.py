"""Read tables of other programs as text: CSV and TSV in any encoding that Excel and QuPath write, and xlsx.

No guess moves a value into another column: a row that does not fit is an error that names the line.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from follicle_stager.errors import UserError
from follicle_stager.files import MAX_TEXT_BYTES, check_regular, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_EXCEL = (".xlsx", ".xlsm")
# A sheet whose bottom right cell is filled has 17,000 million cells.
_MOST_CELLS = 20_000_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Table:
    """A table as written in the file.

    Attributes
    ----------
    columns
        Names in the header, without surrounding white space; columns without a name are left out.
    header_line
        Line number of the header in the file.
    rows
        Line number in the file, and cells by column. A short row is filled up with empty cells; empty rows are left
        out.
    text
        The whole table as CSV text.
    """

    columns: list[str]
    header_line: int
    rows: list[tuple[int, dict[str, str]]]
    text: str = ""


def read_table(path: Path) -> Table:
    """Read a table with a header.

    Parameters
    ----------
    path
        An ``.xlsx`` file (its first visible sheet is read), or text separated by commas, semicolons or tabs. A first
        line ``sep=;``, as Excel writes it, sets the separator.

    Returns
    -------
    Table

    Raises
    ------
    UserError
        If the file cannot be read, two columns have the same name, a row has more cells than the header, a quotation
        mark is not closed, or a cell holds a control character. The message names the line.
    """
    if path.suffix.lower() in _EXCEL:
        excel = list(_excel_lines(path))
        lines, text = iter(excel), _csv_of(cells for _, cells in excel)
    else:
        text = _text_of(path)
        lines = _text_lines(text, path)
    header_line, header = next(((n, cells) for n, cells in lines if any(cells)), (1, []))
    names = [cell.strip() for cell in header]
    while names and not names[-1]:
        names.pop()
    twice = [name for name, n in Counter(name.casefold() for name in names).items() if n > 1 and name]
    if twice:
        raise UserError(f"{path}: line {header_line}: there are two columns {twice[0]!r}; rename or delete one.")
    rows = []
    for line, cells in lines:
        if not any(cells):
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            raise UserError(
                f"{path}: line {line}: {len(cells)} cells for {len(names)} columns, so it is unclear which value "
                "belongs to which column. Is there a decimal comma in a sheet that is separated by commas? Write 5.0, "
                "or put the value in quotation marks."
            )
        whole = [cell.strip() for cell in cells] + [""] * (len(names) - len(cells))
        row = {name: cell for name, cell in zip(names, whole, strict=False) if name}
        odd = next((name for name, cell in row.items() if _CONTROL.search(cell)), None)
        if odd is not None:
            raise UserError(f"{path}: line {line}, column {odd}: {row[odd]!r} has a control character; delete it.")
        rows.append((line, row))
    return Table([name for name in names if name], header_line, rows, text)


def _csv_of(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _text_of(path: Path) -> str:
    try:
        return read_text(path)
    except UserError as error:
        if "not a text file" not in str(error):
            raise
        raise UserError(f"{path}: not a table; save the sheet as Excel workbook (.xlsx) or CSV UTF-8.") from None


def _text_lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text table, each with the number of its first line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    skipped, delimiter = 0, ""
    if first.strip().strip('"').lower().startswith("sep="):
        skipped, text = 1, rest
        delimiter = first.strip('"')[4:5] or "\t"
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
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
            parts = packed.infolist()
            if sum(part.file_size for part in parts) > MAX_TEXT_BYTES:
                raise UserError(f"{path}: the workbook is too large; save the sheet as 'CSV UTF-8'.")
            formulas = any(b"<f" in packed.read(p) for p in parts if p.filename.startswith("xl/worksheets/sheet"))
        values = _first_sheet(openpyxl.load_workbook(path, read_only=True, data_only=True), path)
        as_written = _first_sheet(openpyxl.load_workbook(path, read_only=True), path) if formulas else None
        for line, row in enumerate(values, start=1):
            written = next(as_written) if as_written is not None else row
            if any(value is None and own is not None for value, own in zip(row, written, strict=False)):
                raise UserError(
                    f"{path}: line {line}: a formula has no value; open the workbook in Excel, save it, and try again."
                )
            cells = [_cell(value) for value in row]
            while cells and not cells[-1]:
                cells.pop()
            yield line, cells
    except UserError:
        raise
    except Exception as error:  # damaged workbooks raise all kinds of exceptions
        raise UserError(f"{path}: this Excel workbook cannot be read ({error}); save it as CSV UTF-8.") from None


def _first_sheet(book: Any, path: Path) -> Iterator[tuple[object, ...]]:
    """Rows of the first visible sheet; a sheet with far too many cells is refused."""
    sheet = next(s for s in book.worksheets if s.sheet_state == "visible")
    cells = 0
    for row in sheet.iter_rows(values_only=True):
        cells += max(1, len(row))
        if cells > _MOST_CELLS:
            raise UserError(
                f"{path}: the sheet has more than {_MOST_CELLS:,} cells; delete cells that are far from the table."
            )
        yield row


def _cell(value: object) -> str:
    """The text of a cell as Excel shows it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)
