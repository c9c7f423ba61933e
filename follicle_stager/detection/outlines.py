"""Trace one outline per oocyte (or cavity): the outer border of its granulosa.

In polar coordinates around the oocyte, the basal granulosa layer is an unbroken dark band, and the basement
membrane with the theca outside it is a paler one. The border is the closed path with the steepest change from
dark to pale, summed all around, so a single bright gap or dark neighbour cannot move it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from follicle_stager.detection.polar import N_ANGLES, Contours, best_closed_path, mean_between, polar_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.field import Field

# Smallest hematoxylin value; paler pixels are raised to it. The step from a nucleus to a fluid space or a
# shrinkage gap is steeper than the one at the basement membrane, but is not a border.
_FLOOR = 0.40
# Largest step that counts, so that evidence all around outweighs strong evidence on one side.
_CAP = 0.30
# Value given to glass, which is no evidence of a border.
_GLASS = 0.8
# Cost per e-fold of granulosa thickness, in units of gain: of two equal borders, the nearer one is right.
_THICKNESS_COST = 0.02
# Radii of an outline around a point, µm; a hint moves this many rays on either side, this far beyond it.
_SMALLEST_UM, _LARGEST_UM = 7.0, 260.0
_RAYS_OF_HINT, _BEYOND_HINT_UM = 5, 3.0


def trace_outlines(
    field: Field,
    inner: Contours,
    *,
    min_thickness_um: float,
    max_thickness_um: float,
) -> tuple[Contours, NDArray[np.float64]]:
    """Trace the follicle's outline around each oocyte or cavity.

    Parameters
    ----------
    field
        The window that holds them.
    inner
        Borders of the oocytes or cavities.
    min_thickness_um, max_thickness_um
        Range of the granulosa's thickness.

    Returns
    -------
    outlines : Contours
        Outlines of the follicles.
    strength : ndarray, (n,)
        Mean decrease of hematoxylin across the border; near 0 if no border is visible.
    """
    furthest = float(inner.radius.max(initial=1.0)) + max_thickness_um
    radii = np.arange(1.0, furthest, 1.0)
    gain = _gain(field, inner, radii)
    thickness = radii - inner.radius[:, :, None]
    cost = _THICKNESS_COST * np.log(np.maximum(thickness, 3.0))
    allowed = (thickness >= min_thickness_um) & (thickness <= max_thickness_um)
    weighed = np.where(allowed, gain - cost, -1.0).astype(np.float32)
    path = best_closed_path(weighed, step_cost=0.02)
    strength = np.take_along_axis(gain, path[:, :, None], axis=2)[..., 0].mean(axis=1)
    return Contours(inner.x, inner.y, radii[path]), strength.astype(np.float64)


def trace_around(
    field: Field,
    x_um: float,
    y_um: float,
    *,
    inside_um: Sequence[tuple[float, float]] = (),
    outside_um: Sequence[tuple[float, float]] = (),
) -> Polygon:
    """Trace the most likely outline around a point, however faint it is.

    Parameters
    ----------
    field
        The window that holds it.
    x_um, y_um
        The point, µm.
    inside_um, outside_um
        Places that a person says are inside or outside, (x, y), µm.

    Returns
    -------
    Polygon
        The outline, µm.
    """
    radii = np.arange(_SMALLEST_UM, _LARGEST_UM, 1.0)
    centre = Contours(np.array([x_um]), np.array([y_um]), np.ones((1, N_ANGLES)))
    gain = _gain(field, centre, radii) - _THICKNESS_COST * np.log(radii)
    for places, side in ((inside_um, 1), (outside_um, -1)):
        for x, y in places:
            away = float(np.hypot(x - x_um, y - y_um))
            ray = round(float(np.arctan2(y - y_um, x - x_um)) / (2 * np.pi) * N_ANGLES)
            near = np.arange(ray - _RAYS_OF_HINT, ray + _RAYS_OF_HINT + 1) % N_ANGLES
            limit = min(away + side * _BEYOND_HINT_UM, float(radii[-1]) - 1)
            wrong = radii < limit if side > 0 else radii > max(limit, float(radii[0]) + 1)
            gain[0][np.ix_(near, np.flatnonzero(wrong))] = -1.0
    path = best_closed_path(gain.astype(np.float32), step_cost=0.02)
    return Contours(centre.x, centre.y, radii[path]).polygon(0)


def _gain(field: Field, inner: Contours, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each radius on each ray looks like the border, (n, N_ANGLES, radii)."""
    channel = np.clip(field.smooth_hematoxylin, _FLOOR, 1.3)
    channel = np.where(field.tissue, channel, _GLASS).astype(np.float32)
    window = polar_window(field, channel, inner.x, inner.y, radii)
    window = ndi.gaussian_filter1d(window, 2.0, axis=1, mode="wrap")
    near = mean_between(window, -8, 0) - mean_between(window, 0, 5)
    far = mean_between(window, -12, 0) - mean_between(window, 0, 16)
    return np.asarray(np.minimum(0.5 * (near + far), _CAP))
