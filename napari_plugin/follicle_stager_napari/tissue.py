"""The layer of the sections, below the follicles; without Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from follicle_stager_napari.layers import scale_options, section_layer, set_scale
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
        # Whether the layer does not show the sections yet.
        self._stale = True

    def show(self, wanted: bool) -> None:
        """Show the layer always, or only if a section is not counted: with thousands of follicles, drawing is slow."""
        self._wanted = wanted
        self.hide(False)

    def hide(self, hidden: bool) -> None:
        """Hide the layer, or show it again if it is wanted."""
        if self.layer is None:
            return
        visible = not hidden and (self._wanted or not all(s.included for s in self.drawn))
        if visible and self._stale:
            self._fill()
        if self.layer.visible != visible:
            self.layer.visible = visible

    def mark(self, ids: Sequence[str]) -> None:
        """Draw some sections with thick outlines."""
        self._chosen = frozenset(ids)
        self.rescale(self._px)

    def rescale(self, px: float) -> None:
        """Draw the outlines with constant widths on the screen, of which a pixel shows ``px`` level-0 pixels."""
        self._px = px
        if self.layer is not None and self.layer.nshapes and not self._stale:
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
        self.drawn, self._stale = self._desk.session.sections, True
        if self.layer is None or self.layer not in self._viewer.layers:  # the user may have deleted it
            self.layer = self._viewer.add_shapes(None, ndim=2, name="sections", **scale_options(self._desk.pixel_size))
            self.layer.editable = False
        self.hide(False)

    def _fill(self) -> None:
        """Put the sections into the layer, which takes napari some time, and so waits until it is visible."""
        tissue = self._desk.tissue
        self._shapes, self._stale = tissue.sections, False
        owners = tissue.owner_of() if self._desk.blinding is None else None
        data, options, _ = section_layer(self._shapes, owners, self._desk.pixel_size)
        self.layer.data = []
        if data:
            self.layer.add_polygons(
                data, **{name: options[name] for name in ("edge_color", "face_color", "edge_width")}
            )
        self.layer.features = options["features"]
        set_scale(self.layer, options["scale"])
        self.layer.text = options["text"]
        self.rescale(self._px)

    def forget(self) -> None:
        """Forget the layer of a slide that was closed."""
        self.layer, self.drawn = None, ()
