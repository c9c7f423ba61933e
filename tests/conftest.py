"""Shared fixtures: a small synthetic section with its truth, and the real sections where they are at hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.phantom import (
    CohortPlan,
    build_ovary,
    faithful,
    render_slide,
    series,
    small_ovary,
    write_cohort,
)
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.study import Study, list_slides

# How long an example takes depends on the machine, and says nothing of the code.
settings.register_profile("no timing", deadline=None)
settings.load_profile("no timing")

REAL = Path(__file__).parents[2] / "shared" / "real_sections"


def tiny_ovary(**numbers: float):
    """Parameters of an ovary of 0.75 mm without atresia; ``numbers`` per stage."""
    stages = {
        stage: model.model_copy(update={"per_ovary": numbers.get(stage.value, 0.0), "atretic": 0.0})
        for stage, model in small_ovary().stages.items()
    }
    return small_ovary(length_mm=(0.72, 0.78), stages=stages, vessels=4, animal_cv=0, stage_cv=0, lost_cap_um=0)


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process: gives the exit code and everything printed."""
    from follicle_stager.cli import main
    from follicle_stager.cli.common import err, out

    def call(*args: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["follicle-stager", *map(str, args)])
        for console in (out, err):  # as wide whatever runs the tests
            monkeypatch.setattr(console, "width", 200)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


@pytest.fixture(scope="session")
def section():
    """A clean H&E section at 1 µm/px: its true follicles, in pixels, and the picture."""
    rng = np.random.default_rng(14)
    ovary = build_ovary(rng, tiny_ovary(primary=40, secondary=14, antral=1))
    cuts = series(ovary, thickness_um=5, interval=1)
    # This one goes through primary, secondary and antral follicles.
    slide = render_slide(ovary, [cuts[64]], faithful(rng, "H&E", faults=0), rng, mpp=1.0)
    return slide.follicles, slide.picture


@pytest.fixture(scope="session")
def section_path(section, tmp_path_factory):
    """The same section as a pyramidal OME-TIFF."""
    path = tmp_path_factory.mktemp("slide") / "ovary.ome.tif"
    write_ome_tiff(path, section[1], mpp=1.0)
    return path


@pytest.fixture(scope="session")
def plan():
    """Two animals per group of one model, two small sections each."""
    control = tiny_ovary(primordial=60, primary=30, secondary=12, antral=1)
    return CohortPlan(models={"Igfals": "H&E"}, animals=2, sections=2, control=control, block_after="secondary", seed=5)


@pytest.fixture(scope="session")
def cohort(plan, tmp_path_factory):
    """The slides of `plan`, with sample sheet and truth."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, plan)
    return folder


@pytest.fixture(scope="session")
def real_sections():
    if not REAL.is_dir():
        pytest.skip("the real sections are not on this machine")
    return REAL


@pytest.fixture(scope="session")
def staged(cohort, tmp_path_factory):
    """A study of two slides of the cohort, with a sample sheet; not to be changed."""
    config = Config().with_options(detection={"min_score": 0.3})  # so that the tiny slides have three follicles or more
    study = Study.create(tmp_path_factory.mktemp("desk") / "study", config)
    sources = list_slides(cohort)[:2]
    assert all(outcome.state == "done" for outcome in run_batch(study, sources, config))
    rows = [f"{s.slide_id},{s.slide_id},{g},{g}" for s, g in zip(sources, ("knockout", "control"), strict=True)]
    study.samples_path.write_text("slide,animal,genotype,group\n" + "\n".join(rows) + "\n")
    return study.path
