"""Sampling corrections against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from follicle_stager.study.sampling import abercrombie, height_from_profiles, interval_scaled


@pytest.mark.parametrize(("height", "factor"), [(10, 3), (25, 6)])
def test_five_micron_sections_count_three_and_six_times(height, factor):
    assert interval_scaled(60, 10) / abercrombie(60, 10, thickness_um=5, height_um=height) == pytest.approx(factor)


def test_a_lost_cap_raises_the_estimate():
    # 5 / (5 + 10 - 2) instead of 5 / 15
    assert abercrombie(39, 1, thickness_um=5, height_um=10, lost_cap_um=1) == pytest.approx(15)
    with pytest.raises(ValueError, match="show no body"):
        abercrombie(1, 1, thickness_um=2, height_um=1, lost_cap_um=2)


@given(diameter=st.floats(5, 100), thickness=st.floats(1, 20))
def test_height_is_found_again_from_its_profiles(diameter, thickness):
    mean_profile = (thickness * diameter + np.pi * diameter**2 / 4) / (thickness + diameter)
    assert height_from_profiles(mean_profile, thickness_um=thickness) == pytest.approx(diameter)


def test_height_from_drawn_spheres():
    """10,000 random sections of a sphere of 20 µm, each as wide as its widest part."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-15, 10, 10_000)
    off = np.maximum(0, np.maximum(z, -z - 5))
    seen = 2 * np.sqrt(10**2 - np.minimum(off, 10) ** 2)
    assert height_from_profiles(float(seen.mean()), thickness_um=5) == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("values", [{"thickness_um": 0}, {"thickness_um": -5}])
def test_impossible_sections_are_refused(values):
    with pytest.raises(ValueError, match="thickness_um"):
        abercrombie(1, 1, height_um=10, **values)
    with pytest.raises(ValueError, match="interval"):
        interval_scaled(1, 0)


@given(mean=st.floats(1, 30), thickness=st.floats(1, 20), cap=st.floats(0, 15))
def test_a_height_is_never_below_the_mean_profile(mean, thickness, cap):
    """Nor above the one of which nothing is lost."""
    height = height_from_profiles(mean, thickness_um=thickness, lost_cap_um=cap)
    assert mean - 1e-9 <= height <= height_from_profiles(mean, thickness_um=thickness) + 1e-9


@pytest.mark.parametrize(("diameter", "thickness", "cap"), [(20, 5, 1), (20, 5, 3), (12, 5, 2), (8, 10, 2)])
def test_height_where_caps_are_lost(diameter, thickness, cap):
    """Spheres cut at random; of those that reach in by less than the cap nothing is seen."""
    radius = diameter / 2
    away = np.random.default_rng(0).uniform(0, thickness / 2 + radius, 400_000)
    outside = np.maximum(away - thickness / 2, 0)
    profiles = 2 * np.sqrt(np.maximum(radius**2 - outside**2, 0))[outside < radius - cap]
    height = height_from_profiles(profiles.mean(), thickness_um=thickness, lost_cap_um=cap)
    assert height == pytest.approx(diameter, rel=0.003)
