"""The queue over all slides of a study, at the window."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

pytest.importorskip("napari")

from follicle_stager_napari import panel as panel_module
from follicle_stager_napari import reviewer as reviewer_module
from follicle_stager_napari.layers import vertices

from follicle_stager.corrections.log import read_edits
from follicle_stager.review import Order
from follicle_stager.stages import Status


def shown(person):
    """Slide and follicle in view; what the layers show must be of this slide."""
    reviewer, desk = person.panel.reviewer, person.desk
    drawn = set(reviewer.layer.features["id"])
    assert drawn == {f.id for f in desk.follicles}
    assert not reviewer.layer.face_color[:, 3].any(), "the tissue is seen"
    row = list(reviewer.layer.features["id"]).index(desk.walk.current)
    assert set(reviewer.layer.selected_data) == {row}
    np.testing.assert_allclose(reviewer.layer.data[row], vertices(desk.session[desk.walk.current].outline), atol=0.02)
    image = next(layer for layer in person.viewer.layers if layer.name.startswith((desk.slide_id, "slide ")))
    assert np.asarray(image.data[0]).shape[:2] == (desk.slide.height, desk.slide.width)
    np.testing.assert_array_equal(np.asarray(image.data[0][:50, :50]), desk.slide.read_region(0, 0, 50, 50))
    x, y = desk.session[desk.walk.current].outline.centroid.coords[0]
    at, middle = person.at(x, y), person.canvas.rect().center()
    assert abs(at.x() - middle.x()) < 40
    assert abs(at.y() - middle.y()) < 40
    return desk.slide_id, desk.walk.current


def test_a_blinded_review_goes_through_all_slides(study, sit_down, qtbot):
    person = sit_down()
    person.panel.open_study(study.path, blind=True)
    person.wait_for_work()
    every = {(s, f.id) for s in study.slide_ids() for f in study.content(s).included}
    assert person.panel._judging._scope.currentText() == "study"
    seen = []
    while person.desk.walk.current is not None:
        seen.append(shown(person))
        person.press("4")
    assert set(seen) == every
    assert len(seen) == len(every)
    assert seen != sorted(seen)
    person.press("N")
    assert "no more follicles" in person.panel._message.text()
    person.press("Control-Z", "Control-Z")
    assert shown(person) == seen[-2]
    assert person.desk.session[seen[-2][1]].status == Status.PREDICTED
    person.press("5", "6")
    person.panel.close_study()
    for slide_id in study.slide_ids():
        edits = [edit for edit in read_edits(study.slide_folder(slide_id)) if edit.changes]
        assert edits
        assert all(edit.blind for edit in edits)
        with study.review(slide_id, author="Bea") as session:
            assert all(f.staged_by_person for f in session.follicles)


def test_a_tour_is_chosen_and_left_again(study, sit_down):
    person = sit_down(study.path)
    scope = person.panel._judging._scope
    person.choose(scope, "study")
    person.wait_for_work()
    assert person.desk.tour is not None
    before = shown(person)
    while shown(person)[0] == before[0]:
        person.press("Enter")
    person.press("Shift-P")
    x, y = person.desk.session[person.desk.walk.current].outline.centroid.coords[0]
    person.press("S", "H", "H", ".", ",")
    person.press("N")
    shown(person)
    person.choose(scope, "this slide")
    assert person.desk.tour is None
    with study.review(before[0], author="Bea"):
        pass  # the slide that was left is free again


def test_of_many_follicles_those_near_the_view_are_drawn(study, sit_down, monkeypatch):
    monkeypatch.setattr(reviewer_module, "_MANY", 2)
    monkeypatch.setattr(reviewer_module, "_AROUND", 0.0)
    person = sit_down(study.path)
    reviewer, camera = person.panel.reviewer, person.viewer.scene.camera

    def drawn():
        return set(reviewer.layer.features.get("id", ()))  # napari forgets the columns where nothing is drawn

    def in_view():
        return {f.id for f in person.desk.follicles if f.outline.intersects(reviewer.in_view())}

    assert person.desk.walk.current in drawn()
    assert drawn() == in_view() != {f.id for f in person.desk.follicles}
    for zoom, center in ((0.05, (300, 300)), (3.0, (500, 200)), (1.0, (200, 600)), (0.05, (300, 300))):
        camera.center = center
        camera.zoom = zoom
        assert drawn() >= in_view()
    assert drawn() == {f.id for f in person.desk.follicles}
    camera.zoom = 3.0
    assert drawn() == in_view(), "those far away would make each step slow"
    camera.zoom = 0.05
    while person.desk.walk.current is not None:
        one = person.desk.walk.current
        assert one in drawn()
        person.press("4")
        assert person.desk.session[one].staged_by_person
    person.press("Control-Z")
    assert person.desk.walk.current in drawn()
    assert len(reviewer.layer.features) == len(reviewer.layer.data)


def test_a_slide_that_cannot_be_decoded_can_be_staged_without_its_image(study, sit_down, qtbot):
    """Also on a tour: the next key is for the follicle that the desk has, and no name is shown."""
    broken, other = study.slide_ids()
    path = study.source(broken)
    copy = study.path.parent / path.name
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for page in (level.keyframe for level in file.series[0].levels):
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                content[offset : offset + count] = b"no pixels " * (count // 10) + b"x" * (count % 10)
    copy.write_bytes(content)
    study.moved_to(broken, copy)
    person = sit_down()
    person.panel.open_study(study.path, blind=True)
    person.wait_for_work()
    every = sum(len(study.content(s).included) for s in study.slide_ids())
    done, messages = set(), set()
    while person.desk.walk.current is not None:
        reviewer, one = person.panel.reviewer, person.desk.walk.current
        assert set(reviewer.layer.features["id"]) == {f.id for f in person.desk.follicles}
        chosen = [reviewer.layer.features["id"][row] for row in reviewer.layer.selected_data]
        assert chosen == [one]
        messages.add(person.panel._message.text())
        done.add((person.desk.slide_id, one))
        person.press("4")
    assert any("cannot be read" in said for said in messages)
    assert not any(broken in said for said in messages)
    assert len(done) == every
    assert {slide_id for slide_id, _ in done} == {broken, other}


def test_the_selection_is_seen_after_panning(study, sit_down, monkeypatch):
    monkeypatch.setattr(reviewer_module, "_MANY", 2)
    monkeypatch.setattr(reviewer_module, "_AROUND", 0.0)
    person = sit_down(study.path)
    reviewer = person.panel.reviewer
    ids = [f.id for f in person.desk.follicles[:3]]
    person.desk.walk.selected = tuple(ids)
    person.viewer.scene.camera.zoom = 0.05
    rows = [reviewer.layer.features["id"][row] for row in reviewer.layer.selected_data]
    assert sorted(rows) == sorted(ids)


def test_stop_while_the_slides_are_read_says_what_comes(study, sit_down, qtbot, monkeypatch):
    def wait(study, slide_ids, order, only, tell):
        while True:
            tell(0, 2)

    monkeypatch.setattr(panel_module, "Tour", wait)
    person = sit_down()
    person.panel.open_study(study.path, blind=True)
    assert person.panel.work.busy
    person.panel.work.stop()
    person.wait_for_work()
    assert person.panel._judging._scope.currentText() == "this slide"
    assert person.desk.walk.order == Order.RANDOM
