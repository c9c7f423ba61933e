"""The window is killed while somebody works at it: all that it showed is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("napari")

from crashes import kill_at_random

from follicle_stager.corrections import Kind
from follicle_stager.corrections.log import read_edits


def test_a_window_that_is_killed_keeps_what_it_showed(study):
    slide_id = study.slide_ids()[0]
    folder, run_id = study.slide_folder(slide_id), study.run(slide_id).run_id
    worker = [sys.executable, str(Path(__file__).with_name("window_worker.py")), str(study.path), slide_id]
    kill_at_random(folder, run_id, times=3, command=worker, first=5, within_s=1.0)
    kinds = {edit.kind for edit in read_edits(folder)}
    assert kinds >= {Kind.ADD, Kind.SPLIT, Kind.EXCLUDE_REGION, Kind.ASSIGN_SECTION}
