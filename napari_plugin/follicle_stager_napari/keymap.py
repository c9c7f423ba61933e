"""The table of keys, which defines key bindings, buttons, tooltips and the help page; without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.review import Desk


class Window(Protocol):
    """The object that keys act on, such as `reviewer.Reviewer`."""

    desk: Desk
    open_gallery: Callable[[], None]
    open_help: Callable[[], None]

    def give(self, stage: Stage) -> None:
        """Give the chosen follicles a stage."""

    def go(self, step: int) -> None:
        """Go to the next or previous follicle."""

    def take_back(self) -> None:
        """Undo."""

    def do_again(self) -> None:
        """Redo."""

    def propose(self) -> None:
        """Add the follicle under the pointer."""

    def hint(self) -> None:
        """Trace the current outline again with a hint."""

    def draw(self, what: str) -> None:
        """Start drawing with the mouse."""

    def stay(self) -> None:
        """Stay at a place, or go on after each decision again."""

    def hide(self) -> None:
        """Hide or show the outlines."""

    def open_next(self, step: int) -> None:
        """Open the next or previous slide."""


@dataclass(frozen=True)
class Action:
    """An action with its key and button.

    Attributes
    ----------
    key
        Key, as napari writes it.
    label
        Text on the button.
    tip
        Tooltip, one sentence.
    do
        Function that carries out the action.
    stage
        Stage that the action gives, if any.
    """

    key: str
    label: str
    tip: str
    do: Callable[[Window], object]
    stage: Stage | None = None


def _give(stage: Stage) -> Callable[[Window], object]:
    return lambda r: r.give(stage)


#: The stages of the ladder on keys 1 to 7, then the others.
STAGES: tuple[Action, ...] = (
    *(
        Action(
            str(number), stage.label, f"Set the stage to {stage.label.lower()}; go to the next.", _give(stage), stage
        )
        for number, stage in enumerate((*LADDER, Stage.CORPUS_LUTEUM), start=1)
    ),
    Action("U", "Unsure", "The stage cannot be determined; go to the next.", _give(Stage.UNSURE), Stage.UNSURE),
    Action(
        "0",
        "Not a follicle",
        "Reject it: it stays in the file but is not counted; go to the next.",
        lambda r: r.desk.delete(),
        Stage.NOT_FOLLICLE,
    ),
)

#: Other decisions about follicles, and undo.
DECISIONS: tuple[Action, ...] = (
    Action("Enter", "Accept", "Accept the current stage; go to the next.", lambda r: r.desk.accept()),
    Action("Q", "Atretic", "Switch between atretic and healthy.", lambda r: r.desk.switch_health()),
    Action(
        "W", "Nucleus visible", "Switch whether the oocyte nucleus is visible.", lambda r: r.desk.switch_countable()
    ),
    Action("Control-Z", "Undo", "Undo the last change, also from earlier sessions.", lambda r: r.take_back()),
    Action("Control-Shift-Z", "Redo", "Redo the last change that was undone.", lambda r: r.do_again()),
)

#: Outlines.
DRAWING: tuple[Action, ...] = (
    Action(
        "K", "Add at pointer", "Add the follicle under the pointer, also a cap or a faint one.", lambda r: r.propose()
    ),
    Action(
        "Shift-K",
        "Hint at pointer",
        "Trace the current outline again: this place outside it belongs to it, or this place inside does not.",
        lambda r: r.hint(),
    ),
    Action(
        "P",
        "Draw",
        "Draw a follicle corner by corner; finish with Enter or a double click.",
        lambda r: r.draw("polygon"),
    ),
    Action(
        "Shift-P", "Draw freehand", "Draw a follicle with the mouse button held down.", lambda r: r.draw("freehand")
    ),
    Action("/", "Split", "Cut a follicle in two: draw a line across it.", lambda r: r.draw("line")),
    Action(
        "J",
        "Merge",
        "Merge the selected follicles, or the current one with those that overlap it.",
        lambda r: r.desk.outlines.merge(),
    ),
    Action(
        "D",
        "Corners",
        "Move the corners of the selected outline; its neighbours follow, so that no spike is left.",
        lambda r: r.draw("corners"),
    ),
    Action(
        "B",
        "Brush",
        "Paint on the current outline: begin inside to add to it, outside to take from it; S stops.",
        lambda r: r.draw("brush"),
    ),
    Action("T", "Smooth", "Smooth the current outline.", lambda r: r.desk.outlines.smooth()),
    Action("S", "Select", "Stop drawing; select with the mouse.", lambda r: r.draw("select")),
)

#: Navigation.
LOOKING: tuple[Action, ...] = (
    Action("N", "Next", "Next follicle to review.", lambda r: r.go(1)),
    Action("Shift-N", "Previous", "Previous follicle, judged or not.", lambda r: r.go(-1)),
    Action(
        "Y",
        "Stay here",
        "Stay: after a decision, do not go on, and after a drawing, draw the next; again: go on as usual.",
        lambda r: r.stay(),
    ),
    Action("H", "Hide", "Hide or show the outlines.", lambda r: r.hide()),
    Action("G", "Gallery", "Show all follicles of a stage side by side.", lambda r: r.open_gallery()),
    Action(".", "Next slide", "Save, and open the next slide.", lambda r: r.open_next(1)),
    Action(",", "Previous slide", "Save, and open the previous slide.", lambda r: r.open_next(-1)),
    Action("F1", "Keys", "Show all keys.", lambda r: r.open_help()),
)

ACTIONS = (*STAGES, *DECISIONS, *DRAWING, *LOOKING)


def shown(key: str) -> str:
    """A key as it is shown to the user."""
    return key.replace("Control", "Ctrl")
