"""Pictures of all follicles of a stage side by side, which makes wrong stages easy to see."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QIcon, QImage, QKeySequence, QPixmap, QShortcut  # type: ignore[attr-defined]  # qtpy provides it
from qtpy.QtWidgets import QComboBox, QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from follicle_stager.errors import UserError
from follicle_stager.stages import OUTLINED, Stage, Status
from follicle_stager_napari.keymap import DECISIONS, DRAWING, LOOKING, STAGES
from follicle_stager_napari.layers import label_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from follicle_stager_napari.keymap import Action
    from follicle_stager_napari.reviewer import Reviewer

_CROP_PX = 112
# Number of pictures that are read before the window handles other events.
_AT_ONCE = 8
_ALL = "all stages"
# Actions that need no follicle, and actions on the selected follicles. Drawing works only on the slide.
_OF_NONE = [*(action for action in DECISIONS if action.label in ("Undo", "Redo")), *LOOKING]
_OF_SELECTED = [*STAGES, *DECISIONS, *(action for action in DRAWING if action.label == "Merge")]


class Gallery(QWidget):
    """The follicles of the open slide as pictures.

    Parameters
    ----------
    reviewer
        Function that returns the open reviewer, or None.
    """

    def __init__(self, reviewer: Callable[[], Reviewer | None]) -> None:
        super().__init__()
        self._reviewer = reviewer
        self._waiting: list[QListWidgetItem] = []
        self._slide_id = ""
        self._stage = QComboBox()
        self._stage.addItems([_ALL, *(stage.label for stage in OUTLINED)])
        self._stage.currentTextChanged.connect(self.fill)
        self._list = QListWidget()
        self._list.setViewMode(QListWidget.ViewMode.IconMode)
        self._list.setResizeMode(QListWidget.ResizeMode.Adjust)
        self._list.setMovement(QListWidget.Movement.Static)
        self._list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self._list.setIconSize(QSize(_CROP_PX, _CROP_PX))
        self._list.setUniformItemSizes(True)
        self._list.itemDoubleClicked.connect(self._look_at)
        self._list.itemSelectionChanged.connect(self._choose)
        layout = QVBoxLayout(self)
        hint = QLabel(
            "Click one, or several with Ctrl or Shift, and press the key of the right stage. Double click: show it on "
            "the slide."
        )
        hint.setWordWrap(True)
        layout.addWidget(hint)
        layout.addWidget(self._stage)
        layout.addWidget(self._list)
        for action in dict.fromkeys((*_OF_SELECTED, *_OF_NONE)):
            key = {"Enter": "Return"}.get(action.key, action.key.replace("Control", "Ctrl").replace("-", "+"))
            shortcut = QShortcut(QKeySequence(key), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(partial(self._act, action))
        self._reading = QTimer(self)
        self._reading.setInterval(0)
        self._reading.timeout.connect(self._read_some)

    @property
    def keeps_keys(self) -> tuple[QWidget, ...]:
        """Widgets whose keys apply to the selected pictures."""
        return (self._list,)

    def fill(self) -> None:
        """Show the follicles of the chosen stage, the least certain first."""
        self._list.clear()
        self._waiting = []
        reviewer = self._reviewer()
        if reviewer is None:
            return
        self._slide_id = reviewer.desk.slide_id
        chosen = self._stage.currentText()
        own = [f for f in reviewer.desk.follicles if f.status != Status.REJECTED and chosen in (_ALL, f.stage.label)]
        blank = QIcon(_pixmap(np.full((_CROP_PX, _CROP_PX, 3), 235, np.uint8), Stage.NOT_FOLLICLE))
        for follicle in sorted(own, key=lambda f: (f.stage is Stage.CORPUS_LUTEUM, f.probabilities.get(f.stage, 0.0))):
            item = QListWidgetItem(blank, label_of(follicle))
            item.setData(Qt.ItemDataRole.UserRole, follicle.id)
            self._list.addItem(item)
            self._waiting.append(item)
        self._reading.start()

    def refresh(self) -> None:
        """Update names and colours after decisions; follicles that now have another stage stay visible."""
        reviewer = self._reviewer()
        if reviewer is None or not self.isVisible():
            return
        if reviewer.desk.slide_id != self._slide_id:
            self.fill()
            return
        if set(reviewer.desk.walk.selected) != set(self._chosen()):  # another follicle was selected on the slide
            self._list.blockSignals(True)
            self._list.clearSelection()
            self._list.blockSignals(False)
        standing = {f.id: f for f in reviewer.desk.follicles}
        for row in range(self._list.count()):
            item = self._list.item(row)
            follicle = standing.get(item.data(Qt.ItemDataRole.UserRole))
            name = label_of(follicle) if follicle is not None else ""
            if item.text() != name:
                item.setText(name or "not a follicle")
                self._waiting.append(item)
        if self._waiting:
            self._reading.start()

    def _read_some(self) -> None:
        reviewer = self._reviewer()
        now, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        if not now or reviewer is None:
            self._reading.stop()
            return
        standing = {f.id: f for f in reviewer.desk.follicles}
        for item in now:
            follicle = standing.get(item.data(Qt.ItemDataRole.UserRole))
            if follicle is None:
                continue
            try:
                crop = reviewer.desk.crop(follicle.id, _CROP_PX)
            except UserError:  # the panel has already reported the missing picture
                self._reading.stop()
                return
            rejected = follicle.status == Status.REJECTED
            item.setIcon(QIcon(_pixmap(crop, Stage.NOT_FOLLICLE if rejected else follicle.stage)))

    def _act(self, action: Action) -> None:
        reviewer = self._reviewer()
        if reviewer is None:
            return
        self._choose()
        # Without a selection in the gallery, the key would apply to the current follicle on the slide.
        if reviewer.desk.walk.selected or action in _OF_NONE:
            reviewer.act(action)

    def _chosen(self) -> list[str]:
        return [str(item.data(Qt.ItemDataRole.UserRole)) for item in self._list.selectedItems()]

    def _choose(self) -> None:
        """Select the same follicles on the slide: the next key applies to them."""
        reviewer = self._reviewer()
        if reviewer is not None:
            standing = {f.id for f in reviewer.desk.follicles}
            reviewer.desk.walk.selected = tuple(i for i in self._chosen() if i in standing)
            reviewer.show()

    def _look_at(self, item: QListWidgetItem) -> None:
        reviewer = self._reviewer()
        follicle_id = item.data(Qt.ItemDataRole.UserRole)
        if reviewer is not None and follicle_id in {f.id for f in reviewer.desk.follicles}:
            reviewer.desk.walk.go_to(follicle_id)
            reviewer.show()


def _pixmap(picture: NDArray[np.uint8], stage: Stage) -> QPixmap:
    """A crop with a frame in the colour of the stage."""
    framed = np.ascontiguousarray(picture)
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = stage.color
    height, width = framed.shape[:2]
    return QPixmap.fromImage(QImage(framed.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy())
