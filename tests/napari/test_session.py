"""A whole sitting at the window, with its real keys and mouse: what a person did is there the next day."""

from __future__ import annotations

import errno
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("napari")

from follicle_stager_napari.keymap import ACTIONS
from follicle_stager_napari.layers import label_of, vertices
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QToolButton
from shapely.geometry import Point
from studies import count_study

from follicle_stager.annotations import read_geojson
from follicle_stager.batch import run_batch
from follicle_stager.config import Config, load_config
from follicle_stager.errors import UserError
from follicle_stager.review import progress
from follicle_stager.stages import Stage, Status
from follicle_stager.study import Study, list_slides

STAGES = {"3": Stage.PRIMARY, "4": Stage.SECONDARY, "5": Stage.EARLY_ANTRAL, "6": Stage.ANTRAL, "U": Stage.UNSURE}


@pytest.fixture
def many(cohort, tmp_path):
    """A study of all slides, which hold enough follicles."""
    study = Study.create(tmp_path / "many", Config())
    run_batch(study, list_slides(cohort), Config())
    shutil.copy(cohort / "samples.csv", study.samples_path)
    return study


def test_a_sitting(many, sit_down):
    person = sit_down(many.path)
    desk = person.desk
    # Ten follicles with keys only, over as many slides as it takes.
    said = {}
    keys = list(STAGES) * 2
    while keys:
        while desk.walk.current is None and desk.slide_id != many.slide_ids()[-1]:
            person.press(".")
        slide, one, key = desk.slide_id, desk.walk.current, keys.pop()
        assert one is not None, "there are ten"
        person.press(key)
        said[slide, one] = STAGES[key]
        assert desk.slide_id != slide or desk.session[one].stage == STAGES[key]
    assert len(said) == 10
    # One is added with the mouse, freehand, and one is split by a line.
    section = many.sections(desk.slide_id)[0].outline
    taken = [f.outline for f in desk.follicles]
    x, y = next(
        (p.x, p.y)
        for p in (Point(x, y) for x in range(60, 900, 15) for y in range(60, 900, 15))
        if section.contains(p.buffer(25)) and not any(t.intersects(p.buffer(25)) for t in taken)
    )
    before = len(desk.follicles)
    size = desk.pixel_size
    person.viewer.scene.camera.center = (y * size.mpp_y, x * size.mpp_x)
    person.press("Shift-P")
    ring = Point(x, y).buffer(18).exterior.coords
    person.drag(*ring)
    assert len(desk.follicles) == before + 1
    added = desk.follicles[-1]
    assert added.status == Status.ADDED
    assert added.outline.intersection(Point(x, y).buffer(18)).area > 0.8 * Point(x, y).buffer(18).area
    person.press("/")
    person.drag((x + 1, y - 26), (x + 1, y), (x + 1, y + 26))
    assert len(desk.follicles) == before + 2, person.panel._message.text()
    person.press("Control-Z", "Control-Z", "Control-Z")
    assert len(desk.follicles) == before
    person.press("Control-Shift-Z")  # the drawn one again
    last_slide = desk.slide_id
    standing = desk.follicles
    # The window is closed in the middle: nobody presses save.
    person.panel.close_study()
    again = sit_down(many.path)
    again.panel.open_study(many.path, last_slide)
    assert again.desk.follicles == standing
    counts = again.desk.numbers.counts()
    again.panel.close_study()
    written = count_study(many)
    for name in ("follicles", "section", "ovary", "animal", "genotype"):
        assert getattr(counts, name).equals(getattr(written, name)), name


