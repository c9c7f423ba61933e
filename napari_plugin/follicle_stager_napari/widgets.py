"""Parts of the panel that know nothing of it: bars of stages, the counts, all keys; and what is laid out alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from follicle_stager.stages import COUNTED, LADDER
from follicle_stager_napari.keymap import DECISIONS, DRAWING, LOOKING, STAGES, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from follicle_stager.review.desk import Desk
    from follicle_stager.stages import Stage


class ProbabilityBars(QWidget):
    """How well each stage fits; Qt's own progress bars draw the whole window anew with each number."""

    _ROW_PX = 15

    def __init__(self) -> None:
        super().__init__()
        self._probabilities: Mapping[Stage, float] = {}
        self.setFixedHeight(self._ROW_PX * len(LADDER))

    def show_of(self, probabilities: Mapping[Stage, float]) -> None:
        """Show other probabilities."""
        self._probabilities = probabilities
        self.update()

    def paintEvent(self, event: object) -> None:
        """Draw; Qt calls it."""
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


class CountTable(QTableWidget):
    """What stands on the open slide, what was found there, its animals, and their groups."""

    _COLUMNS = ("stage", "slide", "animal", "control", "knockout")
    _TIPS = ("", "on this slide", "in its animal", "mean of the control animals", "mean of the knockout animals")
    _ROW_PX = 21

    def __init__(self) -> None:
        super().__init__(len(COUNTED), len(self._COLUMNS))
        self.setHorizontalHeaderLabels(list(self._COLUMNS))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setToolTip("; ".join(f"{name}: {tip}" for name, tip in zip(self._COLUMNS, self._TIPS, strict=True) if tip))
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self._ROW_PX)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(self._ROW_PX * (len(COUNTED) + 2))

    def show_of(self, desk: Desk) -> None:
        """Count.

        Raises
        ------
        UserError
            If the study cannot be counted.
        """
        counts = desk.counts()
        columns: list[dict[str, str]] = [{}, {}, {}]
        if counts is not None:
            own = counts.section[counts.section["slide"] == desk.slide_id]
            animals = counts.animal[counts.animal["animal"].isin(own["animal"])]
            groups = counts.genotype[counts.genotype["model"].isin(own["model"])]
            columns = [
                _by_stage(animals, "n_profiles"),
                *(_by_stage(groups[groups["group"] == name], "n_profiles_mean") for name in ("control", "knockout")),
            ]
        since = desk.since_prediction()
        for row, stage in enumerate(COUNTED):
            found, now = since[stage]
            changed = f"{now} (found {found})" if found != now else str(now)
            cells = (stage.label, changed, *(column.get(stage.value, "") for column in columns))
            for column, text in enumerate(cells):
                self.setItem(row, column, QTableWidgetItem(text))


class Tall(QScrollArea):
    """A column that scrolls up and down and is never narrower than what it holds."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self._inside = inside
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setWidget(inside)

    def minimumSizeHint(self) -> QSize:
        """Asked by Qt whenever what is inside changes, as when a style is applied."""
        beside = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(self._inside.minimumSizeHint().width() + beside, 200)

    def sizeHint(self) -> QSize:
        """As wide, and as tall as it may be."""
        return QSize(self.minimumSizeHint().width(), self._inside.sizeHint().height())


class KeyPage(QDialog):
    """All keys on one page, beside the window: work goes on below it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
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


def _by_stage(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Numbers of each stage as text; several animals of one slide side by side."""
    grouped = table.astype({column: float}).groupby("stage", sort=False)[column]
    return {str(stage): " + ".join("NA" if math.isnan(v) else f"{v:g}" for v in values) for stage, values in grouped}


def foldable(title: str, part: QWidget) -> QWidget:
    """A part under a title that folds it away."""
    head = QToolButton()
    head.setText(title)
    head.setCheckable(True)
    head.setChecked(True)
    head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    head.setArrowType(Qt.ArrowType.DownArrow)
    head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def fold(shown: bool) -> None:
        head.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        part.setVisible(shown)

    head.toggled.connect(fold)
    return column(head, part)


def push_button(label: str, tip: str, do: Callable[[], object]) -> QPushButton:
    """A button that does something."""
    button = QPushButton(label)
    button.setToolTip(tip)
    button.clicked.connect(lambda: do())
    return button


def choice(tip: str, names: Sequence[str], changed: Callable[[], None]) -> QComboBox:
    """A list to choose one name from."""
    box = QComboBox()
    box.setToolTip(tip)
    box.addItems(list(names))
    box.currentTextChanged.connect(lambda: changed())
    return box


def row(*widgets: QWidget) -> QWidget:
    """Widgets beside each other."""
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
