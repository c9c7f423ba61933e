"""Visit the fields of an audit, one after the other: marks, differences, pictures; no user interface.

Each key or button of a window makes one call here. The pictures of the next fields are read ahead in a thread, because
a person should not wait for a slide to open.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Point

from follicle_stager.audit import AuditResult, AuditSession
from follicle_stager.audit.plan import BORDERS
from follicle_stager.audit.record import Difference, Seen, VisitKey
from follicle_stager.errors import UserError
from follicle_stager.review.ahead import Ahead
from follicle_stager.slides.resample import read_at_mpp
from follicle_stager.stages import Countable, Health, Stage, next_countable, next_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon, Polygon

    from follicle_stager.audit.record import Visit
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.slides import Slide
    from follicle_stager.study import SlideContent, Study

#: Tissue that is shown around a field, as a share of its side; finest µm/px of its picture.
_MARGIN, _FINEST_MPP = 0.6, 0.3
# The pointer is on a mark if it is no farther than this, µm.
_ON_MARK_UM = 8.0
# A nucleus at the border of a section may lie so far outside its outline, µm.
_BESIDE_UM = 10.0
# Pictures that are read ahead, pictures that are kept, and slides that are open at the same time.
_AHEAD, _KEPT, _SLIDES = 2, 6, 4


@dataclass(frozen=True)
class FieldPicture:
    """The picture of a field and its surroundings.

    Attributes
    ----------
    rgb
        Pixels, (y, x, 3) uint8.
    mpp
        Size of its pixels, µm.
    x_um, y_um
        Position of its top-left corner on the slide, µm.
    """

    rgb: NDArray[np.uint8]
    mpp: float
    x_um: float
    y_um: float


class AuditDesk:
    """The audit of a study by one person.

    Parameters
    ----------
    study
        Study with a planned audit.
    reader
        Name of the person.
    blind
        Whether names are hidden from the person; it is logged with every act.
    hidden
        Whether the claims are hidden until the person has marked the field.

    Attributes
    ----------
    session
        The audit.
    key
        The visit that is open; None after the last one.
    current
        The difference that is to be settled now; None while marking, or if none is left.

    Raises
    ------
    UserError
        If the study has no audit, it is closed, or another window has it open.
    """

    def __init__(self, study: Study, *, reader: str, blind: bool = True, hidden: bool = True) -> None:
        self.study = study
        self.session = AuditSession(study, reader=reader, blind=blind, hidden=hidden)
        if self.session.record.closed:
            self.session.close()
            raise UserError(f"{study.path}: the audit is closed; 'follicle-stager audit reopen' opens it again.")
        self.blind, self.hidden = blind, hidden
        fields = self.session.plan.fields.set_index("field")
        self._borders = {str(name): tuple(row) for name, *row in fields[list(BORDERS)].itertuples()}
        self._slide_of = {str(name): str(slide) for name, slide in fields["slide"].items()}
        self._sizes: dict[str, PixelSize] = {}
        self._pictures: OrderedDict[str, Future[FieldPicture]] = OrderedDict()
        self._open: OrderedDict[str, Slide] = OrderedDict()
        self._lock = threading.Lock()
        self._reader = Ahead("fields")
        self._section_of = fields["section"].to_dict()
        self._contents: dict[str, SlideContent] = {}
        self.key: VisitKey | None = None
        self.current: Difference | None = None
        self._last = ""
        self.go()

    def close(self) -> None:
        """Release the audit and the slides; everything is in the log."""
        for waiting in self._pictures.values():
            waiting.cancel()
        self._reader.end()
        for slide in self._open.values():
            slide.close()
        self._open.clear()
        self.session.close()

    # The open visit

    def go(self) -> None:
        """Open the first visit that is not finished."""
        self.key = self.session.record.next_visit(self.session.plan)
        self._last = ""
        if self.key is not None and not self.hidden and self.visit.first is None:
            self.session.show(self.key)
        self._choose()
        self._read_ahead()

    @property
    def visit(self) -> Visit:
        """State of the open visit."""
        return self.session.visit(self._key)

    @property
    def marking(self) -> bool:
        """Whether the person marks the field, and the claims are hidden."""
        return self.key is not None and self.visit.first is None

    @property
    def progress(self) -> tuple[int, int]:
        """Number of finished visits, and of all."""
        return len(self.session.record.done(self.session.plan)), len(self.session.plan.visits)

    @property
    def result(self) -> AuditResult:
        """What the fields that are finished say; nothing of it about the groups may be shown."""
        one_field = {slide_id: field for field, slide_id in self._slide_of.items()}
        mpp = {slide_id: self._size_of(field).mpp for slide_id, field in one_field.items()}
        return AuditResult(self.session.plan, self.session.record, mpp)

    @property
    def size(self) -> PixelSize:
        """Pixel size of the slide of the open field."""
        return self._size_of(self._key[0])

    @property
    def borders(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the open field, level-0 pixels."""
        left, top, right, bottom = self._borders[self._key[0]]
        return left, top, right, bottom

    @property
    def tissue(self) -> MultiPolygon:
        """Outline of the section of the open field, level-0 pixels; tissue that was left out is not part of it."""
        field = self._key[0]
        sections = self._content_of(self._slide_of[field]).sections
        return next(s.outline for s in sections if s.section_id == self._section_of[field])

    @property
    def marks(self) -> list[Seen]:
        """What stands in the field: marks, and claims that were confirmed; with the decisions made so far."""
        settled = self.visit.settled
        there = [settled.get(m.id, m) for m in self.visit.marks.values()]
        there += [s for i, s in settled.items() if i not in self.visit.marks]
        return [s for s in there if s.stage is not Stage.NOT_FOLLICLE]

    @property
    def claims(self) -> list[tuple[Seen, Polygon | None]]:
        """Claims of the field, with their outlines if they still exist; none while they are hidden."""
        if self.key is None or self.marking:
            return []
        outlines = {f.id: f.outline for f in self._content_of(self._slide_of[self.key[0]]).follicles}
        return [(claim, outlines.get(claim.id)) for claim in self.session.claims(self.key)]

    @property
    def left(self) -> list[Difference]:
        """Differences that are still to be settled."""
        if self.key is None or self.marking:
            return []
        return self.session.open_differences(self.key, self.size.mpp)

    # What a person does

    def mark(self, x_px: float, y_px: float, stage: Stage) -> None:
        """Say what is at a point: settle the current difference, change the mark there, or set a new one.

        Raises
        ------
        UserError
            If the point is outside the field.
        """
        if self.current is not None:
            self._settle(replace(self._of(self.current), stage=stage))
            return
        there = self._mark_at(x_px, y_px)
        if there is not None:
            self._say_of(replace(there, stage=stage))
            return
        left, top, right, bottom = self.borders
        if not self.tissue.buffer(_BESIDE_UM / self.size.mpp).contains(Point(x_px, y_px)):
            raise UserError("This place is not on the section of this field, or on a part of it that is not counted.")
        if not (left <= x_px < right and top <= y_px < bottom):
            raise UserError(
                "This place is outside the field. A follicle belongs to the field that holds its oocyte nucleus, or "
                "its centre if no nucleus is visible."
            )
        self._last = uuid.uuid4().hex
        countable = Countable.NO if stage is Stage.CORPUS_LUTEUM else Countable.YES
        self.session.mark(self._key, Seen(self._last, x_px, y_px, stage, Health.HEALTHY, countable))
        self._choose()

    def remove(self, x_px: float, y_px: float) -> None:
        """Say that there is no follicle: in the current difference, or at the mark at a point."""
        if self.current is not None:
            self._settle(replace(self._of(self.current), stage=Stage.NOT_FOLLICLE))
            return
        there = self._chosen(x_px, y_px)
        if self.marking:
            self.session.unmark(self._key, there.id)
        else:
            self._say_of(replace(there, stage=Stage.NOT_FOLLICLE))
        self._last = ""

    def switch_health(self, x_px: float, y_px: float) -> None:
        """Switch between atretic and healthy, of the mark at a point or the last one; of the current difference."""
        self._change(x_px, y_px, lambda s: replace(s, health=next_health(s.health)))

    def switch_countable(self, x_px: float, y_px: float) -> None:
        """Switch whether the oocyte nucleus is visible, of the mark at a point or the last one."""
        self._change(x_px, y_px, lambda s: replace(s, countable=next_countable(s.countable)))

    def accept(self) -> bool:
        """Go on: show the claims, keep what the person said of the current difference, or finish the visit.

        Returns
        -------
        bool
            Whether another field is open now.
        """
        if self.marking:
            self.session.show(self._key)
            self._choose()
            return False
        if self.current is not None:
            self._settle(self._of(self.current))
            return False
        self.session.finish(self._key)
        self.go()
        return True

    def undo(self) -> str:
        """Take back the last act in this visit, or else open the visit before again; return what was taken back."""
        kind = self.session.undo(self._key) if self.key is not None else ""
        if not kind and (self.key is None or not self.session.record.last.get(self.key)):
            done = self.session.record.done(self.session.plan)
            if not done:
                return ""
            self.key = done[-1]
            kind = self.session.undo(self.key)
        self._last = ""
        self._choose()
        return kind

    def _settle(self, seen: Seen) -> None:
        assert self.current is not None
        self.session.settle(self._key, self.current, seen)
        self._choose()

    def _say_of(self, seen: Seen) -> None:
        """Change what is said of a mark; once the claims are shown, as a decision with the claims in view."""
        if self.marking:
            self.session.mark(self._key, seen)
        else:
            self.session.settle(self._key, Difference(None, seen), seen)
        self._last = seen.id

    def _change(self, x_px: float, y_px: float, to: Callable[[Seen], Seen]) -> None:
        if self.current is not None:
            # What is said of the difference so far; Enter keeps it.
            said = to(self._of(self.current))
            claim, mark = self.current.claim, self.current.mark
            self.current = Difference(claim, said) if mark is not None else Difference(said, None)
            return
        self._say_of(to(self._chosen(x_px, y_px)))

    @staticmethod
    def _of(difference: Difference) -> Seen:
        """What a difference says if the person keeps it: the mark, or else the claim."""
        seen = difference.mark or difference.claim
        assert seen is not None
        return seen

    def _choose(self) -> None:
        """Make the first open difference the current one."""
        self.current = next(iter(self.left), None)

    def _mark_at(self, x_px: float, y_px: float) -> Seen | None:
        """The mark at a point."""
        near = [(self._away_um(m, x_px, y_px), m) for m in self.marks]
        away, mark = min(near, key=lambda pair: pair[0], default=(np.inf, None))
        return mark if away <= _ON_MARK_UM else None

    def _chosen(self, x_px: float, y_px: float) -> Seen:
        """The mark at a point, or else the last one."""
        there = self._mark_at(x_px, y_px) or next((m for m in self.marks if m.id == self._last), None)
        if there is None:
            raise UserError("There is no mark at the pointer: point at one.")
        return there

    def _away_um(self, seen: Seen, x_px: float, y_px: float) -> float:
        return float(np.hypot(*self.size.xy_um(seen.x_px - x_px, seen.y_px - y_px)))

    @property
    def _key(self) -> VisitKey:
        if self.key is None:
            raise UserError("All fields are visited: close the audit with 'follicle-stager audit close'.")
        return self.key

    # Pictures

    def picture(self) -> FieldPicture:
        """The picture of the open field.

        Raises
        ------
        UserError
            If the slide cannot be read.
        """
        return self._reader.result(self._wanted(self._key[0]))

    def _read_ahead(self) -> None:
        """Read the pictures of the next visits in the thread."""
        visits = [key for key in self.session.plan.visits if not self.session.visit(key).done]
        for field, _ in visits[: 1 + _AHEAD]:
            self._wanted(field)

    def _wanted(self, field: str) -> Future[FieldPicture]:
        if field not in self._pictures:
            self._pictures[field] = self._reader.submit(self._read, field)
        self._pictures.move_to_end(field)
        while len(self._pictures) > _KEPT:
            self._pictures.popitem(last=False)
        return self._pictures[field]

    def _read(self, field: str) -> FieldPicture:
        self._content_of(self._slide_of[field])  # it is needed to show the field; reading it takes long
        size = self._size_of(field)
        left, top, right, bottom = self._borders[field]
        (x0, y0), (x1, y1) = size.xy_um(left, top), size.xy_um(right, bottom)
        margin, mpp = _MARGIN * (x1 - x0), max(size.mpp, _FINEST_MPP)
        x, y = round((x0 - margin) / mpp), round((y0 - margin) / mpp)
        width, height = (round((b - a + 2 * margin) / mpp) for a, b in ((x0, x1), (y0, y1)))
        rgb = read_at_mpp(self._slide(self._slide_of[field]), x, y, width, height, mpp)
        return FieldPicture(rgb, mpp, x * mpp, y * mpp)

    def _slide(self, slide_id: str) -> Slide:
        """A slide; the ones that were used last stay open. Only the thread calls this."""
        if slide_id not in self._open:
            self._open[slide_id] = self.study.open_slide(slide_id)
        self._open.move_to_end(slide_id)
        while len(self._open) > _SLIDES:
            self._open.popitem(last=False)[1].close()
        return self._open[slide_id]

    def _size_of(self, field: str) -> PixelSize:
        slide_id = self._slide_of[field]
        with self._lock:
            if slide_id not in self._sizes:
                self._sizes[slide_id] = self.study.pixel_size(slide_id)
            return self._sizes[slide_id]

    def _content_of(self, slide_id: str) -> SlideContent:
        if slide_id not in self._contents:
            self._contents[slide_id] = self.study.content(slide_id)
        return self._contents[slide_id]
