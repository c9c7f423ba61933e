"""From the network's maps to follicles: one outline for each oocyte, and for each middle of a follicle without one.

Every pixel inside a follicle says where the outline is (`rays`). The pixels of a seed vote; the outline is the median
vote, taken twice: first around the seed, then around the middle of what was found, since an oocyte lies off the middle
of an antral follicle and looks at its far side from far away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from shapely.geometry import Polygon
from skimage.draw import polygon as fill
from skimage.measure import find_contours

from follicle_stager.detection.found import FoundFollicle
from follicle_stager.detection.network import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.detection.network.model import Maps, Scale

# An oocyte: pixels of at least this probability, one of them of at least that.
_OOCYTE, _OOCYTE_PEAK = 0.4, 0.6
# The middle of a follicle: a local maximum of at least this.
_CENTRE = 0.35
# Pixels that vote for an outline.
_VOTERS = 40
_SMALLEST_OOCYTE_UM = 7.0
_SMALLEST_FLUID_UM2 = 60.0


@dataclass(frozen=True, eq=False)
class Window:
    """Maps of a window and where they lie.

    Attributes
    ----------
    maps
        From the network.
    x_um, y_um
        Top-left corner on the slide.
    mpp
        µm per pixel of the picture; the maps are coarser, see `layout`.
    """

    maps: Maps
    x_um: float
    y_um: float
    mpp: float

    def to_um(self, x: NDArray[np.floating], y: NDArray[np.floating], step: int) -> NDArray[np.float64]:
        """Slide positions (n, 2) of columns and rows of a map with ``step`` px per pixel."""
        at = (np.column_stack([x, y]) + 0.5) * step * self.mpp
        return np.asarray(at + (self.x_um, self.y_um), np.float64)


def find_in(window: Window, scale: Scale) -> list[FoundFollicle]:
    """Follicles of a window; they may overlap.

    Parameters
    ----------
    window
        The network's answer.
    scale
        Which sizes are looked for, and how a score is worked out.
    """
    maps = window.maps
    oocyte = maps.classes[layout.OOCYTE] + maps.classes[layout.NUCLEUS]
    labels, count = ndi.label(oocyte > _OOCYTE)
    boxes = ndi.find_objects(labels)
    peaks = ndi.maximum(oocyte, labels, np.arange(1, count + 1)) if count else np.empty(0)
    found = []
    taken = np.zeros(maps.centre.shape, bool)
    pixel_um2 = (layout.FINE * window.mpp) ** 2
    for number in range(1, count + 1):
        box = boxes[number - 1]
        own = labels[box] == number
        area_um2 = float(own.sum()) * pixel_um2
        if peaks[number - 1] < _OOCYTE_PEAK or area_um2 < np.pi / 4 * _SMALLEST_OOCYTE_UM**2:
            continue
        rows, columns = np.nonzero(own)
        voters = np.unique(
            np.column_stack([rows + box[0].start, columns + box[1].start]) * layout.FINE // layout.COARSE, axis=0
        )
        border = contour(window, np.where(labels == number, oocyte, 0.0), box)
        claim = _claim(window, scale, voters, border, float(oocyte[box][own].mean()))
        if claim is not None:
            found.append(claim[0])
            taken[claim[1]] = True
    centre = ndi.gaussian_filter(maps.centre, 1.0)
    reach = max(3, round(0.25 * scale.smallest_um / (layout.COARSE * window.mpp)))
    peak = (centre == ndi.maximum_filter(centre, 2 * reach + 1)) & (centre > _CENTRE) & ~taken
    rows, columns = np.nonzero(peak)
    for index in np.argsort(-centre[rows, columns], kind="stable"):
        row, column = rows[index], columns[index]
        if taken[row, column]:
            continue
        claim = _claim(window, scale, np.array([[row, column]]), None, 0.0)
        if claim is not None:
            found.append(claim[0])
            taken[claim[1]] = True
    return found


def _claim(
    window: Window, scale: Scale, voters: NDArray[np.intp], oocyte: Polygon | None, oocyte_probability: float
) -> tuple[FoundFollicle, tuple[NDArray[np.intp], NDArray[np.intp]]] | None:
    """A follicle around a seed, and the pixels of ``centre`` that it covers; None if its size is out of range."""
    maps = window.maps
    for _ in range(2):
        chosen = voters[np.argsort(-maps.centre[voters[:, 0], voters[:, 1]], kind="stable")[:_VOTERS]]
        at, radius, spread = consensus(maps.rays, chosen)
        ring = at + radius[:, None] * np.column_stack([np.cos(layout.ANGLES), np.sin(layout.ANGLES)])
        inside = fill(ring[:, 1] / layout.COARSE - 0.5, ring[:, 0] / layout.COARSE - 0.5, shape=maps.centre.shape)
        if not len(inside[0]):
            return None
        voters = np.column_stack(inside)
    outline = Polygon(ring * window.mpp + (window.x_um, window.y_um)).buffer(0)
    if not isinstance(outline, Polygon) or outline.is_empty:
        return None
    diameter_um = 2 * np.sqrt(outline.area / np.pi)
    if not 0.8 * scale.smallest_um <= diameter_um <= 1.2 * scale.largest_um:
        return None
    half = fill(ring[:, 1] / layout.FINE - 0.5, ring[:, 0] / layout.FINE - 0.5, shape=maps.border.shape)
    share = maps.classes[:, half[0], half[1]].mean(axis=1) if len(half[0]) else np.zeros(len(layout.CLASSES))
    line = np.clip(np.round(ring / layout.FINE - 0.5).astype(np.intp), 0, np.array(maps.border.shape)[::-1] - 1)
    granulosa = share[layout.GRANULOSA] + share[layout.DYING]
    evidence = {
        "oocyte": oocyte_probability,
        "oocyte_share": float(share[layout.OOCYTE] + share[layout.NUCLEUS]),
        "centre": float(maps.centre[inside].max()),
        "spread": float(spread),
        "border": float(maps.border[line[:, 1], line[:, 0]].mean()),
        "granulosa": float(granulosa + share[layout.ZONA]),
        "cut": float(share[layout.CUT]),
        "fluid": float(share[layout.FLUID]),
        "other": float(share[layout.OTHER] + share[layout.OUTSIDE] + share[layout.LUTEAL]),
        "dying": float(share[layout.DYING] / max(granulosa, 1e-6)),
    }
    logit = scale.intercept + sum(weight * evidence[name] for name, weight in scale.weights.items())
    score = float(1 / (1 + np.exp(-logit))) if scale.weights else evidence["centre"]
    box = _box(ring / layout.FINE, maps.border.shape)
    nucleus = contour(window, maps.classes[layout.NUCLEUS], box) if oocyte is not None else None
    if nucleus is not None and oocyte is not None and not nucleus.within(oocyte.buffer(2)):
        nucleus = None
    spaces = (p.intersection(outline) for p in contours(window, maps.classes[layout.FLUID], box))
    fluid = tuple(
        sorted((p for p in spaces if isinstance(p, Polygon) and p.area > _SMALLEST_FLUID_UM2), key=lambda p: -p.area)
    )
    return FoundFollicle(outline, oocyte, score, evidence, nucleus, fluid), inside


def consensus(
    rays: NDArray[np.float32], voters: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The outline that pixels agree on.

    Parameters
    ----------
    rays
        (ray, y, x) px.
    voters
        (n, 2) row and column.

    Returns
    -------
    at
        (2,) x and y of the middle, px of the picture.
    radius
        (ray,) from there to the outline, px.
    spread
        Mean disagreement as a share of the radius: the middle half of the votes.
    """
    own = rays[:, voters[:, 0], voters[:, 1]].astype(np.float64)
    points = (voters[:, ::-1] + 0.5) * layout.COARSE
    ends_x = points[:, 0] + own * np.cos(layout.ANGLES)[:, None]
    ends_y = points[:, 1] + own * np.sin(layout.ANGLES)[:, None]
    at = np.array([ends_x.mean(), ends_y.mean()])
    # Each voter's polygon in polar view around the common middle.
    dx, dy = ends_x - at[0], ends_y - at[1]
    turn, away = np.arctan2(dy, dx), np.hypot(dx, dy)
    votes = np.empty_like(away)
    for i in range(away.shape[1]):
        order = np.argsort(turn[:, i])
        votes[:, i] = np.interp(layout.ANGLES, turn[order, i], away[order, i], period=2 * np.pi)
    low, middle, high = np.percentile(votes, [25, 50, 75], axis=1)
    return at, middle, float(((high - low) / np.maximum(middle, 1e-6)).mean())


