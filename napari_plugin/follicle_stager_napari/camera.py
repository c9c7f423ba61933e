"""Where a viewer looks, in level-0 pixels of a slide; no Qt in here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shapely import affinity
from shapely.geometry import box

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from shapely.geometry import Polygon

    from follicle_stager.pixel_size import PixelSize

    #: left, top, right, bottom
    Bounds = tuple[float, float, float, float]

# A follicle takes so much of the screen, px; a small one is shown with what is around it, µm.
_IN_VIEW_PX, _LEAST_UM = 250, 60.0
# A section takes so much of the screen.
_SHARE = 0.8


def look_at_follicle(viewer: ViewerModel, bounds: Bounds, size: PixelSize) -> None:
    """Bring a follicle into view."""
    height_um, width_um = _center(viewer, bounds, size)
    viewer.scene.camera.zoom = _IN_VIEW_PX / max(height_um, width_um, _LEAST_UM)


def look_at_all_of(viewer: ViewerModel, bounds: Bounds, size: PixelSize) -> None:
    """Bring a section into view as a whole."""
    height_um, width_um = _center(viewer, bounds, size)
    height, width = viewer.canvas.size
    viewer.scene.camera.zoom = _SHARE * min(height / height_um, width / width_um)


def in_view(viewer: ViewerModel, size: PixelSize) -> Polygon:
    """What is on the screen."""
    height, width = (side / viewer.scene.camera.zoom for side in viewer.canvas.size)
    y, x = viewer.scene.camera.center[-2:]
    seen_um = box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # napari counts from pixel centres, the library from pixel edges.
    return affinity.translate(size.to_px(seen_um), 0.5, 0.5)


def _center(viewer: ViewerModel, bounds: Bounds, size: PixelSize) -> tuple[float, float]:
    """Look at the middle of something; returns its height and width in µm."""
    left, top, right, bottom = bounds
    x_um, y_um = size.xy_um((left + right) / 2, (top + bottom) / 2)
    viewer.scene.camera.center = (y_um, x_um)
    width_um, height_um = size.xy_um(right - left, bottom - top)
    return height_um, width_um
