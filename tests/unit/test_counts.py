"""Zeros are rows, what cannot be seen is NA, sums agree, and nothing is dropped."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from follicles import make_follicle
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from shapely.geometry import MultiPolygon, Point, box
from studies import count_study

from follicle_stager.annotations import write_geojson, write_sections
from follicle_stager.cli.tables import count_tables
from follicle_stager.config import Config
from follicle_stager.errors import SampleSheetError, StudyError, UserError
from follicle_stager.files import write_text
from follicle_stager.measurements import Measurements
from follicle_stager.records import Assessment, Section, follicle_id
from follicle_stager.stages import LADDER, TABLE_ROWS, Countable, Stage, Status
from follicle_stager.study import Study

HEADER = "slide,animal,genotype,group,model,ovary,section,interval,thickness_um\n"
COARSE = tuple(s for s in LADDER if s not in (Stage.PRIMORDIAL, Stage.TRANSITIONAL))


def make_study(folder, slides, rows, *, visible=COARSE):
    """A finished study: slide id -> list of sections, each a list of (stage, countable)."""
    study = Study.create(Path(folder) / "study", Config())
    for slide_id, sections in slides.items():
        place = study.slide_folder(slide_id)
        records, follicles = [], []
        for order, content in enumerate(sections, start=1):
            name = f"{slide_id}_s{order}"
            outline = box(1000 * order, 0, 1000 * order + 900, 900)
            records.append(Section(name, MultiPolygon([outline]), 0.81, order))
            for i, (stage, countable) in enumerate(content):
                shape = Point(1000 * order + 40 + 30 * i, 100).buffer(12)
                follicles.append(
                    make_follicle(follicle_id(name, shape), name, shape, stage=stage, stage_predicted=stage,
                             countable=countable, status=Status.PREDICTED)
                )  # fmt: skip
        write_sections(place / "sections.geojson", records)
        write_geojson(place / "follicles.geojson", follicles)
        info = {"source": f"{slide_id}.tif", "visible_stages": [s.value for s in visible]}
        write_text(place / "run.json", json.dumps(info))
    write_text(study.samples_path, HEADER + "\n".join(rows) + "\n")
    return study


SEC, ANT, UNSURE = Stage.SECONDARY, Stage.ANTRAL, Stage.UNSURE
YES, NO = Countable.YES, Countable.NO


@pytest.fixture
def counts(tmp_path):
    study = make_study(
        tmp_path,
        {"a": [[(SEC, YES), (SEC, NO), (ANT, YES)], [(SEC, YES)]], "b": [[(UNSURE, NO)]], "c": [[]]},
        [
            "a,m1,+/+,control,Igfals,L,,10,5",
            "b,m2,+/+,control,Igfals,L,,10,5",
            "c,m3,-/-,knockout,Igfals,L,,,5",
        ],
    )
    return study, count_study(study)


def value(table, column, **keys):
    for name, wanted in keys.items():
        table = table[table[name] == wanted]
    assert len(table) == 1
    return table[column].iloc[0]


def test_corpora_lutea_are_counted_apart_from_the_ladder(tmp_path):
    """Profiles and their share of the tissue by hand; NA where the detector does not look for them."""
    body = (Stage.CORPUS_LUTEUM, Countable.NO)
    rows = ["a,m1,+/+,control,Igfals,L,,10,5", "b,m2,-/-,knockout,Igfals,L,,10,5"]
    for visible, profiles in ((COARSE, [pd.NA, pd.NA]), ((*COARSE, Stage.CORPUS_LUTEUM), [3, 0])):
        place = tmp_path / str(len(visible))
        place.mkdir()
        study = make_study(place, {"a": [[body, (SEC, YES), body], [body]], "b": [[]]}, rows, visible=visible)
        for slide in ("a", "b"):
            path = study.slide_folder(slide) / "run.json"
            write_text(path, json.dumps(json.loads(path.read_text()) | {"mpp_x": 2.0, "mpp_y": 2.0}))
        c = count_study(study)
        animals = c.corpora_lutea_animal
        assert list(animals["n_profiles"].fillna(-1)) == [-1 if p is pd.NA else p for p in profiles]
        assert len(c.corpora_lutea_section) == 3
        assert list(animals["area_mm2"]) == [
            value(c.animal, "area_mm2", animal=a, stage="antral") for a in ("m1", "m2")
        ]
        assert set(c.section["stage"]) == {stage.value for stage in TABLE_ROWS}
        assert value(c.animal, "n_profiles", animal="m1", stage="secondary") == 1
        if Stage.CORPUS_LUTEUM in visible:
            area_mm2 = 3 * 4 * Point(0, 0).buffer(12).area / 1e6
            assert animals["luteal_mm2"][0] == pytest.approx(area_mm2, abs=2e-4)
            assert animals["luteal_fraction"][0] == pytest.approx(area_mm2 / 1.62, abs=1e-4)
            assert animals["luteal_fraction"][1] == 0


def test_by_hand(counts):
    _, c = counts
    assert value(c.animal, "n_profiles", animal="m1", stage="secondary") == 3
    assert value(c.animal, "n_countable", animal="m1", stage="secondary") == 2
    assert value(c.animal, "interval_scaled", animal="m1", stage="secondary") == 20
    assert value(c.animal, "countable_per_mm2", animal="m1", stage="secondary") == pytest.approx(2 / 1.62, abs=1e-3)
    assert value(c.section, "n_profiles", section="a_s2", stage="secondary") == 1
    assert value(c.animal, "sections", animal="m1", stage="antral") == 2
    assert value(c.genotype, "n_profiles_mean", genotype="+/+", stage="secondary") == 1.5
    assert value(c.genotype, "n_profiles_sd", genotype="+/+", stage="secondary") == pytest.approx(4.5**0.5, abs=1e-3)
    assert value(c.genotype, "n_animals", genotype="+/+", stage="secondary") == 2


def test_every_stage_is_a_row_and_absent_ones_are_zero(counts):
    _, c = counts
    for table, keys in ((c.section, "section"), (c.animal, "animal"), (c.ovary, "animal")):
        for _, rows in table.groupby(keys):
            assert list(rows["stage"]) == [s.value for s in TABLE_ROWS]
    assert value(c.animal, "n_profiles", animal="m3", stage="antral") == 0
    assert value(c.animal, "n_profiles", animal="m2", stage="unsure") == 1


def test_a_stage_that_cannot_be_seen_is_na(counts):
    study, c = counts
    assert value(c.animal, "n_profiles", animal="m1", stage="primordial") is pd.NA
    written = pd.read_csv(study.tables / "counts_by_animal.csv", keep_default_na=False)
    assert value(written, "n_profiles", animal="m1", stage="primordial") == "NA"
    assert value(written, "n_profiles", animal="m3", stage="antral") == "0"


def test_a_chance_outline_does_not_make_a_stage_visible(tmp_path):
    rows = ["a,m1,+/+,control,,,,,", "b,m2,+/+,control,,,,,"]
    c = count_study(make_study(tmp_path, {"a": [[(Stage.PRIMORDIAL, YES)]], "b": [[]]}, rows))
    assert value(c.animal, "n_profiles", animal="m1", stage="primordial") is pd.NA
    assert np.isnan(value(c.genotype, "n_profiles_mean", genotype="+/+", stage="primordial"))


def test_a_follicle_drawn_by_hand_is_counted_where_it_lies(tmp_path):
    study = make_study(tmp_path, {"a": [[], []]}, ["a,m1,+/+,control,,,,,"])
    path = study.slide_folder("a") / "follicles.geojson"
    ring = [[2100, 100], [2150, 100], [2150, 150], [2100, 150], [2100, 100]]
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "Antral", "color": [1, 2, 3]}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    assert value(count_study(study).section, "n_profiles", section="a_s2", stage="antral") == 1
    drawn["geometry"]["coordinates"] = [[[x + 9000, y] for x, y in ring]]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    with pytest.raises(StudyError, match="x = 11125, y = 125 lies on no section"):
        count_study(study)


def test_a_bad_sheet_does_not_replace_the_good_one(counts, tmp_path):
    study, _ = counts
    (tmp_path / "bad.csv").write_text("slide,animal\n")
    before = study.samples_path.read_text()
    with pytest.raises(SampleSheetError):
        count_study(study, samples_path=tmp_path / "bad.csv")
    assert study.samples_path.read_text() == before


def test_without_interval_nothing_is_extrapolated(counts):
    _, c = counts
    assert value(c.animal, "interval_scaled", animal="m3", stage="secondary") is pd.NA


def test_one_animal_has_no_sd(counts):
    _, c = counts
    assert np.isnan(value(c.genotype, "n_profiles_sd", genotype="-/-", stage="secondary"))


def test_rejected_follicles_do_not_count(tmp_path):
    study = make_study(tmp_path, {"a": [[(SEC, YES)]]}, ["a,m1,+/+,control,,,,,"])
    path = study.slide_folder("a") / "follicles.geojson"
    path.write_text(path.read_text().replace('"status": "predicted"', '"status": "rejected"'))
    assert value(count_study(study).animal, "n_profiles", animal="m1", stage="secondary") == 0


def test_a_study_without_follicles_is_all_zeros(tmp_path):
    study = make_study(tmp_path, {"a": [[]]}, ["a,m1,+/+,control,,,,,"])
    c = count_study(study)
    assert c.animal["n_profiles"].fillna(0).sum() == 0
    assert "follicle_id" in pd.read_csv(study.tables / "follicles.csv").columns


def test_several_animals_on_one_slide(tmp_path):
    study = make_study(
        tmp_path,
        {"a": [[(SEC, YES)], [(ANT, YES)]]},
        ["a,m1,+/+,control,,L,1,,", "a,m2,-/-,knockout,,L,2,,"],
    )
    c = count_study(study)
    assert value(c.animal, "n_profiles", animal="m1", stage="secondary") == 1
    assert value(c.animal, "n_profiles", animal="m2", stage="antral") == 1


def test_a_torn_section_with_a_name_is_one(tmp_path):
    study = make_study(tmp_path, {"a": [[(SEC, YES)], [(SEC, NO)]]}, ["a,m1,+/+,control,,L,7,10,"])
    c = count_study(study)
    assert value(c.section, "n_profiles", section="a_7", stage="secondary") == 2
    assert value(c.animal, "sections", animal="m1", stage="secondary") == 1
    assert value(c.animal, "area_mm2", animal="m1", stage="secondary") == pytest.approx(1.62)


def test_sections_are_given_to_no_animal_by_guess(tmp_path):
    study = make_study(tmp_path, {"a": [[], [], []]}, ["a,m1,+/+,control,,L,1,,", "a,m2,-/-,knockout,,L,2,,"])
    with pytest.raises(StudyError, match="2 rows of m1, m2 for it, but 3 sections"):
        count_study(study)


def test_the_same_picture_twice_is_refused(tmp_path):
    study = make_study(tmp_path, {"a": [[]], "b": [[]]}, ["a,m1,+/+,control,,L,,,", "b,m1,+/+,control,,L,,,"])
    for slide in "ab":
        path = study.slide_folder(slide) / "run.json"
        write_text(path, json.dumps(json.loads(path.read_text()) | {"content": "the same"}))
    with pytest.raises(StudyError, match="slides a and b are the same image"):
        count_study(study)


def test_ovaries_of_an_animal_may_have_intervals_of_their_own(tmp_path):
    """Two ovaries at 10 and 5 are 1/10 + 1/5 of one; three sections of 0.81 mm², and density by hand."""
    slides = {"a": [[(SEC, YES)] * 6, [(SEC, YES)]], "b": [[(SEC, YES)] * 3, []], "c": [[(SEC, YES)]]}
    rows = ["a,m1,+/+,control,,L,,10,5", "b,m1,+/+,control,,R,,5,5", "c,m2,-/-,knockout,,L,,10,5"]
    study = make_study(tmp_path, slides, rows)
    measured = [
        replace(f, remeasured=Assessment(measurements=Measurements(nucleus_um=9.0))) for f in study.follicles("a")
    ]
    write_geojson(study.slide_folder("a") / "follicles.geojson", measured)
    c = count_study(study)
    assert value(c.animal, "ovaries_sampled", animal="m1", stage="secondary") == pytest.approx(0.3)
    assert value(c.animal, "ovaries_sampled", animal="m2", stage="secondary") == pytest.approx(0.1)
    assert np.isnan(value(c.animal, "interval", animal="m1", stage="secondary"))
    h = value(c.section, "nucleus_height_um", section="a_s1", stage="secondary")
    one = value(c.section, "countable_per_mm3", section="a_s1", stage="secondary")
    assert one == pytest.approx(6 / (0.81 * (5 + h) / 1000), rel=1e-3)
    # An estimate over the volume that it is of: ovaries weigh as their intervals say.
    bodies = (7 * 10 + 3 * 5) * 5 / (5 + h)
    volume = (2 * 0.81 * 10 + 2 * 0.81 * 5) * 5 / 1000
    both = value(c.animal, "countable_per_mm3", animal="m1", stage="secondary")
    assert both == pytest.approx(bodies / volume, rel=1e-3)
    assert value(c.animal, "abercrombie", animal="m2", stage="antral") == 0, "of none there are none"
    bodies = value(c.animal, "abercrombie", animal="m1", stage="secondary")
    assert bodies == round(bodies, 2), "a sum has the decimals of its parts"


def test_heights_can_be_given_and_caps_be_lost(tmp_path):
    study = make_study(tmp_path, {"a": [[(SEC, YES)] * 6]}, ["a,m1,+/+,control,,L,,10,5"])
    config = (study.path / "study.toml").read_text()
    (study.path / "study.toml").write_text(config.replace("{}", "{secondary = 17.0}"))
    c = count_study(study)
    assert value(c.animal, "abercrombie", animal="m1", stage="secondary") == pytest.approx(60 * 5 / 22, abs=0.01)
    (study.path / "study.toml").write_text(
        config.replace("{}", "{secondary = 17.0}").replace("lost_cap_um = 0.0", "lost_cap_um = 2.0")
    )
    c = count_study(study)
    assert value(c.animal, "nucleus_height_um", animal="m1", stage="secondary") == 13
    assert value(c.animal, "abercrombie", animal="m1", stage="secondary") == pytest.approx(60 * 5 / 18, abs=0.01)
    (study.path / "study.toml").write_text(
        config.replace("{}", "{secondary = 17.0}").replace("lost_cap_um = 0.0", "lost_cap_um = 20")
    )
    with pytest.raises(StudyError, match=r"lost_cap_um: with 20 no secondary follicle"):
        count_study(study)
    (study.path / "study.toml").write_text(config.replace("{}", "{secondry = 17.0}"))
    with pytest.raises(UserError, match="nucleus_height_um"):
        count_study(study)


def test_an_animal_of_which_nothing_is_counted_is_said(tmp_path):
    study = make_study(tmp_path, {"a": [[]], "b": [[]]}, ["a,m1,+/+,control,,L,,,", "b,m2,+/+,control,,R,,,"])
    path = study.slide_folder("b") / "sections.geojson"
    write_sections(path, [replace(s, included=False) for s in study.sections("b")])
    counts = count_study(study)
    assert counts.notes == (
        "m2 R: none of its sections is counted, so it is missing in the tables",
        "b_s1: not counted (left out), 0.81 mm²",
    )
    shown = io.StringIO()
    Console(file=shown, width=200).print(*count_tables(counts))
    assert counts.notes[0] in shown.getvalue()


def test_means_over_animals_of_several_treatments_are_said(tmp_path):
    study = make_study(tmp_path, {"a": [[]], "b": [[]]}, ["a,m1,+/+,control,,L,,,", "b,m2,+/+,control,,R,,,"])
    lines = study.samples_path.read_text().splitlines()
    ends = ("stimulation", "", "PMSG")
    write_text(study.samples_path, "\n".join(f"{line},{end}" for line, end in zip(lines, ends, strict=True)))
    (note,) = count_study(study).notes
    assert "animals of several treatments (PMSG, none)" in note


def test_slips_of_the_pen_are_named(tmp_path):
    study = make_study(tmp_path, {"a": [[]]}, ["a,m1,+/+,control,,L,,,"])
    sheet = study.samples_path.read_text()
    study.samples_path.write_text(sheet.replace(",interval,", ",Interval,"))
    with pytest.raises(SampleSheetError, match="no column 'Interval'; did you mean 'interval'"):
        count_study(study)
    own = "phenotype", "section_id", "animal_no", "thickness_mm", "notes", "models"
    study.samples_path.write_text(
        "".join(
            line + "," + (",".join(own) if n == 0 else "x," * (len(own) - 1)) + "\n"
            for n, line in enumerate(sheet.split())
        )
    )
    count_study(study)
    sections = study.slide_folder("a") / "sections.geojson"
    sections.write_text(sections.read_text().replace('"included"', '"inclded"'))
    with pytest.raises(UserError, match="no 'inclded'; did you mean 'included'"):
        count_study(study)


def test_a_sheet_that_a_person_edited_is_kept_when_it_is_replaced(tmp_path):
    study = make_study(tmp_path, {"a": [[]]}, ["a,m1,+/+,control,,L,,,"])
    other = tmp_path / "other.csv"
    other.write_text(study.samples_path.read_text().replace("m1", "m2"))
    study.samples_path.write_bytes(study.samples_path.read_bytes() + b"# f\xfcr")
    (note,) = count_study(study, samples_path=other).notes
    assert "samples.replaced_1.csv" in note
    (study.path / "samples.replaced_1.csv").unlink()
    write_text(study.samples_path, other.read_text().replace("m2", "m1"))
    assert count_study(study, samples_path=study.samples_path).notes == ()
    (note,) = count_study(study, samples_path=other).notes
    assert "samples.replaced_1.csv" in note
    assert "m1" in (study.path / "samples.replaced_1.csv").read_text()


content = st.lists(st.tuples(st.sampled_from(COARSE), st.sampled_from([YES, NO])), max_size=6)


@settings(max_examples=20)
@given(st.dictionaries(st.sampled_from("abcd"), st.lists(content, min_size=1, max_size=3), min_size=1))
def test_levels_add_up(slides):
    rows = [f"{name},m{i // 2},+/+,control,Igfals,{'LR'[i % 2]},,10,5" for i, name in enumerate(sorted(slides))]
    with tempfile.TemporaryDirectory() as folder:
        c = count_study(make_study(folder, slides, rows))
    total = sum(len(section) for sections in slides.values() for section in sections)
    for table in (c.section, c.ovary, c.animal):
        assert table["n_profiles"].sum() == total
        assert (table["n_countable"].fillna(0) <= table["n_profiles"].fillna(0)).all()
    assert len(c.follicles) == total


def test_follicle_columns_do_not_depend_on_the_data(counts):
    study, _ = counts
    columns = pd.read_csv(study.tables / "follicles.csv").columns
    assert {"number", "nucleus_um", "layers", "p_antral", "reasons"} <= set(columns)


def test_doubtful_sections_are_counted_and_said(tmp_path):
    study = make_study(tmp_path, {"a": [[(SEC, YES)], [(SEC, YES)]]}, ["a.tif,A,wt,control,,L,,,"])
    path = study.slide_folder("a") / "sections.geojson"
    good, odd = study.sections("a")
    write_sections(path, [good, replace(odd, doubt="unlike all")])
    counts = count_study(study)
    secondary = {name: getattr(counts, name).set_index("stage").loc["secondary"] for name in ("ovary", "animal")}
    assert all(
        (row["n_profiles"], row["sections"], row["doubtful_sections"]) == (2, 2, 1) for row in secondary.values()
    )
    assert counts.genotype["doubtful_sections"].eq(1).all()
    shown = io.StringIO()
    Console(file=shown, width=200).print(*count_tables(counts))
    assert "doubtful: section a_s2" in shown.getvalue()
