"""Which key does what: the one table for binding, buttons, tooltips and help. No Qt in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.review import Desk


class Window(Protocol):
    """What keys act on; `reviewer.Reviewer` is one."""

    desk: Desk
    open_gallery: Callable[[], None]
    open_help: Callable[[], None]

    def give(self, stage: Stage) -> None:
        """Give the chosen follicles a stage."""

    def go(self, step: int) -> None:
        """Go to the next follicle, or the one before."""

    def take_back(self) -> None:
        """Undo."""

    def do_again(self) -> None:
        """Redo."""

    def propose(self) -> None:
        """Add the follicle under the pointer."""

    def draw(self, what: str) -> None:
        """Let the mouse draw."""

    def hide(self) -> None:
        """Hide the outlines, or show them."""

    def open_next(self, step: int) -> None:
        """Open the next slide, or the one before."""


@dataclass(frozen=True)
class Action:
    """Something that a key or a button does.

    Attributes
    ----------
    key
        As napari writes it.
    label
        On the button.
    tip
        One sentence.
    do
        What it does.
    stage
        The stage that it gives, if it does.
    """

    key: str
    label: str
    tip: str
    do: Callable[[Window], object]
    stage: Stage | None = None


def _give(stage: Stage) -> Callable[[Window], object]:
    return lambda r: r.give(stage)


#: The ladder on 1 to 7, then what is none of it.
STAGES: tuple[Action, ...] = (
    *(
        Action(str(number), stage.label, f"Give the stage {stage.label.lower()} and go on.", _give(stage), stage)
        for number, stage in enumerate((*LADDER, Stage.CORPUS_LUTEUM), start=1)
    ),
    Action("U", "Unsure", "Nobody could say the stage; go on.", _give(Stage.UNSURE), Stage.UNSURE),
    Action(
        "0",
        "Not a follicle",
        "Reject it: kept in the file, counted nowhere; go on.",
        lambda r: r.desk.delete(),
        Stage.NOT_FOLLICLE,
    ),
)

#: What else is said of follicles, and taken back.
DECISIONS: tuple[Action, ...] = (
    Action("Enter", "Accept", "Agree with what stands and go on.", lambda r: r.desk.accept()),
    Action("Q", "Atretic", "Atretic, or not.", lambda r: r.desk.switch_health()),
    Action("W", "Nucleus shows", "Countable: the oocyte's nucleus shows, or not.", lambda r: r.desk.switch_countable()),
    Action("Control-Z", "Undo", "Take back what was done last, also of an earlier session.", lambda r: r.take_back()),
    Action("Control-Shift-Z", "Redo", "Do again what was taken back.", lambda r: r.do_again()),
)

#: Outlines.
DRAWING: tuple[Action, ...] = (
    Action("K", "Add at pointer", "Add the follicle that the software sees under the pointer.", lambda r: r.propose()),
    Action(
        "P", "Draw", "Add a follicle corner by corner; Enter or a double click ends it.", lambda r: r.draw("polygon")
    ),
    Action("Shift-P", "Draw freehand", "Add a follicle with the mouse held down.", lambda r: r.draw("freehand")),
    Action("/", "Split", "Cut a follicle in two: draw a line across it.", lambda r: r.draw("line")),
    Action(
        "J",
        "Merge",
        "Make one of the selected follicles, or of those that overlap the one in view.",
        lambda r: r.desk.merge(),
    ),
    Action("D", "Corners", "Move the corners of the selected outline.", lambda r: r.draw("corners")),
    Action("S", "Select", "Back to selecting with the mouse.", lambda r: r.draw("select")),
)

#: Where one looks.
LOOKING: tuple[Action, ...] = (
    Action("N", "Next", "The next follicle that wants a look.", lambda r: r.go(1)),
    Action("Shift-N", "Previous", "The one before, judged or not.", lambda r: r.go(-1)),
    Action("H", "Hide", "Hide the outlines, or show them.", lambda r: r.hide()),
    Action("G", "Gallery", "Pictures of all follicles of a stage side by side.", lambda r: r.open_gallery()),
    Action(".", "Next slide", "Save, and open the next slide.", lambda r: r.open_next(1)),
    Action(",", "Slide before", "Save, and open the slide before.", lambda r: r.open_next(-1)),
    Action("F1", "Keys", "All keys on one page.", lambda r: r.open_help()),
)

ACTIONS = (*STAGES, *DECISIONS, *DRAWING, *LOOKING)


def shown(key: str) -> str:
    """A key as people write it."""
    return key.replace("Control", "Ctrl")
