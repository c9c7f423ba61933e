"""What a person does at a screen, without one: the next follicle, a decision, counts that follow."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from follicles import changed
from shapely import affinity, box, unary_union
from shapely.geometry import LineString, Point
from studies import count_study

from follicle_stager import load_study
from follicle_stager.annotations import read_geojson
from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.corrections import Edit, Kind, merge_edits
from follicle_stager.errors import Stopped, UserError
from follicle_stager.review import Filter, Order, open_slides
from follicle_stager.review.desk import Desk
from follicle_stager.review.tour import Tour
from follicle_stager.stages import Countable, Health, Stage, Status
from follicle_stager.study import Study, Tally, list_slides


@pytest.fixture
def desk(staged, tmp_path):
    shutil.copytree(staged, tmp_path / "study")
    study = Study.open(tmp_path / "study")
    desk = Desk(study, author="Ada", tally=Tally(study))
    desk.open_next()
    yield desk
    desk.close()


def test_each_follicle_comes_once_and_then_none(desk):
    seen = []
    while desk.walk.current is not None:
        seen.append(desk.walk.current)
        desk.accept()
    assert sorted(seen) == sorted(f.id for f in desk.follicles)
    assert desk.numbers.progress.judged == desk.numbers.progress.total >= 3
    with pytest.raises(UserError, match="No follicle is selected"):
        desk.accept()
    desk.walk.go(-1)
    assert desk.walk.current is not None, "one can go back to what was judged"


@pytest.mark.parametrize("order", [Order.RANDOM, Order.UNCERTAINTY, Order.STAGE, Order.POSITION])
def test_a_tour_stops_once_at_each_follicle_of_the_study(desk, order):
    every = {(s, f.id) for s in desk.study.slide_ids() for f in desk.study.content(s).included}
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), order, Filter()))
    seen = []
    while desk.walk.current is not None:
        seen.append((desk.slide_id, desk.walk.current))
        desk.accept()
    assert len(seen) == len(set(seen))
    assert set(seen) == every
    assert len({slide_id for slide_id, _ in seen}) > 1
    changes = sum(a[0] != b[0] for a, b in pairwise(seen))
    assert changes == 1 if order == Order.POSITION else changes > 1
    assert desk.numbers.progress_of_study().judged == len(every)
    desk.close()
    for slide_id in desk.study.slide_ids():
        folder = desk.study.slide_folder(slide_id)
        assert all(f.status == Status.ACCEPTED for f in read_geojson(folder / "follicles.geojson"))
        with desk.study.review(slide_id, author="Bea"):
            pass  # nothing is still open


def test_a_random_tour_is_the_same_the_next_day(desk):
    def order():
        tour = Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter())
        return tour.ahead(1000)

    before = order()
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    desk.accept()
    desk.end_tour()
    assert order() == before[1:]


def test_on_a_tour_undo_goes_back_to_the_other_slide(desk):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    said = []
    while len({slide_id for slide_id, _ in said}) < 2:
        said.append((desk.slide_id, desk.walk.current))
        desk.set_stage(Stage.CORPUS_LUTEUM)
    on = desk.slide_id, desk.walk.current
    for slide_id, one in reversed(said):
        assert desk.undo().kind == Kind.SET_STAGE
        assert (desk.slide_id, desk.walk.current) == (slide_id, one)
        assert desk.session[one].status == Status.PREDICTED
    assert desk.redo() is not None
    assert desk.session[said[0][1]].stage is Stage.CORPUS_LUTEUM
    desk.go()
    for place in said[1:]:
        assert (desk.slide_id, desk.walk.current) == place
        desk.accept()
    assert (desk.slide_id, desk.walk.current) == on, "what was on the screen when undo was pressed is not lost"


def test_a_tour_returns_after_a_decision_beside_it(desk):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    at = desk.slide_id, desk.walk.current
    other = next(f.id for f in desk.follicles if f.id != at[1])
    desk.walk.go_to(other)
    desk.accept()
    assert (desk.slide_id, desk.walk.current) == at
    seen = set()
    while desk.walk.current is not None:
        seen.add(desk.walk.current)
        desk.accept()
    assert other not in seen
    desk.go(-1)
    assert desk.walk.current is not None, "one can go back to what was judged"


def test_a_tour_counts_all_slides_and_stops_at_what_is_added(desk):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    slide_id, one = desk.slide_id, desk.session[desk.walk.current]
    moved = affinity.translate(one.outline, 0, 1.5)
    desk.delete()
    desk.open(slide_id)
    desk.outlines.add(moved)
    drawn = desk.walk.current
    desk.go()
    assert desk.walk.current != drawn
    stops = set()
    while desk.walk.current is not None:
        stops.add(desk.walk.current)
        desk.set_stage(Stage.ANTRAL)
    assert drawn in stops
    counts = desk.numbers.counts()
    desk.close()
    written = count_study(desk.study)
    assert counts.animal.equals(written.animal)
    assert counts.follicles.equals(written.follicles)


def test_a_tour_passes_a_slide_that_somebody_else_has_open(desk):
    here = desk.slide_id
    (other,) = (s for s in desk.slide_ids() if s != here)
    with desk.study.review(other, author="Bea"):
        desk.begin_tour(Tour(desk.study, [here, other], Order.RANDOM, Filter()))
        said = []
        for _ in range(100):
            if here not in {slide_id for slide_id, _ in desk.tour.ahead(1000)}:
                break
            try:
                desk.accept() if desk.slide_id and desk.walk.current is not None else desk.go()
            except UserError as error:
                said.append(str(error))
        assert len(said) > 1
        assert all("open for correction" in message for message in said)
        assert all(f.status == Status.ACCEPTED for f in desk.follicles), "each decision was made"
    desk.go()
    assert desk.slide_id == other
    while desk.walk.current is not None:
        desk.accept()
    assert desk.numbers.progress_of_study().judged == desk.numbers.progress_of_study().total


def test_on_a_tour_a_damaged_slide_is_left_out(desk):
    (other,) = (s for s in desk.slide_ids() if s != desk.slide_id)
    for path in (desk.study.slide_folder(other) / "predictions").glob("*.geojson"):
        path.write_text("{")
    tour = Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter())
    assert len(tour.left_out) == 1
    assert {slide_id for slide_id, _ in tour.ahead(1000)} == {desk.slide_id}


def stops(desk):
    """All follicles at which the tour still stops."""
    seen = []
    while desk.walk.current is not None:
        seen.append((desk.slide_id, desk.walk.current))
        desk.accept()
    return seen


def test_what_the_gallery_undoes_comes_again(desk):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    (other,) = (s for s in desk.slide_ids() if s != desk.slide_id)
    ids = [f.id for f in desk.study.content(other).included]
    desk.decide_on(other, lambda session: session.accept(ids))
    desk.decide_on(other, lambda session: session.undo())
    assert {one for slide_id, one in stops(desk) if slide_id == other} == set(ids)


def test_what_is_counted_again_comes_again(desk):
    every = {(s, f.id) for s in desk.study.slide_ids() for f in desk.study.content(s).included}
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    here, sections = desk.slide_id, [s.section_id for s in desk.session.sections]
    desk.done(desk.session.set_included(sections, False, "torn"))
    desk.go()
    assert desk.slide_id != here
    desk.open(here)
    desk.done(desk.session.set_included(sections, True))
    desk.go()
    assert set(stops(desk)) == every


def test_undo_knows_the_last_decision_after_a_change_of_the_order(desk):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    last = desk.slide_id, desk.walk.current
    desk.accept()
    while desk.slide_id == last[0]:
        desk.walk.let_go()
        desk.tour.skip(desk.tour.at)
        desk.go()
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.UNCERTAINTY, Filter()))
    desk.undo()
    assert (desk.slide_id, desk.walk.current) == last
    assert desk.session[last[1]].status == Status.PREDICTED
    assert desk.redo() is not None
    assert desk.session[last[1]].status == Status.ACCEPTED


def test_going_back_ends_where_nothing_is_left(desk):
    only = Filter(stages=frozenset({Stage.PREOVULATORY}), countable=frozenset({Countable.UNKNOWN}))
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, only))
    one = desk.follicles[0]
    desk.outlines.add(affinity.scale(affinity.translate(one.outline, 0, 1.5), 0.6, 0.6))
    desk.undo()
    desk.go(-1)
    assert desk.walk.current is None


@pytest.mark.parametrize(("slides", "follicles"), [(0, 1000), (20, 1)])
def test_slides_that_were_used_longest_ago_are_released(desk, monkeypatch, slides, follicles):
    monkeypatch.setattr(open_slides, "_SLIDES", slides)
    monkeypatch.setattr(open_slides, "_KEPT", follicles)
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    while desk.walk.current is not None:
        desk.accept()
        assert len(desk._slides.among()) <= 1
    assert desk.numbers.progress_of_study().judged == desk.numbers.progress_of_study().total
    desk.close()


def test_a_slide_is_not_closed_while_the_thread_reads_it(desk, monkeypatch):
    desk.begin_tour(Tour(desk.study, desk.slide_ids(), Order.RANDOM, Filter()))
    slide, one, order = desk.here, desk.walk.current, []

    def slow(*region):
        order.append("begins")
        time.sleep(0.3)
        order.append("ends")

    monkeypatch.setattr(slide.image, "decode_ahead", slow)
    monkeypatch.setattr(slide.image, "_close", lambda: order.append("closed"))
    thread = threading.Thread(target=slide.look_ahead, args=(one,))
    thread.start()
    while not order:
        time.sleep(0.01)
    slide.release()
    thread.join()
    assert order[-1] == "closed"
    with pytest.raises(UserError, match="was closed"):
        slide.image  # noqa: B018
    slide.look_ahead(one)


def test_one_can_go_back_and_take_back(desk):
    first = desk.walk.current
    desk.set_stage(Stage.CORPUS_LUTEUM)
    assert desk.walk.current != first
    assert desk.undo()
    assert desk.walk.current == first
    assert desk.session[first].status == Status.PREDICTED
    assert desk.redo()
    assert desk.session[first].stage == Stage.CORPUS_LUTEUM
    assert not desk.redo()


def test_what_was_added_and_taken_back_is_looked_at_no_more(desk):
    x, y = desk.follicles[0].outline.centroid.coords[0]
    desk.outlines.add(Point(x, y).buffer(30))
    added = desk.walk.current
    assert desk.undo()
    assert desk.walk.current != added
    for _ in range(2 * len(desk.follicles)):
        desk.walk.go()
        desk.walk.go(-1)
        assert desk.walk.current != added
    assert desk.redo()
    assert desk.walk.current == added


def test_what_was_drawn_wants_a_stage_all_the_same(desk):
    while desk.walk.current is not None:
        desk.accept()
    x, y = desk.follicles[0].outline.centroid.coords[0]
    desk.outlines.add(Point(x, y).buffer(30))
    drawn = desk.walk.current
    desk.walk.go()
    assert desk.walk.current == drawn
    desk.accept()
    assert desk.walk.current is None


def test_many_are_decided_at_once_and_the_view_stays(desk):
    here, ids = desk.walk.current, tuple(f.id for f in desk.follicles[:3])
    desk.walk.selected = ids
    desk.set_stage(Stage.UNSURE)
    assert {desk.session[i].stage for i in ids} == {Stage.UNSURE}
    assert (desk.walk.current, desk.walk.selected) == (here, ids)


def test_order_and_filter(desk):
    wanted = max({f.stage for f in desk.follicles}, key=[f.stage for f in desk.follicles].count)
    desk.walk.sort(Order.POSITION, Filter(stages=frozenset({wanted})))
    assert desk.session[desk.walk.current].stage == wanted
    expected = sum(f.stage == wanted for f in desk.follicles)
    for _ in range(expected):
        assert desk.session[desk.walk.current].stage == wanted
        desk.accept()
    assert desk.walk.current is None


def test_health_and_countable_switch_back_and_forth(desk):
    one = desk.walk.current
    before = desk.session[one].countable
    for _ in range(2):
        desk.switch_health()
        desk.switch_countable()
    assert desk.session[one].health == Health.HEALTHY
    assert desk.session[one].countable == (before if before != Countable.UNKNOWN else Countable.NO)
    assert desk.walk.current == one


def test_counts_follow_and_are_those_of_the_command(desk):
    told = []
    desk.changed = lambda ids: told.append(set(ids))
    one = desk.walk.current
    desk.delete()
    desk.set_stage(Stage.ANTRAL)
    desk.open_next()
    desk.set_stage(Stage.PREOVULATORY)
    now = desk.numbers.counts()
    assert told[0] == {one}
    desk.close()
    written = count_study(desk.study)
    for name in ("follicles", "section", "animal", "genotype"):
        assert getattr(now, name).equals(getattr(written, name)), name
    assert written.section.query("stage == 'preovulatory'")["n_profiles"].sum() == 1
    assert desk.numbers.progress_of_study().judged == 3


def test_what_changed_since_the_prediction(desk):
    stage = desk.session[desk.walk.current].stage
    found = desk.numbers.since_prediction()[stage][0]
    desk.delete()
    assert desk.numbers.since_prediction()[stage] == (found, found - 1)


def test_a_click_brings_a_rejected_follicle_again(desk):
    one = max(desk.follicles, key=lambda f: f.score)
    desk.walk.go_to(one.id)
    desk.delete()
    at = one.outline.representative_point()
    desk.outlines.propose(at.x, at.y)
    added = desk.session[desk.walk.current]
    assert (added.status, added.stage) == (Status.ADDED, one.stage)
    assert added.outline.intersection(one.outline).area > 0.9 * one.outline.area
    desk.walk.let_go()
    with pytest.raises(UserError, match="lies on no section"):
        desk.outlines.propose(1.0, 1.0)


def test_an_outline_is_proposed_anywhere_on_tissue_and_follows_hints(desk):
    """A place without a follicle: what is proposed is only a start, and further points move it."""
    section = desk.session.sections[0].outline
    taken = unary_union([f.outline.buffer(15) for f in desk.follicles])
    at = section.buffer(-40).difference(taken).representative_point()
    before = len(desk.follicles)
    assert desk.outlines.propose(at.x, at.y)
    assert len(desk.follicles) == before + 1
    one = desk.walk.current
    first = desk.session[one].outline
    assert first.contains(at)
    right = first.bounds[2]
    inside = Point(right + 6, at.y)
    desk.outlines.hint(inside.x, inside.y)
    second = desk.session[one].outline
    assert second.contains(inside)
    outside = Point(at.x, (at.y + second.bounds[3]) / 2)
    desk.outlines.hint(outside.x, outside.y)
    third = desk.session[one].outline
    assert third.contains(inside), "earlier hints hold"
    assert not third.contains(outside)
    assert desk.walk.current == one
    for _ in range(3):
        desk.undo()
    assert len(desk.follicles) == before


def test_drawn_reshaped_split_and_merged_are_measured(desk):
    one = max(desk.follicles, key=lambda f: f.outline.area)
    desk.walk.go_to(one.id)
    desk.outlines.reshape(one.id, one.outline.buffer(-2))
    assert desk.session[one.id].measurements.diameter_um < one.measurements.diameter_um
    x, y = one.outline.centroid.coords[0]
    desk.outlines.split(LineString([(x + 3, y - 500), (x + 3, y + 500)]))
    other = desk.follicles[-1]
    assert other.reasons, "the new part was measured"
    desk.walk.selected = (one.id, other.id)
    desk.outlines.merge()
    assert desk.session[one.id].outline.area == pytest.approx(one.outline.buffer(-2).area, rel=0.05)
    assert desk.session[other.id].status == Status.REJECTED
    desk.outlines.add(Point(x, y).buffer(30))
    assert desk.session[desk.walk.current].measurements.diameter_um > 0
    with pytest.raises(UserError, match="lies on no section"):
        desk.outlines.add(box(0, 0, 4, 4))


def test_a_part_is_searched_again_and_nobody_has_judged_what_comes(desk):
    lost = max(desk.follicles, key=lambda f: f.score)
    there = len(desk.follicles)
    # As if the run had missed it: the log of a study without it.
    desk.session.adopt(Edit.make(Kind.IMPORT, [lost], [], author="test", run_id=desk.session.run_id, software="test"))
    desk.walk.sort()
    assert lost.id not in {f.id for f in desk.follicles}
    left, top, right, bottom = lost.outline.bounds
    steps = []
    find = desk.outlines.finder(box(left - 5, top - 5, right + 5, bottom + 5))
    found = find(lambda done, total: steps.append((done, total)))
    assert steps
    assert desk.outlines.take_in(found) == 1
    assert desk.outlines.take_in(found) == 0, "it is there"
    assert len(desk.follicles) == there
    new = desk.follicles[-1]
    assert new.status == Status.PREDICTED
    assert new.outline.equals(lost.outline)
    assert desk.undo()
    assert len(desk.follicles) == there - 1


def test_what_two_searches_found_alike_is_no_conflict(desk, tmp_path):
    """Both searched the same part; the other one's decisions on what both found are taken in."""
    other = shutil.copytree(desk.study.path, tmp_path / "other")
    found = [changed(f, id="", outline=f.outline.buffer(9)) for f in desk.follicles[:3]]
    desk.session.find(found[1:2])
    with Study(other).review(desk.slide_id, author="Grace") as theirs:
        edit = theirs.find(found)
        theirs.set_stage([edit.after[0].id], Stage.ANTRAL)
        theirs.set_stage([edit.after[2].id], Stage.PRIMARY)
    merged = merge_edits(desk.session, Study(other).slide_folder(desk.slide_id))
    assert merged.conflicts == ()
    assert [desk.session[f.id].stage for f in edit.after] == [Stage.ANTRAL, found[1].stage, Stage.PRIMARY]


