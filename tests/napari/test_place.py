"""The panel stays where it is while a person works: a click is for what stands there when it comes."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QAbstractButton

LONG = "A very long message about /a/path/that/nobody/can/part/because/it/has/no/spaces/at/all. " * 12


def places(person):
    """Where everything that can be pressed is."""
    buttons = person.panel.findChildren(QAbstractButton)
    return [
        (b.text(), b.mapTo(person.panel, QPoint(0, 0)).toTuple(), b.size().toTuple())
        for b in buttons
        if b.isVisible() and b.text() != "Stop"
    ]


def test_nothing_moves_with_what_is_said_and_with_work(study, sit_down, qtbot):
    person = sit_down(study.path)
    panel = person.panel
    person.press_button("Sections")
    qtbot.wait(400)  # it is counted
    before = places(person)
    panel._say(LONG)
    qtbot.wait(20)
    assert places(person) == before
    assert panel._message.text() == panel._message.toolTip() == LONG
    panel._say("")
    panel.work.start(lambda tell: tell("detection", 1, 2), lambda result: None)
    qtbot.wait(20)
    assert places(person) == before
    person.wait_for_work()
    panel.counts._sections._table.selectRow(0)
    person.press_button("Judged whole")
    assert [s.judged_whole for s in person.desk.tissue.sections][0]
    person.press_button("Judged whole")
    assert not any(s.judged_whole for s in person.desk.tissue.sections)
    person.press_button("Leave out")
    qtbot.waitUntil(lambda: "not counted" in panel.counts._why.text() + panel.counts._notes.text())
    qtbot.wait(20)
    assert places(person) == before
    person.press("Control-Z", "5", "Q", "Enter", ".")
    qtbot.wait(400)
    assert places(person) == before


def test_why_nothing_is_counted_takes_the_place_of_what_is_said_of_counts(study, sit_down, qtbot):
    person = sit_down(study.path)
    qtbot.wait(400)
    before = places(person)
    head, *rows = study.samples_path.read_text().splitlines()
    three = [f"{row},{name}" for row in rows for name in ("123" if row.startswith(person.desk.slide_id) else "1")]
    study.samples_path.write_text("\n".join([f"{head},section", *three]) + "\n")
    person.panel.open_study(study.path)
    qtbot.waitUntil(lambda: "3 rows" in person.panel.counts._why.text())
    qtbot.wait(20)
    assert person.panel.counts._why.isVisible()
    assert places(person) == before


def test_the_place_for_messages_shows_all_of_a_long_one(study, sit_down, qtbot):
    said = sit_down(study.path).panel._message
    said.setText(LONG)
    qtbot.wait(20)
    assert said.verticalScrollBar().maximum() > 0, "it can be scrolled"
    assert said.widget().width() <= said.viewport().width(), "and is not cut at the side"
    said.setText("Short.")
    qtbot.wait(20)
    assert said.verticalScrollBar().maximum() == 0
