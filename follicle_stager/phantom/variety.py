"""Looks of real tissue that a good slide does not have: fluid, oocytes, thecae, clefts, vessels and tubes that vary.

`Look.variety` is the share of follicles and vessels with such a look, and `Look.washed_out` that of oocytes and antra
that are nearly as clear as glass. What each one looks like is a function of its seed and of position, as everything in
a section. Only the drawing changes: outlines, oocytes, fluid and stages are those of the same ovary without variety.
Arguments are as in `painting` and `cells`.
"""

from __future__ import annotations

import numpy as np

from follicle_stager.phantom.cells import stamp
from follicle_stager.phantom.fields import compiled, fluid_level, level, noise, outline_level, uniform, within
from follicle_stager.phantom.tissues import CODE

FLUID, OOPLASM, GRANULOSA, THECA = (CODE[n] for n in ("fluid", "ooplasm", "granulosa", "theca"))
# Thickest theca that the drawing of a window expects, and widest vessel, µm.
_THICKEST_UM, _WIDEST_UM = 50.0, 55.0
# Distance between places where a shed cell may lie in the fluid, µm.
_DEBRIS_UM = 16.0
# Distance between places where a Call-Exner body may lie in the granulosa, µm.
_CALL_EXNER_UM = 34.0


@compiled
def varied_follicles(follicles, share):
    """Follicles with other thecae, clefts and shrinkage gaps: a copy of records of `anatomy.FOLLICLE`.

    ``share`` is the share of the follicles that look other.
    """
    out = follicles.copy()
    for f in out:
        if f.stage <= 1:
            continue
        if uniform(0, 4, 7, f.seed) < share:
            f.theca = min(f.theca * (0.6 + 2.6 * uniform(1, 4, 7, f.seed) ** 1.5), _THICKEST_UM)
        if uniform(2, 4, 7, f.seed) < 0.4 * share:
            f.theca_gap = 2 + 10 * uniform(3, 4, 7, f.seed)
        if uniform(4, 4, 7, f.seed) < 0.4 * share:
            # Not wider than the granulosa, which is drawn inside it.
            f.zona_gap = (1 + 4 * uniform(5, 4, 7, f.seed)) * min(1.0, f.layers * f.layer / 20)
        if f.health == 0 and uniform(6, 4, 7, f.seed) < 0.4 * share:
            f.loose = 1 + 0.5 * uniform(7, 4, 7, f.seed)
    return out


@compiled
def varied_vessels(vessels, share):
    """Vessels of other widths, many full of red cells, or tubes with a high epithelium, as in oviduct and rete.

    The result is a copy of records of `anatomy.VESSEL`.
    """
    out = vessels.copy()
    for v in out:
        if uniform(0, 5, 7, v.seed) < share:
            v.radius = min(v.radius * np.exp(-0.5 + 1.5 * uniform(1, 5, 7, v.seed)), _WIDEST_UM)
            kind = uniform(2, 5, 7, v.seed)
            if kind < 0.5:
                v.content = 1
            elif kind < 0.75:
                v.content = 3 if uniform(3, 5, 7, v.seed) < 0.6 else 4
                v.wall = 8 + 16 * uniform(4, 5, 7, v.seed)
    return out


@compiled
def fill_fluid(f, row, share, washed_out, x0, y0, z, thickness, mpp, kind, owner, nuclear, counter):
    """Draw a follicle's fluid anew: from white to salmon, even, granular or in flocs, shrunken, with shed cells.

    ``nuclear`` and ``counter`` are changed where the fluid is.
    """
    clear = uniform(7, 6, 7, f.seed) < washed_out
    if f.fluid == 0 or (uniform(0, 6, 7, f.seed) >= share and not clear):
        return
    strength = 0.02 + 0.5 * uniform(1, 6, 7, f.seed) ** 1.4
    if clear:
        strength *= 0.1
    rim = 16 * max(0.0, uniform(4, 6, 7, f.seed) - 0.45)
    reach = 1.25 * f.radius
    r0, r1 = within(f.y, reach, y0, mpp, kind.shape[0])
    c0, c1 = within(f.x, reach, x0, mpp, kind.shape[1])
    for r in range(r0, r1):
        y = y0 + r * mpp
        for c in range(c0, c1):
            if kind[r, c] == FLUID and owner[r, c] == row:
                x = x0 + c * mpp
                amount = strength * _clotted(f, x, y, z)
                if rim > 0:
                    amount *= _shrunken(f, x, y, z, rim)
                counter[r, c] = amount
                nuclear[r, c] = 0.07 * amount
    _shed_cells(f, row, x0, y0, z, thickness, mpp, kind, owner, nuclear, counter)


