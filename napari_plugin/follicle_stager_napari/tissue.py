"""The layer of the sections, below the follicles; without Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from follicle_stager_napari.layers import section_layer
from follicle_stager_napari.screen import CHOSEN_PX, LINE_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from shapely.geometry import MultiPolygon

    from follicle_stager.records import Section
    from follicle_stager.review.desk import Desk


class TissueLayer:
    """Sections of the open slide of a desk, as a layer that cannot be edited.

    Parameters
    ----------
    viewer
        Viewer that shows the layer.
    desk
        Desk with the open slide.

    Attributes
    ----------
    layer
        Layer of napari; None before the first slide.
    drawn
        Sections as they are drawn.
    """

    def __init__(self, viewer: ViewerModel, desk: Desk) -> None:
        self._viewer, self._desk = viewer, desk
        self.layer: Any = None
        self.drawn: tuple[Section, ...] = ()
        self._wanted = False
        self._chosen: frozenset[str] = frozenset()
        self._px = 1.0
        # Sections in the order of the shapes.
        self._shapes: list[Section] = []

    def show(self, wanted: bool) -> None:
        """Show the layer always, or only if a section is not counted: with thousands of follicles, drawing is slow."""
        self._wanted = wanted
        self.hide(False)

    def hide(self, hidden: bool) -> None:
        """Hide the layer, or show it again if it is wanted."""
        if self.layer is not None:
            self.layer.visible = not hidden and (self._wanted or not all(s.included for s in self.drawn))

    def mark(self, ids: Sequence[str]) -> None:
        """Draw some sections with thick outlines."""
        self._chosen = frozenset(ids)
        self.rescale(self._px)

    def rescale(self, px: float) -> None:
        """Draw the outlines with constant widths on the screen, of which a pixel shows ``px`` level-0 pixels."""
        self._px = px
        if self.layer is not None and self.layer.nshapes:
            self.layer.edge_width = [
                px * (CHOSEN_PX if s.section_id in self._chosen else LINE_PX)
                for s in self._shapes
                for _ in s.outline.geoms
            ]
            self.layer.refresh()

    def outline(self, section_id: str) -> MultiPolygon:
        """Outline of a section, level-0 pixels."""
        return next(s for s in self.drawn if s.section_id == section_id).outline

    def draw(self) -> None:
        """Draw the current sections, at the same place in the layer list."""
        tissue, size = self._desk.tissue, self._desk.pixel_size
        self.drawn, self._shapes = self._desk.session.sections, tissue.sections
        owners = tissue.owner_of() if self._desk.blinding is None else None
        data, options, _ = section_layer(self._shapes, owners, size)
        layers, above = self._viewer.layers, None
        if self.layer is not None and self.layer in layers:  # the user may have deleted it
            above = layers.index(self.layer)
            layers.remove(self.layer)
        self.layer = self._viewer.add_shapes(data or None, ndim=2, **(options if data else {"name": options["name"]}))
        self.layer.editable = False
        self.rescale(self._px)
        self.hide(False)
        if above is not None:
            layers.move(layers.index(self.layer), above)

    def forget(self) -> None:
        """Forget the layer of a slide that was closed."""
        self.layer, self.drawn = None, ()
