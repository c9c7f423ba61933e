"""Read a slide at a stated µm/px.

All filters of the library work at fixed µm/px, so every slide is resampled first, on one grid that is
fixed to the slide: pixel ``i`` of it is centred at ``(i + 0.5) * mpp`` µm from the slide's edge. A window
of the grid therefore holds the same values however the slide is cut into tiles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.slides.slide import Slide

# Windows are read in pieces of at most this many source pixels a side, which bounds memory on slides
# without a pyramid.
_MAX_SOURCE_PIXELS = 4096


def grid_shape(slide: Slide, mpp: float) -> tuple[int, int]:
    """Height and width of the whole slide at ``mpp`` µm/px."""
    scale = slide.scale
    return (
        max(1, math.ceil(slide.height * scale.mpp_y / mpp - 1e-6)),
        max(1, math.ceil(slide.width * scale.mpp_x / mpp - 1e-6)),
    )


def read_at_mpp(slide: Slide, x: int, y: int, width: int, height: int, mpp: float) -> NDArray[np.uint8]:
    """Read a window of the grid at ``mpp`` µm/px.

    Parameters
    ----------
    slide
        A slide whose µm/px is known.
    x, y, width, height
        Window in pixels of the grid; what lies outside the slide is white.
    mpp
        µm per pixel of the grid. Coarser than the slide: averaged over area; finer: interpolated.

    Returns
    -------
    ndarray of uint8, (height, width, 3)
    """
    level = _level_for(slide, mpp)
    down_x, down_y = slide.downsample(level)
    factor_x = mpp / (slide.scale.mpp_x * down_x)
    factor_y = mpp / (slide.scale.mpp_y * down_y)
    out = np.empty((height, width, 3), np.uint8)
    step_x = max(1, int(_MAX_SOURCE_PIXELS / factor_x))
    step_y = max(1, int(_MAX_SOURCE_PIXELS / factor_y))
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            rows, columns = min(step_y, height - top), min(step_x, width - left)
            out[top : top + rows, left : left + columns] = _read_piece(
                slide, level, x + left, y + top, columns, rows, factor_x, factor_y
            )
    return out


def _level_for(slide: Slide, mpp: float) -> int:
    """The coarsest level that is still as fine as ``mpp``."""
    best = 0
    for index in range(len(slide.levels)):
        down_x, down_y = slide.downsample(index)
        if max(slide.scale.mpp_x * down_x, slide.scale.mpp_y * down_y) <= mpp * 1.01:
            best = index
    return best


def _read_piece(
    slide: Slide, level: int, x: int, y: int, width: int, height: int, factor_x: float, factor_y: float
) -> NDArray[np.uint8]:
    if abs(factor_x - 1) < 1e-6 and abs(factor_y - 1) < 1e-6:
        return slide.read_region(x, y, width, height, level)
    # Whole-number blocks are averaged first; what is left (a factor below 2) is interpolated.
    block_x, block_y = max(1, math.floor(factor_x + 1e-9)), max(1, math.floor(factor_y + 1e-9))
    rest_x, rest_y = factor_x / block_x, factor_y / block_y
    x_positions = (np.arange(x, x + width) + 0.5) * rest_x - 0.5
    y_positions = (np.arange(y, y + height) + 0.5) * rest_y - 0.5
    x_first, y_first = math.floor(x_positions[0]) - 1, math.floor(y_positions[0]) - 1
    columns = math.ceil(x_positions[-1]) + 2 - x_first
    rows = math.ceil(y_positions[-1]) + 2 - y_first
    source = slide.read_region(x_first * block_x, y_first * block_y, columns * block_x, rows * block_y, level).astype(
        np.float32
    )
    if block_x > 1 or block_y > 1:
        source = source.reshape(rows, block_y, columns, block_x, 3).mean(axis=(1, 3))
    source = _interpolate(source, y_positions - y_first, axis=0, factor=rest_y)
    source = _interpolate(source, x_positions - x_first, axis=1, factor=rest_x)
    return np.asarray(np.clip(source + 0.5, 0, 255), np.uint8)


def _interpolate(
    values: NDArray[np.float32], positions: NDArray[np.float64], *, axis: int, factor: float
) -> NDArray[np.float32]:
    """Linear interpolation along one axis; below full resolution the two neighbours are blended wider."""
    low = np.floor(positions).astype(np.intp)
    weight = (positions - low).astype(np.float32)
    if factor > 1.05:
        # A 3-tap tent of width ``factor`` keeps detail that the grid cannot hold from aliasing.
        half = np.float32(factor)
        taps = np.stack([np.maximum(0, half - np.abs(k - weight)) for k in (-1, 0, 1, 2)])
        taps /= taps.sum(axis=0)
        indices = np.stack([low + k for k in (-1, 0, 1, 2)]).clip(0, values.shape[axis] - 1)
    else:
        taps = np.stack([1 - weight, weight])
        indices = np.stack([low, low + 1]).clip(0, values.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    out = np.take(values, indices[0], axis=axis) * taps[0].reshape(shape)
    for index, tap in zip(indices[1:], taps[1:], strict=True):
        out += np.take(values, index, axis=axis) * tap.reshape(shape)
    return np.asarray(out, np.float32)