@compiled
def _clotted(f, x, y, z):
    """Relative amount of stain of a fluid at a point, around 1: even, granular or in flocs."""
    amount = 1 + 1.2 * uniform(2, 6, 7, f.seed) ** 2 * noise(x, y, z, 1.7, f.seed + 21)
    flocs = max(0.0, 1.6 * uniform(3, 6, 7, f.seed) - 0.6)
    if flocs > 0:
        size = 6 + 16 * uniform(6, 6, 7, f.seed)
        n = noise(x, y, z, size, f.seed + 22) + 0.5 * noise(x, y, z, 0.35 * size, f.seed + 23)
        amount *= 1 - flocs + flocs * min(max(0.45 + 1.5 * n, 0.0), 1.8)
    return max(amount, 0.0)


@compiled
def _shrunken(f, x, y, z, rim):
    """Factor for fluid that has shrunken away from the cells: 0 in a rim of about ``rim``, µm."""
    depth = (1 - outline_level(x, y, z, f)) * f.radius
    away = (level(x, y, z, f.ox, f.oy, f.oz, f.oocyte, f.oocyte_bumps) - 1) * f.oocyte
    free = rim * max(0.0, 0.7 + noise(x, y, z, 60.0, f.seed + 24))
    return min(max((fluid_level(x, y, z, depth, away, f) - free) / 1.5, 0.0), 1.0)


@compiled
def _shed_cells(f, row, x0, y0, z, thickness, mpp, kind, owner, nuclear, counter):
    """Draw nuclei of cells that were shed into the fluid."""
    shed = max(0.0, uniform(5, 6, 7, f.seed) - 0.5)
    reach = 1.25 * f.radius if shed > 0 else 0.0
    k = int(np.floor(z / _DEBRIS_UM))
    for i in range(int((f.y - reach) / _DEBRIS_UM), int((f.y + reach) / _DEBRIS_UM) + 1):
        for j in range(int((f.x - reach) / _DEBRIS_UM), int((f.x + reach) / _DEBRIS_UM) + 1):
            if uniform(i, j, k, f.seed + 25) > 0.6 * shed:
                continue
            y = ((i + uniform(i, j, k, f.seed + 26)) * _DEBRIS_UM - y0) / mpp
            x = ((j + uniform(i, j, k, f.seed + 27)) * _DEBRIS_UM - x0) / mpp
            inside = 0 <= y < kind.shape[0] and 0 <= x < kind.shape[1]
            if inside and kind[int(y), int(x)] == FLUID and owner[int(y), int(x)] == row:
                a = 1.4 + 1.8 * uniform(i, j, k, f.seed + 28)
                dark = 0.7 + 0.9 * uniform(i, j, k, f.seed + 29)
                stamp(nuclear, counter, x, y, a, a, 0.0, thickness / 2, a, thickness, dark, 0.2, 1.0, mpp)


