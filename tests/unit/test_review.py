"""The correction session: nothing that a person did is lost, and everything can be taken back."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest
from crashes import RUN, follicle, kill_at_random, slide_folder
from follicles import changed, make_follicle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import box
from shapely.geometry import LineString, Point, Polygon

from follicle_stager.annotations import read_geojson, read_sections
from follicle_stager.corrections import Kind, ReviewSession, merge_edits, standing
from follicle_stager.corrections.log import NAME, read_edits
from follicle_stager.corrections.standing import FOLLICLES, SECTIONS
from follicle_stager.errors import UserError
from follicle_stager.matching import overlapping
from follicle_stager.review import Filter, Order, Progress, ahead, progress, queue
from follicle_stager.review.overlap import Overlaps
from follicle_stager.stages import Countable, Health, Stage, Status


@pytest.fixture
def folder(tmp_path):
    return slide_folder(tmp_path, [follicle(100 * i) for i in range(1, 7)])


def opened(folder, author="Ada"):
    return ReviewSession(folder, RUN, author=author)


def ids_of(session):
    return [f.id for f in session.follicles]


class TestOverlaps:
    def test_outlines_that_overlap_are_found_once_and_neighbours_are_not(self):
        large, inside, beside, far = (
            Point(x, 0).buffer(radius) for x, radius in ((0, 100), (60, 10), (110, 20), (500, 9))
        )
        crossed = Polygon([(490, -9), (510, 9), (510, -9), (490, 9)])  # drawn across itself
        outlines = [large, inside, beside, far, crossed, large]
        assert overlapping(outlines) == [(0, 1), (0, 5), (1, 5), (3, 4)]
        assert overlapping(outlines, [5, 1]) == [(0, 1), (0, 5), (1, 5)]
        assert overlapping([]) == overlapping([large]) == []

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["move", "reject", "stage", "drop"])), max_size=25))
    def test_after_edits_they_are_those_of_what_stands(self, edits):
        stands = {f.id: f for f in (follicle(30 * i) for i in range(6))}
        kept = Overlaps()
        kept.update((), stands.values())
        for number, (place, what) in enumerate(edits):
            old = list(stands.values())[place]
            new = {
                "move": changed(old, outline=Point(17 * number % 180, 100).buffer(20)),
                "reject": changed(old, status=Status.REJECTED if number % 2 else Status.CORRECTED),
                "stage": changed(old, stage=Stage.NOT_FOLLICLE if number % 3 else Stage.ANTRAL),
                "drop": changed(old, id=f"{number}"),
            }[what]
            kept.update([old], [new])
            del stands[old.id]
            stands[new.id] = new
            afresh = Overlaps()
            afresh.update((), stands.values())
            assert {i: set(o) for i, o in kept.by_id.items()} == {i: set(o) for i, o in afresh.by_id.items()}

    def test_they_come_first_where_the_least_sure_do(self):
        sure, unsure = follicle(100, probabilities={Stage.SECONDARY: 1.0}), follicle(200, stage=Stage.UNSURE)
        assert queue([sure, unsure]) == [unsure.id, sure.id]
        assert queue([sure, unsure], overlapping={sure.id}) == [sure.id, unsure.id]


class TestCommands:
    def test_a_stage_is_corrected_or_accepted_and_the_prediction_stays(self, folder):
        with opened(folder) as session:
            first, second, *_ = ids_of(session)
            session.set_stage([first], Stage.ANTRAL)
            session.set_stage([second], Stage.SECONDARY)
            one = session[first]
            assert (one.stage, one.stage_predicted, one.status) == (Stage.ANTRAL, Stage.SECONDARY, Status.CORRECTED)
            assert one.judgement.edited_by == "Ada"
            assert session[second].status == Status.ACCEPTED
        assert {f.id: f.stage for f in read_geojson(folder / FOLLICLES)}[first] == Stage.ANTRAL

    def test_many_are_one_edit_and_one_undo(self, folder):
        with opened(folder) as session:
            session.set_stage(ids_of(session), Stage.PRIMARY)
            assert {f.stage for f in session.follicles} == {Stage.PRIMARY}
            session.undo()
            assert {f.stage for f in session.follicles} == {Stage.SECONDARY}

    def test_health_and_countable(self, folder):
        with opened(folder) as session:
            one = ids_of(session)[0]
            session.set_health([one], Health.ATRETIC)
            session.set_countable([one], Countable.YES)
            assert (session[one].health, session[one].countable) == (Health.ATRETIC, Countable.YES)

    def test_a_rejected_one_stays_in_the_file(self, folder):
        with opened(folder) as session:
            session.delete(ids_of(session)[:2])
        kept = read_geojson(folder / FOLLICLES)
        assert len(kept) == 6
        assert [f.status for f in kept[:3]] == [Status.REJECTED, Status.REJECTED, Status.PREDICTED]

    def test_an_added_one_stays_added_when_it_is_staged(self, folder):
        with opened(folder) as session:
            session.add(follicle(50, 300))
            session.set_stage([ids_of(session)[-1]], Stage.PRIMARY)
            assert session.follicles[-1].status == Status.ADDED
            assert session.follicles[-1].stage == Stage.PRIMARY

    def test_split_and_merge_are_each_others_inverse_in_area(self, folder):
        with opened(folder) as session:
            one = ids_of(session)[0]
            area = session[one].outline.area
            session.split(one, LineString([(108, 0), (108, 200)]))
            other = ids_of(session)[-1]
            assert session[one].outline.area + session[other].outline.area == pytest.approx(area, rel=1e-3)
            assert session[one].oocyte is not None, "the larger part has the oocyte"
            assert session[other].oocyte is None
            session.merge([other, one])
            assert session[one].outline.area == pytest.approx(area, rel=0.02)
            assert session[other].status == Status.REJECTED

    def test_the_same_place_can_be_drawn_twice(self, folder):
        with opened(folder) as session:
            one, line = ids_of(session)[0], LineString([(108, 0), (108, 200)])
            session.split(one, line)
            session.merge([one, ids_of(session)[-1]])
            session.split(one, line)
            session.add(follicle(50, 300))
            session.delete(ids_of(session)[-1:])
            session.add(follicle(50, 300))
            assert len(set(ids_of(session))) == 6 + 2 + 2

    def test_a_reshaped_one_stays_corrected_when_its_stage_is_confirmed(self, folder):
        with opened(folder) as session:
            one = ids_of(session)[0]
            session.reshape(one, session[one].outline.buffer(2))
            session.set_stage([one], Stage.SECONDARY)
            assert session[one].status == Status.CORRECTED

    def test_what_cannot_be_done_says_why_and_changes_nothing(self, folder):
        with opened(folder) as session:
            first, second, *_ = ids_of(session)
            with pytest.raises(UserError, match="do not touch"):
                session.merge([first, second])
            with pytest.raises(UserError, match="two follicles"):
                session.merge([first])
            with pytest.raises(UserError, match="two follicles"):
                session.merge([first, first])
            with pytest.raises(UserError, match="side to side"):
                session.split(first, LineString([(0, 0), (1, 1)]))
            with pytest.raises(UserError, match="encloses nothing"):
                session.reshape(first, Polygon())
        assert not [e for e in read_edits(folder) if e.kind != Kind.SAVED]

    def test_another_outline_is_measured_anew(self, folder):
        def measure(outline):
            return make_follicle("", "", outline, measurements={"diameter_um": outline.area}, stage=Stage.ANTRAL)

        with ReviewSession(folder, RUN, author="Ada", measure=measure) as session:
            one, two, *_ = session.follicles
            session.set_stage([two.id], Stage.PRIMARY)
            for f in (one, two):
                session.reshape(f.id, box(0, 0, 10, 10))
                assert session[f.id].measurements.diameter_um == 100
                assert session[f.id].prediction == f.prediction
            assert session[one.id].stage == Stage.ANTRAL, "nobody had said otherwise"
            assert session[two.id].stage == Stage.PRIMARY, "a person had"

    def test_what_a_person_said_outlasts_measurements_that_say_the_same(self, folder):
        answers = iter([Health.ATRETIC, Health.HEALTHY, Health.HEALTHY, Health.HEALTHY])

        def measure(outline):
            return make_follicle("", "", outline, measurements={"diameter_um": 9}, health=next(answers))

        with ReviewSession(folder, RUN, author="Ada", measure=measure) as session:
            one = ids_of(session)[0]
            session.set_health([one], Health.ATRETIC)
            session.reshape(one, session[one].outline.buffer(1))
            session.reshape(one, session[one].outline.buffer(1))
            assert session[one].health == Health.ATRETIC
            session.split(one, LineString([(100, 0), (100, 200)]))
            assert {session[i].health for i in (one, ids_of(session)[-1])} == {Health.ATRETIC}
        with opened(folder) as session:
            assert "health" in session[one].decided
            assert session[one].health == Health.ATRETIC


actions = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "stage",
                "health",
                "accept",
                "delete",
                "add",
                "reshape",
                "split",
                "assign",
                "include",
                "exclude region",
                "merge sections",
                "undo",
                "redo",
                "restart",
            ]
        ),
        st.integers(0, 20),
        st.sampled_from(list(Stage)),
    ),
    max_size=25,
)


def act(session, name, which, stage):
    """Do something with one of the follicles."""
    ids = ids_of(session)
    one = ids[which % len(ids)]
    if name == "stage":
        session.set_stage([one], stage)
    elif name == "health":
        session.set_health([one], Health.ATRETIC)
    elif name == "accept":
        session.accept([one])
    elif name == "delete":
        session.delete([one])
    elif name == "add" and which * 37.0 + 1000 not in {f.outline.centroid.x for f in session.follicles}:
        made = follicle(which * 37.0 + 1000, 500 + len(ids))
        session.add(made)
    elif name == "reshape":
        session.reshape(one, session[one].outline.buffer(1 + which / 7))
    elif name == "split":
        x0, y0, x1, y1 = session[one].outline.bounds
        session.split(one, LineString([((x0 + x1) / 2 + 0.1, y0 - 5), ((x0 + x1) / 2 + 0.1, y1 + 5)]))
    elif name == "undo":
        session.undo()
    elif name == "redo":
        session.redo()


def act_on_sections(session, name, which):
    ids = [s.section_id for s in session.sections]
    one = ids[which % len(ids)]
    if name == "assign":
        session.assign({one: (f"m{which}", "LR"[which % 2])})
    elif name == "include":
        session.set_included([one], which % 3 == 0, "torn")
    elif name == "exclude region":
        with contextlib.suppress(UserError):  # off the tissue that counts
            session.exclude_region(Point(120.0 * which, 300).buffer(40 + 20 * which), "fold")
    elif name == "merge sections":
        with contextlib.suppress(UserError):  # one alone, or of two animals
            session.merge_sections([one, ids[0]])


def stand(session):
    return ({f.id: f for f in session.follicles}, {s.section_id: s for s in session.sections})


class TestHistory:
    @given(actions)
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    def test_whatever_is_done_survives_and_can_be_taken_back(self, tmp_path_factory, todo):
        folder = slide_folder(tmp_path_factory.mktemp("slide"), [follicle(100 * i) for i in range(1, 4)])
        session = opened(folder)
        start = stand(session)
        for name, which, stage in todo:
            if name == "restart":
                before = stand(session)
                session.close()
                session = opened(folder)
                assert stand(session) == before
            else:
                act(session, name, which, stage)
                act_on_sections(session, name, which)
            assert tuple(standing(folder, RUN).state.follicles.values()) == session.follicles
            assert tuple(standing(folder, RUN).state.sections.values()) == session.sections
        end, undone = stand(session), 0
        while session.undo():
            undone += 1
        assert stand(session) == start
        session.close()
        session = opened(folder)
        for _ in range(undone):
            session.redo()
        assert stand(session) == end
        session.close()
        written = read_geojson(folder / FOLLICLES), read_sections(folder / SECTIONS)
        assert ({f.id: f for f in written[0]}, {s.section_id: s for s in written[1]}) == end

    def test_a_new_edit_ends_what_could_be_redone(self, folder):
        with opened(folder) as session:
            session.delete(ids_of(session)[:1])
            session.undo()
            assert session.can_redo
            session.delete(ids_of(session)[1:2])
            assert not session.can_redo
            assert session.redo() is None

    def test_an_edit_carries_who_when_and_of_which_run(self, folder):
        author = "Grace\u2028\x85 M\n'öhr"
        with opened(folder, author) as session:
            session.delete(ids_of(session)[:1])
        edit = read_edits(folder)[0]
        assert (edit.author, edit.run_id, edit.kind) == (author, RUN, Kind.DELETE)
        assert edit.time.endswith("+00:00")
        assert edit.software.startswith("follicle-stager ")
        assert (edit.before[0].status, edit.after[0].status) == (Status.PREDICTED, Status.REJECTED)


class TestCrashes:
    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
    def test_a_torn_last_line_is_put_aside_and_the_rest_kept(self, folder, kept):
        with opened(folder) as session:
            session.delete(ids_of(session)[:1])
            session.delete(ids_of(session)[1:2])
        path = folder / NAME
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        torn = lines[1][: int(kept * len(lines[1]))].rstrip(b"\n")
        path.write_bytes(lines[0] + torn)
        (folder / FOLLICLES).unlink()
        assert len(read_edits(folder)) == 1
        with opened(folder) as session:
            assert [f.status for f in session.follicles[:2]] == [Status.REJECTED, Status.PREDICTED]
        assert (folder / "edits.torn").read_bytes() == torn + b"\n"

    def test_a_broken_line_in_the_middle_is_named(self, folder):
        with opened(folder) as session:
            session.delete(ids_of(session)[:1])
            session.delete(ids_of(session)[1:2])
        path = folder / NAME
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(lines[0] + "{}\n" + lines[1])
        with pytest.raises(UserError, match=r"edits\.jsonl: line 2"):
            opened(folder)

    def test_one_person_at_a_time(self, folder):
        with opened(folder), pytest.raises(UserError, match="open for correction"):
            opened(folder, "Grace")
        opened(folder, "Grace").close()

    def test_a_full_disk_loses_the_command_and_nothing_else(self, folder, monkeypatch):
        def full(handle):
            raise OSError(28, "No space left on device")

        with opened(folder) as session:
            first, second, *_ = ids_of(session)
            session.delete([first])
            with monkeypatch.context() as patch:
                patch.setattr("follicle_stager.corrections.log.os.fsync", full)
                with pytest.raises(OSError, match="No space"):
                    session.delete([second])
            assert session[second].status == Status.PREDICTED
            session.set_stage([second], Stage.ANTRAL)
        assert [e.kind for e in read_edits(folder)] == [Kind.DELETE, Kind.SET_STAGE, Kind.SAVED]
        assert standing(folder, RUN).state.follicles[second].stage == Stage.ANTRAL

    def test_kill_at_any_moment_loses_nothing_that_was_confirmed(self, folder):
        """``make bench`` does it a hundred times."""
        kill_at_random(folder, RUN, times=4)


class TestOtherPrograms:
    def changed(self, folder, change):
        """Do what QuPath does with follicles.geojson."""
        path = folder / FOLLICLES
        data = json.loads(path.read_text())
        change(data["features"])
        path.write_text(json.dumps(data))

    def test_a_stage_and_an_outline_changed_elsewhere_are_edits(self, folder):
        def change(features):
            own = [f for f in features if "follicle" not in f["properties"]["metadata"]]
            own[0]["properties"]["classification"] = {"name": "Antral", "color": [1, 2, 3]}
            own[1]["geometry"]["coordinates"] = [[[0, 0], [50, 0], [50, 50], [0, 0]]]
            features.remove(own[2])
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[[0, 300], [50, 300], [50, 350], [0, 300]]]},
                    "properties": {"classification": {"name": "Primary"}},
                }
            )

        with opened(folder) as session:
            kept = ids_of(session)[5]
            session.set_stage([kept], Stage.PRIMARY)
        self.changed(folder, change)
        before = standing(folder, RUN)
        assert before.imported
        with opened(folder) as session:
            found = session.follicles
            assert found == tuple(before.state.follicles.values())
            assert (found[0].stage, found[0].status) == (Stage.ANTRAL, Status.CORRECTED)
            assert found[1].outline.area == 1250
            assert found[2].status == Status.REJECTED
            assert (found[6].stage, found[6].status) == (Stage.PRIMARY, Status.ADDED)
            assert session[kept].stage == Stage.PRIMARY
            session.undo()
            assert session.follicles[0].stage == Stage.SECONDARY
        assert not standing(folder, RUN).imported

    def test_an_outline_that_crosses_itself_is_taken_in(self, folder):
        def change(features):
            features[0]["geometry"]["coordinates"] = [[[80, 80], [120, 120], [120, 80], [80, 120], [80, 80]]]

        self.changed(folder, change)
        with opened(folder) as session:
            first, second, *_ = ids_of(session)
            assert session[first].status == Status.CORRECTED
            with pytest.raises(UserError, match="side to side"):
                session.split(first, LineString([(100, 0), (100, 200)]))
            with pytest.raises(UserError, match="do not touch"):
                session.merge([first, second])

    def test_what_was_taken_in_once_is_not_taken_in_again_after_a_crash(self, folder):
        def change(features):
            features[0]["properties"]["classification"] = {"name": "Antral"}

        self.changed(folder, change)
        session = opened(folder)
        first, second, *_ = ids_of(session)
        assert session[first].stage == Stage.ANTRAL
        session.set_stage([first], Stage.PRIMARY)
        session.delete([second])
        session.undo()
        session._log.close()  # as if killed: nothing is saved
        assert standing(folder, RUN).state.follicles[first].stage == Stage.PRIMARY
        with opened(folder) as session:
            assert session[first].stage == Stage.PRIMARY
            assert session.can_redo

    def test_what_was_undone_cannot_be_done_again_over_a_change_from_elsewhere(self, folder):
        def change(features):
            features[0]["properties"]["classification"] = {"name": "Antral"}

        with opened(folder) as session:
            session.delete(ids_of(session)[:1])
            session.undo()
        self.changed(folder, change)
        with opened(folder) as session:
            assert not session.can_redo

    def test_copies_and_numbered_features_are_follicles_of_their_own(self, folder):
        def change(features):
            copy = json.loads(json.dumps(features[0]))
            copy["geometry"]["coordinates"] = [[[0, 300], [50, 300], [50, 350], [0, 300]]]
            numbered = json.loads(json.dumps(copy)) | {"id": 7}
            numbered["geometry"]["coordinates"] = [[[0, 400], [50, 400], [50, 450], [0, 400]]]
            features += [copy, numbered]

        self.changed(folder, change)
        with opened(folder) as session:
            assert len(session.follicles) == 8
            session.set_health(ids_of(session)[6:], Health.ATRETIC)
        assert len(read_geojson(folder / FOLLICLES)) == 8

    def test_the_same_file_written_otherwise_is_no_edit(self, folder):
        def change(features):
            for feature in features:
                feature["properties"].pop("measurements", None)
                feature["geometry"]["coordinates"] = [
                    [[round(x), round(y)] for x, y in ring] for ring in feature["geometry"]["coordinates"]
                ]

        folder_of_large = slide_folder(folder / "b", [follicle(500, radius=200)])
        self.changed(folder_of_large, change)
        with opened(folder_of_large) as session:
            assert session.follicles[0].status == Status.PREDICTED


class TestTwoPeople:
    def copies(self, folder, tmp_path_factory):
        """The slide after Ada's first decision, and a copy of it."""
        with opened(folder) as session:
            session.set_stage(ids_of(session)[:1], Stage.PRIMARY)
        copy = tmp_path_factory.mktemp("copy") / "slide"
        shutil.copytree(folder, copy)
        return folder, copy

    def test_their_edits_come_in_and_what_both_changed_is_listed(self, folder, tmp_path_factory):
        ours, theirs = self.copies(folder, tmp_path_factory)
        with opened(ours) as session:
            first, second, third, fourth, *_ = ids_of(session)
            session.set_stage([second], Stage.ANTRAL)
        with opened(theirs, "Grace") as session:
            session.set_stage([second], Stage.EARLY_ANTRAL)
            session.delete([third])
            session.set_stage([fourth], Stage.PRIMARY)
            session.undo()
            session.set_health([first], Health.ATRETIC)
        with opened(ours) as session:
            merged = merge_edits(session, theirs)
            assert [e.kind for e in merged.conflicts] == [Kind.SET_STAGE]
            assert merged.conflicts[0].after[0].stage == Stage.EARLY_ANTRAL
            assert session[second].stage == Stage.ANTRAL
            assert (session[third].status, session[third].judgement.edited_by) == (Status.REJECTED, "Grace")
            assert session[fourth].status == Status.PREDICTED
            assert session[first].health == Health.ATRETIC
            assert merge_edits(session, theirs).taken == ()
            while session.undo():
                pass
            assert {f.status for f in session.follicles} == {Status.PREDICTED}
        with opened(ours) as session:
            assert session.can_redo

    def test_their_undo_of_a_shared_edit(self, folder, tmp_path_factory):
        ours, theirs = self.copies(folder, tmp_path_factory)
        with opened(ours) as session:
            first, second, *_ = ids_of(session)
            session.delete([second])
        with opened(theirs, "Grace") as session:
            session.undo()
        with opened(ours) as session:
            merge_edits(session, theirs)
            assert session[first].stage == Stage.SECONDARY
            session.undo()
            assert session[second].status == Status.PREDICTED
            assert not session.can_undo

    def test_a_log_of_another_run_is_refused(self, folder, tmp_path):
        other = slide_folder(tmp_path / "other", [follicle(100)], "run2")
        with pytest.raises(UserError, match="no corrections"), opened(folder) as session:
            merge_edits(session, other)
        with ReviewSession(other, "run2", author="Grace") as session:
            session.delete(ids_of(session))
        with pytest.raises(UserError, match="are of run run2"), opened(folder) as session:
            merge_edits(session, other)


