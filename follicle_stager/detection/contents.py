"""Find the contents of a follicle: fluid spaces, and the oocyte's nucleus (germinal vesicle)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi
from shapely.geometry import Point, Polygon
from skimage.measure import label
from skimage.morphology import disk

from follicle_stager.detection.cavities import fluid_mask
from follicle_stager.geometry import to_mask, to_polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.config import ContentsConfig
    from follicle_stager.field import Field


def refine_oocyte(field: Field, contour: Polygon, config: ContentsConfig) -> Polygon:
    """Remove clear gaps from the contour of an oocyte.

    Fixation shrinks oocytes: the detector's contour runs along the granulosa, and a clear gap with loose cells may
    lie between granulosa and oocyte.

    Parameters
    ----------
    field
        A window that holds the oocyte.
    contour
        The detector's contour of the oocyte, µm.
    config
        Limits. A body smaller than the share ``oocyte_min_share`` of the contour is not an oocyte, and the contour is
        returned unchanged.

    Returns
    -------
    Polygon
    """
    density = ndi.gaussian_filter(field.density, 1.0 / field.mpp)
    pale = (density >= field.stain.clear_density) & to_mask(field, contour)
    # Loose cells in the gap are darker than the cytoplasm around the centre.
    radius_um = float(np.sqrt(contour.area / np.pi))
    core = to_mask(field, contour.centroid.buffer(0.35 * radius_um))
    typical = float(np.median(field.smooth_hematoxylin[core])) if core.any() else 1.0
    pale &= (field.smooth_hematoxylin < typical + config.oocyte_max_excess) | core
    opened = ndi.binary_opening(pale, disk(max(1, round(0.15 * radius_um / field.mpp))))
    labels = label(ndi.binary_fill_holes(opened))
    if not labels.any():
        return contour
    body = to_polygon(field, labels == np.bincount(labels[labels > 0]).argmax())
    if body is None or body.area < config.oocyte_min_share * contour.area:
        return contour
    return body.buffer(2).buffer(-2)


def find_fluid(field: Field, outline: Polygon, oocyte: Polygon | None, config: ContentsConfig) -> tuple[Polygon, ...]:
    """Find the fluid spaces between granulosa cells.

    Parameters
    ----------
    field
        A window that holds the follicle.
    outline, oocyte
        Outlines of follicle and oocyte, µm on the slide.
    config
        Smallest area, and margins in which a space is shrinkage, not fluid.

    Returns
    -------
    tuple of Polygon
        Fluid spaces in µm, largest first.
    """
    inside: BaseGeometry = outline.buffer(-config.outline_margin_um)
    if oocyte is not None:
        inside = inside.difference(oocyte.buffer(config.oocyte_margin_um))
    if inside.is_empty:
        return ()
    pale = fluid_mask(field) & to_mask(field, inside)
    pale = ndi.binary_opening(pale, disk(max(1, round(config.fluid_min_width_um / 2 / field.mpp))))
    labels = label(pale)
    spaces = []
    for number in range(1, labels.max() + 1):
        space = to_polygon(field, labels == number)
        if space is None or space.area < config.fluid_min_area_um2:
            continue
        # A gap that lies mostly along the oocyte comes from shrinkage around the zona.
        if oocyte is not None:
            near = space.intersection(oocyte.buffer(config.oocyte_margin_um + 5)).area
            if near > 0.6 * space.area:
                continue
        spaces.append(space)
    return tuple(sorted(spaces, key=lambda s: -s.area))


def find_nucleus(field: Field, oocyte: Polygon, config: ContentsConfig) -> tuple[Polygon | None, float]:
    """Find the oocyte's nucleus.

    A germinal vesicle is a round spot that is stained more darkly than the cytoplasm around it. Discs of every
    plausible radius and position are compared with the ring around them.

    Parameters
    ----------
    field
        A window that holds the oocyte.
    oocyte
        Outline of the oocyte, µm on the slide.
    config
        Range of sizes and smallest contrast.

    Returns
    -------
    nucleus : Polygon or None
        A circle, clipped to the oocyte, µm.
    contrast : float
        Hematoxylin of the best disc minus that of the ring around it; in an oocyte without nucleus, noise gives about
        0.05.
    """
    radius_um = float(np.sqrt(oocyte.area / np.pi))
    # The outer rim contains zona, shrinkage gaps and the blurred border.
    interior = to_mask(field, oocyte.buffer(-max(2.0, 0.12 * radius_um)))
    if interior.sum() < 30:
        return None, 0.0
    hematoxylin = np.where(interior, field.smooth_hematoxylin, 0)
    best, nucleus = 0.0, None
    low = max(config.nucleus_min_radius_um, config.nucleus_min_share * radius_um)
    high = min(config.nucleus_max_radius_um, 0.7 * radius_um)
    for disc_um in np.arange(low, max(high, low) + 0.1, 1.5):
        disc = disk(max(1, round(disc_um / field.mpp))).astype(np.float32)
        ring = _ring(disc_um / field.mpp)
        inside = _masked_mean(hematoxylin, interior, disc)
        around = _masked_mean(hematoxylin, interior, ring)
        contrast = inside - around
        # The whole nucleus lies inside the oocyte.
        room = ndi.distance_transform_edt(interior) * field.mpp
        contrast[room < 0.7 * disc_um] = 0
        row, column = np.unravel_index(contrast.argmax(), contrast.shape)
        if contrast[row, column] > best:
            best = float(contrast[row, column])
            x = field.x_um + (column + 0.5) * field.mpp
            y = field.y_um + (row + 0.5) * field.mpp
            nucleus = Point(x, y).buffer(disc_um, quad_segs=8)
    if nucleus is None or best < config.nucleus_min_contrast:
        return None, best
    # A narrow waist of the oocyte may split the circle, but a nucleus is one piece: the larger one.
    pieces = getattr(shared := nucleus.intersection(oocyte), "geoms", [shared])
    return max((p for p in pieces if isinstance(p, Polygon)), key=lambda p: p.area), best


def _ring(radius_px: float) -> NDArray[np.float32]:
    outer: NDArray[np.float32] = disk(max(2, round(1.6 * radius_px))).astype(np.float32)
    inner = disk(max(1, round(1.1 * radius_px)))
    pad = (outer.shape[0] - inner.shape[0]) // 2
    if pad > 0:
        outer[pad:-pad, pad:-pad] -= inner
    return outer


def _masked_mean(
    values: NDArray[np.floating], mask: NDArray[np.bool_], kernel: NDArray[np.float32]
) -> NDArray[np.floating]:
    # Same as scipy.signal.fftconvolve, which takes a second to import.
    size = [fft.next_fast_len(n + k - 1, True) for n, k in zip(values.shape, kernel.shape, strict=True)]
    rows, columns = (slice((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(values.shape, kernel.shape, strict=True))
    response = fft.rfft2(kernel, size)
    weight, total = (
        fft.irfft2(fft.rfft2(v, size) * response, size)[rows, columns] for v in (mask.astype(np.float32), values)
    )
    return np.asarray(total / np.maximum(weight, 1.0))
