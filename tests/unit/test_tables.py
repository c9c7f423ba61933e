"""Sheets as Excel and people save them: each value in its column, or an error with its line."""

from __future__ import annotations

import csv
import io
import os

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from follicle_stager.errors import SampleSheetError, UserError
from follicle_stager.study import SlideSource, list_slides, read_samples
from follicle_stager.tables import read_table

ROWS = [
    ["slide", "animal", "genotype", "group", "interval", "thickness_um"],
    ["a.tif", "Mäuschen 1", "+/+", "control", 10, 5.5],
    ["b.tif", "2", "-/-", "knockout", 10, 5],
]


def text(separator=",", rows=ROWS):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def save_xlsx(path, rows=ROWS):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", text().encode("utf-8-sig")),
        ("a.csv", text(";").replace("5.5", "5,5").encode("cp1252")),
        ("a.txt", text("\t").encode("utf-16")),
        ("a.csv", ("sep=;\r\n" + text(";")).encode()),
        ("a.csv", ("sep=|\n" + text("|")).encode()),
        ("a.csv", ("\r\n\r\n" + text()).encode()),
        ("a.csv", ("sep=;\r" + text(";").replace("\r\n", "\r")).encode()),
        ("a.csv", text(rows=[[*row, "", ""] for row in ROWS]).encode()),
        ("a.xlsx", None),
    ],
)
def test_each_way_to_save_gives_the_same_rows(tmp_path, name, content):
    path = tmp_path / name
    save_xlsx(path) if content is None else path.write_bytes(content)
    rows = [row for _, row in read_table(path).rows]
    rows = [row | {"thickness_um": row["thickness_um"].replace(",", ".")} for row in rows]
    assert [[row[c] for c in ROWS[0]] for row in rows] == [[str(v) for v in row] for row in ROWS[1:]]
    (tmp_path / "again.csv").write_text(read_table(path).text, encoding="utf-8")
    again = [row for _, row in read_table(tmp_path / "again.csv").rows]
    assert [row["animal"] for row in again] == ["Mäuschen 1", "2"], "as it is kept in the study"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("slide,animal\na,1\nb,2,3\n", "line 3: 3 cells for 2 columns"),
        ("interval,Interval\n1,2\n", "line 1: there are two columns 'interval'"),
        ("slide,genotype\na,K\x01O\n", "line 2, column genotype: .* has a control character"),
        ("a,b,a\n1,2,3\n", "line 1: there are two columns 'a'"),
        ('slide,animal\na,"1\nb,2\n', "line 2: .*quotation mark"),
        ('slide,animal\n"a"b,1\n', "line 2: .*quotation mark"),
        ('"slide,animal\n' + "a,1\n" * 50_000, "line 1: .*quotation mark"),
        ("sep=;\nslide;animal\na;1\nb;2;3\n", "line 4"),
    ],
)
def test_no_value_moves_into_another_column(tmp_path, content, reason):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=rf"a\.csv: {reason}"):
        read_table(tmp_path / "a.csv")


def test_a_surplus_cell_of_a_workbook(tmp_path):
    save_xlsx(tmp_path / "a.xlsx", [*ROWS, ["c.tif", 3, "+/+", "control", 10, 5, 9]])
    with pytest.raises(UserError, match="line 4: 7 cells for 6 columns"):
        read_table(tmp_path / "a.xlsx")


def test_the_sheet_that_is_seen(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["old"])
    book.active.sheet_state = "hidden"
    seen = book.create_sheet("seen")
    for row in ROWS:
        seen.append(row)
    book.active = 1
    book.save(tmp_path / "a.xlsx")
    assert read_table(tmp_path / "a.xlsx").columns == ROWS[0]


def test_a_formula_without_a_value(tmp_path):
    save_xlsx(tmp_path / "a.xlsx", [*ROWS, ["c.tif", 3, "+/+", "control", "=5+5", 5]])
    with pytest.raises(UserError, match="line 4: a formula has no value"):
        read_table(tmp_path / "a.xlsx")