def test_a_slide_of_no_study_is_opened_searched_and_saved(cohort, tmp_path, sit_down):
    slide = tmp_path / "one.ome.tif"
    slide.write_bytes(list_slides(cohort)[0].path.read_bytes())
    person = sit_down()
    person.panel.open_slide(slide)
    person.wait_for_work()
    assert person.desk.follicles == ()
    left, top, right, bottom = person.desk.study.sections("one")[0].outline.bounds
    # A box over the upper half, drawn with the mouse.
    size = person.desk.pixel_size
    person.viewer.scene.camera.center = ((top + bottom) / 2 * size.mpp_y, (left + right) / 2 * size.mpp_x)
    person.viewer.scene.camera.zoom = 0.6
    person.panel._find_in_box()
    middle = (top + bottom) / 2
    person.drag((left - 5, top - 5), (left + 100, top + 50), (right + 5, middle))
    person.wait_for_work()
    upper = person.desk.follicles
    assert upper
    assert all(f.outline.centroid.y <= middle + 1 and f.status == Status.PREDICTED for f in upper)
    person.panel._find_in_view()
    person.wait_for_work()
    everything = person.desk.follicles
    assert len(everything) > len(upper)
    person.press("6")
    judged = next(f for f in person.desk.follicles if f.status != Status.PREDICTED)
    person.panel.find_on_slide()
    person.wait_for_work()
    after = person.desk.follicles
    assert len(after) == pytest.approx(len(everything), abs=2), "the same, in one go"
    assert any(f.stage == Stage.ANTRAL and f.outline.equals_exact(judged.outline, 3) for f in after)
    person.panel.exports.outlines(tmp_path / "out.geojson")
    assert len(read_geojson(tmp_path / "out.geojson")) == len(after)
    person.panel.exports.tables()
    person.wait_for_work()
    assert "sample sheet" in person.panel._message.text()


def test_a_search_is_stopped_and_nothing_is_lost(study, sit_down):
    person = sit_down(study.path)
    person.press("5")
    before, settings = person.desk.follicles, load_config(study.path / "study.toml")
    person.panel._min_score.setValue(0.2)
    person.panel.find_on_slide()
    person.panel.work.stop()
    person.wait_for_work()
    assert "Stopped" in person.panel._message.text()
    assert person.desk.follicles == before
    assert load_config(study.path / "study.toml") == settings, "the settings of a search that was stopped are gone"


def test_nothing_can_be_pressed_while_a_slide_is_searched(study, sit_down):
    person = sit_down(study.path)
    person.panel._min_score.setValue(0.35)
    person.panel.find_on_slide()
    person.press("3", ".", "0", "Control-Z")
    for action in ACTIONS:
        person.panel._act(action)
    with pytest.raises(UserError, match="Another task is running"):
        person.panel.work.start(lambda tell: None, lambda result: None)
    person.wait_for_work()
    assert "follicles were found" in person.panel._message.text()
    assert person.desk.slide_id == study.slide_ids()[0]
    assert {f.status for f in person.desk.follicles} == {Status.PREDICTED}
    assert load_config(study.path / "study.toml").detection.min_score == 0.35


def test_another_study_leaves_nothing_of_the_first(study, staged, tmp_path, sit_down):
    other = Study(shutil.copytree(staged, tmp_path / "other"))
    person = sit_down(study.path)
    person.panel.open_study(other.path)
    assert len(person.viewer.layers) == 4
    person.press(".")
    assert person.desk.study == other
    study.review(study.slide_ids()[0], author="Grace").close()  # nobody has it open any more


def test_a_window_that_is_closed_leaves_everything_saved(study, sit_down, qtbot):
    person = sit_down(study.path)
    one = person.desk.walk.current
    person.press("7")
    person.panel.find_within(person.panel.reviewer.in_view())
    panel = person.panel
    person.viewer.window.remove_dock_widget(panel.parent())
    panel.deleteLater()
    qtbot.waitUntil(lambda: panel.reviewer is None, timeout=60_000)
    slide = study.slide_ids()[0]
    with study.review(slide, author="Grace") as session:
        assert session[one].stage == Stage.PREOVULATORY
    assert {f.id: f.stage for f in read_geojson(study.slide_folder(slide) / "follicles.geojson")}[one] == "preovulatory"


