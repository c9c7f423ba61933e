"""A window at which somebody adds, splits, cuts out and assigns with keys and mouse, until the process is killed.

``python window_worker.py STUDY SLIDE SEED``; it prints each edit's id once the window shows what it did.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import napari
from follicle_stager_napari.panel import ReviewPanel
from person import Person
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from shapely.geometry import Point

from follicle_stager.stages import Status


class Waiting:
    """What a `Person` needs of pytest-qt."""

    def wait(self, ms):
        QTest.qWait(ms)


def look_at(person, x, y):
    size = person.desk.pixel_size
    person.viewer.scene.camera.center = (y * size.mpp_y, x * size.mpp_x)
    person.viewer.scene.camera.zoom = 3.0 / size.mpp


def somewhere(person, chance):
    """A point on tissue that is counted."""
    section = chance.choice([s for s in person.desk.tissue.sections if s.included]).outline
    left, top, right, bottom = section.bounds
    while True:
        x, y = chance.uniform(left, right), chance.uniform(top, bottom)
        if section.contains(Point(x, y).buffer(20)):
            look_at(person, x, y)
            return x, y


def ring(x, y, radius, corners):
    return [c for c in Point(x, y).buffer(radius, quad_segs=corners // 4).exterior.coords][:corners]


def add(person, chance):
    person.press("Shift-P")
    person.drag(*ring(*somewhere(person, chance), 14, 16))


def split(person, chance):
    one = max((f for f in person.desk.follicles if f.status != Status.REJECTED), key=lambda f: f.outline.area)
    left, top, right, bottom = one.outline.bounds
    person.desk.walk.go_to(one.id)
    person.panel.reviewer.show()
    look_at(person, *one.outline.centroid.coords[0])
    person.press("/")
    middle = one.outline.centroid.x
    person.drag((middle, top - 5), (middle, (top + bottom) / 2), (middle, bottom + 5))


def cut(person, chance):
    person.press_button("Cut out ...")
    for corner in ring(*somewhere(person, chance), 12, 8):
        person.click(*corner)
    person.press("Enter")


def assign(person, chance):
    sections = person.panel.counts._sections
    table = sections._table
    item = table.item(chance.randrange(table.rowCount()), 0)
    table.scrollToItem(item)
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(item).center())
    person.press_button("Assign")


def main(study, slide_id, seed):
    chance = random.Random(seed)
    viewer = napari.Viewer()
    viewer.window.resize(1500, 1000)
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.open_study(study, slide_id)
    person = Person(viewer, panel, Waiting())
    person.press_button("Sections")
    QTest.qWait(100)
    session, done = person.desk.session, []
    adopt = session.adopt
    session.adopt = lambda edit: (adopt(edit), done.append(edit.id))
    print("open", flush=True)
    while True:
        for do in chance.sample((add, split, cut, assign), 4):
            do(person, chance)
            QTest.qWait(20)
            shown = panel.reviewer.layer.nshapes == len(person.desk.follicles)
            assert shown, panel._message.text()
            while done:
                print(done.pop(0), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
