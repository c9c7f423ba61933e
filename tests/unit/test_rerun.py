"""A slide is searched again: whatever a person did before is still there, crash or no crash."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from follicles import make_follicle
from shapely import box
from shapely.geometry import LineString, MultiPolygon, Point

from follicle_stager.annotations import read_geojson
from follicle_stager.config import Config
from follicle_stager.corrections import Kind
from follicle_stager.corrections.log import EditLog, read_edits
from follicle_stager.corrections.sections import judged_whole
from follicle_stager.corrections.standing import FOLLICLES
from follicle_stager.errors import UserError
from follicle_stager.measurements import Measurements
from follicle_stager.pixel_size import PixelSize
from follicle_stager.records import Assessment, Section, Shape, SlideResult, follicle_id
from follicle_stager.review.overlap import Overlaps
from follicle_stager.stages import LADDER, Countable, Health, Stage, Status
from follicle_stager.study import Study

SLIDE = "ovary"
SECTION = Section("ovary_s1", MultiPolygon([box(-500, -500, 2000, 2000)]), 1.0, 1)


def follicle(x, y=100.0, radius=20.0, **given):
    outline = Point(x, y).buffer(radius)
    values = {"stage": Stage.SECONDARY, "stage_predicted": Stage.SECONDARY, "measurements": {"diameter_um": 2 * radius}}
    return make_follicle(follicle_id(SECTION.section_id, outline), SECTION.section_id, outline, **(values | given))


ROW = [follicle(100 * i) for i in range(1, 7)]


@pytest.fixture
def study(tmp_path):
    made = Study.create(tmp_path / "study", Config())
    save(made, "A", ROW)
    return made


def save(study, run_id, follicles, section=SECTION):
    result = SlideResult(SLIDE, PixelSize(1.0, 1.0, "test"), (section,), tuple(follicles), LADDER)
    (study.path / "ovary.tif").touch()
    return study.save(result, replace(study.request(study.path / "ovary.tif", Config()), run_id=run_id))


def opened(study):
    return study.review(SLIDE, author="Ada", measure=measured)


def measured(outline):
    return follicle(0).reshaped(Shape(outline), Assessment(Stage.SECONDARY, measurements=Measurements(outline.area)))


def correct(study):
    """One of each; what is expected to stand, by place."""
    with opened(study) as session:
        one, two, three, four, *_ = [f.id for f in session.follicles]
        session.set_stage([one], Stage.ANTRAL)
        session.delete([two])
        session.reshape(three, Point(300, 100).buffer(26))
        session.set_health([four], Health.ATRETIC)
        session.add(follicle(50, 400, stage=Stage.PRIMARY))
    return seen(study)


def seen(study):
    """Follicles by place: what a person said of each."""
    return {
        (round(f.outline.centroid.x, -1), round(f.outline.centroid.y, -1)): (
            f.stage,
            f.health,
            f.status,
            f.judgement.edited_by,
            round(f.outline.area, -2),
        )
        for f in study.follicles(SLIDE)
    }


def test_corrections_stand_in_a_run_that_finds_the_same_a_little_otherwise(study):
    before = correct(study)
    assert save(study, "B", [follicle(100 * i + 2, radius=20.4) for i in range(1, 7)]) == (
        "corrected before, not found again, and kept: Primary at x = 50, y = 400",
    )
    assert seen(study) == before
    by_place = {round(f.outline.centroid.x): f for f in study.follicles(SLIDE)}
    assert by_place[102].measurements.diameter_um == pytest.approx(40.8), "measured by the new run"
    assert by_place[300].measurements.diameter_um == pytest.approx(Point(0, 0).buffer(26).area), (
        "goes with the outline that a person drew"
    )
    assert {f.section_id for f in study.follicles(SLIDE)} == {SECTION.section_id}
    assert {f.id: f for f in read_geojson(study.slide_folder(SLIDE) / FOLLICLES)}.keys() == {
        f.id for f in study.follicles(SLIDE)
    }


def test_a_higher_threshold_and_back_again(study):
    """What the run in between did not find comes back with what was said of it, rejections included."""
    before = correct(study)
    assert len(save(study, "B", ROW[4:])) == 4, "three orphans that count, and the one that was added"
    assert save(study, "A", ROW) == ("corrected before, not found again, and kept: Primary at x = 50, y = 400",)
    assert seen(study) == before


def test_nothing_is_logged_where_nobody_corrected(study):
    save(study, "B", ROW[1:])
    assert not (study.slide_folder(SLIDE) / "edits.jsonl").exists()
    assert len(study.follicles(SLIDE)) == 5


def test_what_was_split_stays_split_and_what_was_merged_merged(study):
    with opened(study) as session:
        first, second = (f.id for f in session.follicles[:2])
        session.split(first, LineString([(95, 0), (95, 200)]))
        session.reshape(second, box(175, 80, 290, 120))
        session.merge([second, session.follicles[2].id])
    before = seen(study)
    save(study, "B", ROW)
    assert seen(study) == before


def test_a_neighbour_that_nobody_touched_is_no_partner(study):
    """The drawn outline covers the next follicle, which the software finds in both runs."""
    with opened(study) as session:
        session.reshape(session.follicles[0].id, Point(200, 100).buffer(22))
    save(study, "B", ROW[1:])
    found = study.follicles(SLIDE)
    assert len(found) == 6
    assert found[0].status == Status.PREDICTED


def test_what_another_program_changed_before_the_run_is_carried_over_and_logged(study):
    path = study.slide_folder(SLIDE) / FOLLICLES
    path.write_text(path.read_text().replace('"name": "Secondary"', '"name": "Antral"', 1))
    assert [f.stage for f in study.follicles(SLIDE)][:2] == [Stage.ANTRAL, Stage.SECONDARY]
    save(study, "B", [follicle(100 * i + 1) for i in range(1, 7)])
    assert [f.stage for f in study.follicles(SLIDE)][:2] == [Stage.ANTRAL, Stage.SECONDARY]
    assert [e.kind for e in read_edits(path.parent)] == [Kind.IMPORT, Kind.REATTACH, Kind.SAVED]


def test_sections_of_another_order(study):
    """What was not found again lies on the section where it is, whatever that is called now."""
    correct(study)
    save(study, "B", ROW, replace(SECTION, section_id="ovary_s2"))
    assert {f.section_id for f in study.follicles(SLIDE) if f.status == Status.ADDED} == {"ovary_s2"}


def test_a_slide_that_is_open_for_correction_is_not_run_over(study):
    with opened(study) as session:
        session.set_stage([session.follicles[0].id], Stage.ANTRAL)
        with pytest.raises(UserError, match="open for correction"):
            save(study, "B", ROW[:2])
    assert len(study.follicles(SLIDE)) == 6
    assert study.run(SLIDE).run_id == "A"


def test_a_file_of_which_nobody_knows_the_run_is_kept_aside(tmp_path):
    study = Study.create(tmp_path / "study", Config())
    path = study.slide_folder(SLIDE) / FOLLICLES
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    told = save(study, "A", ROW)
    assert "follicles.edited_1.geojson" in told[0]
    assert (path.parent / "follicles.edited_1.geojson").exists()


class Crash(BaseException):
    pass


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_crash_at_any_write_loses_nothing(study, monkeypatch, elsewhere):
    """Every rename, removal and line of the log is tried in turn; then the command is given again."""
    correct(study)
    path = study.slide_folder(SLIDE) / FOLLICLES
    if elsewhere:
        path.write_text(
            path.read_text()
            .replace('"stage": "secondary"', '"stage": "primary"')
            .replace('"name": "Secondary"', '"name": "Primary"')
        )
    before, left = seen(study), [0]

    def dying(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return real(*args, **kwargs)

        return call

    new, crashes = [follicle(100 * i + 1) for i in range(1, 7)], 0
    while True:
        left[0] = crashes
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying(Path.replace))
            patch.setattr(EditLog, "append", dying(EditLog.append))
            patch.setattr(Path, "unlink", dying(Path.unlink))
            try:
                save(study, "B", new)
                break
            except Crash:
                crashes += 1
        assert seen(study) == before
    assert crashes > 5
    assert seen(study) == before
    assert study.run(SLIDE).run_id == "B"
    assert not list(path.parent.glob("follicles.edited*"))


class TestCorporaLutea:
    """They are no follicles: nothing that is done to one makes a follicle of it, or the reverse."""

    BODY = follicle(
        100, radius=45, stage=Stage.CORPUS_LUTEUM, stage_predicted=Stage.CORPUS_LUTEUM, countable=Countable.NO
    )

    def test_whatever_its_outline_it_stays_one(self, study):
        save(study, "B", [self.BODY])
        with opened(study) as session:
            one = session.follicles[0].id
            session.reshape(one, Point(100, 100).buffer(60))
            assert session[one].is_corpus_luteum
            assert session[one].measurements.diameter_um == pytest.approx(Point(0, 0).buffer(60).area)
            session.split(one, LineString([(100, 0), (100, 200)]))
            assert [(f.stage, f.countable) for f in session.follicles] == [(Stage.CORPUS_LUTEUM, Countable.NO)] * 2
            session.merge([f.id for f in session.follicles])
            assert [f.is_corpus_luteum for f in session.follicles] == [True, False]
            session.add(follicle(140))
            with pytest.raises(UserError, match="cannot be merged"):
                session.merge([one, session.follicles[-1].id])

    def test_a_follicle_that_was_rejected_there_does_not_hide_it(self, study):
        save(study, "B", [follicle(100, radius=45)])
        with opened(study) as session:
            session.delete([session.follicles[0].id])
        save(study, "C", [self.BODY])
        assert [f.status for f in study.follicles(SLIDE) if f.is_corpus_luteum] == [Status.PREDICTED]

    def test_its_judgement_is_carried_over(self, study):
        save(study, "B", [self.BODY])
        with opened(study) as session:
            session.delete([session.follicles[0].id])
        save(study, "C", [replace(self.BODY, shape=Shape(Point(102, 100).buffer(45)))])
        assert not any(f.is_corpus_luteum for f in study.follicles(SLIDE))

    def test_a_section_that_was_judged_whole_stays_so(self, study):
        with opened(study) as session:
            session.judge_whole([SECTION.section_id])
        save(study, "B", [*ROW, self.BODY])
        follicles, sections = study.follicles(SLIDE), study.sections(SLIDE)
        assert any(f.is_corpus_luteum for f in follicles)
        assert judged_whole(follicles, sections)

    def test_it_is_not_counted_twice_with_a_follicle(self):
        overlaps = Overlaps()
        overlaps.update([], [self.BODY, follicle(105)])
        assert overlaps.by_id == {}
