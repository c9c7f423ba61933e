"""Which found follicle is which true one: one to one, and as many pairs as possible.

Greedy matching (nearest first) can take a partner away from an object that has no other; the number of pairs then
depends on the order. Maximum-cardinality matching does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from shapely import STRtree
from shapely.geometry import box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Match:
    """A pair of indices, and how well they agree: IoU of outlines, or distance of points."""

    found: int
    true: int
    value: float


def iou(a: BaseGeometry, b: BaseGeometry) -> float:
    """Intersection over union of two areas."""
    shared = a.intersection(b).area
    return float(shared / (a.area + b.area - shared)) if shared else 0.0


def box_iou(a: BaseGeometry, b: BaseGeometry) -> float:
    """Intersection over union of the bounding boxes."""
    return iou(box(*a.bounds), box(*b.bounds))


def valid(area: BaseGeometry) -> BaseGeometry:
    """An area that may be measured: a drawn outline can cross itself, and is then taken for its parts."""
    return area if area.is_valid else area.buffer(0)


def overlaps(found: Sequence[BaseGeometry], true: Sequence[BaseGeometry]) -> NDArray[np.float64]:
    """IoU of every found outline with every true one, (found, true)."""
    values = np.zeros((len(found), len(true)))
    if not found or not true:
        return values
    found, true = ([valid(g) for g in side] for side in (found, true))
    tree = STRtree(true)
    for i, outline in enumerate(found):
        for j in tree.query(outline, predicate="intersects"):
            values[i, j] = iou(outline, true[int(j)])
    return values


def match_outlines(
    found: Sequence[BaseGeometry], true: Sequence[BaseGeometry], *, min_iou: float = 0.25
) -> list[Match]:
    """Match outlines one to one: as many pairs as possible, then the largest total overlap.

    Parameters
    ----------
    found, true
        Outlines in the same coordinates.
    min_iou
        Least overlap of a pair; 0.25 is that of the public four-class protocol.

    Returns
    -------
    list of Match
        ``value`` is the IoU.
    """
    overlap = overlaps(found, true)
    return _most_pairs(overlap, overlap, overlap >= max(min_iou, 1e-9))


def match_points(found: ArrayLike, true: ArrayLike, *, max_distance: float) -> list[Match]:
    """Match points one to one: as many pairs as possible, then the least total distance.

    Parameters
    ----------
    found, true
        (n, 2) and (m, 2) positions in the same unit.
    max_distance
        Points further apart are no pair.

    Returns
    -------
    list of Match
        ``value`` is the distance.
    """
    a, b = (np.asarray(points, float).reshape(-1, 2) for points in (found, true))
    distance = cdist(a, b)
    return _most_pairs(1 - distance / max(max_distance, 1e-9), distance, distance <= max_distance)


def _most_pairs(gain: NDArray[np.float64], value: NDArray[np.float64], allowed: NDArray[np.bool_]) -> list[Match]:
    """Assignment with the most allowed pairs, and among those the largest gain (0-1 a pair)."""
    # A pair counts 1 plus so little for its gain that all gains together are less than one pair.
    worth = np.where(allowed, 1 + gain / (sum(gain.shape) + 1), 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [Match(int(i), int(j), float(value[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
