"""The window of an audit: one field after the other, without the names of slides and animals."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget
from shapely import box

from follicle_stager.errors import UserError
from follicle_stager.review.audit_desk import AuditDesk
from follicle_stager.review.blinding import Blinding
from follicle_stager.stages import Countable, Health, Stage
from follicle_stager.statistics.expected import expected_intervals
from follicle_stager.study import Study
from follicle_stager_napari.asking import author
from follicle_stager_napari.focus import SlideKeys
from follicle_stager_napari.keymap import DECISIONS, LOOKING, STAGES, Action
from follicle_stager_napari.layers import edge_color_of, vertices
from follicle_stager_napari.widgets import Said, Tall, action_buttons, foldable
from follicle_stager_napari.words import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari

    from follicle_stager.audit.record import Seen

logger = logging.getLogger(__name__)

# Size of marks, and width of lines, on the screen, px; share of the screen that a field takes.
_MARK_PX, _LINE_PX, _SHARE = 12.0, 2.0, 0.7
# Number of fields after which the expected widths are updated, and time without a key before that, ms.
_EXPECTED_EVERY, _EXPECTED_AFTER_MS = 10, 800
_EMPTY = np.full((8, 8, 3), 235, np.uint8)
_TAKEN_BACK = {
    "mark": "The last mark is taken back.",
    "unmark": "The removed mark is there again.",
    "settle": "The last decision is taken back.",
    "done": "The field is open again.",
}
_NO_UNDO = "There is nothing to undo: once the claims are shown, they have been seen."
_MARKING = (
    "Mark every follicle and corpus luteum in the frame: point at its nucleus, or else its centre, and press its "
    "stage. Enter: see the claims of the software."
)
_SETTLING = (
    "The outlines are claims of the software. Decide on the filled one: press its stage, 0 if there is nothing, or "
    "Enter to keep {keep}. {left} left."
)
_AGREED = "All differences are settled. Enter: next field."
_FINISHED = (
    "All fields are visited. Close this window and run 'follicle-stager audit close'; then 'follicle-stager report' "
    "compares the audited counts."
)


def _of_audit(action: Action) -> Action:
    """An action of the review with the tip that it has here; key and label are the same."""
    tips = {
        "Not a follicle": "There is no follicle: of a claim, or to remove the mark at the pointer.",
        "Accept": "Show the claims; keep the highlighted one as it is; go to the next field.",
        "Atretic": "Switch the mark at the pointer, or the last one, between atretic and healthy.",
        "Nucleus visible": "Switch whether the oocyte nucleus of the mark at the pointer, or the last one, is visible.",
        "Undo": "Take back the last mark or decision, also of the field before.",
    }
    tip = tips.get(action.label)
    if tip is None and action.stage is not None:
        tip = f"Mark at the pointer: {action.stage.label.lower()}."
    return replace(action, tip=tip or action.tip)


#: The actions of an audit, with the keys that they have in a review.
ACTIONS: tuple[Action, ...] = tuple(
    _of_audit(action)
    for action in (*STAGES, *DECISIONS, *LOOKING)
    if action.stage is not None or action.label in ("Accept", "Atretic", "Nucleus visible", "Undo", "Hide")
)


class AuditPanel(QWidget):
    """The panel of an audit.

    Parameters
    ----------
    napari_viewer
        Viewer that shows the fields.
    study
        Study with a planned audit.
    blind
        Whether names are hidden.
    hidden
        Whether the claims of a field are hidden until it is marked.

    Raises
    ------
    UserError
        If the study has no open audit, or another window has it open.
    """

    def __init__(self, napari_viewer: napari.Viewer, study: Study, *, blind: bool = True, hidden: bool = True) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._blinding = Blinding.begin(study, reader=author()) if blind else None
        self.desk: AuditDesk | None = AuditDesk(study, reader=author(), blind=blind, hidden=hidden)
        napari_viewer.title = "follicle-stager: audit" if blind else f"follicle-stager: audit of {study.path}"
        self._message, self._what = Said(5), Said(3)
        self._progress = QLabel()
        self._expected = QLabel()
        self._expected.setWordWrap(True)
        inside, buttons = QWidget(), action_buttons(ACTIONS, self.act)
        (self._go_on,) = buttons.findChildren(QPushButton, "Accept")
        layout = QVBoxLayout(inside)
        for widget in (
            self._progress,
            self._what,
            buttons,
            foldable("Expected width", self._expected, opened=lambda opened: None),
        ):
            layout.addWidget(widget)
        layout.addStretch()
        whole = QVBoxLayout(self)
        whole.addWidget(self._message)
        whole.addWidget(Tall(inside))
        self._layers = _Layers(napari_viewer)
        for layer in (*self._layers.all, napari_viewer):
            for action in ACTIONS:
                layer.bind_key(action.key, self._key(action, layer), overwrite=True)
        self._slide_keys = SlideKeys(self, (self,), ())
        napari_viewer.scene.camera.events.zoom.connect(lambda event: self._layers.rescale())
        self.destroyed.connect(lambda *_: self.finish())
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_EXPECTED_AFTER_MS)
        self._counting.timeout.connect(self._show_expected)
        self._show_field()
        self._counting.start()

    def finish(self) -> None:
        """Release the audit; Qt may already have deleted the window."""
        desk, self.desk = self.desk, None
        if desk is not None:
            desk.close()

    def act(self, action: Action) -> None:
        """Carry out the action of a key or button; show a message if it fails."""
        if self.desk is None or (self.desk.key is None and action.label != "Undo"):
            return
        before, said = self.desk.key, ""
        try:
            said = self._do(action) or ""
        except (UserError, OSError) as error:
            said = refused(error)
        if self.desk.key != before:
            self._show_field(said)
            if self.desk.progress[0] % _EXPECTED_EVERY == 0:
                self._counting.start()
        else:
            self._refresh(said)

    def _do(self, action: Action) -> str | None:
        """Carry out an action; return what to say."""
        at_pointer: dict[str, Callable[[AuditDesk, float, float], None]] = {
            "Not a follicle": AuditDesk.remove,
            "Atretic": AuditDesk.switch_health,
            "Nucleus visible": AuditDesk.switch_countable,
        }
        assert self.desk is not None
        if action.label in at_pointer:
            self._at_pointer(at_pointer[action.label])
        elif action.label == "Accept":
            self.desk.accept()
        elif action.label == "Undo":
            return _TAKEN_BACK.get(self.desk.undo(), _NO_UNDO)
        elif action.label == "Hide":
            self._layers.hide()
        elif action.stage is not None:
            stage = action.stage
            self._at_pointer(lambda desk, x, y: desk.mark(x, y, stage))
        return None

    def _at_pointer(self, do: Callable[[AuditDesk, float, float], None]) -> None:
        if self.desk is not None:
            do(self.desk, *self._layers.px(self._viewer.cursor.position))

    def _key(self, action: Action, of: Any) -> Callable[[Any], None]:
        def pressed(layer: Any) -> None:
            if of is not self._viewer or self._viewer.layers.selection.active is None:
                self.act(action)

        return pressed

    # What is shown

    def _say(self, message: str) -> None:
        self._message.setText(self._blinding.veil(message) if self._blinding is not None else message)

    def _show_field(self, said: str = "") -> None:
        """Show the picture of the open field."""
        desk = self.desk
        if desk is None or desk.key is None:
            self._layers.clear()
        else:
            try:
                self._layers.show_field(desk)
            except UserError as error:  # the slide is gone; the audit can go on when it is back
                self._layers.clear()
                said = refused(error)
        self._refresh(said)

    def _refresh(self, said: str) -> None:
        """Show the marks, the claims, and what to do next."""
        desk = self.desk
        if desk is None:
            return
        done, total = desk.progress
        self._progress.setText(f"{done} of {total} visits are finished")
        if desk.key is None:
            self._say(_FINISHED)
            return
        self._layers.show_marks(desk)
        left = len(desk.left)
        keep = "your mark" if desk.current is not None and desk.current.mark is not None else "the claim"
        step = _MARKING if desk.marking else _SETTLING.format(keep=keep, left=left) if left else _AGREED
        self._say(f"{said}\n{step}" if said else step)
        next_step = "Show claims" if desk.marking else f"Keep {keep}" if left else "Next field"
        self._go_on.setText(f"{next_step}  [Enter]")
        numbers = [f"{len(desk.marks)} marked"]
        if desk.current is not None:
            claim, mark = desk.current.claim, desk.current.mark
            numbers += [f"claim: {described(claim)}"] if claim is not None else []
            numbers += [f"yours: {described(mark)}"] if mark is not None else ["yours: no mark"]
        elif desk.marks:
            numbers.append(f"last: {described(desk.marks[-1])}")
        self._what.setText("\n".join(numbers))

    def _show_expected(self) -> None:
        """Show how exact the comparison will be; nothing is shown of the groups."""
        if self.desk is None:
            return
        study, result = self.desk.study, self.desk.result
        share = float(result.plan.settings["share"])
        table = expected_intervals(result, contrast=study.config.comparison.contrast_place, shares=(share,))
        rows = []
        for stage, low, high in zip(table["stage"], table["low"], table["high"], strict=True):
            ends = "–" if np.isnan(low) else f"{low:.2f} to {'no limit' if np.isinf(high) else f'{high:.2f}'}"
            rows.append(f"{str(stage).replace('_', ' ')}: {ends}")
        about = "95 % interval of the ratio of the groups after all fields, if they do not differ:"
        self._expected.setText("\n".join([about, *rows]))


class _Layers:
    """The layers of a field, made once, in µm from the corner of its picture.

    The frame and the camera stay where they are from field to field: napari takes long to move many layers.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        units = ("um", "um")
        self._picture = viewer.add_image(_EMPTY, rgb=True, name="field", units=units)
        self._frame = viewer.add_shapes(name="frame", ndim=2, units=units, opacity=1)
        self._section = viewer.add_shapes(name="section", ndim=2, units=units, opacity=1)
        text = {"string": "{label}", "size": 9, "color": "black", "anchor": "upper_left"}
        self._claims = viewer.add_shapes(
            name="claims", ndim=2, units=units, opacity=1, features={"label": []}, text=text
        )
        self._marks = viewer.add_points(
            np.empty((0, 2)), name="marks", ndim=2, units=units, features={"label": []}, text=text
        )
        for layer in self.all:
            layer.editable = False
        viewer.canvas.overlays.scale_bar.visible = True
        viewer.layers.selection.active = self._marks
        self._shown: tuple[object, ...] = ()
        self._origin = np.zeros(2)
        self._mpp = np.ones(2)

    @property
    def all(self) -> tuple[Any, ...]:
        """The layers."""
        return self._picture, self._frame, self._section, self._claims, self._marks

    def clear(self) -> None:
        """Show nothing."""
        self._picture.data = _EMPTY
        self._claims.data = self._section.data = self._frame.data = []
        self._marks.data = np.empty((0, 2))
        self._shown = ()

    def hide(self) -> None:
        """Hide or show marks and claims."""
        self._marks.visible = self._claims.visible = not self._marks.visible

    def show_field(self, desk: AuditDesk) -> None:
        """Show the picture and the frame of the open field."""
        picture, size = desk.picture(), desk.size
        self._origin, self._mpp = np.array([picture.y_um, picture.x_um]), np.array([size.mpp_y, size.mpp_x])
        self._picture.data = picture.rgb
        left, top, right, bottom = desk.borders
        inside = self._placed(np.array([[top, left], [top, right], [bottom, right], [bottom, left]]))
        whole = np.array(picture.rgb.shape[:2]) * picture.mpp
        self._draw_section(desk)
        # Fields of equal size have their frame at the same place, up to a part of a pixel.
        shown = (picture.mpp, picture.rgb.shape)
        if shown != self._shown:
            self._shown = shown
            self._picture.scale, self._picture.translate = (picture.mpp,) * 2, (picture.mpp / 2,) * 2
            self._draw_frame(inside[0], inside[2], whole)
        self._viewer.scene.camera.center = tuple(inside.mean(axis=0))
        height, width = self._viewer.canvas.size
        self._viewer.scene.camera.zoom = _SHARE * min(height, width) / float(np.ptp(inside[:, 0]))

    def px(self, world: Any) -> tuple[float, float]:
        """Level-0 pixels, x and y, of a position in the window."""
        y, x = (np.asarray(world[-2:], float) + self._origin) / self._mpp
        return float(x), float(y)

    def _placed(self, yx_px: Any) -> Any:
        """Positions of level-0 pixels, (n, 2) row and column, in µm from the corner of the picture."""
        return np.asarray(yx_px, float).reshape(-1, 2) * self._mpp - self._origin

    def _draw_frame(self, first: Any, last: Any, whole: Any) -> None:
        """Draw the frame, and dim the tissue around it with four boxes."""
        (top, left), (bottom, right), (height, width) = first, last, whole
        around = ((0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom))
        boxes = [
            np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
            for x0, y0, x1, y1 in (*around, (left, top, right, bottom))
        ]
        self._frame.data = []
        self._frame.add_polygons(
            boxes,
            face_color=[(0.1, 0.1, 0.1, 0.35)] * 4 + [(0, 0, 0, 0)],
            edge_color=[(0, 0, 0, 0)] * 4 + [(0.91, 0.72, 0, 1)],
            edge_width=1,
        )

    def _draw_section(self, desk: AuditDesk) -> None:
        """Draw the border of the tissue that the field is of; another section may lie beside it."""
        left, top, right, bottom = desk.borders
        near = box(2 * left - right, 2 * top - bottom, 2 * right - left, 2 * bottom - top)
        lines = desk.tissue.boundary.intersection(near)
        parts = [line for line in getattr(lines, "geoms", [lines]) if line.length]
        paths = [self._placed(np.asarray(line.coords)[:, ::-1]) for line in parts]
        if len(self._section.data):
            self._section.data = []
        if paths:
            self._section.add_paths(paths, edge_color=[(0.2, 0.2, 0.2, 0.8)] * len(paths), edge_width=1)

    def show_marks(self, desk: AuditDesk) -> None:
        """Show the marks, and the claims once they may be seen."""
        marks = desk.marks
        self._marks.data = self._placed([[m.y_px, m.x_px] for m in marks])
        if marks:
            self._marks.face_color = np.array([edge_color_of(m.stage) for m in marks])
            self._marks.features = {"label": [described(m) for m in marks]}
            self._marks.refresh_text()
        claims = desk.claims
        if claims or len(self._claims.data):
            self._claims.data = []
        now = desk.current.claim.id if desk.current is not None and desk.current.claim is not None else ""
        if claims:
            rings = [vertices(o) + 0.5 if o is not None else _circle(c, desk.size.mpp) for c, o in claims]
            self._claims.add_polygons(
                [self._placed(ring) for ring in rings],
                edge_color=[edge_color_of(c.stage) for c, _ in claims],
                face_color=[(1, 0.9, 0, 0.25 * (c.id == now)) for c, _ in claims],
                edge_width=1,
            )
            # Not everyone can distinguish the colours.
            self._claims.features = {"label": [f"claim: {described(c)}" for c, _ in claims]}
            self._claims.refresh_text()
        self.rescale()

    def rescale(self) -> None:
        """Give lines and marks the same width on the screen at every zoom."""
        zoom = self._viewer.scene.camera.zoom
        if not zoom:
            return
        if len(self._marks.data):
            self._marks.size = _MARK_PX / zoom
        if len(self._claims.data):
            self._claims.edge_width = [_LINE_PX / zoom] * len(self._claims.data)
        if len(self._section.data):
            self._section.edge_width = [_LINE_PX / zoom] * len(self._section.data)
        if len(self._frame.data):
            self._frame.edge_width = [0.0] * 4 + [_LINE_PX / zoom]


