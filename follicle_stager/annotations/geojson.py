"""QuPath's GeoJSON: full-resolution pixels, closed rings, one feature per object.

A follicle is an annotation with its stage as classification. Its oocyte, nucleus and fluid spaces are features
of their own that name the follicle in their metadata, so that QuPath shows them and nothing is hidden from a
person. Reading accepts what QuPath and people write: a bare list, a single feature, no classification,
multipolygons, both ways to write measurements.
"""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import get_coordinates, get_num_coordinates, make_valid, set_precision, transform
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon, mapping, shape

from follicle_stager.errors import UserError
from follicle_stager.files import write_text
from follicle_stager.records import Follicle, Section
from follicle_stager.stages import Countable, Health, Stage, Status, parse_stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# With more the geometry of one feature could take minutes.
_MAX_CORNERS = 200_000
# Coordinates are written to a hundredth of a pixel.
_PER_PX = 100
_OF_SECTION = ("section_id", "included", "reason", "doubt", "animal", "ovary")
# What people write for it.
_INCLUDED = {"yes": True, "true": True, "no": False, "false": False}
_PART_COLORS = {"Oocyte": (230, 230, 230), "Nucleus": (90, 90, 90), "Fluid": (86, 180, 233)}


def write_geojson(path: Path, follicles: Iterable[Follicle]) -> None:
    """Write follicles as QuPath annotations.

    Parameters
    ----------
    path
        File to write, atomically.
    follicles
        Outlines in level-0 pixels.
    """
    numbered = enumerate(follicles, start=1)
    _write(path, [feature for number, f in numbered for feature in follicle_features(f, f"F{number:04d}")])


def follicle_features(follicle: Follicle, name: str = "") -> list[dict[str, Any]]:
    """The features of one follicle: itself first, then its oocyte, nucleus and fluid spaces.

    Parameters
    ----------
    follicle
        Outlines in level-0 pixels; they are rounded to 0.01, and numbers to four places.
    name
        That QuPath shows.
    """
    parts = [("Oocyte", follicle.oocyte), ("Nucleus", follicle.nucleus)]
    parts += [("Fluid", space) for space in follicle.fluid]
    return [
        _follicle_feature(follicle, name),
        *(_part_feature(follicle.id, kind, p, index) for index, (kind, p) in enumerate(parts) if p is not None),
    ]


def read_geojson(path: Path) -> list[Follicle]:
    """Read follicles from QuPath GeoJSON.

    Parameters
    ----------
    path
        A file of this software, or annotations that a person exported from QuPath.

    Returns
    -------
    list of Follicle
        In the order of the file. Classifications that are no stage become ``unsure``.

    Raises
    ------
    UserError
        If the file is no GeoJSON; the message names the feature.
    """
    return follicles_of(read_features(path), path)


def follicles_of(features: Sequence[dict[str, Any]], where: Path | str) -> list[Follicle]:
    """The follicles of a list of features; ``where`` they are from is for messages. See `read_geojson`."""
    follicles: list[Follicle] = []
    parts: dict[str, list[tuple[str, Polygon]]] = {}
    for number, feature in enumerate(features, start=1):
        outline = _outline(where, number, feature)
        if outline is None:
            continue
        try:
            properties = feature.get("properties") or {}
            metadata = properties.get("metadata") or {}
            name = class_name(properties)
            if name in _PART_COLORS and "follicle" in metadata:
                parts.setdefault(metadata["follicle"], []).append((name, outline))
            else:
                follicles.append(_follicle(feature, properties, metadata, outline, name))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: feature {number} holds something that cannot be read ({error}).") from None
    return [_with_parts(f, parts.get(f.id, [])) for f in follicles]


def write_sections(path: Path, sections: Iterable[Section]) -> None:
    """Write the sections of a slide, one MultiPolygon feature each."""
    _write(path, [section_feature(section) for section in sections])


def section_feature(section: Section) -> dict[str, Any]:
    """The feature of one section; its outline is rounded to 0.01 px, its area to 10 µm²."""
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, section.section_id)),
        "geometry": _geometry(section.outline),
        "properties": {
            "objectType": "annotation",
            "name": section.section_id,
            "classification": {"name": "Section", "color": [120, 120, 120]},
            "isLocked": True,
            "measurements": {"Area mm2": round(section.area_mm2, 5), "Order": section.order},
            "metadata": {
                "section_id": section.section_id,
                "included": "yes" if section.included else "no",
                "reason": section.reason,
                "doubt": section.doubt,
                "animal": section.animal,
                "ovary": section.ovary,
            },
        },
    }


