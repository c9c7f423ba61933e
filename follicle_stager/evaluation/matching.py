"""Which found follicle is which true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from shapely import STRtree
from shapely.geometry import box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Match:
    """A pair of indices and the overlap of its outlines."""

    found: int
    true: int
    iou: float


def iou(a: BaseGeometry, b: BaseGeometry) -> float:
    """Intersection over union of two areas."""
    shared = a.intersection(b).area
    return float(shared / (a.area + b.area - shared)) if shared else 0.0


def box_iou(a: BaseGeometry, b: BaseGeometry) -> float:
    """Intersection over union of the bounding boxes."""
    return iou(box(*a.bounds), box(*b.bounds))


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
    """
    if not found or not true:
        return []
    overlap = np.zeros((len(found), len(true)))
    tree = STRtree(list(true))
    for i, outline in enumerate(found):
        for j in tree.query(outline, predicate="intersects"):
            overlap[i, j] = iou(outline, true[int(j)])
    allowed = overlap >= min_iou
    # A pair counts 1 plus a little for its overlap, so that the number of pairs comes first.
    value = np.where(allowed, 1 + overlap / (len(found) + len(true)), 0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    return [Match(int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