def described(seen: Seen) -> str:
    """A mark or claim in a few words."""
    words = [seen.stage.label]
    words += ["atretic"] if seen.health == Health.ATRETIC else []
    words += ["no nucleus"] if seen.countable != Countable.YES and seen.stage is not Stage.CORPUS_LUTEUM else []
    return ", ".join(words)


def _circle(claim: Seen, mpp: float) -> np.ndarray[Any, Any]:
    """A claim whose outline no longer exists, as a circle."""
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    radius = claim.diameter_um / 2 / mpp
    return np.column_stack([claim.y_px + radius * np.sin(turn), claim.x_px + radius * np.cos(turn)])


def audit(folder: Path, *, blind: bool = True, hidden: bool = True) -> None:
    """Open the audit of a study in napari; return when the window is closed.

    Raises
    ------
    UserError
        If the study has no open audit, or another window has it open.
    """
    import napari

    viewer = napari.Viewer(title="follicle-stager: audit")
    try:
        panel = AuditPanel(viewer, Study.open(folder), blind=blind, hidden=hidden)
    except UserError:
        viewer.close()
        raise
    viewer.window.add_dock_widget(panel, name="Audit", area="right")
    viewer.window.resize(1500, 950)
    try:
        napari.run()
    finally:
        panel.finish()