def test_a_search_adds_nothing_twice(desk):
    one = desk.follicles[0]
    lost = changed(one, id="", outline=Point(one.outline.centroid).buffer(400).exterior.interpolate(0).buffer(20))
    assert desk.outlines.take_in([lost, changed(lost, outline=lost.outline.buffer(1)), one]) == 1


def test_what_is_outlined_already_is_looked_at_and_not_added(desk):
    before = desk.follicles
    for one in before:
        at = one.outline.representative_point()
        desk.walk.let_go()
        assert not desk.outlines.propose(at.x, at.y)
        assert desk.walk.current == one.id
    desk.walk.let_go()
    with pytest.raises(UserError, match="already has an outline"):
        desk.outlines.add(before[1].outline.buffer(0.2))
    assert desk.walk.current == before[1].id
    assert desk.follicles == before


@pytest.mark.parametrize("far", [0.0, 0.3])
def test_what_overlaps_comes_first_and_is_said_in_the_counts(desk, far):
    """One within another, or beside it; neighbours that only touch are left alone."""
    for one in desk.follicles:
        desk.walk.go_to(one.id)
        desk.accept()
    assert desk.walk.current is None
    one = max(desk.follicles, key=lambda f: f.outline.area)
    width = one.outline.bounds[2] - one.outline.bounds[0]
    inside = affinity.scale(one.outline, 0.5, 0.5)
    over = changed(one, id="", status=Status.PREDICTED, outline=affinity.translate(inside, far * width))
    desk.session.find([over])
    slide_id = desk.slide_id
    assert desk.open_next()
    desk.open(slide_id)
    assert desk.session[desk.walk.current].outline.equals_exact(over.outline, 0.01)
    assert desk.walk.overlapping == {one.id: [desk.walk.current], desk.walk.current: [one.id]}
    x, y = over.outline.centroid.coords[0]
    (note,) = (note for note in desk.numbers.counts().notes if "overlap" in note)
    assert note.startswith(f"{slide_id}: 1 pair of outlines overlap")
    assert f"({x:.0f}, {y:.0f})" in note
    assert count_study(desk.study).notes == desk.numbers.counts().notes, "the command says it too"
    desk.delete()
    assert not desk.walk.overlapping
    assert not any("overlap" in note for note in desk.numbers.counts().notes)
    desk.outlines.add(affinity.translate(one.outline, 0.9 * width))
    assert not desk.walk.overlapping, "neighbours that were outlined too generously"


