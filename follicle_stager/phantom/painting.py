"""Compiled loops that set the kind of tissue of each pixel of a window.

``x0, y0`` is the centre of the first pixel and ``mpp`` the step, µm. ``kind`` (codes of `tissues.CODE`), ``owner``
(row of the follicle, -1 for none) and ``turn`` (direction of the cells, radians) are (y, x) and changed in place.
Bodies are records of `anatomy`.
"""

from __future__ import annotations

import numpy as np

from follicle_stager.phantom.fields import (
    compiled,
    depth_in_ovary,
    fluid_level,
    level,
    noise,
    outline_level,
    uniform,
    within,
)
from follicle_stager.phantom.tissues import CODE

# Compiled code can read module constants, but not dictionaries.
GLASS, LUMEN, FLUID, OOPLASM, ZONA = (CODE[n] for n in ("glass", "lumen", "fluid", "ooplasm", "zona"))
STROMA, CORTEX, GLAND, MEDULLA = (CODE[n] for n in ("stroma", "cortex", "gland", "medulla"))
GRANULOSA, RIM, FLAT, DYING = (CODE[n] for n in ("granulosa", "granulosa rim", "flat granulosa", "dying granulosa"))
MEMBRANE, THECA = CODE["membrane"], CODE["theca"]
FRESH_LUTEAL, LUTEAL, OLD_LUTEAL = (CODE[n] for n in ("fresh luteal", "luteal", "regressing luteal"))
CLOT, SCAR = CODE["clot"], CODE["scar"]
WALL, TUBE, BLOOD, PLASMA = (CODE[n] for n in ("vessel wall", "tube epithelium", "blood", "plasma"))
FAT, BURSA, EPITHELIUM = CODE["fat wall"], CODE["bursa"], CODE["epithelium"]
#: Height above which granulosa cells of resting follicles are cuboidal [M], as in the staging.
_CUBOIDAL_UM = 5.5


@compiled
def paint_ground(u0, v0, step, grids, half, kind, turn):
    """Draw the tissue around the bodies: surface, cortex, gland, stroma, medulla, cracks; bursa and fat outside.

    ``grids`` (8, rows, columns) holds depth, zone, other, around, crack, the direction (cos 2a, sin 2a) and the depth
    in the hilum on a coarse grid. ``u0, v0, step`` are the first pixel and the step in units of this grid.
    """
    values = np.empty(grids.shape[0], np.float32)
    for r in range(kind.shape[0]):
        v = v0 + r * step
        i = int(v)
        fv = v - i
        for c in range(kind.shape[1]):
            u = u0 + c * step
            j = int(u)
            fu = u - j
            for g in range(values.size):
                top = grids[g, i, j] * (1 - fu) + grids[g, i, j + 1] * fu
                bottom = grids[g, i + 1, j] * (1 - fu) + grids[g, i + 1, j + 1] * fu
                values[g] = top * (1 - fv) + bottom * fv
            depth, zone, other, around = values[0], values[1], values[2], values[3]
            turn[r, c] = 0.5 * np.arctan2(values[6], values[5])
            if values[7] > 0 and depth > -110 + 40 * other:
                kind[r, c] = MEDULLA
            elif depth < 0:
                # In places, a bursa runs along the surface.
                away = -depth - (16 + 14 * other)
                if around > 0.15 and -2.2 < away < 2.2:
                    kind[r, c] = BURSA
                elif depth > -95:
                    kind[r, c] = FAT
            elif depth < 6.5:
                kind[r, c] = EPITHELIUM
            elif depth < 22 + 16 * other:
                kind[r, c] = CORTEX
            elif values[4] < 0.016:
                kind[r, c] = LUMEN
            elif depth > half * (0.72 + 0.2 * other):
                kind[r, c] = MEDULLA
            elif zone > 0.0 and depth > 40:
                # Nests of gland cells, separated by thin septa.
                kind[r, c] = GLAND if abs(other) > 0.045 else STROMA
            elif other > 0.35 and depth < 160:
                kind[r, c] = CORTEX
            else:
                kind[r, c] = STROMA


