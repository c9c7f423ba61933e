"""Change an outline by hand: brush, nudge and smooth; pure functions on polygons, in level-0 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import LineString, MultiPoint, Polygon

from follicle_stager.errors import UserError
from follicle_stager.matching import valid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

# Share of the perimeter over which a moved corner takes its neighbours along, at least.
_ALONG = 0.04
# Radius of smoothing, as a share of the radius of a circle of the same area.
_SMOOTHING = 0.12


def brushed(outline: Polygon, stroke: Sequence[tuple[float, float]], radius: float) -> Polygon:
    """Add a stroke of a brush to an outline if it begins inside, or take it away if it begins outside.

    Parameters
    ----------
    outline
        The outline.
    stroke
        Points of the stroke, (x, y).
    radius
        Radius of the brush.

    Raises
    ------
    UserError
        If nothing would be left, or the stroke does not touch the outline.
    """
    area = valid(outline)
    line = LineString(stroke) if len(stroke) > 1 else MultiPoint(list(stroke))
    painted = line.buffer(radius)
    if not painted.intersects(area):
        raise UserError("The brush did not touch the outline: begin inside to add to it, outside to take from it.")
    inside = area.contains(MultiPoint(list(stroke)[:1]))
    return _one(area.union(painted) if inside else area.difference(painted))


def nudged(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the neighbours of a moved corner along, so that it leaves no spike.

    Parameters
    ----------
    before, after
        Corners before and after, (n, 2). If not exactly one moved, ``after`` is returned.
    """
    if before.shape != after.shape:
        return after
    moved = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-6)
    if len(moved) != 1:
        return after
    place = int(moved[0])
    shift = after[place] - before[place]
    steps = np.hypot(*np.diff(np.vstack([before, before[:1]]), axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    perimeter = along[-1]
    distance = np.abs(along[:-1] - along[place])
    distance = np.minimum(distance, perimeter - distance)
    reach = max(float(np.hypot(*shift)), _ALONG * perimeter)
    return np.asarray(before + shift * np.exp(-0.5 * (distance / reach) ** 2)[:, None])


def smoothed(outline: Polygon) -> Polygon:
    """Remove spikes and notches that are small against the outline; its area stays nearly the same."""
    radius = _SMOOTHING * float(np.sqrt(outline.area / np.pi))
    area = valid(outline)
    return _one(area.buffer(-radius).buffer(2 * radius).buffer(-radius))


def _one(area: BaseGeometry) -> Polygon:
    """The largest part of an area, without holes."""
    parts = [part for part in getattr(area, "geoms", [area]) if isinstance(part, Polygon) and part.area]
    if not parts:
        raise UserError("Nothing of the outline would be left: reject the follicle instead (0).")
    return Polygon(max(parts, key=lambda part: part.area).exterior)
