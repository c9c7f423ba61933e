"""GeoJSON features on the disk: what follicles and sections have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import transform
from shapely.geometry import mapping

from follicle_stager.annotations.imagej import features_of_rois, is_rois
from follicle_stager.errors import UserError
from follicle_stager.files import read_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon, Polygon

#: Coordinates are written to a hundredth of a pixel.
PER_PX = 100


def geometry_of(geometry: Polygon | MultiPolygon) -> dict[str, Any]:
    """Geometry of a feature, rounded."""
    return dict(mapping(transform(geometry, rounded)))


def rounded(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round coordinates to what is written."""
    return np.round(xy * PER_PX) / PER_PX


def write_features(path: Path, features: list[dict[str, Any]]) -> None:
    """Write features atomically, one per line, so that people can read the file and compare versions."""
    lines = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
    write_text(path, f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')


def read_features(path: Path) -> list[dict[str, Any]]:
    """Features of a GeoJSON file as written, including child objects; ImageJ ROIs are converted to such features."""
    if is_rois(path):
        return features_of_rois(path)
    try:
        data = read_json(path)
    except UserError as error:
        if "JSON" not in str(error):
            raise
        raise UserError(f"{str(error).replace('valid JSON', 'GeoJSON')} Export the annotations again.") from None
    if isinstance(data, dict):
        data = data.get("features", [data])
    if not isinstance(data, list) or not all(isinstance(f, dict) and "geometry" in f for f in data):
        raise UserError(f"{path}: this is JSON, but not a list of GeoJSON features.")
    features: list[dict[str, Any]] = []
    waiting = list(reversed(data))
    while waiting:
        feature = waiting.pop()
        features.append(feature)
        properties = feature.get("properties")
        children = properties.get("childObjects") if isinstance(properties, dict) else None
        waiting += [c for c in reversed(children) if isinstance(c, dict)] if isinstance(children, list) else []
    return features
