"""Connect a `Desk` to the layers of napari: show the state of the desk, and pass drawn shapes to it; without Qt.

Keys are bound to the layers, because napari's own layer keys take precedence over keys of the viewer.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely import affinity, bounds
from shapely.geometry import LineString

from follicle_stager.corrections.shaping import nudged
from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, Status
from follicle_stager_napari.camera import in_view, look_at_all_of, look_at_follicle
from follicle_stager_napari.keymap import ACTIONS, shown
from follicle_stager_napari.layers import (
    edge_color,
    features_of,
    follicle_layer,
    label_layer,
    label_of,
    outline_of,
    points_of,
    scale_options,
    set_scale,
    slide_layer,
    vertices,
)
from follicle_stager_napari.pointer import Pointer
from follicle_stager_napari.screen import LINE_PX, apart, px_of_screen, zoom_differs
from follicle_stager_napari.tissue import TissueLayer
from follicle_stager_napari.words import OVERLAP, did, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari.components import ViewerModel
    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle
    from follicle_stager.review import Filter, Order
    from follicle_stager.review.desk import Desk
    from follicle_stager.review.tour import Tour
    from follicle_stager.stages import Stage
    from follicle_stager_napari.keymap import Action

# Number of follicles from which only those near the view are drawn, and how far around it, in its width and height.
_MANY, _AROUND = 300, 0.5
# They are drawn anew if the area that is drawn has become so many times the view, because the person zoomed in.
_MUCH = 60
# Number of follicles that have their stage written next to them, and of those that are considered for it.
_LABELS, _NEAR = 60, 400
# For each kind of drawing: napari's mode, and a hint for the user.
_MODES = {
    "polygon": ("add_polygon", "Click around the follicle; Enter or a double click finishes, S cancels."),
    "freehand": ("add_polygon_lasso", "Draw around the follicle with the button held down; S cancels."),
    "line": ("add_line", "Draw a line across the follicle to split, from side to side; S cancels."),
    "box": ("add_rectangle", "Draw a box around the area to search; S cancels."),
    "region": (
        "add_polygon",
        "Click around the area to exclude; Enter or a double click finishes, S cancels.",
    ),
    "brush": ("pan_zoom", "Paint on the outline: begin inside to add to it, outside to take from it; S stops."),
    "corners": ("direct", "Move the corners of the selected outline; S returns to selecting."),
    "select": ("select", "Click an outline, or draw a box around several."),
}
_HINT = ", ".join(f"{shown(a.key)}: {a.label.lower()}" for a in ACTIONS if a.key in ("N", "Enter", "Control-Z", "F1"))


class Reviewer:
    """A desk on a napari viewer.

    Parameters
    ----------
    viewer
        Viewer of napari; the layers of the previous slide are removed.
    desk
        Desk that handles all decisions.
    say
        Function that shows a message, such as the reason of a failure.
    refresh
        Function that is called after every change that a panel shows.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        desk: Desk,
        *,
        say: Callable[[str], None] = lambda message: None,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self.viewer: ViewerModel = viewer
        self.desk: Desk = desk
        self._say, self._refresh = say, refresh
        self.layer: Any = None
        self._picture: Any = None
        self._labels: Any = None
        self.tissue = TissueLayer(viewer, desk)
        # The slide that the layers show, the follicles that are drawn, and the area of which these are all (level-0
        # pixels); None if everything is drawn.
        self._slide_id = ""
        self._ids: list[str] = []
        self._area: Polygon | None = None
        self._own = False
        # The follicle that was last brought into view; the user may have moved the view since.
        self._in_view: str | None = None
        # Zoom for which widths and labels were drawn.
        self._zoom = 0.0
        # What the user draws now, a key of `_MODES`.
        self._drawing = "select"
        self.pointer = Pointer(viewer, desk, self._painted)
        # Function that receives the next drawn area; None if the next shape is a follicle.
        self._area_for: Callable[[Polygon], None] | None = None
        #: Set by a panel that has a gallery and a help page.
        self.open_gallery: Callable[[], None] = lambda: None
        self.open_help: Callable[[], None] = lambda: None
        desk.changed = self._redraw
        viewer.scene.camera.events.zoom.connect(self._moved_view)
        viewer.scene.camera.events.center.connect(self._moved_view)

    def say(self, message: str) -> None:
        """Show a message."""
        self._say(message)

    def open(self, slide_id: str) -> None:
        """Open a slide of the study.

        Raises
        ------
        UserError, OSError
            If the slide cannot be opened, or the open slide cannot be saved; the open slide then stays on the screen.
        """
        # Hide the layers first; otherwise napari would continue to read an image that is closed.
        layers = [layer for layer in self._layers() if layer is not None]
        seen = [layer.visible for layer in layers]
        for layer in layers:
            layer.visible = False
        try:
            self.desk.open(slide_id)
        except BaseException:
            for layer, visible in zip(layers, seen, strict=True):
                layer.visible = visible
            raise
        self.show()

    def tour(self, tour: Tour) -> None:
        """Go on through all slides of the study."""
        self.desk.begin_tour(tour)
        self.show()

    def _show_slide(self) -> None:
        """Show the slide that the desk has opened, in the layers of the one before where these can hold it."""
        self.pointer.forget()
        self._in_view = self._area = None
        name = "" if self.desk.blinding is None else self.desk.shown_name(self.desk.slide_id)
        try:
            data, options, _ = slide_layer(self.desk.slide, name=name)
            if self._can_hold(options["multiscale"]):
                self._exchange(data, options)
            else:
                self._make_layers((data, options))
        except UserError as error:  # follicles can be staged without the image
            self._say(str(error))
            self._make_layers(None)
        self._look()
        if self.desk.walk.current is None and self.tissue.drawn:
            with self._of_ours():
                everything = shapely.total_bounds([section.outline for section in self.tissue.drawn])
                look_at_all_of(self.viewer, tuple(everything), self.desk.pixel_size)
        self._draw_all()
        self._slide_id = self.desk.slide_id  # from now on, a moved view is drawn anew

    def _can_hold(self, multiscale: bool) -> bool:
        """Whether the layers are there, which a user may have deleted, and are of the kind that a slide needs."""
        layers = self.layer, self._labels, self.tissue.layer, self._picture
        there = all(layer is not None and layer in self.viewer.layers for layer in layers)
        return there and self._picture.multiscale == multiscale

    def _exchange(self, data: Any, options: dict[str, Any]) -> None:
        """Show another image in the layers that are there."""
        with self._of_ours():
            self._use("select")
            self._ids = []
            self._picture.data, self._picture.name = data, options["name"]
            for layer in (self.layer, self._labels, self._picture):
                set_scale(layer, options["scale"])
                if not layer.visible:  # napari draws it again also if this changes nothing
                    layer.visible = True
        self._drawing, self.pointer.brushing, self._area_for = "select", False, None
        self.tissue.draw()

    def _make_layers(self, picture: tuple[Any, dict[str, Any]] | None) -> None:
        self._clear()
        size = self.desk.pixel_size
        if picture is not None:
            self._picture = self.viewer.add_image(picture[0], **picture[1])
        self._draw_tissue()
        _, words, _ = label_layer((), size)
        self._labels = self.viewer.add_points(np.empty((0, 2)), **words)
        self.layer = self.viewer.add_shapes(None, ndim=2, name="follicles", **scale_options(size))
        self.layer.current_face_color = "transparent"
        self.layer.mode = "select"
        self.layer.events.help.connect(self._hint)
        self._hint()
        self.layer.events.data.connect(self._drawn)
        self.layer.selected_data.events.items_changed.connect(self._clicked)
        # Disable napari's own keys that select everything: the next key would apply to all follicles unnoticed.
        for key in ("A", "Control-A"):
            self.layer.bind_key(key, lambda layer: None, overwrite=True)
        for layer in (self.layer, self._labels, self._picture):
            if layer is not None:
                self._bind(layer)
        self.pointer.attach((self.layer, self._labels, self._picture), self.layer)
        self._bind(self.viewer)
        self.viewer.layers.selection.active = self.layer
        self.viewer.canvas.overlays.scale_bar.visible = True

    def close(self) -> None:
        """Save the slide, release its lock, and remove the layers with their keys.

        Raises
        ------
        OSError
            If it cannot be saved; it then stays open.
        """
        self.desk.save()
        self._clear()
        self.desk.release()

    def _clear(self) -> None:
        if self.layer is not None:
            for action in ACTIONS:
                self.viewer.bind_key(action.key, None)
        # All at once: napari collects garbage after each removal, which takes half a second.
        with self.viewer.layers.batched_update():
            for layer in self._layers():
                if layer is not None and layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
        self.tissue.forget()
        self.pointer.forget()
        self._drawing, self.pointer.brushing = "select", False
        self._slide_id = ""
        self.layer = self._labels = self._picture = self._area_for = self._in_view = self._area = None
        self._ids = []

    def _layers(self) -> tuple[Any, ...]:
        return self.layer, self._labels, self.tissue.layer, self._picture

    def act(self, action: Action) -> None:
        """Carry out the action of a key or button; show a message if it fails."""
        if self.layer is None:
            return
        if self._half_drawn:  # Enter finishes the outline, like a double click; S cancels; other keys do nothing
            if action.key == "Enter":
                for end in tuple(self.layer.mouse_double_click_callbacks):
                    end(self.layer, None)
            if action.key != "S":
                return
        with self._told():
            action.do(self)
        with self._told():
            self.show()

    def go(self, step: int) -> None:
        """Go to the next or previous follicle."""
        self._in_view = None
        self.desk.go(step)
        if self.desk.walk.current is None and self.desk.tour is not None:
            self._say("There are no more follicles to review in this study.")
        elif self.desk.walk.current is None:
            self._say("There are no more follicles to review on this slide: press . for the next slide.")

    def give(self, stage: Stage) -> None:
        """Give the chosen follicles a stage; show a message if this stage is not counted on the slide."""
        self.desk.set_stage(stage)
        if stage in LADDER and stage not in self.desk.visible_stages:
            self._say(
                f"{stage.label}: saved, but not in the counts of this slide (NA): at its resolution, not all of them "
                "can be seen."
            )

    def take_back(self) -> None:
        """Undo."""
        edit = self.desk.undo()
        nothing = "There is nothing to undo since the last search of the whole slide."
        self._say(nothing if edit is None else f"Undone: {did(edit)}.")

    def do_again(self) -> None:
        """Redo."""
        edit = self.desk.redo()
        self._say("There is nothing to redo." if edit is None else f"Done again: {did(edit)}.")

    def sort(self, order: Order, only: Filter) -> None:
        """Set order and filter of the follicles of the open slide, and go to the first."""
        self.desk.end_tour()
        self.desk.walk.sort(order, only)
        self.show()

    def open_next(self, step: int) -> None:
        """Open the next or previous slide."""
        slide_id = self.desk.neighbour(step)
        if slide_id is not None:
            self.open(slide_id)
        else:
            self._say("This is the last slide of the study." if step > 0 else "This is the first slide of the study.")

    def propose(self) -> None:
        """Add the follicle under the pointer."""
        if self.desk.outlines.propose(*self.pointer.place(self.viewer.cursor.position)):
            self._say("If the outline is not right: Shift-K outside it includes a place, inside it leaves one out.")
        else:
            self._say("This follicle already has an outline, which is selected now. Press P to draw another one here.")
        self._in_view = self.desk.walk.current  # it is already in view

    def hint(self) -> None:
        """Trace the current outline again: the pointer is on the wrong side of it."""
        self.desk.outlines.hint(*self.pointer.place(self.viewer.cursor.position))
        self._in_view = self.desk.walk.current

    def draw(self, what: str) -> None:
        """Start drawing with the mouse: a key of `_MODES`, such as ``polygon``; ``select`` returns to selecting."""
        mode, hint = _MODES[what]
        if what == "brush" and not self.desk.walk.chosen:
            return
        self._area_for, self._drawing, self.pointer.brushing = None, what, what == "brush"
        self.viewer.layers.selection.active = self.layer
        self._use(mode)
        if what == "brush":
            self.layer.mouse_pan = False  # the mouse paints
        self._say(hint)

    def ask_for(self, what: str, then: Callable[[Polygon], None]) -> None:
        """Ask the user to draw a ``box`` or a ``region``, and pass it to a function (level-0 pixels)."""
        self.draw(what)
        self._area_for = then

    def look_at_section(self, section_id: str) -> None:
        """Bring a section into view as a whole."""
        self._in_view = self.desk.walk.current
        look_at_all_of(self.viewer, self.tissue.outline(section_id).bounds, self.desk.pixel_size)

    def in_view(self) -> Polygon:
        """The part of the slide that is on the screen, level-0 pixels."""
        return in_view(self.viewer, self.desk.pixel_size)

    def stay(self) -> None:
        """Stay at a follicle after a decision, and go on drawing after a drawing; or go on as usual again."""
        self.desk.walk.stays = not self.desk.walk.stays
        self._say("Staying here; press Y to go on after each decision." if self.desk.walk.stays else "Going on again.")

    def hide(self) -> None:
        """Hide or show the outlines."""
        self.layer.visible = self._labels.visible = not self.layer.visible
        self.tissue.hide(not self.layer.visible)

    def _hint(self, event: object = None) -> None:
        """Show our keys in the status bar, because napari's own keys have other meanings here."""
        if self.layer is not None:
            self.layer.help = self.viewer.help = _HINT

    def _bind(self, to: Any) -> None:
        """Bind the keys to one of our layers or to the viewer; the viewer's apply if no layer is selected."""
        for action in ACTIONS:
            to.bind_key(action.key, self._key(action), overwrite=True)

    def _key(self, action: Action) -> Callable[[Any], None]:
        def pressed(of: Any) -> None:
            if of is not self.viewer or self.viewer.layers.selection.active is None:
                self.act(action)

        return pressed

    def show(self) -> None:
        """Show the slide and the follicle where the desk is, and update the panel."""
        if self.desk.slide_id and self.desk.slide_id != self._slide_id:
            self._show_slide()
        if self.layer is None:
            return
        self._look()
        self._select_chosen()
        with self._of_ours():
            self._label()
        self._refresh()

    def _select_chosen(self) -> None:
        """Highlight the follicles to which commands apply, those of them that are drawn."""
        chosen = {*self.desk.walk.selected} if self.desk.walk.selected else {self.desk.walk.current}
        with self._of_ours():
            self._select({i for i, f in enumerate(self._ids) if f in chosen})

    def _look(self) -> None:
        """Bring the current follicle into view."""
        current = self.desk.walk.current
        if current is not None and not self.desk.walk.selected and current != self._in_view:
            self._in_view = current
            with self._of_ours():
                look_at_follicle(self.viewer, self.desk.session[current].outline.bounds, self.desk.pixel_size)
            self._moved_view()

    def _moved_view(self, event: object = None) -> None:
        """Draw outlines that came into view, and lines as wide as before on the screen with other labels."""
        if self.layer is None or self._own or self.desk.slide_id != self._slide_id:
            return
        if not self._half_drawn and self._area is not None and not self._is_drawn_well(self.in_view()):
            self._draw_all()
            self._select_chosen()
        if zoom_differs(self._zoom, self.viewer.scene.camera.zoom):
            self._rescale()
            self._label()

    def _is_drawn_well(self, seen: Polygon) -> bool:
        """Whether all outlines of a view are drawn, and not thousands of others that make each step slow."""
        assert self._area is not None
        overdone = len(self._ids) > _MANY and self._area.area > _MUCH * seen.area
        return bool(self._area.contains(seen)) and not overdone

    def _rescale(self) -> None:
        self._zoom = self.viewer.scene.camera.zoom
        px = px_of_screen(self.viewer, self.desk.pixel_size)
        with self._of_ours(), self.layer.events.edge_width.blocker():
            self.layer.edge_width = [LINE_PX * px] * self.layer.nshapes
            if not self._half_drawn:  # else it would end the drawing
                self.layer.current_edge_width = LINE_PX * px
            self.layer.refresh()
        self.tissue.rescale(px)

    def _select(self, rows: set[int]) -> None:
        """Select shapes. The width event is blocked, because napari would redraw every outline with the same width."""
        with self.layer.events.edge_width.blocker():
            self.layer.selected_data = rows

    def _label(self) -> None:
        """Label the follicles around the current one with their stages, as far as the labels do not overlap.

        Thousands of labels would take seconds.
        """
        drawn = [self.desk.session[i] for i in self._ids]
        near = [f for f in drawn if f.status != Status.REJECTED]
        if near:
            there = self.desk.session[self.desk.walk.current or near[0].id].outline.bounds
            corners = bounds([f.outline for f in near])[:, :2]
            order = np.argsort(np.hypot(*(corners - there[:2]).T), kind="stable")[:_NEAR]
            letters = np.array([len(label_of(near[i])) for i in order])
            kept = apart(corners[order][:, ::-1], letters, px_of_screen(self.viewer, self.desk.pixel_size))
            near = [near[order[i]] for i in kept[:_LABELS]]
        corners, words, _ = label_layer(near, self.desk.pixel_size)
        self._labels.data = corners
        self._labels.features = words["features"]
        self._labels.refresh_text()

    def _redraw(self, ids: Iterable[str]) -> None:
        """Redraw follicles that changed."""
        if self.desk.slide_id != self._slide_id:  # `show` draws the other slide
            return
        self.pointer.forget()
        if self.tissue.drawn != self.desk.session.sections:
            self._draw_tissue()
        standing = {f.id: f for f in self.desk.follicles}
        drawn = {follicle_id: row for row, follicle_id in enumerate(self._ids)}
        ids = [i for i in ids if i in drawn or i not in standing or self._is_near(standing[i])]
        if any(i not in drawn or i not in standing or self._moved(standing[i], drawn[i]) for i in ids):
            self._draw_all()
            return
        with self._of_ours():
            features = self.layer.features
            for follicle_id in ids:
                follicle, row = standing[follicle_id], drawn[follicle_id]
                self._select({row})
                self.layer.current_edge_color = edge_color(follicle)
                for name, value in features_of(follicle).items():
                    features.loc[row, name] = value

    def _is_near(self, follicle: Follicle) -> bool:
        """Whether a follicle lies in the area that is drawn."""
        return self._area is None or bool(self._area.intersects(follicle.outline))

    def _moved(self, follicle: Follicle, row: int) -> bool:
        drawn = self.layer.data[row]
        own = vertices(follicle.outline)
        return drawn.shape != own.shape or not np.allclose(drawn, own, atol=0.02)

    def _draw_all(self) -> None:
        """Draw the outlines anew; of many, those in view and around it, because napari needs 0.2 ms for each."""
        follicles = self.desk.follicles
        self._area = None
        if len(follicles) > _MANY:
            seen = self.in_view()
            self._area = affinity.scale(seen, 2 * _AROUND + 1, 2 * _AROUND + 1)
            shapely.prepare(self._area)
            near = shapely.intersects(self._area, [f.outline for f in follicles])
            follicles = tuple(f for f, is_near in zip(follicles, near, strict=True) if is_near)
        data, options, _ = follicle_layer(follicles, self.desk.pixel_size)
        with self._of_ours():
            self.layer.data = [(ring, "polygon") for ring in data]
            if data:
                self.layer.edge_color = options["edge_color"]
            self.layer.features = options["features"]
        self._ids = [f.id for f in follicles]
        self._rescale()

    def _draw_tissue(self) -> None:
        self.tissue.draw()
        self._bind(self.tissue.layer)
        if self.layer is not None:
            self.viewer.layers.selection.active = self.layer

    def _clicked(self, event: object = None) -> None:
        """Handle a selection by the user: one shape becomes the current follicle, several are judged together."""
        if self._own:
            return
        ids = [self._ids[i] for i in sorted(self.layer.selected_data) if i < len(self._ids)]
        if len(ids) == 1:
            self.desk.walk.go_to(ids[0])
            self._in_view = ids[0]
        elif not ids:
            self.desk.walk.let_go()
        self.desk.walk.selected = tuple(ids) if len(ids) > 1 else ()
        self._refresh()

    def _drawn(self, event: Any) -> None:
        """Handle shapes that the user drew, moved or deleted with napari's tools."""
        if self._own or event.action not in ("added", "changed", "removed"):
            return
        with self._told():
            if event.action == "added":
                new = slice(len(self._ids), None)
                drawn = list(zip(self.layer.data[new], self.layer.shape_type[new], strict=True))
                self._use("select")
                if not drawn:
                    raise UserError("An outline needs at least three corners: press P, and draw it again.")
                for shape, kind in drawn:
                    self._added(shape, kind)
            elif event.action == "changed":
                if self.layer.mode not in ("direct", "vertex_insert", "vertex_remove"):
                    # A click that slips is not a correction.
                    raise UserError("The outline was not moved: to change it, press D and move its corners.")
                for row in event.data_indices:
                    follicle_id = self._ids[row]
                    before = vertices(self.desk.session[follicle_id].outline)
                    moved = nudged(before, np.asarray(self.layer.data[row]))
                    self.desk.outlines.reshape(follicle_id, outline_of(moved))
            else:
                self.desk.walk.selected = tuple(self._ids[row] for row in event.data_indices)
                self.desk.delete()
                self.desk.walk.selected = ()
        if self.layer is not None:  # a search that was started has removed the layer
            self._draw_all()
            self.show()
            if event.action == "added" and self.desk.walk.stays and self._drawing in ("polygon", "freehand"):
                self.draw(self._drawing)

    def _painted(self, do: Callable[[], None]) -> None:
        """Carry out a stroke of the brush, and go on painting."""
        with self._told():
            do()
        self._in_view = self.desk.walk.current  # it is already in view
        self.show()

    def _added(self, shape: NDArray[np.floating], kind: str) -> None:
        if self._area_for is not None:
            then, self._area_for = self._area_for, None
            self._say("")
            then(outline_of(shape, kind))
        elif kind in ("line", "path"):
            self.desk.outlines.split(LineString(points_of(shape)))
            self._say("Split in two; both parts were measured.")
        else:
            self.desk.outlines.add(outline_of(shape, kind))
            self._say("Added, measured and staged. If the stage is wrong, press the key of the right one.")
        self._in_view = self.desk.walk.current  # it is already in view

    @property
    def _half_drawn(self) -> bool:
        """Whether the user is drawing an outline: napari then has one shape more than the desk."""
        return bool(self.layer.nshapes > len(self._ids))

    def _use(self, mode: str) -> None:
        """Change napari's mode; discard an unfinished outline."""
        half_drawn = self._half_drawn
        with self._of_ours():
            self.layer.mode = mode
        if half_drawn:
            self._draw_all()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Show a message for errors, and for outlines that overlap after the action (also after undo)."""
        slide_id, before = self.desk.slide_id, set(self.desk.walk.overlapping)
        try:
            yield
            if self.desk.slide_id == slide_id and self.desk.walk.overlapping.keys() - before:
                self._say(OVERLAP)
        except (UserError, OSError) as error:
            self._say(refused(error))

    @contextlib.contextmanager
    def _of_ours(self) -> Iterator[None]:
        """Mark changes of the layer in this block as made by the program, not by the user."""
        before, self._own = self._own, True
        try:
            yield
        finally:
            self._own = before
