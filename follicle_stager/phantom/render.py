"""Draw a section of an ovary as amounts of stain: first the tissues, then the cells one by one.

Positions are in µm until the last step, so that a section looks the same at any resolution. Everything random
is a function of position (`fields`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.phantom.cells import compose, germinal_vesicle, granulosa, scatter
from follicle_stager.phantom.fields import noise_grid, ovary_grid, texture
from follicle_stager.phantom.painting import (
    paint_corpus_luteum,
    paint_fat,
    paint_follicle,
    paint_ground,
    paint_vessel,
)
from follicle_stager.phantom.tissues import COLUMNS, TISSUES
from follicle_stager.phantom.variety import (
    call_exner,
    fill_fluid,
    fill_oocyte,
    varied_follicles,
    varied_vessels,
    wash_out,
    whorl_theca,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.phantom.anatomy import Ovary
    from follicle_stager.phantom.sectioning import Cut

#: Step of the grid for slowly varying fields, µm.
_COARSE = 6.0
#: Margin drawn around a window and removed again, because its tissue extends into the window.
_MARGIN_UM = 12.0
#: Largest distance of a part of a vessel from the beginning of its straight piece, µm.
_VESSEL_UM = 240.0


@dataclass(frozen=True, eq=False)
class Maps:
    """A window of a section before it is stained.

    Attributes
    ----------
    kind
        Kind of tissue, (y, x) uint8; codes of `tissues.CODE`.
    owner
        Row of the follicle that a pixel belongs to, (y, x) int32, or -1.
    nuclear, counter
        Amounts of hematoxylin, and of eosin or PAS, (y, x) float32.
    """

    kind: NDArray[np.uint8]
    owner: NDArray[np.int32]
    nuclear: NDArray[np.float32]
    counter: NDArray[np.float32]


def draw_window(
    ovary: Ovary,
    cut: Cut,
    *,
    x_um: float,
    y_um: float,
    shape: tuple[int, int],
    mpp: float,
    looks: NDArray[np.float64],
    counterstain: str = "eosin",
    zones: tuple[float, float] = (0.0, 70.0),
    variety: float = 0.0,
    washed_out: float = 0.0,
) -> Maps:
    """Draw a window of a section.

    Parameters
    ----------
    ovary, cut
        The ovary, and the section.
    x_um, y_um
        Top-left corner of the window in the ovary's coordinates, µm.
    shape
        Numbers of rows and columns.
    mpp
        Pixel size, µm/px.
    looks
        Table of tissues, see `tissues.table`.
    counterstain
        Column of the table for the counterstain, ``"eosin"`` or ``"pas"``.
    zones
        Threshold of the interstitial gland, from -1 (everywhere) to 1 (nowhere), and size of its patches, µm.
    variety
        Share of the follicles and vessels with a look of `variety`.
    washed_out
        Share of the oocytes and antra that are nearly as clear as glass, and of the resting follicles with few nuclei.

    Returns
    -------
    Maps
    """
    margin = int(np.ceil(_MARGIN_UM / mpp))
    rows, columns = shape[0] + 2 * margin, shape[1] + 2 * margin
    x0, y0 = x_um - margin * mpp + mpp / 2, y_um - margin * mpp + mpp / 2
    kind = np.zeros((rows, columns), np.uint8)
    owner = np.full((rows, columns), -1, np.int32)
    turn = np.zeros((rows, columns), np.float32)
    z = cut.middle
    _draw_ground(ovary, cut, x0, y0, mpp, kind, turn, zones=zones)
    window = x0, y0, mpp, (rows, columns)
    vessels, f = varied_vessels(ovary.vessels, variety), varied_follicles(ovary.follicles, variety)
    for v in vessels[_is_near(vessels, "x0", "y0", *window, reach=_VESSEL_UM)]:
        paint_vessel(v, x0, y0, z, mpp, kind, turn)
    for c in ovary.corpora_lutea[_is_near(ovary.corpora_lutea, "x", "y", *window)]:
        paint_corpus_luteum(c, x0, y0, z, mpp, kind, turn)
    near = np.flatnonzero(_is_near(f, "x", "y", *window))
    near = near[np.abs(f["z"][near] - z) < 1.3 * f["radius"][near] + f["theca"][near] + 12]
    for i in near:
        paint_follicle(f[i], int(i), x0, y0, z, mpp, kind, owner, turn)
    nuclei = np.zeros((rows, columns), np.float32)
    cells = np.zeros((rows, columns), np.float32)
    slab = cut.z, cut.thickness
    dying = np.append(f["pyknosis"], 0.0)  # the last value is for pixels outside follicles
    for code, tissue in enumerate(TISSUES):
        if (
            looks[code, COLUMNS["pitch"]] > 0
            and tissue not in ("granulosa rim", "flat granulosa")
            and (kind == code).any()
        ):
            scatter(code, looks[code], x0, y0, *slab, mpp, kind, owner, turn, dying, nuclei, cells, ovary.seed + code)
    for i in near:
        granulosa(f[i], looks, washed_out, x0, y0, *slab, mpp, kind, nuclei, cells)
    fine = texture(x0, y0, mpp, rows, columns, 1.3, ovary.seed + 7 * cut.number)
    mid = texture(x0, y0, mpp, rows, columns, 5.0, ovary.seed + 7 * cut.number + 1)
    open_ = texture(x0, y0, mpp, rows, columns, 6.5, ovary.seed + 7 * cut.number + 2)
    matrix = looks.copy()
    matrix[:, COLUMNS["gaps"]] = _gap_level(looks[:, COLUMNS["gaps"]])
    nuclear, counter = compose(kind, nuclei, cells, fine, mid, open_, matrix, COLUMNS[counterstain])
    for i in near:
        fill_fluid(f[i], int(i), variety, washed_out, x0, y0, z, cut.thickness, mpp, kind, owner, nuclear, counter)
        for fill in (fill_oocyte, call_exner, whorl_theca):
            fill(f[i], int(i), variety, x0, y0, z, mpp, kind, owner, nuclear, counter)
        if f[i]["nucleus"] > 0:
            germinal_vesicle(f[i], x0, y0, *slab, mpp, kind, nuclear, counter)
        wash_out(f[i], int(i), washed_out, x0, y0, z, *slab, mpp, kind, owner, nuclear, counter)
    inner = slice(margin, margin + shape[0]), slice(margin, margin + shape[1])
    return Maps(kind[inner], owner[inner], nuclear[inner], counter[inner])


def _draw_ground(
    ovary: Ovary,
    cut: Cut,
    x0: float,
    y0: float,
    mpp: float,
    kind: NDArray[np.uint8],
    turn: NDArray[np.float32],
    *,
    zones: tuple[float, float],
) -> None:
    """Draw the tissue around the bodies: surface, cortex, stroma, gland, medulla, hilum; bursa and fat outside."""
    # Slowly varying fields on a coarse grid that is the same for every window.
    gx, gy = np.floor(x0 / _COARSE) - 1, np.floor(y0 / _COARSE) - 1
    rows = int(kind.shape[0] * mpp / _COARSE) + 5
    columns = int(kind.shape[1] * mpp / _COARSE) + 5
    at, z = (gx * _COARSE, gy * _COARSE), cut.middle
    depth = ovary_grid(*at, z, _COARSE, rows, columns, ovary.axes, ovary.lobes)
    zone = noise_grid(*at, z, _COARSE, rows, columns, zones[1], ovary.seed + 1) - np.float32(zones[0])
    other = noise_grid(*at, z, _COARSE, rows, columns, 55.0, ovary.seed + 2)
    swirl = noise_grid(*at, z, _COARSE, rows, columns, 130.0, ovary.seed + 3) * 3.0
    around = noise_grid(*at, z, _COARSE, rows, columns, 160.0, ovary.seed + 4)
    # Uneven surface, and fine cracks in loose tissue of the dried section.
    rough = 5 * noise_grid(*at, z, _COARSE, rows, columns, 30.0, ovary.seed + 5)
    rough += 7 * noise_grid(*at, z, _COARSE, rows, columns, 90.0, ovary.seed + 6)
    crack = np.abs(noise_grid(*at, 0.0, _COARSE, rows, columns, 110.0, ovary.seed + 31 * cut.number))
    crack[noise_grid(*at, 0.0, _COARSE, rows, columns, 260.0, ovary.seed + 31 * cut.number + 1) < 0.55] = 1
    dy, dx = np.gradient(depth)
    along = np.arctan2(dx, -dy)  # perpendicular to the gradient: along the surface
    near = np.clip(1 - depth / 90, 0, 1) ** 0.5
    c2 = np.cos(2 * along) * near + np.cos(2 * swirl) * (1 - near)
    s2 = np.sin(2 * along) * near + np.sin(2 * swirl) * (1 - near)
    half = float(ovary.axes[:, 3].min())
    stalk = _hilum(ovary, *at, z, rows, columns) + 0.2 * ovary.hilum_um * other
    paint_ground(
        x0 / _COARSE - gx,
        y0 / _COARSE - gy,
        mpp / _COARSE,
        np.stack([depth + rough, zone, other, around, crack, c2, s2, stalk]).astype(np.float32),
        half,
        kind,
        turn,
    )
    paint_fat(x0, y0, z, mpp, kind, ovary.axes, ovary.lobes, ovary.seed + 9)


def _hilum(ovary: Ovary, x0: float, y0: float, z: float, rows: int, columns: int) -> NDArray[np.float64]:
    """Depth in the hilum, a column from the centre outwards, on the coarse grid, µm; negative outside."""
    if not ovary.hilum_um:
        return np.full((rows, columns), -1.0)
    x, y = x0 + _COARSE * np.arange(columns), (y0 + _COARSE * np.arange(rows))[:, None]
    towards = ovary.axes[1, :3]
    along = x * towards[0] + y * towards[1] + z * towards[2]
    aside = np.sqrt(np.maximum(x**2 + y**2 + z**2 - along**2, 0))
    return np.asarray(np.where(along > 0, ovary.hilum_um / 2 - aside, -ovary.hilum_um))


def _is_near(
    bodies: NDArray[np.void],
    x: str,
    y: str,
    x0: float,
    y0: float,
    mpp: float,
    shape: tuple[int, int],
    reach: float | None = None,
) -> NDArray[np.bool_]:
    """Mask of the bodies that may reach into a window."""
    far = reach if reach is not None else 1.6 * bodies["radius"] + 60
    in_x = (bodies[x] > x0 - far) & (bodies[x] < x0 + shape[1] * mpp + far)
    return np.asarray(in_x & (bodies[y] > y0 - far) & (bodies[y] < y0 + shape[0] * mpp + far))


@functools.cache
def _texture_levels() -> NDArray[np.float32]:
    """Sorted values of the texture that makes gaps; the same for every window."""
    return np.asarray(np.sort(texture(0.0, 0.0, 1.0, 256, 256, 6.5, 1).ravel()))


def _gap_level(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level of `fields.texture` that the given share of its values exceeds; out of range for a share of 0."""
    sample = _texture_levels()
    at = sample[np.clip(((1 - share) * sample.size).astype(np.intp), 0, sample.size - 1)]
    return np.asarray(np.where(share > 0, at, 9.0))
