"""Search a slide at one scale, window by window, and read a window of it as a `Field`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from shapely import contains_xy

from follicle_stager.field import Field
from follicle_stager.geometry import equal_parts
from follicle_stager.slides.resample import read_at_mpp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon, Point

    from follicle_stager.detection.detectors import Pass
    from follicle_stager.detection.found import FoundCorpusLuteum, FoundFollicle, Sight
    from follicle_stager.slides import Slide
    from follicle_stager.tissue import Overview

    #: Left, top, right, bottom, µm.
    Box = tuple[float, float, float, float]

# Overlap of cores, µm. A follicle belongs to the window whose core contains its centre. The centre may differ by a
# fraction of a pixel between windows, so cores overlap, and duplicates are resolved with all other overlaps.
SEAM_UM = 5.0
# Width of glass kept around tissue, µm: the reach of the largest filter.
GLASS_UM = 100.0
# With fewer tiles of texture than this on a section, their mean is too uncertain.
_LEAST_TILES = 16


class Searched(NamedTuple):
    """The result of one pass.

    Attributes
    ----------
    claims
        All follicles found, including overlapping ones.
    strangeness
        Distance of each section's mean texture from the detector's training data, (section,), in SDs; NaN if too
        little texture was measured.
    corpora_lutea
        All corpora lutea found; some may be found twice, by neighbouring windows.
    """

    claims: list[FoundFollicle]
    strangeness: NDArray[np.float64]
    corpora_lutea: list[FoundCorpusLuteum]


class Seen(NamedTuple):
    """What one window of a pass shows; windows can be looked at in any order, and on different machines.

    Attributes
    ----------
    claims, corpora_lutea
        Those with their centre in the window's core.
    textures
        Sum of the texture over the tiles of each section, with the number of these tiles.
    """

    claims: list[FoundFollicle]
    corpora_lutea: list[FoundCorpusLuteum]
    textures: list[tuple[NDArray[np.float64], int]]


def search(slide: Slide, overview: Overview, look: Pass, *, within: Box | None = None) -> Searched:
    """Run one pass over a slide, or over a part of it.

    Parameters
    ----------
    slide, overview
        The slide and its survey.
    look
        The pass, from `detection.passes`.
    within
        Box in which the centres of follicles must lie; None for the whole slide.
    """
    seen = [look_at(slide, overview, look, core) for core in cores_of(overview, look, within)]
    return gathered(seen, sections=len(overview.sections))


def look_at(slide: Slide, overview: Overview, look: Pass, core: Box) -> Seen:
    """Look at one window: a core from `cores_of`, with the surroundings that follicles and filters reach."""
    looked_at = grown(core, look.margin_um)
    window = _around_tissue(overview, grown(looked_at, look.reach_um))
    field = read_field(slide, overview, window, look.mpp, align_px=look.align_px)
    sight = look.find(_only(field, looked_at))
    return Seen(
        [c for c in sight.claims if _inside(c.outline.centroid, core, SEAM_UM)],
        [c for c in sight.corpora_lutea if _inside(c.outline.centroid, core, SEAM_UM)],
        [_texture(sight, field, core, section) for section in overview.sections],
    )


def gathered(seen: Sequence[Seen], *, sections: int) -> Searched:
    """The result of a pass from all its windows, in the order of `cores_of`."""
    strangeness = np.full(sections, np.nan)
    for section in range(sections):
        total: NDArray[np.float64] = np.zeros(1)
        tiles = 0
        for own, count in (window.textures[section] for window in seen):
            total, tiles = total + own, tiles + count
        if tiles >= _LEAST_TILES:
            strangeness[section] = np.sqrt(((total / tiles) ** 2).mean())
    claims = [claim for window in seen for claim in window.claims]
    return Searched(claims, strangeness, [body for window in seen for body in window.corpora_lutea])


def _texture(sight: Sight, field: Field, core: Box, section: MultiPolygon) -> tuple[NDArray[np.float64], int]:
    """Sum of the texture over the tiles with centres on a section and in the core, and their number."""
    if sight.texture is None:
        return np.zeros(1), 0
    _, rows, columns = sight.texture.shape
    step = field.mpp * field.rgb.shape[0] / rows
    x, y = field.x_um + (np.arange(columns) + 0.5) * step, field.y_um + (np.arange(rows) + 0.5) * step
    own = ((y >= core[1]) & (y < core[3]))[:, None] & ((x >= core[0]) & (x < core[2]))
    own[own] = contains_xy(section, *(v[own] for v in np.meshgrid(x, y)))
    return sight.texture[:, own].sum(axis=1, dtype=np.float64), int(own.sum())


def cores_of(overview: Overview, look: Pass, within: Box | None = None) -> list[Box]:
    """The squares (µm) in which a pass searches a slide, or the part of it within a box."""
    return list(_cores(overview, look.core_um, within))


def _cores(overview: Overview, side_um: float, within: Box | None) -> Iterator[Box]:
    """Split the bounding box of the tissue into as few equal parts as possible, and give those that hold tissue."""
    tissue, mpp = overview.tissue, overview.mpp
    if within is not None:
        left, top, right, bottom = (max(0, int(edge / mpp)) for edge in within)
        tissue = np.zeros_like(tissue)
        tissue[top : bottom + 1, left : right + 1] = overview.tissue[top : bottom + 1, left : right + 1]
    rows, columns = np.nonzero(tissue)
    if not len(rows):
        return
    for y0, y1 in equal_parts(rows.min(), rows.max() + 1, side_um / mpp):
        for x0, x1 in equal_parts(columns.min(), columns.max() + 1, side_um / mpp):
            if tissue[y0:y1, x0:x1].any():
                yield x0 * mpp, y0 * mpp, x1 * mpp, y1 * mpp


def _around_tissue(overview: Overview, box_um: Box) -> Box:
    """Crop a box to its tissue plus a margin of glass for the filters, because most of a slide is glass."""
    left, top, right, bottom = (int(max(0.0, v) / overview.mpp) for v in box_um)
    rows, columns = np.nonzero(overview.tissue[top : bottom + 1, left : right + 1])
    return (
        max(box_um[0], (left + columns.min()) * overview.mpp - GLASS_UM),
        max(box_um[1], (top + rows.min()) * overview.mpp - GLASS_UM),
        min(box_um[2], (left + columns.max() + 1) * overview.mpp + GLASS_UM),
        min(box_um[3], (top + rows.max() + 1) * overview.mpp + GLASS_UM),
    )


def grown(box: Box, by_um: float) -> Box:
    """A box enlarged by ``by_um`` on all sides."""
    return box[0] - by_um, box[1] - by_um, box[2] + by_um, box[3] + by_um


def read_field(slide: Slide, overview: Overview, box_um: Box, mpp: float, *, align_px: int = 1) -> Field:
    """Read a box as a field on the slide's fixed grid, cropped to the slide and grown to multiples of ``align_px``."""
    limit_x, limit_y = slide.size_um
    left, top = int(max(0.0, box_um[0]) / mpp), int(max(0.0, box_um[1]) / mpp)
    right, bottom = int(np.ceil(min(limit_x, box_um[2]) / mpp)), int(np.ceil(min(limit_y, box_um[3]) / mpp))
    left, top = left // align_px * align_px, top // align_px * align_px
    width, height = (max(1, -(-n // align_px)) * align_px for n in (right - left, bottom - top))
    rgb = read_at_mpp(slide, left, top, width, height, mpp)
    x_um, y_um = left * mpp, top * mpp
    tissue = overview.tissue_window(x_um, y_um, (height, width), mpp)
    return Field(rgb, tissue, overview.stain, mpp, x_um, y_um)


def _only(field: Field, box_um: Box) -> Field:
    """The field without tissue outside a box: pixels there are visible to the detector but not searched."""
    start = (field.x_um, field.y_um) * 2
    left, top, right, bottom = (max(0, round((a - b) / field.mpp)) for a, b in zip(box_um, start, strict=True))
    tissue = np.zeros_like(field.tissue)
    tissue[top:bottom, left:right] = field.tissue[top:bottom, left:right]
    return replace(field, tissue=tissue)


def _inside(point: Point, core: Box, margin: float) -> bool:
    x0, y0, x1, y1 = core
    return bool(x0 - margin <= point.x < x1 + margin and y0 - margin <= point.y < y1 + margin)
