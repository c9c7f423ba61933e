"""Whatever was clicked in the window, the next key is for the slide, and never for a list or a field that was left."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QTableWidget

from follicle_stager.records import NOT_OVARY
from follicle_stager.stages import Stage


@pytest.fixture
def person(study, sit_down):
    person = sit_down(study.path)
    person.press_button("Sections")
    person.press_button("Animals and groups")
    return person


def gives_a_stage(person):
    """Whether the next key, wherever the keys go now, gives a stage to the follicle in view."""
    one = person.desk.walk.current
    person.type("6")
    given = person.desk.session[one].stage == Stage.ANTRAL
    person.press("Control-Z")
    return given


def click(widget, at=None):
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at or widget.rect().center())


def test_after_a_choice_from_a_list_keys_are_for_the_slide(person):
    person.press("G")
    boxes = [box for part in (person.panel, person.panel.gallery) for box in part.findChildren(QComboBox)]
    for box in boxes:
        if box.count():
            before = box.currentText()
            person.choose(box, box.itemText(box.count() - 1))
            assert QApplication.focusWidget() is person.canvas, before
            person.wait_for_work()  # the slides are read for the study
            person.choose(box, before)
    assert gives_a_stage(person)


def test_after_any_click_in_the_panel_keys_are_for_the_slide(person):
    """Buttons, heads that fold, tables, words, napari's list of layers; the reason was typed before."""
    line = person.panel.counts._sections._reason.lineEdit()
    tables = person.panel.findChildren(QTableWidget)
    layers = next(w for w in person.canvas.window().findChildren(object) if type(w).__name__ == "QtLayerList")
    for left in (
        *(table.viewport() for table in tables),
        person.panel._message.viewport(),
        layers.viewport(),
    ):
        click(line)
        assert QApplication.focusWidget() is not person.canvas, "somebody types"
        click(left)
        assert gives_a_stage(person)
    for name in ("Leave out", "Cut out ...", "Find", "Accept"):
        click(line)
        person.press_button(name)
        assert QApplication.focusWidget() is person.canvas
        person.press("S")


def test_keys_are_for_the_slide_whichever_layer_is_chosen(person):
    layers = person.viewer.layers
    for layer in layers:
        layers.selection.active = layer
        assert gives_a_stage(person), layer.name
    layers.selection.clear()
    assert gives_a_stage(person)


def test_a_key_never_lands_in_the_reason(person):
    """Only while somebody types there; then Enter accepts no follicle."""
    reason, before = person.panel.counts._sections._reason, person.desk.follicles
    person.choose(reason, NOT_OVARY)
    assert gives_a_stage(person)
    assert reason.currentText() == NOT_OVARY
    for end in ("Enter", Qt.Key.Key_Escape, None):
        reason.lineEdit().selectAll()
        click(reason.lineEdit())
        reason.lineEdit().selectAll()
        person.type("p", "e", "n", "3")
        if end is None:
            click(person.canvas, QPoint(3, 3))
            person.press("N")
        else:
            person.type(end)
        assert [(f.stage, f.status) for f in person.desk.follicles] == [(f.stage, f.status) for f in before]
        assert gives_a_stage(person)
        assert reason.currentText() == "pen3"


def test_a_colour_of_napari_is_typed_and_left(person):
    person.viewer.layers.selection.active = person.panel.reviewer.layer
    lines = [w for w in person.canvas.window().findChildren(QLineEdit) if w.text().startswith("#") and w.isVisible()]
    before = person.desk.follicles
    assert lines
    click(lines[0])
    person.type("Enter")
    assert person.desk.follicles == before, "no follicle was accepted"
    assert gives_a_stage(person)


def test_a_number_is_typed_and_left(person):
    number, before = person.panel._min_score, person.desk.follicles
    number.lineEdit().selectAll()
    click(number.lineEdit())
    number.lineEdit().selectAll()
    person.type("0", ".", "2", "Enter")
    assert number.value() == 0.2
    assert person.desk.follicles == before, "no follicle was accepted"
    click(number, number.rect().topRight() + QPoint(-8, 6))  # its arrow
    assert number.value() == 0.25
    assert gives_a_stage(person)
    assert number.value() == 0.25


def turn_wheel(widget):
    at = widget.rect().center()
    event = QWheelEvent(
        QPointF(at),
        QPointF(widget.mapToGlobal(at)),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def test_the_wheel_changes_no_list_and_no_number(person, qtbot):
    """Of the panel, the gallery and napari; it scrolls instead. While one types in a number, the wheel changes it."""
    person.press("G")
    slide_id, window = person.desk.slide_id, person.canvas.window()
    turned = 0
    for layer in person.viewer.layers:
        person.viewer.layers.selection.active = layer
        qtbot.wait(20)
        for kind, value in ((QComboBox, lambda w: w.currentIndex()), (QAbstractSpinBox, lambda w: w.text())):
            for widget in window.findChildren(kind):
                if widget.isVisible():
                    before = value(widget)
                    turn_wheel(widget)
                    assert value(widget) == before, widget
                    turned += 1
    assert turned > 40
    assert person.desk.slide_id == slide_id
    number = person.panel._min_score
    click(number.lineEdit())
    turn_wheel(number)
    assert number.value() == 0.25


def test_the_keys_of_the_gallery_are_for_its_pictures_and_g_closes_it(person, qtbot):
    person.press("G")
    gallery = person.panel.gallery
    qtbot.waitUntil(lambda: not gallery._waiting)
    item = gallery._list.item(1)
    click(gallery._list.viewport(), gallery._list.visualItemRect(item).center())
    person.type("5")
    assert person.desk.session[item.data(Qt.ItemDataRole.UserRole)[1]].stage == Stage.EARLY_ANTRAL
    person.type("g")
    assert not gallery.isVisible()
    person.press("G")
    at = gallery._list.visualItemRect(gallery._list.item(0)).center()
    click(gallery._list.viewport(), at)
    QTest.mouseDClick(gallery._list.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert person.desk.walk.current == gallery._list.item(0).data(Qt.ItemDataRole.UserRole)[1]
    assert gives_a_stage(person)
    person.press("N")
    assert gives_a_stage(person)
