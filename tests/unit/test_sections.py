"""Sections that a person assigns, merges, leaves out or cuts: no tissue is lost or counted twice, none by guess."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from follicles import make_follicle
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import unary_union
from shapely.geometry import MultiPolygon, Point, box
from studies import count_study

from follicle_stager.annotations import read_sections, write_sections
from follicle_stager.config import Config
from follicle_stager.corrections import Kind, merge_edits
from follicle_stager.corrections.log import read_edits
from follicle_stager.corrections.sections import carried, cut_out, judged_whole, merged, section_of
from follicle_stager.corrections.standing import SECTIONS
from follicle_stager.errors import StudyError, UserError
from follicle_stager.files import write_text
from follicle_stager.pixel_size import PixelSize
from follicle_stager.records import NOT_OVARY, Section, SlideResult, follicle_id
from follicle_stager.stages import LADDER, Countable, Stage, Status
from follicle_stager.study import Study

SLIDE = "ovary"
#: Three pieces of tissue in a row, each with two follicles.
PIECES = [Section(f"ovary_s{n}", MultiPolygon([box(1000 * n, 0, 1000 * n + 900, 900)]), 0.81, n) for n in (1, 2, 3)]
HEADER = "slide,animal,genotype,group,model,ovary,section,interval,thickness_um\n"
TWO_ANIMALS = ["ovary,m1,+/+,control,Igfals,L,1,10,5", "ovary,m2,-/-,knockout,Igfals,L,2,10,5"]


def follicles_on(piece):
    left = piece.outline.bounds[0]
    outlines = [Point(left + x, 400).buffer(30) for x in (200, 700)]
    return [
        make_follicle(
            follicle_id(piece.section_id, o),
            piece.section_id,
            o,
            stage=Stage.SECONDARY,
            stage_predicted=Stage.SECONDARY,
            countable=Countable.YES,
        )
        for o in outlines
    ]


def save(study, run_id, pieces=PIECES, found=PIECES):
    follicles = tuple(f for piece in found for f in follicles_on(piece))
    result = SlideResult(SLIDE, PixelSize(1.0, 1.0, "test"), tuple(pieces), follicles, LADDER)
    (study.path / "ovary.tif").touch()
    return study.save(result, replace(study.request(study.path / "ovary.tif", Config()), run_id=run_id))


@pytest.fixture
def study(tmp_path):
    made = Study.create(tmp_path / "study", Config())
    save(made, "A")
    sheet(made, TWO_ANIMALS)
    return made


def sheet(study, rows):
    write_text(study.samples_path, HEADER + "\n".join(rows) + "\n")


def opened(study, author="Ada"):
    return study.review(SLIDE, author=author)


def secondary(study):
    """Animal -> number of secondary profiles, sections, and area."""
    table = count_study(study).animal
    own = table[table["stage"] == "secondary"].set_index("animal")
    return {a: (int(r["n_profiles"]), int(r["sections"]), float(r["area_mm2"])) for a, r in own.iterrows()}


def secondary_of_sheet(study):
    sheet(study, ["ovary,m1,+/+,control,Igfals,L,,10,5"])
    return secondary(study)


def whole(study):
    """Ids of the sections that were judged as a whole."""
    return [s.section_id for s in judged_whole(study.follicles(SLIDE), study.sections(SLIDE))]


class TestCounts:
    def test_unassigned_pieces_stop_counting_and_assigned_ones_are_counted(self, study):
        with pytest.raises(StudyError, match="2 rows of m1, m2 for it, but 3 sections"):
            count_study(study)
        with opened(study) as session:
            session.assign({"ovary_s1": ("m1", "L"), "ovary_s3": ("m2", "L")})
        with pytest.raises(StudyError, match="ovary_s2 is not assigned to an animal"):
            count_study(study)
        with opened(study) as session:
            session.assign({"ovary_s2": ("m3", "L")})
        with pytest.raises(StudyError, match="was assigned to m3 L, but the sample sheet has no such row"):
            count_study(study)
        with opened(study) as session:
            session.assign({"ovary_s2": ("m1", "L")})
        with pytest.raises(StudyError, match="1 row of m1 for it, but 2 sections were found"):
            count_study(study)
        with opened(study) as session:
            session.undo()
            session.assign({"ovary_s1": ("m2", "L")})
            session.set_included(["ovary_s2"], False)
        with pytest.raises(StudyError, match="a section of m1 L, but none is assigned to it"):
            count_study(study)
        with opened(study) as session:
            session.undo()
            session.undo()
        with opened(study) as session:
            session.undo()
            session.set_included(["ovary_s2"], False, "folded")
        assert secondary(study) == {"m1": (2, 1, 0.81), "m2": (2, 1, 0.81)}

    def test_an_animal_whose_only_section_is_left_out_is_not_counted_as_zero(self, study):
        sheet(study, ["ovary,m1,+/+,control,Igfals,L,1,10,5"])
        with opened(study) as session:
            session.set_included([s.section_id for s in session.sections], False, "folds")
        with pytest.raises(StudyError, match="no section is included"):
            count_study(study)

    def test_what_was_cut_out_and_is_counted_again_comes_behind_what_it_was_cut_out_of(self, study):
        """Two sections that lie together were found as one, and are cut apart."""
        sheet(study, [*TWO_ANIMALS, "ovary,m3,+/+,control,Igfals,L,3,10,5", "ovary,m4,+/+,control,Igfals,L,4,10,5"])
        with opened(study) as session:
            session.exclude_region(box(1450, -10, 1910, 910))
            session.set_included(["ovary_s1_x1"], True)
        assert secondary(study) == {
            "m1": (1, 1, pytest.approx(0.405)),
            "m2": (1, 1, pytest.approx(0.405)),
            "m3": (2, 1, pytest.approx(0.81)),
            "m4": (2, 1, pytest.approx(0.81)),
        }

    def test_a_small_piece_in_a_large_region_is_cut_out_too(self, study):
        small = Section("ovary_s4", MultiPolygon([box(5000, 0, 5020, 20)]), 4e-4, 4)
        save(study, "B", [*PIECES, small])
        with opened(study) as session:
            session.exclude_region(box(-1000, -1000, 9000, 9000), "wrong slide")
            assert not any(s.included for s in session.sections)

    def test_the_other_way_round_than_the_sheet(self, study):
        sheet(study, [*TWO_ANIMALS, "ovary,m2,-/-,knockout,Igfals,R,3,10,5"])
        with opened(study) as session:
            session.delete([session.follicles[-1].id])
            session.assign({"ovary_s3": ("m1", "L"), "ovary_s2": ("m2", "R"), "ovary_s1": ("m2", "L")})
        counts = count_study(study)
        assert counts.notes[0] == (
            "ovary_s1: counted as m2 L, as a person decided; by the order of the sample sheet, it would be m1 L"
        )
        table = counts.section
        own = table[table["stage"] == "secondary"]
        assert own[["animal", "ovary", "section", "n_profiles"]].to_numpy().tolist() == [
            ["m1", "L", "ovary_1", 1],
            ["m2", "L", "ovary_2", 2],
            ["m2", "R", "ovary_3", 2],
        ]

    def test_two_pieces_of_one_section_are_merged(self, study):
        with opened(study) as session:
            session.merge_sections(["ovary_s2", "ovary_s1"])
            assert [s.section_id for s in session.sections if s.order == 1] == ["ovary_s1"]
        assert secondary(study) == {"m1": (4, 1, pytest.approx(1.62)), "m2": (2, 1, 0.81)}
        with opened(study) as session:
            session.undo()
        with pytest.raises(StudyError, match="3 sections"):
            count_study(study)

    def test_a_region_takes_its_tissue_and_follicles_out_of_the_counts(self, study):
        sheet(study, ["ovary,m1,+/+,control,Igfals,L,,10,5"])
        with opened(study) as session:
            session.exclude_region(box(1600, 0, 2300, 900), "fold")  # of two sections: a third, and a third
        assert secondary(study) == {"m1": (4, 3, pytest.approx(0.81 * (2 / 3 + 2 / 3 + 1), abs=1e-4))}
        out = [s for s in study.sections(SLIDE) if not s.included]
        assert [(s.section_id, s.reason) for s in out] == [("ovary_s1_x1", "fold"), ("ovary_s2_x1", "fold")]
        with opened(study) as session:  # it was none: back to its section
            session.merge_sections(["ovary_s1", "ovary_s1_x1"])
        assert secondary(study)["m1"] == (5, 3, pytest.approx(0.81 * (1 + 2 / 3 + 1), abs=1e-4))

    def test_tissue_that_could_not_be_looked_at_was_not_sampled(self, study):
        sheet(study, ["ovary,m1,+/+,control,Igfals,L,,10,5"])
        with opened(study) as session:
            session.set_included(["ovary_s3"], False, "fold")
        counts = count_study(study)
        assert counts.animal["ovaries_sampled"].unique() == pytest.approx([2 / 3 / 10])
        assert counts.notes == (
            "m1 L: 33% of its tissue was left out; the offsets in the comparison account for this",
            "ovary_s3: not counted (fold), 0.81 mm²",
        )
        with opened(study) as session:
            session.set_included(["ovary_s3"], False, NOT_OVARY)
        assert count_study(study).animal["ovaries_sampled"].unique() == pytest.approx([0.1])

    def test_the_ovary_need_not_be_said_where_it_is_the_only_one(self, study):
        with opened(study) as session:
            session.assign({"ovary_s1": ("m2", ""), "ovary_s2": ("m1", "")})
            session.set_included(["ovary_s3"], False, NOT_OVARY)
        assert secondary(study) == {"m1": (2, 1, 0.81), "m2": (2, 1, 0.81)}
        with opened(study) as session:
            session.set_included(["ovary_s3"], False, "fold")
            session.assign({"ovary_s3": ("m1", "")})
        sampled = count_study(study).animal.drop_duplicates("animal").set_index("animal")["ovaries_sampled"]
        assert sampled.to_dict() == {"m1": pytest.approx(0.05), "m2": pytest.approx(0.1)}
        with opened(study) as session:
            session.undo()
        sheet(study, [*TWO_ANIMALS, "ovary,m2,-/-,knockout,Igfals,R,3,10,5"])
        with pytest.raises(StudyError, match="was assigned to m2; choose the ovary, L or R"):
            count_study(study)

    def test_what_a_person_writes_into_the_file_is_an_edit(self, study):
        path = study.slide_folder(SLIDE) / SECTIONS
        one, two, three = read_sections(path)
        changed = [replace(two, animal="m2", ovary="L"), replace(one, animal="m1", ovary="L")]
        write_sections(path, changed)  # the third one is deleted
        assert secondary(study) == {"m1": (2, 1, 0.81), "m2": (2, 1, 0.81)}
        with opened(study) as session:
            assert {s.section_id: (s.included, s.reason) for s in session.sections}["ovary_s3"] == (False, NOT_OVARY)
        assert Kind.IMPORT in {e.kind for e in read_edits(path.parent)}
        assert len(read_sections(path)) == 3
        write_sections(path, [replace(one, outline=MultiPolygon([box(1000, 0, 1500, 900)]))])
        with pytest.raises(UserError, match="outline of section ovary_s1 is new or was changed"):
            count_study(study)
        path.write_text("{")
        with pytest.raises(UserError, match="move it away, and it is written again"):
            count_study(study)
        path.unlink()
        opened(study).close()
        assert len(read_sections(path)) == 3

    def test_by_hand_there_and_back_again(self, study):
        path = study.slide_folder(SLIDE) / SECTIONS

        def write(word):
            text = path.read_text()
            path.write_text(text.replace('"included": "yes"', f'"included": {word}', 1))
            return study.sections(SLIDE)[0].included

        assert not write('"no"')
        opened(study).close()
        path.write_text(path.read_text().replace('"included": "no"', '"included": "yes"'))
        assert study.sections(SLIDE)[0].included, "as it was before, but not as it stands"
        opened(study).close()
        assert study.sections(SLIDE)[0].included
        assert not write('"no"')
        with opened(study) as session:
            session.set_included(["ovary_s1"], True)
        assert not write("false"), "as JSON has it"
        with pytest.raises(UserError, match="included and judged_whole must be yes or no"):
            write('"perhaps"')

    def test_numbers_for_names_and_a_region_that_is_in_the_file(self, study):
        with opened(study) as session:
            session.exclude_region(Point(1500, 400).buffer(90), "fold")
        path = study.slide_folder(SLIDE) / SECTIONS
        data = json.loads(path.read_text())
        for feature in data["features"]:
            feature["properties"]["metadata"]["animal"] = 7
        path.write_text(json.dumps(data))
        assert {s.animal for s in study.sections(SLIDE)} == {"7"}

    def test_a_study_of_before_sections_could_be_edited(self, study):
        """Its runs kept no sections; what a person had written into the file stands, now and after the next run."""
        folder = study.slide_folder(SLIDE)
        write_sections(folder / SECTIONS, [replace(PIECES[0], included=False, reason="torn"), *PIECES[1:]])
        (folder / "predictions" / "A.sections.geojson").unlink()
        assert [s.included for s in study.sections(SLIDE)] == [False, True, True]
        with opened(study) as session:
            session.merge_sections(["ovary_s2", "ovary_s3"])
        assert [s.section_id for s in study.sections(SLIDE)] == ["ovary_s1", "ovary_s2"]
        assert save(study, "B") == ()
        assert [(s.section_id, s.reason) for s in study.sections(SLIDE)] == [("ovary_s1", "torn"), ("ovary_s2", "")]

    def test_lost_sections_are_said_and_found_again(self, study):
        folder = study.slide_folder(SLIDE)
        with opened(study) as session:
            session.set_stage([session.follicles[0].id], Stage.ANTRAL)
        (folder / "predictions" / "A.sections.geojson").unlink()
        (folder / SECTIONS).write_text("{")
        with pytest.raises(UserError, match="delete it and run.json"):
            count_study(study)
        (folder / SECTIONS).unlink()
        with pytest.raises(StudyError, match="are lost"):
            count_study(study)
        (folder / "run.json").unlink()
        save(study, "A")
        assert study.follicles(SLIDE)[0].stage == Stage.ANTRAL

    def test_follicles_beside_a_section_that_was_merged(self, study):
        piece = PIECES[1]
        beside = make_follicle("b", piece.section_id, Point(2450, -40).buffer(20), stage=Stage.SECONDARY)
        far = make_follicle("f", "", Point(9000, 9000).buffer(20), stage=Stage.SECONDARY)
        assert section_of(beside, PIECES) == "ovary_s2"
        assert section_of(beside, [merged(PIECES[:2]), PIECES[2]]) == "ovary_s1"
        assert section_of(far, PIECES) is None


class TestTwoPeople:
    def test_one_stages_and_one_assigns(self, study, tmp_path):
        shutil.copytree(study.path, tmp_path / "copy")
        with Study.open(tmp_path / "copy").review(SLIDE, author="Grace") as session:
            session.merge_sections(["ovary_s1", "ovary_s2"])
            session.assign({"ovary_s3": ("m2", "L")})
        with opened(study) as session:
            session.set_stage([f.id for f in session.follicles], Stage.ANTRAL)
            session.assign({"ovary_s3": ("m1", "L")})
            result = merge_edits(session, tmp_path / "copy" / "slides" / SLIDE)
            assert [e.kind for e in result.taken] == [Kind.MERGE_SECTIONS]
            assert [e.kind for e in result.conflicts] == [Kind.ASSIGN_SECTION]
            assert len(session.sections) == 2


class TestNextRun:
    def test_everything_is_there_again_if_the_same_tissue_is_found(self, study):
        with opened(study) as session:
            session.merge_sections(["ovary_s1", "ovary_s2"])
            session.exclude_region(Point(3200, 400).buffer(100), "fold")
            session.assign({"ovary_s1": ("m1", "L"), "ovary_s3": ("m2", "L")})
        before, counts = study.sections(SLIDE), secondary(study)
        assert counts["m2"][0] == 1
        assert save(study, "B") == ()
        after = {s.section_id: s for s in study.sections(SLIDE)}
        assert after.keys() == {s.section_id for s in before}
        for old in before:
            new = after[old.section_id]
            assert replace(new, outline=old.outline, area_mm2=old.area_mm2, order=old.order) == old
            assert new.outline.symmetric_difference(old.outline).area < 1e-3 * old.outline.area
        assert secondary(study) == counts

    def test_other_tissue(self, study):
        """The new run tears the first section, joins the others, and finds them in another order."""
        with opened(study) as session:
            session.assign({"ovary_s1": ("m1", "L"), "ovary_s2": ("m2", "L")})
            session.set_included(["ovary_s3"], False, "folded")
        new = [
            Section("ovary_s1", MultiPolygon([box(2000, 0, 2900, 900), box(3000, 0, 3900, 900)]), 1.62, 1),
            Section("ovary_s2", MultiPolygon([box(1000, 0, 1400, 900)]), 0.36, 2),
            Section("ovary_s3", MultiPolygon([box(1420, 0, 1900, 900)]), 0.432, 3),
        ]
        assert save(study, "B", new) == ()
        assert secondary(study) == {"m1": (2, 1, pytest.approx(0.792)), "m2": (2, 1, pytest.approx(0.81))}
        assert [s.reason for s in study.sections(SLIDE) if not s.included] == ["folded"]

    def test_a_section_that_is_not_found_is_said_and_kept_for_the_next_run(self, study):
        with opened(study) as session:
            session.set_included(["ovary_s3"], False, "pen")
        told = save(study, "B", PIECES[:2], PIECES[:2])
        assert told == ("changed before, not found again, and kept: section ovary_s3",)
        assert save(study, "A") == ()
        assert [s.reason for s in study.sections(SLIDE)] == ["", "", "pen"]

    def test_a_section_that_was_judged_as_a_whole_stays_so(self, study):
        """After undo and redo, a later run, and merging with one that was not judged."""
        counts = secondary_of_sheet(study)
        with opened(study) as session:
            session.judge_whole(["ovary_s1", "ovary_s3"])
            session.undo()
            assert not whole(study)
            session.redo()
        assert whole(study) == ["ovary_s1", "ovary_s3"]
        assert secondary_of_sheet(study) == counts, "it changes no count"
        assert save(study, "B") == ()
        assert whole(study) == ["ovary_s1", "ovary_s3"]
        save(study, "C", found=[])
        assert secondary_of_sheet(study)["m1"][0] == 4, "what was claimed there was accepted, so it stays"
        assert whole(study) == ["ovary_s1", "ovary_s3"]
        with opened(study) as session:
            session.exclude_region(box(1000, 0, 1300, 900), "fold")
            session.merge_sections(["ovary_s2", "ovary_s3"])
        assert whole(study) == ["ovary_s1", "ovary_s1_x1"]
        with opened(study) as session:
            session.judge_whole(["ovary_s1"], False)
        assert whole(study) == ["ovary_s1_x1"]

    def test_another_claim_of_a_later_run_has_to_be_judged_first(self, study):
        with opened(study) as session:
            session.delete([f.id for f in session.follicles if f.section_id == "ovary_s1"])
            session.judge_whole([s.section_id for s in session.sections])
        new = follicles_on(PIECES[0])[0]
        moved = replace(new, id="new", shape=replace(new.shape, outline=Point(1450, 800).buffer(30)))
        result = SlideResult(SLIDE, PixelSize(1.0, 1.0, "test"), tuple(PIECES), (moved,), LADDER)
        study.save(result, replace(study.request(study.path / "ovary.tif", Config()), run_id="B"))
        assert whole(study) == ["ovary_s2", "ovary_s3"]
        with opened(study) as session:
            session.accept([f.id for f in session.follicles if f.status == Status.PREDICTED])
        assert whole(study) == ["ovary_s1", "ovary_s2", "ovary_s3"]

    def test_a_section_that_nobody_touched_is_not_taken_by_its_neighbour(self, study):
        """The later run finds both as one."""
        with opened(study) as session:
            session.set_included(["ovary_s2"], False, "pen")
        one = Section("ovary_s1", MultiPolygon([box(1000, 0, 2900, 900)]), 1.71, 1)
        assert save(study, "B", [one, PIECES[2]]) == ()
        sheet(study, ["ovary,m1,+/+,control,Igfals,L,,10,5"])
        counted = secondary(study)["m1"]
        assert counted[:2] == (4, 2)
        assert counted[2] == pytest.approx(2 * 0.81, abs=0.1), "but for the bridge between the two"


shapes = st.lists(st.tuples(*(st.integers(-200, 4200),) * 2, st.integers(5, 900)), min_size=1, max_size=6)


@settings(max_examples=200)
@given(shapes, st.randoms())
def test_cutting_and_merging_keep_all_tissue(circles, chance):
    sections = {s.section_id: s for s in PIECES}
    for x, y, radius in circles:
        try:
            before, after = cut_out(sections.values(), Point(x, y).buffer(radius), "fold")
        except UserError:
            continue
        for old in before:
            del sections[old.section_id]
        assert not sections.keys() & {s.section_id for s in after}
        sections |= {s.section_id: s for s in after}
        if chance.random() < 0.3 and len(sections) > 1:
            some = chance.sample(sorted(sections.values(), key=lambda s: s.order), 2)
            for old in some:
                del sections[old.section_id]
            one = merged(sorted(some, key=lambda s: s.order))
            sections[one.section_id] = one
    assert sum(s.area_mm2 for s in sections.values()) == pytest.approx(3 * 0.81)
    whole = unary_union([s.outline for s in sections.values()])
    assert whole.area == pytest.approx(sum(s.outline.area for s in sections.values()), rel=1e-6)
    assert whole.area == pytest.approx(3 * 810_000, rel=1e-6)
    for s in sections.values():
        assert s.area_mm2 == pytest.approx(s.outline.area / 1e6, rel=1e-4, abs=1e-4)
    again, orphans = carried(list(sections.values()), [s for s in sections.values() if s not in PIECES], PIECES)
    assert not orphans
    assert len(again) == len(sections)
    for s in again:
        before = sections[s.section_id]
        assert (s.area_mm2, s.included) == (pytest.approx(before.area_mm2, abs=0.003), before.included)


def test_every_section_command_is_one_line_of_the_log(study):
    with opened(study) as session:
        session.merge_sections(["ovary_s1", "ovary_s2"])
        session.exclude_region(Point(1500, 400).buffer(90), "pen")
        session.set_included(["ovary_s3"], False)
    lines = (study.slide_folder(SLIDE) / "edits.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds[:3] == ["merge_sections", "exclude_region", "set_included"]
    assert np.all([json.loads(line)["author"] == "Ada" for line in lines[:3]])
