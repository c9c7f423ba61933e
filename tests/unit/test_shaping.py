"""Brush, nudge and smooth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from follicle_stager.corrections.shaping import brushed, nudged, smoothed
from follicle_stager.errors import UserError

DISC = Point(100, 100).buffer(40)
places = st.tuples(st.floats(40, 160), st.floats(40, 160))


@given(stroke=st.lists(places, min_size=1, max_size=6), radius=st.floats(3, 20))
def test_a_stroke_adds_if_it_begins_inside_and_takes_if_outside(stroke, radius):
    begins_inside = DISC.contains(Point(stroke[0]))
    try:
        after = brushed(DISC, stroke, radius)
    except UserError:
        assert not begins_inside
        return
    assert after.is_valid
    assert not after.interiors
    if begins_inside:
        assert after.buffer(1e-6).covers(DISC)
    else:
        assert DISC.buffer(1e-6).covers(after)


def test_a_stroke_beside_the_outline_is_refused():
    with pytest.raises(UserError, match="did not touch"):
        brushed(DISC, [(10, 10), (20, 20)], 5)


def test_all_cannot_be_taken_away():
    with pytest.raises(UserError, match="reject the follicle"):
        brushed(DISC, [(10, 100)] + [(x, y) for y in range(50, 151, 10) for x in (50, 150)], 15)


@given(place=st.integers(0, 39), shift=st.tuples(st.floats(-15, 15), st.floats(-15, 15)))
def test_a_moved_corner_goes_where_it_was_put_and_leaves_no_spike(place, shift):
    turn = np.linspace(0, 2 * np.pi, 41)[:-1]
    before = np.column_stack([100 + 40 * np.cos(turn), 100 + 40 * np.sin(turn)])
    after = before.copy()
    after[place] += shift
    moved = nudged(before, after)
    assert moved[place] == pytest.approx(before[place] + shift)
    steps = np.hypot(*(np.roll(moved - before, -1, axis=0) - (moved - before)).T)
    # What is moved by a millionth of a pixel counts as not moved.
    assert steps.max() <= 0.5 * np.hypot(*shift) + 2e-6, "neighbours follow"


def test_several_moved_corners_are_left_as_they_are():
    before = np.arange(10.0).reshape(5, 2)
    after = before + 1
    assert nudged(before, after) is after
    assert nudged(before, after[:4]) is not before


def test_smoothing_removes_a_spike_and_keeps_the_area():
    ring = list(DISC.exterior.coords)
    spiky = Polygon([*ring[:10], (190, 40), *ring[11:]])
    smooth = smoothed(spiky)
    assert smooth.bounds[2] < 150
    assert smooth.area == pytest.approx(DISC.area, rel=0.05)
    assert smoothed(DISC).area == pytest.approx(DISC.area, rel=0.01)
