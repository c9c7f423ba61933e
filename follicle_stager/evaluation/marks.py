"""Score claims on pictures that a person marked: where each follicle is, how wide, and its stage.

Marks are less than outlines, but they are what real pictures have. A picture ``X.png`` has its marks beside it, in
``X.truth.json``: follicles that must be found, and things that may be found, because the person was not sure of them.
Pictures of tissue without follicles are in a folder with a table ``SOURCES.csv``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from shapely import get_coordinates
from shapely.errors import ShapelyError
from shapely.geometry import Point, Polygon, box, shape

from follicle_stager.annotations.features import read_features
from follicle_stager.annotations.objects import class_of
from follicle_stager.config import explain
from follicle_stager.errors import UserError
from follicle_stager.files import read_json, write_text
from follicle_stager.geometry import equivalent_diameter
from follicle_stager.matching import match_outlines
from follicle_stager.slides import slide_name
from follicle_stager.stages import Stage, read_class
from follicle_stager.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from follicle_stager.records import Follicle

#: Ending of a file of marks; what is before it is the name of the picture without its ending.
ENDING = ".truth.json"
#: Table of a folder of pictures of tissue without follicles.
SOURCES = "SOURCES.csv"
#: Smallest piece of tissue in these and in marked pictures, mm²: many are fields of some hundred µm only.
SMALLEST_FIELD_MM2 = 0.002

#: Typical diameter of a mouse follicle of each stage, µm. Pictures of other species are read as if their follicles had
#: these sizes: this checks looks, never sizes.
TYPICAL_UM = {
    Stage.PRIMORDIAL: 20,
    Stage.TRANSITIONAL: 24,
    Stage.PRIMARY: 50,
    Stage.SECONDARY: 130,
    Stage.EARLY_ANTRAL: 220,
    Stage.ANTRAL: 350,
    Stage.PREOVULATORY: 450,
}

#: Stages that count as right besides the marked one, as marks by eye are not exact.
ALSO_RIGHT = {
    Stage.PRIMORDIAL: (Stage.TRANSITIONAL,),
    Stage.PRIMARY: (Stage.TRANSITIONAL,),
    Stage.EARLY_ANTRAL: (Stage.ANTRAL,),
    Stage.ANTRAL: (Stage.PREOVULATORY, Stage.EARLY_ANTRAL),
}

# Pixel sizes that the search accepts, µm/px.
_LOWEST_MPP, _HIGHEST_MPP = 0.05, 2.9
# Width of a found outline, compared with that of its mark.
_NARROWEST, _WIDEST = 0.4, 2.5
# A claim whose centre is nearer to a mark than this share of the mark's diameter is not an extra one.
_NEAR = 0.6
# Diameter of a mark without one, px.
_UNKNOWN_PX = 20.0


class Mark(BaseModel):
    """A follicle that a person marked: centre and diameter in pixels of the picture, and stage."""

    model_config = ConfigDict(frozen=True)

    x: float
    y: float
    d: Annotated[float, Field(gt=0)] | None = None
    stage: Stage

    def near(self, follicle: Follicle) -> bool:
        """Whether a claim contains the mark, or its centre is close to it."""
        centre = Point(self.x, self.y)
        return bool(
            follicle.outline.contains(centre)
            or follicle.outline.centroid.distance(centre) < _NEAR * (self.d or _UNKNOWN_PX)
        )


class MarkedPicture(BaseModel):
    """A picture with its marks.

    Attributes
    ----------
    must_find, may_find
        Follicles of which the person was sure, and others.
    corpora_lutea
        Corpora lutea, which are not follicles.
    ignore_boxes
        Boxes (left, top, right, bottom; px) with writing or unclear tissue, in which claims are not judged.
    species
        Species; ``"mouse"`` if the follicles have the sizes of a mouse.
    mpp
        µm per pixel; None if unknown.
    report_only
        Reason why the picture is listed but not summed; empty if it is summed.
    creator, source, licence, marked_by
        Who made the picture, where it is from, its licence, and who marked it.
    """

    model_config = ConfigDict(frozen=True)

    must_find: tuple[Mark, ...]
    may_find: tuple[Mark, ...] = ()
    corpora_lutea: tuple[Mark, ...] = ()
    ignore_boxes: tuple[tuple[float, float, float, float], ...] = ()
    species: str = ""
    mpp: Annotated[float, Field(gt=0)] | None = None
    report_only: str = ""
    creator: str = ""
    source: str = ""
    licence: str = ""
    marked_by: str = ""

    @property
    def of_mouse(self) -> bool:
        """Whether the picture shows a mouse."""
        return self.species == "mouse"

    @property
    def mpp_to_read(self) -> float | None:
        """µm per pixel at which the picture is searched; None if there is no mark with a diameter.

        For mouse pictures with a known pixel size this is the pixel size. For others it is chosen so that the marked
        follicles have typical sizes of a mouse.
        """
        if self.of_mouse and self.mpp is not None:
            return self.mpp
        marks = (*self.must_find, *self.may_find)
        scales = [TYPICAL_UM[m.stage] / m.d for m in marks if m.d and m.stage in TYPICAL_UM]
        return round(min(max(median(scales), _LOWEST_MPP), _HIGHEST_MPP), 4) if scales else None


@dataclass(frozen=True)
class MarkScore:
    """What was found of a marked picture.

    Attributes
    ----------
    answers
        Each mark that had to be found, with the claim on it; None if it was missed.
    extra
        Claims that are not on a mark.
    """

    answers: tuple[tuple[Mark, Follicle | None], ...]
    extra: tuple[Follicle, ...]

    @property
    def found(self) -> int:
        """Number of marks that were found."""
        return sum(claim is not None for _, claim in self.answers)

    @property
    def right(self) -> int:
        """Number of marks that were found and have the right stage."""
        return sum(is_right(mark, claim) for mark, claim in self.answers)


def is_right(mark: Mark, claim: Follicle | None) -> bool:
    """Whether a claim has the stage of its mark, or one of `ALSO_RIGHT`."""
    return claim is not None and claim.stage in (mark.stage, *ALSO_RIGHT.get(mark.stage, ()))


def score_marks(claims: Sequence[Follicle], picture: MarkedPicture, *, visible: Collection[Stage]) -> MarkScore:
    """Compare claims with the marks of a picture.

    A mark is found if an outline contains its centre and is 0.4 to 2.5 times as wide; the width of a mark without a
    diameter is not checked. Each claim answers one mark; of several, the one with the nearest centre is taken. A second
    claim on a mark is not extra. Claims of corpora lutea answer no mark of a follicle.

    Parameters
    ----------
    claims
        Follicles that were found, outlines in pixels of the picture.
    picture
        Marks of the picture.
    visible
        Stages that can be seen at the resolution; marks of other stages may be found, but need not be.

    Returns
    -------
    MarkScore
        Answers and extra claims.
    """
    sure = [m for m in picture.must_find if m.stage in visible]
    hidden = [m for m in picture.must_find if m.stage not in visible]
    free = [c for c in claims if c.stage is not Stage.NOT_FOLLICLE]
    marks = [*sure, *picture.may_find, *hidden]
    answers: list[tuple[Mark, Follicle | None]] = []
    for mark in sure:
        centre = Point(mark.x, mark.y)
        possible = [
            c for c in free if c.stage is not Stage.CORPUS_LUTEUM and c.outline.contains(centre) and _fits(c, mark)
        ]
        best = min(possible, key=lambda c: c.outline.centroid.distance(centre), default=None)
        answers.append((mark, best))
        free = [c for c in free if c is not best]
    ignored = [box(*corners) for corners in picture.ignore_boxes]
    extra = [
        c
        for c in free
        if not any(m.near(c) for m in (picture.corpora_lutea if c.stage is Stage.CORPUS_LUTEUM else marks))
        and not any(area.contains(c.outline.centroid) for area in ignored)
    ]
    return MarkScore(tuple(answers), tuple(extra))


def _fits(claim: Follicle, mark: Mark) -> bool:
    return mark.d is None or _NARROWEST <= equivalent_diameter(claim.outline) / mark.d <= _WIDEST


def unchanged(before: Sequence[Follicle], after: Sequence[Follicle], *, visible: Collection[Stage]) -> tuple[int, int]:
    """Count the follicles of one search that another search finds again with the same stage.

    Parameters
    ----------
    before, after
        Follicles of two searches of one slide, outlines in the same pixels.
    visible
        Stages that both searches can see; others are left out.

    Returns
    -------
    again, all : int
        Number of follicles found again (IoU of at least 0.5) with the same stage, and number of all of ``before``.
    """
    first = [f for f in before if f.stage in visible]
    pairs = match_outlines([f.outline for f in after], [f.outline for f in first], min_iou=0.5)
    return sum(after[p.found].stage == first[p.true].stage for p in pairs), len(first)


def read_marked(path: Path) -> MarkedPicture:
    """Read the marks of a picture.

    Raises
    ------
    UserError
        If the file cannot be read; the message names the value.
    """
    try:
        return MarkedPicture.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None


def write_marked(path: Path, picture: MarkedPicture) -> None:
    """Write the marks of a picture, in the form that `read_marked` reads."""
    write_text(path, picture.model_dump_json(indent=1, exclude_defaults=True) + "\n")


def picture_of(path: Path) -> Path:
    """Picture beside a file of marks.

    Raises
    ------
    UserError
        If there is none, or more than one.
    """
    stem = path.name.removesuffix(ENDING)
    others = [p for p in path.parent.iterdir() if not p.name.endswith(".json") and slide_name(p) == stem]
    if len(others) != 1:
        said = f"{len(others)} pictures are called {stem}" if others else f"there is no picture {stem} beside it"
        raise UserError(f"{path}: {said}; put exactly one picture with this name into {path.parent}.")
    return others[0]


@dataclass(frozen=True)
class SourcePicture:
    """A picture of tissue without follicles: its line in the table, file, µm per pixel, use, and all cells."""

    line: int
    path: Path
    mpp: float
    use: str
    cells: Mapping[str, str]


def read_sources(folder: Path) -> list[SourcePicture]:
    """Read the table of a folder of pictures of tissue without follicles.

    Raises
    ------
    UserError
        If the table is missing or lacks a column, or a pixel size is not a number. Whether the pictures exist is not
        checked.
    """
    path = folder / SOURCES
    if not path.is_file():
        raise UserError(f"{folder}: there is no {SOURCES} in it; it needs the columns file, mpp and use.")
    table = read_table(path)
    for column in ("file", "mpp", "use"):
        if column not in table.columns:
            raise UserError(f"{path}: the column {column} is missing.")
    pictures = []
    for line, row in table.rows:
        try:
            mpp = float(row["mpp"])
        except ValueError:
            raise UserError(f"{path}: line {line}: the mpp is {row['mpp']!r}, not a number.") from None
        pictures.append(SourcePicture(line, folder / row["file"], mpp, row["use"], row))
    return pictures


def marks_from_annotations(path: Path) -> tuple[MarkedPicture, Counter[str]]:
    """Turn annotations that were exported from QuPath (GeoJSON) or ImageJ (ROIs) into marks.

    Parameters
    ----------
    path
        Annotations of one picture. The class of each is its stage, with ``unsure`` behind it if the person was not sure
        (``Secondary: unsure``). An annotation of class ``Ignore*`` is an area in which claims are not judged. Outlines
        give a diameter, points do not.

    Returns
    -------
    picture : MarkedPicture
        Marks, without species, pixel size and origin.
    left_out : Counter of str
        Numbers of annotations of other classes.

    Raises
    ------
    UserError
        If the file cannot be read, or contains no mark.
    """
    sure: list[Mark] = []
    unsure: list[Mark] = []
    corpora: list[Mark] = []
    ignored: list[tuple[float, float, float, float]] = []
    left_out: Counter[str] = Counter()
    for number, feature in enumerate(read_features(path), start=1):
        try:
            label = class_of(feature.get("properties") or {})
            geometry = shape(feature["geometry"])
            if geometry.is_empty or not np.isfinite(get_coordinates(geometry)).all():
                raise ValueError("its outline is empty, or has a coordinate that is not a number")
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError) as error:
            raise UserError(f"{path}: feature {number} cannot be read ({error}).") from None
        singles = [g for g in getattr(geometry, "geoms", (geometry,)) if isinstance(g, Point | Polygon)]
        sure_of, stage = _stage_of(label)
        if label.strip().lower().startswith("ignore"):
            ignored.append(geometry.bounds)
        elif stage is None or not singles:
            left_out["lines" if not singles else f"class {label}" if label else "without a class"] += 1
        else:
            marks = corpora if stage is Stage.CORPUS_LUTEUM else sure if sure_of else unsure
            marks += [_mark(single, stage) for single in singles]
    if not (sure or unsure or corpora or ignored):
        raise UserError(
            f"{path}: no mark in it. Give the annotations classes that are stages, such as Secondary, and export again."
        )
    picture = MarkedPicture(
        must_find=tuple(sure), may_find=tuple(unsure), corpora_lutea=tuple(corpora), ignore_boxes=tuple(ignored)
    )
    return picture, left_out


def _stage_of(label: str) -> tuple[bool, Stage | None]:
    """Whether a person was sure, and the stage that a class names; None if it names none."""
    parts = [part for part in label.split(":") if part.strip().lower() != Stage.UNSURE]
    sure = len(parts) == len(label.split(":"))
    if not sure and not parts:
        return False, Stage.UNSURE
    stage, _ = read_class(":".join(parts))
    return sure and stage is not Stage.UNSURE, None if stage is Stage.NOT_FOLLICLE else stage


def _mark(geometry: Point | Polygon, stage: Stage) -> Mark:
    centre, diameter = geometry.centroid, equivalent_diameter(geometry)
    return Mark(x=round(centre.x, 1), y=round(centre.y, 1), d=round(diameter, 1) or None, stage=stage)
