"""Reviewing a study in napari with real keys: what is decided is on disk, and the counts are those of the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from follicle_stager_napari.keymap import ACTIONS
from follicle_stager_napari.layers import outline_of, vertices
from shapely.geometry import Point
from studies import count_study

from follicle_stager.stages import Stage, Status


def test_keys_decide_and_undo_and_everything_is_there_after_a_restart(study, sit_down):
    person = sit_down(study.path)
    panel, press = person.panel, person.press
    desk = panel.reviewer.desk
    first = desk.walk.current
    press("5")
    assert (desk.session[first].stage, desk.session[first].status) == (Stage.EARLY_ANTRAL, Status.CORRECTED)
    second = desk.walk.current
    assert second != first, "it goes on by itself"
    press("Q", "W", "Enter", "0")
    assert {f.status for f in desk.follicles} >= {Status.CORRECTED, Status.REJECTED}
    press("Control-Z", "Control-Z")
    assert all(f.status != Status.REJECTED for f in desk.follicles)
    press("Control-Shift-Z")
    before = desk.follicles
    layer = panel.reviewer.layer
    np.testing.assert_allclose(
        layer.edge_color[layer.features["id"].tolist().index(first), :3],
        np.array(Stage.EARLY_ANTRAL.color) / 255,
        atol=0.01,
    )
    panel.close_study()
    person = sit_down(study.path)
    panel, press = person.panel, person.press
    assert panel.reviewer.desk.follicles == before
    press("Control-Z")
    assert panel.reviewer.desk.walk.current is not None
    panel._count()
    shown = panel.reviewer.desk.numbers.counts().section
    panel.close_study()
    assert shown.equals(count_study(study).section)


def test_the_next_slide_by_key_and_what_is_said_at_the_end(study, sit_down):
    person = sit_down(study.path)
    viewer, panel, press = person.viewer, person.panel, person.press
    assert panel.reviewer.desk.slide_id == study.slide_ids()[0]
    press(".")
    assert panel.reviewer.desk.slide_id == study.slide_ids()[1]
    assert [layer.name for layer in viewer.layers] == [
        f"{study.slide_ids()[1]}.ome.tif",
        "sections",
        "stages",
        "follicles",
    ]
    press(".")
    assert "last slide" in panel._message.text()
    press(",", "N", "Shift-N")
    assert panel.reviewer.desk.slide_id == study.slide_ids()[0]


def test_what_is_drawn_moved_and_deleted_with_the_mouse_goes_to_the_log(study, sit_down):
    panel = sit_down(study.path).panel
    desk, layer = panel.reviewer.desk, panel.reviewer.layer
    one = max(desk.follicles, key=lambda f: f.outline.area)
    row = [f.id for f in desk.follicles].index(one.id)
    x, y = one.outline.centroid.coords[0]
    layer.add_polygons([vertices(Point(x, y).buffer(20))])
    added = desk.follicles[-1]
    assert added.status == Status.ADDED
    assert added.outline.area == pytest.approx(Point(x, y).buffer(20).area, rel=0.01)
    assert added.reasons
    shapes = list(layer.data)
    shapes[row] = vertices(one.outline.buffer(4))
    layer.data = shapes
    layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))
    assert desk.session[one.id].outline.equals(one.outline), "a slip of the mouse is no correction"
    layer.mode = "direct"
    layer.data = shapes
    layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))
    assert desk.session[one.id].status == Status.CORRECTED
    assert desk.session[one.id].outline.area > one.outline.area
    layer.selected_data = {row}
    layer.remove_selected()
    assert desk.session[one.id].status == Status.REJECTED
    assert len(layer.data) == len(desk.follicles), "it is kept, and can come back"
    desk.undo()
    assert desk.session[one.id].status == Status.CORRECTED


def test_several_that_are_selected_are_decided_at_once(study, sit_down):
    person = sit_down(study.path)
    panel, press = person.panel, person.press
    desk, layer = panel.reviewer.desk, panel.reviewer.layer
    layer.selected_data = set(range(len(desk.follicles)))
    assert len(desk.walk.selected) == len(desk.follicles)
    press("6")
    assert {f.stage for f in desk.follicles} == {Stage.ANTRAL}
    press("Control-Z")
    assert {f.status for f in desk.follicles} == {Status.PREDICTED}


def test_each_key_is_given_once():
    keys = [action.key for action in ACTIONS]
    assert len(keys) == len(set(keys))


def test_outlines_come_back_as_they_were_drawn():
    ring = Point(30, 40).buffer(12)
    assert outline_of(vertices(ring)).symmetric_difference(ring).area < 0.01 * ring.area


def test_the_page_names_every_key():
    page = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
    for action in ACTIONS:
        assert f"| `{action.key.replace('Control', 'Ctrl')}` | {action.label} | {action.tip} |" in page


def test_the_page_of_keys_and_the_hints_say_what_keys_do_here(study, sit_down):
    person = sit_down(study.path)
    page = person.panel._keys
    person.press("F1")
    assert page.isVisible()
    person.press("F1")
    assert not page.isVisible()
    for key in ("P", "S"):
        assert person.viewer.help == "Enter: accept, Ctrl-Z: undo, N: next, F1: keys"
        person.press(key)