def test_a_slide_that_cannot_be_saved_stays_open(desk, monkeypatch):
    first = desk.slide_id
    desk.set_stage(Stage.ANTRAL)
    before = desk.follicles

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["follicle_stager.corrections.standing"], "write_geojson", full)
        with pytest.raises(OSError, match="No space"):
            desk.open_next()
    assert (desk.slide_id, desk.follicles) == (first, before)
    desk.set_stage(Stage.PRIMARY)
    assert desk.open_next()
    desk.open(first)
    assert {f.stage for f in desk.follicles} >= {Stage.ANTRAL, Stage.PRIMARY}


def test_a_search_can_be_stopped(desk):
    def stop(done, total):
        raise Stopped

    with pytest.raises(Stopped):
        desk.outlines.finder(box(0, 0, 2000, 2000))(stop)


def test_a_line_cuts_the_follicle_that_it_crosses(desk):
    one, other = sorted(desk.follicles, key=lambda f: -f.outline.area)[:2]
    desk.walk.go_to(other.id)
    left, top, right, bottom = one.outline.bounds
    middle = (left + right) / 2
    desk.outlines.split(LineString([(middle, top - 3), (middle, bottom + 3)]))
    assert desk.walk.current == one.id
    assert desk.session[one.id].outline.area < one.outline.area
    with pytest.raises(UserError, match="crosses no follicle"):
        desk.outlines.split(LineString([(0, 0), (1, 1)]))


