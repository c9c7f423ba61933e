"""The synthetic sections: seeded, true to their truth, and with the arrest that was planted."""

from __future__ import annotations

import numpy as np
import pytest

from follicle_stager.phantom import Appearance, GenotypeModel, plan_section, render_section, render_slide
from follicle_stager.stages import Countable, Health, Stage


def test_a_seed_gives_the_same_pixels(rates):
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(4)
        plan = plan_section(rng, rates, size_um=300)
        pictures.append(render_section(plan, Appearance.draw(rng, "H&E"), mpp=1.5))
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("mpp", [0.7, 1.0, 2.0])
def test_truth_is_where_the_pixels_are(mpp):
    """Healthy oocytes are paler in hematoxylin than the granulosa around them; fluid is the brightest."""
    rng = np.random.default_rng(8)
    plan = plan_section(rng, {Stage.SECONDARY: 4.0, Stage.ANTRAL: 1.0}, atretic=0, size_um=600)
    look = Appearance.draw(rng, "hematoxylin")
    picture = render_section(plan, look, mpp=mpp).astype(float)
    from shapely import contains_xy

    y, x = (np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]] + 0.5) * mpp
    checked = 0
    for body in plan.follicles:
        truth = body.truth()
        inside = contains_xy(truth.outline, x, y)
        brightness = {"granulosa": inside}
        if truth.oocyte is not None:
            core = contains_xy(truth.oocyte.buffer(-2), x, y)
            brightness = {"oocyte": core, "granulosa": inside & ~contains_xy(truth.oocyte.buffer(6), x, y)}
        for space in truth.fluid:
            brightness["granulosa"] = brightness["granulosa"] & ~contains_xy(space.buffer(3), x, y)
            assert picture[contains_xy(space.buffer(-3), x, y), 0].mean() > 215
        means = {name: picture[mask, 0].mean() for name, mask in brightness.items() if mask.sum() > 20}
        if "oocyte" in means:
            checked += 1
            assert means["oocyte"] > means["granulosa"] + 25
    assert checked


def test_planted_arrest_moves_follicles_from_antral_to_secondary():
    control, knockout = GenotypeModel().rates(), GenotypeModel(arrest=0.8).rates()
    assert knockout[Stage.ANTRAL] == pytest.approx(0.2 * control[Stage.ANTRAL])
    assert knockout[Stage.SECONDARY] > control[Stage.SECONDARY]
    assert knockout[Stage.PRIMARY] == control[Stage.PRIMARY]


def test_counts_follow_the_rates():
    """Means over many sections are the Poisson rates, as long as the section has room."""
    rng = np.random.default_rng(0)
    rates = {Stage.PRIMARY: 2.0, Stage.SECONDARY: 1.0}
    plans = [plan_section(rng, rates, size_um=900) for _ in range(80)]
    for stage, rate in rates.items():
        mean = np.mean([sum(f.stage == stage for f in p.follicles) for p in plans])
        assert mean == pytest.approx(rate, abs=3 * np.sqrt(rate / 80))


def test_nuclei_and_caps_are_as_often_as_geometry_says():
    """A plane at a random height meets the nucleus of fewer follicles than their oocyte."""
    rng = np.random.default_rng(1)
    plans = [plan_section(rng, {Stage.SECONDARY: 5.0}, atretic=0, size_um=900) for _ in range(40)]
    truth = [f.truth() for p in plans for f in p.follicles]
    with_oocyte = np.mean([t.oocyte is not None for t in truth])
    with_nucleus = np.mean([t.nucleus is not None for t in truth])
    assert 0.3 < with_oocyte < 0.8
    assert 0.1 < with_nucleus < with_oocyte


def test_slide_truth_is_in_pixels_of_the_slide():
    picture, truth = render_slide(
        np.random.default_rng(2), GenotypeModel(), stain="PAS", sections=2, mpp=1.5, section_um=300
    )
    assert {f.section_id for f in truth} <= {"section 1", "section 2"}
    for f in truth:
        x0, y0, x1, y1 = f.outline.bounds
        assert 0 <= x0 < x1 <= picture.shape[1]
        assert 0 <= y0 < y1 <= picture.shape[0]
        assert (f.countable == Countable.YES) == (f.nucleus is not None)
        assert f.health in (Health.HEALTHY, Health.ATRETIC)
