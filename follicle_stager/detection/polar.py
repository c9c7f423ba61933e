"""Closed outlines around a point, found as the best circular path through a polar window.

A border that runs once around a centre is a function radius(angle). The image is sampled on rays, and each
(angle, radius) gets a gain: how much it looks like the border. Dynamic programming finds the path with the
largest total gain whose radius changes little from ray to ray. All lengths are µm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from shapely import make_valid
from shapely.geometry import LineString, Polygon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.field import Field

N_ANGLES = 96
_ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
COS, SIN = np.cos(_ANGLES), np.sin(_ANGLES)


@dataclass(frozen=True)
class Contours:
    """Closed curves around centres.

    Attributes
    ----------
    x, y
        Centres, (n,), µm on the slide.
    radius
        Distance from the centre along each ray, (n, N_ANGLES), µm.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Contours:
        """A subset of the curves, by index or mask."""
        return Contours(self.x[index], self.y[index], self.radius[index])

    def polygon(self, i: int) -> Polygon:
        """Curve ``i`` as a polygon in µm."""
        points = np.column_stack([self.x[i] + self.radius[i] * COS, self.y[i] + self.radius[i] * SIN])
        polygon = Polygon(points)
        if not polygon.is_valid:
            fixed = make_valid(polygon)
            polygon = max(
                (p for p in getattr(fixed, "geoms", [fixed]) if p.geom_type == "Polygon"), key=lambda p: p.area
            )
        return polygon

    @classmethod
    def around(cls, polygons: Sequence[Polygon]) -> Contours:
        """Polygons (µm) as curves around their centroids; if a ray leaves a polygon twice, the last exit counts."""
        x = np.array([p.centroid.x for p in polygons])
        y = np.array([p.centroid.y for p in polygons])
        radius = np.ones((len(polygons), N_ANGLES))
        for i, polygon in enumerate(polygons):
            reach = 2 * polygon.length
            for k in range(N_ANGLES):
                ray = LineString([(x[i], y[i]), (x[i] + reach * COS[k], y[i] + reach * SIN[k])])
                hit = ray.intersection(polygon.boundary)
                points = [g.coords[0] for g in getattr(hit, "geoms", [hit]) if not g.is_empty]
                radius[i, k] = max((np.hypot(px - x[i], py - y[i]) for px, py in points), default=1.0)
        return cls(x, y, radius)

    def centroids(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centroids of the curves: x and y, (n,) each, µm."""
        dx = self.radius * COS
        dy = self.radius * SIN
        cross = dx * np.roll(dy, -1, axis=1) - np.roll(dx, -1, axis=1) * dy
        area = cross.sum(axis=1) / 2
        cx = ((dx + np.roll(dx, -1, axis=1)) * cross).sum(axis=1) / (6 * area)
        cy = ((dy + np.roll(dy, -1, axis=1)) * cross).sum(axis=1) / (6 * area)
        return self.x + cx, self.y + cy

    def equivalent_radius(self) -> NDArray[np.float64]:
        """Radius of the circle of equal area, (n,), µm."""
        cross = self.radius * np.roll(self.radius, -1, axis=1) * np.sin(2 * np.pi / N_ANGLES)
        return np.asarray(np.sqrt(cross.sum(axis=1) / 2 / np.pi))


def polar_window(
    field: Field,
    channel: NDArray[np.floating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Sample a channel on rays.

    Parameters
    ----------
    field, channel
        The window and one of its channels.
    x, y
        Centres, (n,), µm.
    radii
        Radii at which the rays are sampled, µm: (r,) for the same radii on all rays, or (n, N_ANGLES, r).

    Returns
    -------
    ndarray of float32, (n, N_ANGLES, r)
    """
    reach = np.broadcast_to(radii, (len(x), N_ANGLES, radii.shape[-1]))
    xs = x[:, None, None] + COS[None, :, None] * reach
    ys = y[:, None, None] + SIN[None, :, None] * reach
    return field.sample(channel, xs, ys)


def mean_between(window: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    """Mean over the radial bins ``[i + start, i + stop)`` for every bin i; the range is truncated at the ends."""
    n_bins = window.shape[2]
    total = np.concatenate([np.zeros_like(window[:, :, :1]), np.cumsum(window, axis=2)], axis=2)
    bins = np.arange(n_bins)
    low, high = np.clip(bins + start, 0, n_bins), np.clip(bins + stop, 0, n_bins)
    return np.asarray((total[:, :, high] - total[:, :, low]) / np.maximum(high - low, 1))


def best_closed_path(gain: NDArray[np.float32], *, step_cost: float, max_step: int = 2) -> NDArray[np.intp]:
    """Find the closed path with the largest total gain.

    Parameters
    ----------
    gain
        Gain of each bin on each ray, (n, angles, bins).
    step_cost
        Cost of a change by one bin between neighbouring rays, in units of gain.
    max_step
        Largest change between neighbouring rays, in bins.

    Returns
    -------
    ndarray of int, (n, angles)
        Bin on each ray. The recursion runs around three times and the middle turn is kept; there the start
        no longer matters, so the two ends meet.
    """
    n, n_angles, n_bins = gain.shape
    turns = 3 * n_angles
    total = gain[:, 0].copy()
    steps = np.zeros((n, turns, n_bins), np.int8)
    for t in range(1, turns):
        best = total.copy()
        choice = np.zeros((n, n_bins), np.int8)
        for step in range(1, max_step + 1):
            inward = total[:, :-step] - step * step_cost
            better = inward > best[:, step:]
            best[:, step:][better] = inward[better]
            choice[:, step:][better] = step
            outward = total[:, step:] - step * step_cost
            better = outward > best[:, :-step]
            best[:, :-step][better] = outward[better]
            choice[:, :-step][better] = -step
        total = best + gain[:, t % n_angles]
        steps[:, t] = choice
    path = np.zeros((n, turns), np.intp)
    path[:, -1] = total.argmax(axis=1)
    rows = np.arange(n)
    for t in range(turns - 1, 0, -1):
        path[:, t - 1] = path[:, t] - steps[rows, t, path[:, t]]
    return path[:, n_angles : 2 * n_angles]
