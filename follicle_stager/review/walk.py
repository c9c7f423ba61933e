"""The part of a desk that leads from follicle to follicle: queue, current follicle and selection; no user interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from follicle_stager.corrections.sections import places
from follicle_stager.errors import UserError
from follicle_stager.review.overlap import Overlaps
from follicle_stager.review.queue import Filter, Order, is_due, queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from follicle_stager.corrections import Edit, ReviewSession
    from follicle_stager.records import Follicle
    from follicle_stager.review.queue import Opinions


@dataclass
class Steps:
    """What a walk knows of a slide, for when it returns.

    Attributes
    ----------
    path
        Ids in the order of the walk.
    off
        Ids of follicles on tissue that is not counted.
    overlaps
        Overlapping outlines.
    """

    path: list[str] = field(default_factory=list)
    off: frozenset[str] = frozenset()
    overlaps: Overlaps = field(default_factory=Overlaps)


class Walk:
    """A walk through the follicles of the open slide of a desk.

    Parameters
    ----------
    session
        Function that returns the session of the open slide.
    opinions
        Function that returns what a classifier says; it is called only for an order that needs it.

    Attributes
    ----------
    order, only
        Order of the follicles, and which of them are stopped at.
    current
        Id of the current follicle; None if there is none.
    selected
        Ids of the follicles to which commands apply; if empty, they apply to the current one.
    """

    def __init__(self, session: Callable[[], ReviewSession], opinions: Callable[[], Opinions]) -> None:
        self._open, self._opinions = session, opinions
        self.order, self.only = Order.UNCERTAINTY, Filter()
        #: Whether to stay at the follicle after a decision.
        self.stays = False
        self.end()

    @property
    def _session(self) -> ReviewSession:
        return self._open()

    def begin(self, known: Steps | None = None) -> None:
        """Start on a slide that was just opened, or go on with what is known of it."""
        if known is not None:
            self.steps = known
            return
        self._place(self._session.follicles)
        self.steps.overlaps = Overlaps(self._session.follicles)
        try:
            self.sort()
        except UserError:  # the classifier to sort by no longer exists
            self.sort(Order.UNCERTAINTY)

    def end(self) -> None:
        """Forget the slide."""
        self.current: str | None = None
        self.selected: tuple[str, ...] = ()
        #: What is known of the slide.
        self.steps = Steps()

    def sort(self, order: Order | None = None, only: Filter | None = None) -> None:
        """Set order and filter of the follicles, and go to the first one.

        Raises
        ------
        UserError
            If the order needs a classifier that the study does not have; the order then stays the same.
        """
        before = self.order, self.only
        self.order, self.only = order or self.order, only or self.only
        try:
            opinions = self._opinions() if self.order == Order.DISAGREEMENT else None
            self.steps.path = queue(
                self._session.follicles,
                self.order,
                only=self.only.with_judged,
                opinions=opinions,
                overlapping=self.overlapping,
            )
        except UserError:
            self.order, self.only = before
            raise
        self.let_go()
        self.go()

    def go(self, step: int = 1) -> None:
        """Go to the next follicle to review, starting again at the end; backwards, judged follicles are included.

        If there is none left, no follicle is current.
        """
        here = self.steps.path.index(self.current) if self.current in self.steps.path else -1 if step > 0 else 0
        order = [self.steps.path[(here + step * n) % len(self.steps.path)] for n in range(1, len(self.steps.path) + 1)]
        wanted = (i for i in order if self.is_due(i)) if step > 0 else iter(order)
        self.current, self.selected = next(wanted, None), ()

    def go_to(self, follicle_id: str) -> None:
        """Make a follicle the current one; the queue continues from there."""
        self.current, self.selected = follicle_id, ()
        if follicle_id not in self.steps.path:
            self.steps.path.append(follicle_id)

    def let_go(self) -> None:
        """Deselect all follicles; the next command applies to none."""
        self.current, self.selected = None, ()

    @property
    def chosen(self) -> list[str]:
        """Ids of the follicles to which commands apply.

        Raises
        ------
        UserError
            If there are none.
        """
        ids = list(self.selected) or ([self.current] if self.current else [])
        if not ids:
            raise UserError("No follicle is selected: click one, or press N for the next.")
        return ids

    @property
    def overlapping(self) -> dict[str, list[str]]:
        """Ids of outlines that overlap so much that one follicle may be counted twice, by follicle id."""
        return self.steps.overlaps.by_id

    def is_counted(self, follicle: Follicle) -> bool:
        """Whether a follicle lies on tissue that is counted."""
        return follicle.id not in self.steps.off

    @property
    def goes_on(self) -> bool:
        """Whether to go on to the next follicle after a decision; a selection stays."""
        return not self.selected and not self.stays

    def follow(self, edit: Edit) -> None:
        """Take an edit into the queue: what was added comes last, what was removed is left."""
        self._place(self._session.follicles if edit.sections_before else edit.after)
        self.steps.overlaps.update(edit.before, edit.after)
        before, after = ({f.id for f in side} for side in (edit.before, edit.after))
        gone = before - after
        known = {*self.steps.path, *before}
        self.steps.path += [f.id for f in edit.after if f.id not in known]
        if gone:  # these were added, and the addition was undone
            self.steps.path = [i for i in self.steps.path if i not in gone]
            self.selected = tuple(i for i in self.selected if i not in gone)
            if self.current in gone:
                self.go()

    def is_due(self, follicle_id: str) -> bool:
        """Whether a follicle is to be reviewed."""
        if follicle_id in self.steps.off or follicle_id not in self._session:
            return False
        return is_due(self._session[follicle_id], self.only, self.overlapping)

    def _place(self, follicles: Iterable[Follicle]) -> None:
        """Update which follicles lie on tissue that is not counted."""
        sections, follicles = self._session.sections, list(follicles)
        out = {s.section_id for s in sections if not s.included}
        off = {f.id for f, section_id in places(follicles, sections) if section_id in out} if out else set()
        self.steps.off = (self.steps.off - {f.id for f in follicles}) | off
