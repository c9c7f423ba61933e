"""Move the camera of a viewer, in level-0 pixels of a slide; without Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shapely import affinity
from shapely.geometry import box

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from shapely.geometry import Polygon

    from follicle_stager.pixel_size import PixelSize

    #: Left, top, right and bottom.
    Bounds = tuple[float, float, float, float]

# Size of a follicle on the screen, px; smallest field that this shows, µm: small follicles need their surroundings.
_IN_VIEW_PX, _LEAST_UM = 250, 60.0
# Share of the screen that a section takes.
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
    """Area that is on the screen, level-0 pixels."""
    height, width = (side / viewer.scene.camera.zoom for side in viewer.canvas.size)
    y, x = viewer.scene.camera.center[-2:]
    seen_um = box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    # In napari, pixel centres have integer coordinates; in the library, pixel edges have.
    return affinity.translate(size.to_px(seen_um), 0.5, 0.5)


def _center(viewer: ViewerModel, bounds: Bounds, size: PixelSize) -> tuple[float, float]:
    """Center the camera on some bounds; return their height and width, µm."""
    left, top, right, bottom = bounds
    x_um, y_um = size.xy_um((left + right) / 2, (top + bottom) / 2)
    viewer.scene.camera.center = (y_um, x_um)
    width_um, height_um = size.xy_um(right - left, bottom - top)
    return height_um, width_um
