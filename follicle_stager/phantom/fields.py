"""Functions of position: hashed noise, and the surfaces of bodies.

Everything in a section is a function of a point in the ovary and a seed, never of the order of drawing. Neighbouring
sections therefore show the same cells, a window equals the same part of the whole section, and the number of workers
has no effect. Lengths are µm.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from follicle_stager.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def _forget_stale_code() -> None:
    """Delete compiled code that was made from older sources.

    numba notices a change in the file of a function, but not in the file of a function that it calls. Truth and pixels
    would then come from two versions.
    """
    here = Path(__file__).parent
    names = ("fields", "painting", "cells", "variety", "tissues")
    digest = hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in names)).hexdigest()[:16]
    stamp = here / "__pycache__" / "compiled_from.txt"
    with contextlib.suppress(OSError):  # a read-only folder does not change
        if stamp.exists() and stamp.read_text("utf-8") == digest:
            return
        for stale in (here / "__pycache__").glob("*.nb?"):
            stale.unlink(missing_ok=True)
        write_text(stamp, digest)


_forget_stale_code()


def renderer_id() -> str:
    """Short hash of the rendering code; it identifies the images on disk that this code made."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code; the result is cached if the folder is writable."""
    try:
        fast: Callable[..., Any] = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the cache: a read-only installation without a home folder
        fast = numba.njit(nogil=True)(function)
    return fast


