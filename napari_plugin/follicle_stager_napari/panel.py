"""The dock widget: open, find, review, count, export; `Reviewer`, the desk and the library do the work."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.detection import DETECTORS
from follicle_stager.errors import UserError
from follicle_stager.learning import learn
from follicle_stager.pixel_size import GIVEN
from follicle_stager.review import Order
from follicle_stager.review.blinding import begin_or_end
from follicle_stager.review.desk import Desk
from follicle_stager.review.tour import Tour
from follicle_stager.slides import SLIDE_SUFFIXES, is_slide, open_slide, slide_name
from follicle_stager.study import SlideSource, Study, Tally
from follicle_stager_napari.asking import AskMpp, author
from follicle_stager_napari.counting import CountPart
from follicle_stager_napari.exporting import ExportPart
from follicle_stager_napari.focus import SlideKeys
from follicle_stager_napari.gallery import Gallery
from follicle_stager_napari.judging import JudgingPart
from follicle_stager_napari.minimap import Minimap
from follicle_stager_napari.reviewer import Reviewer
from follicle_stager_napari.widgets import KeyPage, Said, Tall, column, foldable, name_list, push_button, row
from follicle_stager_napari.words import FIRST_START, learned, refused
from follicle_stager_napari.work import WorkBar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import napari
    from shapely.geometry import Polygon

    from follicle_stager.job import Outcome
    from follicle_stager.learning import Learned
    from follicle_stager.records import Follicle
    from follicle_stager.review import Filter, Progress
    from follicle_stager_napari.keymap import Action
    from follicle_stager_napari.work import Tell

logger = logging.getLogger(__name__)

# Time without a decision after which the counts are updated, and between slides whose progress is read, ms.
_COUNT_AFTER_MS, _READ_EVERY_MS = 300, 60


class ReviewPanel(QWidget):
    """The panel for the whole work on slides, from a file to counts.

    Parameters
    ----------
    napari_viewer
        Viewer that napari passes to its widgets.

    Attributes
    ----------
    reviewer
        Open study on the viewer; None if there is none.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.reviewer: Reviewer | None = None
        self._message = Said(3, "Open a slide, or a study made by 'follicle-stager run' or 'stage'.")
        self.work = WorkBar(self._say, self._enable)
        self.gallery = Gallery(self._at_work)
        self._gallery_dock: QWidget | None = None
        self.minimap = Minimap(napari_viewer)
        self._mapped = ""
        self._keys = KeyPage(self)
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_COUNT_AFTER_MS)
        self._counting.timeout.connect(self._count)
        # Reads the progress of the other slides, one at a time, while nothing else happens.
        self._reading = QTimer(self)
        self._reading.setInterval(_READ_EVERY_MS)
        self._reading.timeout.connect(self._read_progress)
        self._judging = JudgingPart(self._act, self._sort, self.learn)
        self.counts = CountPart(self._at_work, self._try)
        self._opening = self._open_part()
        self.exports = ExportPart(self._at_work, self._say, self._try, self.work)
        self._needs_slide = [self._find_part(), self._judging, self.counts, self.exports]
        inside = QWidget()
        layout = QVBoxLayout(inside)
        for title, part in (
            ("Open", self._opening),
            ("Map", self.minimap),
            ("Find", self._needs_slide[0]),
            ("Review", self._judging),
            ("Count", self.counts),
            ("Export", self.exports),
        ):
            layout.addWidget(foldable(title, part))
        layout.addStretch()
        # On a small screen the parts scroll; messages and progress stay visible.
        whole = QVBoxLayout(self)
        for widget in (self._message, self.work, Tall(inside)):
            whole.addWidget(widget)
        self._enable()
        self._slide_keys = SlideKeys(self, (self, self.gallery), self.gallery.keeps_keys)
        napari_viewer.layers.events.inserted.connect(self._guard)
        # However the window or the panel is closed: save the decisions, and release the lock for others.
        self.destroyed.connect(lambda *_: self.finish())

    # Open

    def _open_part(self) -> QWidget:
        self._slides = name_list()
        self._slides.setToolTip("Slides of the study; . and , open the next and the previous one.")
        self._slides.currentIndexChanged.connect(lambda place: self._open_slide(self._slides.itemData(place)))
        self._choosing = row(
            push_button("Open slide ...", "An image; results go into a folder next to it.", self._choose_slide),
            push_button("Open folder ...", "A study, or a slide that is a folder (OME-Zarr).", self._choose_folder),
            push_button("Open layer", "The picture that is open in napari already, as a slide.", self._take_layer),
        )
        self._locating = push_button(
            "Find missing images ...",
            "Choose the folder in which the images of the slides are now.",
            self._choose_images,
        )
        self._locating.hide()
        self._blind = QCheckBox("Blind: hide the names of slides, animals and groups")
        self._blind.setToolTip(
            "Slides get codes and come in random order. Every decision says that it was made blind. To see the names "
            "again is logged."
        )
        self._blind.toggled.connect(self._switch_blind)
        return column(self._choosing, self._slides, self._locating, self._blind)

    def _take_layer(self) -> None:
        self._try(self.open_layer)

    def open_layer(self) -> None:
        """Open the picture of the selected layer as a slide; its own layer is hidden.

        Raises
        ------
        UserError
            If no image is selected, or it does not come from a file.
        """
        layer = self._viewer.layers.selection.active
        if layer is None or not hasattr(layer, "rgb"):
            raise UserError("Select an image in napari's list of layers first.")
        if layer.source.path is None:
            raise UserError(
                f"The layer {layer.name} does not come from a file, so results would have no place: save it as a TIFF "
                "first (File > Save Selected Layers), and open that."
            )
        self.open_slide(Path(layer.source.path))
        layer.visible = False

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "A study folder, or an OME-Zarr slide")
        if chosen:
            folder = Path(chosen)
            self._try(lambda: self.open_slide(folder) if is_slide(folder) else self.open_study(folder))

    def _choose_slide(self) -> None:
        endings = " ".join(f"*{suffix}" for suffix in SLIDE_SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, "A slide", filter=f"Slides ({endings})")
        if name:
            self._try(lambda: self.open_slide(Path(name)))

    def _choose_images(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "The folder with the images of the slides")
        if chosen:
            self._try(lambda: self.find_images(Path(chosen)))

    def find_images(self, folder: Path) -> None:
        """Search a folder for the images that the study does not find, and open the slide again."""
        if self.reviewer is None:
            return
        study, slide_id = self.reviewer.desk.study, self.reviewer.desk.slide_id
        found, missing = study.locate(folder)
        self.open_study(study.path, slide_id)
        left = f" Still missing: {', '.join(missing)}." if missing else ""
        self._say(f"Images found: {len(found)}.{left}")

    def open_study(self, folder: Path, slide_id: str = "", *, blind: bool | None = None) -> None:
        """Open a study, and one of its slides (by default the first).

        Parameters
        ----------
        folder
            Folder of the study.
        slide_id
            Name of the slide.
        blind
            Whether the names of slides, animals and groups are hidden; by default as when the study was last open.

        Raises
        ------
        UserError
            If the folder is not a study, or if it has no finished slide of this name.
        """
        study = Study.open(folder)
        slides = study.slide_ids()
        if not slides:
            raise UserError(f"{folder}: no slide is finished in this study; run 'follicle-stager stage' first.")
        if slide_id and slide_id not in slides:
            raise UserError(f"{folder}: there is no finished slide {slide_id}; finished are: {', '.join(slides)}.")
        tally = Tally(study) if study.samples_path.exists() else None
        blinding = begin_or_end(study, blind, reader=author())
        self.close_study()
        desk = Desk(study, author=author(), tally=tally, blinding=blinding)
        self.reviewer = Reviewer(self._viewer, desk, say=self._say, refresh=self._refresh)
        self._show_blind(desk)
        self.reviewer.tissue.show(self.counts.sections_open)
        self.reviewer.open_gallery, self.reviewer.open_help = self._open_gallery, self._keys.switch
        self.reviewer.pointer.hover = self._hover
        self._say(FIRST_START)
        self._message.repaint()  # it must be read while napari compiles
        self._slides.blockSignals(True)
        self._slides.clear()
        for own in desk.slide_ids():
            self._slides.addItem(desk.shown_name(own), own)
        self._slides.blockSignals(False)
        config = study.config.detection
        self._min_score.setValue(config.min_score)
        self._detector.setCurrentText(config.detector)
        self._say("Every decision is saved at once. Click an outline, or go to the next follicle with N.")
        self._open_slide(slide_id or desk.slide_ids()[0])
        if desk.slide_id and desk.session.read_only:
            self._say(f"{study.path}: this study is read-only here. You can look at it, but not correct it.")
        self._judging.apply()
        self._enable()
        self._locating.setVisible(bool(study.missing()))
        self._reading.start()

    def _switch_blind(self, blind: bool) -> None:
        """Open the study again, with or without names."""
        if self.reviewer is not None:
            study = self.reviewer.desk.study
            self._try(lambda: self.open_study(study.path, blind=blind))

    def _show_blind(self, desk: Desk) -> None:
        """Hide what leads to names, or show it again."""
        blind = desk.blinding is not None
        self._blind.blockSignals(True)
        self._blind.setChecked(blind)
        self._blind.blockSignals(False)
        for part in (self._choosing, self._locating):
            part.setEnabled(not blind)  # file dialogs show names
        self._viewer.title = f"follicle-stager: {'blinded review' if blind else desk.study.path}"
        order = Order.RANDOM if blind else Order.UNCERTAINTY
        self._judging.choose(order, study=blind and len(desk.slide_ids()) > 1)

    def open_slide(self, path: Path) -> None:
        """Open a slide, with a study folder next to it, which is made if needed. Ask for the µm/px if it is unknown.

        Raises
        ------
        UserError
            If the slide cannot be read, or if the folder next to it contains something else.
        """
        folder = path.parent / f"{slide_name(path)}_study"
        study = Study.open(folder) if (folder / "study.toml").exists() else None
        source, mpp = SlideSource(slide_name(path), path), None
        known = study is not None and study.has_run(source.slide_id)
        if study is not None and known and study.source(source.slide_id).resolve() != path.resolve():
            raise UserError(
                f"{folder}: this study belongs to {study.source(source.slide_id)}, not to {path}; rename one of "
                "the two images, or the folder."
            )
        config = study.config if study is not None else Config()
        with open_slide(path, limits=config.slides) as slide:
            if slide.stated_pixel_size is None and not known:
                mpp = AskMpp(self, path.name).ask()
                if mpp is None:
                    raise UserError("The slide was not opened: without µm per pixel, nothing can be measured.")
        study = study or Study.create(folder, config)

        def opened(outcome: Outcome) -> None:
            if outcome.state == "failed":
                raise UserError(outcome.message)
            self.open_study(folder, outcome.slide_id)
            if outcome.state == "done":
                self._say(f"The slide is open; results go to {folder}. Search it for follicles, or draw them.")

        self.work.start(lambda tell: _run(study, source, config, mpp, tell, find=False), opened)

    def close_study(self) -> None:
        """Save the study, release its lock, and remove the layers.

        Raises
        ------
        OSError
            If it cannot be saved; it then stays open.
        """
        self._counting.stop()
        self._reading.stop()
        self._mapped = ""
        self.minimap.clear()
        self.work.end()
        if self.reviewer is not None:
            self.reviewer.close()
            self.reviewer.desk.close()
            self.reviewer = None
        self._enable()

    def finish(self) -> None:
        """Stop the running task, and save. Qt may already have deleted the window, so do not use any widget."""
        self.work.abandon()
        reviewer, self.reviewer = self.reviewer, None
        if reviewer is not None:
            reviewer.desk.changed = lambda ids: None
            try:
                reviewer.desk.close()
            except (UserError, OSError) as error:  # there is no window left to show it
                logger.warning("%s", refused(error))

    def _at_work(self) -> Reviewer | None:
        """The reviewer, if a slide is open."""
        return self.reviewer if self.reviewer is not None and self.reviewer.desk.slide_id else None

    def _open_slide(self, slide_id: str | None) -> None:
        if self.reviewer is not None and slide_id:
            reviewer = self.reviewer
            self._try(lambda: reviewer.open(slide_id))
            self._refresh()  # if it could not be opened, the list shows the slide that is still open

    # Find

    def _find_part(self) -> QWidget:
        self._detector = QComboBox()
        self._detector.addItems(["auto", *DETECTORS])
        self._detector.setToolTip("detector: network (the default if it can run) or classical.")
        self._min_score = QDoubleSpinBox(minimum=0, maximum=1, singleStep=0.05, decimals=2)
        self._min_score.setToolTip("min_score: detection threshold; lower finds more follicles, also false ones.")
        return column(
            row(QLabel("detector"), self._detector, QLabel("min_score"), self._min_score),
            row(
                push_button("Whole slide", "Search again; corrections are carried over.", self.find_on_slide),
                push_button("In view", "Add missing follicles in the visible area.", self._find_in_view),
                push_button("In a box", "Draw a box, and add missing follicles in it.", self._find_in_box),
            ),
        )

    def find_on_slide(self) -> None:
        """Search the open slide with the settings shown, and open the result."""
        self._try(self._find_on_slide)

    def _find_on_slide(self) -> None:
        if self.reviewer is None or self.work.busy:
            return
        desk = self.reviewer.desk
        study, slide_id, size = desk.study, desk.slide_id, desk.pixel_size
        source = SlideSource(slide_id, desk.source)
        mpp = size.mpp_x if size.source == GIVEN else None
        chosen = {"detector": self._detector.currentText(), "min_score": round(self._min_score.value(), 2)}
        config = study.config.with_options(detection=chosen)
        self.reviewer.close()  # the search writes to the slide, and there may be only one writer

        def found(outcome: Outcome) -> None:
            if outcome.state != "failed":
                Study.create(study.path, config)
            self._open_slide(slide_id)
            if outcome.state == "failed":
                raise UserError(outcome.message)
            told = "Result of an earlier search with these settings: " if outcome.state == "kept" else ""
            self._say("\n".join([f"{told}{outcome.follicles} follicles were found.", *outcome.flags]))
            if desk.tour is not None:  # it does not know these follicles
                self._judging.apply()

        self.work.start(
            lambda tell: _run(study, source, config, mpp, tell), found, otherwise=lambda: self._open_slide(slide_id)
        )

    def _find_in_view(self) -> None:
        if self.reviewer is not None:
            self.find_within(self.reviewer.in_view())

    def _find_in_box(self) -> None:
        if self.reviewer is not None:
            self.reviewer.ask_for("box", self.find_within)

    def find_within(self, area: Polygon) -> None:
        """Search an area of the open slide (level-0 pixels), and add the missing follicles."""
        if self.reviewer is None or self.work.busy:
            return
        self._try(lambda: self._find_within(area, self.reviewer))

    def _find_within(self, area: Polygon, reviewer: Reviewer | None) -> None:
        if reviewer is None:
            return
        desk, slide_id = reviewer.desk, reviewer.desk.slide_id
        find = desk.outlines.finder(area)

        def found(follicles: Sequence[Follicle]) -> None:
            if desk.slide_id != slide_id:
                raise UserError("Nothing was added, because another slide was opened during the search.")
            count = desk.outlines.take_in(follicles)
            self._say(f"Follicles found there: {len(follicles)}; new ones, now added: {count}.")
            self._refresh()

        self.work.start(lambda tell: find(lambda done, total: tell("detection", done, total)), found)

    # Review

    def _act(self, action: Action) -> None:
        if self.reviewer is not None:
            self.reviewer.act(action)

    def _sort(self, order: Order, only: Filter, of_study: bool) -> None:
        if self.reviewer is None or not (of_study or self.reviewer.desk.slide_id):
            return
        reviewer, desk = self.reviewer, self.reviewer.desk
        if not of_study:
            self._try(lambda: reviewer.sort(order, only))
            return

        def read(tell: Tell) -> Tour:
            slides = desk.slide_ids()
            return Tour(desk.study, slides, order, only, lambda done, total: tell("slides", done, total))

        def begin(tour: Tour) -> None:
            if tour.left_out:
                self._say("\n".join(["Left out:", *tour.left_out]))
            reviewer.tour(tour)

        def only_here() -> None:
            self._judging.choose(order, study=False)
            self._sort(order, only, of_study=False)

        self._try(lambda: self.work.start(read, begin, otherwise=only_here))

    def learn(self) -> None:
        """Learn staging from the judgements in the study."""
        if self.reviewer is None or self.work.busy:
            return
        study = self.reviewer.desk.study

        def told(result: Learned) -> None:
            self._say(learned(result))

        self.work.start(lambda tell: learn(study, progress=lambda n, of: tell("held-out animals", n, of)), told)

    def _open_gallery(self) -> None:
        if self._gallery_dock is not None and self._gallery_dock.isVisible():
            self._gallery_dock.hide()
            return
        if self._gallery_dock is None:
            self._gallery_dock = self._viewer.window.add_dock_widget(self.gallery, name="Gallery", area="bottom")
        self._gallery_dock.show()
        self.gallery.fill()

    def _count(self) -> None:
        if self.reviewer is not None and self.reviewer.desk.slide_id:
            desk = self.reviewer.desk
            self._try(lambda: self.counts.show_of(desk))

    def _show_map(self) -> None:
        """Show the map of the open slide; without its image, none."""
        if self.reviewer is None or not self.reviewer.desk.slide_id:
            return
        try:
            self.minimap.show_slide(self.reviewer.desk.slide)
        except UserError:  # the message about the missing image stands already
            self.minimap.clear()

    def _read_progress(self) -> None:
        """Read the progress of one more slide, and show all of them when they are read."""
        if self.reviewer is None or self.work.busy:
            return
        desk = self.reviewer.desk
        try:
            more = desk.numbers.read_progress()
        except UserError:  # it is reported when the slide is opened or counted
            more = True
        if not more:
            self._reading.stop()
            self._refresh()

    def _name_slides(self, desk: Desk, known: Mapping[str, Progress]) -> None:
        """Show the progress of each slide in the list."""
        for place in range(self._slides.count()):
            slide_id = self._slides.itemData(place)
            own = known.get(slide_id)
            name = desk.shown_name(slide_id) + (f"   {own.judged} / {own.total}" if own is not None else "")
            if self._slides.itemText(place) != name:
                self._slides.setItemText(place, name)

    # What is shown

    def _guard(self, event: object) -> None:
        """Watch the controls of a new layer, which exist only after napari has shown it."""
        QTimer.singleShot(0, self, self._slide_keys.guard_napari)

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (UserError, OSError) as error:
            self._say(refused(error))

    def _hover(self, text: str) -> None:
        """Show a text next to the pointer; an empty one hides it."""
        QToolTip.showText(QCursor.pos(), text)

    def _say(self, message: str) -> None:
        self._message.setText(message if self.reviewer is None else self.reviewer.desk.veiled(message))

    def _enable(self) -> None:
        """Enable the parts that can be used now."""
        on = self.reviewer is not None and not self.work.busy
        for widget in self._needs_slide:
            widget.setEnabled(on)
        blind = self.reviewer is not None and self.reviewer.desk.blinding is not None
        self.exports.setEnabled(on and not blind)  # files have names, and a report has results
        self._opening.setEnabled(not self.work.busy)

    def _refresh(self) -> None:
        """Show the state of the desk."""
        if self.reviewer is None or not self.reviewer.desk.slide_id:
            return
        desk = self.reviewer.desk
        if desk.slide_id != self._mapped:
            self._mapped = desk.slide_id
            QTimer.singleShot(0, self, self._show_map)  # the slide itself comes first
        by_slide = desk.numbers.progress_by_slide
        self._slides.blockSignals(True)
        self._slides.setCurrentIndex(self._slides.findData(desk.slide_id))
        self._name_slides(desk, by_slide)
        self._slides.blockSignals(False)
        self._judging.show_of(desk, by_slide)
        self.gallery.refresh()
        self._counting.start()


def _run(
    study: Study, source: SlideSource, config: Config, mpp: float | None, tell: Tell, *, find: bool = True
) -> Outcome:
    """Process one slide as a batch, as the command line does."""
    (outcome,) = run_batch(
        study, [source], config, mpp=mpp, find=find, on_progress=lambda _, step, done, total: tell(step, done, total)
    )
    return outcome


def review(folder: Path, slide_id: str = "", *, blind: bool | None = None) -> None:
    """Open a study in napari; return when the window is closed. See `ReviewPanel.open_study`.

    Raises
    ------
    UserError
        If the study cannot be opened.
    """
    import napari

    viewer = napari.Viewer(title="follicle-stager")
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Follicle review", area="right")
    viewer.window.resize(1500, 950)
    try:
        panel.open_study(folder, slide_id, blind=blind)
    except UserError:
        viewer.close()
        raise
    try:
        napari.run()
    finally:
        panel.finish()
