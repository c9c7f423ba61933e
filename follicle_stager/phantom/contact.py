"""Press large follicles flat where they touch: between two of them lies a plane, which neither crosses.

Lengths are µm. ``free_um`` of a follicle is the radius that it needs if nothing presses it, ``pressed_um`` the smaller
one of a follicle that yields; both include its theca. They are the same for follicles that do not yield.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.phantom.fields import bumpiness

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How far a follicle yields: share of its radius, and of its granulosa [M].
_OF_RADIUS, _OF_GRANULOSA = 0.15, 0.4
# Share of the theca that is left between two follicles [M].
_THECA = 0.4


def pressed_um(follicles: NDArray[np.void], free_um: NDArray[np.float64], flattened: float) -> NDArray[np.float64]:
    """Radius of each follicle if it is pressed, (n,); healthy follicles with two or more layers yield.

    Parameters
    ----------
    follicles
        Records of `anatomy.FOLLICLE`.
    free_um
        Radius that each needs otherwise, (n,).
    flattened
        How far they yield, 0 to 1.
    """
    yields = np.minimum(_OF_RADIUS * follicles["radius"], _OF_GRANULOSA * follicles["layers"] * follicles["layer"])
    able = (follicles["layers"] >= 2) & (follicles["health"] == 0)
    pressed = follicles["radius"] + _THECA * follicles["theca"] - yields
    return np.asarray(np.where(able, (1 - flattened) * free_um + flattened * np.minimum(pressed, free_um), free_um))


def flatten(
    follicles: NDArray[np.void],
    free_um: NDArray[np.float64],
    yields_um: NDArray[np.float64],
    others: NDArray[np.float64],
    others_um: NDArray[np.float64],
) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Give the follicles the planes at which they touch, see `fields.outline_level`.

    Parameters
    ----------
    follicles
        Records of `anatomy.FOLLICLE`, at their places.
    free_um, yields_um
        Radius that each needs otherwise, and how much of it may be lost, (n,).
    others, others_um
        Centres, (m, 3), and radii, (m,), of bodies that do not yield.

    Returns
    -------
    follicles : ndarray
        A copy with ``facets``, and with oocytes moved away from the planes.
    kept : ndarray of bool, (n,)
        False for a follicle that touches too many others; it would overlap some of them.
    """
    out, n = follicles.copy(), len(follicles)
    at = np.concatenate([np.column_stack([out[axis] for axis in "xyz"]), others])
    far, loss = np.concatenate([free_um, others_um]), np.concatenate([yields_um, np.zeros(len(others))])
    kept = np.ones(n, bool)
    for a in np.argsort(-far, kind="stable"):
        apart = np.linalg.norm(at - at[a], axis=1)
        # The larger one of two sees the smaller one; of two that do not yield, neither is in the other's way.
        near = (apart < far + far[a]) & ((far < far[a]) | ((far == far[a]) & (np.arange(len(at)) > a)))
        for b in np.flatnonzero(near & (loss + loss[a] > 0)):
            way = (at[b] - at[a]) / apart[b]
            ends = [_end_um(out, far, i, own) for i, own in ((int(a), way), (int(b), -way))]
            too_near = (ends[0] + ends[1] - apart[b]) / (loss[a] + loss[b])
            for i, own, end in ((int(a), way, ends[0]), (int(b), -way, ends[1])):
                if i < n:
                    kept[i] &= _cut(out, i, own, end - too_near * loss[i])
    _draw_in(out)
    return out, kept


def _end_um(follicles: NDArray[np.void], far: NDArray[np.float64], i: int, way: NDArray[np.float64]) -> float:
    """Distance from a body's centre to its end in a direction, with what is left of the theca."""
    if i >= len(follicles):
        return float(far[i])
    f = follicles[i]
    return float(f["radius"] * bumpiness(*way, f["bumps"]) + _THECA * f["theca"])


def _cut(follicles: NDArray[np.void], i: int, way: NDArray[np.float64], end_um: float) -> bool:
    """Add a plane to a follicle; False if there is no room for another one."""
    f = follicles[i]
    row = int((f["facets"][:, 3] > 0).sum())
    if row == len(f["facets"]):
        return False
    follicles["facets"][i, row] = *way, (end_um - _THECA * f["theca"]) / f["radius"]
    return True


def _draw_in(follicles: NDArray[np.void]) -> None:
    """Move oocytes towards the centres of their follicles, until a layer of granulosa is between them and the planes.

    All planes count at once: moved from one plane after the other, an oocyte could end beyond one of them.
    """
    f = follicles
    eccentric = np.column_stack([f[f"o{axis}"] - f[axis] for axis in "xyz"])
    along = np.einsum("fpi,fi->fp", f["facets"][:, :, :3], eccentric)
    room = f["facets"][:, :, 3] * f["radius"][:, None] - (1.1 * f["oocyte"] + f["zona"] + f["layer"])[:, None]
    near = (f["facets"][:, :, 3] > 0) & (along > np.maximum(room, 0))
    share = np.where(near, np.maximum(room, 0) / np.where(near, along, 1), 1).min(axis=1)
    for moved, axis in zip(((share - 1)[:, None] * eccentric).T, "xyz", strict=True):
        for name in (f"o{axis}", f"n{axis}"):
            follicles[name] += moved
