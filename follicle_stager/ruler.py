"""A ruler in the tissue: µm/px from the size of cell nuclei.

The nuclei of most tissues are 5-8 µm wide [M]. If those of a section look much larger or smaller at the stated µm/px,
this number is probably wrong. The estimate is too rough to replace it: nuclei differ, and blur makes them larger.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from shapely import contains_xy

from follicle_stager.slides.resample import read_at_mpp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon

    from follicle_stager.slides import Slide
    from follicle_stager.tissue import Overview

#: Factor by which µm/px may differ from the estimate; beyond it, a section is doubtful.
LARGEST_ERROR = 1.5
# Scale of a Laplacian of Gaussian at which nuclei in sections respond most, µm [M]: their radius is 1.4 times as large.
_NUCLEUS_UM = 1.85
# Finest µm/px at which tiles are read; side of a tile, px; number of tiles for each section.
_FINEST_MPP, _TILE_PX, _TILES = 0.5, 160, 8
# Smallest share of tissue in a tile; smallest number of tiles that must give a size, and share that must agree on it.
_TISSUE, _LEAST, _AGREE = 0.6, 3, 0.6
# Largest ratio of two sizes that agree.
_ALIKE = 1.3
# Blur of the camera's pixels and of the filter against noise, px.
_PIXEL_BLUR = 1.0
# Scales that are tried, px.
_SCALES_PX = np.geomspace(0.8, 11, 15)


def nuclear_mpp(slide: Slide, overview: Overview, section: MultiPolygon) -> float:
    """Estimate µm/px from the nuclei in a section.

    Parameters
    ----------
    slide, overview
        The slide, and its survey.
    section
        Outline of the section, µm by the stated pixel size.

    Returns
    -------
    float
        µm/px of the slide at full resolution; NaN if nuclei cannot be measured.
    """
    stated = slide.pixel_size.mpp
    mpp = max(_FINEST_MPP, stated)
    sizes = [_nuclear_scale(tile) * mpp for tile in _tiles(slide, overview, section, mpp)]
    known = np.array([size for size in sizes if math.isfinite(size)])
    if len(known) < _LEAST:
        return math.nan
    middle = float(np.median(known))
    agree = int((np.abs(np.log(known / middle)) < math.log(_ALIKE)).sum())
    return stated * _NUCLEUS_UM / middle if agree >= _AGREE * len(sizes) else math.nan


def doubts(ratio: NDArray[np.floating] | float) -> NDArray[np.bool_]:
    """Whether an estimate of µm/px differs too much from the stated one: by their ratio, (...); no for NaN."""
    return np.asarray(np.abs(np.log(ratio)) > math.log(LARGEST_ERROR))


def _tiles(slide: Slide, overview: Overview, section: MultiPolygon, mpp: float) -> Iterator[NDArray[np.float32]]:
    """Nuclear stain of tiles at random places of a section, (y, x); the places are the same in every run."""
    rows, columns = np.nonzero(overview.tissue)
    x, y = (columns + 0.5) * overview.mpp, (rows + 0.5) * overview.mpp
    inside = contains_xy(section, x, y)
    limits = [int(side / mpp) - _TILE_PX for side in slide.size_um]
    places = np.column_stack([x, y])[inside] / mpp - _TILE_PX / 2
    places = places[(places >= 0).all(axis=1) & (places <= limits).all(axis=1)]
    given = 0
    for left, top in np.random.default_rng(0).permutation(places)[: 4 * _TILES].astype(int):
        shape = _TILE_PX, _TILE_PX
        if overview.tissue_window(left * mpp, top * mpp, shape, mpp).mean() < _TISSUE:
            continue
        rgb = read_at_mpp(slide, left, top, _TILE_PX, _TILE_PX, mpp)
        nuclear, _ = overview.stain.amounts(overview.stain.optical_density(rgb))
        yield np.clip(nuclear, 0, 2)
        given += 1
        if given == _TILES:
            return


def _nuclear_scale(nuclear: NDArray[np.float32]) -> float:
    """Scale at which dark spots respond most, px; NaN if it is at the end of the range."""
    smooth = ndi.median_filter(nuclear, 3)  # noise and chromatin are smaller than nuclei
    responses = (np.maximum(-(s**2) * ndi.gaussian_laplace(smooth, s), 0) for s in _SCALES_PX)
    energy = np.log([max(float((r**2).mean()), 1e-12) for r in responses])
    best = int(energy.argmax())
    if best in (0, len(_SCALES_PX) - 1):
        return math.nan
    before, top, after = energy[best - 1 : best + 2]
    shift = 0.5 * (before - after) / (before - 2 * top + after)  # of a parabola through the three
    scale = float(_SCALES_PX[best] * (_SCALES_PX[1] / _SCALES_PX[0]) ** shift)
    return math.sqrt(max(scale**2 - _PIXEL_BLUR**2, 0.01))
