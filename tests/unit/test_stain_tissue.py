"""Stains, tissue and sections, on pictures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from shapely.geometry import MultiPolygon, box

from follicle_stager.config import TissueConfig
from follicle_stager.errors import SlideError
from follicle_stager.slides import open_slide
from follicle_stager.stain import StainModel, estimate_white, fit_stains, is_pen
from follicle_stager.tissue import find_sections, focus_of, reading_order, survey

WHITE = np.array([250.0, 248.0, 246.0])
HEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.20, 0.94, 0.28])


def stained(rng, *, eosin: float, shape=(160, 160)):
    """Random mixtures of two stains, as RGB."""
    h = rng.gamma(1.5, 0.4, shape)
    e = rng.gamma(1.5, 0.4, shape) * eosin
    od = h[..., None] * HEMATOXYLIN + e[..., None] * EOSIN
    picture = WHITE * np.exp(-od) + rng.normal(0, 1, (*shape, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), h, e


def angle_deg(a, b):
    return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def test_two_stains_are_recovered():
    rgb, h, _ = stained(np.random.default_rng(0), eosin=1.0)
    model = fit_stains(rgb, np.ones(rgb.shape[:2], bool), WHITE)
    assert model.two_stains
    assert angle_deg(model.hematoxylin, HEMATOXYLIN) < 6
    assert angle_deg(model.counterstain, EOSIN) < 6
    amount, _ = model.amounts(model.optical_density(rgb))
    assert np.corrcoef(amount.ravel(), h.ravel())[0, 1] > 0.98


def test_hematoxylin_only_slide_has_one_stain():
    rgb, h, _ = stained(np.random.default_rng(1), eosin=0.02)
    model = fit_stains(rgb, np.ones(rgb.shape[:2], bool), WHITE)
    assert not model.two_stains
    amount, rest = model.amounts(model.optical_density(rgb))
    assert np.corrcoef(amount.ravel(), h.ravel())[0, 1] > 0.97
    assert rest.mean() < 0.1


def test_pen_is_no_stain():
    rgb, _, _ = stained(np.random.default_rng(2), eosin=1.0)
    marked = rgb.copy()
    marked[:12] = (20, 200, 40)  # green marker
    marked[12:20] = (30, 40, 220)  # blue marker
    clean = fit_stains(rgb, np.ones(rgb.shape[:2], bool), WHITE)
    model = fit_stains(marked, np.ones(rgb.shape[:2], bool), WHITE)
    assert angle_deg(model.hematoxylin, clean.hematoxylin) < 8
    assert is_pen(model.optical_density(marked))[:12].all()


def test_weak_staining_is_scaled_away():
    rng = np.random.default_rng(3)
    rgb, *_ = stained(rng, eosin=1.0)
    pale = np.clip(WHITE * (rgb / WHITE) ** 0.5, 0, 255).astype(np.uint8)
    strong, weak = (fit_stains(p, np.ones(p.shape[:2], bool), WHITE) for p in (rgb, pale))
    a, _ = strong.amounts(strong.optical_density(rgb))
    b, _ = weak.amounts(weak.optical_density(pale))
    assert np.median(np.abs(a - b)) < 0.08


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_optical_density_is_beer_lambert(r, g, b):
    model = StainModel(WHITE, HEMATOXYLIN, EOSIN, 1.0, 1.0, True)
    od = model.optical_density(np.array([[[r, g, b]]], np.uint8))[0, 0]
    expected = np.maximum(np.log(WHITE / np.maximum([r, g, b], 1)), 0)
    np.testing.assert_allclose(od, expected, rtol=1e-5, atol=1e-6)


def test_white_is_the_glass_or_a_fallback():
    rgb = np.full((50, 50, 3), 100, np.uint8)
    assert (estimate_white(rgb) == 245).all()
    rgb[:25] = (240, 243, 238)
    np.testing.assert_array_equal(estimate_white(rgb), (240, 243, 238))


LIGHTS = {
    "white": (250, 250, 250),
    "warm lamp": (255, 236, 160),
    "orange": (255, 205, 120),
    "cold": (205, 222, 250),
    "dim": (150, 150, 146),
    "dim and warm": (180, 168, 118),
}


class TestLight:
    """The same section under a lamp or a camera of another colour: tissue stays tissue, and is no pen."""

    @pytest.fixture(params=LIGHTS.values(), ids=LIGHTS)
    def light(self, request):
        return np.array(request.param, float)

    def lit(self, picture, light):
        return np.round(picture / 255.0 * light).astype(np.uint8)

    def test_glass_has_the_colour_of_the_light(self, section, light):
        white = estimate_white(section[1])
        np.testing.assert_allclose(estimate_white(self.lit(section[1], light)), white / 255 * light, atol=4)

    def test_the_sections_and_their_stains_are_the_same(self, section, light, tmp_path):
        overviews = []
        for name, picture in (("plain", section[1]), ("lit", self.lit(section[1], light))):
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
            with open_slide(tmp_path / f"{name}.png", mpp=1.0) as slide:
                overviews.append(survey(slide, TissueConfig(min_section_mm2=0.002)))
        plain, lit = overviews
        assert (plain.tissue & lit.tissue).sum() > 0.97 * (plain.tissue | lit.tissue).sum()
        assert lit.quality["pen_fraction"] < plain.quality["pen_fraction"] + 0.005
        np.testing.assert_allclose(lit.stain.density_full, plain.stain.density_full, rtol=0.1)

    @pytest.mark.parametrize("cut", [2, 10])
    def test_a_white_frame_is_no_glass(self, section, light, cut):
        lit = self.lit(section[1], light)
        framed = np.pad(lit, ((cut, cut), (cut, cut), (0, 0)), constant_values=255)
        expected = estimate_white(section[1]) / 255 * light
        np.testing.assert_allclose(estimate_white(framed), expected, atol=6)

    @pytest.mark.parametrize("side", [400, 401, 402, 403])
    def test_the_size_of_a_field_does_not_matter(self, section, light, tmp_path, side):
        Image.fromarray(self.lit(section[1], light)[:side, :side]).save(tmp_path / "field.png")
        Image.fromarray(section[1][:side, :side]).save(tmp_path / "plain.png")
        areas = []
        for name in ("field", "plain"):
            with open_slide(tmp_path / f"{name}.png", mpp=1.0) as slide:
                areas.append(survey(slide, TissueConfig(min_section_mm2=0.002)).quality["tissue_mm2"])
        assert areas[0] == pytest.approx(areas[1], rel=0.05)

    def test_grey_tissue_and_green_pen_are_no_glass(self):
        """Without glass in the picture: a guess is better than the brightness of the tissue itself."""
        rgb, *_ = stained(np.random.default_rng(4), eosin=1.0)
        field = np.minimum(gaussian_filter(rgb.astype(float), (1.0, 1.0, 0)), 185)
        grey = np.repeat(gaussian_filter(rgb.mean(axis=2), 1.0)[..., None], 3, axis=2)
        assert (estimate_white(grey.astype(np.uint8)) == 245).all()
        field[:, :10] = (60, 190, 90)
        assert (estimate_white(field.astype(np.uint8)) == 245).all()

    def test_a_field_without_glass_is_not_taken_for_pen(self, section, light, tmp_path):
        """Only stroma: nothing in it is glass, so its white is a guess, but the tissue must not be left out."""
        outline = survey_of(section[1], tmp_path)
        x, y = (int(v) for v in outline.representative_point().coords[0])
        field = section[1][y - 100 : y + 100, x - 100 : x + 100]
        Image.fromarray(self.lit(np.minimum(field, 225), light)).save(tmp_path / "field.png")
        with open_slide(tmp_path / "field.png", mpp=1.0) as slide:
            overview = survey(slide, TissueConfig(min_section_mm2=0.002))
        assert overview.quality["pen_fraction"] < 0.1
        assert overview.quality["tissue_mm2"] > 0.03


def survey_of(picture, folder):
    """Outline of the largest section of a picture at 1 µm/px."""
    Image.fromarray(picture).save(folder / "whole.png")
    with open_slide(folder / "whole.png", mpp=1.0) as slide:
        return max(survey(slide, TissueConfig()).sections, key=lambda s: s.area)


class TestSections:
    config = TissueConfig()

    def mask(self, *boxes, mpp=10.0, shape=(200, 400)):
        tissue = np.zeros(shape, bool)
        for x, y, w, h in boxes:
            tissue[int(y / mpp) : int((y + h) / mpp), int(x / mpp) : int((x + w) / mpp)] = True
        return find_sections(tissue, mpp=mpp, config=self.config)

    def test_pieces_apart_are_sections_in_reading_order(self):
        found = self.mask((2500, 100, 500, 600), (100, 150, 500, 600), (100, 1200, 600, 500))
        corners = [(round(s.bounds[0], -2), round(s.bounds[1], -2)) for s in found]
        assert corners == [(100, 200), (2500, 100), (100, 1200)]
        assert found[1].area == pytest.approx(500 * 600, rel=0.05)

    def test_a_torn_section_is_one(self):
        (section,) = self.mask((100, 100, 500, 600), (650, 100, 500, 600))
        assert len(section.geoms) == 2

    def test_debris_is_dropped_by_size(self):
        assert len(self.mask((100, 100, 500, 600), (3000, 1000, 150, 150))) == 1

    @settings(max_examples=30)
    @given(st.permutations(range(6)))
    def test_reading_order_does_not_depend_on_input(self, order):
        grid = [MultiPolygon([box(x, y, x + 80, y + 90)]) for y in (0, 300) for x in (0, 200, 400)]
        assert reading_order([grid[i] for i in order]) == grid


class TestSurvey:
    def survey(self, tmp_path, rgb, mpp=2.0):
        Image.fromarray(rgb).save(tmp_path / "a.png")
        with open_slide(tmp_path / "a.png", mpp=mpp) as slide:
            return survey(slide, TissueConfig())

    def test_white_slide_has_no_tissue(self, tmp_path):
        with pytest.raises(SlideError, match=r"a\.png: no tissue found"):
            self.survey(tmp_path, np.full((300, 300, 3), 250, np.uint8))

    def test_black_slide_is_no_brightfield(self, tmp_path):
        with pytest.raises(SlideError, match="black almost everywhere"):
            self.survey(tmp_path, np.zeros((300, 300, 3), np.uint8))

    def test_a_field_without_glass_is_one_section(self, tmp_path):
        rgb, *_ = stained(np.random.default_rng(4), eosin=1.0, shape=(300, 300))
        overview = self.survey(tmp_path, rgb)
        assert len(overview.sections) == 1
        assert overview.quality["tissue_mm2"] == pytest.approx(0.36, rel=0.05)

    def test_blur_lowers_focus_and_is_flagged(self, section, tmp_path):
        from scipy.ndimage import gaussian_filter

        sharp = section[1]
        blurred = gaussian_filter(sharp, (4, 4, 0))
        tissue = np.ones(sharp.shape[:2], bool)
        assert focus_of(blurred, tissue, mpp=1.0) < 0.5 * focus_of(sharp, tissue, mpp=1.0)
        overview = self.survey(tmp_path, blurred, mpp=1.0)
        assert any("focus" in flag for flag in overview.flags)
        assert self.survey(tmp_path, sharp, mpp=1.0).flags == ()

    @pytest.mark.parametrize("tint", [(255, 128, 255), (150, 255, 190)])
    def test_glass_of_another_colour_is_said(self, section, tmp_path, tint):
        """As YCbCr that was taken for RGB twice is magenta."""
        tinted = (section[1] / 255 * np.array(tint)).astype(np.uint8)
        assert any("strongly coloured" in flag for flag in self.survey(tmp_path, tinted, mpp=1.0).flags)
