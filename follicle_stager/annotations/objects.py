"""Rules for which objects of a GeoJSON file are follicles.

QuPath writes all objects of a slide into one file: annotations that a person drew, detections and cells of programs,
tiles, points, the outline of the tissue. Objects that are left out are counted by kind, for messages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import STRtree, get_coordinates, get_num_coordinates, make_valid
from shapely.errors import ShapelyError
from shapely.geometry import MultiPoint, MultiPolygon, Point, Polygon, shape

from follicle_stager.errors import UserError
from follicle_stager.stages import read_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from shapely.geometry.base import BaseGeometry

#: Classes of the parts of a follicle, and words for them.
PARTS = ("Oocyte", "Nucleus", "Fluid")
_PART_OF_WORD = {"oocyte": "Oocyte", "nucleus": "Nucleus", "fluid": "Fluid", "antrum": "Fluid"}

# Limits for the geometry of one feature; with more, it could take minutes.
_MAX_CORNERS = 200_000
_MAX_PARTS = 10_000
# Types of objects that programs make; QuPath 0.2 wrote them with "Path" in front and "Object" behind.
_OTHER_TYPES = ("cell", "tile", "root", "tma core", "tmacore")
# Classes of outlines that contain follicles.
_TISSUE = {"section", "ovary", "ovaries", "tissue", "region", "cortex", "medulla"}
# Number of follicles from which an outline without a stage around them is tissue.
_AROUND = 2


@dataclass(frozen=True)
class MarkedObject:
    """One feature that may be a follicle, or a part of one.

    Attributes
    ----------
    feature, number
        Feature as written, and its number in the file, from 1.
    properties, metadata
        Properties and metadata of the feature; empty if it has none.
    label
        Class of the object; without a class, its name if this is a stage, a part of a follicle, or tissue.
    part
        Part of a follicle, one of `PARTS`; empty for a follicle.
    outlines, points
        Polygons and points of the object.
    """

    feature: dict[str, Any]
    number: int
    properties: dict[str, Any]
    metadata: dict[str, Any]
    label: str
    part: str
    outlines: tuple[Polygon, ...]
    points: tuple[Point, ...]


@dataclass
class Objects:
    """Objects of a file.

    Attributes
    ----------
    marked
        Follicles and their parts.
    left_out
        Numbers of other objects, by kind.
    """

    marked: list[MarkedObject] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def sort_objects(features: Iterable[dict[str, Any]], where: Path | str) -> Objects:
    """Separate follicles and their parts from all other objects.

    Parameters
    ----------
    features
        Features of a GeoJSON file.
    where
        Origin of the features, for messages.

    Returns
    -------
    Objects
        Follicles with their parts, and the numbers of other objects.

    Raises
    ------
    UserError
        If a feature cannot be read; the message gives its number.
    """
    objects = Objects()
    for number, feature in enumerate(features, start=1):
        try:
            properties = feature.get("properties") or {}
            metadata = properties.get("metadata") or {}
            label = class_of(properties)
            other = kind_of_other(properties, metadata, label, str(feature.get("id") or ""))
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise UserError(f"{where}: feature {number} cannot be read ({error}).") from None
        if other:
            objects.left_out[other] += 1
            continue
        geometry = _geometry(where, number, feature)
        outlines, points = _parts_of(geometry)
        if not outlines and not points:
            objects.left_out["lines" if not geometry.is_empty else "without an outline"] += 1
            continue
        _check_outlines(where, number, outlines)
        part = part_of(label)
        objects.marked.append(MarkedObject(feature, number, properties, metadata, label, part, outlines, points))
    around = _around_follicles(objects.marked)
    objects.left_out["outlines around follicles"] += len(around)
    return Objects([one for one in objects.marked if one.number not in around], +objects.left_out)


def part_of(label: str) -> str:
    """Part of a follicle that a class names, such as ``"Oocyte"`` or ``"Follicle: oocyte"``; empty if none."""
    words = [_PART_OF_WORD.get(part.strip().lower(), "") for part in label.split(":")]
    return next((part for part in reversed(words) if part), "")


def _around_follicles(marked: list[MarkedObject]) -> set[int]:
    """Numbers of objects without a stage that contain several follicles with a stage: tissue, or a part of it."""
    unclear = [one for one in marked if _is_unclear(one) and one.outlines]
    staged = [one for one in marked if read_class(one.label)[0] is not None]
    places = [p for one in staged for p in (*one.points, *(o.representative_point() for o in one.outlines))]
    if not unclear or not places:
        return set()
    tree = STRtree(places)
    return {
        one.number
        for one in unclear
        if any(len(tree.query(o, predicate="contains")) >= _AROUND for o in one.outlines if o.is_valid)
    }


def _is_unclear(one: MarkedObject) -> bool:
    return "stage" not in one.metadata and not one.part and read_class(one.label)[0] is None


def in_words(left_out: Mapping[str, int]) -> str:
    """Numbers of objects that were left out, in one line; empty if there are none."""
    return ", ".join(f"{kind}: {n}" for kind, n in sorted(left_out.items()) if n)


def class_of(properties: Mapping[str, Any]) -> str:
    """Class of an object as written, with colons between its parts; without a class, the name if this is one.

    Raises
    ------
    TypeError
        If the class is not text.
    """
    given = properties.get("classification") or {}
    names = (given.get("names") or [given.get("name") or ""]) if isinstance(given, dict) else given
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"the class is {given}, not text")
    label = ": ".join(names)
    name = str(properties.get("name") or "")
    said = read_class(name)[0] is not None or part_of(name) or name.strip().lower() in _TISSUE
    return label or (name if said else "")


def kind_of_other(properties: Mapping[str, Any], metadata: Mapping[str, Any], label: str, identity: str = "") -> str:
    """Kind of an object that is neither a follicle nor a part of one; empty if it may be one.

    Parameters
    ----------
    properties, metadata
        Properties and metadata of the feature.
    label
        Class of the object, see `class_of`.
    identity
        Id of the object: QuPath 0.2 wrote the type of the object there.

    Returns
    -------
    str
        Kind in words, or empty.
    """
    if "stage" in metadata or "follicle" in metadata:  # this software wrote it
        return ""
    parts = [part.strip().lower() for part in label.split(":")]
    if any(part.endswith("*") for part in parts):  # QuPath ignores such classes in its measurements
        return f"class {label}"
    written = properties.get("objectType") or properties.get("object_type") or ""
    if not written and identity.startswith("Path") and identity.endswith("Object"):
        written = identity
    kind = str(written).strip().lower().replace("_", " ").removeprefix("path").removesuffix("object").strip()
    if kind in _OTHER_TYPES:
        return f"{kind}s"
    if kind == "detection" and read_class(label)[0] is None and not part_of(label):
        return "detections"
    return f"class {label}" if any(part in _TISSUE for part in parts) else ""


def _geometry(where: Path | str, number: int, feature: dict[str, Any]) -> BaseGeometry:
    if feature.get("geometry") is None:
        raise UserError(f"{where}: feature {number} has no geometry; delete it or draw it again.")
    try:
        geometry = _plain_polygon(feature["geometry"]) or shape(feature["geometry"])
        corners = int(get_num_coordinates(geometry))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError) as error:
        raise UserError(f"{where}: the geometry of feature {number} cannot be read ({error}).") from None
    if corners > _MAX_CORNERS:
        raise UserError(f"{where}: feature {number} has {corners} corners, too many for the outline of a follicle.")
    if not np.isfinite(get_coordinates(geometry)).all():
        raise UserError(f"{where}: the geometry of feature {number} has a coordinate that is not a number.")
    return geometry


def _plain_polygon(written: dict[str, Any]) -> Polygon | None:
    """The geometry if it is an ordinary polygon, made from arrays, which is much faster; otherwise None."""
    if written["type"] != "Polygon" or not written["coordinates"]:
        return None
    rings = [np.asarray(ring) for ring in written["coordinates"]]
    if any(ring.dtype.kind not in "if" or ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 4 for ring in rings):
        return None
    return Polygon(rings[0], rings[1:])


def _parts_of(geometry: BaseGeometry) -> tuple[tuple[Polygon, ...], tuple[Point, ...]]:
    """Polygons and points of a geometry, the largest polygon first; merged follicles give several polygons."""
    outlines: list[Polygon] = []
    points: list[Point] = []
    waiting: list[BaseGeometry] = [geometry]
    while waiting and len(outlines) + len(points) < _MAX_PARTS:
        part = waiting.pop(0)
        if isinstance(part, Polygon) and not part.is_empty:
            outlines.append(part)
        elif isinstance(part, Point) and not part.is_empty:
            points.append(part)
        elif isinstance(part, MultiPolygon | MultiPoint) or part.geom_type == "GeometryCollection":
            waiting += list(part.geoms)  # type: ignore[attr-defined]
    outlines.sort(key=lambda p: -p.area)
    return tuple(outlines), tuple(points)


def _check_outlines(where: Path | str, number: int, outlines: Iterable[Polygon]) -> None:
    for outline in outlines:
        if not outline.area and not make_valid(outline).area:
            raise UserError(f"{where}: the outline of feature {number} encloses nothing; delete it or draw it again.")
