"""A slide of gigabytes, made once."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary

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


@pytest.fixture(scope="session")
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