@compiled
def fill_oocyte(f, row, share, x0, y0, z, mpp, kind, owner, nuclear, counter):
    """Draw a follicle's ooplasm anew: pale or dark, smooth, granular or full of vacuoles."""
    if uniform(0, 8, 7, f.seed) >= share:
        return
    tone = 0.3 + 1.3 * uniform(1, 8, 7, f.seed)
    blue = 0.3 + 1.5 * uniform(2, 8, 7, f.seed)
    grain = 0.8 * uniform(3, 8, 7, f.seed)
    holes = max(0.0, uniform(4, 8, 7, f.seed) - 0.4)
    size = 1.6 + 2.2 * uniform(5, 8, 7, f.seed)
    reach = 1.25 * f.oocyte
    r0, r1 = within(f.oy, reach, y0, mpp, kind.shape[0])
    c0, c1 = within(f.ox, reach, x0, mpp, kind.shape[1])
    for r in range(r0, r1):
        for c in range(c0, c1):
            if kind[r, c] != OOPLASM or owner[r, c] != row:
                continue
            x, y = x0 + c * mpp, y0 + r * mpp
            factor = max(0.0, 1 + grain * noise(x, y, z, 1.5, f.seed + 31))
            if holes > 0:
                hole = (noise(x, y, z, size, f.seed + 32) - 0.75 + 1.2 * holes) * 5
                factor *= 1 - 0.85 * min(max(hole, 0.0), 1.0)
            counter[r, c] *= tone * factor
            nuclear[r, c] *= blue * factor


@compiled
def wash_out(f, row, share, x0, y0, z, z0, thickness, mpp, kind, owner, nuclear, counter):
    """Draw an oocyte as after poor fixation: empty ooplasm with strands, and a granular nucleus that has shrunk.

    The usual nucleus must be there already. Most of these oocytes are in resting follicles.
    """
    if uniform(0, 11, 7, f.seed) >= (share if f.stage <= 2 else 0.3 * share):
        return
    rest = 0.35 * uniform(1, 11, 7, f.seed) ** 2
    strands, mesh = 0.1 + 0.6 * uniform(2, 11, 7, f.seed), 1.5 + 3 * uniform(3, 11, 7, f.seed)
    pink, blue = 0.15 + 0.55 * uniform(4, 11, 7, f.seed), 0.1 + 0.6 * uniform(5, 11, 7, f.seed)
    size = f.nucleus * (0.75 + 0.35 * uniform(6, 11, 7, f.seed))
    ragged, grain = 0.5 * uniform(7, 11, 7, f.seed), 0.4 + 0.9 * uniform(8, 11, 7, f.seed)
    reach = 1.25 * f.oocyte
    r0, r1 = within(f.oy, reach, y0, mpp, kind.shape[0])
    c0, c1 = within(f.ox, reach, x0, mpp, kind.shape[1])
    for r in range(r0, r1):
        for c in range(c0, c1):
            if kind[r, c] != OOPLASM or owner[r, c] != row:
                continue
            x, y = x0 + c * mpp, y0 + r * mpp
            wall = max(0.0, 1 - abs(noise(x, y, z, mesh, f.seed + 51)) / 0.18)
            depth = (1 - level(x, y, z, f.ox, f.oy, f.oz, f.oocyte, f.oocyte_bumps)) * f.oocyte
            edge = max(0.0, 1 - depth / 1.0)
            amount = rest + (1 - rest) * min(1.0, strands * wall + 0.6 * edge)
            d2 = ((x - f.nx) ** 2 + (y - f.ny) ** 2) / max(size * size, 1e-6)
            d2 *= 1 + ragged * noise(x, y, z, 0.5 * size + 1, f.seed + 52)
            inside = 0.0
            if size > 0 and d2 < 1:
                half = size * np.sqrt(1 - d2)
                inside = (min(f.nz + half, z0 + thickness) - max(f.nz - half, z0)) / min(thickness, 2 * size)
                inside = min(max(1.5 * inside, 0.0), 1.0)
            dots = max(0.0, 1 + grain * (noise(x, y, z, 1.4, f.seed + 53) + 0.5 * noise(x, y, z, 3.0, f.seed + 54)))
            nuclear[r, c] = (1 - inside) * min(nuclear[r, c], 0.25) * amount + inside * blue * dots
            counter[r, c] = (1 - inside) * counter[r, c] * amount + inside * pink * dots


