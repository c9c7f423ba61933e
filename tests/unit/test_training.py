"""Targets, patches and the loop that learns from them."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import shapely
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from follicle_stager.detection.network import layout, model
from follicle_stager.errors import UserError
from follicle_stager.phantom import patches
from follicle_stager.training import MOUSE_OVARY, loop, shards
from follicle_stager.training.architecture import Exported, build
from follicle_stager.training.settings import TrainSettings, load_recipe
from follicle_stager.training.shards import Shards, render_shard, turned
from follicle_stager.training.targets import decode_rays, encode_rays, make_target, ray_distances
from follicle_stager.training.weights import read_onnx, write_onnx

COS, SIN = np.cos(layout.ANGLES), np.sin(layout.ANGLES)


def tiny(**changes) -> TrainSettings:
    return TrainSettings(
        **{
            "name": "tiny",
            "mpp": 1.5,
            "smallest_um": 28,
            "largest_um": 700,
            "patch_px": 64,
            "batch": 3,
            "steps": 12,
            "reuse": 1,
            "encoder": "plain",
            "widths": (8, 8, 8, 8),
            "workers": 1,
            "checkpoint_steps": 6,
        }
        | changes
    )


@pytest.fixture(scope="module")
def shard():
    return render_shard(tiny(patch_px=128), 0)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Patches for all runs, which differ only in how they learn from them."""
    return tmp_path_factory.mktemp("patches")


class TestRays:
    @given(st.floats(0.6, 500))
    def test_bytes_hold_a_distance_to_2_percent(self, distance):
        assert np.exp(decode_rays(encode_rays(np.array([distance]))))[0] == pytest.approx(distance, rel=0.02)

    @given(st.integers(0, 10_000))
    @settings(max_examples=30)
    def test_rays_end_on_the_outline(self, seed):
        rng = np.random.default_rng(seed)
        turn = np.sort(rng.uniform(0, 2 * np.pi, 12))
        ring = np.column_stack([np.cos(turn), np.sin(turn)]) * rng.uniform(10, 30, (12, 1)) + 50
        polygon = shapely.Polygon(ring)
        assume(polygon.is_valid)  # an edge over more than half a turn may cross others
        at = np.array(polygon.representative_point().coords)
        for k, distance in enumerate(ray_distances(at, ring, COS, SIN)[0]):
            ray = shapely.LineString([at[0], at[0] + 200 * np.array([COS[k], SIN[k]])])
            furthest = shapely.hausdorff_distance(shapely.Point(at[0]), ray.intersection(polygon))
            assert distance == pytest.approx(furthest, abs=1e-6)


class TestTargets:
    def test_a_patch_and_its_truth_fit_together(self, shard):
        """However a patch is laid down, the rays of a follicle's middle end where its border is drawn."""
        drawn, on_border = 0, 0
        for o in turned(shard, np.arange(16), np.random.default_rng(0)):
            middle = np.where(o["follicle"] == 1, o["centre"], 0)
            if middle.max() in (0, layout.IGNORE):
                continue
            y, x = np.unravel_index(middle.argmax(), middle.shape)
            r = np.exp(decode_rays(o["rays"][:, y, x]))
            ends = ((np.column_stack([y + 0.5 + r * SIN / 4, x + 0.5 + r * COS / 4])) * 2).astype(int)
            inside = ((ends >= 0) & (ends < 64)).all(axis=1)
            drawn += inside.sum()
            on_border += (o["border"][tuple(ends[inside].T)] > 100).sum()
        assert drawn > 100
        assert on_border > 0.9 * drawn

    def test_every_class_is_learned_somewhere(self):
        stream = patches(3, size=128, mpp=(1.4, 1.6), per_ovary=12)
        missing = set(range(len(layout.CLASSES)))
        for _ in range(200):
            missing -= set(np.unique(make_target(next(stream), smallest_um=28, largest_um=700).classes))
            if not missing:
                break
        assert not missing

    def test_a_follicle_has_one_middle_and_a_cut_one_has_none(self, shard):
        assert (shard["centre"][shard["follicle"] == 2] == 0).all()
        assert shard["centre"][shard["follicle"] == 1].max() > 200

    def test_follicles_too_small_for_the_scale_are_ignored(self):
        stream = patches(4, size=128, mpp=(0.5, 0.5))
        for _ in range(10):
            patch = next(stream)
            target = make_target(patch, smallest_um=10_000, largest_um=20_000)
            assert not target.follicle.any()
            assert not target.border.any()


class TestShards:
    def test_patches_depend_on_the_settings_and_the_number_alone(self, tmp_path):
        alone = render_shard(tiny(), 1)
        with Shards(tmp_path, tiny(workers=2), 2) as rendered:
            both = rendered.block(0)
        for name, values in alone.items():
            assert_array_equal(both[name][64:], values)

    def test_runs_share_patches_unless_they_differ_in_them(self):
        assert shards.patch_key(tiny()) == shards.patch_key(tiny(steps=99, seed=5, widths=(8, 16, 16, 16)))
        assert shards.patch_key(tiny()) != shards.patch_key(tiny(data_seed=2))


