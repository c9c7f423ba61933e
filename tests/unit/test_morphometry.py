"""Measurements on drawings whose sizes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Point, box

from follicle_stager.config import ContentsConfig, MorphometryConfig
from follicle_stager.detection.contents import find_fluid, find_nucleus
from follicle_stager.field import Field
from follicle_stager.morphometry import find_nuclei, measure
from follicle_stager.stain import StainModel

STAIN = StainModel(np.full(3, 250.0), np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11]), 1.0, 1.0, False, 0.08)
CENTRE = Point(150, 150)
SECTION = MultiPolygon([box(0, 0, 300, 300)])


def draw(*, matrix=0.45, discs=(), nuclei=(), mpp=1.0):
    """A field of one stain: a matrix, discs (x, y, radius, amount) and nuclei (x, y) of 3 µm radius."""
    n = round(300 / mpp)
    y, x = (np.mgrid[0:n, 0:n] + 0.5) * mpp
    h = np.full((n, n), matrix)
    for cx, cy, radius, amount in discs:
        h[np.hypot(x - cx, y - cy) < radius] = amount
    for cx, cy in nuclei:
        h = np.maximum(h, np.clip(3.3 - np.hypot(x - cx, y - cy), 0, 1))
    od = h[..., None] * STAIN.hematoxylin
    rgb = np.clip(250 * np.exp(-od), 0, 255).astype(np.uint8)
    return Field(rgb, np.ones((n, n), bool), STAIN, mpp, 0.0, 0.0)


def rings(layers, *, inner=30.0, pitch=7.0, drop=0.0, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(layers):
        radius = inner + (k + 0.5) * pitch
        count = round(2 * math.pi * radius / pitch)
        for i in range(count):
            if rng.random() >= drop:
                a = 2 * math.pi * (i + 0.5 * k) / count
                out.append((150 + radius * math.cos(a), 150 + radius * math.sin(a)))
    return out


def measured(field, layers, *, fluid=(), nucleus=None, inner=30.0):
    outline = CENTRE.buffer(inner + 7 * layers, quad_segs=32)
    return measure(
        field,
        outline,
        oocyte=CENTRE.buffer(inner, quad_segs=32),
        nucleus=nucleus,
        nucleus_contrast=0.0,
        fluid=fluid,
        section=SECTION,
        config=MorphometryConfig(),
    )


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_layers_and_sizes(layers, mpp):
    field = draw(matrix=0.15, nuclei=rings(layers), mpp=mpp)
    m = measured(field, layers)
    assert m.layers == pytest.approx(layers, abs=0.5)
    assert m.granulosa_um == pytest.approx(7 * layers, abs=1.5)
    assert m.diameter_um == pytest.approx(2 * (30 + 7 * layers), rel=0.01)
    assert m.oocyte_um == pytest.approx(60, rel=0.01)
    assert m.surface_distance_um == pytest.approx(150 - 30 - 7 * layers, abs=0.5)
    assert (m.two_layers_fraction > 0.8) == (layers >= 2)
    assert m.cuboidal_fraction == 1
    assert m.granulosa_nuclei == pytest.approx(len(rings(layers)), rel=0.12)


def test_flat_layer_is_not_cuboidal():
    field = draw(matrix=0.2, nuclei=rings(1, pitch=4))
    outline = CENTRE.buffer(33, quad_segs=32)
    m = measure(
        field, outline, oocyte=CENTRE.buffer(30, quad_segs=32), nucleus=None, nucleus_contrast=0.0,
        fluid=(), section=SECTION, config=MorphometryConfig(),
    )  # fmt: skip
    assert m.cuboidal_fraction == 0


def test_without_oocyte_layers_are_unknown():
    field = draw()
    m = measure(
        field, CENTRE.buffer(60), oocyte=None, nucleus=None, nucleus_contrast=math.nan, fluid=(),
        section=SECTION, config=MorphometryConfig(),
    )  # fmt: skip
    assert math.isnan(m.layers)
    assert math.isnan(m.oocyte_um)
    assert m.diameter_um == pytest.approx(120, rel=0.01)


def test_fluid_fraction_by_hand():
    space = Point(150, 195).buffer(10, quad_segs=32)
    m = measured(draw(), 5, fluid=(space,))
    granulosa = math.pi * (65**2 - 30**2)
    assert m.fluid_fraction == pytest.approx(math.pi * 100 / granulosa, rel=0.01)
    assert (m.fluid_spaces, m.largest_space_fraction) == (1, m.fluid_fraction)


def test_pyknotic_nuclei_are_small_and_dark():
    places = rings(4)
    field = draw(matrix=0.15, nuclei=places)
    healthy = find_nuclei(field, CENTRE.buffer(60), MorphometryConfig())
    assert healthy.pyknotic_fraction(MorphometryConfig()) == 0
    dying = draw(matrix=0.15, nuclei=places[::2], discs=[(x, y, 2.0, 1.9) for x, y in places[1::2]])
    nuclei = find_nuclei(dying, CENTRE.buffer(60), MorphometryConfig())
    assert nuclei.pyknotic_fraction(MorphometryConfig()) > 0.25


class TestContents:
    config = ContentsConfig()
    outline, oocyte = CENTRE.buffer(90), CENTRE.buffer(30)

    def fluid(self, *discs):
        field = draw(discs=[(150, 150, 30, 0.25), *[(x, y, r, 0.0) for x, y, r in discs]])
        return find_fluid(field, self.outline, self.oocyte, self.config)

    def test_spaces_are_found_with_their_size(self):
        spaces = self.fluid((150, 210, 16), (95, 150, 12))
        assert [round(s.centroid.x, -1) for s in spaces] == [150, 100]
        assert spaces[0].area == pytest.approx(math.pi * 16**2, rel=0.1)

    def test_small_gaps_are_no_fluid(self):
        assert self.fluid((150, 210, 6)) == ()

    def test_shrinkage_at_the_oocyte_is_no_fluid(self):
        field = draw(discs=[(150, 150, 36, 0.0), (150, 150, 30, 0.25)])
        assert find_fluid(field, self.outline, self.oocyte, self.config) == ()

    def test_shrinkage_at_the_outline_is_no_fluid(self):
        field = draw(discs=[(150, 150, 100, 0.0), (150, 150, 86, 0.45), (150, 150, 30, 0.25)])
        assert find_fluid(field, self.outline, self.oocyte, self.config) == ()

    @pytest.mark.parametrize("shift", [0, 8])
    def test_nucleus_is_found(self, shift):
        field = draw(discs=[(150, 150, 30, 0.2), (150 + shift, 150, 11, 0.45)])
        nucleus, contrast = find_nucleus(field, self.oocyte, self.config)
        assert nucleus is not None
        assert nucleus.centroid.distance(Point(150 + shift, 150)) < 2
        assert nucleus.area == pytest.approx(math.pi * 121, rel=0.35)
        assert contrast == pytest.approx(0.25, abs=0.06)

    def test_even_oocyte_has_no_nucleus(self):
        nucleus, contrast = find_nucleus(draw(discs=[(150, 150, 30, 0.2)]), self.oocyte, self.config)
        assert nucleus is None
        assert contrast < 0.05
