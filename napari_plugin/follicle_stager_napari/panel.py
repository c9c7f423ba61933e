"""The dock widget: open a study, go from follicle to follicle, watch the counts. What it does is `Reviewer`'s."""

from __future__ import annotations

import getpass
import math
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from follicle_stager.errors import UserError
from follicle_stager.review import Filter, Order
from follicle_stager.review.desk import Desk
from follicle_stager.stages import COUNTED, LADDER, Health
from follicle_stager.study import Study, Tally
from follicle_stager_napari.keymap import OTHERS, STAGES
from follicle_stager_napari.reviewer import Reviewer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari
    import pandas as pd

    from follicle_stager.stages import Stage
    from follicle_stager_napari.keymap import Action

# Counts are worked out when nothing was decided for so long, ms.
_COUNT_AFTER_MS = 300
_ALL = "all stages"


class ReviewPanel(QWidget):
    """Review of a study.

    Parameters
    ----------
    napari_viewer
        napari gives it.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.reviewer: Reviewer | None = None
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_COUNT_AFTER_MS)
        self._counting.timeout.connect(self._count)
        layout = QVBoxLayout(self)
        self._message = QLabel("Open a study folder: one that 'follicle-stager run' or 'stage' made.")
        self._message.setWordWrap(True)
        for title, part in (
            ("Open", self._open_part()),
            ("Review", self._review_part()),
            ("Count", self._count_part()),
        ):
            fold = QCollapsible(title)
            fold.setContent(part)
            fold.expand(animate=False)
            layout.addWidget(fold)
        layout.insertWidget(1, self._message)
        layout.addStretch()
        self._enable(False)

    def open_study(self, folder: Path, slide_id: str = "") -> None:
        """Open a study, and one of its slides, or the first.

        Raises
        ------
        UserError
            If it is none, or the slide is not there.
        """
        study = Study.open(folder)
        slides = study.slide_ids()
        if not slides:
            raise UserError(f"{folder}: no slide is finished in this study; run 'follicle-stager stage' first.")
        if slide_id and slide_id not in slides:
            raise UserError(f"{folder}: no slide {slide_id} is finished; there are: {', '.join(slides)}.")
        tally = Tally(study) if study.samples_path.exists() else None
        self.close_study()
        desk = Desk(study, author=getpass.getuser(), tally=tally)
        self.reviewer = Reviewer(self._viewer, desk, say=self._say, refresh=self._refresh)
        self._slides.blockSignals(True)
        self._slides.clear()
        self._slides.addItems(slides)
        self._slides.blockSignals(False)
        self._say("Every decision is saved at once. Click an outline, or go from one to the next with the keys.")
        self._open_slide(slide_id or slides[0])
        self._enable(True)

    def close_study(self) -> None:
        """Save, and let others correct."""
        self._counting.stop()
        if self.reviewer is not None:
            self.reviewer.desk.close()
        self.reviewer = None
        self._enable(False)

    def _open_part(self) -> QWidget:
        part = QWidget()
        layout = QVBoxLayout(part)
        button = QPushButton("Open study folder ...")
        button.clicked.connect(self._choose)
        self._slides = QComboBox()
        self._slides.setToolTip("Slides of the study; . and , open the next one and the one before.")
        self._slides.currentTextChanged.connect(self._open_slide)
        layout.addWidget(button)
        layout.addWidget(self._slides)
        return part

    def _review_part(self) -> QWidget:
        part = QWidget()
        layout = QVBoxLayout(part)
        row = QHBoxLayout()
        self._order = QComboBox()
        self._order.setToolTip("Which follicle comes first.")
        self._order.addItems([order.value for order in Order if order != Order.DISAGREEMENT])
        self._stage = QComboBox()
        self._stage.setToolTip("Which follicles are stopped at.")
        self._stage.addItems([_ALL, *(stage.label for stage in COUNTED)])
        for box in (self._order, self._stage):
            box.currentTextChanged.connect(self._sort)
            row.addWidget(box)
        layout.addLayout(row)
        self._progress = QLabel()
        layout.addWidget(self._progress)
        self._what = QLabel()
        self._what.setWordWrap(True)
        self._what.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Of one height: else the window is laid out and drawn anew with each follicle.
        self._what.setFixedHeight(6 * self.fontMetrics().lineSpacing())
        layout.addWidget(self._what)
        self._bars = ProbabilityBars()
        layout.addWidget(self._bars)
        self._buttons: list[QPushButton] = []
        for actions, columns in ((STAGES, 2), (OTHERS, 3)):
            grid = QGridLayout()
            for number, action in enumerate(actions):
                grid.addWidget(self._button(action), number // columns, number % columns)
            layout.addLayout(grid)
        return part

    def _count_part(self) -> QWidget:
        self._table = QTableWidget(0, 5)
        self._table.setHorizontalHeaderLabels(["stage", "this slide", "its animal", "mean control", "mean knockout"])
        self._table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._table.verticalHeader().hide()
        self._table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._table.setMinimumHeight(250)
        return self._table

    def _button(self, action: Action) -> QPushButton:
        button = QPushButton(f"{action.label}  [{action.key.replace('Control', 'Ctrl')}]")
        button.setToolTip(action.tip)
        button.clicked.connect(lambda: self.reviewer.act(action) if self.reviewer is not None else None)
        if action.stage is not None:
            swatch = QPixmap(12, 12)
            swatch.fill(QColor(*action.stage.color))
            button.setIcon(QIcon(swatch))
        self._buttons.append(button)
        return button

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A study folder")
        if folder:
            self._try(lambda: self.open_study(Path(folder)))

    def _open_slide(self, slide_id: str) -> None:
        if self.reviewer is not None and slide_id:
            reviewer = self.reviewer
            self._try(lambda: reviewer.open(slide_id))

    def _sort(self) -> None:
        if self.reviewer is None:
            return
        chosen = self._stage.currentText()
        stages = frozenset(stage for stage in COUNTED if stage.label == chosen)
        self.reviewer.sort(Order(self._order.currentText()), Filter(stages=stages))

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except UserError as error:
            self._say(str(error))

    def _say(self, message: str) -> None:
        self._message.setText(message)

    def _enable(self, on: bool) -> None:
        for widget in (*self._buttons, self._order, self._stage, self._slides):
            widget.setEnabled(on)

    def _refresh(self) -> None:
        """Show where the desk is."""
        if self.reviewer is None:
            return
        desk = self.reviewer.desk
        self._slides.blockSignals(True)
        self._slides.setCurrentText(desk.slide_id)
        self._slides.blockSignals(False)
        progress = desk.progress
        self._progress.setText(f"{progress.judged} of {progress.total} follicles of this slide judged")
        follicle = desk.session[desk.current] if desk.current is not None else None
        self._bars.show_of(follicle.probabilities if follicle is not None else {})
        if desk.selected:
            self._what.setText(f"{len(desk.selected)} follicles selected: a stage is given to all of them.")
        elif follicle is None:
            self._what.setText("Nothing is left to look at here.")
        else:
            dying = ", atretic" if follicle.health == Health.ATRETIC else ""
            reasons = "; ".join(follicle.reasons)
            self._what.setText(f"{follicle.stage.label}{dying} ({follicle.status.value})\n{reasons}")
        self._counting.start()

    def _count(self) -> None:
        """Show counts: what stands on this slide and what was found, its animals, and their groups."""
        if self.reviewer is None or not self.reviewer.desk.slide_id:
            return
        desk = self.reviewer.desk
        try:
            counts = desk.counts()
        except UserError as error:
            self._say(str(error))
            return
        columns: list[dict[str, str]] = [{}, {}, {}]
        if counts is not None:
            own = counts.section[counts.section["slide"] == desk.slide_id]
            animals = counts.animal[counts.animal["animal"].isin(own["animal"])]
            groups = counts.genotype[counts.genotype["model"].isin(own["model"])]
            columns = [
                _by_stage(animals, "n_profiles"),
                *(_by_stage(groups[groups["group"] == name], "n_profiles_mean") for name in ("control", "knockout")),
            ]
        self._table.setRowCount(len(COUNTED))
        for row, stage in enumerate(COUNTED):
            found, now = desk.since_prediction()[stage]
            changed = f"{now} (found {found})" if found != now else str(now)
            cells = (stage.label, changed, *(column.get(stage.value, "") for column in columns))
            for column, text in enumerate(cells):
                self._table.setItem(row, column, QTableWidgetItem(text))


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


def _by_stage(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Numbers of each stage as text; several animals of one slide side by side."""
    grouped = table.astype({column: float}).groupby("stage", sort=False)[column]
    return {str(stage): " + ".join("NA" if math.isnan(v) else f"{v:g}" for v in values) for stage, values in grouped}


def review(folder: Path, slide_id: str = "") -> None:
    """Open napari on a study; returns when its window is closed.

    Raises
    ------
    UserError
        If the study cannot be opened.
    """
    import napari

    viewer = napari.Viewer(title=f"follicle-stager: {folder}")
    try:
        panel = ReviewPanel(viewer)
        panel.open_study(folder, slide_id)
    except UserError:
        viewer.close()
        raise
    viewer.window.add_dock_widget(panel, name="Follicle review", area="right")
    napari.run()
    panel.close_study()