def test_a_crop_shows_the_follicle(desk):
    one = max(desk.follicles, key=lambda f: f.outline.area)
    crop = desk.crop(desk.session[one.id], 64)
    assert crop.shape == (64, 64, 3)
    assert crop[20:44, 20:44].mean() < 245, "tissue, no glass"


def test_the_queue_by_disagreement_needs_a_classifier(desk):
    with pytest.raises(UserError, match="follicle-stager learn"):
        desk.walk.sort(Order.DISAGREEMENT)
    assert desk.walk.order == Order.UNCERTAINTY


def test_a_slide_that_was_only_opened_is_searched_later_and_keeps_what_was_drawn(cohort, tmp_path):
    study, source = Study.create(tmp_path / "study", Config()), list_slides(cohort)[:1]
    (outcome,) = run_batch(study, source, Config(), find=False)
    assert (outcome.state, outcome.follicles) == ("done", 0)
    (section,) = study.sections(outcome.slide_id)[:1]
    assert "not searched" in section.doubt
    desk = Desk(study, author="Ada")
    desk.open(outcome.slide_id)
    x, y = section.outline.representative_point().coords[0]
    desk.outlines.add(Point(x, y).buffer(15))
    drawn = desk.follicles[0]
    desk.close()
    assert run_batch(study, source, Config(), find=False)[0].state == "kept"
    other = [replace(source[0], path=list_slides(cohort)[1].path)]
    (outcome,) = run_batch(study, other, Config(), find=False)
    assert (outcome.state, "already has a slide" in outcome.message) == ("failed", True), "another picture of this name"
    (outcome,) = run_batch(study, source, Config())
    assert outcome.state == "done"
    assert outcome.follicles > 0
    assert any(f.outline.equals(drawn.outline) for f in study.follicles(outcome.slide_id))
    assert not any("not searched" in s.doubt for s in study.sections(outcome.slide_id))


