"""The µm per pixel are asked for and never filled in: a person who does not know them is given no number."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

pytest.importorskip("napari")

from follicle_stager_napari.asking import mpp_of
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QLineEdit

from follicle_stager.study import list_slides


@pytest.mark.parametrize(
    ("typed", "mpp"),
    [("0.5", 0.5), (" 0,2525 ", 0.2525), ("", None), ("0", None), ("nan", None), ("half", None), ("50", None)],
)
def test_a_decimal_comma_is_a_point(typed, mpp):
    assert mpp_of(typed) == mpp


def without_mpp(cohort, path):
    tifffile.imwrite(path, tifffile.imread(list_slides(cohort)[0].path, level=0))
    return path


def test_it_is_asked_for_and_nothing_is_proposed(cohort, tmp_path, sit_down):
    path = without_mpp(cohort, tmp_path / "plain.tif")
    person = sit_down()
    seen = []

    def answer():
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QDialog)
        line = dialog.findChild(QLineEdit)
        ok = dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)
        seen.append((line.text(), ok.isEnabled()))
        QTest.keyClick(line, Qt.Key.Key_Return)
        seen.append(dialog.isVisible())
        QTest.keyClicks(line, "1,0")
        QTest.mouseClick(ok, Qt.MouseButton.LeftButton)

    QTimer.singleShot(200, answer)
    person.panel.open_slide(path)
    person.wait_for_work()
    assert seen == [("", False), True], "nothing stands there, and Enter alone is no answer"
    np.testing.assert_allclose(person.desk.pixel_size.mpp, 1.0)


def test_nobody_who_does_not_know_is_given_a_size(cohort, tmp_path, sit_down):
    path = without_mpp(cohort, tmp_path / "plain.tif")
    person = sit_down()
    QTimer.singleShot(200, lambda: QApplication.activeModalWidget().reject())
    person.panel._try(lambda: person.panel.open_slide(path))
    assert "µm per pixel" in person.panel._message.text()
    assert person.panel.reviewer is None
