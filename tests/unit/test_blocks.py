"""Blocks: the same pixels as the file, each decoded once while memory lasts, and halved resolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from follicle_stager.config import Config
from follicle_stager.pipeline import process_slide
from follicle_stager.pixel_size import PixelSize
from follicle_stager.report import draw_overlay
from follicle_stager.slides import blocks, open_slide
from follicle_stager.slides.blocks import whole_blocks
from follicle_stager.slides.resample import read_at_mpp
from follicle_stager.slides.slide import Level, Slide

RNG = np.random.default_rng(0)


def slide_of(picture, chunk=(64, 64), levels=(), mpp=1.0):
    """A slide of arrays."""
    made = [
        Level(p.shape[1], p.shape[0], lambda y0, y1, x0, x1, p=p: p[y0:y1, x0:x1], chunk) for p in (picture, *levels)
    ]
    return Slide(Path("a.tif"), made, PixelSize(mpp, mpp, "test"))


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(st.integers(-20, 90), st.integers(-20, 90), st.integers(1, 60), st.integers(1, 60)), min_size=1),
)
def test_windows_of_blocks_are_windows_of_the_slide(height, width, block, windows):
    slide = slide_of(RNG.integers(0, 256, (height, width, 3), np.uint8))
    layer = slide.layers[0]
    layer.block = block
    layer._most = 3  # blocks are dropped all the time
    for window in windows:
        np.testing.assert_array_equal(layer.read(*window), slide.read_region(*window))


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(2, 2), (4, 3), (64, 64)]))
def test_a_halved_pixel_is_the_mean_of_its_four(height, width, chunk):
    picture = RNG.integers(0, 256, (2 * height, 2 * width, 3), np.uint8)
    layer = blocks.Layer(slide_of(picture, chunk).layers[0])
    mean = picture.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    assert (layer.width, layer.height, layer.down_x, layer.down_y) == (width, height, 2, 2)
    assert np.abs(layer.read(0, 0, width, height) - mean).max() <= 0.5


def test_an_odd_side_is_halved_without_a_shift():
    """Positions of pixels do not move, however odd the sides are."""
    picture = np.repeat(np.arange(251, dtype=np.uint8)[None, :, None], 7, axis=0).repeat(3, axis=2)
    layer = blocks.Layer(slide_of(picture).layers[0])
    assert (layer.width, layer.height, layer.down_x) == (126, 4, 2)
    across = layer.read(0, 0, 126, 4)[0, :, 0].astype(float)
    assert np.abs(across[:125] - (np.arange(0, 250, 2) + 0.5)).max() <= 0.5
    assert across[125] == 250


@pytest.mark.parametrize(
    ("chunk", "block"),
    [((512, 512), (1024, 1024)), ((256, 256), (1024, 1024)), ((240, 240), (1200, 960)), ((4096, 4096), (4096, 4096))],
)
def test_blocks_are_whole_tiles(chunk, block):
    assert whole_blocks(chunk) == block


@given(st.integers(1, 5000), st.integers(1, 100_000))
def test_blocks_are_about_a_megapixel_unless_one_part_is_larger(rows, columns):
    down, across = (n // m for n, m in zip(whole_blocks((rows, columns)), (rows, columns), strict=True))
    assert whole_blocks((rows, columns)) == (down * rows, across * columns)
    assert down == across == 1 or down * rows * across * columns <= 2.5 * (1 << 20)


def test_layers_are_made_where_the_file_has_none(monkeypatch):
    monkeypatch.setattr(blocks, "_SMALLEST_PX", 10)
    whole = np.zeros((160, 160, 3), np.uint8)

    def downs(*factors):
        return [n.down_x for n in slide_of(whole, levels=[whole[::f, ::f] for f in factors]).layers]

    assert downs() == [1, 2, 4, 8, 16, 32, 64]
    assert downs(2) == [1, 2, 4, 8, 16, 32, 64]
    assert downs(4, 16) == [1, 2, 4, 8, 16, 32, 64]
    assert downs(2, 4, 8, 16, 32) == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    "stored",
    [{"tile": (256, 256)}, {"rowsperstrip": 16}, {"rowsperstrip": 10_000}],
    ids=["tiles", "strips", "one strip"],
)
def test_without_a_pyramid_every_pixel_is_decoded_once(section, tmp_path, stored):
    """Survey, both scales, measurement and overlay share what was decoded."""
    picture = section[1].repeat(2, axis=0).repeat(2, axis=1)
    path = tmp_path / "flat.tif"
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, picture, photometric="rgb", compression="zlib", **stored, **resolution)
    with open_slide(path) as slide:
        result = process_slide(slide, Config())
        draw_overlay(slide, result)
        assert result.follicles
        assert slide.decoded_px == slide.width * slide.height


def test_a_slide_that_does_not_fit_into_memory_gives_the_same(section, tmp_path, monkeypatch):
    picture = section[1].repeat(2, axis=0).repeat(2, axis=1)
    read = []
    for kept in (blocks._KEPT_BYTES, 200_000):
        monkeypatch.setattr(blocks, "_KEPT_BYTES", kept)
        slide = slide_of(picture, mpp=0.5)
        read.append([read_at_mpp(slide, 20, 30, 200, 150, mpp) for mpp in (4.0, 0.5, 1.5, 1.0)])
    for one, other in zip(*read, strict=True):
        np.testing.assert_array_equal(one, other)


def test_freed_blocks_are_decoded_again():
    slide = slide_of(RNG.integers(0, 256, (90, 80, 3), np.uint8))
    before = read_at_mpp(slide, 5, 6, 30, 20, 2.0)
    decoded = slide.decoded_px
    np.testing.assert_array_equal(read_at_mpp(slide, 5, 6, 30, 20, 2.0), before)
    assert slide.decoded_px == decoded
    slide.free_blocks()
    np.testing.assert_array_equal(read_at_mpp(slide, 5, 6, 30, 20, 2.0), before)
    assert slide.decoded_px > decoded