def test_a_slide_that_somebody_else_has_open_leaves_the_own_one_open(desk):
    mine, other = desk.slide_id, desk.study.slide_ids()[1]
    with (
        desk.study.review(other, author="Grace"),
        pytest.raises(UserError, match="another window or by another person"),
    ):
        desk.open_next()
    assert desk.slide_id == mine
    desk.accept()
    assert desk.open_next()
    assert not desk.open_next()
    assert desk.open_next(-1)
    assert desk.numbers.progress.judged == 1


def test_a_picture_that_was_moved_stops_drawing_and_nothing_else(staged, cohort, tmp_path):
    study = Study(tmp_path / "study")
    shutil.copytree(staged, study.path)
    slide_id = study.slide_ids()[0]
    path = study.slide_folder(slide_id) / "run.json"
    path.write_text(path.read_text().replace(".ome.tif", ".moved.ome.tif"))
    desk = Desk(study, author="Ada")
    desk.open(slide_id)
    with pytest.raises(UserError, match=r"moved\.ome\.tif"):
        desk.outlines.add(box(100, 100, 150, 150))
    desk.set_stage(Stage.ANTRAL)
    assert desk.numbers.progress.judged == 1
    assert desk.numbers.counts() is None
    desk.close()


def test_tables_are_loaded_as_they_stand(desk):
    desk.set_stage(Stage.PREOVULATORY)
    desk.close()
    tables = load_study(desk.study.path)
    assert tables.section.query("stage == 'preovulatory'")["n_profiles"].sum() == 1
    assert tables.animal["interval"].dtype == float, "whatever the sheet holds"
    # Another program wrote a score that cannot be.
    path = desk.study.slide_folder(desk.study.slide_ids()[0]) / "follicles.geojson"
    path.write_text(re.sub('"Score": [0-9.]+', '"Score": 2.0', path.read_text()).replace("Primary", "Secondary"))
    for predicted in path.parent.glob("predictions/*.geojson"):
        predicted.write_text(re.sub('"Score": [0-9.]+', '"Score": 2.0', predicted.read_text()))
    (path.parent / "edits.jsonl").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"feature 1 cannot be read \(Score is 2"):
        load_study(desk.study.path)


