"""Writer for napari: a layer of outlines as QuPath GeoJSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from napari.utils.transforms import Affine
from shapely.geometry import Polygon

from follicle_stager.annotations import write_geojson
from follicle_stager.annotations.geojson import outline_id
from follicle_stager.records import Assessment, Follicle, Judgement, Shape
from follicle_stager.stages import Countable, Health, Stage, Status, read_class
from follicle_stager_napari.layers import outline_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

E = TypeVar("E", Health, Countable, Status)


def write_outlines(path: str, data: Sequence[NDArray[np.float64]], attributes: dict[str, Any]) -> list[str]:
    """Write a shapes layer as follicles; the inverse of `layers.follicle_layer`.

    Outlines that the user drew in a new layer have no stage and become ``unsure``. A layer that was moved, rotated or
    stretched is written as it is displayed, in pixels of its scale.
    """
    to_pixels = _to_pixels(attributes)
    features = attributes.get("features")
    rows = features.to_dict("records") if features is not None and len(features) == len(data) else [{}] * len(data)
    kinds = attributes.get("shape_type") or "polygon"
    kinds = [kinds] * len(data) if isinstance(kinds, str) else kinds
    known: set[object] = set()
    follicles = []
    for shape, row, kind in zip(data, rows, kinds, strict=True):
        outline = outline_of(to_pixels(shape), str(kind)) if str(kind) not in ("line", "path") else Polygon()
        if not outline.is_empty:
            # napari copies the features of the previous shape to a new one; do not use these.
            follicles.append(_follicle(outline, {} if row.get("id") in known else row))
            known.add(row.get("id"))
    write_geojson(Path(path), follicles)
    return [path]


def _to_pixels(attributes: dict[str, Any]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Function that converts corners of a shape to slide pixels (row, column), by the layer's transforms and scale."""
    given = {name: attributes[name] for name in ("scale", "translate", "rotate", "shear") if name in attributes}
    if not given:
        return lambda corners: corners
    to_world, last = Affine(**given), attributes.get("affine")
    moved = Affine(affine_matrix=np.asarray(last)) if last is not None else None
    pixel = np.asarray(to_world.scale)

    def pixels(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        world = np.asarray(to_world(corners))
        world = np.asarray(moved(world)) if moved is not None else world
        return np.asarray((world / pixel)[:, -2:])

    return pixels


def _follicle(outline: Polygon, row: dict[str, Any]) -> Follicle:
    stage = read_class(str(row.get("stage", "")))[0] or Stage.UNSURE
    score = row.get("score", 1.0)
    judgement = Judgement(
        stage=stage,
        health=_known(Health, row.get("health"), Health.UNKNOWN),
        countable=_known(Countable, row.get("countable"), Countable.UNKNOWN),
        status=_known(Status, row.get("status"), Status.ADDED),
    )
    said = Assessment(
        stage=stage,
        reasons=tuple(r for r in _text(row.get("reasons")).split("; ") if r),
        score=float(score) if isinstance(score, int | float) and 0 <= score <= 1 else 1.0,
    )
    own_id = _text(row.get("id")) or outline_id(outline)
    return Follicle(own_id, "", Shape(outline), judgement, remeasured=said)


def _text(value: object) -> str:
    """A feature as text; napari fills missing features with NaN."""
    return value if isinstance(value, str) else ""


def _known(kind: type[E], value: object, otherwise: E) -> E:
    try:
        return kind(str(value))
    except ValueError:
        return otherwise