def test_a_full_disk_is_said_and_the_picture_is_as_the_files(study, sit_down, monkeypatch):
    person = sit_down(study.path)
    layer, before = person.panel.reviewer.layer, person.desk.follicles

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("follicle_stager.corrections.log.os.fsync", full)
        person.press("5")
        assert "disk is full" in person.panel._message.text()
        x, y = before[0].outline.centroid.coords[0]
        layer.add_polygons([vertices(Point(x, y).buffer(20))])
    assert person.desk.follicles == before
    assert len(layer.data) == len(before)


def test_a_picture_of_another_name_is_not_taken_for_it(cohort, tmp_path, sit_down):
    slide = tmp_path / "one.ome.tif"
    slide.write_bytes(list_slides(cohort)[0].path.read_bytes())
    person = sit_down()
    person.panel.open_slide(slide)
    person.wait_for_work()
    other = slide.rename(tmp_path / "one.tif")
    with pytest.raises(UserError, match="this study belongs to"):
        person.panel.open_slide(other)


def test_half_an_outline_is_given_up(study, sit_down):
    person = sit_down(study.path)
    one = person.desk.follicles[0]
    person.desk.walk.go_to(one.id)
    person.panel.reviewer.show()
    x, y = one.outline.centroid.coords[0]
    before = person.desk.follicles
    person.press("P")
    for dx, dy in ((0, 0), (20, 0), (20, 20), (0, 20)):
        person.click(x + dx, y + dy)
    person.press("6")  # no decision while an outline is being drawn
    person.press("S")
    assert person.desk.follicles == before
    assert len(person.panel.reviewer.layer.data) == len(before)
    person.press("P")
    for dx, dy in ((0, 0), (20, 0), (20, 20), (0, 20)):
        person.click(x + dx, y + dy)
    person.press("Enter")
    assert len(person.desk.follicles) == len(before) + 1


def test_the_gallery_decides_many_at_once(study, sit_down, qtbot):
    person = sit_down(study.path)
    person.press("G")
    gallery = person.panel.gallery
    qtbot.waitUntil(lambda: not gallery._waiting)
    assert gallery._list.count() == len(person.desk.follicles)
    pictures = {gallery._list.item(i).icon().pixmap(112).toImage().pixelColor(56, 56).name() for i in range(2)}
    assert len(pictures) == 2, "each its own picture"
    gallery._list.item(0).setSelected(True)
    gallery._list.item(1).setSelected(True)
    gallery._act(next(a for a in ACTIONS if a.key == "5"))
    assert sum(f.stage == Stage.EARLY_ANTRAL and f.status == Status.CORRECTED for f in person.desk.follicles) == 2
    assert "Early antral" in gallery._list.item(0).text()


def test_learning_says_what_is_missing(study, sit_down):
    person = sit_down(study.path)
    person.panel.learn()
    person.wait_for_work()
    assert "follicles of" in person.panel._message.text()
    person.panel._judging._order.setCurrentText("disagreement")
    assert "learn" in person.panel._message.text()


def test_the_report_is_written_from_the_window(study, sit_down):
    person = sit_down(study.path)
    person.press("5")
    person.panel.exports.report()
    person.wait_for_work()
    assert "not estimable with 1 knockout and 1 control" in person.panel._message.text()
    page = (study.path / "report.html").read_text(encoding="utf-8")
    assert "not estimable" in page
    assert page.count("data:image/jpeg") >= 3
    assert not re.search(r"(src|href|url)\W{1,3}https?:", page), "nothing is loaded from elsewhere"


def test_quick_keys_over_slides(study, sit_down, qtbot):
    """A decision and the next slide at once: nothing reads a picture that is closed."""
    person = sit_down(study.path)
    for _ in range(2):
        person.press("3", ".", "5", ",")
        qtbot.wait(30)
    assert person.desk.slide_id == study.slide_ids()[0]
    assert len(person.viewer.layers) == 4


