"""Conversion between polygons in µm and pixel masks of a field, and measures of outlines."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Polygon
from skimage.draw import polygon2mask
from skimage.measure import find_contours

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.field import Field


def to_mask(field: Field, area: BaseGeometry) -> NDArray[np.bool_]:
    """Mask of an area given in µm, (y, x) bool; True where a pixel centre lies inside it."""
    mask = np.zeros(field.shape, bool)
    for part in getattr(area, "geoms", [area]):
        if part.is_empty or not isinstance(part, Polygon):
            continue
        mask |= _ring_mask(field, part.exterior.coords)
        for hole in part.interiors:
            mask &= ~_ring_mask(field, hole.coords)
    return mask


def to_polygon(field: Field, mask: NDArray[np.bool_]) -> Polygon | None:
    """Outer border of the largest piece of a mask, µm; None for an empty mask."""
    polygons = areas_above(mask, 0.5, x_um=field.x_um, y_um=field.y_um, mpp=field.mpp)
    if not polygons:
        return None
    simple = max(polygons, key=lambda p: p.area).simplify(0.3 * field.mpp)
    return simple if isinstance(simple, Polygon) else None


def areas_above(
    values: NDArray[np.floating] | NDArray[np.bool_], level: float, *, x_um: float, y_um: float, mpp: float
) -> list[Polygon]:
    """Outlines of the areas in which a map lies above a level, µm; holes are filled.

    Areas of less than a hundredth of a pixel are left out: in a file, with rounded coordinates, they enclose nothing.

    Parameters
    ----------
    values
        The map, (y, x); it is taken as 0 outside.
    level
        Value of the map at the outlines.
    x_um, y_um
        Top-left corner of the map, µm.
    mpp
        Pixel size of the map, µm/px.
    """
    polygons: list[Polygon] = []
    least = 0.01 * mpp**2
    for ring in find_contours(np.pad(values.astype(np.float32), 1), level):
        if len(ring) < 4:
            continue
        polygon = Polygon(np.column_stack([x_um + (ring[:, 1] - 0.5) * mpp, y_um + (ring[:, 0] - 0.5) * mpp])).buffer(0)
        polygons += [p for p in getattr(polygon, "geoms", [polygon]) if isinstance(p, Polygon) and p.area > least]
    return polygons


def _ring_mask(field: Field, coordinates: object) -> NDArray[np.bool_]:
    points = np.asarray(coordinates)[:, :2]
    rows, columns = field.pixel(points[:, 0], points[:, 1])
    return np.asarray(polygon2mask(field.shape, np.column_stack([rows, columns])))


def two_axes(outline: Polygon) -> tuple[float, float]:
    """Longest diameter of an outline, and the largest width perpendicular to it.

    This is how follicles are usually measured by eye: along two perpendicular axes.
    """
    points = np.asarray(outline.exterior.coords)[:-1, :2]
    difference = points[:, None, :] - points[None, :, :]
    distance = np.hypot(difference[..., 0], difference[..., 1])
    i, j = np.unravel_index(distance.argmax(), distance.shape)
    longest = float(distance[i, j])
    direction = (points[j] - points[i]) / max(longest, 1e-9)
    across = points @ np.array([-direction[1], direction[0]])
    return longest, float(np.ptp(across))


def equivalent_diameter(outline: BaseGeometry) -> float:
    """Diameter of the circle of equal area."""
    return float(2 * np.sqrt(outline.area / np.pi))


def equal_parts(start: int, stop: int, most: float) -> list[tuple[int, int]]:
    """Split a range of whole numbers into parts as equal as possible, none longer than ``most`` (rounded up)."""
    count = max(1, math.ceil((stop - start) / most))
    edges = [start + (stop - start) * i // count for i in range(count + 1)]
    return list(pairwise(edges))
