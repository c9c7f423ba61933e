"""What the mouse does on the slide beside napari's own tools: the brush, and the text of the follicle under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from shapely import STRtree
from shapely.geometry import Point

from follicle_stager.stages import Status
from follicle_stager_napari.layers import label_of
from follicle_stager_napari.screen import px_of_screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel

    from follicle_stager.review.desk import Desk

# Radius of the brush on the screen, px.
_BRUSH_PX = 14.0


class Pointer:
    """The brush and the hover text on the layers of a slide.

    Parameters
    ----------
    viewer
        Viewer with the layers.
    desk
        Desk with the open slide.
    painted
        Function that is called with what a finished stroke does.

    Attributes
    ----------
    brushing
        Whether the mouse paints.
    hover
        Function that shows a text next to the pointer; an empty text hides it.
    """

    def __init__(self, viewer: ViewerModel, desk: Desk, painted: Callable[[Callable[[], None]], None]) -> None:
        self._viewer, self._desk, self._painted = viewer, desk, painted
        self.brushing = False
        self.hover: Callable[[str], None] = lambda text: None
        self._layer: Any = None
        self.forget()

    def attach(self, layers: tuple[Any, ...], shapes: Any) -> None:
        """Follow the mouse on layers; positions are those of the layer of the outlines."""
        self._layer = shapes
        for layer in layers:
            if layer is not None:
                layer.mouse_drag_callbacks.append(self._brush)
                layer.mouse_move_callbacks.append(self._move)

    def forget(self) -> None:
        """Forget the outlines, because they changed or the slide was closed."""
        self._tree: STRtree | None = None
        self._under: str | None = None

    def place(self, position: Any) -> tuple[float, float]:
        """Level-0 pixels, x and y, of a position in the window."""
        y, x = np.asarray(self._layer.world_to_data(position))[-2:] + 0.5
        return float(x), float(y)

    def _brush(self, layer: Any, event: Any) -> Iterator[None]:
        """Handle a stroke; called by napari from the press of the button to its release."""
        if not self.brushing or not self._desk.slide_id or event.button != 1:
            return
        event.handled = True
        stroke = [self.place(event.position)]
        yield
        while event.type == "mouse_move":
            event.handled = True
            stroke.append(self.place(event.position))
            yield
        radius = _BRUSH_PX * px_of_screen(self._viewer, self._desk.pixel_size)
        self._painted(lambda: self._desk.outlines.brush(stroke, radius))

    def _move(self, layer: Any, event: Any) -> None:
        """Show stage and reasons of the follicle under the pointer."""
        if not self._desk.slide_id or event.is_dragging:
            return
        follicles = self._desk.follicles
        if self._tree is None:
            self._tree = STRtree([f.outline for f in follicles])
        hits = [follicles[i] for i in self._tree.query(Point(self.place(event.position)), predicate="within")]
        there = [f for f in hits if f.status != Status.REJECTED]
        one = min(there, key=lambda f: f.outline.area, default=None)
        under = one.id if one is not None else None
        if under != self._under:
            self._under = under
            self.hover("\n".join([label_of(one), *one.reasons]) if one is not None else "")
