"""Pictures of all follicles of a stage side by side, which makes wrong stages easy to see.

Those of one stage have one scale, on the open slide or over the whole study. Decisions about follicles of other slides
are made without opening these in the window.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QIcon, QImage, QKeySequence, QPixmap, QShortcut  # type: ignore[attr-defined]  # qtpy provides it
from qtpy.QtWidgets import QComboBox, QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from follicle_stager.errors import UserError
from follicle_stager.slides.crops import with_margin
from follicle_stager.stages import OUTLINED, Stage, Status, next_countable, next_health
from follicle_stager_napari.judging import STUDY, THIS_SLIDE
from follicle_stager_napari.keymap import DECISIONS, DRAWING, LOOKING, STAGES
from follicle_stager_napari.layers import label_of
from follicle_stager_napari.widgets import choice, row
from follicle_stager_napari.words import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from follicle_stager.corrections import ReviewSession
    from follicle_stager.records import Follicle
    from follicle_stager_napari.keymap import Action
    from follicle_stager_napari.reviewer import Reviewer

_CROP_PX = 112
# Number of pictures that are read before the window handles other events.
_AT_ONCE = 8
_ALL, _GONE = "all stages", "not a follicle"
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
        # Slides whose follicles are not listed yet; follicles of the listed ones by slide and id.
        self._unlisted: list[str] = []
        self._listed: dict[tuple[str, str], Follicle] = {}
        # Slides on which the last decision was made, for undo; empty if it was made on the open slide.
        self._last: list[str] = []
        self._side: float | None = None
        self._stage = QComboBox()
        self._stage.addItems([_ALL, *(stage.label for stage in OUTLINED)])
        self._stage.currentTextChanged.connect(self.fill)
        self._scope = choice("Follicles of the open slide, or of all slides.", [THIS_SLIDE, STUDY], self.fill)
        self._scale = QLabel()
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
        layout.addWidget(row(self._stage, self._scope, self._scale))
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
        """Show the follicles of the chosen stage, the least certain first; those of other slides follow."""
        self._list.clear()
        self._waiting, self._listed, self._last = [], {}, []
        reviewer = self._reviewer()
        if reviewer is None:
            return
        desk = reviewer.desk
        self._slide_id = desk.slide_id
        self._add(desk.slide_id, desk.follicles)
        others = [slide_id for slide_id in desk.slide_ids() if slide_id != desk.slide_id]
        self._unlisted = others if self._scope.currentText() == STUDY else []
        self._show_scale()
        self._reading.start()

    def _add(self, slide_id: str, follicles: Sequence[Follicle]) -> None:
        """List the follicles of a slide that are of the chosen stage."""
        chosen = self._stage.currentText()
        own = [f for f in follicles if f.status != Status.REJECTED and chosen in (_ALL, f.stage.label)]
        blank = QIcon(_pixmap(np.full((_CROP_PX, _CROP_PX, 3), 235, np.uint8), Stage.NOT_FOLLICLE))
        for follicle in sorted(own, key=lambda f: (f.stage is Stage.CORPUS_LUTEUM, f.probabilities.get(f.stage, 0.0))):
            item = QListWidgetItem(blank, label_of(follicle))
            item.setData(Qt.ItemDataRole.UserRole, (slide_id, follicle.id))
            self._list.addItem(item)
            self._waiting.append(item)
            self._listed[slide_id, follicle.id] = follicle

    @property
    def _side_um(self) -> float | None:
        """Side of all pictures, µm; None if each follicle has its own scale, because stages differ too much in size."""
        sizes = [f.measurements.diameter_um for f in self._listed.values() if f.measurements is not None]
        return with_margin(max(sizes)) if sizes and self._stage.currentText() != _ALL else None

    def _show_scale(self) -> None:
        side = self._side_um
        self._scale.setText("each at its own scale" if side is None else f"each picture: {side:.0f} µm wide")

    def refresh(self) -> None:
        """Update names and colours after decisions; follicles that now have another stage stay visible."""
        reviewer = self._reviewer()
        if reviewer is None or not self.isVisible():
            return
        if reviewer.desk.slide_id != self._slide_id:
            self.fill()
            return
        if set(reviewer.desk.walk.selected) - set(self._chosen()):  # another follicle was selected on the slide
            self._list.blockSignals(True)
            self._list.clearSelection()
            self._list.blockSignals(False)
        for follicle in reviewer.desk.follicles:
            if (self._slide_id, follicle.id) in self._listed:
                self._listed[self._slide_id, follicle.id] = follicle
        self._rename({f.id for f in reviewer.desk.follicles})

    def _rename(self, standing: set[str]) -> None:
        """Show the current stages; follicles of the open slide that are gone are no follicles."""
        for place in range(self._list.count()):
            item = self._list.item(place)
            slide_id, follicle_id = item.data(Qt.ItemDataRole.UserRole)
            gone = slide_id == self._slide_id and follicle_id not in standing
            name = "" if gone else label_of(self._listed[slide_id, follicle_id])
            if item.text() != (name or _GONE):
                item.setText(name or _GONE)
                self._waiting.append(item)
        if self._waiting:
            self._reading.start()

    def _read_some(self) -> None:
        reviewer = self._reviewer()
        if reviewer is None or not (self._waiting or self._unlisted):
            self._reading.stop()
            return
        if not self._waiting:  # the pictures of the slides before are there
            slide_id = self._unlisted.pop(0)
            with contextlib.suppress(UserError):  # it is reported when the slide is opened or counted
                self._add(slide_id, reviewer.desk.study.content(slide_id).follicles)
            before, self._side = self._side, self._side_um
            if self._side != before:  # a larger one came: all pictures are cut again
                self._waiting = [self._list.item(place) for place in range(self._list.count())]
                self._show_scale()
            return
        self._side = self._side_um
        now, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        for item in now:
            slide_id, follicle_id = item.data(Qt.ItemDataRole.UserRole)
            follicle = self._listed[slide_id, follicle_id]
            try:
                crop = reviewer.desk.crop(follicle, _CROP_PX, slide_id=slide_id, side_um=self._side)
            except UserError:  # the panel has already reported the missing picture
                self._waiting = []
                return
            rejected = follicle.status == Status.REJECTED
            item.setIcon(QIcon(_pixmap(crop, Stage.NOT_FOLLICLE if rejected else follicle.stage)))

    def _act(self, action: Action) -> None:
        reviewer = self._reviewer()
        if reviewer is None:
            return
        self._choose()
        elsewhere = self._elsewhere()
        if action.label == "Undo" and self._last:
            self._decide({slide_id: [] for slide_id in self._last}, lambda session, ids: session.undo())
            self._last = []
            return
        # Without a selection in the gallery, the key would apply to the current follicle on the slide.
        if reviewer.desk.walk.selected or action in _OF_NONE:
            reviewer.act(action)
            self._last = []
        do = _COMMANDS.get(action.label) or (_give(action.stage) if action.stage is not None else None)
        if elsewhere and do is not None:
            self._decide(elsewhere, do)
            self._last = list(elsewhere)

    def _decide(self, ids: dict[str, list[str]], do: Callable[[ReviewSession, list[str]], object]) -> None:
        """Decide about follicles of slides that are not open, and show the result."""
        reviewer = self._reviewer()
        if reviewer is None:
            return
        try:
            for slide_id, own in ids.items():
                reviewer.desk.decide_on(slide_id, partial(_with, do, own))
                for follicle in reviewer.desk.study.content(slide_id).follicles:
                    if (slide_id, follicle.id) in self._listed:
                        self._listed[slide_id, follicle.id] = follicle
        except (UserError, OSError) as error:
            reviewer.say(refused(error))
        self._rename({f.id for f in reviewer.desk.follicles})

    def _keys(self) -> list[tuple[str, str]]:
        """Slides and ids of the selected pictures."""
        return [tuple(item.data(Qt.ItemDataRole.UserRole)) for item in self._list.selectedItems()]

    def _chosen(self) -> list[str]:
        """Ids of the selected follicles of the open slide."""
        return [follicle_id for slide_id, follicle_id in self._keys() if slide_id == self._slide_id]

    def _elsewhere(self) -> dict[str, list[str]]:
        """Ids of the selected follicles of other slides, by slide."""
        ids: dict[str, list[str]] = {}
        for slide_id, follicle_id in self._keys():
            if slide_id != self._slide_id:
                ids.setdefault(slide_id, []).append(follicle_id)
        return ids

    def _choose(self) -> None:
        """Select the same follicles on the slide: the next key applies to them."""
        reviewer = self._reviewer()
        if reviewer is not None:
            standing = {f.id for f in reviewer.desk.follicles}
            reviewer.desk.walk.selected = tuple(i for i in self._chosen() if i in standing)
            reviewer.show()

    def _look_at(self, item: QListWidgetItem) -> None:
        reviewer = self._reviewer()
        slide_id, follicle_id = item.data(Qt.ItemDataRole.UserRole)
        if reviewer is None:
            return
        if slide_id != reviewer.desk.slide_id:
            reviewer.open(slide_id)
        if follicle_id in {f.id for f in reviewer.desk.follicles}:
            reviewer.desk.walk.go_to(follicle_id)
            reviewer.show()


def _with(do: Callable[[ReviewSession, list[str]], object], ids: list[str], session: ReviewSession) -> object:
    return do(session, ids)


def _give(stage: Stage) -> Callable[[ReviewSession, list[str]], object]:
    return lambda session, ids: session.set_stage(ids, stage)


def _switch_health(session: ReviewSession, ids: list[str]) -> object:
    return session.set_health(ids, next_health(session[ids[0]].health))


def _switch_countable(session: ReviewSession, ids: list[str]) -> object:
    return session.set_countable(ids, next_countable(session[ids[0]].countable))


#: What keys do with follicles of a slide that is not open; stages are given.
_COMMANDS: dict[str, Callable[[ReviewSession, list[str]], object]] = {
    "Not a follicle": lambda session, ids: session.delete(ids),
    "Accept": lambda session, ids: session.accept(ids),
    "Atretic": _switch_health,
    "Nucleus visible": _switch_countable,
}


def _pixmap(picture: NDArray[np.uint8], stage: Stage) -> QPixmap:
    """A crop with a frame in the colour of the stage."""
    framed = np.ascontiguousarray(picture)
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = stage.color
    height, width = framed.shape[:2]
    return QPixmap.fromImage(QImage(framed.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy())
