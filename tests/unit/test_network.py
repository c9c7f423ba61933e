"""What the network is shown, the network on disk, and follicles from its maps."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from follicle_stager.config import Config, NetworkConfig
from follicle_stager.detection import choose_detector, detector_id, passes, visible_stages, without_twins
from follicle_stager.detection.found import FoundCorpusLuteum
from follicle_stager.detection.network import engines, layout, model
from follicle_stager.detection.network.engines import ENGINES, REFERENCE, OnnxRuntime, OpenVino, choose_engine
from follicle_stager.detection.network.instances import Window, consensus, find_in
from follicle_stager.detection.network.luteal import find_corpora_lutea
from follicle_stager.detection.network.model import Description, Maps, Scale
from follicle_stager.errors import UserError
from follicle_stager.phantom import patches
from follicle_stager.stages import LADDER, Stage
from follicle_stager.training.targets import ray_distances

COS, SIN = np.cos(layout.ANGLES), np.sin(layout.ANGLES)
SCALE = Scale(file="a.onnx", sha256="0" * 64, mpp=1.5, smallest_um=28, largest_um=700)


class TestShown:
    def test_glass_is_1_and_dense_tissue_is_minus_1(self):
        white, full = np.full(3, 240.0), np.full(3, 0.5)
        picture = np.array([[[240, 240, 240], [1, 1, 1]]], np.uint8)
        shown = layout.shown(picture, white, full)
        assert_allclose(shown[:, 0, 0], 1)
        assert (shown[:, 0, 1] < -0.99).all()

    def test_a_slide_stained_twice_as_strong_looks_the_same(self):
        rng = np.random.default_rng(0)
        od = rng.uniform(0, 0.8, (8, 8, 3))
        white = np.full(3, 245.0)
        pale, strong = (np.round(white * np.exp(-k * od)).astype(np.uint8) for k in (1, 2))
        a, b = layout.shown(pale, white, np.full(3, 0.5)), layout.shown(strong, white, np.full(3, 1.0))
        assert_allclose(a, b, atol=0.03)

    @given(st.integers(1, 70), st.integers(1, 5))
    def test_each_pixel_is_converted_alone(self, height, width):
        picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        white, full = np.array([240.0, 245, 250]), np.array([0.5, 0.8, 1.1])
        shown = layout.shown(picture, white, full)
        for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 2)):
            density = np.maximum(np.log(white / np.maximum(picture[y, x], 1.0)), 0) / full
            assert_allclose(shown[:, y, x], 2 * np.exp(-density) - 1, atol=1e-6)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(-1, 1, (3, 256, 256)).astype(np.float32)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch, noise):
    used, real = [], OnnxRuntime.load

    def load(self, content, *, threads):
        used.append(threads)
        return real(self, content, threads=threads)

    monkeypatch.setattr(OnnxRuntime, "load", load)
    monkeypatch.setattr(model, "_threads", 0)
    before = model.Network(model.SHIPPED, model.describe().scales[0])(noise)
    model.use_threads(3)
    after = model.Network(model.SHIPPED, model.describe().scales[0])(noise)
    assert used[1] == 3
    for name in ("classes", "border", "centre", "rays", "texture"):
        assert (getattr(after, name) == getattr(before, name)).all(), "results do not depend on it"


class TestEngines:
    @pytest.mark.parametrize("name", [name for name in ENGINES if name != REFERENCE])
    def test_all_engines_give_the_same_within_rounding(self, name, shown):
        """Run `pip install openvino`, or the package for a GPU, to try the others."""
        if not ENGINES[name].can_run():
            pytest.skip(f"{name} cannot run here")
        own, expected = (model.load(model.SHIPPED, 0, engine)(shown) for engine in (name, REFERENCE))
        assert np.abs(own.classes - expected.classes).mean() < 0.002
        assert (own.classes.argmax(axis=0) != expected.classes.argmax(axis=0)).mean() < 0.005
        inside = expected.centre > 0.2
        assert np.abs(np.log(own.rays / expected.rays))[:, inside].mean() < 0.02

    def test_automatic_is_an_engine_that_answers_as_the_reference(self):
        assert choose_engine("auto").precision() == "f32"
        assert ENGINES[REFERENCE].can_run()

    def test_the_names_of_engines_are_those_of_the_parameter(self):
        names = get_args(NetworkConfig.model_fields["engine"].annotation)
        assert sorted(names) == sorted(("auto", *ENGINES))
        with pytest.raises(UserError, match=r"network\.engine.*'cuda'"):
            Config().with_options(network={"engine": "abacus"})

    def test_an_engine_that_cannot_run_says_what_it_needs(self, monkeypatch):
        monkeypatch.setattr(OpenVino, "can_run", lambda self: False)
        choose_engine.cache_clear()
        with pytest.raises(
            UserError, match=r"cannot run here. It needs OpenVINO: .*openvino.* Or write auto.*onnxruntime"
        ):
            choose_engine("openvino")

    def test_a_run_records_another_engine_and_not_how_it_was_chosen(self, monkeypatch):
        """`auto` and its name are the same run, so that finished slides are kept."""
        by_name = Config().with_options(network={"engine": REFERENCE})
        assert by_name.fingerprint() == Config().fingerprint()
        assert detector_id(by_name) == detector_id(Config())
        monkeypatch.setattr(OpenVino, "can_run", lambda self: True)
        monkeypatch.setattr(OpenVino, "precision", lambda self: "bf16")
        choose_engine.cache_clear()
        assert detector_id(Config().with_options(network={"engine": "openvino"})).endswith(" openvino bf16")
        choose_engine.cache_clear()

    @pytest.mark.parametrize(("align_px", "length"), [(32, 1024), (128, 1024), (128, 96)])
    def test_tiles_of_equal_sides_keep_their_context(self, align_px, length):
        part = model._Span.of(slice(1, 3), length, align_px)
        assert (part.start, part.stop) == (32, 96)
        assert part.first >= 0
        assert part.last <= length
        assert part.first == 0 or part.start - part.first >= layout.REACH
        assert part.last == length or part.last - part.stop >= layout.REACH
        assert (part.last - part.first) % min(align_px, length) == 0


class TestConsensus:
    @given(st.integers(0, 10_000))
    @settings(max_examples=25)
    def test_pixels_that_agree_give_their_outline(self, seed):
        rng = np.random.default_rng(seed)
        radius = rng.uniform(20, 45) * (1 + 0.15 * np.cos(2 * layout.ANGLES + rng.uniform(0, 6)))
        ring = np.column_stack([64 + radius * COS, 64 + radius * SIN])
        rows, columns = (v.ravel() for v in np.mgrid[14:18, 13:19])
        rays = np.zeros((layout.N_RAYS, 32, 32), np.float32)
        at = (np.column_stack([columns, rows]) + 0.5) * layout.COARSE
        rays[:, rows, columns] = ray_distances(at, ring, COS, SIN).T
        middle, away, spread = consensus(rays, np.column_stack([rows, columns]))
        found = shapely.Polygon(middle + away[:, None] * np.column_stack([COS, SIN]))
        true = shapely.Polygon(ring)
        assert found.intersection(true).area / found.union(true).area > 0.95
        assert spread < 0.06


def drawn(circles, side=256):
    """Maps of a network that is never wrong, on round follicles (x, y, oocyte radius, radius), px."""
    half, quarter = side // 2, side // 4
    classes = np.zeros((len(layout.CLASSES), half, half), np.float32)
    classes[layout.OTHER] = 1
    border, centre = np.zeros((half, half), np.float32), np.zeros((quarter, quarter), np.float32)
    rays = np.ones((layout.N_RAYS, quarter, quarter), np.float32)
    y, x = (np.mgrid[:half, :half] + 0.5) * 2
    yq, xq = (np.mgrid[:quarter, :quarter] + 0.5) * 4
    for cx, cy, oocyte, radius in circles:
        d = np.hypot(x - cx, y - cy)
        classes[:, d < radius] = 0
        classes[layout.GRANULOSA, d < radius] = 1
        classes[:, d < oocyte] = 0
        classes[layout.OOCYTE, d < oocyte] = 1
        border[np.abs(d - radius) < 2] = 1
        inside = np.hypot(xq - cx, yq - cy) < radius
        centre[inside] = 1 - np.hypot(xq - cx, yq - cy)[inside] / radius
        turn = np.linspace(0, 2 * np.pi, 65)[:-1]
        ring = np.column_stack([cx + radius * np.cos(turn), cy + radius * np.sin(turn)])
        rays[:, inside] = ray_distances(np.column_stack([xq[inside], yq[inside]]), ring, COS, SIN).T
    return Maps(classes, border, centre, rays, texture=np.zeros((4, side // 16, side // 16), np.float32))


class TestFollicles:
    def test_each_follicle_comes_out_once_with_its_oocyte(self):
        maps = drawn([(60, 70, 15, 32), (170, 150, 24, 60), (60, 180, 0, 30)])
        found = find_in(Window(maps, 1000.0, 500.0, 1.5), SCALE)
        assert len(found) == 3
        by_place = sorted(found, key=lambda f: f.outline.area)
        for f, (cx, cy, oocyte, radius) in zip(
            by_place, [(60, 180, 0, 30), (60, 70, 15, 32), (170, 150, 24, 60)], strict=True
        ):
            true = shapely.Point(1000 + cx * 1.5, 500 + cy * 1.5).buffer(radius * 1.5)
            assert f.outline.intersection(true).area / f.outline.union(true).area > 0.93
            assert (f.oocyte is not None) == (oocyte > 0)
            if f.oocyte is not None:
                assert f.oocyte.area == pytest.approx(np.pi * (oocyte * 1.5) ** 2, rel=0.1)
                assert f.oocyte.centroid.distance(true.centroid) < 2

    def test_neighbours_that_touch_stay_two(self):
        found = find_in(Window(drawn([(80, 128, 14, 40), (160, 128, 14, 40)]), 0, 0, 1.5), SCALE)
        assert len(found) == 2
        assert found[0].outline.intersection(found[1].outline).area < 0.05 * found[0].outline.area

    @pytest.mark.parametrize(("rim", "cumulus", "is_ooplasm"), [(22, 0, True), (22, 10, False), (40, 0, False)])
    def test_fluid_that_touches_the_oocyte_all_around_is_ooplasm(self, rim, cumulus, is_ooplasm):
        """Unless cells of the cumulus lie between them, or the space is too wide for an oocyte in such a follicle."""
        maps = drawn([(128, 128, 10, 60)])
        y, x = (np.mgrid[:128, :128] + 0.5) * 2
        d = np.hypot(x - 128, y - 128)
        pale = (d >= 10 + cumulus) & (d < rim + cumulus)
        maps.classes[:, pale] = 0
        maps.classes[layout.FLUID, pale] = 1
        (one,) = find_in(Window(maps, 0, 0, 1.5), SCALE)
        radius = rim if is_ooplasm else 10
        assert one.oocyte.area == pytest.approx(np.pi * (radius * 1.5) ** 2, rel=0.12)
        assert bool(one.fluid) != is_ooplasm

    def test_sizes_out_of_range_are_no_claims(self):
        assert not find_in(Window(drawn([(128, 128, 4, 7)]), 0, 0, 1.5), SCALE)

    def test_an_empty_window_holds_nothing(self):
        assert find_in(Window(drawn([]), 0, 0, 1.5), SCALE) == []


@pytest.fixture(scope="module")
def shown():
    patch = next(patches(3, size=512, mpp=(1.5, 1.5), without=("variety",)))
    return layout.shown(patch.picture, np.full(3, 245.0), np.full(3, 0.8))


class TestTiles:
    def test_the_answer_does_not_depend_on_the_tiles(self, shown, monkeypatch):
        network = model.load(model.SHIPPED, 0)
        whole = network(shown)
        for name in ("_TILE_PX", "_TILE_OF_LUTEA_PX"):
            monkeypatch.setattr(model, name, 160)
        tiled = network(shown)
        assert_allclose(tiled.classes, whole.classes, atol=0.05)
        assert_allclose(tiled.border, whole.border, atol=0.05)
        assert_allclose(tiled.centre, whole.centre, atol=0.05)
        # Rays are used inside follicles only; outside, they mean nothing.
        inside = whole.centre > 0.2
        assert inside.sum() > 20
        assert np.abs(np.log(tiled.rays / whole.rays))[:, inside].max() < 0.05
        assert_allclose(tiled.texture.mean(axis=(1, 2)), whole.texture.mean(axis=(1, 2)), atol=0.02)

    def test_only_tissue_and_its_rim_are_looked_at(self, shown, monkeypatch):
        for name in ("_TILE_PX", "_TILE_OF_LUTEA_PX"):
            monkeypatch.setattr(model, name, 160)
        network = model.load(model.SHIPPED, 0)
        tissue = np.zeros(shown.shape[1:], bool)
        tissue[40:200, 300:] = True
        tissue[400:, 100:150] = True
        maps, whole = network(shown, tissue), network(shown)
        here = tissue[::4, ::4]
        assert_allclose(maps.centre[here], whole.centre[here], atol=0.05)
        assert not maps.centre[:88, :64].any()
        assert not maps.centre[64:88].any()


class TestOnDisk:
    def test_a_description_survives_writing(self, tmp_path):
        weights = {"centre": 2.5, "cut": -3.125}
        described = Description(name="net", scales=(SCALE.model_copy(update={"intercept": -1.5, "weights": weights}),))
        (tmp_path / model.DESCRIPTION).write_text(described.as_toml(), encoding="utf-8")
        assert model.describe(tmp_path) == described

    def test_other_weights_than_described_are_refused(self, tmp_path):
        (tmp_path / "a.onnx").write_bytes(b"something else")
        with pytest.raises(UserError, match="not the weights"):
            model.Network(tmp_path, SCALE)

    def test_missing_files_are_named(self, tmp_path):
        with pytest.raises(UserError, match="a.onnx"):
            model.Network(tmp_path, SCALE)
        with pytest.raises(UserError, match="network.toml"):
            passes(Config().with_options(detection={"detector": "network"}, network={"folder": str(tmp_path)}), 1.0)

    def test_the_shipped_weights_are_those_described_and_small(self):
        total = 0
        for scale in model.describe().scales:
            model.Network(model.SHIPPED, scale)
            total += (model.SHIPPED / scale.file).stat().st_size
        assert total < 10e6


def luteal_window(mask, mpp=1.5):
    """A window whose class map says luteal where the mask is, and other tissue elsewhere."""
    classes = np.zeros((len(layout.CLASSES), *mask.shape), np.float32)
    classes[layout.LUTEAL] = 0.9 * mask
    classes[layout.OTHER] = 1 - classes[layout.LUTEAL]
    empty = np.zeros((1, 1), np.float32)
    return Window(Maps(classes, empty, empty, empty, empty), 100.0, 50.0, mpp)


class TestCorporaLutea:
    Y, X = np.mgrid[:400, :400] * 3.0  # µm

    def disc(self, x, y, radius):
        return (self.X - x) ** 2 + (self.Y - y) ** 2 < radius**2

    @settings(max_examples=15)
    @given(x=st.floats(300, 900), y=st.floats(300, 900), radius=st.floats(80, 250))
    def test_a_round_area_is_found_where_it_is(self, x, y, radius):
        (one,) = find_corpora_lutea(luteal_window(self.disc(x, y, radius)))
        assert_allclose(one.outline.centroid.coords[0], (100 + x, 50 + y), atol=4)
        assert one.outline.area == pytest.approx(np.pi * radius**2, rel=0.08)
        assert one.score == pytest.approx(0.9, abs=0.1)

    def test_two_that_touch_are_two(self):
        both = self.disc(400, 600, 180) | self.disc(730, 600, 170)
        areas = sorted(c.outline.area for c in find_corpora_lutea(luteal_window(both)))
        assert_allclose(areas, [np.pi * 170**2, np.pi * 180**2], rtol=0.1)

    def test_bands_and_single_cells_are_none(self):
        band = np.abs(self.Y - 600 - 150 * np.sin(self.X / 150)) < 45
        cells = self.disc(200, 200, 30) | self.disc(1000, 200, 40)
        assert find_corpora_lutea(luteal_window(band)) == []
        assert find_corpora_lutea(luteal_window(cells)) == []

    def test_of_two_windows_that_found_the_same_one_the_larger_outline_is_kept(self):
        whole, part, other = (
            FoundCorpusLuteum(shapely.Point(x, 0).buffer(r), 0.9) for x, r in ((0, 100), (20, 80), (180, 90))
        )
        assert without_twins([part, whole, other]) == [whole, other]

    def test_a_clot_in_the_middle_belongs_to_it(self):
        ring = self.disc(600, 600, 200) & ~self.disc(600, 600, 80)
        (one,) = find_corpora_lutea(luteal_window(ring))
        assert one.outline.area == pytest.approx(np.pi * 200**2, rel=0.08)


class TestChoice:
    def test_the_network_is_the_default_and_classical_stays(self, monkeypatch):
        assert choose_detector(Config()).name == "network"
        assert choose_detector(Config().with_options(detection={"detector": "classical"})).name == "classical"
        monkeypatch.setattr(engines, "can_run", lambda: False)
        assert choose_detector(Config()).name == "classical"
        with pytest.raises(UserError, match="onnxruntime"):
            choose_detector(Config().with_options(detection={"detector": "network"}))

    def test_primordial_follicles_are_looked_for_on_fine_slides_only(self):
        config = Config().with_options(detection={"detector": "network"})
        assert visible_stages(config, 0.5) == (*LADDER, Stage.CORPUS_LUTEUM)
        assert Stage.PRIMORDIAL not in visible_stages(config, 1.0)
        assert len(passes(config, 0.5)) == 2
        assert len(passes(config, 1.5)) == 1

    def test_corpora_lutea_are_visible_to_a_network_that_looks_for_them(self, tmp_path):
        for looks in (False, True):
            described = Description(name="coarse", scales=(SCALE.model_copy(update={"corpora_lutea": looks}),))
            (tmp_path / model.DESCRIPTION).write_text(described.as_toml(), encoding="utf-8")
            config = Config().with_options(detection={"detector": "network"}, network={"folder": str(tmp_path)})
            assert (Stage.CORPUS_LUTEUM in visible_stages(config, 0.5)) == looks

    def test_a_network_without_a_fine_scale_sees_no_primordials(self, tmp_path):
        described = Description(name="coarse", scales=(SCALE,))
        (tmp_path / model.DESCRIPTION).write_text(described.as_toml(), encoding="utf-8")
        config = Config().with_options(detection={"detector": "network"}, network={"folder": str(tmp_path)})
        assert Stage.PRIMORDIAL not in visible_stages(config, 0.5)

    def test_a_network_with_a_fine_scale_alone_sees_none_on_a_coarse_slide(self, tmp_path):
        fine = SCALE.model_copy(update={"mpp": 0.5, "smallest_um": 12, "largest_um": 75})
        (tmp_path / model.DESCRIPTION).write_text(Description(name="fine", scales=(fine,)).as_toml(), "utf-8")
        config = Config().with_options(detection={"detector": "network"}, network={"folder": str(tmp_path)})
        assert visible_stages(config, 0.5) == LADDER
        assert Stage.PRIMORDIAL not in visible_stages(config, 1.5)
        assert len(passes(config, 1.5)) == 1


class TestDetectors:
    def test_the_command_line_and_the_window_offer_each(self):
        from follicle_stager.cli.common import Detector
        from follicle_stager.detection import DETECTORS

        option = Detector.__metadata__[0]
        assert all(name in option.help for name in DETECTORS)

    def test_a_detector_that_does_not_exist_is_named_with_those_that_do(self):
        with pytest.raises(UserError, match="'stardist'; write auto, network or classical"):
            choose_detector(Config().with_options(detection={"detector": "stardist"}))

    def test_parameters_of_older_versions_are_found_in_their_new_places(self):
        old = {"detection": {"min_oocyte_um": 12.0, "network": "own", "min_score": 0.3}}
        config = Config.model_validate(old)
        assert (config.classical.min_oocyte_um, config.network.folder, config.detection.min_score) == (12, "own", 0.3)
        assert Config().with_options(**old) == config
        with pytest.raises(UserError, match="nothing_of_ours"):
            Config().with_options(nothing_of_ours={"a": 1})
