"""The main data types: Follicle and its parts, Section, SlideResult.

A follicle has three separate parts. The *prediction* is the result of a run, and nothing changes it. The *shape* is the
current outline with the oocyte, nucleus and fluid inside. The *judgement* is the current stage, health and so on. If a
person draws another outline, the measurements in it are stored separately (``remeasured``), so the accuracy of the
software can always be calculated from its prediction.

Outlines are shapely polygons in level-0 pixels (x right, y down); measurements are in µm.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from follicle_stager.measurements import Measurements
from follicle_stager.stages import LADDER, Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry import MultiPolygon, Polygon

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
        """Convert the shape from level-0 pixels to µm."""
        return Shape(
            size.to_um(self.outline),
            size.to_um(self.oocyte) if self.oocyte is not None else None,
            size.to_um(self.nucleus) if self.nucleus is not None else None,
            tuple(size.to_um(space) for space in self.fluid),
        )


@dataclass(frozen=True)
class Assessment:
    """Assessment of one shape by the software.

    Attributes
    ----------
    stage
        Stage; may be ``unsure``.
    probabilities
        Probability of each stage of the ladder; they sum to 1. They sort cases and are not calibrated.
    reasons
        Observations that led to the stage, in words.
    health
        Atretic or not; unknown if it cannot be determined.
    countable
        Whether the nucleus of the oocyte is visible.
    measurements
        Measurements of the shape; None if there are none.
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

    @classmethod
    def of_corpus_luteum(cls, measured: Measurements, score: float) -> Self:
        """Make the assessment of a corpus luteum; of the measurements, those of the outline are kept."""
        names = ("diameter_um", "long_axis_um", "short_axis_um", "surface_distance_um")
        return cls(
            Stage.CORPUS_LUTEUM,
            reasons=(f"luteal tissue, {math.pi / 4 * measured.diameter_um**2 / 1e6:.3f} mm²",),
            countable=Countable.NO,
            measurements=Measurements(**{name: getattr(measured, name) for name in names}),
            score=score,
        )


@dataclass(frozen=True)
class Prediction:
    """Result of a run: a shape, and the assessment of the software. It is never changed."""

    shape: Shape
    assessment: Assessment