def test_one_cell_in_the_last_corner(tmp_path):
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    book.active["XFD1048576"] = "x"
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(UserError, match=r"a\.xlsx"):
        read_table(tmp_path / "a.xlsx")


@pytest.mark.parametrize("content", [b"PK\x03\x04abc", b"", b"a,b\n1,2\n"])
def test_what_only_is_called_excel(tmp_path, content):
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(UserError, match="Excel workbook cannot be read"):
        read_table(tmp_path / "a.xlsx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_sheet(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(SampleSheetError, match="not a regular file"):
        read_samples(tmp_path / "a.csv", [])


CELL = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELL.filter(bool), CELL, CELL), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_any_text_comes_back(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_text(text(separator, [["one", "two", "three"], *rows]), encoding="utf-8", newline="")
    assert [tuple(row.values()) for _, row in read_table(path).rows] == rows


class TestNames:
    @staticmethod
    def sheet(tmp_path, *names):
        rows = [["slide", "animal", "genotype", "group"], *([n, f"m{i}", "g", "control"] for i, n in enumerate(names))]
        (tmp_path / "s.csv").write_text(text(rows=rows), encoding="utf-8", newline="")
        return tmp_path / "s.csv"

    @pytest.mark.parametrize(
        "written",
        ["Maus_ä1.tif", "Maus_a\u03081.tif", "maus_ä1.TIF", "Maus_ä1", "D:\\scans\\Maus_ä1.tif", "in/Maus_ä1.tif"],
    )
    @pytest.mark.parametrize("on_disk", ["Maus_ä1.tif", "Maus_a\u03081.tif"])
    def test_what_looks_alike_is_meant(self, tmp_path, written, on_disk):
        source = SlideSource("s1", tmp_path / on_disk)
        (sample,) = read_samples(self.sheet(tmp_path, written), [source])
        assert sample.slide == "s1"

    def test_the_exact_name_comes_first(self, tmp_path):
        sources = [SlideSource("a_tif", tmp_path / "a.tif"), SlideSource("a_png", tmp_path / "a.png")]
        samples = read_samples(self.sheet(tmp_path, "a.png", "a.tif"), sources)
        assert [s.slide for s in samples] == ["a_png", "a_tif"]
        with pytest.raises(SampleSheetError, match="'a' may be a.tif or a.png; write which one"):
            read_samples(self.sheet(tmp_path, "a"), sources)

    def test_files_of_one_stem_never_share_a_name(self, tmp_path):
        names = ("a.tif", "A.png", "a_tif.jpg", "a.ome.tif", "a.tiff", "b.tif")
        for name in names:
            (tmp_path / name).write_bytes(b"")
        sources = list_slides(tmp_path)
        assert len({s.slide_id.lower() for s in sources}) == len(names)
        assert next(s for s in sources if s.path.name == "b.tif").slide_id == "b"
        samples = read_samples(self.sheet(tmp_path, *names), sources)
        by_id = {s.slide_id: s.path.name for s in sources}
        assert [by_id[s.slide] for s in samples] == list(names)

    @pytest.mark.skipif(os.name != "posix", reason="names are bytes on Linux alone")
    def test_a_name_that_is_not_utf8(self, tmp_path):
        try:
            (tmp_path / os.fsdecode(b"a\xff.tif")).write_bytes(b"")
        except OSError:
            pytest.skip("this file system takes no such name")
        (source,) = list_slides(tmp_path)
        assert source.slide_id == "aÿ"
        assert read_samples(self.sheet(tmp_path, "aÿ.tif"), [source])[0].slide == "aÿ"


def test_many_bad_rows_are_said_in_a_few_lines(tmp_path):
    rows = [["slide", "animal", "genotype", "group"], *([["a.tif", "m", "g", "control"]] * 20_000)]
    (tmp_path / "s.csv").write_text(text(rows=rows))
    with pytest.raises(SampleSheetError) as error:
        read_samples(tmp_path / "s.csv", [SlideSource("a", tmp_path / "a.tif")])
    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("and 19,979 more like these")
