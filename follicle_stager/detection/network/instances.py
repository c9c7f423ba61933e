"""Convert the network's maps to follicles: one outline per oocyte, and per follicle centre without an oocyte.

Every pixel inside a follicle predicts the distance to the outline (`rays`). Pixels vote twice: first those of the seed,
then those around the centre of the outline found by the first vote. The second vote is needed because the oocyte of an
antral follicle lies off its centre, far from the opposite side. The outline is the closed path along the predicted
`border` near the median vote. (Rays alone give outlines that are too round, and a path around the oocyte alone loses
antral follicles; docs/network-detector.md has the figures.)
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

# Smallest probability of the pixels of an oocyte, and of the largest of them.
_OOCYTE, _OOCYTE_PEAK = 0.4, 0.6
# Smallest value of the local maximum at the centre of a follicle.
_CENTRE = 0.35
# Largest number of pixels that vote for an outline.
_VOTERS = 40
# Range in which the outline is traced, as a ratio to the rays' vote; number of steps in it; and cost of a step between
# neighbouring directions, in units of the border's probability.
_TRACED, _STEPS, _STEP_COST = (0.65, 1.4), 48, 0.02
_TURNS = np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES
_SMALLEST_OOCYTE_UM = 7.0
# Smallest share of the pixels around an oocyte that have zona as the most likely class.
_ZONA_DRAWN = 0.2
_SMALLEST_FLUID_UM2 = 60.0
# Largest width of an oocyte with a pale rim, as a share of the follicle's width [M]: less than in a primary follicle.
_PALE_OOCYTE = 0.65


@dataclass(frozen=True, eq=False)
class Window:
    """Maps of a window and their position.

    Attributes
    ----------
    maps
        Maps from the network.
    x_um, y_um
        Top-left corner on the slide, µm.
    mpp
        Pixel size of the image, µm/px; the maps are coarser, see `layout`.
    """

    maps: Maps
    x_um: float
    y_um: float
    mpp: float


@dataclass(frozen=True, eq=False)
class _Seed:
    """A possible follicle.

    Attributes
    ----------
    voters
        Rows and columns of the voting pixels in ``centre``, (n, 2).
    oocyte, probability
        Outline of the oocyte (µm) and its mean probability; None and 0 without an oocyte.
    """

    voters: NDArray[np.intp]
    oocyte: Polygon | None = None
    probability: float = 0.0


@dataclass(frozen=True, eq=False)
class _Around:
    """Vote of a seed's pixels: centre (x, y) and distance to the outline along `ANGLES`, px; and disagreement."""

    seed: _Seed
    at: NDArray[np.float64]
    radius: NDArray[np.float64]
    spread: float


