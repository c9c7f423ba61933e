"""Keep the keyboard focus on the slide: whatever was clicked, the next key applies to the current follicle.

Only text fields and the pictures of the gallery keep the focus, until Enter, Escape, or a click elsewhere. The mouse
wheel changes a list or a number only while this has the focus; otherwise it scrolls the panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QListWidget,
    QMainWindow,
    QMenuBar,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

W = TypeVar("W", bound=QWidget)

_END_OF_TYPING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)


def canvas_of(widget: QWidget) -> QWidget | None:
    """The canvas of the napari window that a widget is docked in; None if it is not in a napari window."""
    viewer = _viewer_of(widget)
    canvas: QWidget | None = viewer.canvas.native if viewer is not None else None
    return canvas


class SlideKeys(QObject):
    """Return the keyboard focus to the slide. Widgets of other plugins are not affected.

    Parameters
    ----------
    panel
        Parent object; this object lives as long as the panel.
    parts
        Widgets of this plugin with lists, numbers and buttons.
    keeps
        Widgets that keep the focus, because they handle keys themselves.
    """

    def __init__(self, panel: QWidget, parts: Sequence[QWidget], keeps: Sequence[QWidget]) -> None:
        super().__init__(panel)
        self._panel, self._parts, self._keeps = panel, tuple(parts), tuple(keeps)
        for part in parts:
            self._guard(part)
            for button in part.findChildren(QAbstractButton):
                button.clicked.connect(lambda *_: self.give_back())
            for box in part.findChildren(QComboBox):
                box.activated.connect(lambda *_: self.give_back())
            for pictures in part.findChildren(QListWidget):  # a double click shows the follicle on the slide
                pictures.itemDoubleClicked.connect(lambda *_: self.give_back())
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._moved)

    def guard_napari(self) -> None:
        """Watch the lists and number fields that napari shows for layers; none is watched twice."""
        for dock in _napari_docks(self._panel):
            self._guard(dock)

    def give_back(self) -> None:
        """Give the focus to the slide."""
        canvas = canvas_of(self._panel)
        if canvas is not None:
            if not canvas.isActiveWindow():
                canvas.activateWindow()
            canvas.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Handle events of a list, a number or a text field; called by Qt."""
        kind = event.type()
        if kind == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()  # the parent scrolls instead
            return True
        if kind == QEvent.Type.MouseButtonPress and not isinstance(watched, QLineEdit):  # on arrows, not in the text
            self.give_back()
        if isinstance(event, QKeyEvent) and kind == QEvent.Type.KeyPress and event.key() in _END_OF_TYPING:
            self.give_back()
            return True
        return False

    def _guard(self, part: QWidget) -> None:
        for kind in (QComboBox, QAbstractSpinBox, QLineEdit):
            for widget in part.findChildren(kind):
                if widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
                    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                widget.installEventFilter(self)

    def _moved(self, old: QWidget | None, new: QWidget | None) -> None:
        """Another widget got the focus: return it to the slide, except from text fields and dialogs."""
        if new is None or new in self._keeps or not isinstance(new.window(), QMainWindow | QDockWidget):
            return
        typed = isinstance(new, QLineEdit | QTextEdit | QPlainTextEdit | QAbstractSpinBox | QMenuBar)
        if typed or (isinstance(new, QComboBox) and new.isEditable()):
            return
        window, dock = _above(new, QMainWindow), _above(new, QDockWidget)
        own = dock in (None, *_napari_docks(self._panel), *(_above(part, QDockWidget) for part in self._parts))
        if own and window is _above(self._panel, QMainWindow) and new is not canvas_of(self._panel):
            self.give_back()


def _above(widget: QWidget | None, kind: type[W]) -> W | None:
    """The nearest parent of a given type, also if it is a floating dock; None if there is none."""
    while widget is not None and not isinstance(widget, kind):
        widget = widget.parentWidget()
    return widget


def _viewer_of(widget: QWidget) -> Any:
    from napari.qt import QtViewer

    window = _above(widget, QMainWindow)
    return window.findChild(QtViewer) if window is not None else None


def _napari_docks(widget: QWidget) -> tuple[QWidget, ...]:
    """Napari's layer list and layer controls."""
    viewer = _viewer_of(widget)
    return () if viewer is None else (viewer.dockLayerList, viewer.dockLayerControls)
