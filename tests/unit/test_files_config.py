"""Atomic writes, safe tables, and a configuration that survives its own file."""

from __future__ import annotations

import gc
import runpy
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from follicle_stager.annotations import read_geojson
from follicle_stager.config import Config, dump_config, load_config
from follicle_stager.errors import UserError
from follicle_stager.files import many_objects, plain_cell, replacing, write_csv, write_text
from follicle_stager.stages import Health, Stage, read_class


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "@SUM(A1)",
        "\tx",
        " =1+1",
        "+HYPERLINK(A1)",
        "-2+3+cmd|' /C calc'!A0",
        "+'http://x/[y]s'!A1",
        "＝1+1",
        "wt;=HYPERLINK(A1)",
        "\u200b=1+1",
    ],
)
def test_no_cell_and_no_header_is_a_formula(tmp_path, cell):
    write_csv(tmp_path / "t.csv", pd.DataFrame({cell: [cell], "n": [-3.5]}))
    header, row = (tmp_path / "t.csv").read_text("utf-8").split("\n")[:2]
    assert header.lstrip('"').startswith("'")
    assert row.lstrip('"').startswith("'")
    assert row.endswith(",-3.5")


@pytest.mark.parametrize(
    "cell", ["+/+", "-/-", "+/-", "+/fl", "+|+", "- (wt)", "-/-; Cre (n = 3)", "-", "+x", "-5", "WT", "a=b", ""]
)
def test_genotypes_stay_as_the_sheet_has_them(tmp_path, cell):
    write_csv(tmp_path / "t.csv", pd.DataFrame({"genotype": [cell], "n": [1]}))
    assert pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)["genotype"][0] == cell


@given(st.text(min_size=1))
def test_plain_text_stays(text):
    assert plain_cell(text) in (text, "'" + text)


def test_the_search_for_unused_objects_goes_on_after_an_error(tmp_path):
    (tmp_path / "a.geojson").write_text("[{}]")
    assert gc.isenabled()
    with pytest.raises(UserError):
        read_geojson(tmp_path / "a.geojson")
    assert gc.isenabled()
    with many_objects(), many_objects():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_config_round_trip(tmp_path):
    config = Config.model_validate({"detection": {"min_score": 0.7}, "staging": {"preovulatory_um": 350}})
    (tmp_path / "c.toml").write_text(dump_config(config))
    assert load_config(tmp_path / "c.toml") == config
    assert config.fingerprint() != Config().fingerprint()
    assert Config.model_validate(tomllib.loads(dump_config(Config()))) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[detection]\nmin_scor = 1", "detection.min_scor"),
        ("[detection]\nmin_score = 2", "detection.min_score"),
        ("[detection", "not valid TOML"),
        ("[staging]\nfluid_min_fraction = 0", "staging.fluid_min_fraction"),
        ("[detection]\nmin_oocyte_um = 90", "min_oocyte_um must be smaller than max_oocyte_um"),
        ("[classical]\nmax_follicle_um = inf", "classical.max_follicle_um"),
    ],
)
def test_bad_config_is_named(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "c.toml")


def test_parameters_are_documented():
    """docs/parameters.md is what tools/make_parameters.py writes, and each parameter says what it is."""
    root = Path(__file__).parents[2]
    page = runpy.run_path(str(root / "tools" / "make_parameters.py"))["page"]()
    assert (root / "docs" / "parameters.md").read_text(encoding="utf-8") == page
    assert not [line for line in page.splitlines() if line.endswith("|  |")]
    for part, values in Config().model_dump().items():
        for name, default in values.items():
            assert f"| `{part}.{name}` | {default} |" in page


@pytest.mark.parametrize("stage", list(Stage))
def test_stage_names_are_read_as_people_write_them(stage):
    for text in (stage.value, stage.label, stage.label.upper(), f" {stage.value.replace('_', '-')} "):
        assert read_class(text) == (stage, None)


@pytest.mark.parametrize(
    ("text", "stage", "health"),
    [
        ("Follicle: Primary", Stage.PRIMARY, None),
        ("Primary: Atretic", Stage.PRIMARY, Health.ATRETIC),
        ("Secondary follicles (healthy)", Stage.SECONDARY, Health.HEALTHY),
        ("Corpora lutea", Stage.CORPUS_LUTEUM, None),
        ("not a follicle", Stage.NOT_FOLLICLE, None),
        ("Atretic follicle", None, Health.ATRETIC),
        ("Preantral", None, None),
        ("Antral wall", None, None),
        ("Number of primary follicles", Stage.PRIMARY, None),
        ("No. of antral follicles (n)", Stage.ANTRAL, None),
        ("no antral follicles", None, None),
        ("Graafian follicle", Stage.PREOVULATORY, None),
        ("small antral", Stage.EARLY_ANTRAL, None),
        ("not antral", None, None),
        ("Primary: Secondary", None, None),
        ("Antral: ours", Stage.ANTRAL, None),
        ("blastocyst", None, None),
        ("", None, None),
    ],
)
def test_classes_name_a_stage_or_none(text, stage, health):
    """A class that holds the name of a stage need not be of that stage."""
    assert read_class(text) == (stage, health)
