"""One slide, the steps in order: survey, find, settle, measure, stage. No file is written here.

The core knows no screen: a caller hears of progress through a callback, and can stop by raising from it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from shapely import affinity, contains_xy
from shapely.geometry import MultiPolygon, Point, Polygon

from follicle_stager.detection import FoundFollicle, Pass, Sight, passes, resolve_overlaps, visible_stages
from follicle_stager.detection.contents import find_fluid, find_nucleus, refine_oocyte
from follicle_stager.errors import SlideError
from follicle_stager.field import Field
from follicle_stager.geometry import equal_parts
from follicle_stager.morphometry import measure
from follicle_stager.records import Follicle, Section, SlideResult, follicle_id
from follicle_stager.slides.resample import read_at_mpp
from follicle_stager.stages import LADDER, Stage
from follicle_stager.staging import judge
from follicle_stager.tissue import Overview, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from follicle_stager.config import Config
    from follicle_stager.slides import PixelSize, Slide

    #: Left, top, right, bottom, µm.
    Box = tuple[float, float, float, float]
    #: ``progress(step, done, total)``
    Progress = Callable[[str, int, int], None]

G = TypeVar("G", Polygon, MultiPolygon)

# A follicle is found by the window in whose core its centre lies. A centre may move by a fraction of a pixel from
# window to window, so cores overlap by a seam, µm, and doubles are settled with all other overlaps.
SEAM_UM = 5.0
# Glass kept around tissue: the reach of the largest filter.
GLASS_UM = 100.0


def process_slide(
    slide: Slide,
    config: Config,
    *,
    slide_id: str,
    progress: Progress = lambda step, done, total: None,
) -> SlideResult:
    """Find, measure and stage the follicles of one slide.

    Parameters
    ----------
    slide
        An open slide.
    config
        All parameters.
    slide_id
        Name of the slide in the study.
    progress
        Called with the step's name, the number of parts done, and the number in all.

    Returns
    -------
    SlideResult

    Raises
    ------
    SlideError
        If µm/px is unknown, the slide has no tissue, or pixels cannot be read.
    """
    pixel_size = slide.scale
    if pixel_size.mpp > config.detection.max_mpp:
        raise SlideError(
            f"{slide.path}: {pixel_size.mpp:.3g} µm/px is too coarse to tell stages "
            f"(limit {config.detection.max_mpp:g}); scan or export it at a higher resolution."
        )
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    progress("tissue", 0, 1)
    overview = survey(slide, config.tissue)
    progress("tissue", 1, 1)
    seconds["tissue"] = time.perf_counter() - started

    started = time.perf_counter()
    looks = passes(config.detection, pixel_size.mpp)
    claims: list[FoundFollicle] = []
    strangeness = np.full(len(overview.sections), np.nan)
    for number, look in enumerate(looks):

        def windows(done: int, total: int, number: int = number) -> None:
            progress("detection", number * total + done, len(looks) * total)

        seen = search(slide, overview, look, progress=windows)
        claims += seen.claims
        if look.familiar_to is not None:
            strangeness = np.fmax(strangeness, seen.strangeness / look.familiar_to)
    found = resolve_overlaps(claims)
    progress("detection", 1, 1)
    seconds["detection"] = time.perf_counter() - started

    started = time.perf_counter()
    sections = tuple(
        Section(
            section_id=f"{slide_id}_s{order}",
            outline=_to_pixels(outline, pixel_size),
            area_mm2=outline.area / 1e6,
            order=order,
            doubt=_doubt(strange),
        )
        for order, (outline, strange) in enumerate(zip(overview.sections, strangeness, strict=True), start=1)
    )
    measured = strangeness[np.isfinite(strangeness)]
    visible = visible_stages(config.detection, pixel_size.mpp)
    follicles = []
    for index, claim in enumerate(found):
        progress("measuring", index, len(found))
        owner = _section_of(claim.outline, overview.sections)
        if owner is not None:
            place = overview.sections[owner], sections[owner]
            follicles.append(_complete(slide, overview, config, claim, *place, visible))
    progress("measuring", len(found), len(found))
    # Numbers on the overlay count section by section, each from the top.
    order = {section.section_id: section.order for section in sections}
    follicles.sort(key=lambda f: (order[f.section_id], f.outline.centroid.y, f.outline.centroid.x))
    seconds["measuring"] = time.perf_counter() - started
    return SlideResult(
        slide_id=slide_id,
        pixel_size=pixel_size,
        sections=sections,
        follicles=tuple(follicles),
        visible_stages=visible,
        quality=overview.quality | ({"strangeness": round(float(measured.max()), 3)} if len(measured) else {}),
        flags=(
            *overview.flags,
            *(f"section {section.order}: {section.doubt}" for section in sections if section.doubt),
            *slide.notes,
        ),
        seconds={step: round(value, 3) for step, value in seconds.items()},
    )


class Searched(NamedTuple):
    """What one pass saw.

    Attributes
    ----------
    claims
        Overlapping ones included.
    strangeness
        (section,) how far the section's mean texture is from what the detector knows, in SDs; NaN where too little of
        it, or nothing, was measured.
    """

    claims: list[FoundFollicle]
    strangeness: NDArray[np.float64]


def search(
    slide: Slide, overview: Overview, look: Pass, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Searched:
    """One pass over a slide.

    Parameters
    ----------
    slide, overview
        The slide and its survey.
    look
        From `detection.passes`.
    progress
        Called with the number of windows done, and in all.
    """
    cores = list(_tiles(overview, look.core_um))
    found: list[FoundFollicle] = []
    textures = [_Texture(outline) for outline in overview.sections]
    for index, core in enumerate(cores):
        progress(index, len(cores))
        looked_at = _grown(core, look.margin_um)
        window = _around_tissue(overview, _grown(looked_at, look.reach_um))
        field = _read_field(slide, overview, window, look.mpp, align_px=look.align_px)
        sight = look.find(_only(field, looked_at))
        found += [c for c in sight.claims if _inside(c.outline.centroid, core, SEAM_UM)]
        for texture in textures:
            texture.add(sight, field, core)
    return Searched(found, np.array([texture.strangeness for texture in textures]))


class _Texture:
    """Mean texture of a section, gathered window by window."""

    # With fewer tiles than this the mean is chance.
    _LEAST = 16

    def __init__(self, section: MultiPolygon) -> None:
        self._section = section
        self._sum: NDArray[np.float64] = np.zeros(1)
        self._tiles = 0

    def add(self, sight: Sight, field: Field, core: Box) -> None:
        """Take the tiles of a window whose middles lie on the section and in the window's own part."""
        if sight.texture is None:
            return
        _, rows, columns = sight.texture.shape
        step = field.mpp * field.rgb.shape[0] / rows
        x, y = field.x_um + (np.arange(columns) + 0.5) * step, field.y_um + (np.arange(rows) + 0.5) * step
        own = ((y >= core[1]) & (y < core[3]))[:, None] & ((x >= core[0]) & (x < core[2]))
        own[own] = contains_xy(self._section, *(v[own] for v in np.meshgrid(x, y)))
        self._sum = self._sum + sight.texture[:, own].sum(axis=1, dtype=np.float64)
        self._tiles += int(own.sum())

    @property
    def strangeness(self) -> float:
        if self._tiles < self._LEAST:
            return float("nan")
        return float(np.sqrt(((self._sum / self._tiles) ** 2).mean()))


