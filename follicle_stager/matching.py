"""Match found and true follicles one to one, with as many pairs as possible.

Greedy matching (nearest first) can take the only possible partner away from an object, so the number of pairs depends
on the order. With maximum-cardinality matching, it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from shapely import STRtree, area, intersection
from shapely.geometry import box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry


#: Shared part of the smaller outline above which two outlines may show one follicle, which is then counted twice.
#: Neighbours with too large outlines share less: a small follicle that reaches a quarter of its diameter into a large
#: one shares a fifth of its area, and two follicles of equal size share a seventh.
OVERLAP_LIMIT = 0.3


@dataclass(frozen=True)
class Match:
    """A pair of indices with a measure of agreement: IoU of outlines, or distance of points."""

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
    """A valid version of an area: a drawn outline that crosses itself is replaced by its parts."""
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


def overlapping(
    outlines: Sequence[BaseGeometry], of: Sequence[int] | None = None, *, limit: float = OVERLAP_LIMIT
) -> list[tuple[int, int]]:
    """Pairs of outlines that share more than ``limit`` of the smaller one; an outline inside another shares all.

    Parameters
    ----------
    outlines
        Outlines on one slide.
    of
        Indices of outlines; only pairs with one of these are returned. None returns all pairs.
    limit
        Shared part of the smaller outline.

    Returns
    -------
    list of (int, int)
        Indices of both outlines, the lower one first; each pair once.
    """
    asked = np.arange(len(outlines)) if of is None else np.asarray(of, int)
    if not len(asked):
        return []
    every = np.asarray(outlines, object)
    first, second = STRtree(every).query(every[asked])
    pairs = np.unique(np.sort([asked[first], second], axis=0), axis=1)
    low, high = pairs[:, pairs[0] != pairs[1]]
    sound = {i: valid(every[i]) for i in {*low.tolist(), *high.tolist()}}
    one, other = (np.array([sound[i] for i in side.tolist()], object) for side in (low, high))
    beyond = area(intersection(one, other)) > limit * np.minimum(area(one), area(other))
    return list(zip(low[beyond].tolist(), high[beyond].tolist(), strict=True))


def match_outlines(
    found: Sequence[BaseGeometry], true: Sequence[BaseGeometry], *, min_iou: float = 0.25
) -> list[Match]:
    """Match outlines one to one: as many pairs as possible, then the largest total overlap.

    Parameters
    ----------
    found, true
        Outlines in the same coordinates.
    min_iou
        Smallest IoU of a pair; the public four-class protocol uses 0.25.

    Returns
    -------
    list of Match
        Pairs; ``value`` is the IoU.
    """
    overlap = overlaps(found, true)
    return _most_pairs(overlap, overlap, overlap >= max(min_iou, 1e-9))


def match_points(found: ArrayLike, true: ArrayLike, *, max_distance: float) -> list[Match]:
    """Match points one to one: as many pairs as possible, then the smallest total distance.

    Parameters
    ----------
    found, true
        Positions, (n, 2) and (m, 2), in the same unit.
    max_distance
        Largest distance of a pair, same unit.

    Returns
    -------
    list of Match
        Pairs; ``value`` is the distance.
    """
    a, b = (np.asarray(points, float).reshape(-1, 2) for points in (found, true))
    distance = cdist(a, b)
    return _most_pairs(1 - distance / max(max_distance, 1e-9), distance, distance <= max_distance)


def _most_pairs(gain: NDArray[np.float64], value: NDArray[np.float64], allowed: NDArray[np.bool_]) -> list[Match]:
    """Assignment with the most allowed pairs, and among such assignments the largest gain (0-1 per pair)."""
    # A pair is worth 1 plus a small part of its gain, so that all gains together are worth less than one pair.
    worth = np.where(allowed, 1 + gain / (sum(gain.shape) + 1), 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [Match(int(i), int(j), float(value[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
