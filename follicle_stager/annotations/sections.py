"""Sections of a slide as GeoJSON: one MultiPolygon feature each, with its animal and whether it is counted."""

from __future__ import annotations

import math
import uuid
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import get_coordinates, set_precision, transform
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry import shape as as_geometry

from follicle_stager.annotations.features import PER_PX, geometry_of, read_features, rounded, write_features
from follicle_stager.errors import UserError
from follicle_stager.records import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_OF_SECTION = ("section_id", "included", "reason", "doubt", "animal", "ovary", "judged_whole")
# What people write for it.
_YES_OR_NO = {"yes": True, "true": True, "no": False, "false": False}


def write_sections(path: Path, sections: Iterable[Section]) -> None:
    """Write the sections of a slide, one MultiPolygon feature each."""
    write_features(path, [section_feature(section) for section in sections])


def section_feature(section: Section) -> dict[str, Any]:
    """The feature of one section; its outline is rounded to 0.01 px, its area to 10 µm²."""
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, section.section_id)),
        "geometry": geometry_of(section.outline),
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
                "judged_whole": "yes" if section.judged_whole else "no",
            },
        },
    }


def read_sections(path: Path) -> list[Section]:
    """Read the sections of a slide as `write_sections` wrote them."""
    return sections_of(read_features(path), path)


def sections_of(features: Sequence[dict[str, Any]], where: Path | str) -> list[Section]:
    """The sections of a list of features; ``where`` is their origin, for messages. See `read_sections`."""
    sections = []
    for number, feature in enumerate(features, start=1):
        try:
            sections.append(_section(feature))
        except KeyError as error:
            said = f"{error} is missing or not allowed" if error.args else "something is missing"
            raise UserError(
                f"{where}: section {number} cannot be read ({said}); included and judged_whole must be yes or no."
            ) from None
        except (TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError) as error:
            raise UserError(f"{where}: section {number} cannot be read ({error}).") from None
    return sections


def _section(feature: dict[str, Any]) -> Section:
    properties = feature["properties"]
    metadata = properties["metadata"]
    for key in metadata:
        if key not in _OF_SECTION and (meant := get_close_matches(key.lower(), _OF_SECTION, n=1, cutoff=0.8)):
            raise ValueError(f"there is no {key!r}; did you mean {meant[0]!r}?")
    section_id, area_mm2 = metadata["section_id"], float(properties["measurements"]["Area mm2"])
    if not isinstance(section_id, str) or not section_id:
        raise TypeError(f"{section_id!r} is not a section_id")
    if not 0 <= area_mm2 < math.inf:
        raise ValueError(f"{area_mm2} is not an area")
    geometry = as_geometry(feature["geometry"])
    if not np.isfinite(get_coordinates(geometry)).all():
        raise ValueError("a coordinate is not a number")
    if not geometry.is_valid:  # rounding can fold a sharp corner over itself, which makes cutting fail
        geometry = transform(set_precision(geometry.buffer(0), 1 / PER_PX), rounded)
    return Section(
        section_id=section_id,
        outline=MultiPolygon([g for g in getattr(geometry, "geoms", [geometry]) if isinstance(g, Polygon)]),
        area_mm2=area_mm2,
        order=int(properties["measurements"]["Order"]),
        included=_YES_OR_NO[str(metadata.get("included", "yes")).strip().lower()],
        judged_whole=_YES_OR_NO[str(metadata.get("judged_whole") or "no").strip().lower()],
        **{name: str(metadata.get(name) or "").strip() for name in ("reason", "doubt", "animal", "ovary")},
    )


def as_written(sections: Iterable[Section]) -> list[Section]:
    """Sections as they are after they were written and read."""
    return sections_of([section_feature(s) for s in sections], "sections")
