"""Training patches from slides that a person corrected.

The person's outlines are the truth for follicles. Other tissue (stroma, luteal tissue, glass) is not marked. Its
classes come from the network that is to be improved, restricted to those that are not follicles. If a person judged
some sections of a slide as a whole, only these are used, because follicles in the others may not be marked yet; what a
patch shows of the others is ignored.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from shapely import contains_xy, unary_union

from follicle_stager.corrections.sections import judged_whole
from follicle_stager.detection.network import layout, model
from follicle_stager.errors import UserError
from follicle_stager.evaluation.pairs import only_follicles
from follicle_stager.slides import open_slide
from follicle_stager.slides.resample import read_at_mpp
from follicle_stager.stages import Health
from follicle_stager.study import Study
from follicle_stager.study.samples import animals_of
from follicle_stager.tissue import survey
from follicle_stager.training.targets import Seen, Target, filled, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.records import Follicle
    from follicle_stager.slides import Slide
    from follicle_stager.tissue import Overview
    from follicle_stager.training.settings import TrainSettings

#: Classes outside follicles.
_BESIDE = (layout.OUTSIDE, layout.OTHER, layout.CUT, layout.LUTEAL)
#: Width of the ring around an oocyte that is ignored, µm: it contains the zona, which is not outlined.
_ZONA_UM = 5.0
#: Share of patches that are placed on a follicle; the others are placed on any tissue.
_OVER_FOLLICLES = 0.7


@dataclass(frozen=True)
class CorrectedSlide:
    """A slide that a person corrected: its name in the study, file, pixel size (µm/px) and animal."""

    slide_id: str
    source: Path
    mpp: float
    animal: str


def corrected_slides(study: Study) -> list[CorrectedSlide]:
    """Slides of a study on which a person corrected follicles, or judged a section as a whole.

    Raises
    ------
    UserError
        If fewer than two animals have corrected slides; one is held back to see whether training helped.
    """
    animals = animals_of(study.samples_path, study.slide_ids()) if study.samples_path.is_file() else {}
    slides = []
    for slide_id in study.slide_ids():
        if not study.is_edited(slide_id) and judged_area(study, slide_id) is None:
            continue
        source = study.source(slide_id)
        if not source.exists():
            raise UserError(f"{source}: the slide was moved or deleted after the study was made; put it back.")
        scale = study.pixel_size(slide_id).mpp
        slides.append(CorrectedSlide(slide_id, source, scale, animals.get(slide_id, slide_id)))
    count = len({s.animal for s in slides})
    if count < 2:
        raise UserError(
            f"{study.path}: corrected slides of {count} animals, but at least 2 are needed, as one is held back to "
            "see whether training helped. Correct more slides. If a slide has no follicles, mark its sections in the "
            "window as judged whole."
        )
    return slides


def held_out(slides: list[CorrectedSlide], seed: int) -> set[str]:
    """Animals that are held back from training: a quarter of them, at least one."""
    animals = sorted({s.animal for s in slides})
    return set(np.random.default_rng(seed).permutation(animals)[: max(1, len(animals) // 4)].tolist())


def corrected_patches(
    settings: TrainSettings, number: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64], Target]]:
    """Generate an endless stream of patches from a study's corrected slides, without the animals held out.

    Parameters
    ----------
    settings
        Settings of the run, with ``study`` and ``start``.
    number
        Number of the stream; equal numbers give equal patches.

    Yields
    ------
    picture : ndarray
        Image, (y, x, 3) uint8.
    white : ndarray
        Brightness of empty glass, (3,).
    target : Target
        Desired output for it.
    """
    rng = np.random.default_rng([settings.data_seed, 7, number])
    study = Study.open(Path(settings.study))
    slides = corrected_slides(study)
    held_back = held_out(slides, settings.data_seed)
    opened = [_Opened.of(study, s) for s in slides if s.animal not in held_back]
    opened = [own for own in opened if len(own.tissue)]
    base = _base_network(settings.start)
    spread = np.log(1 + settings.mpp_spread)
    while True:
        own = opened[rng.integers(len(opened))]
        mpp = settings.mpp * float(np.exp(rng.uniform(-spread, spread)))
        left, top = (round(v / mpp) for v in own.place(rng, settings.patch_px * mpp))
        picture = read_at_mpp(own.slide, left, top, settings.patch_px, settings.patch_px, mpp)
        answer = base(layout.shown(picture, own.overview.stain.white, own.overview.stain.density_full))
        classes = np.array(_BESIDE, np.uint8)[answer.classes[list(_BESIDE)].argmax(axis=0)]
        seen = []
        for f in own.follicles:
            ring = _ring(f.outline, left, top, mpp)
            if (ring.max(axis=0) < 0).any() or (ring.min(axis=0) > settings.patch_px).any():
                continue
            recognisable = f.oocyte is not None or bool(f.fluid)
            _paint(classes, f, recognisable, left, top, mpp)
            seen.append(Seen(ring, recognisable))
        target = target_of(classes, seen, mpp, smallest_um=settings.smallest_um, largest_um=settings.largest_um)
        target.classes[own.unjudged(left, top, mpp, len(target.classes), layout.FINE)] = layout.IGNORE
        target.centre[own.unjudged(left, top, mpp, len(target.centre), layout.COARSE)] = layout.IGNORE
        yield picture, own.overview.stain.white, target


@dataclass(frozen=True, eq=False)
class _Opened:
    """A slide for training.

    Attributes
    ----------
    slide, overview
        The slide, and its survey.
    follicles
        All its follicles, µm.
    judged
        Sections that a person judged as a whole, µm; None if there are none, then the whole slide is used.
    """

    slide: Slide
    overview: Overview
    follicles: list[Follicle]
    judged: BaseGeometry | None

    @classmethod
    def of(cls, study: Study, own: CorrectedSlide) -> _Opened:
        """Open a slide, and survey it as the study does."""
        slide = open_slide(own.source, mpp=own.mpp)
        follicles = [f.in_um(slide.pixel_size) for f in only_follicles(study.follicles(own.slide_id))]
        judged = judged_area(study, own.slide_id)
        judged = slide.pixel_size.to_um(judged) if judged is not None else None
        return cls(slide, survey(slide, study.config.tissue), follicles, judged)

    @functools.cached_property
    def tissue(self) -> NDArray[np.float64]:
        """Points on which patches may lie, (n, 2), µm."""
        rows, columns = np.nonzero(self.overview.tissue)
        at = np.asarray(np.column_stack([columns, rows]) * self.overview.mpp, np.float64)
        return at if self.judged is None else at[contains_xy(self.judged, *at.T)]

    @functools.cached_property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the follicles on which patches are placed, (n, 2), µm."""
        wanted = [f for f in self.follicles if self.judged is None or self.judged.intersects(f.outline)]
        return np.array([f.outline.centroid.coords[0] for f in wanted]).reshape(-1, 2)

    def place(self, rng: np.random.Generator, side_um: float) -> NDArray[np.float64]:
        """Top-left corner of a patch, µm."""
        if len(self.centres) and rng.random() < _OVER_FOLLICLES:
            middle = self.centres[rng.integers(len(self.centres))] + rng.uniform(-0.4, 0.4, 2) * side_um
        else:
            middle = self.tissue[rng.integers(len(self.tissue))]
        return np.asarray(middle - side_um / 2)

    def unjudged(self, left: int, top: int, mpp: float, side: int, step: int) -> NDArray[np.bool_]:
        """Pixels of a map of a patch that lie outside what was judged, (side, side); ``step`` px of the patch each."""
        if self.judged is None:
            return np.zeros((side, side), bool)
        at = (np.arange(side) + 0.5) * step
        x, y = np.meshgrid((left + at) * mpp, (top + at) * mpp)
        return np.asarray(~contains_xy(self.judged, x, y))


