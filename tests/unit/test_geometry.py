"""Polygons, masks, polar paths, overlaps: properties that hold for any shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate, scale, translate
from shapely.geometry import Point, Polygon, box

from follicle_stager.detection import FoundFollicle, resolve_overlaps
from follicle_stager.detection.oocytes import score_oocytes, trace_oocytes
from follicle_stager.detection.polar import N_ANGLES, Contours, best_closed_path
from follicle_stager.detection.seeds import find_seeds
from follicle_stager.evaluation import match_outlines
from follicle_stager.field import Field
from follicle_stager.geometry import areas_above, equal_parts, equivalent_diameter, to_mask, to_polygon, two_axes
from follicle_stager.matching import iou
from follicle_stager.stain import StainModel

sizes = st.floats(5, 200)


def blank_field(shape, mpp, x_um=0.0, y_um=0.0):
    stain = StainModel(np.full(3, 250.0), np.ones(3), np.ones(3), 1.0, 1.0, False)
    return Field(np.full((*shape, 3), 250, np.uint8), np.ones(shape, bool), stain, mpp, x_um, y_um)


@given(seed=st.integers(0, 10**6), excess=st.floats(0, 0.3))
def test_areas_of_a_map_enclose_something_in_a_file_with_rounded_coordinates(seed, excess):
    """Also where a single pixel is just above the level."""
    rng, values = np.random.default_rng(seed), np.zeros((9, 9), np.float32)
    values[tuple(rng.integers(0, 9, (2, 4)))] = 0.5 + excess * rng.random(4) ** 4
    for area in areas_above(values, 0.5, x_um=0, y_um=0, mpp=1.0):
        assert Polygon(np.round(area.exterior.coords, 2)).buffer(0).area > 0


@given(st.integers(0, 500), st.integers(1, 5000), st.floats(1, 2000))
def test_equal_parts_cover_a_range_once_and_none_is_too_long(start, length, most):
    parts = equal_parts(start, start + length, most)
    assert [i for a, b in parts for i in range(a, b)] == list(range(start, start + length))
    sides = [b - a for a, b in parts]
    assert max(sides) <= math.ceil(most)
    assert max(sides) - min(sides) <= 1


@given(sizes, sizes, st.floats(0, 180))
def test_two_axes_of_an_ellipse(a, b, angle):
    ellipse = rotate(scale(Point(0, 0).buffer(1, quad_segs=64), a, b), angle)
    longest, across = two_axes(ellipse)
    assert longest == pytest.approx(2 * max(a, b), rel=0.01)
    assert across == pytest.approx(2 * min(a, b), rel=0.03)
    assert equivalent_diameter(ellipse) == pytest.approx(2 * math.sqrt(a * b), rel=0.01)


@settings(max_examples=30)
@given(st.floats(6, 40), st.floats(0.5, 2.0), st.floats(-300, 300))
def test_mask_and_polygon_are_inverse(radius, mpp, offset):
    field = blank_field((160, 160), mpp, offset, -offset)
    disc = Point(offset + 80 * mpp, -offset + 80 * mpp).buffer(radius)
    back = to_polygon(field, to_mask(field, disc))
    assert iou(disc, back) > 1 - 3 * mpp / radius
    assert back.centroid.distance(disc.centroid) < 0.6 * mpp


@settings(max_examples=25)
@given(st.floats(20, 60), st.floats(0, 8), st.integers(2, 4), st.floats(0, 6.28))
def test_closed_path_follows_a_wavy_ridge_and_closes(radius, wave, lobes, phase):
    angle = np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES
    true = radius + wave * np.cos(lobes * angle + phase)
    bins = np.arange(90)
    gain = np.exp(-0.5 * ((bins - true[:, None]) / 2) ** 2)[None].astype(np.float32)
    path = best_closed_path(gain, step_cost=0.01)[0]
    assert np.abs(path - true).max() < 3
    assert abs(int(path[0]) - int(path[-1])) <= 2


@given(st.floats(10, 80), st.floats(0.5, 1.0), st.floats(0, 180))
def test_contours_around_a_polygon_are_the_polygon(radius, aspect, angle):
    ellipse = rotate(scale(Point(30, -20).buffer(radius, quad_segs=32), 1, aspect), angle)
    curve = Contours.around([ellipse])
    assert iou(curve.polygon(0), ellipse) > 0.99
    assert curve.equivalent_radius()[0] == pytest.approx(radius * math.sqrt(aspect), rel=0.02)
    x, y = curve.centroids()
    assert (x[0], y[0]) == (pytest.approx(30, abs=0.5), pytest.approx(-20, abs=0.5))


claims = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(8, 40), st.floats(0, 1)),
    min_size=1,
    max_size=12,
    unique_by=lambda claim: claim[:3],
)


@given(claims, st.randoms())
def test_settled_claims_share_little_and_do_not_depend_on_order(raw, random):
    found = [FoundFollicle(Point(x, y).buffer(r), Point(x, y).buffer(r / 2), score) for x, y, r, score in raw]
    settled = resolve_overlaps(found)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert [f.outline for f in resolve_overlaps(shuffled)] == [f.outline for f in settled]
    assert max(found, key=lambda f: f.score).score in {f.score for f in settled}
    for i, a in enumerate(settled):
        for b in settled[i + 1 :]:
            assert a.outline.intersection(b.outline).area <= 0.3 * min(a.outline.area, b.outline.area) + 1e-6


@given(claims)
def test_matching_a_set_with_itself_is_perfect(raw):
    outlines = [translate(Point(0, 0).buffer(r), 1000 * i, y) for i, (_, y, r, _) in enumerate(raw)]
    matches = match_outlines(outlines, outlines, min_iou=0.9)
    assert sorted((m.found, m.true) for m in matches) == [(i, i) for i in range(len(outlines))]


@pytest.mark.parametrize("aspect", [1.0, 1.5, 2.0])
def test_round_and_long_oocytes_are_traced(aspect):
    """A pale even body in a dense ring, from a circle to twice as long as wide."""
    y, x = np.mgrid[0:220, 0:220] + 0.5
    distance = np.hypot((x - 110) / aspect, y - 110)
    amount = np.where(distance < 20, 0.2, np.where(distance < 34, 1.0, 0.5))
    rgb = np.repeat((250 * np.exp(-amount))[..., None], 3, axis=2).astype(np.uint8)
    stain = StainModel(np.full(3, 250.0), np.ones(3) / 3**0.5, np.array([0.1, 0.9, 0.1]), 3**0.5, 1.0, False)
    field = Field(rgb, np.ones(rgb.shape[:2], bool), stain, 1.0, 0.0, 0.0)
    seeds = find_seeds(field, min_diameter_um=20, max_diameter_um=85, min_response=0.03)
    traced = trace_oocytes(field, seeds, max_diameter_um=110)
    score = score_oocytes(field, traced).score()
    oocyte = scale(Point(110, 110).buffer(20), aspect, 1)
    best = int(score.argmax())
    assert score[best] > 0.4
    assert iou(traced.polygon(best), oocyte) > 0.75


def test_matching_makes_as_many_pairs_as_possible():
    # One large found box overlaps both true ones best; taking its best pair first would lose a pair.
    true = [box(0, 0, 10, 10), box(10, 0, 20, 10)]
    found = [box(0, 0, 16, 10), box(0, 0, 8, 10)]
    assert {(m.found, m.true) for m in match_outlines(found, true, min_iou=0.25)} == {(0, 1), (1, 0)}


def test_iou_by_hand():
    assert iou(box(0, 0, 2, 2), box(1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert iou(box(0, 0, 1, 1), box(5, 5, 6, 6)) == 0
    assert match_outlines([], [Polygon([(0, 0), (1, 0), (1, 1)])]) == []
