"""Shared fixtures: a small synthetic section with its truth, and the real sections where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from follicle_stager.phantom import Appearance, GenotypeModel, plan_section, render_section
from follicle_stager.phantom.cohort import write_ome_tiff
from follicle_stager.stages import Stage

REAL = Path(__file__).parents[2] / "shared" / "real_sections"


@pytest.fixture(scope="session")
def section():
    """A small H&E section at 1 µm/px and the plan that it was drawn from."""
    rng = np.random.default_rng(23)
    rates = {Stage.PRIMARY: 4.0, Stage.SECONDARY: 6.0, Stage.ANTRAL: 1.0}
    plan = plan_section(rng, rates, atretic=0.0, size_um=620)
    return plan, render_section(plan, Appearance.draw(rng, "H&E"), mpp=1.0)


@pytest.fixture(scope="session")
def section_path(section, tmp_path_factory):
    """The same section as a pyramidal OME-TIFF."""
    path = tmp_path_factory.mktemp("slide") / "ovary.ome.tif"
    write_ome_tiff(path, section[1], mpp=1.0)
    return path


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Two animals per group of one model, one small section each, with a sample sheet."""
    from follicle_stager.phantom import CohortPlan, write_cohort

    folder = tmp_path_factory.mktemp("cohort")
    plan = CohortPlan(models={"Igfals": "H&E"}, animals=2, sections=1, section_um=420, seed=5)
    write_cohort(folder, plan)
    return folder


@pytest.fixture
def rates():
    return GenotypeModel().rates()


@pytest.fixture(scope="session")
def real_sections():
    if not REAL.is_dir():
        pytest.skip("the real sections are not on this machine")
    return REAL
