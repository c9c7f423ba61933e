"""Follicles for tests, from flat values."""

from __future__ import annotations

from dataclasses import replace

from follicle_stager.measurements import Measurements
from follicle_stager.records import Assessment, Follicle, Judgement, Prediction, Shape
from follicle_stager.stages import Countable, Health, Stage, Status

_SHAPE = ("outline", "oocyte", "nucleus", "fluid")
_JUDGEMENT = ("stage", "health", "countable", "status", "edited_by", "edited_at")


def make_follicle(
    follicle_id,
    section_id,
    outline,
    oocyte=None,
    nucleus=None,
    fluid=(),
    *,
    score=1.0,
    measurements=None,
    stage_predicted=None,
    probabilities=None,
    reasons=(),
    stage=Stage.UNSURE,
    health=Health.UNKNOWN,
    countable=Countable.UNKNOWN,
    status=Status.PREDICTED,
):
    """A follicle that a run predicted; without ``stage_predicted`` one that no run knows."""
    shape = Shape(outline, oocyte, nucleus, tuple(fluid))
    numbers = dict(measurements or {})
    own = {name: numbers.pop(name) for name in Measurements.names() if name in numbers}
    said = Assessment(
        stage=stage_predicted or stage,
        probabilities=probabilities or {},
        reasons=tuple(reasons),
        health=health,
        countable=countable,
        measurements=Measurements(**own) if own else None,
        score=score,
    )
    return Follicle(
        follicle_id,
        section_id,
        shape,
        Judgement(stage, health, countable, status),
        prediction=Prediction(shape, said) if stage_predicted is not None else None,
        remeasured=said if stage_predicted is None and (own or probabilities) else None,
        other_numbers=numbers,
    )


def changed(follicle, **values):
    """Another follicle: of its shape and judgement these values; what was predicted stays."""
    shape = {name: values.pop(name) for name in _SHAPE if name in values}
    judgement = {name: values.pop(name) for name in _JUDGEMENT if name in values}
    return replace(
        follicle,
        shape=replace(follicle.shape, **shape),
        judgement=replace(follicle.judgement, **judgement),
        **values,
    )
