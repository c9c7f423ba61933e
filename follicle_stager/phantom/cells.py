"""Compiled loops that draw cells one by one and compute the stain amounts.

Arguments are as in `painting`. A nucleus is a small ellipsoid in three dimensions. The section reaches from ``z0`` to
``z0 + thickness`` and shows the part of the nucleus inside it; the next section shows the rest. ``nuclei``
(hematoxylin) and ``cells`` (cell bodies, 0-1) are (y, x) float32 and changed in place.
"""

from __future__ import annotations

import numpy as np

from follicle_stager.phantom.fields import bumpiness, compiled, flattened, uniform
from follicle_stager.phantom.tissues import CODE, COLUMNS

LUMEN, OOPLASM = CODE["lumen"], CODE["ooplasm"]
GRANULOSA, RIM, FLAT, DYING = (CODE[n] for n in ("granulosa", "granulosa rim", "flat granulosa", "dying granulosa"))
PITCH, NUCLEUS, ELONGATION, DARK, DARK_CV, VESICULAR, CYTOPLASM = (
    COLUMNS[n] for n in ("pitch", "nucleus", "elongation", "dark", "dark_cv", "vesicular", "cytoplasm")
)
BETWEEN, BASOPHIL = COLUMNS["between"], COLUMNS["basophil"]
GAPS, HOLLOW, PYKNOTIC, GRAIN = (COLUMNS[n] for n in ("gaps", "hollow", "pyknotic", "grain"))