@compiled
def uniform(i, j, k, seed):
    """Random number in [0, 1) that is a function of four whole numbers."""
    h = np.uint64(i) * np.uint64(0x9E3779B97F4A7C15)
    h ^= (np.uint64(j) + np.uint64(0x7F4A7C15)) * np.uint64(0xC2B2AE3D27D4EB4F)
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    h ^= (np.uint64(k) + np.uint64(0x165667B1)) * np.uint64(0x94D049BB133111EB)
    h ^= (np.uint64(seed) + np.uint64(0x27D4EB2F)) * np.uint64(0xD6E8FEB86659FD93)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(32)
    return float(h >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def noise(x, y, z, cell_um, seed):
    """Smooth noise in 3D, about -1 to 1, with features of ``cell_um``."""
    x, y, z = x / cell_um, y / cell_um, z / cell_um
    # The sum of two lattices with different orientation hides their grids.
    total = 0.0
    for octave in range(2):
        if octave:
            x, y, z = 0.8 * x + 0.6 * y + 17.3, 0.8 * y - 0.6 * x + 5.1, z * 0.91 + 0.41 * x + 9.7
        i, j, k = np.floor(x), np.floor(y), np.floor(z)
        fx, fy, fz = x - i, y - j, z - k
        fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
        value = 0.0
        for a in range(2):
            wx = fx if a else 1 - fx
            for b in range(2):
                wy = fy if b else 1 - fy
                for c in range(2):
                    wz = fz if c else 1 - fz
                    value += wx * wy * wz * uniform(int(i) + a, int(j) + b, int(k) + c, seed + octave)
        total += value - 0.5
    return total * 1.7


@compiled
def within(at, reach, start, mpp, count):
    """First pixel within ``reach`` of a position (both µm) along one axis of a window, and the end after the last one.

    The window has ``count`` pixels and begins at ``start``, µm.
    """
    return max(0, int((at - reach - start) / mpp)), min(count, int((at + reach - start) / mpp) + 2)


@compiled
def noise_grid(x0, y0, z, step, rows, columns, cell_um, seed):
    """`noise` on a grid in a plane, (rows, columns) float32."""
    out = np.empty((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            out[r, c] = noise(x0 + c * step, y0 + r * step, z, cell_um, seed)
    return out


@compiled
def texture(x0, y0, step, rows, columns, cell_um, seed):
    """Fine noise in the plane, about -1 to 1, (rows, columns) float32; ``seed`` differs from section to section."""
    out = np.empty((rows, columns), np.float32)
    j_last = int(np.floor((x0 + columns * step) / cell_um)) + 2
    j_first = int(np.floor(x0 / cell_um))
    above = np.empty(j_last - j_first + 1, np.float32)
    below = np.empty(j_last - j_first + 1, np.float32)
    row_index = -(1 << 40)
    for r in range(rows):
        y = (y0 + r * step) / cell_um
        i = int(np.floor(y))
        if i != row_index:
            row_index = i
            for n in range(above.size):
                above[n] = uniform(i, j_first + n, 3, seed)
                below[n] = uniform(i + 1, j_first + n, 3, seed)
        fy = y - i
        fy = fy * fy * (3 - 2 * fy)
        for c in range(columns):
            x = (x0 + c * step) / cell_um
            j = int(np.floor(x))
            fx = x - j
            fx = fx * fx * (3 - 2 * fx)
            n = j - j_first
            top = above[n] + (above[n + 1] - above[n]) * fx
            bottom = below[n] + (below[n + 1] - below[n]) * fx
            out[r, c] = 2 * (top + (bottom - top) * fy) - 1
    return out


@compiled
def bumpiness(dx, dy, dz, bumps):
    """Factor of a body's radius in a direction (unit vector), around 1.

    ``bumps`` has rows (nx, ny, nz, amount, phase): the first two stretch the body along an axis, the others dent it.
    """
    s = 1.0
    for i in range(bumps.shape[0]):
        t = dx * bumps[i, 0] + dy * bumps[i, 1] + dz * bumps[i, 2]
        if i < 2:
            s += bumps[i, 3] * (t * t - 1 / 3)
        else:
            s += bumps[i, 3] * np.sin(3.5 * t + bumps[i, 4])
    return s


@compiled
def level(x, y, z, cx, cy, cz, radius, bumps):
    """Distance from a body's centre as a share of its radius in that direction; 1 on its surface."""
    dx, dy, dz = x - cx, y - cy, z - cz
    d = np.sqrt(dx * dx + dy * dy + dz * dz)
    if d < 1e-9:
        return 0.0
    return d / (radius * bumpiness(dx / d, dy / d, dz / d, bumps))


@compiled
def flattened(dx, dy, dz, f):
    """`bumpiness` of a follicle's basement membrane, which is flat where the follicle is pressed against another one.

    ``f`` is a record of `anatomy.FOLLICLE`. Its ``facets`` have rows (nx, ny, nz, distance): the follicle ends at a
    plane at this distance from its centre, a share of its radius; 0 ends the list. The edges of planes are round.
    """
    s = bumpiness(dx, dy, dz, f.bumps)
    for i in range(f.facets.shape[0]):
        if f.facets[i, 3] == 0:
            break
        t = dx * f.facets[i, 0] + dy * f.facets[i, 1] + dz * f.facets[i, 2]
        if t > 0.05:
            s = s / (1 + (s * t / f.facets[i, 3]) ** 16) ** (1 / 16)
    return s


@compiled
def outline_level(x, y, z, f):
    """`level` of a follicle's basement membrane."""
    dx, dy, dz = x - f.x, y - f.y, z - f.z
    d = np.sqrt(dx * dx + dy * dy + dz * dz)
    if d < 1e-9:
        return 0.0
    return d / (f.radius * flattened(dx / d, dy / d, dz / d, f))


@compiled
def fluid_level(x, y, z, depth, away, f):
    """Level of a follicle's fluid, µm, positive inside it; ``f`` is a record of `anatomy.FOLLICLE`.

    ``depth`` and ``away`` are the distances from the basement membrane and from the oocyte.

    The wall separates the fluid from the basement membrane, and the cumulus separates it from the oocyte. At first the
    fluid fills separate spaces between granulosa cells (from noise), later one cavity.
    """
    if f.fluid == 0:
        return -1.0
    if depth < 0.7 * f.wall or away < f.zona + 0.6 * f.cumulus:
        return max(min(depth - f.wall, away - f.zona - f.cumulus), -f.wall)
    rough = noise(x, y, z, 22.0, f.seed)
    out = min(depth - f.wall * (1 + 0.18 * rough), away - f.zona - f.cumulus * (1 + 0.25 * rough))
    if f.fluid == 1:
        lakes = (noise(x, y, z, f.fluid_um, f.seed + 5) - f.fluid_cut) * f.fluid_um
        out = min(out, lakes)
    return out


@compiled
def follicle_grid(x0, y0, z, step, rows, columns, f):
    """Levels of outline, oocyte, nucleus and fluid on a grid, (4, rows, columns); µm, positive inside."""
    out = np.empty((4, rows, columns), np.float64)
    for r in range(rows):
        y = y0 + r * step
        for c in range(columns):
            x = x0 + c * step
            out[0, r, c] = (1 - outline_level(x, y, z, f)) * f.radius
            out[1, r, c] = (1 - level(x, y, z, f.ox, f.oy, f.oz, f.oocyte, f.oocyte_bumps)) * f.oocyte
            dx, dy, dz = x - f.nx, y - f.ny, z - f.nz
            out[2, r, c] = f.nucleus - np.sqrt(dx * dx + dy * dy + dz * dz)
            out[3, r, c] = fluid_level(x, y, z, out[0, r, c], -out[1, r, c], f)
    return out


@compiled
def body_grid(x0, y0, z, step, rows, columns, body):
    """Depth below a body's surface on a grid, µm, positive inside, (rows, columns); ``body`` has a centre and bumps."""
    out = np.empty((rows, columns), np.float64)
    for r in range(rows):
        for c in range(columns):
            share = level(x0 + c * step, y0 + r * step, z, body.x, body.y, body.z, body.radius, body.bumps)
            out[r, c] = (1 - share) * body.radius
    return out


@compiled
def ovary_grid(x0, y0, z, step, rows, columns, axes, lobes):
    """Depth below the ovary's surface on a grid, µm (negative outside), (rows, columns) float32.

    ``axes`` has three rows of a unit vector and the half axis along it. ``lobes`` has rows (nx, ny, nz, amount,
    width): a bulge in that direction or, with a negative amount, a cleft.
    """
    out = np.empty((rows, columns), np.float32)
    for r in range(rows):
        y = y0 + r * step
        for c in range(columns):
            x = x0 + c * step
            out[r, c] = depth_in_ovary(x, y, z, axes, lobes)
    return out


@compiled
def depth_in_ovary(x, y, z, axes, lobes):
    """Depth of a point below the ovary's surface, µm, along the line to the centre."""
    d = np.sqrt(x * x + y * y + z * z)
    if d < 1e-6:  # the centre has no direction; use any
        x, d = 1e-6, 1e-6
    ux, uy, uz = x / d, y / d, z / d
    inverse = 0.0
    for i in range(3):
        t = (ux * axes[i, 0] + uy * axes[i, 1] + uz * axes[i, 2]) / axes[i, 3]
        inverse += t * t
    factor = 1.0
    for i in range(lobes.shape[0]):
        t = ux * lobes[i, 0] + uy * lobes[i, 1] + uz * lobes[i, 2]
        factor += lobes[i, 3] * np.exp((t - 1) / lobes[i, 4])
    return factor / np.sqrt(inverse) - d


@compiled
def settle(at, reach, depth, axes, lobes, rounds):
    """Push bodies apart, and below the surface, until none overlap; ``at`` is changed in place.

    Random positions alone can fill at most a third of a volume, but tissue is denser.

    Parameters
    ----------
    at, reach
        Centres, (n, 3), and radii including the room around the bodies, (n,), µm.
    depth
        Smallest and largest depth of the centres, (n, 2), µm.
    axes, lobes
        Shape of the ovary, see `ovary_grid`.
    rounds
        Largest number of rounds.

    Returns
    -------
    ndarray of bool, (n,)
        True where a body is at an allowed depth and overlaps no other one.
    """
    n = at.shape[0]
    free = np.ones(n, np.bool_)
    for _ in range(rounds):
        moved = 0.0
        for a in range(n):
            for b in range(a):
                need = reach[a] + reach[b]
                dx = at[a, 0] - at[b, 0]
                if dx > need or dx < -need:
                    continue
                dy, dz = at[a, 1] - at[b, 1], at[a, 2] - at[b, 2]
                d2 = dx * dx + dy * dy + dz * dz
                if d2 >= need * need:
                    continue
                d = max(np.sqrt(d2), 1e-6)
                push = need - d
                moved = max(moved, push)
                # The smaller body moves further.
                share = reach[b] ** 2 / (reach[a] ** 2 + reach[b] ** 2)
                push = 1.02 * push / d
                at[a, 0] += dx * push * share
                at[a, 1] += dy * push * share
                at[a, 2] += dz * push * share
                at[b, 0] -= dx * push * (1 - share)
                at[b, 1] -= dy * push * (1 - share)
                at[b, 2] -= dz * push * (1 - share)
        for a in range(n):
            d = max(np.sqrt(at[a, 0] ** 2 + at[a, 1] ** 2 + at[a, 2] ** 2), 1e-6)
            below = depth_in_ovary(at[a, 0], at[a, 1], at[a, 2], axes, lobes)
            wrong = max(0.0, depth[a, 0] - below) - max(0.0, below - depth[a, 1])
            if wrong != 0.0:
                moved = max(moved, abs(wrong))
                k = max(1 - wrong / d, 0.0)
                at[a, 0] *= k
                at[a, 1] *= k
                at[a, 2] *= k
        if moved <= 0.01:
            return free
    # Overlaps remain, because the ovary is too full: the larger bodies, which come first, stay.
    for a in range(n):
        below = depth_in_ovary(at[a, 0], at[a, 1], at[a, 2], axes, lobes)
        free[a] = depth[a, 0] - 1 < below < depth[a, 1] + 1
        for b in range(a):
            dx, dy, dz = at[a, 0] - at[b, 0], at[a, 1] - at[b, 1], at[a, 2] - at[b, 2]
            if free[b] and dx * dx + dy * dy + dz * dz < (reach[a] + reach[b] - 1) ** 2:
                free[a] = False
    return free


@compiled
def first_free(candidates, reach, depth, axes, lobes, taken, taken_reach):
    """Choose for each body the first candidate position that is free and at its depth.

    Parameters
    ----------
    candidates
        Candidate positions, (n, tries, 3), µm.
    reach, depth, axes, lobes
        Radii, depths and shape of the ovary, see `settle`.
    taken, taken_reach
        Centres, (m, 3), and radii, (m,), of the bodies that are already placed.

    Returns
    -------
    ndarray of int, (n,)
        Index of the chosen position, or -1.
    """
    n, tries = candidates.shape[0], candidates.shape[1]
    chosen = np.full(n, -1, np.int64)
    at = np.empty((taken.shape[0] + n, 3))
    far = np.empty(taken.shape[0] + n)
    count = taken.shape[0]
    at[:count] = taken
    far[:count] = taken_reach
    for b in range(n):
        for t in range(tries):
            x, y, z = candidates[b, t, 0], candidates[b, t, 1], candidates[b, t, 2]
            below = depth_in_ovary(x, y, z, axes, lobes)
            if below < depth[b, 0] or below > depth[b, 1]:
                continue
            free = True
            for o in range(count):
                need = reach[b] + far[o]
                dx = x - at[o, 0]
                if dx > need or dx < -need:
                    continue
                dy, dz = y - at[o, 1], z - at[o, 2]
                if dx * dx + dy * dy + dz * dz < need * need:
                    free = False
                    break
            if free:
                chosen[b] = t
                at[count, 0], at[count, 1], at[count, 2] = x, y, z
                far[count] = reach[b]
                count += 1
                break
    return chosen


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation matrix, (3, 3); all directions of cutting are equally likely."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1
    return np.asarray(q)
