"""No follicle is counted twice unnoticed: what is outlined already is selected, and what overlaps is said."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")

from follicle_stager_napari.layers import vertices
from shapely import affinity

from follicle_stager.stages import Status


def outlined(person):
    return [f for f in person.desk.follicles if f.status != Status.REJECTED]


def test_k_on_an_outline_selects_it(study, sit_down):
    person = sit_down(study.path)
    before = person.desk.follicles
    for one in before:
        at = one.outline.representative_point()
        person.desk.walk.go_to(one.id)
        person.panel.reviewer.show()
        person.desk.walk.let_go()
        person.move(at.x, at.y)
        person.press("K")
        assert person.desk.follicles == before
        assert person.desk.walk.current == one.id
        assert "already has an outline" in person.panel._message.text()


def test_k_where_a_follicle_was_rejected_brings_one_back(study, sit_down):
    person = sit_down(study.path)
    one = max(person.desk.follicles, key=lambda f: f.score)
    person.desk.walk.go_to(one.id)
    person.panel.reviewer.show()
    at = one.outline.representative_point()
    before = len(outlined(person))
    person.move(at.x, at.y)
    person.press("0")
    person.desk.walk.go_to(one.id)
    person.panel.reviewer.show()
    person.move(at.x, at.y)
    person.press("K")
    assert len(outlined(person)) == before
    person.press("K")
    assert len(outlined(person)) == before


def test_the_same_outline_is_drawn_once(study, sit_down):
    person = sit_down(study.path)
    one = person.desk.follicles[0]
    before = person.desk.follicles
    layer = person.panel.reviewer.layer
    layer.add_polygons([vertices(one.outline)])
    assert person.desk.follicles == before
    assert len(layer.data) == len(before)
    assert person.desk.walk.current == one.id
    assert "already has an outline" in person.panel._message.text()


def test_an_outline_over_another_is_said_at_once_in_the_queue_and_in_the_counts(study, sit_down, qtbot):
    person = sit_down(study.path)
    desk, panel = person.desk, person.panel
    one = max(desk.follicles, key=lambda f: f.outline.area)
    inside = affinity.scale(one.outline, 0.6, 0.6)
    panel.reviewer.layer.add_polygons([vertices(inside)])
    assert "Two outlines overlap now" in panel._message.text()
    assert panel._judging._what.text().startswith("It overlaps another outline")
    qtbot.waitUntil(lambda: f"{desk.slide_id}: 1 pair" in panel.counts._notes.text())
    x, y = inside.centroid.coords[0]
    assert f"({x:.0f}, {y:.0f})" in panel.counts._notes.text()
    drawn = desk.walk.current
    person.press("4")
    panel._judging.apply()
    assert desk.walk.current == one.id, "of the two, the one that nobody has judged comes first"
    assert panel._judging._what.text().startswith("It overlaps")
    desk.walk.go_to(drawn)
    person.press("0")
    assert not desk.walk.overlapping
    qtbot.waitUntil(lambda: "overlap" not in panel.counts._notes.text())
    panel._say("")
    person.press("Control-Z")
    assert set(desk.walk.overlapping) == {one.id, drawn}
    assert "Two outlines overlap now" in panel._message.text(), "also where it comes back"


def test_two_that_overlap_are_made_one(study, sit_down):
    """One of them is in view, which is enough."""
    person = sit_down(study.path)
    desk, layer = person.desk, person.panel.reviewer.layer
    one = max(desk.follicles, key=lambda f: f.outline.area)
    moved = affinity.translate(one.outline, one.outline.area**0.5 / 4)
    layer.add_polygons([vertices(moved)])
    assert desk.walk.overlapping
    person.press("J")
    assert not desk.walk.overlapping
    assert len(outlined(person)) == len(desk.session.predicted)


def test_a_rejected_one_that_comes_back_over_another_is_said(study, sit_down):
    person = sit_down(study.path)
    desk = person.desk
    one = desk.follicles[0]
    desk.walk.go_to(one.id)
    person.press("0")
    person.panel.reviewer.layer.add_polygons([vertices(one.outline)])
    assert not desk.walk.overlapping, "what is rejected is counted nowhere"
    desk.walk.go_to(one.id)
    person.press("4")
    assert len(desk.walk.overlapping) == 2
    assert "Two outlines overlap now" in person.panel._message.text()
