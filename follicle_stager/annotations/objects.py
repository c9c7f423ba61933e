"""Which objects of a GeoJSON are follicles, and which are something else: QuPath's rules, in one place.

QuPath writes all objects of a slide into one file: annotations that a person drew, detections and cells of programs,
tiles, points, the outline of the tissue. What is left out is counted by its kind, so that it can be said.
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

#: Classes of what lies within a follicle, and words for them.
PARTS = ("Oocyte", "Nucleus", "Fluid")
_PART_OF_WORD = {"oocyte": "Oocyte", "nucleus": "Nucleus", "fluid": "Fluid", "antrum": "Fluid"}

# With more the geometry of one feature could take minutes.
_MAX_CORNERS = 200_000
_MAX_PARTS = 10_000
# What programs make, and no person draws as a follicle; "object" and "path" are what QuPath 0.2 wrote around it.
_OTHER_TYPES = ("cell", "tile", "root", "tma core", "tmacore")
# Outlines that hold follicles.
_TISSUE = {"section", "ovary", "ovaries", "tissue", "region", "cortex", "medulla"}
# An outline of no stage around so many follicles is that of the tissue.
_AROUND = 2


@dataclass(frozen=True)
class MarkedObject:
    """One feature that may be a follicle, or a part of one.

    Attributes
    ----------
    feature, number
        As it is written, and which one of the file, from 1.
    properties, metadata
        What the feature says; empty where it says nothing.
    label
        Its class; where it has none, the name if that is a stage.
    part
        Of `PARTS`, which it is; empty for a follicle.
    outlines, points
        Its polygons, and its points.
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
    """What a file holds.

    Attributes
    ----------
    marked
        Follicles and their parts.
    left_out
        How many of each kind are something else.
    """

    marked: list[MarkedObject] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def sort_objects(features: Iterable[dict[str, Any]], where: Path | str) -> Objects:
    """Tell follicles and their parts from all other objects.

    Parameters
    ----------
    features
        Features of a GeoJSON.
    where
        They are from, for messages.

    Returns
    -------
    Objects

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
            raise UserError(f"{where}: feature {number} holds something that cannot be read ({error}).") from None
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
    """Which part of a follicle a class names: ``"Oocyte"``, ``"Follicle: oocyte"``; empty for none."""
    words = [_PART_OF_WORD.get(part.strip().lower(), "") for part in label.split(":")]
    return next((part for part in reversed(words) if part), "")


def _around_follicles(marked: list[MarkedObject]) -> set[int]:
    """Numbers of objects of no stage that hold several follicles of one: the tissue, or a part of it."""
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
    """What was left out, in one line; empty where nothing was."""
    return ", ".join(f"{kind}: {n}" for kind, n in sorted(left_out.items()) if n)


def class_of(properties: Mapping[str, Any]) -> str:
    """Class of an object as it is written, with colons between its parts; without one the name, if that says it.

    Raises
    ------
    TypeError
        If the class is no text.
    """
    given = properties.get("classification") or {}
    names = (given.get("names") or [given.get("name") or ""]) if isinstance(given, dict) else given
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"the class is {given}, and no text")
    label = ": ".join(names)
    name = str(properties.get("name") or "")
    said = read_class(name)[0] is not None or part_of(name) or name.strip().lower() in _TISSUE
    return label or (name if said else "")


def kind_of_other(properties: Mapping[str, Any], metadata: Mapping[str, Any], label: str, identity: str = "") -> str:
    """Of which kind an object is that is no follicle and no part of one; empty for one that may be.

    Parameters
    ----------
    properties, metadata
        What the feature says.
    label
        Its class, see `class_of`.
    identity
        Its id: QuPath 0.2 wrote the kind of object there.
    """
    if "stage" in metadata or "follicle" in metadata:  # this software wrote it
        return ""
    parts = [part.strip().lower() for part in label.split(":")]
    if any(part.endswith("*") for part in parts):  # QuPath leaves such classes out of all that it measures
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
        geometry = shape(feature["geometry"])
        corners = int(get_num_coordinates(geometry))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError) as error:
        raise UserError(f"{where}: the geometry of feature {number} cannot be read ({error}).") from None
    if corners > _MAX_CORNERS:
        raise UserError(f"{where}: feature {number} has {corners} corners, which no outline of a follicle has.")
    if not np.isfinite(get_coordinates(geometry)).all():
        raise UserError(f"{where}: the geometry of feature {number} holds a coordinate that is no number.")
    return geometry


def _parts_of(geometry: BaseGeometry) -> tuple[tuple[Polygon, ...], tuple[Point, ...]]:
    """Polygons and points of a geometry, the largest polygon first: follicles that were merged are several."""
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
