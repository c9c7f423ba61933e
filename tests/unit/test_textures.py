"""Real tissue as the ground of training patches: what is read of it, and that follicles in it keep their truth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage as ndi

from follicle_stager.detection.network import model
from follicle_stager.errors import UserError
from follicle_stager.evaluation.marks import SOURCES
from follicle_stager.phantom.patches import Ground, patches
from follicle_stager.phantom.tissues import CODE
from follicle_stager.training.calibration import EVIDENCE, claims_on_textures
from follicle_stager.training.settings import TrainSettings
from follicle_stager.training.shards import patch_key, render_shard
from follicle_stager.training.targets import make_target
from follicle_stager.training.textures import Textures

HEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.20, 0.94, 0.28])


def picture(seed, side=300):
    """Round nuclei in pink tissue, and a clear strip on the left; and the hematoxylin of it."""
    rng = np.random.default_rng(seed)
    nuclei = np.zeros((side, side))
    nuclei[tuple(rng.integers(0, side, (2, side * side // 200)))] = 1
    nuclei = np.minimum(25 * ndi.gaussian_filter(nuclei, 2.0), 1.2)
    pink = 0.5 + 0.1 * ndi.gaussian_filter(rng.normal(size=(side, side)), 3) * 10
    nuclei[:, : side // 5], pink[:, : side // 5] = 0, 0
    rgb = 245 * np.exp(-nuclei[..., None] * HEMATOXYLIN - pink[..., None] * EOSIN)
    return np.clip(rgb, 0, 255).astype(np.uint8), nuclei


@pytest.fixture
def folder(tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 2)):
        Image.fromarray(picture(seed)[0]).save(tmp_path / name)
    table(tmp_path, "a.png,1.0,train", "b.png,1.0,score")
    return tmp_path


def table(folder, *rows, head="file,mpp,use"):
    (folder / SOURCES).write_text("\n".join([head, *rows]) + "\n")


def test_a_window_holds_the_stains_of_the_picture(folder):
    """On average over many windows: as much nuclear stain and glass as was painted."""
    grounds, rng = Textures(folder), np.random.default_rng(0)
    windows = [grounds(rng, 128, 1.0) for _ in range(60)]
    painted = picture(1)[1]
    assert {w.nuclear.shape for w in windows} == {(128, 128)}
    # A window of 128 px covers column x < 60 of 300 with a probability of x / 173.
    assert np.mean([w.clear.mean() for w in windows]) == pytest.approx(60**2 / 2 / 173 / 128, abs=0.05)
    strip = [w for w in windows if 0.05 < w.clear.mean() < 0.95]
    assert len(strip) > 5
    for w in strip:
        assert w.nuclear[w.clear].mean() < 0.1 * w.nuclear[~w.clear].mean()
        assert w.counter[w.clear].mean() < 0.1 * w.counter[~w.clear].mean()
    # Both are strongest in nuclei; the scale of each window is random.
    assert np.mean([np.percentile(w.nuclear, 99) for w in windows]) == pytest.approx(
        np.percentile(painted, 99) / np.percentile(painted[painted > 0], 95), abs=0.4
    )


def test_a_seed_gives_the_same_window(folder):
    one, two = (Textures(folder)(np.random.default_rng(5), 64, 0.7) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pictures_that_are_too_small_are_not_stretched(folder):
    assert Textures(folder)(np.random.default_rng(0), 1024, 4.0) is None


def test_all_claims_on_them_are_false_in_the_calibration(folder, section):
    """A virtual section is declared as tissue without follicles, so the network claims follicles in it."""
    Image.fromarray(section[1]).save(folder / "section.png")
    table(folder, "a.png,1.0,train", "section.png,1.0,train", "b.png,1.0,score", "coarse.png,5.0,train")
    Image.fromarray(picture(3)[0]).save(folder / "coarse.png")
    index, scale = next((i, s) for i, s in enumerate(model.describe().scales) if s.mpp > 1)
    claims = claims_on_textures(folder, model.SHIPPED, index, scale)
    on_section = claims[claims["slide"] == str(folder / "section.png")]
    assert len(on_section) >= 3
    assert not claims["true"].any()
    assert set(EVIDENCE) <= set(claims.columns)
    assert not claims["slide"].str.endswith(("b.png", "coarse.png")).any()


def test_pictures_for_scoring_are_never_read(folder):
    table(folder, "a.png,1.0,score", "b.png,1.0,score")
    with pytest.raises(UserError, match="no picture with the use 'train'"):
        Textures(folder)


def test_faults_of_the_table_are_named(folder, tmp_path):
    table(folder, "a.png,fine,train")
    with pytest.raises(UserError, match=r"SOURCES\.csv: line 2: the mpp is 'fine'"):
        Textures(folder)
    table(folder, "lost.png,1.0,train")
    with pytest.raises(UserError, match=r"line 2: there is no file lost\.png"):
        Textures(folder)
    table(folder, "a.png,1", head="file,mpp")
    with pytest.raises(UserError, match="the column use is missing"):
        Textures(folder)
    with pytest.raises(UserError, match=r"there is no SOURCES\.csv in it"):
        Textures(tmp_path / "nowhere")


def striped(rng, side, mpp):
    """A ground that is easy to tell from drawn tissue: nuclear stain 5 everywhere, clear at the top."""
    clear = np.zeros((side, side), bool)
    clear[:8] = True
    return Ground(np.full((side, side), 5.0, np.float32), np.zeros((side, side), np.float32), clear)


def test_follicles_keep_their_truth_on_another_ground():
    """With the ground or without, a patch with follicles has the same ones; the tissue between them is the ground's."""
    stream = patches(3, size=128, mpp=(1.4, 1.6), without=("faults",), grounds=striped)
    on_ground = with_follicles = 0
    for _ in range(60):
        patch = next(stream)
        inside = patch.owner >= 0
        kinds = set(np.unique(patch.kind[~ndi.binary_dilation(inside, iterations=25)]))
        if not kinds <= {CODE["stroma"], CODE["lumen"]} or (patch.kind[0] == CODE["glass"]).any():
            continue
        on_ground += 1
        target = make_target(patch, smallest_um=28, largest_um=700)
        assert bool(target.follicle.any()) <= bool(inside.any())
        if inside.any():
            with_follicles += 1
            assert (patch.kind[inside] != CODE["stroma"]).all(), "what a follicle is made of stays"
        else:
            assert not target.centre.any()
            assert not target.border.any()
    assert with_follicles >= 3
    assert on_ground - with_follicles >= 3


def test_a_shard_has_real_tissue_in_it_and_another_key(folder):
    tiny = TrainSettings(name="tiny", mpp=1.0, smallest_um=28, largest_um=700, patch_px=64, workers=1)
    real = tiny.model_copy(update={"textures": str(folder)})
    assert patch_key(tiny) != patch_key(real)
    one, two = render_shard(real, 1), render_shard(real, 1)
    np.testing.assert_array_equal(one["picture"], two["picture"])
    assert (one["picture"] != render_shard(tiny, 1)["picture"]).any()
