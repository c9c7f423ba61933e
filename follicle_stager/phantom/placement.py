"""Give every body of an ovary its place: none overlap, and each follicle lies in the range of depth of its stage.

Lengths are µm. The origin is the ovary's centre.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.phantom.contact import flatten, pressed_um
from follicle_stager.phantom.fields import first_free, settle
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.phantom.biology import GenotypeModel

log = logging.getLogger(__name__)

# Share of the follicles that yield which begin beside another one.
_BESIDE = 0.8


def place(
    rng: np.random.Generator,
    model: GenotypeModel,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    lutea: NDArray[np.void],
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Move all bodies to free positions; those without room are left out."""
    small = follicles["stage"] <= LADDER.index(Stage.TRANSITIONAL)
    growing, resting = follicles[~small], follicles[small]
    free_um = widest(growing) + growing["theca"] + 3
    yields_um = free_um - pressed_um(growing, free_um, model.flattened)
    room, n = np.concatenate([free_um, widest(lutea) + 8]), len(growing)
    reach = room - np.concatenate([yields_um, np.zeros(len(lutea))])
    # Each follicle has its own range of depth, so that the small ones stay in the cortex.
    anywhere = np.column_stack([lutea["radius"], np.full(len(lutea), 1e6)])
    depth = np.concatenate([_depths(model, growing), anywhere])
    start = points_inside(rng, axes, lobes, len(reach))
    if model.flattened:
        # Most begin beside a neighbour, and are pushed away until the two touch.
        pressed = np.flatnonzero(yields_um)
        beside = pressed[rng.random(len(pressed)) < _BESIDE]
        start[beside] = start[rng.choice(pressed, len(beside))] + rng.normal(0, 15, (len(beside), 3))
    placed, free = _settled(start, reach, depth, axes, lobes, 600)
    growing, lutea = _moved(growing, placed[:n]), _moved(lutea[free[n:]], placed[n:][free[n:]])
    if model.flattened:
        kept = np.flatnonzero(free[:n])
        others = placed[n:][free[n:]], room[n:][free[n:]]
        growing[kept], free[kept] = flatten(growing[kept], free_um[kept], yields_um[kept], *others)
    growing = growing[free[:n]]
    resting = resting[rng.permutation(len(resting))]
    taken, taken_reach, nested = placed[free], room[free], resting[:0]
    if model.nested:
        nested, resting = _nests(rng, model, axes, lobes, resting, taken, taken_reach)
        taken = np.concatenate([taken, np.column_stack([nested[name] for name in "xyz"])])
        taken_reach = np.concatenate([taken_reach, widest(nested)])
    candidates = _cortical(rng, axes, lobes, resting, model)
    chosen = first_free(candidates, widest(resting) + 0.8, _depths(model, resting), axes, lobes, taken, taken_reach)
    there = chosen >= 0
    resting = _moved(resting[there], candidates[np.flatnonzero(there), chosen[there]])
    together = np.concatenate([nested, resting, growing])
    left_out = len(follicles) - len(together)
    if left_out:
        log.info("%d of %d follicles found no room", left_out, len(follicles))
    return together[np.argsort(together["stage"], kind="stable")], lutea