@compiled
def whorl_theca(f, row, share, x0, y0, z, mpp, kind, owner, nuclear, counter):
    """Draw a follicle's theca in layers with pale gaps between them."""
    if f.theca < 8 or uniform(0, 9, 7, f.seed) >= share:
        return
    strength = 0.2 + 0.7 * uniform(1, 9, 7, f.seed)
    step = 4 + 6 * uniform(2, 9, 7, f.seed)
    reach = 1.3 * f.radius + f.theca
    r0, r1 = within(f.y, reach, y0, mpp, kind.shape[0])
    c0, c1 = within(f.x, reach, x0, mpp, kind.shape[1])
    for r in range(r0, r1):
        for c in range(c0, c1):
            if kind[r, c] != THECA:
                continue
            x, y = x0 + c * mpp, y0 + r * mpp
            out = (outline_level(x, y, z, f) - 1) * f.radius
            if 0 < out < f.theca:
                wave = np.sin(2 * np.pi * (out / step + 1.2 * noise(x, y, z, 30.0, f.seed + 41)))
                pale = 1 - strength * min(max(1.6 * wave - 0.2, 0.0), 1.0)
                counter[r, c] *= pale
                nuclear[r, c] *= 0.5 + 0.5 * pale


@compiled
def call_exner(f, row, share, x0, y0, z, mpp, kind, owner, nuclear, counter):
    """Draw Call-Exner bodies: small round spaces with pale fluid between the granulosa cells."""
    if f.layers < 3 or f.health > 0 or uniform(0, 10, 7, f.seed) >= 0.5 * share:
        return
    number = 0.1 + 0.5 * uniform(1, 10, 7, f.seed)
    largest = 4 + 6 * uniform(2, 10, 7, f.seed)
    tone = 0.05 + 0.4 * uniform(3, 10, 7, f.seed)
    size, reach = _CALL_EXNER_UM, 1.25 * f.radius
    for k in range(int(np.floor(z / size)) - 1, int(np.floor(z / size)) + 2):
        for i in range(int(np.floor((f.y - reach) / size)), int(np.floor((f.y + reach) / size)) + 1):
            for j in range(int(np.floor((f.x - reach) / size)), int(np.floor((f.x + reach) / size)) + 1):
                if uniform(i, j, k, f.seed + 42) > number:
                    continue
                away = (k + uniform(i, j, k, f.seed + 43)) * size - z
                wide = largest * (0.5 + 0.5 * uniform(i, j, k, f.seed + 44))
                if away * away >= wide * wide:
                    continue
                wide = np.sqrt(wide * wide - away * away)
                y = (i + uniform(i, j, k, f.seed + 45)) * size
                x = (j + uniform(i, j, k, f.seed + 46)) * size
                _space(row, x, y, wide, tone, x0, y0, z, mpp, kind, owner, nuclear, counter, f.seed)


@compiled
def _space(row, x, y, wide, tone, x0, y0, z, mpp, kind, owner, nuclear, counter, seed):
    """Draw one round space of radius ``wide`` at x and y, µm, where the follicle has granulosa."""
    reach = 1.4 * wide
    r0, r1 = within(y, reach, y0, mpp, kind.shape[0])
    c0, c1 = within(x, reach, x0, mpp, kind.shape[1])
    for r in range(r0, r1):
        for c in range(c0, c1):
            if kind[r, c] != GRANULOSA or owner[r, c] != row:
                continue
            px, py = x0 + c * mpp, y0 + r * mpp
            edge = wide * (1 + 0.25 * noise(px, py, z, 6.0, seed + 47)) - np.hypot(px - x, py - y)
            inside = min(max(edge / 1.2, 0.0), 1.0)
            nuclear[r, c] *= 1 - 0.95 * inside
            counter[r, c] += inside * (tone * (1 + 0.4 * noise(px, py, z, 2.0, seed + 48)) - counter[r, c])
