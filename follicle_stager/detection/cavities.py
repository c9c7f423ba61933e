"""Find large antral follicles by their cavity, also where the section misses the oocyte.

A white hole alone is no evidence, because vessels, tears and cracks are white too. A cavity must be round and have a
dense wall of granulosa, thicker than a vessel's wall, around most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label, regionprops
from skimage.morphology import disk

from follicle_stager.detection.polar import COS, N_ANGLES, SIN, Contours, polar_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.field import Field

# Pixel size of the mask, µm/px; fine enough, because cavities are hundreds of µm wide.
_MASK_MPP = 2.0
# Follicular fluid is about as clear as glass, or a pale homogeneous pink with hardly any hematoxylin.
_FLUID_DENSITY = 1.2
_FLUID_HEMATOXYLIN = 0.10
# Range in which the wall is measured, µm outside the cavity; the wall of a vessel is thinner.
_WALL_FROM_UM, _WALL_TO_UM = 3.0, 18.0


def fluid_mask(field: Field) -> NDArray[np.bool_]:
    """Mask of fluid, (y, x) bool; True in tissue that is clear, or pale and without nuclei."""
    density = ndi.gaussian_filter(field.density, 1.0 / field.mpp)
    clear = density < _FLUID_DENSITY * field.stain.clear_density
    pale = clear | (field.smooth_hematoxylin < _FLUID_HEMATOXYLIN)
    return np.asarray(pale & field.tissue)


def trace_cavities(
    field: Field, *, min_diameter_um: float, max_diameter_um: float
) -> tuple[Contours, NDArray[np.float64]]:
    """Find cavities, and score their walls.

    Parameters
    ----------
    field
        The window to search.
    min_diameter_um, max_diameter_um
        Range of diameters of the circle of equal area.

    Returns
    -------
    cavities : Contours
        Outlines of the cavities.
    score : ndarray, (n,)
        Score of each, 0-1, comparable to that of an oocyte.
    """
    step = max(1, round(_MASK_MPP / field.mpp))
    mpp = field.mpp * step
    mask = fluid_mask(field)[::step, ::step]
    opened = ndi.binary_opening(np.pad(mask, 8), disk(max(1, round(6.0 / mpp))))[8:-8, 8:-8]
    # Fluid spaces of an early antral follicle, separated by bridges of cells, are one cavity.
    opened = ndi.binary_closing(np.pad(opened, 12), disk(round(12.0 / mpp)))[12:-12, 12:-12]
    x, y, radius = [], [], []
    for region in regionprops(label(opened)):
        diameter = region.equivalent_diameter_area * mpp
        if not min_diameter_um <= diameter <= max_diameter_um:
            continue
        closed = _closed(region.image, mpp)
        pad = round(30.0 / mpp)
        row, column = ndi.center_of_mass(closed)
        x.append(field.x_um + (region.bbox[1] + column - pad + 0.5) * mpp)
        y.append(field.y_um + (region.bbox[0] + row - pad + 0.5) * mpp)
        radius.append(_outermost(closed, row, column) * mpp)
    cavities = Contours(np.array(x), np.array(y), np.array(radius).reshape(-1, N_ANGLES))
    return cavities, _wall_score(field, cavities) if x else np.empty(0)


def _closed(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """The cavity, with notches from cumulus and loose cells filled."""
    pad = round(30.0 / mpp)
    closed = ndi.binary_closing(np.pad(mask, pad), disk(round(20.0 / mpp)))
    return np.asarray(ndi.binary_fill_holes(closed))


def _outermost(mask: NDArray[np.bool_], row: float, column: float) -> NDArray[np.float64]:
    """Distance at which each ray leaves the mask for the last time, px."""
    reach = np.arange(0.0, np.hypot(*mask.shape))
    rows = row + SIN[:, None] * reach
    columns = column + COS[:, None] * reach
    inside = ndi.map_coordinates(mask.astype(np.float32), [rows, columns], order=1, cval=0) > 0.5
    last = np.where(inside, reach, 1.0).max(axis=1)
    return np.asarray(ndi.gaussian_filter1d(last, 1.5, mode="wrap"))


def _wall_score(field: Field, cavities: Contours) -> NDArray[np.float64]:
    wall_reach = cavities.radius[:, :, None] + np.arange(_WALL_FROM_UM, _WALL_TO_UM, 1.5)
    args = (cavities.x, cavities.y, wall_reach)
    wall = polar_window(field, field.smooth_hematoxylin, *args).mean(axis=2)
    clear = (polar_window(field, field.density, *args) < field.stain.clear_density).mean(axis=2)
    # Granulosa is at least as dense as the tissue around it.
    typical = float(np.median(field.smooth_hematoxylin[field.tissue]))
    dense = (wall > max(0.9 * typical, 0.25)) & (clear < 0.3)
    coverage = dense.mean(axis=1)
    area = np.array([cavities.polygon(i).area for i in range(len(cavities))])
    hulls = [cavities.polygon(i).convex_hull for i in range(len(cavities))]
    # The cumulus cuts a notch into a round cavity, so roundness is measured on the convex hull, which must be filled.
    roundness = np.array([4 * np.pi * hull.area / hull.length**2 for hull in hulls])
    filling = area / np.array([hull.area for hull in hulls])
    contrast = np.median(wall, axis=1) / max(typical, 0.05)
    score = (
        np.clip((coverage - 0.65) / 0.25, 0, 1)
        * np.clip((roundness - 0.65) / 0.2, 0, 1)
        * np.clip((filling - 0.5) / 0.2, 0, 1)
        * np.clip(contrast - 0.4, 0, 1)
    )
    return np.asarray(score)
