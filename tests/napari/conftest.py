"""Skip where Qt cannot start: it would end the whole test run, not one test."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def _screen():
    code = "from qtpy.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"Qt cannot open a window here: {done.stderr.strip()[-200:]}")


@pytest.fixture
def study(staged, tmp_path):
    from follicle_stager.study import Study

    return Study(shutil.copytree(staged, tmp_path / "study"))


@pytest.fixture
def sit_down(make_napari_viewer, qtbot):
    """A function that opens a window with the panel, and a study in it; gives a `Person`."""
    from follicle_stager_napari.panel import ReviewPanel
    from person import Person

    panels = []

    def sit(path=None):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1500, 1000)
        panel = ReviewPanel(viewer)
        panels.append(panel)
        viewer.window.add_dock_widget(panel)
        if path is not None:
            panel.open_study(path)
        person = Person(viewer, panel, qtbot)
        person.canvas.window().activateWindow()
        qtbot.waitActive(person.canvas.window())
        qtbot.wait(50)
        return person

    yield sit
    for panel in panels:
        panel.finish()
