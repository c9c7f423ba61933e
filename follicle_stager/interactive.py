"""Opens the napari window of a study, where napari is installed and there is a screen."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from follicle_stager.errors import UserError, how_to_install


def review_study(
    study: str | Path, slide: str = "", *, blind: bool | None = None, audit: bool = False, hidden: bool = True
) -> None:
    """Open a study in napari to correct it, or to audit it; returns when the window is closed.

    Parameters
    ----------
    study
        Folder of the study.
    slide
        Name of the slide to open first; the first one if it is empty.
    blind
        Whether the names of slides, animals and groups are hidden; by default as when the study was last reviewed. An
        audit is blind by default.
    audit
        Whether to visit the fields of the planned audit instead.
    hidden
        Whether the claims of an audited field are hidden until it is marked.

    Raises
    ------
    UserError
        If napari is not installed, there is no screen, or the study or slide does not exist.
    """
    if importlib.util.find_spec("napari") is None:
        raise UserError(f"napari is not installed: {how_to_install('napari')}.")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & set(os.environ):
        raise UserError("There is no screen to open napari on: log in with one, or run it under Xvfb.")
    if audit:
        window = importlib.import_module("follicle_stager_napari.auditing")
        window.audit(Path(study), blind=blind is not False, hidden=hidden)
    else:
        importlib.import_module("follicle_stager_napari.panel").review(Path(study), slide, blind=blind)