def _doubt(strangeness: float) -> str:
    """Why a section is doubtful; what was not measured is not."""
    if not strangeness > 1:
        return ""
    return (
        "unlike all sections that the detector knows (too coarse, out of focus, another stain or tissue, or a wrong "
        "µm/px?): check its follicles before you count them"
    )


def _tiles(overview: Overview, side_um: float) -> Iterator[Box]:
    """The box around all tissue in as few equal parts as possible; those that hold tissue, as (x0, y0, x1, y1) µm."""
    rows, columns = np.nonzero(overview.tissue)
    for y0, y1 in equal_parts(rows.min(), rows.max() + 1, side_um / overview.mpp):
        for x0, x1 in equal_parts(columns.min(), columns.max() + 1, side_um / overview.mpp):
            if overview.tissue[y0:y1, x0:x1].any():
                yield x0 * overview.mpp, y0 * overview.mpp, x1 * overview.mpp, y1 * overview.mpp


def _around_tissue(overview: Overview, box_um: Box) -> Box:
    """The part of a box that holds its tissue, with glass around it for the filters: most of a slide is glass."""
    left, top, right, bottom = (int(max(0.0, v) / overview.mpp) for v in box_um)
    rows, columns = np.nonzero(overview.tissue[top : bottom + 1, left : right + 1])
    return (
        max(box_um[0], (left + columns.min()) * overview.mpp - GLASS_UM),
        max(box_um[1], (top + rows.min()) * overview.mpp - GLASS_UM),
        min(box_um[2], (left + columns.max() + 1) * overview.mpp + GLASS_UM),
        min(box_um[3], (top + rows.max() + 1) * overview.mpp + GLASS_UM),
    )