def read_sections(path: Path) -> list[Section]:
    """Read the sections of a slide as `write_sections` wrote them."""
    return sections_of(read_features(path), path)


def sections_of(features: Sequence[dict[str, Any]], where: Path | str) -> list[Section]:
    """The sections of a list of features; ``where`` they are from is for messages. See `read_sections`."""
    sections = []
    for number, feature in enumerate(features, start=1):
        try:
            sections.append(_section(feature))
        except KeyError as error:
            said = f"{error} is missing, or no value that it can have" if error.args else "something is missing"
            raise UserError(f"{where}: section {number} cannot be read ({said}); included is yes or no.") from None
        except (TypeError, ValueError, AttributeError, ShapelyError) as error:
            raise UserError(f"{where}: section {number} cannot be read ({error}).") from None
    return sections


def _section(feature: dict[str, Any]) -> Section:
    properties = feature["properties"]
    metadata = properties["metadata"]
    for key in metadata:
        meant = get_close_matches(key.lower(), _OF_SECTION, n=1, cutoff=0.8)
        if key not in _OF_SECTION and meant:
            raise ValueError(f"there is no {key!r}; did you mean {meant[0]!r}?")
    geometry = shape(feature["geometry"])
    if not geometry.is_valid:  # rounding can fold a sharp corner over itself, and nothing can be cut of that
        geometry = transform(set_precision(geometry.buffer(0), 1 / _PER_PX), _rounded)
    return Section(
        section_id=metadata["section_id"],
        outline=MultiPolygon([g for g in getattr(geometry, "geoms", [geometry]) if isinstance(g, Polygon)]),
        area_mm2=float(properties["measurements"]["Area mm2"]),
        order=int(properties["measurements"]["Order"]),
        included=_INCLUDED[str(metadata.get("included", "yes")).strip().lower()],
        **{name: str(metadata.get(name) or "").strip() for name in ("reason", "doubt", "animal", "ovary")},
    )


def _follicle_feature(follicle: Follicle, name: str) -> dict[str, Any]:
    stage = follicle.stage
    measurements = {"Score": follicle.score, **follicle.measurements}
    measurements |= {f"P {s.label}": p for s, p in follicle.probabilities.items()}
    metadata = {
        "section": follicle.section_id,
        "stage": stage.value,
        "stage_predicted": follicle.stage_predicted.value,
        "health": follicle.health.value,
        "countable": follicle.countable.value,
        "status": follicle.status.value,
        "reasons": "; ".join(follicle.reasons),
    }
    if stage.ontology_id:
        metadata["ontology"] = stage.ontology_id
    if follicle.edited_by:
        metadata["edited_by"] = follicle.edited_by
    if follicle.edited_at:
        metadata["edited_at"] = follicle.edited_at
    return {
        "type": "Feature",
        "id": follicle.id,
        "geometry": _geometry(follicle.outline),
        "properties": {
            "objectType": "annotation",
            "name": name,
            "color": list(stage.color),
            "classification": {"name": stage.label, "color": list(stage.color)},
            "isLocked": False,
            # QuPath reads no NaN, and JSON has none.
            "measurements": {k: round(v, 4) for k, v in measurements.items() if math.isfinite(v)},
            "metadata": metadata,
        },
    }


def _part_feature(follicle_id: str, kind: str, polygon: Polygon, index: int) -> dict[str, Any]:
    color = list(_PART_COLORS[kind])
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.UUID(follicle_id), f"{kind} {index}")),
        "geometry": _geometry(polygon),
        "properties": {
            "objectType": "annotation",
            "color": color,
            "classification": {"name": kind, "color": color},
            "isLocked": False,
            "metadata": {"follicle": follicle_id},
        },
    }


def _geometry(geometry: Polygon | MultiPolygon) -> dict[str, Any]:
    return dict(mapping(transform(geometry, _rounded)))