def contour(window: Window, probability: NDArray[np.floating], box: tuple[slice, ...]) -> Polygon | None:
    """Largest area of probability above one half within a box of a half-resolution map, µm."""
    return max(contours(window, probability, box), key=lambda p: p.area, default=None)


def contours(window: Window, probability: NDArray[np.floating], box: tuple[slice, ...]) -> list[Polygon]:
    """Areas of probability above one half within a box of a half-resolution map, µm; holes are filled."""
    top, left = box[0].start - 2, box[1].start - 2
    height, width = probability.shape
    rows, columns = slice(max(0, top), min(height, box[0].stop + 2)), slice(max(0, left), min(width, box[1].stop + 2))
    part = np.pad(probability[rows, columns], 1)
    out = []
    for ring in find_contours(part, 0.45):
        if len(ring) < 4:
            continue
        at = window.to_um(ring[:, 1] - 1 + columns.start, ring[:, 0] - 1 + rows.start, layout.FINE)
        polygon = Polygon(at).buffer(0)
        out += [p for p in getattr(polygon, "geoms", [polygon]) if isinstance(p, Polygon) and not p.is_empty]
    return out


def _box(ring: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[slice, ...]:
    (left, top), (right, bottom) = np.floor(ring.min(axis=0)), np.ceil(ring.max(axis=0))
    rows = slice(int(np.clip(top, 0, shape[0] - 1)), int(np.clip(bottom + 1, 1, shape[0])))
    return rows, slice(int(np.clip(left, 0, shape[1] - 1)), int(np.clip(right + 1, 1, shape[1])))
