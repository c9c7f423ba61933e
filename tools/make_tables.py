"""Write the columns of docs/tables.md from the schemas:  python tools/make_tables.py."""

from __future__ import annotations

from pathlib import Path

from follicle_stager.statistics.schemas import SCHEMAS
from follicle_stager.study.schemas import markdown

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"
BEGIN, END = "<!-- columns: tools/make_tables.py -->\n", "<!-- end of columns -->\n"
COMPARISON = "<!-- columns of the comparison: tools/make_tables.py -->\n"


def page(text: str) -> str:
    """The page with the columns as they are."""
    for begin, columns in ((BEGIN, markdown()), (COMPARISON, markdown(SCHEMAS))):
        head, rest = text.split(begin)
        text = head + begin + columns + END + rest.split(END, 1)[1]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
