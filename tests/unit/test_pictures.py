"""A study finds its slides again, whatever was moved; and says which it does not find."""

from __future__ import annotations

import json
import shutil

import pytest

from follicle_stager.config import Config
from follicle_stager.errors import StudyError
from follicle_stager.pixel_size import PixelSize
from follicle_stager.records import SlideResult
from follicle_stager.stages import LADDER
from follicle_stager.study import Study


@pytest.fixture
def lab(tmp_path):
    """A folder with slides and their study."""
    folder = tmp_path / "lab"
    slides = folder / "slides"
    slides.mkdir(parents=True)
    study = Study.create(folder / "study", Config())
    for name in "ab":
        source = slides / f"{name}.tif"
        source.write_bytes(f"picture {name}".encode())
        study.slide_folder(name).mkdir(parents=True)
        result = SlideResult(name, PixelSize(0.5, 0.5, "test"), (), (), LADDER)
        study.save(result, study.request(source, Config()))
    return folder


def found(folder):
    """Slides that the study finds: name and what is in the file."""
    return {name: path.read_text() for name, path in Study.open(folder).sources().items() if path.exists()}


BOTH = {"a": "picture a", "b": "picture b"}


def test_a_study_that_was_moved_together_with_its_slides_finds_them(lab, tmp_path):
    lab.rename(tmp_path / "elsewhere")
    assert found(tmp_path / "elsewhere" / "study") == BOTH


def test_a_copy_of_both_has_slides_of_its_own(lab, tmp_path):
    shutil.copytree(lab, tmp_path / "copy")
    assert Study.open(tmp_path / "copy" / "study").source("a") == tmp_path / "copy" / "slides" / "a.tif"


def test_a_study_that_was_moved_alone_finds_slides_that_stayed(lab, tmp_path):
    shutil.move(lab / "study", tmp_path / "far" / "away")
    assert found(tmp_path / "far" / "away") == BOTH


@pytest.mark.parametrize("place", [".", "study"])
def test_slides_beside_the_study_or_in_it_are_found(lab, place):
    for path in (lab / "slides").iterdir():
        shutil.move(path, lab / place)
    assert found(lab / "study") == BOTH


def test_another_picture_of_the_same_name_is_none_of_them(lab):
    shutil.rmtree(lab / "slides")
    (lab / "a.tif").write_text("another picture")
    study = Study.open(lab / "study")
    assert study.missing().keys() == {"a", "b"}
    with pytest.raises(StudyError, match=r"a\.tif: the image of slide a is no longer there"):
        study.open_slide("a")


def test_where_one_slide_is_the_others_are_looked_for(lab, tmp_path):
    (lab / "slides").rename(tmp_path / "archive")
    study = Study.open(lab / "study")
    assert study.missing().keys() == {"a", "b"}
    study.moved_to("a", tmp_path / "archive" / "a.tif")
    assert found(lab / "study") == BOTH
    assert not study.missing()


def test_records_of_older_versions_are_read(lab):
    path = lab / "study" / "slides" / "a" / "run.json"
    lines = [line for line in path.read_text().splitlines() if "source_in_study" not in line]
    path.write_text("\n".join(lines))
    assert found(lab / "study") == BOTH


@pytest.mark.parametrize("source", ["/old/computer/slides/a.tif", r"C:\\Users\\Ada\\slides\\a.tif"])
def test_a_study_of_an_older_version_from_another_computer(lab, source):
    """Its record has no relative path; the folder of the slides still has its name, beside the study."""
    path = lab / "study" / "slides" / "a" / "run.json"
    record = json.loads(path.read_text()) | {"source": source}
    del record["source_in_study"]
    path.write_text(json.dumps(record))
    assert Study.open(lab / "study").source("a") == lab / "slides" / "a.tif"
