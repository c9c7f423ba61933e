"""The nouns that all rooms speak: Follicle, Section, SlideResult.

Outlines are shapely polygons in level-0 pixels (x right, y down); measurements are µm.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shapely import affinity

from follicle_stager.stages import Countable, Health, Stage, Status

if TYPE_CHECKING:
    from shapely.geometry import MultiPolygon, Polygon

    from follicle_stager.slides import PixelSize

NOT_OVARY = "no ovary"
_NAMESPACE = uuid.UUID("6f1c1f0e-7a51-5b0e-9a55-0f0111c1e001")


@dataclass(frozen=True)
class Follicle:
    """One follicle: where it is, what was measured, and which stage it was given and why.

    ``stage_predicted``, ``probabilities`` and ``reasons`` are what the software said and are never
    overwritten; ``stage``, ``health``, ``countable`` and ``status`` are what stands now.
    """

    id: str
    section_id: str
    outline: Polygon
    oocyte: Polygon | None = None
    nucleus: Polygon | None = None
    fluid: tuple[Polygon, ...] = ()
    score: float = 1.0
    measurements: dict[str, float] = field(default_factory=dict)
    stage_predicted: Stage = Stage.UNSURE
    probabilities: dict[Stage, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    stage: Stage = Stage.UNSURE
    health: Health = Health.UNKNOWN
    countable: Countable = Countable.UNKNOWN
    status: Status = Status.PREDICTED
    edited_by: str | None = None
    edited_at: str | None = None

    def scaled(self, x: float, y: float) -> Follicle:
        """The follicle in other units: outlines times ``x`` and ``y``. Measurements are µm and stay."""

        def area(polygon: Polygon) -> Polygon:
            return affinity.scale(polygon, x, y, origin=(0, 0))

        return replace(
            self,
            outline=area(self.outline),
            oocyte=area(self.oocyte) if self.oocyte is not None else None,
            nucleus=area(self.nucleus) if self.nucleus is not None else None,
            fluid=tuple(area(space) for space in self.fluid),
        )


@dataclass(frozen=True)
class Section:
    """One section of one ovary on a slide, or a part that a person cut out of one.

    Attributes
    ----------
    section_id
        Unique in the study: slide and order, ``_x1`` and so on behind it where it was cut out.
    outline
        Level-0 pixels; a torn section has several parts.
    area_mm2
        Tissue area.
    order
        Place on the slide in reading order, from 1; a part that was cut out has that of what it was cut out of.
    included
        Whether it is counted; ``reason`` says why not. `NOT_OVARY` says that it was never part of what is sampled;
        of any other reason it is tissue that could not be looked at.
    doubt
        Why its follicles should be looked at before they are counted.
    animal, ovary
        Whose it is, where a person said so; empty leaves it to the sample sheet.
    """

    section_id: str
    outline: MultiPolygon
    area_mm2: float
    order: int
    included: bool = True
    reason: str = ""
    doubt: str = ""
    animal: str = ""
    ovary: str = ""

    @property
    def place(self) -> tuple[int, int, str]:
        """To sort by: reading order, and what was cut out behind what it was cut out of."""
        return self.order, len(self.section_id), self.section_id


@dataclass(frozen=True)
class SlideResult:
    """All that one run found on one slide.

    Attributes
    ----------
    visible_stages
        Stages that the slide's resolution and the detector can show. The others are not available for it,
        which is not the same as zero.
    quality, flags
        From `tissue.survey`, and ``strangeness``: of the strangest section, where 1 is the limit.
    seconds
        Time per step.
    """

    slide_id: str
    pixel_size: PixelSize
    sections: tuple[Section, ...]
    follicles: tuple[Follicle, ...]
    visible_stages: tuple[Stage, ...]
    quality: dict[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


def follicle_id(section_id: str, outline: Polygon) -> str:
    """A UUID that depends on section and place only, so that equal runs give equal ids."""
    x, y = outline.centroid.coords[0]
    return str(uuid.uuid5(_NAMESPACE, f"{section_id} {x:.1f} {y:.1f} {outline.area:.0f}"))
