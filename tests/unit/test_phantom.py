"""The virtual ovary: bodies without overlap, truth that is where the pixels are, and the effect that was planted."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely import Point, contains_xy, union_all

from follicle_stager import examples
from follicle_stager.annotations import read_geojson
from follicle_stager.config import read_values
from follicle_stager.errors import UserError
from follicle_stager.phantom import (
    STAINS,
    Cut,
    GenotypeModel,
    StageModel,
    build_ovary,
    faithful,
    patches,
    plan_audit,
    profiles,
    render_slide,
    series,
    small_ovary,
    write_cohort,
)
from follicle_stager.phantom.anatomy import CORPUS_LUTEUM, FOLLICLE, VESSEL, Ovary, animal_levels
from follicle_stager.phantom.cohort import fingerprint
from follicle_stager.phantom.contact import flatten
from follicle_stager.phantom.fields import depth_in_ovary, rotation
from follicle_stager.phantom.sectioning import nuclei_in, profiles_near
from follicle_stager.phantom.slide import draw
from follicle_stager.phantom.tissues import CODE
from follicle_stager.phantom.variety import varied_follicles, varied_vessels
from follicle_stager.stages import LADDER, Countable, Stage
from follicle_stager.study.sampling import abercrombie
from tests.conftest import tiny_ovary

if TYPE_CHECKING:
    from follicle_stager.phantom.patches import Ingredient


@pytest.fixture(scope="module")
def ovary():
    return build_ovary(
        np.random.default_rng(38), tiny_ovary(primordial=30, primary=20, secondary=8, early_antral=1, antral=1)
    )


@pytest.fixture(scope="module")
def look():
    return faithful(np.random.default_rng(0), "hematoxylin", faults=0)


def middle(ovary, at=0.0):
    return Cut(100, at - 2.5, 5.0)


class TestAnatomy:
    @settings(max_examples=8)
    @given(seed=st.integers(0, 2**32), nested=st.sampled_from([0.0, 0.6]))
    def test_follicles_do_not_overlap_and_lie_in_the_ovary(self, seed, nested):
        ovary = build_ovary(np.random.default_rng(seed), small_ovary(nested=nested))
        f = ovary.follicles
        at = np.column_stack([f["x"], f["y"], f["z"]])
        apart = np.linalg.norm(at[:, None] - at[None], axis=2)
        touch = f["radius"][:, None] + f["radius"][None]
        np.fill_diagonal(apart, np.inf)
        assert (apart > touch).all()
        depth = [depth_in_ovary(*p, ovary.axes, ovary.lobes) for p in at]
        assert (np.array(depth) > f["radius"]).all()

    @settings(max_examples=3)
    @given(seed=st.integers(0, 2**32), flattened=st.floats(0.1, 1.0))
    def test_follicles_that_are_pressed_together_do_not_overlap(self, seed, flattened):
        ovary = build_ovary(np.random.default_rng(seed), small_ovary(flattened=flattened))
        for z in np.linspace(*ovary.extent_z, 5)[1:-1]:
            outlines = [p.outline for p in profiles(ovary, Cut(0, z - 2.5, 5.0))]
            for i, outline in enumerate(outlines):
                assert max((outline.intersection(o).area for o in outlines[:i]), default=0.0) < 1
        yielding = (ovary.follicles["health"] == 0) & (ovary.follicles["layers"] >= 2)
        f = ovary.follicles[yielding]
        centre, oocyte = (np.column_stack([f[n] for n in names]) for names in ("xyz", ["ox", "oy", "oz"]))
        planes = f["facets"]
        along = np.einsum("fpi,fi->fp", planes[:, :, :3], oocyte - centre) + f["oocyte"][:, None]
        assert (along < planes[:, :, 3] * f["radius"][:, None])[planes[:, :, 3] > 0].all()

    def test_two_follicles_that_are_pressed_together_lose_the_segment_beyond_the_plane_between_them(self):
        two = np.zeros(2, FOLLICLE)
        two["radius"], two["oocyte"], two["layers"], two["layer"], two["x"] = 100, 20, 6, 7.5, (0, 180)
        two["ox"] = two["nx"] = two["x"]
        flat, kept = flatten(two, np.full(2, 101.0), np.full(2, 15.0), np.zeros((0, 3)), np.zeros(0))
        assert kept.all()
        bare = Ovary(np.eye(3, 4), np.zeros((0, 5)), flat, np.zeros(0, CORPUS_LUTEUM), np.zeros(0, VESSEL), 1.0, 1)
        left, right = (p.outline for p in profiles(bare, Cut(0, -2.5, 5.0)))
        # A circle of radius r, cut at distance d from its centre, loses the segment beyond; the edge is rounded.
        segment = 100**2 * np.arccos(0.9) - 90 * np.sqrt(100**2 - 90**2)
        assert left.bounds[2] < 90 < right.bounds[0]
        for outline in (left, right):
            assert 0.98 * segment < np.pi * 100**2 - outline.area < 2 * segment

    def test_primordial_follicles_in_nests_are_close_together(self):
        gaps = {}
        for nested in (0.0, 0.9):
            f = build_ovary(np.random.default_rng(3), small_ovary(nested=nested)).follicles
            own = f[f["stage"] == 0]
            at = np.column_stack([own["x"], own["y"], own["z"]])
            apart = np.linalg.norm(at[:, None] - at[None], axis=2) - own["radius"][:, None] - own["radius"][None]
            np.fill_diagonal(apart, np.inf)
            gaps[nested] = np.median(apart.min(axis=1))
            assert len(own) > 200
        assert gaps[0.9] < 5 < gaps[0.0]

    @settings(max_examples=8)
    @given(seed=st.integers(0, 2**32))
    def test_an_oocyte_lies_in_its_follicle_and_its_nucleus_in_it(self, seed):
        f = build_ovary(np.random.default_rng(seed), small_ovary()).follicles
        centre, oocyte, nucleus = (
            np.column_stack([f[n] for n in names]) for names in ("xyz", ["ox", "oy", "oz"], ["nx", "ny", "nz"])
        )
        assert (np.linalg.norm(oocyte - centre, axis=1) + f["oocyte"] < 1.05 * f["radius"]).all()
        alive = f["nucleus"] > 0
        assert (np.linalg.norm(nucleus - oocyte, axis=1) + f["nucleus"] < f["oocyte"])[alive].all()
        assert (alive == (f["health"] == 0)).all()

    @settings(max_examples=5)
    @given(seed=st.integers(0, 2**32))
    def test_it_can_be_cut_in_any_direction(self, ovary, seed):
        """Turned, it is the same ovary: the same follicles, sizes and distances, other sections."""
        turn = rotation(np.random.default_rng(seed))
        other = ovary.turned(turn)
        assert other.counts() == ovary.counts()
        for point in np.random.default_rng(1).uniform(-300, 300, (20, 3)):
            assert depth_in_ovary(*(turn @ point), other.axes, other.lobes) == pytest.approx(
                depth_in_ovary(*point, ovary.axes, ovary.lobes)
            )
        # A section through the same follicle's middle, in the old direction and the new one.
        body = int(np.flatnonzero(ovary.follicles["stage"] == 3)[0])
        views = [
            next(p for p in profiles(o, Cut(0, o.follicles["z"][body] - 2.5, 5)) if p.body == body)
            for o in (ovary, other)
        ]
        radius = [np.sqrt(p.outline.area / np.pi) for p in views]
        assert radius == pytest.approx([ovary.follicles["radius"][body]] * 2, rel=0.25)
        assert views[0].outline.area != views[1].outline.area

    def test_primordials_lie_in_the_cortex_and_large_ones_deeper(self):
        ovary = build_ovary(np.random.default_rng(1), GenotypeModel())
        f = ovary.follicles
        depth = np.array(
            [depth_in_ovary(x, y, z, ovary.axes, ovary.lobes) for x, y, z in zip(f["x"], f["y"], f["z"], strict=True)]
        )
        of = {
            s: np.median(depth[f["stage"] == LADDER.index(s)]) for s in (Stage.PRIMORDIAL, Stage.PRIMARY, Stage.ANTRAL)
        }
        assert of[Stage.PRIMORDIAL] < of[Stage.PRIMARY] < of[Stage.ANTRAL]

    def test_numbers_follow_the_model(self):
        """Means over ovaries are those of the genotype; animals vary more than chance alone would let them."""
        model = small_ovary(animal_cv=0.4)
        counts = pd.DataFrame([build_ovary(np.random.default_rng(s), model).counts() for s in range(40)])
        for stage in (Stage.PRIMORDIAL, Stage.PRIMARY, Stage.SECONDARY):
            expected = model.means()[stage]
            assert counts[stage].mean() == pytest.approx(expected, abs=4 * expected * 0.42 / np.sqrt(40))
        assert counts[Stage.PRIMORDIAL].var() > 10 * counts[Stage.PRIMORDIAL].mean()

    def test_an_animals_levels_have_mean_one(self):
        rng = np.random.default_rng(3)
        levels = pd.DataFrame([animal_levels(rng, small_ovary(animal_cv=0.3, stage_cv=0.2)) for _ in range(3000)])
        assert levels.mean().to_numpy() == pytest.approx(1, abs=0.03)
        assert levels.std().to_numpy() == pytest.approx(np.sqrt(0.3**2 + 0.2**2 + 0.3**2 * 0.2**2), abs=0.03)


class TestPlantedEffect:
    """By hand: primary 60, secondary 30, early antral 5, antral 3; 80 % are blocked, and half of those accumulate."""

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            (Stage.PRIMARY, {"primary": 60 + 0.4 * 38, "secondary": 6, "early_antral": 1, "antral": 0.6}),
            (Stage.SECONDARY, {"primary": 60, "secondary": 30 + 0.4 * 8, "early_antral": 1, "antral": 0.6}),
            (Stage.EARLY_ANTRAL, {"primary": 60, "secondary": 30, "early_antral": 5 + 0.4 * 3, "antral": 0.6}),
        ],
    )
    def test_block(self, after, expected):
        means = small_ovary(block_after=after, block_probability=0.8, accumulate=0.5).means()
        assert {s: means[Stage(s)] for s in expected} == pytest.approx(expected)

    def test_those_that_do_not_accumulate_vanish(self):
        means = small_ovary(block_after="secondary", block_probability=1.0, accumulate=0.0).means()
        assert means[Stage.SECONDARY] == 30
        assert means[Stage.ANTRAL] == means[Stage.EARLY_ANTRAL] == 0

    def test_depletion_takes_from_every_stage(self):
        whole, depleted = small_ovary().means(), small_ovary(depletion=0.3).means()
        assert all(depleted[s] == pytest.approx(0.7 * n) for s, n in whole.items())


class TestTruth:
    @pytest.mark.parametrize("mpp", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize(("z", "variety"), [(-90.0, 0.0), (10.0, 0.0), (10.0, 1.0)])
    def test_polygons_are_where_the_pixels_are(self, ovary, look, mpp, z, variety):
        """Every pixel well inside a polygon is drawn as that tissue, and no pixel well outside is."""
        look = replace(look, variety=variety)
        cut, n = middle(ovary, z), int(900 / mpp)
        maps = draw(ovary, cut, look, x_um=-450, y_um=-450, shape=(n, n), mpp=mpp)
        y, x = (np.mgrid[0:n, 0:n] + 0.5) * mpp - 450
        own = profiles(ovary, cut)
        assert len(own) >= 5
        for p in own:
            drawn = maps.owner == p.body
            assert drawn[contains_xy(p.outline.buffer(-0.3 - 0.02 * mpp), x, y)].all()
            assert not drawn[~contains_xy(p.outline.buffer(0.3 + 0.02 * mpp), x, y)].any()
            for polygons, kind in (((p.oocyte,) if p.oocyte else (), "ooplasm"), (p.fluid, "fluid")):
                for polygon in polygons:
                    inside = contains_xy(polygon.buffer(-0.5), x, y)
                    assert (maps.kind[inside] == CODE[kind]).all()

    def test_no_two_follicles_share_a_place(self):
        ovary = build_ovary(np.random.default_rng(8), small_ovary())
        for cut in series(ovary, thickness_um=5, interval=20):
            outlines = [p.outline for p in profiles(ovary, cut)]
            assert union_all(outlines).area == pytest.approx(sum(o.area for o in outlines), abs=0.5)

    def test_an_oocyte_is_paler_than_its_granulosa(self, section):
        truth, picture = section
        y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]] + 0.5
        checked = 0
        for t in truth:
            if t.oocyte is None or t.oocyte.area < 300:
                continue
            core, around = contains_xy(t.oocyte.buffer(-3), x, y), contains_xy(t.outline.buffer(-1), x, y)
            around &= ~contains_xy(t.oocyte.buffer(6), x, y)
            for space in t.fluid:
                around &= ~contains_xy(space.buffer(2), x, y)
            if around.sum() > 200:
                checked += 1
                assert picture[core, 0].mean() > picture[around, 0].mean() + 12
        assert checked >= 4

    def test_a_nucleus_shows_where_the_slab_meets_it(self, ovary):
        f = ovary.follicles
        for body in np.flatnonzero(f["health"] == 0)[:12]:
            low, high = f["nz"][body] - f["nucleus"][body], f["nz"][body] + f["nucleus"][body]
            for z, shows in ((low - 5.1, False), (low - 4.9, True), (high - 0.1, True), (high + 0.1, False)):
                assert nuclei_in(ovary, Cut(0, z, 5.0))[body] == shows

    def test_the_stage_is_what_the_section_shows(self):
        """Antral stages go by the fluid in the section, by the staging's own criteria; others keep their stage."""
        model = tiny_ovary(secondary=3, early_antral=3, antral=1)
        ovaries = [build_ovary(np.random.default_rng(seed), model) for seed in range(8)]
        looked = [p for o in ovaries for cut in series(o, thickness_um=5, interval=2) for p in profiles(o, cut)]
        seen = {stage: 0 for stage in LADDER}
        for p in (p for p in looked if p.recognisable):
            if p.stage_3d in (Stage.EARLY_ANTRAL, Stage.ANTRAL):
                fluid, granulosa = [s.area for s in p.fluid], p.outline.area - (p.oocyte.area if p.oocyte else 0)
                one_cavity = max(fluid, default=0) >= 0.20 * granulosa
                expected = Stage.ANTRAL if one_cavity else Stage.EARLY_ANTRAL if sum(fluid) >= 250 else Stage.SECONDARY
                seen[expected] += 1
                assert p.stage == expected
            else:
                assert p.stage == p.stage_3d
        assert all(seen[s] for s in (Stage.SECONDARY, Stage.EARLY_ANTRAL, Stage.ANTRAL))

    def test_the_wall_of_transitional_follicles_is_part_flat_part_cuboidal(self):
        """In most sections through their oocyte: by its height, and by how it is drawn."""
        ovary = build_ovary(np.random.default_rng(3), tiny_ovary(transitional=30))
        heights, drawn = [], []
        for body, f in enumerate(ovary.follicles):
            cut, x, y = Cut(0, float(f["oz"]) - 2.5, 5.0), float(f["x"]) - 20, float(f["y"]) - 20
            own = next(p for p in profiles_near(ovary, cut, x, y, 40) if p.body == body)
            walls = [own.oocyte.exterior.distance(Point(at)) for at in own.outline.exterior.coords]
            heights.append((min(walls), max(walls)))
            maps = draw(ovary, cut, faithful(np.random.default_rng(1), "H&E"), x_um=x, y_um=y, shape=(80, 80), mpp=0.5)
            seen = set(maps.kind[maps.owner == body])
            drawn.append({CODE["flat granulosa"], CODE["granulosa rim"]} <= seen)
        low, high = np.median(heights, axis=0)
        assert low < 4 < 6 < high
        assert np.mean(drawn) > 0.7

    def test_caps_show_nothing_that_tells_their_stage(self, ovary):
        looked = [p for cut in series(ovary, thickness_um=5, interval=5) for p in profiles(ovary, cut)]
        caps = [p for p in looked if not p.recognisable]
        assert caps
        assert all(p.oocyte is None and sum(s.area for s in p.fluid) < 250 for p in caps)
        assert np.mean([abs(p.height) for p in caps]) > np.mean([abs(p.height) for p in looked if p.recognisable])

    def test_neighbouring_sections_meet_the_same_follicles_and_cells(self, ovary, look):
        """What is cut at 0 µm is nearly what is cut at 2 µm, and nothing like what is cut at 60 µm."""
        maps = {
            z: draw(ovary, middle(ovary, z), look, x_um=-150, y_um=-150, shape=(300, 300), mpp=1.0) for z in (0, 2, 60)
        }
        like = {z: np.corrcoef(maps[0].nuclear.ravel(), maps[z].nuclear.ravel())[0, 1] for z in (2, 60)}
        assert like[2] > 0.5
        assert like[60] < 0.35
        areas = {z: {p.body: p.outline.area for p in profiles(ovary, middle(ovary, z))} for z in (0, 2)}
        shared = set(areas[0]) & set(areas[2])
        assert len(shared) >= 5
        assert all(areas[2][b] == pytest.approx(areas[0][b], rel=0.5, abs=400) for b in shared)


