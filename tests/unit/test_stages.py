"""A stage is a row of one table; every place that must know all stages is named here, so that none is forgotten."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from follicle_stager_napari.keymap import STAGES
from follicles import make_follicle
from shapely.geometry import Point

from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.config import StagingConfig
from follicle_stager.measurements import Measurements
from follicle_stager.phantom import biology
from follicle_stager.phantom.sectioning import _stage_seen
from follicle_stager.report import figures
from follicle_stager.stages import FOUR_CLASSES, LADDER, RUNGS, TABLE_ROWS, Stage, read_class
from follicle_stager.staging import learned
from follicle_stager.staging.criteria import stage_probabilities
from follicle_stager.statistics.stage_errors import _prior
from follicle_stager.study import Run
from follicle_stager.study.schemas import FOLLICLES, SCHEMAS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_whole():
    assert len({stage.color for stage in Stage}) == len(Stage), "each stage has a colour of its own"
    assert all(stage.four_class for stage in LADDER)
    assert [stage for stage in Stage if stage.rung] == list(LADDER), "in the order of growth"
    assert [stage for stages in RUNGS.values() for stage in stages] == list(LADDER), "each is on one rung"
    assert set(FOUR_CLASSES) == {"Primordial", "Primary", "Secondary", "Tertiary"}
    assert {s for s in LADDER if s.resting}.isdisjoint(s for s in LADDER if s.antral)


@pytest.mark.parametrize("stage", list(Stage))
def test_it_is_written_and_read_by_its_name(stage, tmp_path):
    assert read_class(stage.label) == (stage, None)
    assert Stage(stage.value) is stage
    path = tmp_path / "f.geojson"
    write_geojson(path, [make_follicle("a", "s", Point(9, 9).buffer(5), stage=stage, stage_predicted=stage)])
    (back,) = read_geojson(path)
    assert back.stage == back.stage_predicted == stage


def test_the_criteria_know_the_ladder():
    m = replace(Measurements(), diameter_um=100.0, fluid_fraction=0.0, largest_space_fraction=0.0)
    fits = stage_probabilities(m, StagingConfig())
    assert list(fits) == list(LADDER), "staging/criteria.py, stage_probabilities: one entry for each stage"
    assert sum(fits.values()) == pytest.approx(1)
    assert {f"criteria_{stage.value}" for stage in LADDER} <= set(learned.FEATURES)


def test_the_tables_have_a_row_and_a_column_for_each():
    allowed = FOLLICLES.columns["stage"].checks[0].statistics["allowed_values"]
    assert list(allowed) == [stage.value for stage in Stage]
    assert [name for name in FOLLICLES.columns if name.startswith("p_")] == [f"p_{s.value}" for s in LADDER]
    for name in ("section", "ovary", "animal", "genotype"):
        rows = SCHEMAS[name].columns["stage"].checks[0].statistics["allowed_values"]
        assert list(rows) == [stage.value for stage in TABLE_ROWS]


def test_the_statistics_count_each_on_its_rung():
    confusion, false = _prior()
    assert confusion.shape == (len(RUNGS), len(RUNGS))
    assert false.shape == (len(RUNGS), 2)
    assert len(figures._LABELS) == len(RUNGS)
    exam = pd.read_csv(DOCS.parent / "follicle_stager" / "statistics" / "confusion.csv", index_col=0)
    assert list(exam.columns) == list(RUNGS)


def test_the_virtual_ovary_grows_each():
    assert set(biology.STAGES) == set(LADDER), "phantom/biology.py, STAGES"
    assert set(biology.small_ovary().stages) == set(LADDER), "phantom/biology.py, small_ovary"


@pytest.mark.parametrize("stage", [s for s in LADDER if not s.antral])
def test_a_reader_sees_follicles_without_fluid_as_they_are(stage):
    assert _stage_seen(stage, Point(0, 0).buffer(60), None, ()) == stage, "phantom/sectioning.py, _stage_seen"


@pytest.mark.parametrize("stage", biology.BLOCKS)
def test_a_block_leaves_its_own_rung_alone(stage):
    free, blocked = biology.GenotypeModel(), biology.GenotypeModel(block_after=stage, block_probability=0.5)
    for own in RUNGS[stage.rung]:
        assert blocked.means()[own] >= free.means()[own]


def test_a_run_that_saw_one_stage_of_a_rung_saw_the_rung():
    """A study of a version that did not know a stage counts its rung all the same."""
    run = Run(visible_stages=(Stage.PRIMARY, Stage.ANTRAL))
    assert run.visible_stages == (Stage.PRIMARY, Stage.ANTRAL, Stage.PREOVULATORY)


def test_the_window_has_a_key_for_each():
    assert {action.stage for action in STAGES} == set(Stage), "keymap.py, STAGES"
    assert len({action.key for action in STAGES}) == len(STAGES)
    assert all(len(action.key) == 1 for action in STAGES), "one key each: 1 to 9 are the ladder and corpus luteum"


def test_the_documentation_names_each():
    for page in ("tables.md", "review.md", "stages.md"):
        text = (DOCS / page).read_text(encoding="utf-8").lower()
        for stage in LADDER:
            words = rf"\b({re.escape(stage.value)}|{re.escape(stage.label.lower())})\b"
            assert re.search(words, text), f"{page} does not name {stage.value}"
