"""Where the picture of a slide is now: studies and slides are moved, together or alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.slides import is_slide
from follicle_stager.study.runs import content_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.study.runs import Run


def relative_path(source: Path, study: Path) -> str:
    """Path of a picture relative to the study's folder, with ``/``; empty if they are on different drives."""
    try:
        return Path(os.path.relpath(source.resolve(), study.resolve())).as_posix()
    except ValueError:
        return ""


def find_picture(run: Run, study: Path, folders: Iterable[Path] = ()) -> Path:
    """Find the picture of a slide.

    The order is: where it was relative to the study, where it was on the computer, in the study's folder or beside it,
    and in ``folders``. Only the same picture counts, by its content.

    Parameters
    ----------
    run
        The slide's run.
    study
        Folder of the study.
    folders
        Other folders to look in, as those of other slides of the study.

    Returns
    -------
    Path
        Where it is. If it is nowhere: where it was when it was searched.
    """
    recorded = study / run.source
    name = recorded.name
    nearby = [Path(os.path.normpath(study.resolve() / run.source_in_study))] if run.source_in_study else []
    others = [folder / name for folder in (study, study.parent, *folders)]
    for place in (*nearby, recorded, *others):
        if place == recorded and place.exists():
            return place
        if _is_picture(place, run):
            return place
    return recorded


def _is_picture(path: Path, run: Run) -> bool:
    if path.is_dir():  # an OME-Zarr; its hash is of times of files, which change when it is copied
        return is_slide(path)
    return path.is_file() and run.content in ("", content_of(path))
