"""What only a person can say: the pixel size of a slide, and the name of the person who corrects."""

from __future__ import annotations

import getpass

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from follicle_stager.pixel_size import GIVEN, PLAUSIBLE_MPP, PixelSize
from follicle_stager.slides.stated_mpp import number


class AskMpp(QDialog):
    """Ask for the µm per pixel of an image that does not contain them. The field is empty at first.

    Parameters
    ----------
    parent
        Parent window.
    name
        Name of the image.
    """

    def __init__(self, parent: QWidget, name: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("µm per pixel")
        self._line = QLineEdit()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        ok.setEnabled(False)
        self._line.textChanged.connect(lambda text: ok.setEnabled(mpp_of(text) is not None))
        question = QLabel(
            f"{name} does not contain its µm per pixel. All sizes are calculated from this number: take it from "
            "the microscope or the scanner, do not guess.\n\n"
            f"µm per pixel ({PLAUSIBLE_MPP[0]:g} to {PLAUSIBLE_MPP[1]:g}):"
        )
        question.setWordWrap(True)
        layout = QVBoxLayout(self)
        for widget in (question, self._line, buttons):
            layout.addWidget(widget)

    def ask(self) -> float | None:
        """Return the µm per pixel; None if the person cancels."""
        return mpp_of(self._line.text()) if self.exec() else None


def mpp_of(text: str) -> float | None:
    """The µm per pixel that a person typed, with a decimal point or comma; None if it is not a plausible number."""
    try:
        size = PixelSize.checked(number(text), number(text), GIVEN)
    except ValueError:
        return None
    return size.mpp_x if size is not None else None


def author() -> str:
    """Author of corrections: the name in napari's preferences, or else the user name."""
    from napari.settings import get_plugin_settings

    try:
        named = str(get_plugin_settings("follicle-stager").review.author).strip()
    except (KeyError, AttributeError):  # napari does not know the plugin, as in a script
        named = ""
    return named or getpass.getuser()
