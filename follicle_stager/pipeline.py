"""Process one slide: survey, find, resolve overlaps, measure, stage. No file is written here.

This module has no user interface: it reports progress through a callback, which can raise an exception to stop it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from shapely.geometry import Point, Polygon

from follicle_stager.config import Config
from follicle_stager.detection import FoundFollicle, passes, resolve_overlaps, visible_stages, without_twins
from follicle_stager.detection.contents import find_fluid, find_nucleus, refine_oocyte
from follicle_stager.detection.outlines import trace_around
from follicle_stager.detection.search import Searched, cores_of, gathered, grown, look_at, read_field, search
from follicle_stager.errors import SlideError, TooManyWindows
from follicle_stager.matching import overlaps, valid
from follicle_stager.morphometry import measure, measure_outline
from follicle_stager.records import Assessment, Follicle, Section, Shape, SlideResult
from follicle_stager.ruler import doubts, nuclear_mpp
from follicle_stager.slides import slide_name
from follicle_stager.stages import LADDER, Stage
from follicle_stager.staging import stage_follicle
from follicle_stager.tissue import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shapely.geometry import MultiPolygon

    from follicle_stager.detection import Pass
    from follicle_stager.detection.found import FoundCorpusLuteum
    from follicle_stager.detection.search import Box, Seen
    from follicle_stager.slides import Slide

    #: ``progress(step, done, total)``.
    Progress = Callable[[str, int, int], None]

# Smallest IoU at which a drawn outline gets the oocyte and fluid of a claim.
_SAME = 0.5
_NOT_SEARCHED = "not searched as a whole: contains only follicles that a person added or searched for"
# Margin around a searched area: claims in it can win over overlapping claims inside.
_AROUND_UM = 150.0
# Reach of an outline that is traced around a point, µm.
_TRACED_UM = 280.0


def process_slide(
    slide: Slide,
    config: Config | None = None,
    *,
    slide_id: str = "",
    find: bool = True,
    seen: Sequence[Seen] | None = None,
    most_windows: int | None = None,
    progress: Progress = lambda step, done, total: None,
) -> SlideResult:
    """Find, measure and stage the follicles of one slide.

    Parameters
    ----------
    slide
        Open slide.
    config
        All parameters; if None, the defaults.
    slide_id
        Name of the slide in the study; if empty, the name of its file.
    find
        Whether to search for follicles. If False, only the sections are found, as a start for manual work; they are
        then marked as doubtful.
    seen
        What the windows of `Examiner.windows` show, if they have been looked at elsewhere.
    most_windows
        Largest number of windows to search here; None without a limit.
    progress
        Function that is called with the name of the step, the number of finished parts, and the number of all parts.

    Returns
    -------
    SlideResult
        Sections and follicles of the slide.

    Raises
    ------
    SlideError
        If µm/px is unknown or too coarse, the slide has no tissue, or pixels cannot be read.
    TooManyWindows
        If there are more windows than ``most_windows``; nothing was searched yet.
    """
    config, slide_id = config or Config(), slide_id or slide_name(slide.path)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    progress("tissue", 0, 1)
    examiner = Examiner(slide, config, slide_id=slide_id)
    progress("tissue", 1, 1)
    seconds["tissue"] = time.perf_counter() - started

    started = time.perf_counter()
    searched = Searched([], np.full(len(examiner.sections), np.nan), [])
    if find and seen is not None:
        searched = examiner.gathered(examiner.windows(), seen)
    elif find:
        if most_windows is not None and (windows := len(examiner.windows())) > most_windows:
            raise TooManyWindows(windows)
        searched = examiner.search(progress=lambda done, total: progress("detection", done, total))
    # From the top down, so that neighbours need the same decoded blocks.
    found = sorted(resolve_overlaps(searched.claims), key=lambda claim: claim.outline.centroid.y)
    strangeness = searched.strangeness
    progress("detection", 1, 1)
    seconds["detection"] = time.perf_counter() - started

    started = time.perf_counter()
    follicles = []
    for index, claim in enumerate(found):
        progress("measuring", index, len(found))
        follicle = examiner.assessed(claim)
        if follicle is not None:
            follicles.append(follicle)
    follicles += [body for body in map(examiner.corpus_luteum, searched.corpora_lutea) if body is not None]
    progress("measuring", len(found), len(found))
    by_nuclei = examiner.mpp_by_nuclei() if find else [float("nan")] * len(examiner.sections)
    reasons = [
        "; ".join(filter(None, (_doubt(strange), _scale_doubt(slide.pixel_size.mpp, mpp)))) if find else _NOT_SEARCHED
        for strange, mpp in zip(strangeness, by_nuclei, strict=True)
    ]
    sections = [replace(s, doubt=doubt) for s, doubt in zip(examiner.sections, reasons, strict=True)]
    # Number the follicles on the overlay section by section, each from the top; then the corpora lutea.
    order = {section.section_id: section.order for section in sections}
    follicles.sort(
        key=lambda f: (
            f.stage is Stage.CORPUS_LUTEUM,
            order[f.section_id],
            f.outline.centroid.y,
            f.outline.centroid.x,
        )
    )
    seconds["measuring"] = time.perf_counter() - started
    strangest = {"strangeness": float(np.nanmax(strangeness))} if np.isfinite(strangeness).any() else {}
    ruler = {"mpp_by_nuclei": float(np.nanmedian(by_nuclei))} if np.isfinite(by_nuclei).any() else {}
    overview = examiner.overview
    return SlideResult(
        slide_id=slide_id,
        pixel_size=slide.pixel_size,
        sections=tuple(sections),
        follicles=tuple(follicles),
        visible_stages=examiner.visible_stages,
        quality=overview.quality | {name: round(value, 3) for name, value in (strangest | ruler).items()},
        flags=(
            *overview.flags,
            *(f"section {section.order}: {section.doubt}" for section in sections if section.doubt),
            *slide.notes,
        ),
        seconds={step: round(value, 3) for step, value in seconds.items()},
    )


class SearchWindow(NamedTuple):
    """A window in which a slide is searched: number of the pass, and the square of the centres, µm."""

    number: int
    core: Box


class Examiner:
    """A slide with known tissue and stains, which can be searched and measured as a whole or in part.

    Parameters
    ----------
    slide
        Open slide.
    config
        All parameters.
    slide_id
        Name of the slide in the study.

    Attributes
    ----------
    overview
        Survey of the slide, µm.
    sections
        Sections of the slide, in level-0 pixels.
    visible_stages
        Stages that can be recognized at this resolution.

    Raises
    ------
    SlideError
        If µm/px is unknown or too coarse, the slide has no tissue, or pixels cannot be read.
    """

    def __init__(self, slide: Slide, config: Config, *, slide_id: str) -> None:
        if slide.pixel_size.mpp > config.detection.max_mpp:
            raise SlideError(
                f"{slide.path}: {slide.pixel_size.mpp:.3g} µm/px is too coarse for staging "
                f"(limit {config.detection.max_mpp:g}); scan or export it at a higher resolution."
            )
        self._slide, self._config = slide, config
        self.overview = survey(slide, config.tissue)
        self.visible_stages = visible_stages(config, slide.pixel_size.mpp)
        self.sections = tuple(
            Section(f"{slide_id}_s{order}", slide.pixel_size.to_px(outline), outline.area / 1e6, order)
            for order, outline in enumerate(self.overview.sections, start=1)
        )

    @cached_property
    def _looks(self) -> list[Pass]:
        """The passes of the search."""
        return passes(self._config, self._slide.pixel_size.mpp)

    def search(
        self, *, within: Box | None = None, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Searched:
        """All that is seen (in a box, µm), including overlapping claims; the limit of the strangeness is 1."""
        windows = self.windows(within=within)
        seen = []
        for index, window in enumerate(windows):
            progress(index, len(windows))
            seen.append(self.look(window))
        return self.gathered(windows, seen)

    def windows(self, *, within: Box | None = None) -> list[SearchWindow]:
        """The windows in which the slide is searched (in a box, µm)."""
        return [
            SearchWindow(number, core)
            for number, look in enumerate(self._looks)
            for core in cores_of(self.overview, look, within)
        ]

    def look(self, window: SearchWindow) -> Seen:
        """What one window shows."""
        return look_at(self._slide, self.overview, self._looks[window.number], window.core)

    def gathered(self, windows: Sequence[SearchWindow], seen: Sequence[Seen]) -> Searched:
        """What all windows show, see `search`."""
        claims: list[FoundFollicle] = []
        lutea: list[FoundCorpusLuteum] = []
        strangeness = np.full(len(self.sections), np.nan)
        for number, look in enumerate(self._looks):
            own = [s for window, s in zip(windows, seen, strict=True) if window.number == number]
            found = gathered(own, sections=len(self.sections))
            claims += found.claims
            lutea += found.corpora_lutea
            if look.familiar_to is not None:
                strangeness = np.fmax(strangeness, found.strangeness / look.familiar_to)
        return Searched(claims, strangeness, without_twins(lutea))

    def mpp_by_nuclei(self) -> list[float]:
        """µm/px that the nuclei of each section suggest; NaN where they cannot be measured."""
        return [nuclear_mpp(self._slide, self.overview, section) for section in self.overview.sections]

    def within(
        self, area: Polygon, *, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[Follicle]:
        """Find the follicles and corpora lutea with their centre in an area (level-0 pixels)."""
        area_um = self._slide.pixel_size.to_um(area)
        seen = self.search(within=grown(area_um.bounds, _AROUND_UM), progress=progress)
        found = [self.assessed(c) for c in resolve_overlaps(seen.claims) if area_um.contains(c.outline.centroid)]
        lutea = [self.corpus_luteum(c) for c in seen.corpora_lutea if area_um.contains(c.outline.centroid)]
        return [f for f in (*found, *lutea) if f is not None]

    def proposed(self, x: float, y: float) -> Follicle | None:
        """The most probable follicle around a point (level-0 pixels), however improbable; None if there is none."""
        at = self._slide.pixel_size.to_um(Point(x, y))
        around = [c for c in self._claims_at((at.x, at.y, at.x, at.y)) if c.outline.contains(at)]
        best = max(around, key=lambda c: c.score, default=None)
        return self.assessed(best) if best is not None else None

    def traced(
        self,
        x: float,
        y: float,
        *,
        inside: Sequence[tuple[float, float]] = (),
        outside: Sequence[tuple[float, float]] = (),
    ) -> Polygon:
        """The most likely outline around a point, however faint; see `trace_around`. All in level-0 pixels."""
        size, config = self._slide.pixel_size, self._config
        x_um, y_um = size.xy_um(x, y)
        hints = [[size.xy_um(*place) for place in places] for places in (inside, outside)]
        window = (x_um - _TRACED_UM, y_um - _TRACED_UM, x_um + _TRACED_UM, y_um + _TRACED_UM)
        field = read_field(self._slide, self.overview, window, config.detection.working_mpp)
        outline: Polygon = size.to_px(trace_around(field, x_um, y_um, inside_um=hints[0], outside_um=hints[1]))
        return outline

    def measured(self, outline: Polygon) -> Follicle | None:
        """Measure and stage the content of an outline (level-0 pixels), for example one that a person drew.

        Oocyte and fluid are taken from the claim with the largest overlap, if this is large enough.

        Returns
        -------
        Follicle
            Follicle with exactly this outline, as if a run had found it; None if it lies on no section.
        """
        area = valid(self._slide.pixel_size.to_um(outline))
        area = max(getattr(area, "geoms", [area]), key=lambda part: part.area)
        claims = self._claims_at(area.bounds)
        likeness = overlaps([c.outline for c in claims], [area])[:, 0] if claims else np.zeros(1)
        claim = FoundFollicle(area, None, 1.0)  # a person decided that it is a follicle
        if likeness.max() >= _SAME:
            claim = _clipped(claims[int(likeness.argmax())], area)
        found = self.assessed(claim)
        if found is None:
            return None
        shape, said = replace(found.shape, outline=outline), replace(found.assessment, score=1.0)
        return Follicle.predicted(found.section_id, shape, said)

    def assessed(self, claim: FoundFollicle) -> Follicle | None:
        """Examine, measure and stage a claim; None if it lies on no section."""
        owner = _section_of(claim.outline, self.overview.sections)
        if owner is None:
            return None
        x0, y0, x1, y1 = claim.outline.bounds
        window = (x0 - 20, y0 - 20, x1 + 20, y1 + 20)
        slide, config = self._slide, self._config
        field = read_field(slide, self.overview, window, config.detection.working_mpp)
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
            section=self.overview.sections[owner],
            config=config.morphometry,
            dying_fraction=claim.evidence.get("dying", float("nan")),
        )
        said = stage_follicle(measurements, config.staging)
        if said.stage in LADDER and said.stage not in self.visible_stages:
            # Otherwise it would be counted although the table says that this stage cannot be seen.
            why = f"looks {said.stage.label.lower()}, which cannot be recognized at {slide.pixel_size.mpp:.2g} µm/px"
            said = replace(said, stage=Stage.UNSURE, reasons=(*said.reasons, why))
        to_px = slide.pixel_size.to_px
        shape = Shape(
            to_px(claim.outline),
            to_px(oocyte) if oocyte is not None else None,
            to_px(nucleus) if nucleus is not None else None,
            tuple(to_px(space) for space in fluid),
        )
        return Follicle.predicted(self.sections[owner].section_id, shape, replace(said, score=claim.score))

    def corpus_luteum(self, found: FoundCorpusLuteum) -> Follicle | None:
        """Measure a corpus luteum; None if it lies on no section."""
        owner = _section_of(found.outline, self.overview.sections)
        if owner is None:
            return None
        measured = measure_outline(found.outline, self.overview.sections[owner])
        said = Assessment.of_corpus_luteum(measured, found.score)
        return Follicle.predicted(
            self.sections[owner].section_id, Shape(self._slide.pixel_size.to_px(found.outline)), said
        )

    def _claims_at(self, box: Box) -> list[FoundFollicle]:
        """All claims, whatever their score, that could reach into a box, µm."""
        everything = self._config.with_options(detection={"min_score": 0.0})
        return [
            claim
            for look in passes(everything, self._slide.pixel_size.mpp)
            for claim in search(self._slide, self.overview, look, within=grown(box, look.margin_um)).claims
        ]


def _doubt(strangeness: float) -> str:
    """Reason why a section is doubtful; empty if it is not, or if the strangeness is NaN."""
    if not strangeness > 1:
        return ""
    return (
        "differs from all sections that the detector knows (too coarse, out of focus, another stain or tissue, or a "
        "wrong µm/px?): check its follicles before you count them"
    )


def _scale_doubt(stated: float, by_nuclei: float) -> str:
    """Reason why the stated µm/px is doubtful; empty if it is not, or if nuclei could not be measured."""
    if not doubts(by_nuclei / stated):
        return ""
    return (
        f"µm/px is {stated:.3g}, but the size of its nuclei suggests about {by_nuclei:.2g}: check µm/px (--mpp) before "
        "you count its follicles"
    )


def _clipped(claim: FoundFollicle, outline: Polygon) -> FoundFollicle:
    """A claim in another outline, with the parts of its contents that lie inside."""

    def inside(polygon: Polygon | None) -> Polygon | None:
        shared = polygon.intersection(outline) if polygon is not None else Polygon()
        return max(
            (p for p in getattr(shared, "geoms", [shared]) if isinstance(p, Polygon) and p.area),
            key=lambda p: p.area,
            default=None,
        )

    fluid = None if claim.fluid is None else tuple(p for p in map(inside, claim.fluid) if p is not None)
    return replace(
        claim,
        outline=outline,
        oocyte=inside(claim.oocyte),
        nucleus=inside(claim.nucleus),
        zona=inside(claim.zona),
        fluid=fluid,
    )


def _section_of(outline: Polygon, sections: list[MultiPolygon]) -> int | None:
    """Index of the section that contains most of an outline; None if it lies on no section."""
    shares = [s.intersection(outline).area for s in sections]
    best = int(np.argmax(shares))
    return best if shares[best] > 0.3 * outline.area else None
