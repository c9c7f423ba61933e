"""Skip where Qt cannot start: it would end the whole test run, not one test."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _screen():
    code = "from qtpy.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"Qt cannot open a window here: {done.stderr.strip()[-200:]}")


class Person:
    """Somebody at the window, with keys and mouse."""

    def __init__(self, viewer, panel, qtbot):
        from qtpy.QtCore import Qt

        self.viewer, self.panel, self._qtbot = viewer, panel, qtbot
        self.canvas = viewer.window._qt_viewer.canvas.native
        self._keys = {"Enter": Qt.Key.Key_Return, ".": Qt.Key.Key_Period, ",": Qt.Key.Key_Comma, "/": Qt.Key.Key_Slash}
        self._held = {"Shift": Qt.KeyboardModifier.ShiftModifier, "Control": Qt.KeyboardModifier.ControlModifier}

    @property
    def desk(self):
        return self.panel.reviewer.desk

    def press(self, *keys):
        """Press keys one after the other, as ``Control-Z``."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        for key in keys:
            *held, last = key.split("-")
            modifier = Qt.KeyboardModifier.NoModifier
            for name in held:
                modifier |= self._held[name]
            QTest.keyClick(self.canvas, self._keys.get(last) or getattr(Qt.Key, f"Key_{last}"), modifier)

    def at(self, x, y):
        """Where a level-0 pixel is on the canvas."""
        from qtpy.QtCore import QPoint

        camera, size = self.viewer.scene.camera, self.desk.pixel_size
        world = np.array([(y - 0.5) * size.mpp_y, (x - 0.5) * size.mpp_x])
        down, right = (world - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down))

    def click(self, x, y):
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseMove(self.canvas, self.at(x, y))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.at(x, y))

    def drag(self, *points):
        """Hold the button down from the first point to the last (x, y)."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

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
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(point),
        QPointF(canvas.mapToGlobal(point)),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)


@pytest.fixture
def study(staged, tmp_path):
    from follicle_stager.study import Study

    return Study(shutil.copytree(staged, tmp_path / "study"))


@pytest.fixture
def sit_down(make_napari_viewer, qtbot):
    """A function that opens a window with the panel, and a study in it; gives a `Person`."""
    from follicle_stager_napari.panel import ReviewPanel

    panels = []

    def sit(path=None):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1500, 1000)
        panel = ReviewPanel(viewer)
        panels.append(panel)
        viewer.window.add_dock_widget(panel)
        if path is not None:
            panel.open_study(path)
        qtbot.waitExposed(viewer.window._qt_window)
        qtbot.wait(50)
        return Person(viewer, panel, qtbot)

    yield sit
    for panel in panels:
        panel.finish()