@compiled
def stamp(nuclei, cells, x, y, a, b, angle, low, high, thickness, dark, vesicular, body, mpp):
    """Add one nucleus and its cell body.

    ``x, y`` is the centre, px; ``a, b`` are the half axes in the plane, µm; ``low`` is the height of the centre above
    the section's floor, and ``high`` half the height of the nucleus, µm. Hematoxylin increases with the length of the
    path through the nucleus within the section.
    """
    reach = max(a, b) * max(body, 1.0) / mpp + 1.5
    r0, r1 = max(0, int(y - reach)), min(nuclei.shape[0], int(y + reach) + 2)
    c0, c1 = max(0, int(x - reach)), min(nuclei.shape[1], int(x + reach) + 2)
    cos, sin = np.cos(angle) * mpp, np.sin(angle) * mpp
    whole = min(thickness, 1.7 * high)
    for r in range(r0, r1):
        dy = r - y
        for c in range(c0, c1):
            dx = c - x
            u, v = (cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b
            d2 = u * u + v * v
            if d2 < 1:
                half = high * np.sqrt(1 - d2)
                path = min(low + half, thickness) - max(low - half, 0.0)
                if path > 0:
                    amount = dark * min(path / whole, 1.0) * (1 - vesicular * (1 - d2))
                    nuclei[r, c] += amount * (1 - 0.45 * min(nuclei[r, c], 1.0))
            if body > 1 and d2 < body * body:
                edge = (body - np.sqrt(d2)) * min(a, b) * 0.8
                value = min(edge, 1.0)
                if value > cells[r, c]:
                    cells[r, c] = value


@compiled
def _cell(look, i, j, k, seed, x, y, z, angle, z0, thickness, mpp, x0, y0, nuclei, cells, pyknotic):
    """Draw one cell of a tissue at a position in the ovary; its appearance depends only on its indices and the seed."""
    radius = look[NUCLEUS] * (0.84 + 0.32 * uniform(i, j, k, seed + 11))
    dark = look[DARK] * max(0.2, 1 + look[DARK_CV] * 3.4 * (uniform(i, j, k, seed + 12) - 0.5))
    vesicular = min(look[VESICULAR] * (0.4 + 1.2 * uniform(i, j, k, seed + 13)), 0.9)
    tilt = uniform(i, j, k, seed + 14)
    stretch = np.sqrt(1 + (look[ELONGATION] * (0.8 + 0.4 * uniform(i, j, k, seed + 15)) - 1) * (1 - 0.6 * tilt * tilt))
    stretch = max(stretch, 1.0)
    body = look[CYTOPLASM] * (0.88 + 0.28 * uniform(i, j, k, seed + 16))
    if uniform(i, j, k, seed + 17) < max(look[PYKNOTIC], pyknotic):
        radius, dark, vesicular, stretch = 0.6 * radius, 1.75 * dark, 0.0, 1.0
    elif uniform(i, j, k, seed + 18) < look[HOLLOW]:
        dark = 0.0
    angle += 1.1 * (uniform(i, j, k, seed + 19) - 0.5)
    px, py = (x - x0) / mpp, (y - y0) / mpp
    a, b = radius * stretch, radius / stretch
    if dark <= 0:
        a, b = look[NUCLEUS], look[NUCLEUS]
        dark = 0.0
    stamp(nuclei, cells, px, py, a, b, angle, z - z0, b, thickness, dark, vesicular, body, mpp)


@compiled
def scatter(code, look, x0, y0, z0, thickness, mpp, kind, owner, turn, dying, nuclei, cells, seed):
    """Fill a kind of tissue with cells: those points of a jittered lattice in the ovary that lie in the section."""
    pitch, radius = look[PITCH], look[NUCLEUS]
    rise = 0.82 * pitch
    around = 0.35 + 1.1 * (code % 7)
    cos, sin = np.cos(around), np.sin(around)
    width, height = kind.shape[1] * mpp, kind.shape[0] * mpp
    low_u, high_u, low_v, high_v = 1e18, -1e18, 1e18, -1e18
    for corner in range(4):
        x = x0 + (width if corner % 2 else 0.0)
        y = y0 + (height if corner > 1 else 0.0)
        u, v = (cos * x + sin * y) / pitch, (cos * y - sin * x) / pitch
        low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    for k in range(int(np.floor((z0 - radius) / rise)) - 1, int(np.floor((z0 + thickness + radius) / rise)) + 2):
        shift = 0.5 * (k % 2)
        for i in range(int(np.floor(low_u)) - 1, int(np.floor(high_u)) + 2):
            for j in range(int(np.floor(low_v)) - 1, int(np.floor(high_v)) + 2):
                z = (k + 0.9 * (uniform(i, j, k, seed + 2) - 0.5)) * rise
                if z < z0 - 0.8 * radius or z > z0 + thickness + 0.8 * radius:
                    continue
                u = (i + shift + 0.84 * (uniform(i, j, k, seed) - 0.5)) * pitch
                v = (j + shift + 0.84 * (uniform(i, j, k, seed + 1) - 0.5)) * pitch
                x, y = cos * u - sin * v, sin * u + cos * v
                r, c = int(np.floor((y - y0) / mpp + 0.5)), int(np.floor((x - x0) / mpp + 0.5))
                if r < 0 or c < 0 or r >= kind.shape[0] or c >= kind.shape[1] or kind[r, c] != code:
                    continue
                _cell(
                    look,
                    i,
                    j,
                    k,
                    seed,
                    x,
                    y,
                    z,
                    turn[r, c],
                    z0,
                    thickness,
                    mpp,
                    x0,
                    y0,
                    nuclei,
                    cells,
                    dying[owner[r, c]],
                )


@compiled
def granulosa(f, looks, washed_out, x0, y0, z0, thickness, mpp, kind, nuclei, cells):
    """Draw the granulosa cells that lie in rows: on the basement membrane, and as a corona on the oocyte.

    Resting follicles have few, flat cells; transitional ones have cuboidal cells on one side. In the share
    ``washed_out`` of them, fewer nuclei show. The cells between the two rows are drawn by `scatter`.
    """
    if f.health:
        _shell(
            f, looks[DYING], 0, 0.5 * f.layer, 9.5, False, f.pyknosis, x0, y0, z0, thickness, mpp, kind, nuclei, cells
        )
        return
    if f.stage <= 1:
        pitch = 11.0 if f.stage == 0 else 8.0
        if uniform(9, 11, 7, f.seed) < washed_out:
            pitch *= 1 + 1.5 * uniform(10, 11, 7, f.seed)
        _shell(f, looks[FLAT], 0, 0.5 * f.layer, pitch, True, 0.0, x0, y0, z0, thickness, mpp, kind, nuclei, cells)
    look = looks[RIM]
    _shell(f, look, 0, 0.5 * f.layer, look[PITCH], False, 0.0, x0, y0, z0, thickness, mpp, kind, nuclei, cells)
    if f.layers > 1:
        _shell(
            f,
            look,
            1,
            f.zona + 0.45 * f.layer,
            look[PITCH],
            False,
            0.0,
            x0,
            y0,
            z0,
            thickness,
            mpp,
            kind,
            nuclei,
            cells,
        )


@compiled
def _shell(f, look, which, offset, pitch, flat, pyknotic, x0, y0, z0, thickness, mpp, kind, nuclei, cells):
    """Draw a row of cells on a closed surface, ``offset`` inside the outline (0) or outside the oocyte (1)."""
    cx, cy, cz, radius = f.x, f.y, f.z, f.radius - offset
    if which == 1:
        cx, cy, cz, radius = f.ox, f.oy, f.oz, f.oocyte + offset
    seed = f.seed + 101 * (which + 1)
    count = max(6, int(4 * np.pi * radius * radius / (0.86 * pitch * pitch)))
    size = look[NUCLEUS]
    golden = np.pi * (1 + 5**0.5)
    wobble = pitch / max(radius, 1.0)
    for n in range(count):
        h = 1 - 2 * (n + 0.5 + 0.8 * (uniform(n, 1, which, seed) - 0.5)) / count
        h = min(max(h, -1.0), 1.0)
        ring = np.sqrt(max(1 - h * h, 0.0))
        around = golden * (n + 0.5) + 0.7 * wobble * (uniform(n, 2, which, seed) - 0.5) / max(ring, 0.05)
        dx, dy, dz = ring * np.cos(around), ring * np.sin(around), h
        factor = flattened(dx, dy, dz, f) if which == 0 else bumpiness(dx, dy, dz, f.oocyte_bumps)
        base = f.radius if which == 0 else f.oocyte
        inwards = offset
        if f.stage <= 1:
            # Centre of the only layer, which is thinner where the oocyte lies nearer to the outline.
            inwards -= 0.5 * ((f.ox - f.x) * dx + (f.oy - f.y) * dy + (f.oz - f.z) * dz)
        far = base * factor + (-inwards if which == 0 else offset) + 2.2 * (uniform(n, 3, which, seed) - 0.5)
        z = cz + far * dz
        if z < z0 - 0.8 * size or z > z0 + thickness + 0.8 * size:
            continue
        x, y = cx + far * dx, cy + far * dy
        r, c = int(np.floor((y - y0) / mpp + 0.5)), int(np.floor((x - x0) / mpp + 0.5))
        if r < 0 or c < 0 or r >= kind.shape[0] or c >= kind.shape[1]:
            continue
        k = kind[r, c]
        if (k != FLAT) if flat else (k != RIM and k != GRANULOSA and k != DYING):
            continue
        angle = np.arctan2(dy, dx) + (np.pi / 2 if flat else 0.0)
        _cell(look, n, which, 0, seed, x, y, z, angle, z0, thickness, mpp, x0, y0, nuclei, cells, pyknotic)


@compiled
def compose(kind, nuclei, cells, fine, mid, open_, looks, second):
    """Combine matrix and nuclei to amounts of nuclear stain and counterstain, (y, x) float32 each."""
    nuclear = np.empty(kind.shape, np.float32)
    counter = np.empty(kind.shape, np.float32)
    for r in range(kind.shape[0]):
        for c in range(kind.shape[1]):
            k = kind[r, c]
            look = looks[k]
            n = nuclei[r, c]
            if k <= LUMEN:
                # Nuclei at the border of a tissue extend slightly over it.
                nuclear[r, c] = 0.5 * n
                counter[r, c] = 0.05 * min(cells[r, c], 1.0) * min(1.0, n)
                continue
            amount = 1 + look[GRAIN] * (0.6 * fine[r, c] + 0.9 * mid[r, c])
            if look[PITCH] > 0:
                amount *= look[BETWEEN] + (1 - look[BETWEEN]) * cells[r, c]
            gap = min(max((open_[r, c] - look[GAPS]) * 5.0, 0.0), 1.0)
            amount *= 1 - gap * (1 - min(1.0, 2 * n))
            amount = max(amount, 0.0)
            chromatin = 1 + 0.22 * fine[r, c]
            nuclear[r, c] = look[BASOPHIL] * amount * (1 - 0.5 * min(n, 1.0)) + n * chromatin
            counter[r, c] = look[second] * amount * (1 - 0.55 * min(n, 1.0))
    return nuclear, counter


@compiled
def germinal_vesicle(f, x0, y0, z0, thickness, mpp, kind, nuclear, counter):
    """Draw the oocyte's nucleus: a pale vesicle with a fine rim and one to three nucleoli."""
    if f.nz + f.nucleus < z0 or f.nz - f.nucleus > z0 + thickness:
        return
    reach = f.nucleus / mpp + 2
    cy, cx = (f.ny - y0) / mpp, (f.nx - x0) / mpp
    pale = 0.16 + 0.30 * uniform(1, 2, 3, f.seed)
    count = 1 + int(2.6 * uniform(2, 2, 3, f.seed))
    for r in range(max(0, int(cy - reach)), min(kind.shape[0], int(cy + reach) + 2)):
        for c in range(max(0, int(cx - reach)), min(kind.shape[1], int(cx + reach) + 2)):
            if kind[r, c] != OOPLASM:
                continue
            dx, dy = (c - cx) * mpp, (r - cy) * mpp
            d2 = dx * dx + dy * dy
            if d2 >= f.nucleus * f.nucleus:
                continue
            half = np.sqrt(f.nucleus * f.nucleus - d2)
            top, floor = min(f.nz + half, z0 + thickness), max(f.nz - half, z0)
            share = (top - floor) / thickness
            if share <= 0:
                continue
            # Where the membrane is oblique to the section, light passes through more of it.
            rim = 0.0
            if share < 1 or half < 0.45 * f.nucleus:
                rim = 0.20
            nuclear[r, c] += share * (pale - 0.5 * nuclear[r, c]) + rim * min(share, 1.0)
            counter[r, c] *= 1 - 0.45 * share
    for n in range(count):
        size = (0.16 + 0.10 * uniform(n, 5, 3, f.seed)) * f.nucleus
        far = 0.62 * f.nucleus * uniform(n, 6, 3, f.seed)
        h, around = 2 * uniform(n, 7, 3, f.seed) - 1, 2 * np.pi * uniform(n, 8, 3, f.seed)
        ring = np.sqrt(1 - h * h)
        x, y, z = f.nx + far * ring * np.cos(around), f.ny + far * ring * np.sin(around), f.nz + far * h
        if z + size < z0 or z - size > z0 + thickness:
            continue
        stamp(
            nuclear,
            counter,
            (x - x0) / mpp,
            (y - y0) / mpp,
            size,
            size,
            0.0,
            z - z0,
            size,
            thickness,
            0.85,
            0.0,
            1.0,
            mpp,
        )