class TestPixels:
    @pytest.mark.parametrize("variety", [0.0, 1.0])
    def test_a_window_is_that_part_of_the_whole(self, ovary, look, variety):
        look = replace(look, variety=variety)
        whole = draw(ovary, middle(ovary), look, x_um=-200, y_um=-200, shape=(400, 400), mpp=1.0)
        part = draw(ovary, middle(ovary), look, x_um=-80, y_um=-40, shape=(100, 120), mpp=1.0)
        at = slice(160, 260), slice(120, 240)
        # Rounding may tip a pixel on a border.
        assert (whole.kind[at] != part.kind).mean() < 1e-3
        assert np.abs(whole.nuclear[at] - part.nuclear).mean() < 1e-3

    def test_variety_changes_how_fluid_and_oocytes_look(self, ovary, look):
        """Fluid reaches from white to as pink as an oocyte, even or in flocs, and oocytes from pale to dark."""
        amounts = {"fluid": [], "ooplasm": []}
        even = {"fluid": [], "ooplasm": []}
        for share, means in ((0.0, even), (1.0, amounts)):
            own = replace(look, variety=share)
            for z in range(-300, 300, 60):
                maps = draw(ovary, middle(ovary, z), own, x_um=-600, y_um=-600, shape=(600, 600), mpp=2.0)
                for name, seen in means.items():
                    for body in np.unique(maps.owner[maps.kind == CODE[name]]):
                        inside = (maps.kind == CODE[name]) & (maps.owner == body)
                        if inside.sum() > 100:
                            seen.append(maps.counter[inside].mean())
        for name in amounts:
            assert len(amounts[name]) >= 5
            assert np.ptp(amounts[name]) > 3 * np.ptp(even[name])

    def test_washed_out_oocytes_and_antra_are_nearly_as_clear_as_glass(self, ovary, look):
        """Tissue outside follicles stays as it is, except where nuclei of the granulosa reach over the border."""
        plain, washed = (replace(look, washed_out=share) for share in (0.0, 1.0))
        seen = {"fluid": [], "ooplasm": []}
        for z in range(-300, 300, 60):
            usual, clear = (
                draw(ovary, middle(ovary, z), own, x_um=-600, y_um=-600, shape=(600, 600), mpp=2.0)
                for own in (plain, washed)
            )
            assert (usual.kind == clear.kind).all()
            outside = usual.owner < 0
            assert (usual.counter == clear.counter)[outside].mean() > 0.99
            for name, ratios in seen.items():
                inside = usual.kind == CODE[name]
                if inside.sum() > 100:
                    ratios.append(np.median(clear.counter[inside]) / np.median(usual.counter[inside]))
        assert np.median(seen["fluid"]) < 0.8
        assert np.median(seen["ooplasm"]) < 0.8

    def test_without_variety_nothing_is_drawn_otherwise(self, ovary):
        assert (varied_follicles(ovary.follicles, 0.0) == ovary.follicles).all()
        assert (varied_vessels(ovary.vessels, 0.0) == ovary.vessels).all()

    def test_variety_widens_vessels_and_changes_what_they_hold(self):
        vessels = build_ovary(np.random.default_rng(2), GenotypeModel(vessels=300)).vessels
        other = varied_vessels(vessels, 1.0)
        assert 0.4 < (other["content"] == 1).mean() < 0.75
        lined = other["content"] >= 3
        assert 0.1 < lined.mean() < 0.4
        assert other["radius"].max() <= 55
        for name in ("x0", "y0", "z0", "seed"):
            assert (other[name] == vessels[name]).all()

    def test_variety_draws_spaces_in_the_granulosa_and_layers_in_the_theca(self, ovary, look):
        """Call-Exner bodies lie in the granulosa, layers in thick thecae; both take stain away."""
        maps = {v: draw(ovary, middle(ovary), replace(look, variety=v), x_um=-300, y_um=-300, shape=(600, 600), mpp=1.0)
                for v in (0.0, 1.0)}  # fmt: skip
        for name in ("granulosa", "theca"):
            both = (maps[0.0].kind == CODE[name]) & (maps[1.0].kind == CODE[name])
            lost = (maps[1.0].nuclear - maps[0.0].nuclear)[both]
            assert (lost < -0.1).mean() > 0.01
            assert (lost > 0.1).mean() < 0.05

    @pytest.mark.parametrize("stain", STAINS)
    def test_a_seed_gives_the_same_pixels(self, ovary, stain):
        pictures = []
        for _ in range(2):
            rng = np.random.default_rng(4)
            slide = render_slide(ovary, [middle(ovary)], faithful(rng, stain, faults=1), rng, mpp=2.0)
            pictures.append(slide.picture)
        np.testing.assert_array_equal(*pictures)
        assert pictures[0].std() > 10

    def test_faults_move_nothing(self, ovary):
        """The truth of a slide with every fault is that of the clean one."""
        slides = [
            render_slide(
                ovary,
                [middle(ovary)],
                faithful(np.random.default_rng(1), "H&E", faults=f),
                np.random.default_rng(2),
                mpp=2.0,
            )
            for f in (0.0, 1.0)
        ]
        assert slides[0].follicles == slides[1].follicles
        np.testing.assert_array_equal(slides[0].classes, slides[1].classes)
        assert (slides[0].picture != slides[1].picture).mean() > 0.3

    def test_sections_lie_apart_and_truth_on_its_own(self, ovary):
        cuts = series(ovary, thickness_um=5, interval=12)[3:8]
        rng = np.random.default_rng(1)
        slide = render_slide(ovary, cuts, faithful(rng, "PAS", faults=0), rng, mpp=2.0)
        assert {f.section_id for f in slide.follicles} == {f"section {c.number}" for c in cuts}
        for f in slide.follicles:
            x, y = f.outline.representative_point().coords[0]
            assert slide.instances[int(y), int(x)] == f.other_numbers["Body"] + 1
            assert (f.countable == Countable.YES) == (f.nucleus is not None)

    def test_patches_are_seeded_and_varied(self):
        first, second = ([next(stream) for _ in range(6)] for stream in (patches(3, size=96), patches(3, size=96)))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a.picture, b.picture)
            np.testing.assert_array_equal(a.kind, b.kind)
            assert a.picture.shape == (96, 96, 3)
            assert 0.25 <= a.mpp <= 2.0
            assert a.owner.max() < len(a.ovary.follicles)
        assert len({p.mpp for p in first}) == 6
        assert np.ptp([p.picture.mean() for p in first]) > 15

    def test_patches_can_lack_what_resembles_follicles_and_odd_looks(self):
        """Adults have corpora lutea, vessels and atresia, and patches of the whole ovary show them."""
        names = ("luteal", "fresh luteal", "regressing luteal", "vessel wall", "dying granulosa")
        alike = {CODE[name] for name in names}

        def shown(*without: Ingredient) -> tuple[set[int], float]:
            drawn = [next(patches(seed, size=192, mpp=(2, 2), without=without)) for seed in range(12)]
            glass = [p.picture[p.kind == CODE["glass"]] for p in drawn if (p.kind == CODE["glass"]).any()]
            return {int(k) for p in drawn for k in np.unique(p.kind)}, float(np.ptp([np.median(g) for g in glass]))

        every, whites = shown()
        plain, good_whites = shown("look-alikes", "random looks", "faults", "variety")
        assert every & alike
        assert not plain & alike
        assert good_whites < 20 < whites

    def test_the_hilum_interrupts_the_surface_at_the_end_of_the_second_axis(self, look):
        drawn = {}
        for hilum_um in (0.0, 200.0):
            ovary = build_ovary(np.random.default_rng(4), small_ovary(lobes=0, hilum_um=hilum_um))
            x, y, z = ovary.axes[1, 3] * ovary.axes[1, :3]
            cut = Cut(7, z - 2.5, 5.0)
            drawn[hilum_um] = draw(ovary, cut, look, x_um=x - 60, y_um=y - 60, shape=(120, 120), mpp=1.0).kind
        surface = drawn[0.0] == CODE["epithelium"]
        assert surface.sum() > 500
        assert not (drawn[200.0][surface] == CODE["epithelium"]).any()
        assert (drawn[200.0][drawn[0.0] == CODE["glass"]] == CODE["medulla"]).mean() > 0.3


