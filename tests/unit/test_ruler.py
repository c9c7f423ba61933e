"""µm/px from nuclei: right within a factor, and a wrong one is noticed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from follicle_stager.config import Config, TissueConfig
from follicle_stager.pipeline import process_slide
from follicle_stager.ruler import LARGEST_ERROR, nuclear_mpp
from follicle_stager.slides import open_slide
from follicle_stager.stain import _HEMATOXYLIN as HEMATOXYLIN
from follicle_stager.tissue import survey

PINK = np.array([0.08, 0.35, 0.14])


def painted(path, mpp, radius_um=2.6, side_um=420.0, nuclei=2600):
    """A slide of pink tissue with round nuclei in it, and glass around it."""
    rng = np.random.default_rng(2)
    side = round(side_um / mpp)
    y, x = np.mgrid[:side, :side] * mpp
    inside = np.hypot(x - side_um / 2, y - side_um / 2) < 0.42 * side_um
    nuclear = np.zeros((side, side))
    reach = math.ceil(radius_um / mpp) + 1
    for cx, cy in rng.uniform(0, side_um, (nuclei, 2)):
        r, c = int(cy / mpp), int(cx / mpp)
        box = slice(max(0, r - reach), r + reach + 1), slice(max(0, c - reach), c + reach + 1)
        edge = radius_um - np.hypot(x[box] - cx, y[box] - cy)
        nuclear[box] = np.maximum(nuclear[box], np.clip(edge / mpp + 0.5, 0, 1))
    density = inside[..., None] * (PINK + 0.9 * nuclear[..., None] * np.asarray(HEMATOXYLIN))
    tifffile.imwrite(path, np.clip(245 * np.exp(-density) + 0.5, 0, 255).astype(np.uint8), photometric="rgb")
    return path


def estimated(path, stated):
    with open_slide(path, mpp=stated) as slide:
        overview = survey(slide, TissueConfig(min_section_mm2=0.01))
        return nuclear_mpp(slide, overview, overview.sections[0])


@pytest.fixture(scope="module", params=[0.5, 1.0])
def slide(request, tmp_path_factory):
    return painted(tmp_path_factory.mktemp("nuclei") / "a.tif", request.param), request.param


@settings(max_examples=6)
@given(error=st.floats(0.5, 2.0))
def test_the_estimate_does_not_depend_on_what_is_stated(slide, error):
    path, mpp = slide
    assert estimated(path, mpp * error) == pytest.approx(mpp, rel=0.25)


def test_larger_nuclei_give_a_smaller_pixel(tmp_path):
    small, large = (estimated(painted(tmp_path / f"{r}.tif", 0.5, radius_um=r), 0.5) for r in (2.6, 4.2))
    assert small / large == pytest.approx(4.2 / 2.6, rel=0.2)


def test_tissue_without_nuclei_gives_none(tmp_path):
    assert math.isnan(estimated(painted(tmp_path / "plain.tif", 0.5, nuclei=0), 0.5))


@pytest.mark.parametrize("error", [0.5, 1.0, 2.0])
def test_a_wrong_scale_is_said_with_both_values_and_changes_nothing(slide, error):
    path, mpp = slide
    with open_slide(path, mpp=mpp * error) as opened:
        result = process_slide(opened, Config.model_validate({"tissue": {"min_section_mm2": 0.01}}))
    (section,) = result.sections
    said = f"µm/px is {mpp * error:.3g}" in section.doubt and "nuclei suggest" in section.doubt
    assert said == (max(error, 1 / error) > LARGEST_ERROR)
    assert result.pixel_size.mpp == pytest.approx(mpp * error)
    assert result.quality["mpp_by_nuclei"] == pytest.approx(mpp, rel=0.25)
