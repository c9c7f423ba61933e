"""Read a slide at a given µm/px.

All filters of the library work at fixed µm/px, so every slide is resampled first, on one grid that is
fixed to the slide: the centre of pixel ``i`` is ``(i + 0.5) * mpp`` µm from the slide's edge. A window
of the grid therefore holds the same values, however the slide is split into tiles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.slides.blocks import Layer
    from follicle_stager.slides.slide import Slide

# Windows are read in pieces with at most this many source pixels per side, which limits the memory for
# slides without a pyramid.
_MAX_SOURCE_PIXELS = 4096


def grid_shape(slide: Slide, mpp: float) -> tuple[int, int]:
    """Height and width of the whole slide at ``mpp`` µm/px."""
    width_um, height_um = slide.size_um
    return max(1, math.ceil(height_um / mpp - 1e-6)), max(1, math.ceil(width_um / mpp - 1e-6))


def read_at_mpp(slide: Slide, x: int, y: int, width: int, height: int, mpp: float) -> NDArray[np.uint8]:
    """Read a window of the grid at ``mpp`` µm/px.

    Parameters
    ----------
    slide
        A slide with known µm/px.
    x, y, width, height
        Window in pixels of the grid; white outside the slide.
    mpp
        Pixel size of the grid, µm/px. If coarser than the slide, pixels are averaged; if finer, interpolated.

    Returns
    -------
    ndarray of uint8, (height, width, 3)
    """
    layer = _layer_for(slide, mpp)
    mpp_x, mpp_y = slide.pixel_size.xy_um(layer.down_x, layer.down_y)
    factor_x, factor_y = mpp / mpp_x, mpp / mpp_y
    out = np.empty((height, width, 3), np.uint8)
    step_x = max(1, int(_MAX_SOURCE_PIXELS / factor_x))
    step_y = max(1, int(_MAX_SOURCE_PIXELS / factor_y))
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            rows, columns = min(step_y, height - top), min(step_x, width - left)
            out[top : top + rows, left : left + columns] = _read_piece(
                layer, x + left, y + top, columns, rows, factor_x, factor_y
            )
    return out


def _layer_for(slide: Slide, mpp: float) -> Layer:
    """The coarsest resolution with pixels no larger than ``mpp``."""
    fine = [n for n in slide.layers if max(slide.pixel_size.xy_um(n.down_x, n.down_y)) <= mpp * 1.01]
    return fine[-1] if fine else slide.layers[0]


def _read_piece(
    layer: Layer, x: int, y: int, width: int, height: int, factor_x: float, factor_y: float
) -> NDArray[np.uint8]:
    if abs(factor_x - 1) < 1e-6 and abs(factor_y - 1) < 1e-6:
        return layer.read(x, y, width, height)
    # Blocks of whole pixels are averaged first. The remaining factor below 2 is interpolated; where it is above 1, with
    # a tent filter of that width, to prevent aliasing.
    block_x, block_y = max(1, math.floor(factor_x + 1e-9)), max(1, math.floor(factor_y + 1e-9))
    rest_x, rest_y = factor_x / block_x, factor_y / block_y
    x_first, y_first = math.floor(x * rest_x) - 2, math.floor(y * rest_y) - 2
    columns = math.ceil((x + width) * rest_x) + 2 - x_first
    rows = math.ceil((y + height) * rest_y) + 2 - y_first
    source = layer.read(x_first * block_x, y_first * block_y, columns * block_x, rows * block_y)
    left, top = x * rest_x - x_first, y * rest_y - y_first
    box = (left, top, left + width * rest_x, top + height * rest_y)
    picture = Image.fromarray(source)
    if (block_x, block_y) != (1, 1):
        picture = picture.reduce((block_x, block_y))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
