"""From the network's maps to follicles: one outline for each oocyte, and for each middle of a follicle without one.

Every pixel inside a follicle says where the outline is (`rays`). The pixels of a seed vote, twice: first those of the
seed, then those around the middle of what was found, since an oocyte lies off the middle of an antral follicle and
looks at its far side from far away. Near the median vote the closed path along the predicted `border` is the outline.
(Rays alone are rounder than follicles are; a path around the oocyte alone loses antral ones. docs/network-detector.md
has the figures.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from shapely.geometry import Polygon

from follicle_stager.detection.found import FoundFollicle
from follicle_stager.detection.network import layout
from follicle_stager.detection.polar import COS, N_ANGLES, SIN, best_closed_path
from follicle_stager.geometry import areas_above

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.detection.network.model import Maps, Scale

# An oocyte: pixels of at least this probability, one of them of at least that.
_OOCYTE, _OOCYTE_PEAK = 0.4, 0.6
# The middle of a follicle: a local maximum of at least this.
_CENTRE = 0.35
# Pixels that vote for an outline.
_VOTERS = 40
# The outline is looked for between these shares of the rays' vote, in so many steps; a step from one direction to the
# next costs so much of the border's probability.
_TRACED, _STEPS, _STEP_COST = (0.65, 1.4), 48, 0.02
_TURNS = np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES
_SMALLEST_OOCYTE_UM = 7.0
# Share of the surroundings of an oocyte that has to be zona rather than anything else.
_ZONA_DRAWN = 0.2
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


@dataclass(frozen=True, eq=False)
class _Seed:
    """Where a follicle may be.

    Attributes
    ----------
    voters
        (n, 2) rows and columns of ``centre`` whose rays are asked.
    oocyte, probability
        Its oocyte (µm) and how sure that is; None and 0 where no oocyte is seen.
    """

    voters: NDArray[np.intp]
    oocyte: Polygon | None = None
    probability: float = 0.0


@dataclass(frozen=True, eq=False)
class _Around:
    """What a seed's pixels agree on: middle (x, y) and distance of the outline along `ANGLES`, px; disagreement."""

    seed: _Seed
    at: NDArray[np.float64]
    radius: NDArray[np.float64]
    spread: float


def find_in(window: Window, scale: Scale) -> list[FoundFollicle]:
    """Follicles of a window; they may overlap.

    Parameters
    ----------
    window
        The network's answer.
    scale
        Which sizes are looked for, and how a score is worked out.
    """
    around: list[_Around] = []
    taken = np.zeros(window.maps.centre.shape, bool)
    for seeds in (_oocytes(window), _middles(window, scale)):
        for seed in seeds:
            # A middle that an oocyte's follicle covers is no other follicle.
            if seed.oocyte is None and taken[tuple(seed.voters[0])]:
                continue
            own = _agree(window, seed, scale)
            if own is not None:
                around.append(own)
                taken[layout.pixels_inside(_ring(own.at, own.radius, layout.ANGLES), layout.COARSE, taken.shape)] = True
    claims = (_claim(window, scale, a, r) for a, r in zip(around, _traced(window, around), strict=True))
    return [claim for claim in claims if claim is not None]


