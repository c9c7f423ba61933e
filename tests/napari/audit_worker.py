"""A window at which somebody audits with keys and mouse, until all fields are visited or the process is killed.

``python audit_worker.py STUDY [VISITS]``; after each visit, it prints how many events of the log the window has shown.
The reader marks what the software claims, but finds a secondary follicle in each field with tissue that has no claim.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
from follicle_stager_napari.auditing import AuditPanel
from follicle_stager_napari.focus import canvas_of
from follicle_stager_napari.keymap import STAGES
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from shapely import box

from follicle_stager.stages import Countable, Stage
from follicle_stager.study import Study

KEYS = {action.stage: getattr(Qt.Key, f"Key_{action.key}") for action in STAGES}


def middle_of(desk):
    """A point of a field on its section, away from the borders; None in a field with hardly any tissue."""
    inside = desk.tissue.buffer(0).intersection(box(*desk.borders)).buffer(-4)
    return inside.representative_point().coords[0] if not inside.is_empty else None


class Reader:
    """Somebody at the window of an audit."""

    def __init__(self, viewer, panel):
        self.viewer, self.panel, self.canvas = viewer, panel, canvas_of(panel)

    def point(self, x_px, y_px):
        """Move the pointer to a level-0 pixel."""
        camera = self.viewer.scene.camera
        (down, right), *_ = self.panel._layers._placed([[y_px, x_px]]) - camera.center[-2:]
        middle = self.canvas.width() / 2, self.canvas.height() / 2
        at = QPoint(round(middle[0] + right * camera.zoom), round(middle[1] + down * camera.zoom))
        QTest.mouseMove(self.canvas, at + QPoint(4, 4))
        QTest.qWait(20)  # the canvas takes so many moves a second
        QTest.mouseMove(self.canvas, at)
        QTest.qWait(20)

    def press(self, key):
        QTest.keyClick(self.canvas, key)

    def visit(self):
        """Visit the open field."""
        desk = self.panel.desk
        field = desk.key
        claims = desk.session.claims(field)
        left, top, right, bottom = desk.borders
        inside = [c for c in claims if left <= c.x_px < right and top <= c.y_px < bottom]
        for claim in inside:
            self.point(claim.x_px, claim.y_px)
            self.press(KEYS[claim.stage])
            if claim.countable != Countable.YES and claim.stage is not Stage.CORPUS_LUTEUM:
                self.press(Qt.Key.Key_W)
        if not claims:
            there = middle_of(desk)
            if there is not None:
                self.point(*there)
                self.press(KEYS[Stage.SECONDARY])
        self.press(Qt.Key.Key_Return)
        for _ in range(len(claims)):
            if desk.key == field and desk.current is not None:
                self.press(Qt.Key.Key_0 if desk.current.mark is None else Qt.Key.Key_Return)
        self.press(Qt.Key.Key_Return)
        assert desk.key != field, self.panel._message.text()


def main(folder, visits):
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    panel = AuditPanel(viewer, Study.open(folder))
    viewer.window.add_dock_widget(panel)
    QTest.qWait(200)
    reader = Reader(viewer, panel)
    print("open", flush=True)
    while panel.desk.key is not None and visits != 0:
        visits -= 1
        reader.visit()
        print(sum(len(events) for events in panel.desk.session.record.last.values()), flush=True)
    panel.finish()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else -1)
