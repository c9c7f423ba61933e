"""Convert objects of the library to layer data of napari; without Qt.

The scale of all layers is the µm/px of the slide, so that they align and the scale bar is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import bounds
from shapely.geometry import Point, Polygon

from follicle_stager.stages import Health, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle, Section
    from follicle_stager.slides import Slide
    from follicle_stager.stages import Stage

    #: ``(data, keyword arguments, layer type)``, as readers of napari return it.
    LayerData = tuple[Any, dict[str, Any], str]


# Tolerance when outlines are simplified, px: drawing time grows with the number of corners, and this is not visible.
_UNSEEN_PX = 0.2
# Tolerance for sections, µm: they are seen at lower magnification.
_UNSEEN_UM = 2.0


def slide_layer(slide: Slide, *, name: str = "") -> LayerData:
    """An image pyramid that reads only what is on the screen; by default, it has the name of the file."""
    levels = [slide.to_dask(level) for level in range(len(slide.levels))]
    options: dict[str, Any] = {
        "name": name or slide.path.name,
        "rgb": True,
        "multiscale": len(levels) > 1,
        **scale_options(slide.stated_pixel_size),
    }
    return (levels if len(levels) > 1 else levels[0]), options, "image"


def follicle_layer(follicles: Sequence[Follicle], size: PixelSize | None, *, name: str = "follicles") -> LayerData:
    """Outlines as shapes, coloured by stage, with their properties as features.

    They have no text, because napari lays out the text of all shapes again at every change. See `label_layer`.

    Parameters
    ----------
    follicles
        Follicles, outlines in level-0 pixels.
    size
        Pixel size of the slide, µm/px; None leaves the layer in pixels.
    name
        Name of the layer.
    """
    outlines = [vertices(f.outline) for f in follicles]
    rows = [features_of(f) for f in follicles]
    features = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    options: dict[str, Any] = {
        "name": name,
        "shape_type": "polygon",
        "features": features,
        "edge_color": [edge_color(f) for f in follicles] or "black",
        "face_color": "transparent",
        "edge_width": 2,
        **scale_options(size),
    }
    return outlines, options, "shapes"


def label_layer(follicles: Sequence[Follicle], size: PixelSize | None, *, name: str = "stages") -> LayerData:
    """Stage of each follicle as text at its upper left, because not everyone can distinguish the colours."""
    corners = bounds([f.outline for f in follicles]).reshape(-1, 4)[:, 1::-1] - 0.5
    options: dict[str, Any] = {
        "name": name,
        "features": {"label": [label_of(f) for f in follicles]},
        "text": {"string": "{label}", "size": 9, "color": "black", "anchor": "upper_left"},
        "size": 1e-3,
        "face_color": "transparent",
        "border_color": "transparent",
        **scale_options(size),
    }
    return corners, options, "points"


def section_layer(
    sections: Sequence[Section], owners: Mapping[str, tuple[str, str]] | None, size: PixelSize | None
) -> LayerData:
    """Sections as shapes, labelled with animal and ovary; those that are not counted are greyed out.

    Parameters
    ----------
    sections
        Sections, outlines in level-0 pixels; a torn section becomes several shapes.
    owners
        Animal and ovary by section id, if they are known; None if no name may be shown.
    size
        Pixel size of the slide, µm/px.
    """
    parts = [(s, number, part) for s in sections for number, part in enumerate(s.outline.geoms)]
    words = {s.section_id: ": ".join(t for t in (short_name(s), _said_of(s, owners)) if t) for s in sections}
    options: dict[str, Any] = {
        "name": "sections",
        "shape_type": "polygon",
        "features": {
            "section": [short_name(s) for s, *_ in parts],
            "label": ["" if number else words[s.section_id] for s, number, _ in parts],
        },
        "text": {"string": "{label}", "size": 11, "color": "black", "anchor": "upper_left"},
        "edge_color": [(0.3, 0.3, 0.3, 1) if s.included else (0.7, 0.1, 0.1, 1) for s, *_ in parts] or "black",
        "face_color": [(0, 0, 0, 0) if s.included else (0.5, 0.5, 0.5, 0.5) for s, *_ in parts] or "transparent",
        "edge_width": 3,
        **scale_options(size),
    }
    coarse = _UNSEEN_UM / size.mpp if size is not None else _UNSEEN_PX
    return [vertices(part, coarse) for *_, part in parts], options, "shapes"


def _said_of(section: Section, owners: Mapping[str, tuple[str, str]] | None) -> str:
    if not section.included:
        return f"not counted, {section.reason or 'left out'}"
    if owners is None:
        return ""
    return " ".join(owners.get(section.section_id, ("?",))).strip()


def short_name(section: Section) -> str:
    """Name of a section without the name of its slide."""
    return section.section_id.rpartition("_s")[2]


def vertices(outline: Polygon, unseen_px: float = _UNSEEN_PX) -> NDArray[np.float64]:
    """An outline (level-0 pixels) in napari's coordinates, (n, 2) row and column; invisible corners are left out."""
    # In napari, pixel centres have integer coordinates; in the library, pixel edges have.
    ring = outline.exterior.simplify(unseen_px)
    return np.asarray(ring.coords)[:-1, 1::-1] - 0.5


def outline_of(shape: NDArray[np.floating], kind: str = "polygon") -> Polygon:
    """The inverse of `vertices`, also for drawn shapes; napari stores an ellipse as the corners of its bounding box."""
    corners = points_of(shape)
    if kind == "ellipse":
        (x, y), a, b = corners.mean(axis=0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        unit = np.asarray(Point(0, 0).buffer(1).exterior.coords)
        corners = unit[:, :1] * a + unit[:, 1:] * b + (x, y)
    return Polygon(corners) if len(corners) > 2 else Polygon()


def points_of(shape: NDArray[np.floating]) -> NDArray[np.float64]:
    """Corners of a shape in level-0 pixels, (n, 2) x and y."""
    return np.asarray(shape, np.float64)[:, ::-1] + 0.5


def edge_color(follicle: Follicle) -> Any:
    """Colour of an outline, RGBA; a rejected one is transparent."""
    return edge_color_of(follicle.stage) * (1, 1, 1, follicle.status != Status.REJECTED)


def edge_color_of(stage: Stage) -> NDArray[np.float64]:
    """Colour of a stage, RGBA."""
    return np.array([*stage.color, 255]) / 255


def label_of(follicle: Follicle) -> str:
    """Stage and health of a follicle, with a tick if a person staged it; empty if it was rejected."""
    if follicle.status == Status.REJECTED:
        return ""
    dying = ", atretic" if follicle.health == Health.ATRETIC else ""
    return follicle.stage.label + dying + (" ✓" if follicle.staged_by_person else "")


def features_of(follicle: Follicle) -> dict[str, object]:
    """Features of a follicle that napari shows."""
    return {
        "id": follicle.id,
        "stage": follicle.stage.label,
        "health": follicle.health.value,
        "countable": follicle.countable.value,
        "status": follicle.status.value,
        "score": follicle.score,
        "reasons": "; ".join(follicle.reasons),
    }


def scale_options(size: PixelSize | None) -> dict[str, Any]:
    """Scale and units of a layer on a slide, row before column."""
    if size is None:
        return {}
    return {"scale": (size.mpp_y, size.mpp_x), "units": ("um", "um")}


def set_scale(layer: Any, scale: tuple[float, float]) -> None:
    """Give a layer another scale; if it is the same, napari would nevertheless draw everything again."""
    if tuple(layer.scale) != scale:
        layer.scale = scale
