"""Find the image of a slide after the study or the slides were moved."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.files import as_path, is_remote
from follicle_stager.slides import is_slide
from follicle_stager.study.runs import content_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.study.runs import Run


def relative_path(source: Path, study: Path) -> str:
    """Path of an image relative to the study folder, with ``/``; empty for an address, or on another drive."""
    if is_remote(source):
        return ""
    try:
        return Path(os.path.relpath(source.resolve(), study.resolve())).as_posix()
    except ValueError:
        return ""


def find_picture(run: Run, study: Path, folders: Iterable[Path] = ()) -> Path:
    """Find the image of a slide.

    It is searched at its path relative to the study, at its absolute path, in the study folder, next to it, in a folder
    of the same name next to it, and in ``folders``. Only an image with the same content is accepted, except at the
    absolute path.

    Parameters
    ----------
    run
        Run of the slide.
    study
        Folder of the study.
    folders
        Other folders to search, such as those of other slides of the study.

    Returns
    -------
    Path
        Current path; if it is not found, the path that it had during the search.
    """
    if "://" in run.source:
        return as_path(run.source)
    recorded = study / run.source
    # The path may be of another system: C:\\slides\\a.tif on Linux.
    *_, folder, name = ["", "", *re.split(r"[\\/]", run.source)]
    nearby = [Path(os.path.normpath(study.resolve() / run.source_in_study))] if run.source_in_study else []
    others = [place / name for place in (study, study.parent, study.parent / folder, *folders)]
    for place in (*nearby, recorded, *others):
        if place == recorded and place.exists():
            return place
        if _is_picture(place, run):
            return place
    return recorded


def _is_picture(path: Path, run: Run) -> bool:
    if path.is_dir():  # an OME-Zarr; its hash contains file times, which change when it is copied
        return is_slide(path)
    return path.is_file() and run.content in ("", content_of(path))
