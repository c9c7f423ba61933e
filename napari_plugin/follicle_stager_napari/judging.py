"""The part of the panel for judging follicles: the queue, the current follicle, and all buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from follicle_stager.review import Filter, Order
from follicle_stager.stages import OUTLINED, Countable, Health, Status
from follicle_stager_napari.keymap import DECISIONS, DRAWING, LOOKING, STAGES
from follicle_stager_napari.widgets import ProbabilityBars, Said, action_buttons, choice, foldable, push_button
from follicle_stager_napari.words import did, overlap_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from follicle_stager.review import Progress
    from follicle_stager.review.desk import Desk
    from follicle_stager_napari.keymap import Action

# Lines of the history that are visible, and that it has.
_HISTORY, _SHOWN = 6, 60
_EVERY, _TO_JUDGE = "every", "not judged"
#: What lists and pictures of follicles are of.
THIS_SLIDE, STUDY = "this slide", "study"


class JudgingPart(QWidget):
    """Queue, current follicle, and a button for each key.

    Parameters
    ----------
    act
        Function that is called with the action of a pressed button.
    sort
        Function that is called with a new order and filter, and whether they apply to the whole study.
    learn
        Function that is called to learn from corrections.
    """

    def __init__(
        self, act: Callable[[Action], None], sort: Callable[[Order, Filter, bool], None], learn: Callable[[], None]
    ) -> None:
        super().__init__()
        self._sort = sort
        self._order = choice("Order of the follicles.", [order.value for order in Order], self.apply)
        self._stage = choice("Show only follicles of this stage.", [_EVERY, *(s.label for s in OUTLINED)], self.apply)
        judged = [_TO_JUDGE, _EVERY, *(s.value for s in Status if s != Status.PREDICTED)]
        self._status = choice("Show only follicles with this status.", judged, self.apply)
        self._countable = choice(
            "Show only follicles by visible oocyte nucleus.", [_EVERY, *(c.value for c in Countable)], self.apply
        )
        self._scope = choice("Go through the open slide, or through all slides.", [THIS_SLIDE, STUDY], self.apply)
        self._progress = QLabel()
        self._what = Said(6)
        self._bars = ProbabilityBars()
        self._history = Said(_HISTORY)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        grids = [action_buttons(actions, act) for actions in (STAGES, DECISIONS, DRAWING, LOOKING)]
        for widget in (self._choices(), self._progress, self._what, self._bars, *grids):
            layout.addWidget(widget)
        tip = "Train a classifier on your stages, and compare it with the criteria."
        layout.addWidget(push_button("Learn from corrections", tip, learn))
        layout.addWidget(foldable("What was done", self._history, opened=lambda opened: None))

    def show_of(self, desk: Desk, by_slide: Mapping[str, Progress]) -> None:
        """Show the current follicle of the desk, and the progress of the slides of which it is known."""
        own = by_slide[desk.slide_id]
        done = [did(edit) for edit in reversed(desk.session.history[-_SHOWN:])]
        self._history.setText("\n".join(done) or "Nothing yet. Ctrl-Z undoes the first line.")
        of_slide = f"{own.judged} of {own.total} follicles of this slide judged"
        self._progress.setText(of_slide + _of_study(desk, by_slide))
        follicle = desk.session[desk.walk.current] if desk.walk.current is not None else None
        self._bars.show_of(follicle.probabilities if follicle is not None and not desk.walk.selected else {})
        if desk.walk.selected:
            self._what.setText(f"{len(desk.walk.selected)} follicles selected: the next key applies to all of them.")
        elif follicle is None:
            self._what.setText("No follicle is selected: click one, or press N for the next one to review.")
        else:
            dying = ", atretic" if follicle.health == Health.ATRETIC else ""
            reasons = "; ".join(follicle.reasons)
            nucleus = f"nucleus visible: {follicle.countable.value}"
            known = f"{follicle.stage.label}{dying} ({follicle.status.value}), {nucleus}"
            self._what.setText("\n".join(line for line in (overlap_of(desk), known, reasons) if line))

    def _choices(self) -> QWidget:
        part = QWidget()
        grid = QGridLayout(part)
        grid.setContentsMargins(0, 0, 0, 0)
        boxes = {
            "go through": self._scope,
            "order": self._order,
            "stage": self._stage,
            "status": self._status,
            "countable": self._countable,
        }
        for place, (name, box) in enumerate(boxes.items()):
            line, side = divmod(place, 2)
            grid.addWidget(QLabel(name), line, 2 * side)
            grid.addWidget(box, line, 2 * side + 1)
        return part

    def choose(self, order: Order, *, study: bool) -> None:
        """Set the lists to an order, of the whole study or of the open slide, without applying them."""
        for box, text in ((self._order, order.value), (self._scope, STUDY if study else THIS_SLIDE)):
            box.blockSignals(True)
            box.setCurrentText(text)
            box.blockSignals(False)

    def apply(self) -> None:
        """Sort and filter as chosen in the lists."""
        status = self._status.currentText()
        statuses = {_EVERY: frozenset[Status](), _TO_JUDGE: frozenset({Status.PREDICTED})}
        only = Filter(
            stages=frozenset(stage for stage in OUTLINED if stage.label == self._stage.currentText()),
            statuses=statuses[status] if status in statuses else frozenset({Status(status)}),
            countable=frozenset(c for c in Countable if c.value == self._countable.currentText()),
        )
        self._sort(Order(self._order.currentText()), only, self._scope.currentText() == STUDY)


def _of_study(desk: Desk, by_slide: Mapping[str, Progress]) -> str:
    """Progress on the study, once all of its slides are read; empty for one slide."""
    slides = desk.study.slide_ids()
    if len(slides) < 2 or len(by_slide) < len(slides):
        return ""
    judged, total = (sum(getattr(p, name) for p in by_slide.values()) for name in ("judged", "total"))
    left = sum(p.judged < p.total for p in by_slide.values())
    return f"; study: {judged:,} of {total:,}, {left} slides left"