@compiled
def paint_fat(x0, y0, z, mpp, kind, axes, lobes, seed):
    """Replace the fat zone by fat cells of 45 µm, drawn as thin walls, and glass."""
    size = 45.0
    k = int(np.floor(z / size))
    for r in range(kind.shape[0]):
        for c in range(kind.shape[1]):
            if kind[r, c] != FAT:
                continue
            x, y = (x0 + c * mpp) / size, (y0 + r * mpp) / size
            i, j = int(np.floor(x)), int(np.floor(y))
            first, second = 9.0, 9.0
            fi, fj, si, sj = i, j, i, j
            for a in range(i - 1, i + 2):
                for b in range(j - 1, j + 2):
                    d = np.hypot(a + uniform(a, b, k, seed) - x, b + uniform(a, b, k, seed + 1) - y)
                    if d < first:
                        first, second, fi, fj, si, sj = d, first, a, b, fi, fj
                    elif d < second:
                        second, si, sj = d, a, b
            kind[r, c] = GLASS
            if (second - first) * size < 3.0:
                for a, b in ((fi, fj), (si, sj)):
                    px, py = (a + uniform(a, b, k, seed)) * size, (b + uniform(a, b, k, seed + 1)) * size
                    there = noise(px, py, z, 170.0, seed + 2) > 0.25
                    if there and -62 < depth_in_ovary(px, py, z, axes, lobes) < -34:
                        kind[r, c] = FAT


@compiled
def paint_vessel(v, x0, y0, z, mpp, kind, turn):
    """Draw a straight piece of a vessel."""
    reach = v.radius + v.wall + 2
    c0 = max(0, int((min(v.x0, v.x1) - reach - x0) / mpp))
    c1 = min(kind.shape[1], int((max(v.x0, v.x1) + reach - x0) / mpp) + 2)
    r0 = max(0, int((min(v.y0, v.y1) - reach - y0) / mpp))
    r1 = min(kind.shape[0], int((max(v.y0, v.y1) + reach - y0) / mpp) + 2)
    ax, ay, az = v.x1 - v.x0, v.y1 - v.y0, v.z1 - v.z0
    long = ax * ax + ay * ay + az * az
    content = LUMEN
    if v.content == 1:
        content = BLOOD
    elif v.content == 2 or v.content == 4:
        content = PLASMA
    for r in range(r0, r1):
        for c in range(c0, c1):
            k = kind[r, c]
            if k == GLASS or k == FAT or k == BURSA or k == EPITHELIUM or k == content:
                continue
            px, py, pz = x0 + c * mpp - v.x0, y0 + r * mpp - v.y0, z - v.z0
            t = min(max((px * ax + py * ay + pz * az) / long, 0.0), 1.0)
            dx, dy, dz = px - t * ax, py - t * ay, pz - t * az
            rough = 1 + 0.2 * noise(x0 + c * mpp, y0 + r * mpp, z, 14.0, v.seed)
            d = np.sqrt(dx * dx + dy * dy + dz * dz) / rough - v.radius
            if d < 0:
                kind[r, c] = content
            elif d < v.wall and k != LUMEN and k != BLOOD and k != PLASMA:
                kind[r, c] = TUBE if v.content >= 3 else WALL
                turn[r, c] = np.arctan2(dy, dx) + (0.0 if v.content >= 3 else np.pi / 2)


@compiled
def paint_corpus_luteum(body, x0, y0, z, mpp, kind, turn):
    """Draw a corpus luteum and the capsule around it."""
    reach = 1.35 * body.radius + 10
    if abs(z - body.z) > reach:
        return
    tissue = FRESH_LUTEAL
    if body.age == 1:
        tissue = LUTEAL
    elif body.age == 2:
        tissue = OLD_LUTEAL
    for r in range(*within(body.y, reach, y0, mpp, kind.shape[0])):
        y = y0 + r * mpp
        for c in range(*within(body.x, reach, x0, mpp, kind.shape[1])):
            x = x0 + c * mpp
            out = (level(x, y, z, body.x, body.y, body.z, body.radius, body.bumps) - 1) * body.radius
            if out < 0:
                d = np.sqrt((x - body.x) ** 2 + (y - body.y) ** 2 + (z - body.z) ** 2)
                core = body.core * (1 + 0.5 * noise(x, y, z, 60.0, body.seed))
                small = noise(x, y, z, 16.0, body.seed + 3)
                if d < core:
                    kind[r, c] = CLOT if body.age == 0 else SCAR
                elif small > 0.72:
                    kind[r, c] = BLOOD if noise(x, y, z, 90.0, body.seed + 4) > 0.1 else LUMEN
                elif kind[r, c] != LUMEN and kind[r, c] != BLOOD and kind[r, c] != WALL:
                    kind[r, c] = tissue
            elif out < 6 and kind[r, c] != GLASS:
                kind[r, c] = THECA
                turn[r, c] = np.arctan2(y - body.y, x - body.x) + np.pi / 2