def test_the_view_stays_where_a_person_looks(study, sit_down):
    person = sit_down(study.path)
    camera = person.viewer.scene.camera
    camera.center, camera.zoom = (300.0, 300.0), 1.0
    person.press("P", "S", "Shift-P", "S", "W", "Q")
    assert tuple(camera.center[-2:]) == (300.0, 300.0)
    person.press("N")
    assert tuple(camera.center[-2:]) != (300.0, 300.0)


def test_a_key_is_for_what_is_shown_and_for_nothing_else(study, sit_down):
    person = sit_down(study.path)
    layer, before = person.panel.reviewer.layer, person.desk.follicles
    layer.selected_data = set()
    person.press("3")
    assert person.desk.follicles == before
    assert "No follicle is selected" in person.panel._message.text()
    person.press("A", "Control-A", "0")
    assert person.desk.follicles == before
    person.press("N", "W")
    one = person.desk.session[person.desk.walk.current]
    assert f"nucleus visible: {one.countable.value}" in person.panel._judging._what.text()
    person.press("1")
    assert "not in the counts of this slide (NA)" in person.panel._message.text()


def test_corpora_lutea_have_a_row_of_their_own(study, sit_down):
    person = sit_down(study.path)
    person.press_button("Animals and groups")

    def row():
        person.panel.counts.show_of(person.desk)
        cells = []
        for table in (person.panel.counts._table, person.panel.counts._groups):
            line = next(r for r in range(table.rowCount()) if table.item(r, 0).text() == "Corpus luteum")
            cells += [table.item(line, c).text() for c in range(1, table.columnCount())]
        return cells

    assert row()[1:3] == ["0", "0"], "the network found none"
    person.press("N", "8")
    assert row()[1:3] == ["1 (found 0)", "1"]


def test_sections_are_cut_left_out_and_given_to_animals(many, sit_down):
    slide_id = many.slide_ids()[0]
    lines = many.samples_path.read_text().splitlines()
    own = next(line for line in lines if line.startswith(slide_id)).split(",")
    section, animal = lines[0].split(",").index("section"), lines[0].split(",").index("animal")
    # The sheet names two animals for this slide; in truth they lie the other way round.
    rows = [[*own[:section], str(n), *own[section + 1 :]] for n in (1, 2)]
    rows[1][animal] += "b"
    first, second = (row[animal] for row in rows)
    lines = [line for line in lines if not line.startswith(slide_id)] + [",".join(row) for row in rows]
    many.samples_path.write_text("\n".join(lines) + "\n")
    person = sit_down(many.path)
    person.panel.open_study(many.path, slide_id)
    part, desk = person.panel.counts, person.desk
    next(head for head in part.findChildren(QToolButton) if head.text() == "Sections").click()
    left, right = desk.tissue.sections
    x, y = left.outline.representative_point().coords[0]
    person.viewer.scene.camera.center = (y * desk.pixel_size.mpp_y, x * desk.pixel_size.mpp_x)
    person.viewer.scene.camera.zoom = 2.0
    part._sections._reason.setCurrentText("pen")
    part._sections._cut_out()
    for corner in ((x - 20, y - 20), (x + 20, y - 20), (x + 20, y + 20), (x - 20, y + 20)):
        person.click(*corner)
    person.press("Enter")
    cut = desk.tissue.sections[1]
    assert (cut.included, cut.reason) == (False, "pen"), person.panel._message.text()
    assert cut.outline.area == pytest.approx(1600, rel=0.1)
    assert desk.tissue.sections[0].area_mm2 == pytest.approx(left.area_mm2 - cut.area_mm2, abs=2e-5)

    def on(number, do):
        part.show_of(desk)
        part._sections._table.clearSelection()
        part._sections._table.selectRow(number)
        do()
        part.show_of(desk)

    def give(owner):
        part._sections._owner.setCurrentIndex(owner)
        part._sections._assign()

    on(0, lambda: part._sections._include(False))
    assert "2 rows" in part._why.text(), "one piece is left for two animals"
    on(0, lambda: part._sections._include(True))
    on(0, lambda: give(1))
    on(2, lambda: give(0))
    assert not part._why.text()
    words = [word for word in person.viewer.layers["sections"].features["label"] if word]
    assert words == [f"1: {second} L", "1_x1: not counted, pen", f"2: {first} L"]
    person.press("Control-Z")
    assert desk.tissue.sections[2].animal == second
    person.press("Control-Shift-Z")
    counts = desk.numbers.counts()
    person.panel.close_study()
    written = count_study(many)
    assert counts.section.equals(written.section)
    area = written.section.drop_duplicates("section").set_index("section")["area_mm2"]
    assert area[f"{slide_id}_2"] == pytest.approx(left.area_mm2 - cut.area_mm2, abs=1e-4)
    assert area[f"{slide_id}_1"] == pytest.approx(right.area_mm2, abs=1e-4)