def test_counts_of_a_slide_are_those_that_it_was_left_with(desk):
    """Whatever was done to its sections last; a slide that cannot be counted is not counted as it was before."""
    desk.numbers.counts()
    first = desk.slide_id
    left_out = desk.tissue.sections[0].section_id
    desk.tissue.include([left_out], False, "pen")
    desk.open_next()
    assert left_out not in set(desk.numbers.counts().section["section"])
    desk.open(first)
    desk.tissue.assign([desk.tissue.sections[1].section_id], ("nobody", "L"))
    desk.open_next()
    with pytest.raises(UserError, match="was assigned to nobody L, but the sample sheet has no such row"):
        desk.numbers.counts()
    desk.open(first)
    desk.tissue.assign([desk.tissue.sections[1].section_id], None)
    assert first in set(desk.numbers.counts().section["slide"])
    with pytest.raises(UserError, match="no longer exists"):
        desk.tissue.merge(["gone", left_out])


def test_counts_of_the_section_in_view(desk):
    """Those of the table of sections, for each section."""
    table = desk.numbers.counts().section
    for one in [f.id for f in desk.follicles]:
        desk.walk.go_to(one)
        own = table[table["section"] == desk.session[one].section_id].set_index("stage")["n_profiles"].dropna()
        assert {stage: desk.numbers.in_section()[Stage(stage)] for stage in own.index} == own.to_dict()
    desk.walk.let_go()
    assert desk.numbers.in_section() == {}
