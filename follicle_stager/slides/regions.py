"""Join several scanned regions of one glass into one image, each at its position, with white between them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.slides.slide import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Largest relative difference between the downsampling factors of the regions; levels are rounded to whole pixels.
_ALIKE = 0.02


def joined(pyramids: Sequence[Sequence[Level]], corners: Sequence[tuple[float, float]]) -> list[Level]:
    """Place regions of equal µm/px on the smallest canvas that holds them all.

    Parameters
    ----------
    pyramids
        Levels of each region, finest first.
    corners
        Top-left corner of each region on the glass, in pixels of the finest level.

    Returns
    -------
    list of Level
        Levels of the joined image, as many as all regions have in common.
    """
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    places = [(x - left, y - top) for x, y in corners]
    levels = []
    for own in zip(*pyramids, strict=False):
        down = [(p[0].width / level.width, p[0].height / level.height) for p, level in zip(pyramids, own, strict=True)]
        if any(abs(x / down[0][0] - 1) > _ALIKE or abs(y / down[0][1] - 1) > _ALIKE for x, y in down):
            break
        parts = [(round(x / down[0][0]), round(y / down[0][1]), own[i]) for i, (x, y) in enumerate(places)]
        width = max(x + level.width for x, _, level in parts)
        height = max(y + level.height for _, y, level in parts)
        levels.append(Level(width, height, functools.partial(_read, parts)))
    return levels


def _read(parts: Sequence[tuple[int, int, Level]], y0: int, y1: int, x0: int, x1: int) -> NDArray[np.uint8]:
    out = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
    for x, y, level in parts:
        top, bottom = max(y0, y), min(y1, y + level.height)
        left, right = max(x0, x), min(x1, x + level.width)
        if top < bottom and left < right:
            pixels = level.read(top - y, bottom - y, left - x, right - x)
            out[top - y0 : bottom - y0, left - x0 : right - x0] = pixels
    return out