def test_the_list_of_sections_is_never_behind(many, sit_down):
    """A second click at once, the list of another slide, a layer that a person deleted."""
    person = sit_down(many.path)
    sections = person.panel.counts._sections
    sections.show_of(person.desk)
    sections._table.selectAll()
    sections._merge()
    sections._merge()
    assert "Merging needs at least two" in person.panel._message.text()
    assert len(person.desk.tissue.sections) == 1
    person.press(".")
    sections._include(False)  # before the list is filled anew
    assert all(s.included for s in person.desk.tissue.sections)
    person.viewer.layers.remove("sections")
    sections.show_of(person.desk)
    sections._table.selectRow(0)
    sections._include(False)
    assert "sections" in person.viewer.layers
    assert person.viewer.layers["sections"].visible
    widths = person.viewer.layers["sections"].edge_width
    assert widths[0] > widths[-1], "the selected one is still drawn thick"


def outline_now(person):
    return person.desk.session[person.desk.walk.current].outline


def test_the_brush_adds_and_takes_with_the_mouse(study, sit_down):
    person = sit_down(study.path)
    one = max(person.desk.follicles, key=lambda f: f.outline.area)
    person.desk.walk.go_to(one.id)
    person.panel.reviewer.show()
    x, y = one.outline.centroid.coords[0]
    _, top, right, _ = one.outline.bounds
    centre = tuple(person.viewer.scene.camera.center)
    person.press("B")
    person.drag((x, y), ((x + right) / 2, y), (right + 8, y))
    wider = outline_now(person)
    assert wider.bounds[2] > right + 5
    assert tuple(person.viewer.scene.camera.center) == centre, "the view does not move with the brush"
    person.drag((x, top - 30), (x, top + 6))
    assert outline_now(person).area < wider.area
    person.press("S", "Control-Z", "Control-Z")
    assert outline_now(person).equals_exact(one.outline, 0.1)
    assert "Undone: outline changed" in person.panel._message.text()
    person.press("T")
    assert outline_now(person).area == pytest.approx(one.outline.area, rel=0.1)
    assert person.panel._judging._history.text().startswith("outline changed")


def test_stay_here_stays_after_a_decision_and_goes_on_drawing(study, sit_down):
    person = sit_down(study.path)
    first = person.desk.walk.current
    person.press("Y", "5")
    assert person.desk.walk.current == first
    assert person.desk.session[first].staged_by_person
    before = len(person.desk.follicles)
    section = study.sections(person.desk.slide_id)[0].outline
    x, y = section.representative_point().coords[0]
    size = person.desk.pixel_size
    person.viewer.scene.camera.center = (y * size.mpp_y, x * size.mpp_x)
    person.press("Shift-P")
    for shift in (-25, 25):
        person.drag(*Point(x + shift, y).buffer(9).exterior.coords)
    assert len(person.desk.follicles) == before + 2, person.panel._message.text()
    person.press("S", "Y", "N")
    now = person.desk.walk.current
    person.press("5")
    assert person.desk.walk.current != now


