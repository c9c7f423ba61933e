"""On a full disk the slide that is shown stays the one that is open, and the same key works once there is room."""

from __future__ import annotations

import errno
import shutil
import sys
from contextlib import contextmanager

import pytest

pytest.importorskip("napari")

from follicle_stager.annotations import read_geojson
from follicle_stager.corrections.log import read_edits
from follicle_stager.stages import Stage
from follicle_stager.study import Study


@contextmanager
def full_disk(monkeypatch, what, of="follicle_stager.corrections.standing"):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[of], what, full)
        yield


def shown(person):
    return person.viewer.layers[0].name


@pytest.mark.parametrize("what", ["write_geojson", "write_sections", "fingerprint"])
@pytest.mark.parametrize("way", ["key", "list"])
def test_the_next_slide_on_a_full_disk(study, sit_down, monkeypatch, what, way):
    person = sit_down(study.path)
    slide, other = study.slide_ids()
    one = person.desk.walk.current
    person.press("5")

    def go_on():
        if way == "key":
            person.press(".")
        else:
            slides = person.panel._slides
            person.choose(slides, slides.itemText(slides.findData(other)))

    with full_disk(monkeypatch, what):
        go_on()
        message = person.panel._message.text()
        assert "disk is full" in message
        assert "Free some space and press the same key or button again" in message
        assert person.desk.slide_id == person.panel._slides.currentData() == slide
        assert shown(person).startswith(slide)
        assert all(layer.visible for layer in person.viewer.layers if layer.name != "sections")
        # The work goes on here, and the log has it.
        assert person.desk.session[one].stage == Stage.EARLY_ANTRAL
        two = person.desk.walk.current
        person.press("6")
        assert person.desk.session[two].stage == Stage.ANTRAL
        assert {f.id for edit in read_edits(study.slide_folder(slide)) for f in edit.after} >= {one, two}
    study.review(other, author="Grace").close()  # the next slide is nobody's
    go_on()
    assert person.desk.slide_id == other
    assert shown(person).startswith(other)
    stages = {f.id: f.stage for f in read_geojson(study.slide_folder(slide) / "follicles.geojson")}
    assert (stages[one], stages[two]) == (Stage.EARLY_ANTRAL, Stage.ANTRAL)


def test_the_log_of_the_next_slide_cannot_be_written(study, sit_down, monkeypatch):
    person = sit_down(study.path)
    slide, other = study.slide_ids()
    sections = study.slide_folder(other) / "sections.geojson"
    sections.write_text(sections.read_text().replace('"yes"', '"no"'))  # by hand: it is taken in when it is opened
    with full_disk(monkeypatch, "fsync", "os"):
        person.press(".")
        assert "disk is full" in person.panel._message.text()
        assert person.desk.slide_id == slide
        assert shown(person).startswith(slide)
    person.press(".")
    assert person.desk.slide_id == other
    person.panel.close_study()


@pytest.mark.parametrize("do", ["study", "search"])
def test_neither_another_study_nor_a_search_leaves_a_slide_that_cannot_be_saved(
    study, staged, tmp_path, sit_down, monkeypatch, do
):
    other = Study(shutil.copytree(staged, tmp_path / "other"))
    person = sit_down(study.path)
    one = person.desk.walk.current
    person.press("5")
    with full_disk(monkeypatch, "write_sections"):
        if do == "study":
            person.panel._try(lambda: person.panel.open_study(other.path))
        else:
            person.press_button("Whole slide")
        assert "disk is full" in person.panel._message.text()
        assert person.desk.study == study
        assert not person.panel.work.busy
        assert len(person.viewer.layers) == 4
        two = person.desk.walk.current
        person.press("6")
    assert [person.desk.session[i].stage for i in (one, two)] == [Stage.EARLY_ANTRAL, Stage.ANTRAL]


def test_what_another_program_wrote_is_drawn_when_the_slide_is_saved(study, sit_down):
    """Else the layer and the session have different follicles, and the next key is for another one."""
    person = sit_down(study.path)
    path = study.slide_folder(person.desk.slide_id) / "follicles.geojson"
    person.desk.save()
    first = person.desk.follicles[0]
    text = path.read_text(encoding="utf-8")
    assert first.stage.label in text
    path.write_text(text.replace(f'"{first.stage.label}"', '"Antral"'), encoding="utf-8")
    person.desk.save()
    assert person.desk.session[first.id].stage == Stage.ANTRAL
    features = person.panel.reviewer.layer.features
    assert features.set_index("id")["stage"][first.id] == "Antral"