def _nests(
    rng: np.random.Generator,
    model: GenotypeModel,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    taken: NDArray[np.float64],
    taken_reach: NDArray[np.float64],
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Place a share of the primordial follicles in nests in which they touch; return these, and all others.

    The follicles of a nest begin in one place and are pushed apart until none overlap. ``taken`` are the positions of
    larger bodies, with the room that they need; follicles that overlap them are returned with the others.
    """
    chosen = (follicles["stage"] == 0) & (rng.random(len(follicles)) < model.nested)
    own = follicles[chosen]
    if not len(own):
        return own, follicles
    sizes = rng.integers(4, 15, len(own))
    nest = np.repeat(np.arange(len(own)), sizes)[: len(own)]
    centres = _cortical(rng, axes, lobes, own, model, tries=1)[:, 0]
    at = centres[nest] + rng.normal(0, 6, (len(own), 3))
    reach = widest(own) + 0.2
    at, free = _settled(at, reach, _depths(model, own), axes, lobes, 300)
    for centre, room in zip(taken, taken_reach, strict=True):
        free &= np.linalg.norm(at - centre, axis=1) >= reach + room
    return _moved(own[free], at[free]), np.concatenate([follicles[~chosen], own[~free]])


def _cortical(
    rng: np.random.Generator,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    model: GenotypeModel,
    tries: int = 24,
) -> NDArray[np.float64]:
    """Candidate positions of resting follicles in the cortex, about two thirds of them in nests."""
    n = len(follicles)
    if n == 0:
        return np.zeros((0, tries, 3))
    nests = unit_vectors(max(4, n // 7), rng)
    directions = unit_vectors(n * tries, rng).reshape(n, tries, 3)
    near = rng.random((n, tries)) < 0.65
    picked = nests[rng.integers(len(nests), size=(n, tries))] + rng.normal(0, 0.05, (n, tries, 3))
    directions[near] = picked[near]
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    limits = _depths(model, follicles)
    depth = limits[:, :1] + (limits[:, 1:] - limits[:, :1]) * rng.beta(1.0, 2.2, (n, tries))
    radius = surface_um(axes, lobes, directions.reshape(-1, 3)).reshape(n, tries)
    return np.asarray(directions * np.maximum(radius - depth, 0)[..., None])


def _settled(
    at: NDArray[np.float64],
    reach: NDArray[np.float64],
    depth: NDArray[np.float64],
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    rounds: int,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Push bodies apart, the largest first; return their positions, and whether each has found room."""
    order = np.argsort(-reach, kind="stable")
    placed, free, settled = np.empty_like(at), np.empty(len(at), bool), at[order]
    free[order] = settle(settled, reach[order], depth[order], axes, lobes, rounds)
    placed[order] = settled
    return placed, free


def _depths(model: GenotypeModel, follicles: NDArray[np.void]) -> NDArray[np.float64]:
    """Range of depth of the centre of each follicle, (n, 2), µm."""
    ranges = np.array([model.stages[LADDER[int(stage)]].depth_um for stage in follicles["stage"]]).reshape(-1, 2)
    return np.asarray(ranges + ((follicles["radius"] + follicles["theca"]) * 1.08)[:, None])


def widest(bodies: NDArray[np.void]) -> NDArray[np.float64]:
    """Largest radius of each body, bumps included, so that no two outlines overlap."""
    directions = unit_vectors(160)
    along = np.einsum("bik,dk->bdi", bodies["bumps"][:, :, :3], directions)
    amount, phase = bodies["bumps"][:, None, :, 3], bodies["bumps"][:, None, :, 4]
    stretched = (amount * (along**2 - 1 / 3))[..., :2].sum(axis=2)
    dented = (amount * np.sin(3.5 * along + phase))[..., 2:].sum(axis=2)
    return np.asarray(bodies["radius"] * (1.01 + stretched + dented).max(axis=1, initial=0.0))


def _moved(bodies: NDArray[np.void], to: NDArray[np.float64]) -> NDArray[np.void]:
    out = bodies.copy()
    names = ("x", "ox", "nx"), ("y", "oy", "ny"), ("z", "oz", "nz")
    for axis, own in enumerate(names):
        for name in own:
            if name in (out.dtype.names or ()):
                out[name] += to[:, axis]
    return out


def points_inside(
    rng: np.random.Generator,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    number: int,
    power: float = 1 / 3,
) -> NDArray[np.float64]:
    """Random points in the ovary: uniform for a power of 1/3, closer to the centre for a larger power."""
    directions = unit_vectors(number, rng)
    radius = surface_um(axes, lobes, directions) * rng.random(number) ** power
    return np.asarray(directions * radius[:, None])


def surface_um(
    axes: NDArray[np.float64], lobes: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance from the centre to the surface in each direction, µm; `fields.depth_in_ovary` for arrays."""
    inverse = ((directions @ axes[:, :3].T / axes[:, 3]) ** 2).sum(axis=1)
    bulge = lobes[:, 3] * np.exp((directions @ lobes[:, :3].T - 1) / lobes[:, 4])
    return np.asarray((1 + bulge.sum(axis=1)) / np.sqrt(inverse))


def unit_vectors(number: int, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Unit vectors: random, or evenly spread without a generator."""
    if rng is None:
        k = np.arange(number) + 0.5
        z, turn = 1 - 2 * k / number, np.pi * (1 + 5**0.5) * k
        r = np.sqrt(1 - z**2)
        return np.column_stack([r * np.cos(turn), r * np.sin(turn), z])
    v = rng.normal(size=(number, 3))
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12))
