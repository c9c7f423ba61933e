"""Somebody at the window, with real keys and mouse events on its widgets."""

from __future__ import annotations

import numpy as np
from follicle_stager_napari.focus import canvas_of
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication


class Person:
    """Somebody at the window, with keys and mouse."""

    def __init__(self, viewer, panel, qtbot):
        self.viewer, self.panel, self._qtbot = viewer, panel, qtbot
        self.canvas = canvas_of(panel)
        self._keys = {"Enter": Qt.Key.Key_Return, ".": Qt.Key.Key_Period, ",": Qt.Key.Key_Comma, "/": Qt.Key.Key_Slash}
        self._held = {"Shift": Qt.KeyboardModifier.ShiftModifier, "Control": Qt.KeyboardModifier.ControlModifier}

    @property
    def desk(self):
        return self.panel.reviewer.desk

    def press(self, *keys):
        """Press keys one after the other, as ``Control-Z``."""
        for key in keys:
            *held, last = key.split("-")
            modifier = Qt.KeyboardModifier.NoModifier
            for name in held:
                modifier |= self._held[name]
            QTest.keyClick(self.canvas, self._keys.get(last) or getattr(Qt.Key, f"Key_{last}"), modifier)

    def type(self, *keys):
        """Press keys where they go now: to what was clicked last, if it keeps them."""
        for key in keys:
            QTest.keyClick(QApplication.focusWidget(), self._keys.get(key) or key)

    def press_button(self, text, within=None):
        """Click a button with the mouse; what stands in brackets on it may be left out."""
        buttons = (within or self.panel).findChildren(QAbstractButton)
        QTest.mouseClick(next(b for b in buttons if b.text().split("  [")[0] == text), Qt.MouseButton.LeftButton)

    def choose(self, box, text):
        """Choose from a list with the mouse."""
        QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=box.rect().center() + box.rect().center() * 0.9)
        self._qtbot.waitUntil(box.view().isVisible)
        place = box.view().visualRect(box.model().index(box.findText(text), 0)).center()
        self._qtbot.wait(2 * 300)  # Qt takes a press that comes sooner for the one that opened the list
        QTest.mouseClick(box.view().viewport(), Qt.MouseButton.LeftButton, pos=place)
        self._qtbot.waitUntil(lambda: not box.view().isVisible())

    def at(self, x, y):
        """Where a level-0 pixel is on the canvas."""
        camera, size = self.viewer.scene.camera, self.desk.pixel_size
        world = np.array([(y - 0.5) * size.mpp_y, (x - 0.5) * size.mpp_x])
        down, right = (world - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down))

    def move(self, x, y):
        """Move the pointer to a level-0 pixel."""
        QTest.mouseMove(self.canvas, self.at(x + 5, y + 5))
        self._qtbot.wait(15)  # the canvas takes so many moves a second
        QTest.mouseMove(self.canvas, self.at(x, y))
        self._qtbot.wait(15)

    def click(self, x, y):
        QTest.mouseMove(self.canvas, self.at(x, y))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(x, y))

    def drag(self, *points):
        """Hold the button down from the first point to the last (x, y)."""
        first, *others = (self.at(*point) for point in points)
        QTest.mouseMove(self.canvas, first)
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=first)
        for point in others:
            self._qtbot.wait(15)  # the canvas takes so many moves a second
            _move_with_button(self.canvas, point)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=others[-1])

    def wait_for_work(self):
        self._qtbot.waitUntil(lambda: not self.panel.work.busy, timeout=120_000)


def _move_with_button(canvas, point):
    """Qt's test moves know no button that is held down."""
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(point),
        QPointF(canvas.mapToGlobal(point)),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)