def test_lines_and_labels_keep_their_size_at_every_zoom(study, sit_down):
    person = sit_down(study.path)
    reviewer, camera = person.panel.reviewer, person.viewer.scene.camera
    widths = []
    for zoom in (0.2, 1.0, 4.0):
        camera.zoom = zoom
        widths.append(reviewer.layer.edge_width[0] * zoom * person.desk.pixel_size.mpp)
    assert widths == pytest.approx([2.0] * 3, rel=0.21)
    camera.zoom = 0.05
    few = len(reviewer._labels.data)
    camera.zoom = 3.0
    assert 1 <= few < len(reviewer._labels.data)
    assert person.viewer.canvas.overlays.scale_bar.visible


def test_the_pointer_shows_stage_and_reasons(study, sit_down):
    person = sit_down(study.path)
    said = []
    person.panel.reviewer.pointer.hover = said.append
    one = person.desk.session[person.desk.walk.current]
    person.move(*one.outline.representative_point().coords[0])
    assert one.stage.label in said[-1]
    assert one.reasons[0] in said[-1]
    left, top, _, _ = one.outline.bounds
    person.move(left - 20, top - 20)
    assert said[-1] == ""


def test_a_tick_says_that_a_person_staged_it(study, sit_down):
    person = sit_down(study.path)
    one = person.desk.walk.current

    def label():
        return label_of(person.desk.session[one])

    person.press("Q")
    assert not label().endswith("✓"), "atretic says nothing of the stage"
    person.press("Enter")
    assert label().endswith("✓")


def test_progress_of_the_study_and_of_each_slide(study, sit_down, qtbot):
    person = sit_down(study.path)
    person.press("5")
    totals = {slide: progress(study.content(slide).included) for slide in study.slide_ids()}
    both = sum(p.total for p in totals.values())
    label = person.panel._judging._progress
    qtbot.waitUntil(lambda: f"study: 1 of {both}, 2 slides left" in label.text())
    first, second = study.slide_ids()
    slides = person.panel._slides
    assert slides.itemText(slides.findData(first)) == f"{first}   1 / {totals[first].total}"
    assert slides.itemText(slides.findData(second)) == f"{second}   0 / {totals[second].total}"


def test_missing_images_are_found_in_another_folder(cohort, tmp_path, sit_down):
    sources = list_slides(cohort)[:2]
    (tmp_path / "slides").mkdir()
    for source in sources:
        shutil.copy(source.path, tmp_path / "slides")
    study = Study.create(tmp_path / "elsewhere" / "study", Config())
    run_batch(study, list_slides(tmp_path / "slides"), Config())
    (tmp_path / "new" / "deep").mkdir(parents=True)
    shutil.move(tmp_path / "slides", tmp_path / "new" / "deep" / "slides")
    person = sit_down(study.path)
    assert "no longer there" in person.panel._message.text()
    assert person.panel._locating.isVisible()
    person.panel.find_images(tmp_path / "new")
    assert "Images found: 2." in person.panel._message.text()
    assert not person.panel._locating.isVisible()
    assert person.viewer.layers[0].name == f"{sources[0].slide_id}.ome.tif"
    assert not study.missing()


def test_the_gallery_of_the_study_shows_and_decides_on_other_slides(study, sit_down, qtbot):
    person = sit_down(study.path)
    person.press("G")
    gallery = person.panel.gallery
    gallery._scope.setCurrentText("study")
    expected = sum(len(study.follicles(slide)) for slide in study.slide_ids())
    qtbot.waitUntil(lambda: gallery._list.count() == expected and not gallery._waiting)
    other = study.slide_ids()[1]
    items = [gallery._list.item(i) for i in range(gallery._list.count())]
    there = next(item for item in items if item.data(Qt.ItemDataRole.UserRole)[0] == other)
    one = there.data(Qt.ItemDataRole.UserRole)[1]
    before = next(f for f in study.follicles(other) if f.id == one)
    here = person.desk.follicles
    wanted = Stage.ANTRAL if before.stage is not Stage.ANTRAL else Stage.SECONDARY
    there.setSelected(True)
    gallery._act(next(action for action in ACTIONS if action.stage is wanted))
    assert next(f for f in study.follicles(other) if f.id == one).stage is wanted
    assert there.text().startswith(wanted.label)
    assert person.desk.follicles == here, "nothing happened on the open slide"
    gallery._act(next(action for action in ACTIONS if action.label == "Undo"))
    assert next(f for f in study.follicles(other) if f.id == one).stage is before.stage
    gallery._look_at(there)
    assert (person.desk.slide_id, person.desk.walk.current) == (other, one)


