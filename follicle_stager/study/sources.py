"""The slides of a study: their files, their names, and how names in a sample sheet are matched."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from follicle_stager.errors import StudyError
from follicle_stager.files import as_path, is_remote
from follicle_stager.slides import SLIDE_SUFFIXES, is_slide, slide_name
from follicle_stager.slides.formats import format_of, readable
from follicle_stager.slides.groups import group_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class SlideSource:
    """A slide's file and its name in the study.

    Attributes
    ----------
    slide_id
        File name without its ending; if two files differ only in the ending, the ending is included. The names in a
        list differ by more than upper and lower case.
    path
        File that is opened.
    parts
        Other files of the same slide, for example of a DICOM series.
    """

    slide_id: str
    path: Path
    parts: tuple[Path, ...] = ()


def list_slides(path: str | Path) -> list[SlideSource]:
    """List the slides of a folder (not of its subfolders), or a single slide.

    Parameters
    ----------
    path
        Folder, or slide; or the address of an OME-Zarr image (``https://``, ``s3://``).

    Returns
    -------
    list of SlideSource
        Slides, sorted by name.

    Raises
    ------
    StudyError
        If the path does not exist, or the folder contains no slide.
    """
    path = as_path(path)
    if is_remote(path):
        remote = format_of(path)
        if remote is None or not remote.is_folder:
            raise StudyError(f"{path}: of addresses, only those of OME-Zarr images (.zarr) can be read.")
        return [SlideSource(slide_name(path), path)]
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder; check the path.")
    known = format_of(path)
    if not path.is_dir() or (known is not None and known.is_folder):
        return [SlideSource(slide_name(path), path)]
    files = sorted(p for p in path.iterdir() if is_slide(p))
    if not files:
        raise StudyError(f"{path}: no slide in this folder; slides end in {' '.join(SLIDE_SUFFIXES)}")
    groups = group_files(files)
    if not groups:
        raise StudyError(f"{path}: no scan in this folder, only its label and overview images; copy all its files.")
    ids = _ids([first for first, *_ in groups])
    return [SlideSource(name, first, tuple(parts)) for name, (first, *parts) in zip(ids, groups, strict=True)]


def _ids(paths: Sequence[Path]) -> list[str]:
    """A name for each slide that is unique on any file system."""
    stems = [slide_name(path) for path in paths]
    count = Counter(folded(stem) for stem in stems)
    taken = {folded(stem) for stem in stems if count[folded(stem)] == 1}
    ids = []
    for path, stem in zip(paths, stems, strict=True):
        name = stem
        if count[folded(stem)] > 1:
            whole = readable(path.name).replace(".", "_")
            names = (whole, *(f"{whole}_{n}" for n in range(2, len(paths) + 2)))
            name = next(name for name in names if folded(name) not in taken)
            taken.add(folded(name))
        ids.append(name)
    return ids


def folded(name: str) -> str:
    """A name in a form that ignores case and the composition of accents."""
    return unicodedata.normalize("NFC", name).casefold()


class SlideNames:
    """Find slides by their names in a sample sheet; see `SlideNames.find`.

    Parameters
    ----------
    sources
        All slides.
    """

    def __init__(self, sources: Iterable[SlideSource]) -> None:
        self._known: list[dict[str, dict[str, SlideSource]]] = [{} for _ in _MEANINGS]
        for source in sources:
            names = (source.slide_id, readable(source.path.name), *(readable(p.name) for p in source.parts))
            for known, meaning in zip(self._known, _MEANINGS, strict=True):
                for name in names:
                    known.setdefault(meaning(name), {})[source.slide_id] = source

    def find(self, name: str) -> list[SlideSource]:
        """Slides that a name may mean: one, none, or several that match equally well.

        The name is compared with file names and with names in the study: first exactly, then without regard to the
        composition of accents, then to case, then to a folder in front of the name, and last to the ending.
        """
        for known, meaning in zip(self._known, _MEANINGS, strict=True):
            if found := known.get(meaning(readable(name))):
                return list(found.values())
        return []


def _without_folder(name: str) -> str:
    return folded(name.replace("\\", "/").rstrip("/").rpartition("/")[2])


# Ways to compare names, the strictest first.
_MEANINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: unicodedata.normalize("NFC", name),
    folded,
    _without_folder,
    lambda name: folded(slide_name(_without_folder(name))),
)
