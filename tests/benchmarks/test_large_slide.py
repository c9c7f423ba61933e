"""Speed and memory on a slide of 30,000 x 20,000 px. Prints; run it with ``make bench``."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary
from follicle_stager.slides import open_slide
from follicle_stager.slides.resample import grid_shape, read_at_mpp

WIDTH, HEIGHT, MPP, TILE = 30_000, 20_000, 0.5, 512
LEVELS = 5


def _tiles(picture: np.ndarray, spots: list[tuple[int, int]], level: int):
    """Tiles of one level, made as they are written, so that the slide never is in memory."""
    down = 2**level
    small = picture[::down, ::down]
    for y in range(0, HEIGHT // down, TILE):
        for x in range(0, WIDTH // down, TILE):
            tile = np.full((TILE, TILE, 3), 248, np.uint8)
            for spot_x, spot_y in spots:
                left, top = spot_x // down - x, spot_y // down - y
                x0, y0 = max(0, left), max(0, top)
                x1, y1 = min(TILE, left + small.shape[1]), min(TILE, top + small.shape[0])
                if x0 < x1 and y0 < y1:
                    tile[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
            yield tile


@pytest.fixture(scope="module")
def large_slide(tmp_path_factory):
    """Twelve copies of a synthetic section on a large glass, as a JPEG-compressed OME-TIFF pyramid."""
    rng = np.random.default_rng(1)
    ovary = build_ovary(rng, small_ovary())
    picture = render_slide(ovary, [Cut(0, 0.0, 5.0)], faithful(rng, "H&E", faults=0), rng, mpp=MPP).picture
    spots = [(2000 + 6500 * i, 2000 + 5500 * j) for j in range(3) for i in range(4)]
    path = tmp_path_factory.mktemp("large") / "large.ome.tif"
    options = {
        "photometric": "rgb",
        "tile": (TILE, TILE),
        "compression": "jpeg",
        "compressionargs": {"level": 80},
        "dtype": np.uint8,
    }
    metadata = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tif:
        for level in range(LEVELS):
            shape = (HEIGHT // 2**level, WIDTH // 2**level, 3)
            extra = {"subifds": LEVELS - 1, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            tif.write(_tiles(picture, spots, level), shape=shape, **extra, **options)
    return path


def test_memory_and_speed(large_slide, tmp_path):
    """Peak memory below 2 GB; seconds per mm² of tissue, and how many times as long as decoding alone."""
    with open_slide(large_slide) as slide:
        started = time.perf_counter()
        height, width = grid_shape(slide, 1.0)
        for y in range(0, height, 1024):
            for x in range(0, width, 1024):
                read_at_mpp(slide, x, y, 1024, 1024, 1.0)
        decoding = time.perf_counter() - started
    command = [sys.executable, "-m", "follicle_stager.cli", "stage", str(large_slide), "--out", str(tmp_path / "s")]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    info = json.loads((tmp_path / "s" / "slides" / "large" / "run.json").read_text())
    tissue = info["quality"]["tissue_mm2"]
    print(
        f"\n{WIDTH} x {HEIGHT} px at {MPP} µm/px, {tissue:.1f} mm² of tissue, {info['follicles']} follicles\n"
        f"  whole run: {seconds:.0f} s, {seconds / tissue:.2f} s per mm² of tissue\n"
        f"  of it: {info['seconds']}\n"
        f"  decoding the slide at 1 µm/px alone: {decoding:.1f} s; the run takes {seconds / decoding:.1f} times that\n"
        f"  peak memory: {peak_gb:.2f} GB"
    )
    assert peak_gb < 2.0
