"""The queue of follicles over all slides of a study; no user interface."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from follicle_stager.errors import UserError
from follicle_stager.review.overlap import Overlaps
from follicle_stager.review.queue import Filter, Order, is_due, progress, ranks
from follicle_stager.staging import learned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from follicle_stager.records import Follicle
    from follicle_stager.review.queue import Opinions, Progress, Rank
    from follicle_stager.study import Study

    #: A slide, and the id of a follicle on it
    Place = tuple[str, str]


class Tour:
    """A walk through the follicles of all slides of a study.

    Parameters
    ----------
    study
        The study.
    slide_ids
        Its slides, in the order of the review.
    order, only
        Order of the follicles, and which of them are stopped at.
    tell
        Function that is called with the number of slides that are read, and of all.

    Attributes
    ----------
    progress
        Progress on each slide when it was read.
    left_out
        Why slides are left out, in words.
    at
        The place that was shown last; None at the start.

    Raises
    ------
    UserError
        If the order needs a classifier that the study does not have.
    """

    def __init__(
        self,
        study: Study,
        slide_ids: Sequence[str],
        order: Order,
        only: Filter,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.order, self.only = order, only
        self.progress: dict[str, Progress] = {}
        self.left_out: list[str] = []
        self.at: Place | None = None
        # A place whose slide could not be opened.
        self._closed: Place | None = None
        # Follicles that are not to be reviewed: a person has judged them, or they are gone.
        self._passed: set[Place] = set()
        ranked: list[tuple[Rank, Place]] = []
        for number, slide_id in enumerate(slide_ids):
            tell(number, len(slide_ids))
            try:
                follicles = study.content(slide_id).included
            except UserError as error:  # one damaged slide must not keep a person from the others
                self.left_out.append(str(error))
                continue
            self.progress[slide_id] = progress(follicles)
            opinions = opinions_of(study, follicles) if order == Order.DISAGREEMENT else None
            chosen = [f for f in follicles if only.with_judged.lets(f)]
            overlapping = Overlaps(follicles).by_id
            rank = ranks(chosen, order, opinions=opinions, overlapping=overlapping)
            first: Rank = (number,) if order == Order.POSITION else ()
            ranked += [((*first, *own), (slide_id, follicle_id)) for follicle_id, own in rank.items()]
            self._passed |= {(slide_id, f.id) for f in chosen if not is_due(f, only, overlapping)}
        self._path = [place for _, place in sorted(ranked)]
        self._number = {place: number for number, place in enumerate(self._path)}

    def __len__(self) -> int:
        return len(self._path)

    def next(self, step: int = 1, here: Place | None = None) -> Place | None:
        """Go to the next place to review, starting again at the end; backwards, judged ones are included.

        Parameters
        ----------
        step
            1 or -1.
        here
            Where the person is now: after a decision elsewhere, the tour first returns to where it was.
        """
        if step < 0 or self.at is None or self.at in (here, self._closed) or self.at in self._passed:
            self.at = next(self._from_here(step), None)
        return self.at

    def ahead(self, count: int) -> list[Place]:
        """The next places."""
        return list(islice(self._from_here(1), count))

    def skip(self, place: Place) -> None:
        """Pass a place from now on, because there is nothing to review."""
        self._passed.add(place)

    def is_closed(self, place: Place) -> None:
        """Say that the slide of the place could not be opened: next, the tour goes on from there."""
        self._closed = place

    def note(
        self, slide_id: str, touched: Iterable[Follicle], gone: Iterable[str], is_due: Callable[[str], bool]
    ) -> None:
        """Take a change of the open slide in: what was judged is passed, and what was added comes last.

        Parameters
        ----------
        slide_id
            Name of the slide.
        touched
            Follicles that may have changed.
        gone
            Ids of follicles that no longer exist.
        is_due
            Whether a follicle of the slide is to be reviewed, by its id.
        """
        due = {(slide_id, f.id): is_due(f.id) for f in touched}
        for place in [place for place, wanted in due.items() if wanted and place not in self._number]:
            self._number[place] = len(self._path)
            self._path.append(place)
        self._passed |= {(slide_id, one) for one in gone} | {place for place, wanted in due.items() if not wanted}
        self._passed -= {place for place, wanted in due.items() if wanted}

    def note_all(self, slide_id: str, follicles: Sequence[Follicle]) -> None:
        """Take in decisions about follicles of a slide that is not open."""
        overlapping = Overlaps(follicles).by_id
        due = {f.id for f in follicles if is_due(f, self.only, overlapping)}
        self.note(slide_id, follicles, (), lambda follicle_id: follicle_id in due)

    def go_to(self, place: Place) -> None:
        """Go on from a place, if it belongs to the tour."""
        if place in self._number:
            self.at = place

    def _from_here(self, step: int) -> Iterator[Place]:
        here = self._number.get(self.at, 0) if self.at is not None else -1 if step > 0 else 0
        order = (self._path[(here + step * n) % len(self._path)] for n in range(1, len(self._path) + 1))
        return (place for place in order if step < 0 or place not in self._passed)


def opinions_of(study: Study, follicles: Sequence[Follicle]) -> Opinions:
    """Probabilities of each follicle by the study's classifier.

    Raises
    ------
    UserError
        If there is no classifier.
    """
    stager = learned.load(study.path / learned.FOLDER)
    known = {f.id: f.measurements for f in follicles if f.measurements is not None}
    return dict(zip(known, stager.probabilities(list(known.values())), strict=True))