class TestStereology:
    def test_scaled_counts_are_too_high_by_theory_and_abercrombie_is_not(self):
        """48 ovaries: n·k over-counts by (T + h)/T, its correction is right within 3 % or 2 standard errors."""
        thickness, interval = 5.0, 3
        rows = []
        for seed in range(48):
            rng = np.random.default_rng([11, seed])
            ovary = build_ovary(rng, tiny_ovary(primordial=60, primary=30, secondary=9))
            f = ovary.follicles
            cuts = series(ovary, thickness_um=thickness, interval=interval, start=int(rng.integers(interval)))
            seen = sum(np.bincount(f["stage"][nuclei_in(ovary, cut)], minlength=7) for cut in cuts)
            for i in (0, 2, 3):
                own = f["stage"] == i
                rows.append((i, own.sum(), seen[i], 2 * f["nucleus"][own].sum()))
        table = pd.DataFrame(rows, columns=["stage", "true", "seen", "height"])
        for _, own in table.groupby("stage"):
            total = own.sum()
            height = total["height"] / total["true"]
            ratio = own["seen"] * interval / own["true"] / ((thickness + height) / thickness)
            error = 2 * ratio.std() / np.sqrt(len(own))
            corrected = abercrombie(total["seen"], interval, thickness_um=thickness, height_um=height)
            assert corrected / total["true"] == pytest.approx(1, abs=max(0.03, error))
            assert total["seen"] * interval / total["true"] > 2.5

    def test_a_lost_cap_hides_grazed_nuclei(self, ovary):
        from dataclasses import replace

        cuts = series(ovary, thickness_um=5, interval=1)
        seen, fewer = (
            sum(int(nuclei_in(o, cut).sum()) for cut in cuts) for o in (ovary, replace(ovary, lost_cap_um=1.5))
        )
        # Each end of each nucleus is lost for 1.5 µm of 5.
        whole = int((ovary.follicles["nucleus"] > 0).sum())
        assert seen - fewer == pytest.approx(2 * 1.5 / 5 * whole, rel=0.3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"length_mm": (-1, 2)}, "greater than 0"),
            ({"length_mm": (2, 1)}, "runs downwards"),
            ({"animal_cv": -0.1}, "greater than or equal to 0"),
            ({"corpora_lutea": 60}, "impossible density"),
            ({"block_after": "antral", "block_probability": 0.5}, "can be blocked after"),
            ({"block_probability": 0.5}, "say after which stage"),
            ({"widht_share": (0.5, 0.6)}, "Extra inputs"),
        ],
    )
    def test_ovary(self, values, reason):
        with pytest.raises(ValidationError, match=reason):
            GenotypeModel(**values)

    def test_stage(self):
        with pytest.raises(ValidationError, match="nucleus_um must be smaller"):
            StageModel(per_ovary=1, oocyte_um=(20, 30), nucleus_um=(20, 40), layers=(1, 1))
        with pytest.raises(ValidationError, match="no room for the oocyte"):
            StageModel(per_ovary=1, oocyte_um=(60, 70), nucleus_um=(20, 25), layers=(1, 1), diameter_um=(70, 90))

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"interval": 0, "sections": None}, "interval"),
            ({"interval": 5, "sections": 3}, "either sections or interval"),
            ({"thickness_um": -5}, "thickness_um"),
            ({"models": {"Igfals": "Masson"}}, "is not a known stain"),
            ({"models": {"../x": "H&E"}}, "file names"),
            ({"control": {"length_mm": [0.3, 0.4]}}, "impossible density"),
            ({"control": {"stages": {"antral": {"per_ovary": -1}}}}, "control.stages.antral.per_ovary"),
            ({"ovary": "huge"}, "not one of small, adult"),
            ({"ovary": ["small"]}, "not one of small, adult"),
            ({"models": {"Igf-1": "H&E", "igf_1": "PAS"}}, "files of the same name"),
        ],
    )
    def test_cohort(self, values, reason):
        with pytest.raises(UserError, match=reason):
            plan_audit(values)

    @pytest.mark.parametrize("values", [{"interval": 0}, {"thickness_um": 0}, {"interval": 3, "start": 3}])
    def test_series(self, ovary, values):
        with pytest.raises(UserError):
            series(ovary, **({"thickness_um": 5, "interval": 1} | values))