def _oocytes(window: Window) -> list[_Seed]:
    oocyte = window.maps.classes[layout.OOCYTE] + window.maps.classes[layout.NUCLEUS]
    labels, _ = ndi.label(oocyte > _OOCYTE)
    least_px = np.pi / 4 * (_SMALLEST_OOCYTE_UM / (layout.FINE * window.mpp)) ** 2
    seeds = []
    for number, box in enumerate(ndi.find_objects(labels), start=1):
        own = labels[box] == number
        values = oocyte[box][own]
        if values.max() < _OOCYTE_PEAK or own.sum() < least_px:
            continue
        top, left = box[0].start, box[1].start
        outline = max(contours(window, np.where(own, oocyte[box], 0), top, left), key=lambda p: p.area, default=None)
        at = np.argwhere(own) + (top, left)
        seeds.append(_Seed(np.unique(at * layout.FINE // layout.COARSE, axis=0), outline, float(values.mean())))
    return seeds


def _middles(window: Window, scale: Scale) -> list[_Seed]:
    centre = ndi.gaussian_filter(window.maps.centre, 1.0)
    reach = max(3, round(0.25 * scale.smallest_um / (layout.COARSE * window.mpp)))
    peaks = np.argwhere((centre == ndi.maximum_filter(centre, 2 * reach + 1)) & (centre > _CENTRE))
    order = np.argsort(-centre[peaks[:, 0], peaks[:, 1]], kind="stable")
    return [_Seed(peaks[i][None]) for i in order]


def _agree(window: Window, seed: _Seed, scale: Scale) -> _Around | None:
    """Ask a seed's pixels, then those around the middle of what they say; None if its size is out of range."""
    maps, voters = window.maps, seed.voters
    for _ in range(2):
        chosen = voters[np.argsort(-maps.centre[voters[:, 0], voters[:, 1]], kind="stable")[:_VOTERS]]
        at, radius, spread = consensus(maps.rays, chosen)
        inside = layout.pixels_inside(_ring(at, radius, layout.ANGLES), layout.COARSE, maps.centre.shape)
        if not len(inside[0]):
            return None
        voters = np.column_stack(inside)
    diameter_um = 2 * float(np.sqrt((radius**2).mean())) * window.mpp
    fits = 0.8 * scale.smallest_um <= diameter_um <= 1.2 * scale.largest_um
    return _Around(seed, at, radius, spread) if fits else None


def _traced(window: Window, around: list[_Around]) -> NDArray[np.float64]:
    """Distance (n, N_ANGLES) px to the outline: the closed path along the predicted border nearest to the rays' vote.

    The rays know which follicle is meant and about where it ends, the border knows exactly.
    """
    if not around:
        return np.empty((0, N_ANGLES))
    vote = np.stack([np.interp(_TURNS, layout.ANGLES, a.radius, period=2 * np.pi) for a in around])
    radii = vote[:, :, None] * np.linspace(*_TRACED, _STEPS)
    at = np.stack([a.at for a in around])[:, None, None]
    x, y = (at[..., 0] + COS[:, None] * radii, at[..., 1] + SIN[:, None] * radii)
    gain = ndi.map_coordinates(window.maps.border, [y / layout.FINE - 0.5, x / layout.FINE - 0.5], order=1)
    path = best_closed_path(gain.astype(np.float32), step_cost=_STEP_COST)
    return np.asarray(np.take_along_axis(radii, path[:, :, None], axis=2)[..., 0])


def _claim(window: Window, scale: Scale, around: _Around, radius: NDArray[np.float64]) -> FoundFollicle | None:
    """A follicle with what speaks for it and what is in it."""
    maps, seed = window.maps, around.seed
    ring = _ring(around.at, radius, _TURNS)
    outline = Polygon(ring * window.mpp + (window.x_um, window.y_um)).buffer(0)
    half = layout.pixels_inside(ring, layout.FINE, maps.border.shape)
    if not isinstance(outline, Polygon) or outline.is_empty or not len(half[0]):
        return None
    share = maps.classes[:, half[0], half[1]].mean(axis=1)
    granulosa = share[layout.GRANULOSA] + share[layout.DYING]
    line = np.clip(np.round(ring / layout.FINE - 0.5).astype(np.intp), 0, np.array(maps.border.shape)[::-1] - 1)
    vote = np.interp(_TURNS, layout.ANGLES, around.radius, period=2 * np.pi)
    evidence = {
        "oocyte": seed.probability,
        "oocyte_share": float(share[layout.OOCYTE] + share[layout.NUCLEUS]),
        "centre": float(maps.centre[layout.pixels_inside(ring, layout.COARSE, maps.centre.shape)].max(initial=0.0)),
        "spread": around.spread,
        "moved": float(np.abs(np.log(radius / vote)).mean()),
        "border": float(maps.border[line[:, 1], line[:, 0]].mean()),
        "granulosa": float(granulosa + share[layout.ZONA]),
        "cut": float(share[layout.CUT]),
        "fluid": float(share[layout.FLUID]),
        "other": float(share[layout.OTHER] + share[layout.OUTSIDE] + share[layout.LUTEAL]),
        "dying": float(share[layout.DYING] / max(granulosa, 1e-6)),
    }
    logit = scale.intercept + sum(weight * evidence[name] for name, weight in scale.weights.items())
    score = float(1 / (1 + np.exp(-logit))) if scale.weights else evidence["centre"]
    top, left = half[0].min(), half[1].min()
    part = maps.classes[:, top : half[0].max() + 1, left : half[1].max() + 1]
    nuclei = contours(window, part[layout.NUCLEUS], top, left) if seed.oocyte is not None else []
    nucleus = max(nuclei, key=lambda p: p.area, default=None)
    if nucleus is not None and seed.oocyte is not None and not nucleus.within(seed.oocyte.buffer(2)):
        nucleus = None
    zona = _zona(window, part, half, top, left) if seed.oocyte is not None else None
    spaces = (p.intersection(outline) for p in contours(window, part[layout.FLUID], top, left))
    fluid = [p for p in spaces if isinstance(p, Polygon) and p.area > _SMALLEST_FLUID_UM2]
    fluid.sort(key=lambda p: -p.area)
    return FoundFollicle(outline, seed.oocyte, score, evidence, nucleus, tuple(fluid), zona)


def _zona(
    window: Window, part: NDArray[np.float32], half: tuple[NDArray[np.intp], NDArray[np.intp]], top: int, left: int
) -> Polygon | None:
    """Outer border of oocyte and zona of a follicle with the pixels ``half``; None where no zona is drawn around it.

    Without that rule the border is the oocyte's, a little further out: too far to tell flat from cuboidal cells.
    """
    oocyte = part[layout.OOCYTE] + part[layout.NUCLEUS]
    inside = np.zeros(oocyte.shape, bool)
    inside[half[0] - top, half[1] - left] = True
    both = np.where(inside, oocyte + part[layout.ZONA], 0)
    ring = (both > 0.5) & (oocyte <= 0.5)
    if not ring.any() or (part.argmax(axis=0)[ring] == layout.ZONA).mean() < _ZONA_DRAWN:
        return None
    return max(contours(window, both, top, left), key=lambda p: p.area, default=None)


def _ring(at: NDArray[np.float64], radius: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(at + radius[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))


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


def contours(window: Window, probability: NDArray[np.floating], top: int, left: int) -> list[Polygon]:
    """Areas of probability above one half, µm, without their holes.

    Parameters
    ----------
    window
        Where the map lies.
    probability
        (y, x) part of a map at half resolution.
    top, left
        Its first row and column.
    """
    mpp = layout.FINE * window.mpp
    return areas_above(probability, 0.5, x_um=window.x_um + left * mpp, y_um=window.y_um + top * mpp, mpp=mpp)