def judged_area(study: Study, slide_id: str) -> BaseGeometry | None:
    """Area of the sections of a slide that a person judged as a whole, level-0 pixels; None if there are none."""
    whole = judged_whole(study.follicles(slide_id), study.sections(slide_id))
    return unary_union([s.outline for s in whole]) if whole else None


@functools.cache
def _base_network(path: str) -> model.Network:
    """Load the network that is to be improved."""
    file = Path(path)
    description = model.describe(file.parent)
    index = [scale.file for scale in description.scales].index(file.name)
    return model.load(file.parent, index)


def _ring(outline: Polygon, left: int, top: int, mpp: float) -> NDArray[np.float64]:
    return np.asarray(np.asarray(outline.exterior.coords)[:-1, :2] / mpp - (left, top))


def _paint(classes: NDArray[np.uint8], f: Follicle, recognisable: bool, left: int, top: int, mpp: float) -> None:
    """Draw a person's follicle into a map of classes."""

    def area(outline: Polygon) -> NDArray[np.bool_]:
        return filled(_ring(outline, left, top, mpp), classes.shape[0], layout.FINE)

    granulosa = layout.DYING if f.health == Health.ATRETIC else layout.GRANULOSA
    classes[area(f.outline)] = granulosa if recognisable else layout.CUT
    for space in f.fluid:
        classes[area(space)] = layout.FLUID
    if f.oocyte is not None:
        classes[area(f.oocyte.buffer(_ZONA_UM)) & (classes == granulosa)] = layout.IGNORE
        classes[area(f.oocyte)] = layout.OOCYTE
        if f.nucleus is not None:
            classes[area(f.nucleus)] = layout.NUCLEUS