def _read_field(slide: Slide, overview: Overview, box_um: Box, mpp: float, *, align_px: int = 1) -> Field:
    """The field of a box, on the slide's fixed grid, cut to the slide; grown to multiples of ``align_px``."""
    limit_x = slide.width * slide.scale.mpp_x
    limit_y = slide.height * slide.scale.mpp_y
    left, top = int(max(0.0, box_um[0]) / mpp), int(max(0.0, box_um[1]) / mpp)
    right, bottom = int(np.ceil(min(limit_x, box_um[2]) / mpp)), int(np.ceil(min(limit_y, box_um[3]) / mpp))
    left, top = left // align_px * align_px, top // align_px * align_px
    width, height = (max(1, -(-n // align_px)) * align_px for n in (right - left, bottom - top))
    rgb = read_at_mpp(slide, left, top, width, height, mpp)
    x_um, y_um = left * mpp, top * mpp
    tissue = overview.tissue_window(x_um, y_um, (height, width), mpp)
    return Field(rgb, tissue, overview.stain, mpp, x_um, y_um)


def _grown(box: Box, by_um: float) -> Box:
    return box[0] - by_um, box[1] - by_um, box[2] + by_um, box[3] + by_um


def _only(field: Field, box_um: Box) -> Field:
    """The field with no tissue outside a box: what lies there is seen and not searched."""
    start = (field.x_um, field.y_um) * 2
    left, top, right, bottom = (max(0, round((a - b) / field.mpp)) for a, b in zip(box_um, start, strict=True))
    tissue = np.zeros_like(field.tissue)
    tissue[top:bottom, left:right] = field.tissue[top:bottom, left:right]
    return replace(field, tissue=tissue)


def _inside(point: Point, core: Box, margin: float) -> bool:
    x0, y0, x1, y1 = core
    return bool(x0 - margin <= point.x < x1 + margin and y0 - margin <= point.y < y1 + margin)


def _section_of(outline: Polygon, sections: list[MultiPolygon]) -> int | None:
    """Index of the section that holds most of an outline; None if it lies on none."""
    shares = [s.intersection(outline).area for s in sections]
    best = int(np.argmax(shares))
    return best if shares[best] > 0.3 * outline.area else None


def _complete(
    slide: Slide,
    overview: Overview,
    config: Config,
    claim: FoundFollicle,
    section_um: MultiPolygon,
    section: Section,
    visible: tuple[Stage, ...],
) -> Follicle:
    """Look inside a found follicle, measure and stage it."""
    x0, y0, x1, y1 = claim.outline.bounds
    window = (x0 - 20, y0 - 20, x1 + 20, y1 + 20)
    field = _read_field(slide, overview, window, config.detection.working_mpp)
    oocyte, nucleus, contrast = claim.oocyte, claim.nucleus, float("nan")
    if claim.fluid is not None:
        fluid = tuple(space for space in claim.fluid if space.area >= config.contents.fluid_min_area_um2)
    else:
        oocyte = refine_oocyte(field, oocyte, config.contents) if oocyte is not None else None
        fluid = find_fluid(field, claim.outline, oocyte, config.contents)
    if oocyte is not None and nucleus is None:
        nucleus, contrast = find_nucleus(field, oocyte, config.contents)
    measurements = measure(
        field,
        claim.outline,
        oocyte=oocyte,
        zona=claim.zona,
        nucleus=nucleus,
        nucleus_contrast=contrast,
        fluid=fluid,
        section=section_um,
        config=config.morphometry,
        dying_fraction=claim.evidence.get("dying", float("nan")),
    )
    verdict = judge(measurements, config.staging)
    if verdict.stage in LADDER and verdict.stage not in visible:
        # It would be counted where the table says that such follicles cannot be seen.
        why = f"looks {verdict.stage.label.lower()}, which cannot be told at {slide.scale.mpp:.2g} µm/px"
        verdict = replace(verdict, stage=Stage.UNSURE, reasons=(*verdict.reasons, why))

    def px(polygon: Polygon | None) -> Polygon | None:
        return _to_pixels(polygon, slide.scale) if polygon is not None else None

    outline = _to_pixels(claim.outline, slide.scale)
    return Follicle(
        id=follicle_id(section.section_id, outline),
        section_id=section.section_id,
        outline=outline,
        oocyte=px(oocyte),
        nucleus=px(nucleus),
        fluid=tuple(_to_pixels(space, slide.scale) for space in fluid),
        score=claim.score,
        measurements={name: float(value) for name, value in asdict(measurements).items()},
        stage_predicted=verdict.stage,
        probabilities=verdict.probabilities,
        reasons=verdict.reasons,
        stage=verdict.stage,
        health=verdict.health,
        countable=verdict.countable,
    )


def _to_pixels(geometry: G, size: PixelSize) -> G:
    """From µm to level-0 pixels."""
    return affinity.scale(geometry, 1 / size.mpp_x, 1 / size.mpp_y, origin=(0, 0))