class TestLoop:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(loop, "_VALIDATION_SHARDS", 1)
        monkeypatch.setattr(torch, "set_num_threads", lambda n: None)

    def test_an_interrupted_run_ends_where_an_unbroken_one_does(self, rendered, tmp_path):
        class Stopped(Exception):
            pass

        def stop(step, losses):
            if step == 8:
                raise Stopped

        whole = loop.train(tiny(), tmp_path / "whole", patches=rendered)
        with pytest.raises(Stopped):
            loop.train(tiny(), tmp_path / "broken", patches=rendered, on_step=stop)
        again = loop.train(tiny(), tmp_path / "broken", patches=rendered)
        session = [onnxruntime.InferenceSession(str(path)) for path in (whole, again)]
        x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
        for a, b in zip(*(s.run(None, {"picture": x}) for s in session), strict=True):
            assert_allclose(a, b, atol=1e-4)
        log = pd.read_csv(tmp_path / "broken" / "log.csv")
        assert list(log["step"]) == [6, 12]
        assert (tmp_path / "broken" / "log.png").stat().st_size > 1000

    def test_it_learns(self, rendered, tmp_path):
        """Of glass and tissue at least: the losses of the last steps are lower than those of the first."""
        seen = []
        loop.train(
            tiny(steps=120, learning_rate=5e-3, checkpoint_steps=120, reuse=8),
            tmp_path / "run",
            patches=rendered,
            on_step=lambda step, losses: seen.append(sum(losses.values())),
        )
        assert np.mean(seen[-10:]) < 0.85 * np.mean(seen[:10])

    def test_a_share_of_the_weights_at_the_start_is_kept(self, rendered, tmp_path):
        torch.manual_seed(1)
        write_onnx(build("plain", (8, 8, 8, 8)), tmp_path / "start.onnx")
        start = {"start": str(tmp_path / "start.onnx")}
        paths = [tmp_path / "start.onnx"] + [
            loop.train(tiny(**start, start_share=share, steps=2), tmp_path / "run", patches=rendered).rename(
                tmp_path / f"{share}.onnx"
            )
            for share in (0, 0.25)
        ]
        nets = [build("plain", (8, 8, 8, 8)) for _ in paths]
        for net, path in zip(nets, paths, strict=True):
            read_onnx(net, path)
        before, after, kept = (net.state_dict() for net in nets)
        assert any(not torch.equal(before[name], after[name]) for name in before)
        for name, value in kept.items():
            if value.is_floating_point():
                assert_allclose(value, 0.25 * before[name] + 0.75 * after[name], rtol=2e-3, atol=2e-4)

    def test_a_folder_of_another_run_is_left_alone(self, rendered, tmp_path):
        loop.train(tiny(steps=2), tmp_path / "run", patches=rendered)
        with pytest.raises(UserError, match="other settings"):
            loop.train(tiny(steps=3), tmp_path / "run", patches=rendered)


class TestWeights:
    @pytest.mark.parametrize("encoder", ["plain", "lite"])
    def test_the_written_network_answers_as_the_trained_one(self, tmp_path, encoder):
        torch.manual_seed(3)
        net = build(encoder, (16, 16, 24, 32)).eval()
        write_onnx(net, tmp_path / "a.onnx")
        x = torch.randn(2, 3, 96, 128)
        with torch.no_grad():
            own = Exported(net)(x)
        session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
        for a, b in zip(own, session.run(None, {"picture": x.numpy()}), strict=True):
            assert a.shape == b.shape
            assert_allclose(a, b, rtol=0.02, atol=0.01)  # half precision

    def test_training_can_start_from_it(self, tmp_path):
        torch.manual_seed(3)
        net, other = build("lite", (16, 16, 24)), build("lite", (16, 16, 24))
        for value in net.parameters():  # equal ones, as in a fresh network, would be written once
            value.data += 0.01 * torch.randn_like(value)
        for name, value in net.named_buffers():
            if not name.endswith("tracked"):
                value.data += torch.rand_like(value)
        write_onnx(net, tmp_path / "a.onnx")
        read_onnx(other, tmp_path / "a.onnx")
        for name, value in net.state_dict().items():
            assert_allclose(other.state_dict()[name], value, rtol=1e-3, atol=1e-4)

    def test_another_architecture_is_refused(self, tmp_path):
        write_onnx(build("plain", (8, 8, 8, 8)), tmp_path / "a.onnx")
        with pytest.raises(UserError, match="another architecture"):
            read_onnx(build("lite", (8, 8, 8)), tmp_path / "a.onnx")
        (tmp_path / "b.onnx").write_text("no network")
        with pytest.raises(UserError, match=r"b\.onnx"):
            read_onnx(build("lite", (8, 8, 8)), tmp_path / "b.onnx")


class TestRecipe:
    def test_the_shipped_network_looks_for_what_its_recipe_says(self):
        described, recipe = model.describe(), load_recipe(MOUSE_OVARY)
        assert described.name == recipe.name
        for scale, own in zip(described.scales, recipe.scales, strict=True):
            assert scale.familiar_to
            assert scale.weights
            assert (scale.mpp, scale.smallest_um) == (own.mpp, own.smallest_um)
            assert scale.largest_um == (own.claims_to_um or own.largest_um)
            assert scale.corpora_lutea == own.corpora_lutea

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('name = "a"', "scales"),
            ('name = "a"\nstep = 5\n[[scales]]\nname = "g"\nmpp = 1\nsmallest_um = 5\nlargest_um = 9', "no such param"),
            ('name = "a"\n[[scales]]\nname = "g"\nmpp = 1\nsmallest_um = 50\nlargest_um = 9', "smaller than"),
            ('name = "a"\nscales = 3', "scales"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, said):
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=said) as error:
            load_recipe(path)
        assert str(path) in str(error.value)


@given(seed=st.integers(0, 2**32 - 1), grey=st.floats(-1, 1))
@settings(max_examples=20)
def test_varied_detail_leaves_even_areas_and_stays_in_range(seed, grey):
    rng = np.random.default_rng(seed)
    even = torch.full((2, 3, 32, 32), grey)
    assert torch.allclose(loop.regrained(even, rng), even, atol=1e-5)
    noisy = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)).repeat(2, 1, 1, 1)
    first, second = loop.regrained(noisy, rng)
    assert max(first.abs().max(), second.abs().max()) <= 1
    assert not torch.allclose(first, second)
