"""Match found and true follicles one to one, with as many pairs as possible.

Greedy matching (nearest first) can take the only possible partner away from an object, so the number of pairs depends
on the order. With maximum-cardinality matching, it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
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
    first, second, shared = _overlapping_pairs(found, true)
    values[first, second] = shared
    return values


def _overlapping_pairs(
    found: Sequence[BaseGeometry], true: Sequence[BaseGeometry]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pairs of outlines that touch, by place, and their IoU; far fewer than all pairs."""
    a, b = (np.array([valid(outline) for outline in side], object) for side in (found, true))
    if not len(a) or not len(b):
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    first, second = STRtree(b).query(a, predicate="intersects")
    shared = area(intersection(a[first], b[second]))
    return first, second, shared / np.maximum(area(a[first]) + area(b[second]) - shared, 1e-300)


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
    first, second, shared = _overlapping_pairs(found, true)
    near = shared >= max(min_iou, 1e-9)
    return _most_pairs(first[near], second[near], shared[near], gain=shared[near])


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
    if not len(a) or not len(b):
        return []
    from scipy.spatial import cKDTree

    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), max_distance, output_type="coo_matrix")
    distance = np.asarray(near.data, np.float64)
    gain = 1 - distance / max(max_distance, 1e-9)
    return _most_pairs(near.row.astype(np.intp), near.col.astype(np.intp), distance, gain=gain)


def _most_pairs(
    first: NDArray[np.intp], second: NDArray[np.intp], value: NDArray[np.float64], *, gain: NDArray[np.float64]
) -> list[Match]:
    """Assignment with the most of these pairs, and among those the largest gain (0-1 a pair).

    Objects that no chain of pairs connects do not compete, so each group is solved for itself: the work grows with the
    number of objects, and not with its cube.
    """
    if not len(first):
        return []
    # Most commands match nothing, and these take long to import.
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    graph = coo_matrix((np.ones(len(first)), (first, rows + second)), shape=(rows + columns,) * 2)
    group = connected_components(graph, directed=False)[1][first]
    order = np.argsort(group, kind="stable")
    matches = []
    for own in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        i, at_i = np.unique(first[own], return_inverse=True)
        j, at_j = np.unique(second[own], return_inverse=True)
        # A pair counts 1 plus so little for its gain that all gains together are less than one pair.
        worth, known = np.zeros((len(i), len(j))), np.full((len(i), len(j)), np.nan)
        worth[at_i, at_j] = 1 + gain[own] / (len(i) + len(j) + 1)
        known[at_i, at_j] = value[own]
        for r, c in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            if worth[r, c]:
                matches.append(Match(int(i[r]), int(j[c]), float(known[r, c])))
    return sorted(matches, key=lambda m: m.found)