@dataclass(frozen=True)
class Judgement:
    """Current stage, health and countability of a follicle, and who decided them.

    Attributes
    ----------
    stage, health, countable
        Current values; those of the software until a person sets others.
    status
        What a person has done with the follicle.
    edited_by, edited_at
        Author and time (ISO 8601, UTC) of the last change; None if there was none.
    decided
        Names of the values among stage, health and countable that a person set.
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
        """Make the judgement that agrees with the software."""
        return cls(assessment.stage, assessment.health, assessment.countable, status)


#: Values that both the software and a person can set.
SAID = ("stage", "health", "countable")


@dataclass(frozen=True)
class Follicle:
    """One follicle: the prediction of a run, the current shape, and the current judgement.

    Attributes
    ----------
    id
        UUID.
    section_id
        Section on which it was found; empty if the section is not known.
    shape, judgement
        Current state.
    prediction
        Result of the run; None for a follicle that a person added.
    remeasured
        Assessment of the current shape by the software, if the shape is not the predicted one.
    other_numbers
        Other measurements in the file, by name: from another program, or from a synthetic truth.
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
        """Make a follicle as a run finds it, not judged by a person."""
        identity = follicle_id(section_id, shape.outline)
        return cls(identity, section_id, shape, Judgement.of(assessment), Prediction(shape, assessment))

    @property
    def outline(self) -> Polygon:
        """Current outline, level-0 pixels."""
        return self.shape.outline

    @property
    def oocyte(self) -> Polygon | None:
        """Oocyte of the current shape, level-0 pixels."""
        return self.shape.oocyte

    @property
    def nucleus(self) -> Polygon | None:
        """Nucleus of the oocyte, level-0 pixels."""
        return self.shape.nucleus

    @property
    def fluid(self) -> tuple[Polygon, ...]:
        """Fluid spaces of the current shape, level-0 pixels."""
        return self.shape.fluid

    @property
    def stage(self) -> Stage:
        """Current stage."""
        return self.judgement.stage

    @property
    def health(self) -> Health:
        """Current health."""
        return self.judgement.health

    @property
    def countable(self) -> Countable:
        """Whether the nucleus of the oocyte is visible, currently."""
        return self.judgement.countable

    @property
    def status(self) -> Status:
        """What a person has done with the follicle."""
        return self.judgement.status

    @property
    def assessment(self) -> Assessment:
        """Assessment of the current shape by the software; an empty one if there is none."""
        if self.remeasured is not None:
            return self.remeasured
        return self.prediction.assessment if self.prediction is not None else Assessment()

    @property
    def first_assessment(self) -> Assessment | None:
        """Assessment in the prediction; for an added follicle, that of its shape; None if there is none."""
        return self.prediction.assessment if self.prediction is not None else self.remeasured

    @property
    def measurements(self) -> Measurements | None:
        """Measurements in the current shape; None if there are none."""
        return self.assessment.measurements

    @property
    def probabilities(self) -> Mapping[Stage, float]:
        """Probability of each stage, for the current shape."""
        return self.assessment.probabilities

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for the stage given by the software."""
        return self.assessment.reasons

    @property
    def score(self) -> float:
        """Probability that the outline is a follicle, 0-1, as given by the software."""
        return self.assessment.score

    @property
    def stage_predicted(self) -> Stage:
        """Stage in the prediction; for a follicle without any assessment, the current stage."""
        said = self.first_assessment
        return said.stage if said is not None else self.stage

    @property
    def is_follicle(self) -> bool:
        """Whether it counts as a follicle: neither rejected nor a corpus luteum nor anything else."""
        return self.status != Status.REJECTED and self.stage not in (Stage.NOT_FOLLICLE, Stage.CORPUS_LUTEUM)

    @property
    def staged_by_person(self) -> bool:
        """Whether a person gave or confirmed its stage; an outline or health alone does not count."""
        return self.status in (Status.ACCEPTED, Status.REJECTED) or "stage" in self.judgement.decided

    @property
    def is_corpus_luteum(self) -> bool:
        """Whether it is a corpus luteum that is not rejected."""
        return self.status != Status.REJECTED and self.stage is Stage.CORPUS_LUTEUM

    @property
    def recognisable(self) -> bool:
        """Whether a reader could stage it; no for follicles of a synthetic truth that show neither oocyte nor fluid."""
        return self.stage in LADDER and self.other_numbers.get("Recognisable", 1.0) > 0

    def judged(
        self,
        *,
        stage: Stage | None = None,
        health: Health | None = None,
        countable: Countable | None = None,
        status: Status | None = None,
    ) -> Follicle:
        """Return the follicle with other values in its judgement; None keeps a value."""
        given = {"stage": stage, "health": health, "countable": countable, "status": status}
        changed = {name: value for name, value in given.items() if value is not None}
        decided = self.judgement.decided | (changed.keys() & set(SAID))
        return replace(self, judgement=replace(self.judgement, decided=decided, **changed))  # type: ignore[arg-type]

    @property
    def decided(self) -> frozenset[str]:
        """Names of the values that a person set, or that differ from the assessment of the software."""
        said = self.assessment
        return self.judgement.decided | {n for n in SAID if getattr(self.judgement, n) != getattr(said, n)}

    def signed(self, author: str, time: str) -> Follicle:
        """Return the follicle with author and time (ISO 8601, UTC) of the last change."""
        return replace(self, judgement=replace(self.judgement, edited_by=author, edited_at=time))

    def reshaped(self, shape: Shape, measured: Assessment | None = None) -> Follicle:
        """Return the follicle in another shape, with the same prediction.

        Parameters
        ----------
        shape
            The new shape.
        measured
            Assessment of the new shape. Values that a person decided stay; the others are taken from it. If it is None,
            only the shape changes.
        """
        if measured is None:
            return replace(self, shape=shape)
        follows = {n: getattr(measured, n) for n in SAID if n not in self.decided}
        return replace(self, shape=shape, remeasured=measured, judgement=replace(self.judgement, **follows))

    def added(self) -> Follicle:
        """Return the follicle as one that a person added, without a prediction."""
        return replace(
            self.judged(status=Status.ADDED), prediction=None, remeasured=self.remeasured or self.first_assessment
        )

    def in_um(self, size: PixelSize) -> Follicle:
        """Return the follicle with its shape in µm."""
        return replace(self, shape=self.shape.to_um(size))


@dataclass(frozen=True)
class Section:
    """One section of one ovary on a slide, or a part that a person cut out of one.

    Attributes
    ----------
    section_id
        Name, unique in the study: slide and order; a part that was cut out has ``_x1``, ``_x2`` and so on added.
    outline
        Outline, level-0 pixels; a torn section has several parts.
    area_mm2
        Tissue area.
    order
        Place on the slide in reading order, from 1; a part that was cut out keeps the place of its section.
    included
        Whether it is counted; ``reason`` says why not. With the reason `NOT_OVARY` it is not part of the sampled ovary.
        Any other reason reduces the sampled area.
    doubt
        Why its follicles should be checked before they are counted; empty if there is no doubt.
    animal, ovary
        Animal and ovary that a person assigned; if empty, the sample sheet decides.
    judged_whole
        Whether a person said that every follicle in it is marked, or that it has none.
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
    judged_whole: bool = False

    @property
    def place(self) -> tuple[int, int, str]:
        """Sort key: reading order; parts that were cut out come after their section."""
        return self.order, len(self.section_id), self.section_id


@dataclass(frozen=True)
class SlideResult:
    """Result of one run on one slide.

    Attributes
    ----------
    follicles
        Follicles, then corpora lutea.
    visible_stages
        Stages that the slide's resolution and the detector can show. The others are not available for it,
        which is not the same as zero.
    quality, flags
        Quality measures and warnings from `tissue.survey`; ``strangeness`` is that of the strangest section, as a
        multiple of the limit.
    seconds
        Time per step, s.
    """

    slide_id: str
    pixel_size: PixelSize
    sections: tuple[Section, ...]
    follicles: tuple[Follicle, ...]
    visible_stages: tuple[Stage, ...]
    quality: dict[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def number_of_follicles(self) -> int:
        """Number of follicles, corpora lutea not included."""
        return sum(f.stage is not Stage.CORPUS_LUTEUM for f in self.follicles)


def follicle_id(section_id: str, outline: Polygon) -> str:
    """Make a UUID from section and position only, so that equal runs give equal ids."""
    x, y = outline.centroid.coords[0]
    return str(uuid.uuid5(_NAMESPACE, f"{section_id} {x:.1f} {y:.1f} {outline.area:.0f}"))
