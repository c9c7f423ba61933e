"""The table of slide formats: name, file endings, the library that reads them, and the extra to install.

`open_slide`, the list of slides in a folder, the file dialogs and ``doctor`` use this table; a test compares it with
the manifest of the napari plugin. A new format needs a row here, and a function that makes a `Slide` from a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from follicle_stager.slides.ome_zarr import open_ome_zarr
from follicle_stager.slides.openslide import open_openslide
from follicle_stager.slides.plain import open_plain
from follicle_stager.slides.tiff import NeedsOpenSlide, open_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from follicle_stager.config import SlidesConfig
    from follicle_stager.slides.slide import Slide

# Characters that some file systems do not allow in a name.
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


@dataclass(frozen=True)
class Format:
    """One slide format.

    Attributes
    ----------
    name
        Usual name of the format.
    suffixes
        File endings, lower case, with the dot.
    open
        Function that opens a path as a slide, within limits. It raises `SlideError` if the file is not of this format.
    library
        Python package that reads the format, by its name on PyPI.
    extra
        Extra of follicle-stager that installs the package; empty if it is always installed.
    is_folder
        Whether a slide is a folder.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, SlidesConfig], Slide]
    library: str
    extra: str = ""
    is_folder: bool = False


def _open_tiff(path: Path, limits: SlidesConfig) -> Slide:
    """Open a file with tifffile, or with OpenSlide if tifffile would show it wrongly."""
    try:
        return open_tiff(path, limits)
    except NeedsOpenSlide as reason:
        return open_openslide(path, str(reason))


def _open_openslide(path: Path, limits: SlidesConfig) -> Slide:
    return open_openslide(path)


_TIFF = (_open_tiff, "tifffile")
_OPENSLIDE = (_open_openslide, "openslide-python", "wsi")

FORMATS: tuple[Format, ...] = (
    Format("TIFF, OME-TIFF, BigTIFF", (".tif", ".tiff", ".btf", ".tf8", ".tf2"), *_TIFF),
    Format("Aperio svs", (".svs",), *_TIFF),
    Format("Hamamatsu ndpi", (".ndpi",), *_TIFF),
    Format("Leica scn", (".scn",), *_TIFF),
    Format("Akoya qptiff", (".qptiff",), *_TIFF),
    Format("OME-Zarr", (".zarr",), open_ome_zarr, "zarr", is_folder=True),
    Format("3DHISTECH mrxs", (".mrxs",), *_OPENSLIDE),
    Format("DICOM", (".dcm",), *_OPENSLIDE),
    Format("Ventana bif", (".bif",), *_OPENSLIDE),
    Format("Zeiss czi", (".czi",), *_OPENSLIDE),
    Format("Hamamatsu vms, vmu", (".vms", ".vmu"), *_OPENSLIDE),
    Format("Sakura svslide", (".svslide",), *_OPENSLIDE),
    Format("PNG, JPEG, BMP", (".png", ".jpg", ".jpeg", ".bmp"), open_plain, "pillow"),
)

#: Endings of files and folders that count as slides when a folder is listed.
SLIDE_SUFFIXES: tuple[str, ...] = tuple(suffix for f in FORMATS for suffix in f.suffixes)


def format_of(path: Path) -> Format | None:
    """Return the format of a slide by the ending of its name; None for any other name."""
    return next((f for f in FORMATS if path.suffix.lower() in f.suffixes), None)


def is_slide(path: Path) -> bool:
    """Whether a path looks like a slide by its name."""
    return format_of(path) is not None and not path.name.startswith(".")


def slide_name(name: str | Path) -> str:
    """Name of a slide in a study, made from its file name: ``a.ome.tif`` -> ``a``.

    A name without the ending of a slide stays as it is.
    """
    text = readable(str(getattr(name, "name", name)))
    if getattr(name, "protocol", "") in ("http", "https"):  # an address, see `files.as_path`
        decoded = slide_name(_NOT_IN_NAMES.sub("_", unquote(text)))
        return decoded if decoded.strip(". ") else slide_name(text)
    for suffix in sorted(SLIDE_SUFFIXES, key=len, reverse=True):
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
            break
    return text[: -len(".ome")] if text.lower().endswith(".ome") else text


def readable(name: str) -> str:
    """Name of a file as text; a name that is not UTF-8 is read as Latin-1."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name
