"""Marks on real pictures: what counts as found, and how annotations become marks."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import tifffile
from follicles import make_follicle
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LineString, Point, Polygon, box, mapping

from follicle_stager.annotations import write_geojson
from follicle_stager.errors import UserError
from follicle_stager.evaluation.marks import (
    Mark,
    MarkedPicture,
    marks_from_annotations,
    picture_of,
    read_marked,
    score_marks,
    unchanged,
    write_marked,
)
from follicle_stager.stages import LADDER, Stage

TOOLS = Path(__file__).parents[2] / "tools"
SECONDARY = Mark(x=100, y=100, d=40, stage=Stage.SECONDARY)


def claim(x, y, d, stage=Stage.SECONDARY):
    return make_follicle(f"{x} {y} {d}", "s1", Point(x, y).buffer(d / 2), stage=stage)


def score(claims, visible=LADDER, **marks):
    return score_marks(claims, MarkedPicture(**{"must_find": ()} | marks), visible=visible)


@pytest.mark.parametrize(("width", "found"), [(15, 0), (17, 1), (40, 1), (99, 1), (102, 0)])
def test_a_mark_is_found_by_an_outline_of_similar_width_around_its_centre(width, found):
    assert score([claim(104, 100, width)], must_find=[SECONDARY]).found == found
    assert score([claim(160, 100, width)], must_find=[SECONDARY]).found == 0


def test_a_claim_answers_one_mark_and_the_nearest_is_taken():
    beside = Mark(x=118, y=100, d=40, stage=Stage.PRIMARY)
    one, two = claim(101, 100, 50), claim(112, 100, 50)
    result = score([two, one], must_find=[SECONDARY, beside])
    assert [answer for _, answer in result.answers] == [one, two]
    assert score([one], must_find=[SECONDARY, beside]).found == 1
    assert score([one], must_find=[SECONDARY, beside]).extra == ()


@pytest.mark.parametrize(
    ("marked", "claimed", "right"),
    [
        (Stage.SECONDARY, Stage.SECONDARY, True),
        (Stage.SECONDARY, Stage.PRIMARY, False),
        (Stage.SECONDARY, Stage.UNSURE, False),
        (Stage.PRIMORDIAL, Stage.TRANSITIONAL, True),
        (Stage.ANTRAL, Stage.EARLY_ANTRAL, True),
        (Stage.EARLY_ANTRAL, Stage.PREOVULATORY, False),
        (Stage.EARLY_ANTRAL, Stage.SECONDARY, False),
    ],
)
def test_the_right_stage(marked, claimed, right):
    result = score([claim(100, 100, 40, claimed)], must_find=[SECONDARY.model_copy(update={"stage": marked})])
    assert (result.found, result.right) == (1, right)


def test_claims_on_unsure_marks_and_in_ignored_areas_are_not_extra():
    claims = [claim(100, 100, 40), claim(300, 300, 40), claim(500, 500, 40)]
    assert len(score(claims, must_find=[SECONDARY]).extra) == 2
    unsure = Mark(x=310, y=300, d=40, stage=Stage.UNSURE)
    result = score(claims, must_find=[SECONDARY], may_find=[unsure], ignore_boxes=[(480, 480, 520, 520)])
    assert result.extra == ()
    assert len(result.answers) == 1


def test_a_corpus_luteum_excuses_only_claims_of_corpora_lutea():
    body = Mark(x=100, y=100, d=300, stage=Stage.CORPUS_LUTEUM)
    claims = [claim(100, 100, 300, Stage.CORPUS_LUTEUM), claim(120, 100, 40, Stage.PRIMARY)]
    assert score(claims, corpora_lutea=[body]).extra == (claims[1],)


def test_a_corpus_luteum_is_no_answer():
    claims = [claim(100, 100, 40, Stage.CORPUS_LUTEUM), claim(104, 100, 40)]
    assert score(claims, must_find=[SECONDARY]).right == 1
    assert score(claims[:1], must_find=[SECONDARY]).found == 0


def test_stages_that_cannot_be_seen_are_not_required():
    resting = Mark(x=100, y=100, d=12, stage=Stage.PRIMORDIAL)
    growing = [s for s in LADDER if not s.resting]
    assert score([], visible=growing, must_find=[resting]).answers == ()
    assert score([claim(100, 100, 12)], visible=growing, must_find=[resting]).extra == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(LADDER)), unique_by=lambda m: m[:2]))
def test_marks_that_are_claimed_as_they_are_give_a_perfect_score(places):
    marks = [Mark(x=100 * x, y=100 * y, d=40, stage=stage) for x, y, stage in places]
    result = score([claim(m.x, m.y, m.d, m.stage) for m in marks], must_find=marks)
    assert (result.found, result.right, result.extra) == (len(marks), len(marks), ())


def test_follicles_that_another_search_finds_again():
    first = [claim(100, 100, 40), claim(200, 100, 40), claim(300, 100, 40), claim(400, 100, 12, Stage.PRIMORDIAL)]
    second = [claim(102, 100, 40), claim(200, 100, 40, Stage.PRIMARY), claim(330, 100, 40)]
    assert unchanged(first, second, visible=(Stage.PRIMARY, Stage.SECONDARY)) == (1, 3)
    assert unchanged(first, first, visible=LADDER) == (4, 4)


class TestScale:
    def test_a_mouse_is_read_as_it_is(self):
        assert MarkedPicture(must_find=[SECONDARY], species="mouse", mpp=0.7).mpp_to_read == 0.7

    def test_other_species_are_read_as_if_they_had_the_size_of_a_mouse(self):
        """A secondary follicle is 130 µm wide, a primary one 50 µm; the median of 3.25, 2.5 and 1 µm/px is 2.5."""
        marks = [SECONDARY, Mark(x=0, y=0, d=20, stage=Stage.PRIMARY), Mark(x=9, y=0, d=50, stage=Stage.PRIMARY)]
        assert MarkedPicture(must_find=marks[:2], may_find=marks[2:], mpp=0.7).mpp_to_read == 2.5
        assert MarkedPicture(must_find=[Mark(x=0, y=0, stage=Stage.PRIMARY)]).mpp_to_read is None


def feature(geometry, label):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": {"classification": {"name": label}}}


class TestAnnotations:
    def test_each_class_has_its_place(self, tmp_path):
        path = tmp_path / "field.geojson"
        features = [
            feature(Point(100, 80).buffer(30, quad_segs=64), "Secondary"),
            feature(Point(200, 90), "Primordial follicle"),
            feature(Point(300, 80).buffer(30), "Antral: unsure"),
            feature(Point(400, 80).buffer(30), "Unsure"),
            feature(Point(500, 80).buffer(90), "Corpus luteum"),
            feature(box(0, 0, 50, 20), "Ignore*"),
            feature(Point(600, 80).buffer(9), "Vessel"),
            feature(Point(700, 80).buffer(30), ""),
            feature(LineString([(0, 0), (9, 9)]), "Primary"),
            feature(Point(800, 80).buffer(100), "EarlyAntral"),
        ]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        picture, left_out = marks_from_annotations(path)
        assert [(m.x, m.y, m.d, m.stage) for m in picture.must_find] == [
            (100, 80, pytest.approx(60, abs=0.1), Stage.SECONDARY),
            (200, 90, None, Stage.PRIMORDIAL),
            (800, 80, pytest.approx(200, abs=1), Stage.EARLY_ANTRAL),
        ]
        assert [m.stage for m in picture.may_find] == [Stage.ANTRAL, Stage.UNSURE]
        assert [m.stage for m in picture.corpora_lutea] == [Stage.CORPUS_LUTEUM]
        assert picture.ignore_boxes == ((0, 0, 50, 20),)
        assert left_out == {"class Vessel": 1, "without a class": 1, "lines": 1}

    def test_what_was_written_is_read(self, tmp_path):
        picture = MarkedPicture(must_find=[SECONDARY], ignore_boxes=[(1, 2, 3, 4)], mpp=0.5, licence="CC0 1.0")
        write_marked(tmp_path / "a.truth.json", picture)
        assert read_marked(tmp_path / "a.truth.json") == picture

    def test_a_file_without_marks_is_refused(self, tmp_path):
        path = tmp_path / "field.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature(Point(1, 1), "Vessel")]}))
        with pytest.raises(UserError, match=r"field\.geojson: no mark in it"):
            marks_from_annotations(path)

    @pytest.mark.parametrize("geometry", [Polygon(), Point(float("nan"), 1)])
    def test_an_outline_that_is_nowhere_is_named(self, tmp_path, geometry):
        path = tmp_path / "field.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature(geometry, "Primary")]}))
        with pytest.raises(UserError, match=r"feature 1 cannot be read"):
            marks_from_annotations(path)

    def test_marks_that_must_be_found_cannot_be_misspelt(self, tmp_path):
        path = tmp_path / "a.truth.json"
        path.write_text('{"must_fnd": []}')
        with pytest.raises(UserError, match="must_find: this is missing"):
            read_marked(path)

    def test_a_broken_file_of_marks_names_the_value(self, tmp_path):
        path = tmp_path / "a.truth.json"
        path.write_text('{"must_find": [{"x": 1, "y": 2, "d": -3, "stage": "secondary"}]}')
        with pytest.raises(UserError, match=r"a\.truth\.json: .*must_find\.0\.d"):
            read_marked(path)

    def test_marks_without_a_picture(self, tmp_path):
        with pytest.raises(UserError, match=r"there is no picture a beside it"):
            picture_of(tmp_path / "a.truth.json")


def run_tool(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    monkeypatch.syspath_prepend(str(TOOLS))
    runpy.run_path(str(TOOLS / name), run_name="__main__")


class TestTools:
    """From the annotations of a picture to the page, on a virtual section instead of a real one."""

    @pytest.fixture
    def annotated(self, section, tmp_path):
        follicles, picture = section
        tifffile.imwrite(tmp_path / "field.tif", picture, photometric="rgb")
        write_geojson(tmp_path / "field.geojson", [f for f in follicles if f.recognisable])
        return tmp_path

    def arguments(self, folder, picture="field.tif"):
        origin = ["--licence", "CC0 1.0", "--creator", "A", "--source", "doi", "--marked-by", "B"]
        return [folder / picture, folder / "field.geojson", "--mpp", "1", *origin]

    def test_from_annotations_to_the_page(self, section, annotated, monkeypatch):
        run_tool(monkeypatch, "import_marks.py", *self.arguments(annotated))
        marks = read_marked(annotated / "field.truth.json")
        growing = [f for f in section[0] if f.recognisable and not f.stage.resting]
        assert (marks.mpp, marks.species, marks.licence) == (1, "mouse", "CC0 1.0")
        page = annotated / "page.md"
        run_tool(monkeypatch, "make_real.py", "--marked", annotated, "--textures", annotated, "--page", page)
        summary = next(line for line in page.read_text().splitlines() if line.startswith("| mouse (1) |"))
        _, _, n, found, right, extra, _ = (cell.strip() for cell in summary.split("|"))
        assert int(n) == len(growing)
        assert int(found.split()[0]) >= 0.8 * len(growing)
        assert int(right.split()[0]) >= 0.6 * len(growing)
        assert int(extra) <= 3

    def test_a_picture_without_follicles(self, annotated, monkeypatch):
        picture, _, *origin = self.arguments(annotated)
        run_tool(monkeypatch, "import_marks.py", picture, *origin)
        assert read_marked(annotated / "field.truth.json").must_find == ()
        page = annotated / "page.md"
        run_tool(monkeypatch, "make_real.py", "--marked", annotated, "--textures", annotated, "--page", page)
        summary = next(line for line in page.read_text().splitlines() if line.startswith("| mouse (1) |"))
        assert int(summary.split("|")[5]) > 0, "all claims are extra"

    def test_annotations_of_another_picture_are_refused(self, section, annotated, monkeypatch, capsys):
        tifffile.imwrite(annotated / "other.tif", section[1][:100, :100], photometric="rgb")
        with pytest.raises(SystemExit) as stopped:
            run_tool(monkeypatch, "import_marks.py", *self.arguments(annotated, "other.tif"))
        assert stopped.value.code == 2
        assert "are outside the picture (100 x 100 px)" in capsys.readouterr().err

    def test_without_pictures_the_command_says_so(self, tmp_path, monkeypatch, capsys):
        with pytest.raises(SystemExit) as stopped:
            run_tool(monkeypatch, "make_real.py", "--marked", tmp_path, "--textures", tmp_path)
        assert stopped.value.code == 2
        assert "not part of the project" in capsys.readouterr().err
