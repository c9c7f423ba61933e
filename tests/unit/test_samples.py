"""Every mistake in a sample sheet is named with file, line, column, value and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from follicle_stager.errors import SampleSheetError, StudyError
from follicle_stager.study import SlideSource, list_slides, read_samples

HEADER = "slide,animal,genotype,group,model,ovary,section,interval,thickness_um"
SLIDES = [SlideSource("a", Path("a.ome.tif")), SlideSource("b", Path("b.png"))]
GOOD_A, GOOD_B = "a.ome.tif,m1,Igfals +/+,control,Igfals,L,,10,5", "b,m2,Igfals -/-,KNOCKOUT,Igfals,R,,10,5"


def read(tmp_path, *lines, encoding="utf-8"):
    path = tmp_path / "samples.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return read_samples(path, SLIDES)


def test_a_good_sheet(tmp_path):
    a, b = read(tmp_path, HEADER, GOOD_A, "", GOOD_B)
    assert (a.slide, a.animal, a.interval, a.thickness_um, a.sheet_line) == ("a", "m1", 10, 5.0, 2)
    assert (b.slide, b.group, b.ovary) == ("b", "knockout", "R")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_countries(tmp_path, delimiter):
    lines = [HEADER, GOOD_A.replace(",5", ",5.5"), GOOD_B]
    lines = [line.replace(",", delimiter).replace("5.5", "5,5") for line in lines]
    a, _ = read(tmp_path, *lines, encoding="utf-8-sig")
    assert a.thickness_um == 5.5


def test_only_four_columns_are_needed(tmp_path):
    a, _ = read(tmp_path, "slide,animal,genotype,group,note", "a,m1,wt,control,x", "b,m2,ko,knockout,y")
    assert (a.interval, a.thickness_um, a.section) == (None, None, "")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["slide,animal,group", "a,m1,control"], r"samples\.csv: line 1: missing column: genotype"),
        ([""], "missing column: slide, animal, genotype, group"),
        ([HEADER], "no rows"),
        ([HEADER, GOOD_A, GOOD_B, "c.tif,m3,x,control,,,,,"], r"line 4, column slide: there is no slide 'c\.tif'"),
        ([HEADER, GOOD_A], r"slide b\.png has no row"),
        ([HEADER, GOOD_A, GOOD_B, GOOD_A], "line 4, column section: .* already in line 2"),
        ([HEADER, GOOD_A, GOOD_B.replace(",5", ",-5")], "line 3, column thickness_um: '-5' is not valid; write the"),
        ([HEADER, GOOD_A, GOOD_B.replace("10", "0")], "line 3, column interval: '0'"),
        ([HEADER, GOOD_A, GOOD_B.replace("10", "ten")], "line 3, column interval: 'ten'"),
        ([HEADER, GOOD_A, GOOD_B.replace("KNOCKOUT", "Knokout")], "column group: 'Knokout' is not valid; write"),
        ([HEADER, GOOD_A, GOOD_B.replace(",R,", ",left,")], "column ovary: 'left'"),
        ([HEADER, GOOD_A, GOOD_B.replace("m2", "")], "line 3, column animal: '' is not valid; fill it in"),
        ([HEADER + ",mpp", GOOD_A + ",352.8", GOOD_B + ",1"], "column mpp: '352.8'"),
        ([HEADER, GOOD_A, GOOD_B.replace("m2", "m1")], "line 3, column genotype: animal m1 is Igfals -/-"),
        (
            [HEADER, GOOD_A.replace(",,", ",3,"), GOOD_B.replace("m2", "m1").replace("R,,", "L,3,")],
            "line 3, column section: animal m1, ovary L has section '3' already in line 2",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, lines, message):
    with pytest.raises(SampleSheetError, match=message):
        read(tmp_path, *lines)


def test_a_mouse_line_is_a_column_like_any_other(tmp_path):
    a, _ = read(tmp_path, "line,slide,animal,genotype,group", "C57BL/6,a,m1,wt,control", "C57BL/6,b,m2,ko,knockout")
    assert a.sheet_line == 2


def test_one_slide_has_one_scale(tmp_path):
    header = "slide,animal,genotype,group,section,mpp"
    with pytest.raises(SampleSheetError, match=r"line 3, column mpp: slide a has 0\.5 here and 0\.25"):
        read(tmp_path, header, "a,m1,wt,control,1,0.25", "a,m1,wt,control,2,0.5", "b,m2,ko,knockout,1,1")


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(SampleSheetError) as error:
        read(tmp_path, HEADER, GOOD_A.replace("control", "?"), GOOD_B.replace(",5", ",0"))
    assert "line 2" in str(error.value)
    assert "line 3" in str(error.value)


def test_missing(tmp_path):
    with pytest.raises(SampleSheetError, match="no such file"):
        read_samples(tmp_path / "none.csv", SLIDES)


class TestListSlides:
    def test_folder(self, tmp_path):
        for name in ("b.png", "a.ome.tif", "notes.txt", ".hidden.tif", "c.jpg", "c.PNG"):
            (tmp_path / name).touch()
        (tmp_path / "d.ome.zarr").mkdir()
        assert [s.slide_id for s in list_slides(tmp_path)] == ["a", "b", "c_PNG", "c_jpg", "d"]

    def test_empty_folder(self, tmp_path):
        with pytest.raises(StudyError, match="no slide in this folder"):
            list_slides(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(StudyError, match="no such file or folder"):
            list_slides(tmp_path / "x")
