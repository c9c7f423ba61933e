"""Read positions and classes that a person marked: QuPath's measurement tables, GeoJSON, and ImageJ ROIs.

Class names are not changed: two annotators may use other names than our stages.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from follicle_stager.annotations.features import read_features
from follicle_stager.annotations.objects import class_of, kind_of_other, part_of, sort_objects
from follicle_stager.errors import UserError
from follicle_stager.slides.stated_mpp import number, um_per_unit
from follicle_stager.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

_CLASS_COLUMNS = ("Class", "Classification", "Name")


@dataclass(frozen=True)
class Annotation:
    """An object that a person marked: centre, µm, and class name."""

    x_um: float
    y_um: float
    label: str


@dataclass(frozen=True)
class Marks:
    """Marks of one person on a slide.

    Attributes
    ----------
    annotations
        Marks in the order of the file.
    left_out
        Numbers of objects that are not marks, by kind; `objects.in_words` makes a text of it.
    """

    annotations: list[Annotation]
    left_out: Counter[str] = field(default_factory=Counter)


def read_annotations(path: Path, *, mpp: float | None = None) -> list[Annotation]:
    """Read marks of one slide; see `read_marks`, which also returns what is left out."""
    return read_marks(path, mpp=mpp).annotations


def read_marks(path: Path, *, mpp: float | None = None) -> Marks:
    """Read marks from QuPath GeoJSON, ImageJ ROIs, or a measurement table that QuPath exported.

    Parameters
    ----------
    path
        File ``.geojson`` or ``.json`` (also ``.gz``), ``.zip`` or ``.roi``; any other file is read as a table, see
        `read_table`. Numbers may have decimal commas.
    mpp
        Pixel size, µm/px, for files in pixels: GeoJSON, ROIs, and tables with ``Centroid X px``.

    Returns
    -------
    Marks
        Marks: each point of an object is one mark, and so is each outline, at its centroid. Objects that are not
        follicles are left out by the rules of `objects`.

    Raises
    ------
    UserError
        If the file cannot be read, or is in pixels and ``mpp`` is missing.
    """
    if mpp is not None and not 0 < mpp < math.inf:
        raise UserError(f"--mpp is {mpp:g}; it must be more than 0.")
    name = path.name.lower().removesuffix(".gz")
    if not name.endswith((".geojson", ".json", ".zip", ".roi")):
        return _from_table(path, mpp)
    if mpp is None:
        raise UserError(f"{path}: this file is in pixels; give the µm per pixel with --mpp.")
    objects = sort_objects(read_features(path), path)
    annotations = []
    for one in objects.marked:
        if one.part:
            continue
        centres = [*one.points, *(outline.centroid for outline in one.outlines)]
        annotations += [Annotation(at.x * mpp, at.y * mpp, one.label) for at in centres]
    return Marks(annotations, objects.left_out)


def _from_table(path: Path, mpp: float | None) -> Marks:
    table = read_table(path)
    images = {row["Image"] for _, row in table.rows if row.get("Image")}
    if len(images) > 1:
        raise UserError(f"{path}: the table has marks of {len(images)} images; export one image at a time.")
    x_name, y_name, factor = _position_columns(path, table.columns, mpp)
    if not any(name in table.columns for name in _CLASS_COLUMNS):
        raise UserError(f"{path}: no column says the class; add one called Class or Classification.")
    marks = Marks([])
    for line, row in table.rows:
        given = next((row[name] for name in _CLASS_COLUMNS[:-1] if row.get(name)), "")
        label = class_of({"classification": given, "name": row.get("Name", "")}) or row.get("Name", "")
        other = kind_of_other({"objectType": row.get("Object type", "")}, {}, label) or _no_mark(row, label)
        x, y = (_coordinate(path, line, name, row[name]) for name in (x_name, y_name))
        if other or math.isnan(x) or math.isnan(y):  # QuPath writes NaN for an outline without area
            marks.left_out[other or "without a position"] += 1
        else:
            marks.annotations.append(Annotation(x * factor, y * factor, label))
    return marks


def _no_mark(row: dict[str, str], label: str) -> str:
    """Kind of a row that is not a single mark; empty for a mark."""
    if part_of(label):
        return "parts of follicles"
    if row.get("ROI", "").strip().lower() in ("line", "polyline", "arrow"):
        return "lines"
    several = row.get("Num points", "").strip() not in ("", "0", "1", "NaN")
    return "objects of several points (a table has only their mean: export them as GeoJSON)" if several else ""


def _coordinate(path: Path, line: int, column: str, text: str) -> float:
    try:
        return number(text) if text else math.nan
    except ValueError:
        raise UserError(
            f"{path}: line {line}, column {column}: {text!r} is not a number; correct or delete the line."
        ) from None


def _position_columns(path: Path, columns: list[str], mpp: float | None) -> tuple[str, str, float]:
    """Columns of the centroid, and the µm in one of their units."""
    for x_name in columns:
        found = re.fullmatch(r"(.*\bcentroid) x\b\s*(.*)", x_name.strip(), re.IGNORECASE)
        if found is None:
            continue
        y_name = next((c for c in columns if c.lower() == f"{found[1]} y {found[2]}".strip().lower()), None)
        if y_name is None:
            continue
        unit = found[2].strip("()[] ").lower()
        if unit in ("px", "pixel", "pixels"):
            if mpp is None:
                raise UserError(f"{path}: the positions are in pixels; give the µm per pixel with --mpp.")
            return x_name, y_name, mpp
        um = um_per_unit(unit)
        if um is None:
            raise UserError(
                f"{path}: column {x_name!r} does not say in which unit it is; call it 'Centroid X µm' or "
                "'Centroid X px', and name the y column in the same way."
            )
        return x_name, y_name, um
    raise UserError(f"{path}: no columns 'Centroid X µm' and 'Centroid Y µm'; export the measurements from QuPath.")
