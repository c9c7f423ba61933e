"""Atomic writes, safe tables, and a configuration that survives its own file."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from follicle_stager.config import Config, dump_config, load_config
from follicle_stager.errors import UserError
from follicle_stager.files import plain_cell, replacing, write_csv, write_text
from follicle_stager.stages import Stage, parse_stage


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


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-x", "@SUM(A1)", "\tx"])
def test_no_cell_is_a_formula(tmp_path, cell):
    write_csv(tmp_path / "t.csv", pd.DataFrame({"a": [cell], "n": [-3.5]}))
    back = pd.read_csv(tmp_path / "t.csv")
    assert back["a"][0] == "'" + cell
    assert back["n"][0] == -3.5


@given(st.text(min_size=1))
def test_plain_text_stays(text):
    assert plain_cell(text) in (text, "'" + text)


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
        ("[detection]\nmax_follicle_um = inf", "detection.max_follicle_um"),
    ],
)
def test_bad_config_is_named(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "c.toml")


def test_parameters_are_documented():
    """docs/parameters.md is what docs/make_parameters.py writes, and each parameter says what it is."""
    docs = Path(__file__).parents[2] / "docs"
    page = runpy.run_path(str(docs / "make_parameters.py"))["page"]()
    assert (docs / "parameters.md").read_text(encoding="utf-8") == page
    assert not [line for line in page.splitlines() if line.endswith("|  |")]
    for part, values in Config().model_dump().items():
        for name, default in values.items():
            assert f"| `{part}.{name}` | {default} |" in page


@pytest.mark.parametrize("stage", list(Stage))
def test_stage_names_are_read_as_people_write_them(stage):
    for text in (stage.value, stage.label, stage.label.upper(), f" {stage.value.replace('_', '-')} "):
        assert parse_stage(text) == stage


def test_unknown_stage_lists_the_names():
    with pytest.raises(ValueError, match="Early antral"):
        parse_stage("blastocyst")
