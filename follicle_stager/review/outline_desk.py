"""The part of a desk for outlines: propose, draw, find, reshape, merge and split; no user interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shapely.geometry import Point

from follicle_stager.corrections.session import parts_of
from follicle_stager.corrections.shaping import brushed, smoothed
from follicle_stager.errors import UserError
from follicle_stager.matching import overlaps
from follicle_stager.pipeline import Examiner
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from shapely.geometry import LineString, Polygon

    from follicle_stager.corrections.edits import Edit
    from follicle_stager.corrections.session import ReviewSession
    from follicle_stager.records import Follicle
    from follicle_stager.review.walk import Walk
    from follicle_stager.study import Study

    class OpenSlide(Protocol):
        """What outlines need of a desk."""

        study: Study
        walk: Walk

        @property
        def slide_id(self) -> str:
            """Name of the open slide; empty if none is open."""

        @property
        def session(self) -> ReviewSession:
            """The session of the open slide."""

        @property
        def examiner(self) -> Examiner:
            """What measures drawn outlines."""

        @property
        def follicles(self) -> tuple[Follicle, ...]:
            """Follicles of the open slide."""

        def done(self, edit: Edit) -> None:
            """Take an edit into the queue."""


# IoU from which a found follicle, or a drawn one, is the same as an existing one.
_SAME, _DRAWN_TWICE = 0.3, 0.9


@dataclass
class Hinted:
    """An outline that is traced around a point, and the hints of a person about it.

    Attributes
    ----------
    follicle_id
        Id of the follicle.
    at
        Point around which it is traced, level-0 pixels.
    inside, outside
        Hints, level-0 pixels.
    """

    follicle_id: str
    at: tuple[float, float]
    inside: list[tuple[float, float]] = field(default_factory=list)
    outside: list[tuple[float, float]] = field(default_factory=list)


class OutlineDesk:
    """The outlines of the open slide of a desk.

    Parameters
    ----------
    desk
        The desk.
    """

    def __init__(self, desk: OpenSlide) -> None:
        self._desk = desk
        self._hinted: Hinted | None = None

    def propose(self, x: float, y: float) -> bool:
        """Add the follicle that the software sees around a point (level-0 pixels).

        Returns
        -------
        bool
            False if the follicle already has an outline, which is then current.

        Raises
        ------
        UserError
            If the point lies on no section.
        """
        around = [f for f in self._standing() if not f.is_corpus_luteum and f.outline.contains(Point(x, y))]
        there = min(around, key=lambda f: f.outline.area, default=None)
        if there is None:
            # A cap or a faint follicle, which the detector does not claim, has an outline, too.
            proposal = self._desk.examiner.proposed(x, y) or self._desk.examiner.measured(
                self._desk.examiner.traced(x, y)
            )
            if proposal is None:
                raise UserError("This place lies on no section: point at the tissue.")
            there = self._like(proposal.outline, _SAME)
            if there is None:
                self._added(self._desk.session.add(proposal))
                self._hinted = Hinted(str(self._desk.walk.current), (x, y))
                return True
        self._desk.walk.go_to(there.id)
        return False

    def hint(self, x: float, y: float) -> None:
        """Trace the current outline again, with a point (level-0 pixels) that lies on the wrong side of it.

        Outside the outline, the point belongs to the follicle; inside, it does not. Earlier hints hold.
        """
        one = self._desk.walk.chosen[0]
        outline = self._desk.session[one].outline
        if self._hinted is None or self._hinted.follicle_id != one:
            centre = outline.representative_point()
            self._hinted = Hinted(one, (centre.x, centre.y))
        hinted = self._hinted
        side = hinted.outside if outline.contains(Point(x, y)) else hinted.inside
        side.append((x, y))
        self.reshape(one, self._desk.examiner.traced(*hinted.at, inside=hinted.inside, outside=hinted.outside))

    def finder(self, area: Polygon) -> Callable[[Callable[[int, int], None]], list[Follicle]]:
        """Make a function that searches an area of the open slide (level-0 pixels) in another thread.

        It does not use the desk. It takes a callback for progress, and returns follicles for `take_in`.
        """
        study, slide_id = self._desk.study, self._desk.slide_id
        config = study.config

        def find(progress: Callable[[int, int], None]) -> list[Follicle]:
            with study.open_slide(slide_id) as slide:
                return Examiner(slide, config, slide_id=slide_id).within(area, progress=progress)

        return find

    def take_in(self, found: Iterable[Follicle]) -> int:
        """Add new follicles that a search found, not judged; return their number."""
        found = list(found)
        # Rejected follicles are not added again, and no follicle is added twice.
        there = [f.outline for f in (*self._desk.follicles, *found)]
        known = overlaps([f.outline for f in found], there)
        earlier = len(there) - len(found)
        new = [f for n, f in enumerate(found) if known[n, : earlier + n].max(initial=0) < _SAME]
        if new:
            self._desk.done(self._desk.session.find(new))
            if self._desk.walk.current is None:
                self._desk.walk.go()
        return len(new)

    def add(self, outline: Polygon) -> None:
        """Add a follicle that a person drew; it is measured and staged.

        Raises
        ------
        UserError
            If the outline encloses nothing, lies on no section, or exists already; the existing one is then current.
        """
        if not outline.area:
            raise UserError("This outline encloses nothing: draw it around the follicle.")
        there = self._like(outline, _DRAWN_TWICE)
        if there is not None:
            self._desk.walk.go_to(there.id)
            raise UserError("This follicle already has an outline, which is selected now: press D to move its corners.")
        drawn = self._desk.examiner.measured(outline)
        if drawn is None:
            raise UserError("This outline lies on no section and would not be counted: draw it on the tissue.")
        self._added(self._desk.session.add(drawn))

    def reshape(self, follicle_id: str, outline: Polygon) -> None:
        """Give a follicle another outline; it is measured again."""
        self._desk.done(self._desk.session.reshape(follicle_id, outline))

    def smooth(self) -> None:
        """Smooth the outlines of the chosen follicles."""
        for follicle_id in self._desk.walk.chosen:
            self.reshape(follicle_id, smoothed(self._desk.session[follicle_id].outline))

    def brush(self, stroke: Sequence[tuple[float, float]], radius_px: float) -> None:
        """Add to the outline of the current follicle, or take from it; see `shaping.brushed`.

        Parameters
        ----------
        stroke
            Points of the stroke, level-0 pixels.
        radius_px
            Radius of the brush, level-0 pixels.
        """
        one = self._desk.walk.chosen[0]
        self.reshape(one, brushed(self._desk.session[one].outline, stroke, radius_px))

    def merge(self) -> None:
        """Merge the selected follicles; if only one is chosen, merge it with those that it overlaps."""
        ids = self._desk.walk.chosen
        edit = self._desk.session.merge(ids if len(ids) > 1 else [*ids, *self._desk.walk.overlapping.get(ids[0], ())])
        self._desk.walk.go_to(edit.after[0].id)
        self._desk.done(edit)

    def split(self, line: LineString) -> None:
        """Split the follicle that a line crosses; if it crosses several, the current one.

        Raises
        ------
        UserError
            If the line crosses no follicle from side to side, or several and not the current one.
        """
        crossed = [
            f.id for f in self._desk.follicles if f.status != Status.REJECTED and len(parts_of(f.outline, line)) > 1
        ]
        if self._desk.walk.current not in crossed:
            if len(crossed) != 1:
                what = "crosses no follicle" if not crossed else f"crosses {len(crossed)} follicles"
                raise UserError(f"The line {what}: draw it across the follicle to split, from side to side.")
            self._desk.walk.go_to(crossed[0])
        self._desk.done(self._desk.session.split(str(self._desk.walk.current), line))

    def _standing(self) -> list[Follicle]:
        return [f for f in self._desk.follicles if f.status != Status.REJECTED]

    def _like(self, outline: Polygon, least: float) -> Follicle | None:
        """The follicle with the most similar outline, at an IoU of at least ``least``; None if there is none."""
        near = [f for f in self._standing() if f.outline.intersects(outline.envelope)]
        alike = overlaps([outline], [f.outline for f in near])[0]
        return near[int(alike.argmax())] if alike.max(initial=0) >= least else None

    def _added(self, edit: Edit) -> None:
        self._desk.walk.go_to(edit.after[0].id)
        self._desk.done(edit)
