"""The table of slide formats feeds all who must know what can be read."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import follicle_stager_napari
import pytest
import yaml

from follicle_stager.doctor import parts
from follicle_stager.slides import FORMATS, SLIDE_SUFFIXES, is_slide, slide_name

ROOT = Path(__file__).parents[2]


def test_each_ending_is_of_one_format():
    assert len(set(SLIDE_SUFFIXES)) == len(SLIDE_SUFFIXES)
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in SLIDE_SUFFIXES)


def test_the_plugin_offers_each_ending_to_napari():
    manifest = Path(follicle_stager_napari.__file__).with_name("napari.yaml")
    readers = yaml.safe_load(manifest.read_text(encoding="utf-8"))["contributions"]["readers"]
    (reader,) = readers  # napari offers the plugin once for each path
    endings = [f"*{s}" for folders in (False, True) for f in FORMATS if f.is_folder == folders for s in f.suffixes]
    assert reader["filename_patterns"] == [*endings, "*.geojson", "*"], f"napari.yaml, filename_patterns: {endings}"
    assert reader["accepts_directories"], "an OME-Zarr and a study are folders"


@pytest.mark.parametrize("known", FORMATS, ids=lambda f: f.name)
def test_its_library_is_a_dependency_of_the_extra_that_is_said(known):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = project["optional-dependencies"][known.extra] if known.extra else project["dependencies"]
    assert any(re.match(rf"{re.escape(known.library)}\b", line) for line in needed)
    importlib.metadata.version(known.library)
    (row,) = [part for part in parts() if part.name == known.library]
    assert known.name in row.purpose


@pytest.mark.parametrize("suffix", SLIDE_SUFFIXES)
def test_a_file_of_each_ending_is_a_slide_and_has_a_name(suffix):
    assert is_slide(Path(f"a{suffix.upper()}"))
    assert slide_name(f"some.name{suffix}") == "some.name"


def test_the_documentation_names_each_ending():
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").lower()
    missing = [suffix for suffix in SLIDE_SUFFIXES if not re.search(rf"(?<!\w){suffix[1:]}(?!\w)", text)]
    assert not missing, f"docs/files.md, Slides: write {missing}"
