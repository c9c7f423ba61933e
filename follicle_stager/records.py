"""The nouns of the library: Follicle and its parts, Section, SlideResult.

A follicle has three parts that never mix. The *prediction* is what a run found, and nothing changes it. The *shape* is
the outline that stands, with the oocyte, nucleus and fluid inside. The *judgement* is the stage, health and so on that
stand. If a person draws another outline, what is measured in it is a record of its own (``remeasured``), beside the
prediction: how well the software did can always be worked out from what it said first.

Outlines are shapely polygons in level-0 pixels (x right, y down); measurements are in µm.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from follicle_stager.stages import LADDER, Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry import MultiPolygon, Polygon

    from follicle_stager.measurements import Measurements
    from follicle_stager.pixel_size import PixelSize

NOT_OVARY = "no ovary"
_NAMESPACE = uuid.UUID("6f1c1f0e-7a51-5b0e-9a55-0f0111c1e001")


@dataclass(frozen=True)
class Shape:
    """Where a follicle is, in level-0 pixels.

    Attributes
    ----------
    outline
        Outer border of the granulosa.
    oocyte, nucleus
        Oocyte and its nucleus; None where the section does not show them.
    fluid
        Fluid spaces.
    """

    outline: Polygon
    oocyte: Polygon | None = None
    nucleus: Polygon | None = None
    fluid: tuple[Polygon, ...] = ()

    def to_um(self, size: PixelSize) -> Shape:
        """The shape in µm."""
        return Shape(
            size.to_um(self.outline),
            size.to_um(self.oocyte) if self.oocyte is not None else None,
            size.to_um(self.nucleus) if self.nucleus is not None else None,
            tuple(size.to_um(space) for space in self.fluid),
        )


@dataclass(frozen=True)
class Assessment:
    """What the software says about one shape.

    Attributes
    ----------
    stage
        Stage; may be ``unsure``.
    probabilities
        Probability of each stage of the ladder; they sum to 1. They put cases in order, and are not calibrated.
    reasons
        What was seen, in words.
    health
        Atretic or not; unknown where it cannot be told.
    countable
        Whether the nucleus of the oocyte shows.
    measurements
        What this rests on; None if nothing was measured.
    score
        Probability that the outline is a follicle, 0-1.
    """

    stage: Stage = Stage.UNSURE
    probabilities: Mapping[Stage, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    health: Health = Health.UNKNOWN
    countable: Countable = Countable.UNKNOWN
    measurements: Measurements | None = None
    score: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """What a run found: a shape, and what the software says about it. It is never changed."""

    shape: Shape
    assessment: Assessment


@dataclass(frozen=True)
class Judgement:
    """What stands, and who said so.

    Attributes
    ----------
    stage, health, countable
        What stands; the software's answer as long as nobody said otherwise.
    status
        What a person did.
    edited_by, edited_at
        Who changed it last, and when (ISO 8601, UTC); None if nobody did.
    decided
        Which of stage, health and countable a person set, also if the software says the same.
    """

    stage: Stage = Stage.UNSURE
    health: Health = Health.UNKNOWN
    countable: Countable = Countable.UNKNOWN
    status: Status = Status.PREDICTED
    edited_by: str | None = None
    edited_at: str | None = None
    decided: frozenset[str] = frozenset()

    @classmethod
    def of(cls, assessment: Assessment, status: Status = Status.PREDICTED) -> Self:
        """The judgement that agrees with the software."""
        return cls(assessment.stage, assessment.health, assessment.countable, status)


#: What both the software and a person say.
SAID = ("stage", "health", "countable")


@dataclass(frozen=True)
class Follicle:
    """One follicle: what a run predicted, the shape that stands, and the judgement that stands.

    Attributes
    ----------
    id
        UUID.
    section_id
        Section on which it was found; empty if that is not known.
    shape, judgement
        What stands.
    prediction
        What the run found; None for a follicle that a person added.
    remeasured
        What the software says about the shape that stands, if that is not the predicted one.
    other_numbers
        Measurements in the file that are not ours, by name: those of another program, or of a synthetic truth.
    """

    id: str
    section_id: str
    shape: Shape
    judgement: Judgement = Judgement()
    prediction: Prediction | None = None
    remeasured: Assessment | None = None
    other_numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def predicted(cls, section_id: str, shape: Shape, assessment: Assessment) -> Follicle:
        """A follicle as a run finds it; nobody has judged it."""
        identity = follicle_id(section_id, shape.outline)
        return cls(identity, section_id, shape, Judgement.of(assessment), Prediction(shape, assessment))

    @property
    def outline(self) -> Polygon:
        """Outline that stands, level-0 pixels."""
        return self.shape.outline

    @property
    def oocyte(self) -> Polygon | None:
        """Oocyte of the shape that stands, level-0 pixels."""
        return self.shape.oocyte

    @property
    def nucleus(self) -> Polygon | None:
        """Nucleus of the oocyte, level-0 pixels."""
        return self.shape.nucleus

    @property
    def fluid(self) -> tuple[Polygon, ...]:
        """Fluid spaces of the shape that stands, level-0 pixels."""
        return self.shape.fluid

    @property
    def stage(self) -> Stage:
        """Stage that stands."""
        return self.judgement.stage

    @property
    def health(self) -> Health:
        """Health that stands."""
        return self.judgement.health

    @property
    def countable(self) -> Countable:
        """Whether the nucleus of the oocyte shows, as it stands."""
        return self.judgement.countable

    @property
    def status(self) -> Status:
        """What a person did."""
        return self.judgement.status

    @property
    def assessment(self) -> Assessment:
        """What the software says about the shape that stands; an empty one if it was never asked."""
        if self.remeasured is not None:
            return self.remeasured
        return self.prediction.assessment if self.prediction is not None else Assessment()

    @property
    def first_assessment(self) -> Assessment | None:
        """What the software said first: its prediction; of an added follicle what it measured; None if nothing."""
        return self.prediction.assessment if self.prediction is not None else self.remeasured

    @property
    def measurements(self) -> Measurements | None:
        """What was measured in the shape that stands; None if nothing was."""
        return self.assessment.measurements

    @property
    def probabilities(self) -> Mapping[Stage, float]:
        """How likely the software thinks each stage, for the shape that stands."""
        return self.assessment.probabilities

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the software's stage, in words."""
        return self.assessment.reasons

    @property
    def score(self) -> float:
        """Probability that it is a follicle, 0-1, as the software sees it."""
        return self.assessment.score

    @property
    def stage_predicted(self) -> Stage:
        """Stage that the software said first; of a follicle that it never saw the one that stands."""
        said = self.first_assessment
        return said.stage if said is not None else self.stage

    @property
    def recognisable(self) -> bool:
        """Whether a reader could stage it. A synthetic truth says no of follicles cut beside oocyte and fluid."""
        return self.stage in LADDER and self.other_numbers.get("Recognisable", 1.0) > 0

    def judged(
        self,
        *,
        stage: Stage | None = None,
        health: Health | None = None,
        countable: Countable | None = None,
        status: Status | None = None,
    ) -> Follicle:
        """The follicle with another judgement; what is None stays."""
        given = {"stage": stage, "health": health, "countable": countable, "status": status}
        changed = {name: value for name, value in given.items() if value is not None}
        decided = self.judgement.decided | (changed.keys() & set(SAID))
        return replace(self, judgement=replace(self.judgement, decided=decided, **changed))  # type: ignore[arg-type]

    @property
    def decided(self) -> frozenset[str]:
        """Which of stage, health and countable are a person's: set by one, or other than what the software says."""
        said = self.assessment
        return self.judgement.decided | {n for n in SAID if getattr(self.judgement, n) != getattr(said, n)}

    def signed(self, author: str, time: str) -> Follicle:
        """The follicle with who changed it last, and when (ISO 8601, UTC)."""
        return replace(self, judgement=replace(self.judgement, edited_by=author, edited_at=time))

    def reshaped(self, shape: Shape, measured: Assessment | None = None) -> Follicle:
        """The follicle in another shape.

        Parameters
        ----------
        shape
            The new shape.
        measured
            What the software says about it. What a person had said stays; what nobody had said follows it. None if
            nothing could be measured: then only the shape changes.

        Returns
        -------
        Follicle
            With the same prediction.
        """
        if measured is None:
            return replace(self, shape=shape)
        follows = {n: getattr(measured, n) for n in SAID if n not in self.decided}
        return replace(self, shape=shape, remeasured=measured, judgement=replace(self.judgement, **follows))

    def added(self) -> Follicle:
        """The follicle as one that a person added: no run found it, so it has no prediction."""
        return replace(
            self.judged(status=Status.ADDED), prediction=None, remeasured=self.remeasured or self.first_assessment
        )

    def in_um(self, size: PixelSize) -> Follicle:
        """The follicle with its shape in µm."""
        return replace(self, shape=self.shape.to_um(size))


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
