"""Blinded review: no name of the sample sheet is anywhere in the window, and the log says what was blind."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QLineEdit,
    QListWidget,
    QTableWidget,
    QWidget,
)

from follicle_stager.corrections.log import read_edits
from follicle_stager.review.blinding import HIDDEN, Blinding, blind_decisions

SHEET = """slide,animal,genotype,group,model,ovary,litter
{0},mouse-17,Igfals -/-,knockout,Igfals line,L,litter Q
{1},mouse-23,Igfals +/+,control,Igfals line,R,litter P
"""


def names_of(study):
    """What must not be seen."""
    fixed = ["mouse-17", "mouse-23", "Igfals", "-/-", "+/+", "knockout", "control", "litter Q", "litter P"]
    sources = [str(study.source(slide_id).name) for slide_id in study.slide_ids()]
    return [*fixed, *study.slide_ids(), *sources, str(study.path), study.path.parent.name]


def visible_texts(person):
    """Everything that can be read in the window: titles, labels, lists, tables, tooltips, layers, the status bar."""
    texts = [person.viewer.title, person.viewer.status, person.viewer.help]
    for widget in [w for top in QApplication.topLevelWidgets() for w in (top, *top.findChildren(QWidget))]:
        texts += [widget.windowTitle(), widget.toolTip(), widget.statusTip(), widget.accessibleName()]
        if isinstance(widget, QLabel | QAbstractButton | QLineEdit):
            texts.append(widget.text())
        if isinstance(widget, QComboBox):
            texts += [widget.itemText(i) for i in range(widget.count())] + [widget.currentText()]
        if isinstance(widget, QListWidget):
            texts += [widget.item(i).text() for i in range(widget.count())]
        if isinstance(widget, QDockWidget):
            texts.append(widget.windowTitle())
        if isinstance(widget, QTableWidget):
            cells = [(r, c) for r in range(widget.rowCount()) for c in range(widget.columnCount())]
            items = [widget.item(*cell) for cell in cells]
            texts += [text for item in items if item is not None for text in (item.text(), item.toolTip())]
            heads = [widget.horizontalHeaderItem(c) for c in range(widget.columnCount())]
            texts += [head.text() for head in heads if head is not None]
    for layer in person.viewer.layers:
        texts += [layer.name, layer.help, str(getattr(layer, "metadata", ""))]
        features = getattr(layer, "features", None)
        if features is not None:
            texts += [str(value) for column in features for value in features[column]]
        words = getattr(layer, "text", None)
        # Text that napari draws on the slide.
        texts += np.atleast_1d(getattr(words, "values", [])).astype(str).tolist()
    return [str(text) for text in texts if text]


def seen_names(person, study, *, least=200):
    texts = visible_texts(person)
    assert len(texts) > least, "the whole window was read"
    words = {name: re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for name in names_of(study)}
    return {(name, text) for name, word in words.items() for text in texts if word.search(text)}


@pytest.fixture
def named(study):
    study.samples_path.write_text(SHEET.format(*study.slide_ids()))
    return study


def test_no_name_is_seen(named, sit_down, qtbot):
    person = sit_down()
    person.panel.open_study(named.path, blind=True)
    person.press_button("Sections")
    person.press_button("Gallery")
    qtbot.wait(500)  # it is counted
    assert seen_names(person, named) == set()
    person.press(".")
    qtbot.wait(500)
    person.press("4", "Q", ".", ",", ",")
    person.panel._say(f"{named.slide_folder(named.slide_ids()[0])}: mouse-17 of knockout is damaged")
    qtbot.wait(500)
    assert HIDDEN in person.panel._message.text()
    assert seen_names(person, named) == set()
    assert not person.panel.exports.isEnabled()
    assert not person.panel._choosing.isEnabled()


def test_without_blinding_the_names_are_found(named, sit_down, qtbot):
    """The search for names would find them."""
    person = sit_down(named.path)
    person.press_button("Sections")
    person.press_button("Animals and groups")
    qtbot.wait(500)
    found = {name for name, _ in seen_names(person, named)}
    assert {"mouse-17", "control", "knockout", named.slide_ids()[0]} <= found


def test_means_of_groups_are_folded_at_first(named, sit_down, qtbot):
    person = sit_down(named.path)
    qtbot.wait(500)
    assert not person.panel.counts._groups.isVisible()
    person.press_button("Animals and groups")
    qtbot.wait(500)
    heads = [person.panel.counts._groups.horizontalHeaderItem(i).text() for i in range(4)]
    assert heads == ["stage", "animal", "control", "knockout"] or heads == ["stage", "animal", "knockout", "control"]


def test_the_log_says_what_was_blind_and_that_names_were_seen(named, sit_down, qtbot):
    person = sit_down()
    person.panel.open_study(named.path, blind=True)
    person.wait_for_work()
    slide = person.desk.slide_id
    person.press("4")
    person.panel._blind.click()  # shows the names
    assert person.desk.blinding is None
    assert person.panel._slides.itemText(0).startswith(named.slide_ids()[0])
    person.panel._slides.setCurrentIndex(person.panel._slides.findData(slide))
    person.press("N", "5")
    person.panel.close_study()
    edits = [edit for edit in read_edits(named.slide_folder(slide)) if edit.changes]
    assert [edit.blind for edit in edits] == [True, False]
    assert blind_decisions(edits) == (1, 2)
    acts = [json.loads(line) for line in (named.path / "blinding.jsonl").read_text().splitlines()]
    assert [act["event"] for act in acts] == ["codes", "blind", "unblind"]
    assert all(act["reader"] and re.match(r"\d{4}-", act["time"]) for act in acts)


def test_a_blinded_study_stays_blinded(named, sit_down):
    person = sit_down()
    person.panel.open_study(named.path, blind=True)
    codes = dict(person.desk.blinding.codes)
    person.panel.close_study()
    again = sit_down(named.path)
    assert again.desk.blinding.codes == codes
    assert again.panel._blind.isChecked()


def test_codes_do_not_follow_the_names(named):
    blinding = Blinding.begin(named, reader="A")
    assert len(set(blinding.codes.values())) == len(blinding.codes)
    assert blinding.veil(f"{named.slide_ids()[0]}: control, uncontrolled") == (
        f"{blinding.codes[named.slide_ids()[0]]}: {HIDDEN}, uncontrolled"
    )
