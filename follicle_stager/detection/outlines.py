"""Trace one outline per oocyte (or cavity): the outer border of its granulosa.

In polar coordinates around the oocyte, the basal granulosa layer is an unbroken dark band, and the basement
membrane with the theca outside it is a paler one. The border is the closed path with the steepest change from
dark to pale, summed all around, so a single bright gap or dark neighbour cannot move it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from follicle_stager.detection.polar import Contours, best_closed_path, mean_between, polar_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    channel = np.clip(field.smooth_hematoxylin, _FLOOR, 1.3)
    channel = np.where(field.tissue, channel, _GLASS).astype(np.float32)
    furthest = float(inner.radius.max(initial=1.0)) + max_thickness_um
    radii = np.arange(1.0, furthest, 1.0)
    window = polar_window(field, channel, inner.x, inner.y, radii)
    window = ndi.gaussian_filter1d(window, 2.0, axis=1, mode="wrap")
    near = mean_between(window, -8, 0) - mean_between(window, 0, 5)
    far = mean_between(window, -12, 0) - mean_between(window, 0, 16)
    gain = np.minimum(0.5 * (near + far), _CAP)
    thickness = radii - inner.radius[:, :, None]
    cost = _THICKNESS_COST * np.log(np.maximum(thickness, 3.0))
    allowed = (thickness >= min_thickness_um) & (thickness <= max_thickness_um)
    weighed = np.where(allowed, gain - cost, -1.0).astype(np.float32)
    path = best_closed_path(weighed, step_cost=0.02)
    strength = np.take_along_axis(gain, path[:, :, None], axis=2)[..., 0].mean(axis=1)
    return Contours(inner.x, inner.y, radii[path]), strength.astype(np.float64)
