"""General widgets for the panel: probability bars, messages, the page of keys, and layout helpers."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from follicle_stager.stages import LADDER
from follicle_stager_napari.keymap import DECISIONS, DRAWING, LOOKING, STAGES, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from follicle_stager.stages import Stage
    from follicle_stager_napari.keymap import Action


class ProbabilityBars(QWidget):
    """Bars for the probability of each stage; Qt's progress bars would redraw the whole window for each number."""

    _ROW_PX = 15

    def __init__(self) -> None:
        super().__init__()
        self._probabilities: Mapping[Stage, float] = {}
        self.setFixedHeight(self._ROW_PX * len(LADDER))

    def show_of(self, probabilities: Mapping[Stage, float]) -> None:
        """Show new probabilities."""
        self._probabilities = probabilities
        self.update()

    def paintEvent(self, event: object) -> None:
        """Draw the bars; called by Qt."""
        painter = QPainter(self)
        text = self.palette().color(self.foregroundRole())
        for row, stage in enumerate(LADDER):
            share = self._probabilities.get(stage, 0.0)
            top, left = row * self._ROW_PX, self.width() // 3
            painter.fillRect(
                left, top + 2, round(share * (self.width() - left)), self._ROW_PX - 4, QColor(*stage.color)
            )
            painter.setPen(text)
            painter.drawText(0, top, left, self._ROW_PX, Qt.AlignmentFlag.AlignVCenter, f"{stage.label} {share:.0%}")


class Said(QScrollArea):
    """A text field of fixed height, so that nothing below it moves; longer text scrolls, and is in the tooltip.

    Parameters
    ----------
    lines
        Number of visible lines.
    text
        Initial text.
    """

    def __init__(self, lines: int, text: str = "") -> None:
        super().__init__()
        self._lines, self._text = lines, ""
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setWidget(self._label)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._take_place()
        self.setText(text)

    def showEvent(self, event: QShowEvent) -> None:
        """Set the height again, because the font now has the size set by napari; called by Qt."""
        self._take_place()
        super().showEvent(event)

    def _take_place(self) -> None:
        self.setFixedHeight((self._lines + 1) * self._label.fontMetrics().lineSpacing())  # one line for the margins

    def text(self) -> str:
        """The current text."""
        return self._text

    def setText(self, text: str) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            # A path has no spaces, so allow line breaks after its separators.
            self._label.setText(re.sub(r"([/\\_])", "\\1\u200b", text))
            self.setToolTip(text)
            self.verticalScrollBar().setValue(0)


class Tall(QScrollArea):
    """A column that scrolls vertically and is never narrower than its content."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self._inside, self._wanted = inside, 0
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setWidget(inside)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Request more width when the content needs it; called by Qt."""
        if watched is self._inside and event.type() == QEvent.Type.LayoutRequest:
            wanted = self._inside.minimumSizeHint().width()
            if wanted != self._wanted:  # otherwise the window would be laid out again for each follicle
                self._wanted = wanted
                self.updateGeometry()
        return bool(super().eventFilter(watched, event))

    def minimumSizeHint(self) -> QSize:
        """Width of the content; called by Qt whenever the content changes, for example when a style is applied."""
        beside = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(self._inside.minimumSizeHint().width() + beside, 200)

    def sizeHint(self) -> QSize:
        """Minimum width, and the full height of the content."""
        return QSize(self.minimumSizeHint().width(), self._inside.sizeHint().height())


class KeyPage(QDialog):
    """All keys on one page, in a dialog that does not block the window."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)  # the slide keeps the focus
        layout = QVBoxLayout(self)
        rows = []
        for title, actions in (
            ("Stages", STAGES),
            ("Decisions", DECISIONS),
            ("Outlines", DRAWING),
            ("Where to look", LOOKING),
        ):
            rows.append(f"<tr><th align='left' colspan='3'>{title}</th></tr>")
            rows += [
                f"<tr><td><b>{shown(a.key)}</b>&nbsp;&nbsp;</td><td>{a.label}&nbsp;&nbsp;</td><td>{a.tip}</td></tr>"
                for a in actions
            ]
        layout.addWidget(QLabel(f"<table>{''.join(rows)}</table>"))

    def switch(self) -> None:
        """Show or close the page."""
        self.setVisible(not self.isVisible())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Close the page with the key that opened it; called by Qt."""
        if event.key() == Qt.Key.Key_F1:
            self.close()
        else:
            super().keyPressEvent(event)


def foldable(title: str, part: QWidget, *, opened: Callable[[bool], None] | None = None) -> QWidget:
    """A part under a title that folds it away; with ``opened``, which is called at each change, it starts folded."""
    head = QToolButton()
    head.setText(title)
    head.setCheckable(True)
    head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def fold(shown: bool) -> None:
        head.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        part.setVisible(shown)
        if opened is not None:
            opened(shown)

    head.setChecked(opened is None)
    head.setArrowType(Qt.ArrowType.DownArrow if opened is None else Qt.ArrowType.RightArrow)
    if opened is not None:
        part.hide()  # to show a widget that is not in a window yet would make it a window of its own
    head.toggled.connect(fold)
    return column(head, part)


def push_button(label: str, tip: str, do: Callable[[], object]) -> QPushButton:
    """A button with a tooltip and a function."""
    button = QPushButton(label)
    button.setToolTip(tip)
    button.clicked.connect(lambda: do())
    return button


def action_buttons(actions: Sequence[Action], act: Callable[[Action], object]) -> QWidget:
    """Two columns of buttons, with the key of each, and the colour of those that set a stage."""
    part = QWidget()
    grid = QGridLayout(part)
    grid.setContentsMargins(0, 2, 0, 2)
    grid.setSpacing(3)
    for number, action in enumerate(actions):
        button = push_button(f"{action.label}  [{shown(action.key)}]", action.tip, partial(act, action))
        button.setObjectName(action.label)
        if action.stage is not None:
            swatch = QPixmap(12, 12)
            swatch.fill(QColor(*action.stage.color))
            button.setIcon(QIcon(swatch))
        grid.addWidget(button, number // 2, number % 2)
    return part


def choice(tip: str, names: Sequence[str], changed: Callable[[], None]) -> QComboBox:
    """A list to choose one name from."""
    box = QComboBox()
    box.setToolTip(tip)
    box.addItems(list(names))
    box.currentTextChanged.connect(lambda: changed())
    return box


def name_list() -> QComboBox:
    """A list of names that does not make the panel wider, however long the names are."""
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    return box


def row(*widgets: QWidget) -> QWidget:
    """Widgets side by side."""
    return _laid_out(QHBoxLayout(), widgets)


def column(*widgets: QWidget) -> QWidget:
    """Widgets below each other."""
    return _laid_out(QVBoxLayout(), widgets)


def _laid_out(layout: QHBoxLayout | QVBoxLayout, widgets: Sequence[QWidget]) -> QWidget:
    whole = QWidget()
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    whole.setLayout(layout)
    return whole