def _rounded(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(xy * _PER_PX) / _PER_PX


def _write(path: Path, features: list[dict[str, Any]]) -> None:
    # One feature a line: a person can read it, and a comparison of two versions says what changed.
    lines = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
    write_text(path, f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')


def read_features(path: Path) -> list[dict[str, Any]]:
    """Features of a GeoJSON file, children included, as they are written."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path.") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of millions of digits, too deep
        raise UserError(f"{path}: this is not GeoJSON ({error}); export the annotations again.") from None
    if isinstance(data, dict):
        data = data.get("features", [data])
    if not isinstance(data, list) or not all(isinstance(f, dict) and "geometry" in f for f in data):
        raise UserError(f"{path}: this is JSON, but no list of GeoJSON features.")
    features: list[dict[str, Any]] = []
    waiting = list(reversed(data))
    while waiting:
        feature = waiting.pop()
        features.append(feature)
        properties = feature.get("properties")
        children = properties.get("childObjects") if isinstance(properties, dict) else None
        waiting += [c for c in reversed(children) if isinstance(c, dict)] if isinstance(children, list) else []
    return features


def _outline(where: Path | str, number: int, feature: dict[str, Any]) -> Polygon | None:
    if feature.get("geometry") is None:
        raise UserError(f"{where}: feature {number} has no geometry; delete it or draw it again.")
    try:
        geometry = shape(feature["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError, ShapelyError) as error:
        raise UserError(f"{where}: the geometry of feature {number} cannot be read ({error}).") from None
    if (corners := get_num_coordinates(geometry)) > _MAX_CORNERS:
        raise UserError(f"{where}: feature {number} has {corners} corners, which no outline of a follicle has.")
    if isinstance(geometry, MultiPolygon):
        geometry = max(geometry.geoms, key=lambda g: g.area)
    if not isinstance(geometry, Polygon) or geometry.is_empty:
        return None  # points and lines are no outlines
    if not np.isfinite(get_coordinates(geometry)).all():
        raise UserError(f"{where}: the geometry of feature {number} holds a coordinate that is no number.")
    if not geometry.area and not make_valid(geometry).area:
        raise UserError(f"{where}: the outline of feature {number} encloses nothing; delete it or draw it again.")
    return geometry


def class_name(properties: dict[str, Any]) -> str:
    """Classification of a feature as it is written, the first of several; empty without one."""
    classification = properties.get("classification") or {}
    if not isinstance(classification, dict):
        return str(classification)
    names = classification.get("names") or [classification.get("name") or ""]
    return str(names[0])


def _follicle(
    feature: dict[str, Any],
    properties: dict[str, Any],
    metadata: dict[str, str],
    outline: Polygon,
    class_name: str,
) -> Follicle:
    try:
        stage = parse_stage(class_name)
    except ValueError:
        stage = Stage.UNSURE
    measurements = properties.get("measurements") or {}
    if isinstance(measurements, list):
        measurements = {m["name"]: m["value"] for m in measurements}
    numbers = {k: float(v) for k, v in measurements.items() if isinstance(v, int | float)}
    labels = {f"P {s.label}": s for s in Stage}
    return Follicle(
        id=str(feature.get("id") or outline_id(outline)),
        section_id=metadata.get("section", ""),
        outline=outline,
        score=numbers.pop("Score", 1.0),
        probabilities={labels[k]: numbers.pop(k) for k in list(numbers) if k in labels},
        measurements=numbers,
        stage_predicted=Stage(metadata.get("stage_predicted", stage.value)),
        reasons=tuple(r for r in metadata.get("reasons", "").split("; ") if r),
        stage=stage,
        health=Health(metadata.get("health", "unknown")),
        countable=Countable(metadata.get("countable", "unknown")),
        status=Status(metadata.get("status", "added")),
        edited_by=metadata.get("edited_by"),
        edited_at=metadata.get("edited_at"),
    )


def outline_id(outline: Polygon) -> str:
    """A UUID for an outline that came without one, or with another's."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, outline.wkt))


def _with_parts(follicle: Follicle, parts: list[tuple[str, Polygon]]) -> Follicle:
    def first(kind: str) -> Polygon | None:
        return next((p for k, p in parts if k == kind), None)

    fluid = tuple(p for k, p in parts if k == "Fluid")
    return replace(follicle, oocyte=first("Oocyte"), nucleus=first("Nucleus"), fluid=fluid)
