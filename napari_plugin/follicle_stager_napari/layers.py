"""From the library's nouns to napari's layer data; no Qt in here.

All layers share the slide's µm/px as scale, so that they lie on each other and the scale bar is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from follicle_stager.records import Follicle
    from follicle_stager.slides import PixelSize, Slide

    #: ``(data, keyword arguments, layer type)`` as napari's readers return it
    LayerData = tuple[Any, dict[str, Any], str]


def slide_layer(slide: Slide) -> LayerData:
    """An image pyramid that reads only what is on the screen."""
    levels = [slide.to_dask(level) for level in range(len(slide.levels))]
    options: dict[str, Any] = {
        "name": slide.path.name,
        "rgb": True,
        "multiscale": len(levels) > 1,
        **scale_options(slide.pixel_size),
    }
    return (levels if len(levels) > 1 else levels[0]), options, "image"


def follicle_layer(follicles: Sequence[Follicle], size: PixelSize | None, *, name: str = "follicles") -> LayerData:
    """Outlines as shapes, coloured by stage, with what is known of each as features.

    Parameters
    ----------
    follicles
        Outlines in level-0 pixels.
    size
        µm/px of the slide; None leaves pixels.
    name
        Of the layer.
    """
    # napari counts from pixel centres, the library from pixel edges.
    outlines = [np.asarray(f.outline.exterior.coords)[:-1, ::-1] - 0.5 for f in follicles]
    features = {
        "id": [f.id for f in follicles],
        "stage": [f.stage.label for f in follicles],
        "health": [f.health.value for f in follicles],
        "countable": [f.countable.value for f in follicles],
        "status": [f.status.value for f in follicles],
        "score": [f.score for f in follicles],
        "reasons": ["; ".join(f.reasons) for f in follicles],
    }
    options: dict[str, Any] = {
        "name": name,
        "shape_type": "polygon",
        "features": features,
        "edge_color": [np.array([*f.stage.color, 255]) / 255 for f in follicles] or "black",
        "face_color": "transparent",
        "edge_width": 3,
        "text": {"string": "{stage}", "size": 9, "color": "black", "anchor": "upper_left"},
        **scale_options(size),
    }
    return outlines, options, "shapes"


def scale_options(size: PixelSize | None) -> dict[str, Any]:
    """Scale and units of a layer over a slide, row before column."""
    if size is None:
        return {}
    return {"scale": (size.mpp_y, size.mpp_x), "units": ("um", "um")}