def find_in(window: Window, scale: Scale) -> list[FoundFollicle]:
    """Find the follicles of a window; they may overlap.

    Parameters
    ----------
    window
        The network's maps.
    scale
        Range of sizes, and coefficients of the score.
    """
    around: list[_Around] = []
    taken = np.zeros(window.maps.centre.shape, bool)
    for seeds in (_oocytes(window), _middles(window, scale)):
        for seed in seeds:
            # A centre inside a follicle that was already found is not another follicle.
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
        outline = _largest(window, np.where(own, oocyte[box], 0), top, left)
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
    """Let a seed's pixels vote, then those around the resulting centre; None if the size is out of range."""
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
    """Distance to the outline, (n, N_ANGLES), px: the closed path along the predicted border near the rays' vote.

    The rays select the follicle and its approximate size; the border gives the exact outline.
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
    """A follicle with its evidence, score and contents; None if its outline is empty."""
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
    oocyte, nucleus, zona = seed.oocyte, None, None
    if oocyte is not None:
        part, oocyte = _whole_oocyte(window, part, oocyte, _PALE_OOCYTE**2 * outline.area, top, left)
        nucleus = _largest(window, part[layout.NUCLEUS], top, left)
        if nucleus is not None and not nucleus.within(oocyte.buffer(2)):
            nucleus = None
        zona = _zona(window, part, half, top, left)
    spaces = (p.intersection(outline) for p in contours(window, part[layout.FLUID], top, left))
    fluid = [p for p in spaces if isinstance(p, Polygon) and p.area > _SMALLEST_FLUID_UM2]
    fluid.sort(key=lambda p: -p.area)
    return FoundFollicle(outline, oocyte, score, evidence, nucleus, tuple(fluid), zona)


def _whole_oocyte(
    window: Window, part: NDArray[np.float32], oocyte: Polygon, largest_um2: float, top: int, left: int
) -> tuple[NDArray[np.float32], Polygon]:
    """Classes and outline of an oocyte whose pale rim was taken for fluid; unchanged if there is no such rim.

    Zona and cumulus separate an oocyte from the antrum. Fluid that touches the oocyte on most sides, and is together
    with it not larger than ``largest_um2``, is therefore ooplasm.
    """
    ring = (np.asarray(oocyte.exterior.coords) - (window.x_um, window.y_um)) / window.mpp - (
        left * layout.FINE,
        top * layout.FINE,
    )
    inside = np.zeros(part.shape[1:], bool)
    inside[layout.pixels_inside(ring, layout.FINE, inside.shape)] = True
    around = ndi.binary_dilation(inside, iterations=2) & ~inside
    if not around.any() or (part[:, around].argmax(axis=0) == layout.FLUID).mean() <= 0.5:
        return part, oocyte
    both = part[layout.OOCYTE] + part[layout.NUCLEUS] + part[layout.FLUID]
    labels, _ = ndi.label(both > 0.5)
    own = np.isin(labels, np.unique(labels[inside & (labels > 0)]))
    whole = _largest(window, np.where(own, both, 0), top, left) or oocyte
    if whole.area > largest_um2:
        return part, oocyte
    part = part.copy()
    part[layout.OOCYTE][own] += part[layout.FLUID][own]
    part[layout.FLUID][own] = 0
    return part, whole


def _zona(
    window: Window, part: NDArray[np.float32], half: tuple[NDArray[np.intp], NDArray[np.intp]], top: int, left: int
) -> Polygon | None:
    """Outer border of oocyte and zona in a follicle with the pixels ``half``; None without a visible zona.

    Without this rule the border would be that of the oocyte, moved outwards a little: too far to distinguish flat from
    cuboidal cells.
    """
    oocyte = part[layout.OOCYTE] + part[layout.NUCLEUS]
    inside = np.zeros(oocyte.shape, bool)
    inside[half[0] - top, half[1] - left] = True
    both = np.where(inside, oocyte + part[layout.ZONA], 0)
    ring = (both > 0.5) & (oocyte <= 0.5)
    if not ring.any() or (part[:, ring].argmax(axis=0) == layout.ZONA).mean() < _ZONA_DRAWN:
        return None
    return _largest(window, both, top, left)


def _ring(at: NDArray[np.float64], radius: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(at + radius[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))


def consensus(
    rays: NDArray[np.float32], voters: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Compute the outline that pixels vote for.

    Parameters
    ----------
    rays
        Distances to the outline, (ray, y, x), px.
    voters
        Rows and columns of the voting pixels, (n, 2).

    Returns
    -------
    at
        Centre of the outline, x and y, (2,), px of the image.
    radius
        Distance from the centre to the outline, (ray,), px.
    spread
        Mean interquartile range of the votes, as a share of the radius.
    """
    own = rays[:, voters[:, 0], voters[:, 1]].astype(np.float64)
    points = (voters[:, ::-1] + 0.5) * layout.COARSE
    ends_x = points[:, 0] + own * np.cos(layout.ANGLES)[:, None]
    ends_y = points[:, 1] + own * np.sin(layout.ANGLES)[:, None]
    at = np.array([ends_x.mean(), ends_y.mean()])
    # Each voter's polygon in polar coordinates around the common centre, closed at both ends.
    dx, dy = ends_x - at[0], ends_y - at[1]
    turn, away = np.arctan2(dy, dx) % (2 * np.pi), np.hypot(dx, dy)
    order = np.argsort(turn, axis=0)
    turn, away = np.take_along_axis(turn, order, axis=0), np.take_along_axis(away, order, axis=0)
    turn = np.concatenate([turn[-1:] - 2 * np.pi, turn, turn[:1] + 2 * np.pi])
    away = np.concatenate([away[-1:], away, away[:1]])
    votes = [np.interp(layout.ANGLES, t, a) for t, a in zip(turn.T, away.T, strict=True)]
    low, middle, high = np.percentile(votes, [25, 50, 75], axis=0)
    return at, middle, float(((high - low) / np.maximum(middle, 1e-6)).mean())


def _largest(window: Window, probability: NDArray[np.floating], top: int, left: int) -> Polygon | None:
    """The largest of the `contours`; None if there are none."""
    return max(contours(window, probability, top, left), key=lambda p: p.area, default=None)


def contours(window: Window, probability: NDArray[np.floating], top: int, left: int) -> list[Polygon]:
    """Outlines of the areas with a probability above one half, µm; holes are filled.

    Parameters
    ----------
    window
        Window that the map belongs to.
    probability
        Part of a map at half resolution, (y, x).
    top, left
        First row and column of this part.
    """
    mpp = layout.FINE * window.mpp
    return areas_above(probability, 0.5, x_um=window.x_um + left * mpp, y_um=window.y_um + top * mpp, mpp=mpp)
