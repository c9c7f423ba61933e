"""A small picture of the whole slide, with a frame around what is on the screen; a click moves the view there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from follicle_stager_napari.camera import in_view

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.slides import Slide

_HEIGHT_PX = 120
# Largest level that is read for the map, px: a slide without a pyramid would be decoded as a whole.
_MOST_PX = 30_000_000


class Minimap(QWidget):
    """The map of the open slide; empty if the slide has no small level.

    Parameters
    ----------
    viewer
        Viewer that shows the slide.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._picture = QPixmap()
        self._size_px = (1, 1)
        self._size: PixelSize | None = None
        self.setFixedHeight(_HEIGHT_PX)
        self.setToolTip("The whole slide; click to go to a place.")
        for event in (viewer.scene.camera.events.zoom, viewer.scene.camera.events.center):
            event.connect(lambda event: self.update())

    def show_slide(self, slide: Slide) -> None:
        """Show the map of a slide.

        Raises
        ------
        UserError
            If the slide cannot be read.
        """
        level = slide.levels[-1]
        self._size, self._size_px, self._picture = slide.stated_pixel_size, (slide.width, slide.height), QPixmap()
        if level.width * level.height <= _MOST_PX:
            small = Image.fromarray(slide.read_region(0, 0, level.width, level.height, len(slide.levels) - 1))
            small.thumbnail((4 * _HEIGHT_PX, 2 * _HEIGHT_PX))
            rgb = np.ascontiguousarray(small.convert("RGB"))
            height, width = rgb.shape[:2]
            image = QImage(rgb.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            self._picture = QPixmap.fromImage(image.copy())
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._picture, self._size = QPixmap(), None
        self.update()

    @property
    def place(self) -> QRectF:
        """Where the slide is in the widget."""
        width, height = self._size_px
        scale = min(self.width() / width, self.height() / height)
        return QRectF((self.width() - scale * width) / 2, 0, scale * width, scale * height)

    def _on_map(self, x_px: float, y_px: float) -> QPointF:
        at, (width, height) = self.place, self._size_px
        return QPointF(at.left() + x_px / width * at.width(), at.top() + y_px / height * at.height())

    def paintEvent(self, event: object) -> None:
        """Draw the map and the frame; called by Qt."""
        if self._picture.isNull() or self._size is None:
            return
        painter = QPainter(self)
        painter.drawPixmap(self.place, self._picture, QRectF(self._picture.rect()))
        left, top, right, bottom = in_view(self._viewer, self._size).bounds
        painter.setPen(QPen(QColor(20, 90, 220), 2))
        frame = QRectF(self._on_map(left, top), self._on_map(right, bottom))
        painter.drawRect(frame.intersected(self.place.adjusted(1, 1, -1, -1)))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Move the view to the place of a click; called by Qt."""
        if self._picture.isNull() or self._size is None or event.button() != Qt.MouseButton.LeftButton:
            return
        at, (width, height) = self.place, self._size_px
        x = (event.position().x() - at.left()) / at.width() * width
        y = (event.position().y() - at.top()) / at.height() * height
        x_um, y_um = self._size.xy_um(x, y)
        self._viewer.scene.camera.center = (y_um, x_um)