def test_pictures_of_one_stage_have_one_scale(study, sit_down, qtbot):
    person = sit_down(study.path)
    person.press("G")
    gallery = person.panel.gallery
    stage = person.desk.follicles[0].stage
    sides = []
    crop = person.desk.crop
    person.desk.crop = lambda *args, **options: (sides.append(options["side_um"]), crop(*args, **options))[1]
    gallery._stage.setCurrentText(stage.label)
    qtbot.waitUntil(lambda: not gallery._waiting)
    largest = max(f.measurements.diameter_um for f in person.desk.follicles if f.stage is stage)
    assert sides == pytest.approx([max(1.3 * largest, 60)] * len(sides))
    assert "µm wide" in gallery._scale.text()


def test_a_read_only_study_can_be_viewed(study, sit_down, monkeypatch):
    def refuse(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(study.path))

    files = {path: path.read_bytes() for path in study.path.rglob("*") if path.is_file()}
    monkeypatch.setattr("follicle_stager.corrections.log.FileLock.acquire", refuse)
    person = sit_down(study.path)
    assert "read-only here" in person.panel._message.text()
    before = person.desk.follicles
    assert before
    person.press("N", "5")
    assert "nothing was changed" in person.panel._message.text()
    assert person.desk.follicles == before
    person.press(".")
    assert person.desk.slide_id == study.slide_ids()[1]
    person.panel.close_study()
    assert {path: path.read_bytes() for path in study.path.rglob("*") if path.is_file()} == files


def test_a_layer_that_is_open_is_taken_as_the_slide(cohort, tmp_path, sit_down):
    path = tmp_path / "open.ome.tif"
    shutil.copy(list_slides(cohort)[0].path, path)
    person = sit_down()
    person.press_button("Open layer")
    assert "Select an image" in person.panel._message.text()
    (layer,) = person.viewer.open(str(path), plugin="follicle-stager")
    person.viewer.layers.selection.active = layer
    person.press_button("Open layer")
    person.wait_for_work()
    assert person.desk.source == path
    assert not layer.visible
    person.panel.close_study()
    person.viewer.add_image(np.zeros((50, 50, 3), np.uint8), rgb=True, name="made here")
    person.press_button("Open layer")
    assert "does not come from a file" in person.panel._message.text()


def test_the_map_shows_the_slide_and_moves_the_view(study, sit_down, qtbot):
    person = sit_down(study.path)
    minimap, size = person.panel.minimap, person.desk.pixel_size
    place = minimap.place
    assert place.width() / place.height() == pytest.approx(person.desk.slide.width / person.desk.slide.height)
    at = QPoint(round(place.left() + 0.25 * place.width()), round(place.top() + 0.75 * place.height()))
    QTest.mouseClick(minimap, Qt.MouseButton.LeftButton, pos=at)
    y_um, x_um = person.viewer.scene.camera.center[-2:]
    assert x_um / size.mpp_x == pytest.approx(0.25 * person.desk.slide.width, rel=0.06)
    assert y_um / size.mpp_y == pytest.approx(0.75 * person.desk.slide.height, rel=0.06)
    frame = minimap.grab().toImage()
    colors = {frame.pixelColor(x, y).name() for x in range(frame.width()) for y in range(frame.height())}
    assert "#145adc" in colors, "the frame is drawn"
    assert len(colors) > 50, "on the picture of the slide"
