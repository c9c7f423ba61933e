"""Positions and classes that a person set: QuPath's measurement tables, and GeoJSON.

The class names stay as they were written: two annotators may use names that are no stages of ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

import pandas as pd
from shapely.errors import ShapelyError
from shapely.geometry import shape

from follicle_stager.annotations.geojson import class_name, read_features
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

_CLASS_COLUMNS = ("Class", "Classification", "Name")


@dataclass(frozen=True)
class Annotation:
    """Something that a person marked: centre in µm, and what it was called."""

    x_um: float
    y_um: float
    label: str


def read_annotations(path: Path, *, mpp: float | None = None) -> list[Annotation]:
    """Read marks from QuPath GeoJSON, or from a measurement table that QuPath exported.

    Parameters
    ----------
    path
        ``.geojson`` or ``.json``; anything else is read as a table, separated by tabs, commas or semicolons.
    mpp
        µm per pixel, for files in pixels: GeoJSON, and tables with ``Centroid X px``.

    Returns
    -------
    list of Annotation
        In the order of the file. An object of several points is one mark, at their centroid; objects without a
        position are left out.

    Raises
    ------
    UserError
        If the file cannot be read, or is in pixels and ``mpp`` is missing.
    """
    if mpp is not None and not 0 < mpp < math.inf:
        raise UserError(f"--mpp is {mpp:g}; it must be more than 0.")
    if path.suffix.lower() in (".geojson", ".json"):
        return _from_geojson(path, mpp)
    return _from_table(path, mpp)


def _from_geojson(path: Path, mpp: float | None) -> list[Annotation]:
    if mpp is None:
        raise UserError(f"{path}: GeoJSON is in pixels; say with --mpp how many µm a pixel has.")
    out = []
    for number, feature in enumerate(read_features(path), start=1):
        properties = feature.get("properties") or {}
        if "follicle" in (properties.get("metadata") or {}):
            continue  # oocyte, nucleus or fluid of a follicle
        try:
            centre = shape(feature["geometry"]).centroid
        except (KeyError, TypeError, ValueError, AttributeError, ShapelyError, json.JSONDecodeError) as error:
            raise UserError(f"{path}: the geometry of feature {number} cannot be read ({error}).") from None
        if not centre.is_empty:
            out.append(Annotation(centre.x * mpp, centre.y * mpp, class_name(properties)))
    return out


def _from_table(path: Path, mpp: float | None) -> list[Annotation]:
    try:
        raw = path.read_bytes()
        # QuPath and Excel on some systems write UTF-16.
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: this is no text; give a GeoJSON, or a measurement table from QuPath.") from None
    head = text.splitlines()[0] if text.strip() else ""
    separator = max("\t,;", key=head.count)
    try:
        table = pd.read_csv(StringIO(text), sep=separator, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: the table cannot be read ({error}); export the measurements again.") from None
    images = set(table["Image"].dropna()) if "Image" in table.columns else set()
    if len(images) > 1:
        raise UserError(f"{path}: the table has marks of {len(images)} images; export one image at a time.")
    x_name, y_name, factor = _position_columns(path, list(table.columns), mpp)
    label = next((c for c in _CLASS_COLUMNS if c in table.columns), None)
    if label is None:
        raise UserError(f"{path}: no column says the class; there should be one called Class or Classification.")
    x, y = (pd.to_numeric(table[name], errors="coerce") for name in (x_name, y_name))
    broken = (x.isna() & table[x_name].notna()) | (y.isna() & table[y_name].notna())
    if broken.any():
        row = int(broken.to_numpy().argmax()) + 2
        raise UserError(f"{path}: line {row}: the centroid is no number; mend or delete the line.")
    # QuPath writes NaN for an outline without area: it has no place.
    placed = x.notna() & y.notna()
    x, y, table = x[placed], y[placed], table[placed]
    labels = table[label].fillna("").astype(str).str.strip()
    return [Annotation(float(a) * factor, float(b) * factor, c) for a, b, c in zip(x, y, labels, strict=True)]


def _position_columns(path: Path, columns: list[str], mpp: float | None) -> tuple[str, str, float]:
    for x_name in columns:
        y_name = x_name.replace(" X ", " Y ")
        if not x_name.startswith("Centroid X") or y_name not in columns:
            continue
        if "px" in x_name:
            if mpp is None:
                raise UserError(f"{path}: the positions are in pixels; say with --mpp how many µm a pixel has.")
            return x_name, y_name, mpp
        return x_name, y_name, 1.0
    raise UserError(f"{path}: no columns 'Centroid X µm' and 'Centroid Y µm'; export the measurements from QuPath.")