class TestCohort:
    def test_what_is_not_given_stays(self):
        plan = plan_audit({"control": {"stages": {"antral": {"per_ovary": 2}}}, "mpp": 2})
        assert plan.control.means()[Stage.ANTRAL] == 2
        assert plan.control.means()[Stage.SECONDARY] == small_ovary().means()[Stage.SECONDARY]
        assert plan_audit({"ovary": "adult"}).control == GenotypeModel()
        assert plan_audit({"interval": 5}).sections is None
        assert plan_audit({"block_after": "none"}).genotype("knockout").means() == small_ovary().means()
        assert plan_audit({"faults": [0.5, 0.1]}).faults == (0.5, 0.1)

    def test_biology_does_not_depend_on_the_picture(self, plan, tmp_path):
        for name, mpp in (("a", 3.0), ("b", 4.0)):
            write_cohort(tmp_path / name, plan.model_copy(update={"ovaries": 2, "animals": 1, "mpp": mpp}))
        a, b = ((tmp_path / name / "truth" / "ovaries.csv").read_text() for name in "ab")
        assert a == b

    def test_another_folder_is_left_alone(self, cohort, plan, tmp_path):
        (tmp_path / "thesis.docx").write_text("x")
        with pytest.raises(UserError, match="holds something else"):
            write_cohort(tmp_path, plan)
        with pytest.raises(UserError, match="holds something else"):
            write_cohort(cohort, plan.model_copy(update={"seed": 1}))

    def test_any_number_of_workers_gives_the_same(self, cohort, plan, tmp_path):
        write_cohort(tmp_path, plan, jobs=2)
        for name in ("truth/fingerprints.csv", "truth/ovaries.csv", "truth/profiles.csv", "samples.csv"):
            assert (tmp_path / name).read_text() == (cohort / name).read_text()

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors round otherwise")
    def test_the_truth_of_the_example_slides_is_what_the_plan_gives(self, tmp_path):
        """Otherwise the virtual ovary has changed, and the exam of docs/accuracy.md is another one."""
        kept = pd.read_csv(examples.folder() / "truth" / "fingerprints.csv").set_index("slide")["truth_sha256"]
        for slide, digest in kept.items():
            assert fingerprint(read_geojson(examples.folder() / "truth" / f"{slide}.geojson")) == digest
        plan = plan_audit(read_values(examples.folder() / "truth" / "plan.json"))
        write_cohort(tmp_path, plan.model_copy(update={"animals": 1, "models": {"Igfals": "H&E"}}))
        again = pd.read_csv(tmp_path / "truth" / "fingerprints.csv").set_index("slide")["truth_sha256"]
        assert again["Igfals_WT_1_1"] == kept["Igfals_WT_1_1"]

    def test_the_example_slides_are_those_of_their_recipe(self):
        """tests/integration/test_cli.py asks the simulator whether this design finds the arrest."""
        plan = plan_audit(read_values(examples.folder() / "truth" / "plan.json"))
        assert plan == plan_audit(read_values(examples.folder().parent / "tools" / "example_slides.toml"))
        intervals = pd.read_csv(examples.folder() / "samples.csv")["interval"]
        assert intervals.mean() == pytest.approx(plan.mean_interval, rel=0.05)

    def test_true_counts_are_those_of_the_profiles(self, cohort):
        """No more follicles of a stage are cut than the ovary has, and the numbers of the GeoJSON are those rows."""
        ovaries = pd.read_csv(cohort / "truth" / "ovaries.csv")
        cut = pd.read_csv(cohort / "truth" / "profiles.csv")
        for animal, rows in cut.groupby("animal"):
            true = ovaries[ovaries["animal"] == animal].set_index("stage")["n_true"]
            distinct = rows.groupby("stage_3d")["body"].nunique()
            assert (distinct <= true.reindex(distinct.index)).all()
            slide = rows["slide"].iloc[0]
            outlined = rows[rows["stage"].notna()]
            found = read_geojson(cohort / "truth" / f"{slide}.geojson")
            assert sorted(f.other_numbers["Body"] for f in found) == sorted(outlined["body"])
            assert [f.stage.value for f in found] == list(outlined["stage"])

    def test_the_written_files_give_the_written_truth(self, plan, tmp_path):
        """Nuclei in profiles.csv, corrected with what ovaries.csv says, are the follicles that have one."""
        model = tiny_ovary(primordial=150, primary=40)
        values = {"sections": None, "interval": 4, "animals": 2, "mpp": 4.0, "control": model, "block_after": None}
        write_cohort(tmp_path, plan.model_copy(update=values | {"block_probability": 0.0}), jobs=2)
        truth = pd.read_csv(tmp_path / "truth" / "ovaries.csv")
        seen = pd.read_csv(tmp_path / "truth" / "profiles.csv")
        seen = seen[seen["shows_nucleus"]].groupby(["animal", "stage_3d"]).size()
        for stage in ("primordial", "primary"):
            own = truth[truth["stage"] == stage].set_index("animal")
            estimate = sum(
                abercrombie(
                    seen[animal, stage],
                    row.interval,
                    thickness_um=row.thickness_um,
                    height_um=row.nucleus_height_um,
                    lost_cap_um=row.lost_cap_um,
                )
                for animal, row in own.iterrows()
            )
            n = own["n_with_nucleus"].sum()
            assert estimate == pytest.approx(n, rel=max(0.03, 2 * 0.45 / np.sqrt(n)))

    def test_label_images_on_demand(self, plan, tmp_path):
        small = plan.model_copy(update={"labels": True, "animals": 1, "mpp": 2.0})
        write_cohort(tmp_path, small)
        classes = tifffile.imread(tmp_path / "labels" / "Igfals_WT_1.classes.tif")
        instances = tifffile.imread(tmp_path / "labels" / "Igfals_WT_1.instances.tif")
        assert classes.shape == instances.shape
        truth = read_geojson(tmp_path / "truth" / "Igfals_WT_1.geojson")
        bodies = {int(f.other_numbers["Body"]) + 1 for f in truth if f.outline.area > 25}
        assert bodies <= set(np.unique(instances)) | {0}
        assert CODE["cortex"] in classes
