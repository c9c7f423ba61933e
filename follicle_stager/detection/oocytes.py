"""Trace the border of an oocyte around a seed, and score how much it looks like an oocyte.

An oocyte is a smooth, pale, homogeneous body with a dense ring of nuclei all around it. Look-alikes are
vessels and tears (white inside, ragged), red cells (bright eosin, no hematoxylin at all), single pale cells
(ragged border, weak ring) and luteal cells (no ring). The score has a factor for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from follicle_stager.detection.polar import (
    Contours,
    best_closed_path,
    mean_between,
    polar_window,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.detection.seeds import Seeds
    from follicle_stager.field import Field

# Preference for the seed's radius, in units of gain per squared log-ratio.
_SIZE_PRIOR = 0.15
# Number of rounds. After each, the centre moves to the path's centroid, so that a seed off the centre of an
# elongated oocyte does not cut it in two.
_ROUNDS = 3


@dataclass(frozen=True)
class OocyteEvidence:
    """Measurements of each candidate that the score is computed from; arrays of length n.

    Attributes
    ----------
    diameter_um
        Diameter of the circle of equal area.
    contrast
        Hematoxylin of the ring outside minus that of the rim inside, median over rays.
    ring_coverage
        Share of rays on which that contrast exceeds 0.12.
    circularity
        4 pi area / perimeter².
    solidity
        Area / area of the convex hull.
    unevenness
        Standard deviation of the hematoxylin inside.
    whiteness
        Share of the inside that is as clear as glass.
    counterstain
        Mean counterstain inside; it is higher in red cells than in any oocyte.
    """

    diameter_um: NDArray[np.float64]
    contrast: NDArray[np.float64]
    ring_coverage: NDArray[np.float64]
    circularity: NDArray[np.float64]
    solidity: NDArray[np.float64]
    unevenness: NDArray[np.float64]
    whiteness: NDArray[np.float64]
    counterstain: NDArray[np.float64]

    def score(self) -> NDArray[np.float64]:
        """Score, (n,), 0-1: the contrast, times one factor for each property of a look-alike.

        Each factor rises from 0, at a value never seen in an oocyte, to 1, at a value of most oocytes in the
        sections that were examined; docs/classical-detector.md shows the values.
        """
        uneven = self.unevenness / np.maximum(self.contrast, 0.01)
        return np.asarray(
            np.clip(2 * self.contrast, 0, 1)
            * _ramp(self.ring_coverage, 0.70, 0.95)
            * _ramp(self.circularity, 0.60, 0.85)
            * _ramp(self.solidity, 0.85, 0.95)
            * _ramp(uneven, 0.80, 0.30)
            * _ramp(self.whiteness, 0.60, 0.40)
            * _ramp(self.counterstain, 1.50, 1.00)
        )


def _ramp(value: NDArray[np.float64], zero_at: float, one_at: float) -> NDArray[np.float64]:
    return np.asarray(np.clip((value - zero_at) / (one_at - zero_at), 0, 1))


def trace_oocytes(field: Field, seeds: Seeds, *, max_diameter_um: float) -> Contours:
    """Trace the border of the pale disc around each seed.

    Parameters
    ----------
    field
        The window that holds the seeds.
    seeds
        Candidate centres.
    max_diameter_um
        Largest diameter of an oocyte.

    Returns
    -------
    Contours
    """
    radii = np.arange(1.0, 0.7 * max_diameter_um, min(1.0, field.mpp))
    bins = 1.0 / (radii[1] - radii[0])
    x, y, size = seeds.x, seeds.y, seeds.radius
    for turn in range(_ROUNDS):
        window = polar_window(field, field.smooth_hematoxylin, x, y, radii)
        window = ndi.gaussian_filter1d(window, 1.2, axis=1, mode="wrap")
        reach = round(6 * bins)
        gain = mean_between(window, 0, reach) - mean_between(window, -reach, 0)
        gain -= _SIZE_PRIOR * np.log(radii / size[:, None, None]) ** 2
        gain[:, :, : round(3 * bins)] = -1
        path = best_closed_path(gain.astype(np.float32), step_cost=0.03)
        contours = Contours(x, y, radii[path])
        if turn < _ROUNDS - 1:
            x, y = contours.centroids()
            size = contours.equivalent_radius()
    return contours


def score_oocytes(field: Field, contours: Contours) -> OocyteEvidence:
    """Measure the evidence for and against each contour being an oocyte."""
    radius = contours.radius[:, :, None]
    inside = np.maximum(radius * np.sqrt(np.linspace(0.02, 1, 30)) - 1.5, 0)
    rim = np.maximum(radius - 1.5 - radius * np.linspace(0, 0.35, 6), 0)
    ring = radius + np.linspace(1, 8, 8)

    def at(channel: NDArray[np.float32], radii: NDArray[np.float64]) -> NDArray[np.float32]:
        return polar_window(field, channel, contours.x, contours.y, radii)

    hematoxylin = field.smooth_hematoxylin
    inner = at(hematoxylin, inside)
    contrast = at(hematoxylin, ring).mean(axis=2) - at(hematoxylin, rim).mean(axis=2)
    polygons = [contours.polygon(i) for i in range(len(contours))]
    area = np.array([p.area for p in polygons])
    perimeter = np.array([p.simplify(0.5).length for p in polygons])
    hull = np.array([p.convex_hull.area for p in polygons])
    return OocyteEvidence(
        diameter_um=2 * np.sqrt(area / np.pi),
        contrast=np.median(contrast, axis=1).astype(np.float64),
        ring_coverage=(contrast > 0.12).mean(axis=1),
        circularity=4 * np.pi * area / perimeter**2,
        solidity=area / hull,
        unevenness=inner.std(axis=(1, 2)).astype(np.float64),
        whiteness=(at(field.density, inside) < field.stain.clear_density).mean(axis=(1, 2)),
        counterstain=at(field.counterstain, inside).mean(axis=(1, 2)).astype(np.float64),
    )