@compiled
def paint_follicle(f, row, x0, y0, z, mpp, kind, owner, turn):
    """Draw a follicle and its theca, and align the cells of the tissue around it."""
    wrap = 0.25 * f.radius + 8
    reach = 1.3 * f.radius + f.theca + f.theca_gap + wrap
    flat = f.stage <= 1
    for r in range(*within(f.y, reach, y0, mpp, kind.shape[0])):
        y = y0 + r * mpp
        for c in range(*within(f.x, reach, x0, mpp, kind.shape[1])):
            x = x0 + c * mpp
            flat2 = (x - f.x) ** 2 + (y - f.y) ** 2
            if flat2 + (z - f.z) ** 2 > reach * reach:
                continue
            depth = (1 - outline_level(x, y, z, f)) * f.radius
            if depth > 0:
                kind[r, c] = _inside(f, x, y, z, depth, flat)
                owner[r, c] = row
                turn[r, c] = np.arctan2(y - f.y, x - f.x)
                continue
            out = -depth
            k = kind[r, c]
            if out > f.theca + f.theca_gap + wrap or k == GLASS or owner[r, c] >= 0 or k == BURSA or k == FAT:
                continue
            radial = np.arctan2(y - f.y, x - f.x)
            # In a tangential cut through the wall, the cells have no common direction.
            steep = flat2 > (z - f.z) ** 2 / 3
            gap = 0.0
            if f.theca_gap > 0 and out > f.theca:
                gap = f.theca_gap * max(0.0, noise(x, y, z, 70.0, f.seed + 2) + 0.1)
            if not flat and steep and out < 1.2:
                kind[r, c] = MEMBRANE
            elif out < f.theca:
                kind[r, c] = THECA
                if steep:
                    turn[r, c] = radial + np.pi / 2
            elif steep and out < f.theca + gap:
                kind[r, c] = LUMEN
            elif steep and not flat and out < f.theca + gap + wrap and (k == STROMA or k == CORTEX or k == MEDULLA):
                share = 1 - (out - f.theca - gap) / wrap
                delta = (radial + np.pi / 2 - turn[r, c] + np.pi / 2) % np.pi - np.pi / 2
                turn[r, c] += share * delta


@compiled
def _inside(f, x, y, z, depth, flat):
    """Kind of tissue at a point inside a follicle."""
    away = (level(x, y, z, f.ox, f.oy, f.oz, f.oocyte, f.oocyte_bumps) - 1) * f.oocyte
    if away < 0:
        return OOPLASM
    if away < f.zona:
        return ZONA
    gap = 0.0
    if f.zona_gap > 0 and not flat and away < f.zona + 3 * f.zona_gap:
        # The oocyte has shrunk away from the cells on one side.
        gap = 2 * f.zona_gap * max(0.0, noise(x, y, z, 1.2 * f.oocyte + 8, f.seed + 1) + 0.15)
    if away < f.zona + gap:
        return LUMEN
    if fluid_level(x, y, z, depth, away, f) > 0:
        return FLUID
    if flat:
        return RIM if depth + away > _CUBOIDAL_UM else FLAT
    if f.loose > 0 and depth > 1.2 * f.layer:
        # Fixation pulls the cells apart, most of all around the oocyte; the basal layer stays intact.
        near = np.exp(-(away - f.zona) / 14)
        if noise(x, y, z, 7.5, f.seed + 7) > 0.95 - f.loose * (0.35 + 0.35 * near):
            return LUMEN
    if f.health:
        if f.health == 1 and depth < 3 + 4 * noise(x, y, z, 40.0, f.seed + 3):
            return LUMEN  # the granulosa detaches from the basement membrane
        return DYING
    if depth < f.layer or away < f.zona + 0.9 * f.layer:
        return RIM
    return GRANULOSA
