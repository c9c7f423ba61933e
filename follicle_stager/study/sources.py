"""The slides of a study: which files they are and what each is called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from follicle_stager.errors import StudyError
from follicle_stager.slides import SLIDE_SUFFIXES, is_slide

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SlideSource:
    """A slide's file and its name in the study.

    ``slide_id`` is the file's name without ending; where two files differ in their ending only, the ending is
    part of it.
    """

    slide_id: str
    path: Path

    def is_called(self, name: str) -> bool:
        """Whether a sample sheet may mean this slide by ``name``."""
        return name in (self.slide_id, self.path.name)


def list_slides(path: Path) -> list[SlideSource]:
    """Slides of a folder (not of its subfolders), or a single one.

    Parameters
    ----------
    path
        A folder, or a slide.

    Returns
    -------
    list of SlideSource
        Sorted by name.

    Raises
    ------
    StudyError
        If the path is missing, or the folder holds no slide.
    """
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; check the path.")
    if path.is_file() or path.suffix.lower() == ".zarr":
        return [SlideSource(slide_name(path), path)]
    files = sorted(p for p in path.iterdir() if is_slide(p))
    if not files:
        raise StudyError(f"{path}: no slide in this folder; slides end in {' '.join(SLIDE_SUFFIXES)}")
    stems = Counter(slide_name(p).lower() for p in files)
    return [
        SlideSource(slide_name(p) if stems[slide_name(p).lower()] == 1 else p.name.replace(".", "_"), p) for p in files
    ]


def slide_name(name: str | Path) -> str:
    """A slide's name in the study from that of its file, ``a.ome.tif`` -> ``a``.

    A name that has no slide's ending already is left as it is.
    """
    text = str(getattr(name, "name", name))
    for suffix in sorted(SLIDE_SUFFIXES, key=len, reverse=True):
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
            break
    return text.removesuffix(".ome")
