"""QuPath's GeoJSON: full-resolution pixels, closed rings, one feature per object.

A follicle is an annotation whose class is its stage. Its oocyte, nucleus and fluid spaces are separate features with
the id of the follicle in their metadata, so QuPath shows them, too. If a person drew another outline, the feature also
has a member ``prediction``, which other programs ignore: the predicted shape and its measurements. The reader accepts
what QuPath and people write: a bare list, a single feature, no classification, merged outlines, and both ways to write
measurements; `objects` decides which objects are follicles.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import STRtree, get_coordinates
from shapely.errors import ShapelyError
from shapely.geometry import Polygon
from shapely.geometry import shape as as_geometry

from follicle_stager.annotations.features import geometry_of, read_features, write_features
from follicle_stager.annotations.objects import MarkedObject, sort_objects
from follicle_stager.errors import UserError
from follicle_stager.files import many_objects
from follicle_stager.measurements import Measurements
from follicle_stager.records import SAID, Assessment, Follicle, Judgement, Prediction, Shape
from follicle_stager.stages import Countable, Health, Stage, Status, read_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_PART_COLORS = {"Oocyte": (230, 230, 230), "Nucleus": (90, 90, 90), "Fluid": (86, 180, 233)}
# Names of the probabilities in a file.
_NAME_OF = {stage: f"P {stage.label}" for stage in Stage}
_STAGE_OF = {name: stage for stage, name in _NAME_OF.items()}


def write_geojson(path: str | Path, follicles: Iterable[Follicle]) -> None:
    """Write follicles as QuPath annotations.

    Parameters
    ----------
    path
        File, which is written atomically.
    follicles
        Outlines in level-0 pixels.
    """
    numbered = enumerate(follicles, start=1)
    write_features(
        Path(path), [feature for number, f in numbered for feature in follicle_features(f, f"F{number:04d}")]
    )


def follicle_features(follicle: Follicle, name: str = "") -> list[dict[str, Any]]:
    """The features of one follicle: first the follicle, then its oocyte, nucleus and fluid spaces.

    Parameters
    ----------
    follicle
        Follicle, outlines in level-0 pixels; they are rounded to 0.01 px, and numbers to four decimal places.
    name
        Name that QuPath shows.

    Returns
    -------
    list of dict
        GeoJSON features.
    """
    parts = [("Oocyte", follicle.oocyte), ("Nucleus", follicle.nucleus)]
    parts += [("Fluid", space) for space in follicle.fluid]
    return [
        _follicle_feature(follicle, name),
        *(_part_feature(follicle.id, kind, p, index) for index, (kind, p) in enumerate(parts) if p is not None),
    ]


@dataclass(frozen=True)
class Outlines:
    """Follicles that were read from a file of another program.

    Attributes
    ----------
    follicles
        Follicles in the order of the file.
    left_out
        Numbers of objects that are not follicles, by kind; `objects.in_words` makes a text of it.
    """

    follicles: list[Follicle]
    left_out: Counter[str] = field(default_factory=Counter)


def read_geojson(path: str | Path) -> list[Follicle]:
    """Read follicles; see `read_outlines`, which also returns what is left out."""
    return read_outlines(path).follicles


def read_outlines(path: str | Path) -> Outlines:
    """Read follicles from QuPath GeoJSON, or from ImageJ's ROIs.

    Parameters
    ----------
    path
        File of this software, or objects exported from QuPath (also compressed, in UTF-16, or in Windows' cp1252);
        ``.zip`` and ``.roi`` are ROIs, named by their stage.

    Returns
    -------
    Outlines
        Follicles; those with a class that is not a stage are ``unsure``. An object of several polygons gives several
        follicles.

    Raises
    ------
    UserError
        If the file cannot be read; the message names the feature.
    """
    path = Path(path)
    with many_objects():
        return _outlines(read_features(path), path)


def as_written(follicles: Iterable[Follicle]) -> list[Follicle]:
    """Follicles as they are after they were written and read: rounded, so that memory and disk hold the same."""
    return follicles_of([feature for f in follicles for feature in follicle_features(f)], "follicles")


def follicles_of(features: Sequence[dict[str, Any]], where: Path | str) -> list[Follicle]:
    """The follicles of a list of features; ``where`` is their origin, for messages. See `read_outlines`."""
    return _outlines(features, where).follicles


def _outlines(features: Sequence[dict[str, Any]], where: Path | str) -> Outlines:
    objects = sort_objects(features, where)
    left_out = objects.left_out
    follicles: list[Follicle] = []
    parts: dict[str, list[tuple[str, Polygon]]] = {}
    loose: list[tuple[str, Polygon]] = []
    ids: set[str] = set()
    for one in objects.marked:
        try:
            left_out["points"] += len(one.points)
            if one.part:
                own = one.outlines if one.part == "Fluid" else one.outlines[:1]
                owner = one.metadata.get("follicle")
                if not isinstance(owner, str | None):
                    raise TypeError(f"the follicle of a part is {owner}, not an id")
                (parts.setdefault(owner, []) if owner else loose).extend((one.part, p) for p in own)
                continue
            for index, outline in enumerate(one.outlines):
                follicle = _follicle(one, outline)
                if index or follicle.id in ids:  # a copy has the id of the original
                    follicle = replace(follicle, id=outline_id(outline))
                follicles.append(follicle)
                ids.add(follicle.id)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError) as error:
            raise UserError(f"{where}: feature {one.number} cannot be read ({error}).") from None
    left_out["parts of no follicle"] += _give_parts(follicles, loose, parts)
    return Outlines([_with_parts(f, parts.get(f.id, [])) for f in follicles], +left_out)


def _give_parts(
    follicles: Sequence[Follicle], loose: Sequence[tuple[str, Polygon]], parts: dict[str, list[tuple[str, Polygon]]]
) -> int:
    """Assign parts without a follicle id to the smallest follicle around them; return the number of parts left over."""
    if not loose:
        return 0
    tree, lost = STRtree([f.outline for f in follicles]), 0
    for label, polygon in loose:
        around = [follicles[int(i)] for i in tree.query(polygon.representative_point(), predicate="intersects")]
        if around:
            parts.setdefault(min(around, key=lambda f: f.outline.area).id, []).append((label, polygon))
        else:
            lost += 1
    return lost


def _follicle_feature(follicle: Follicle, name: str) -> dict[str, Any]:
    stage, predicted = follicle.stage, follicle.prediction
    metadata = {
        "section": follicle.section_id,
        "stage": stage.value,
        "health": follicle.health.value,
        "countable": follicle.countable.value,
        "status": follicle.status.value,
        "reasons": "; ".join(follicle.reasons),
    }
    for said, when in ((predicted.assessment if predicted else None, "predicted"), (follicle.remeasured, "measured")):
        if said is not None:
            metadata |= {f"{what}_{when}": getattr(said, what).value for what in SAID}
    if stage.ontology_id:
        metadata["ontology"] = stage.ontology_id
    if follicle.judgement.decided:
        metadata["decided"] = " ".join(sorted(follicle.judgement.decided))
    if follicle.judgement.edited_by:
        metadata["edited_by"] = follicle.judgement.edited_by
    if follicle.judgement.edited_at:
        metadata["edited_at"] = follicle.judgement.edited_at
    feature: dict[str, Any] = {
        "type": "Feature",
        "id": follicle.id,
        "geometry": geometry_of(follicle.outline),
        "properties": {
            "objectType": "annotation",
            "name": name,
            "color": list(stage.color),
            "classification": {"name": stage.label, "color": list(stage.color)},
            "isLocked": False,
            "measurements": _numbers(follicle.assessment, follicle.other_numbers),
            "metadata": metadata,
        },
    }
    if predicted is not None and (predicted.shape != follicle.shape or follicle.remeasured is not None):
        feature["prediction"] = {
            **{kind: geometry_of(area) for kind, area in _areas(predicted.shape) if area is not None},
            "fluid": [geometry_of(space) for space in predicted.shape.fluid],
            "measurements": _numbers(predicted.assessment),
            "reasons": "; ".join(predicted.assessment.reasons),
        }
    return feature


def _areas(shape: Shape) -> tuple[tuple[str, Polygon | None], ...]:
    return ("outline", shape.outline), ("oocyte", shape.oocyte), ("nucleus", shape.nucleus)


def _numbers(said: Assessment, others: Mapping[str, float] | None = None) -> dict[str, float]:
    """Score, measurements and probabilities as QuPath shows them; NaN is left out, as JSON has no NaN."""
    numbers = {"Score": said.score, **dict(said.measurements.items() if said.measurements is not None else ())}
    numbers |= {_NAME_OF[stage]: p for stage, p in said.probabilities.items()}
    return {name: round(v, 4) for name, v in (numbers | dict(others or {})).items() if math.isfinite(v)}


def _part_feature(follicle_id: str, kind: str, polygon: Polygon, index: int) -> dict[str, Any]:
    color = list(_PART_COLORS[kind])
    return {
        "type": "Feature",
        "id": _part_id(follicle_id, f"{kind} {index}"),
        "geometry": geometry_of(polygon),
        "properties": {
            "objectType": "annotation",
            "color": color,
            "classification": {"name": kind, "color": color},
            "isLocked": False,
            "metadata": {"follicle": follicle_id},
        },
    }


def _part_id(follicle_id: str, part: str) -> str:
    """A UUID for a part of a follicle; the id of the follicle may be any text."""
    try:
        return str(uuid.uuid5(uuid.UUID(follicle_id), part))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{follicle_id} {part}"))


def _follicle(one: MarkedObject, outline: Polygon) -> Follicle:
    """A follicle without its oocyte, nucleus and fluid, which are separate features."""
    metadata, properties = one.metadata, one.properties
    stage, health = read_class(one.label)
    stage, own_id, shape = stage or Stage.UNSURE, str(one.feature.get("id") or ""), Shape(outline)
    measurements = properties.get("measurements") or {}
    if isinstance(measurements, list):
        measurements = {m["name"]: m["value"] for m in measurements}
    said, others = _read_numbers(measurements, metadata.get("reasons", ""), ours="stage" in metadata)
    judgement = Judgement(
        stage=stage,
        health=health or Health(metadata.get("health", "unknown")),
        countable=Countable(metadata.get("countable", "unknown")),
        status=Status(metadata.get("status", "added")),
        edited_by=metadata.get("edited_by"),
        edited_at=metadata.get("edited_at"),
        decided=frozenset(metadata.get("decided", "").split()) & set(SAID),
    )
    prediction = None
    if "stage_predicted" in metadata:
        first, found = said, shape
        if (kept := one.feature.get("prediction")) is not None:
            first, _ = _read_numbers(kept["measurements"], kept["reasons"], ours=True)
            oocyte, nucleus = (_area(kept[kind]) if kind in kept else None for kind in ("oocyte", "nucleus"))
            found = Shape(_area(kept["outline"]), oocyte, nucleus, tuple(_area(space) for space in kept["fluid"]))
        prediction = Prediction(found, _with_answers(first, metadata, "predicted", judgement))
    return Follicle(
        id=own_id if own_id and not own_id.startswith("Path") else outline_id(outline),
        section_id=metadata.get("section", ""),
        shape=shape,
        judgement=judgement,
        prediction=prediction,
        remeasured=_with_answers(said, metadata, "measured", judgement) if "stage_measured" in metadata else None,
        other_numbers=others,
    )


def _read_numbers(values: Mapping[str, Any], reasons: str, *, ours: bool) -> tuple[Assessment, dict[str, float]]:
    """Read values that `_numbers` wrote, and separate the numbers of other programs."""
    numbers = {name: float(v) for name, v in values.items() if isinstance(v, int | float)}
    score = numbers.pop("Score", 1.0)
    if not 0 <= score <= 1:
        if ours:
            raise ValueError(f"Score is {score:g}, not a probability")
        score = 1.0  # another program's score with another meaning
    probabilities = {_STAGE_OF[name]: numbers.pop(name) for name in list(numbers) if name in _STAGE_OF}
    measured = {name: numbers.pop(name) for name in Measurements.names() if name in numbers}
    said = Assessment(
        probabilities=probabilities,
        reasons=tuple(r for r in reasons.split("; ") if r),
        measurements=Measurements(**measured) if measured else None,
        score=score,
    )
    return said, numbers


def _with_answers(said: Assessment, metadata: Mapping[str, Any], when: str, judgement: Judgement) -> Assessment:
    """An assessment with its stage, health and countable; versions before 0.3 wrote only the stage."""
    return replace(
        said,
        stage=Stage(metadata.get(f"stage_{when}", judgement.stage)),
        health=Health(metadata.get(f"health_{when}", judgement.health)),
        countable=Countable(metadata.get(f"countable_{when}", judgement.countable)),
    )


def _area(written: dict[str, Any]) -> Polygon:
    area = as_geometry(written)
    if not isinstance(area, Polygon) or area.is_empty or not np.isfinite(get_coordinates(area)).all():
        raise ValueError("the predicted shape is not an outline")
    return area


def outline_id(outline: Polygon) -> str:
    """A UUID for an outline without an id, or with the id of another outline."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, outline.wkt))


def _with_parts(follicle: Follicle, parts: list[tuple[str, Polygon]]) -> Follicle:
    def first(kind: str) -> Polygon | None:
        return next((p for k, p in parts if k == kind), None)

    fluid = tuple(p for k, p in parts if k == "Fluid")
    shape, prediction = Shape(follicle.outline, first("Oocyte"), first("Nucleus"), fluid), follicle.prediction
    if prediction is not None and prediction.shape is follicle.shape:
        prediction = replace(prediction, shape=shape)
    return replace(follicle, shape=shape, prediction=prediction)