def test_what_is_needed_now_does_not_wait(monkeypatch):
    monkeypatch.setattr(ahead, "_LET_DRAW_S", 3600)
    thread, order = ahead.Ahead("test"), []
    tasks = [thread.submit(order.append, number) for number in range(3)]
    assert order == []
    thread.result(tasks[1])
    assert order[:2] == [0, 1]
    thread.end()
    assert order == [0, 1, 2]


class TestQueue:
    def probable(self, x, stage, probability, score=1.0, **given):
        return follicle(x, stage=stage, probabilities={stage: probability}, score=score, **given)

    def test_the_unsure_come_first_then_the_least_likely(self):
        sure = self.probable(100, Stage.PRIMARY, 0.99)
        doubted = self.probable(200, Stage.ANTRAL, 0.99, score=0.5)
        near = self.probable(300, Stage.SECONDARY, 0.6)
        unsure = self.probable(400, Stage.UNSURE, 0.0)
        assert queue([sure, near, doubted, unsure]) == [f.id for f in (unsure, doubted, near, sure)]
        assert queue([near, unsure, sure, doubted], Order.STAGE) == [f.id for f in (unsure, sure, near, doubted)]

    def test_what_was_judged_is_left_out_unless_asked_for(self):
        judged, new = follicle(100, status=Status.ACCEPTED), follicle(200, countable=Countable.YES)
        assert queue([judged, new]) == [new.id]
        assert queue([judged, new], only=Filter(statuses=frozenset())) == [judged.id, new.id]
        assert queue([judged, new], only=Filter(countable=frozenset({Countable.NO}))) == []
        assert queue([judged, new], only=Filter(stages=frozenset({Stage.PRIMARY}))) == []

    def test_by_position_each_is_beside_the_one_before(self):
        row = [follicle(100 * i) for i in (1, 2, 3)]
        other = changed(follicle(0, 0), section_id="s section 2")
        assert queue([row[1], other, row[2], row[0]], Order.POSITION) == [f.id for f in (*row, other)]

    def test_a_random_sample_depends_on_the_seed_alone(self):
        many = [follicle(50 * i) for i in range(30)]
        one = queue(many, Order.RANDOM, seed=1)
        assert one == queue(many[::-1], Order.RANDOM, seed=1)
        assert one != queue(many, Order.RANDOM, seed=2)
        assert sorted(one) == sorted(f.id for f in many)

    def test_where_a_classifier_disagrees_comes_first(self):
        a, b, c = (follicle(100 * i, stage=Stage.SECONDARY) for i in (1, 2, 3))
        opinions = {a.id: {Stage.SECONDARY: 0.9}, b.id: {Stage.ANTRAL: 0.8, Stage.SECONDARY: 0.2}}
        assert queue([c, a, b], Order.DISAGREEMENT, opinions=opinions) == [b.id, a.id, c.id]

    def test_progress(self):
        done = progress([follicle(100, status=Status.ACCEPTED), follicle(200), follicle(300, status=Status.REJECTED)])
        assert done == Progress(2, 3)
        assert done + Progress(1, 1) == Progress(3, 4)
