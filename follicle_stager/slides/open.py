"""Find the reader for a path: OME-Zarr folder, TIFF family, OpenSlide, plain image, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.errors import SlideError
from follicle_stager.slides.ome_zarr import open_ome_zarr
from follicle_stager.slides.openslide import OPENSLIDE_SUFFIXES, open_openslide
from follicle_stager.slides.plain import PLAIN_SUFFIXES, open_plain
from follicle_stager.slides.tiff import TIFF_SUFFIXES, open_tiff

if TYPE_CHECKING:
    from follicle_stager.slides.slide import Slide

#: File endings that are taken for slides when a folder is read.
SLIDE_SUFFIXES: tuple[str, ...] = (*TIFF_SUFFIXES, ".zarr", *OPENSLIDE_SUFFIXES, *PLAIN_SUFFIXES)

#: A picture must be at least this many pixels high and wide to be a section of anything.
MIN_PIXELS = 32


def is_slide(path: Path) -> bool:
    """Whether a path looks like a slide by its name."""
    return path.suffix.lower() in SLIDE_SUFFIXES and not path.name.startswith(".")


def open_slide(path: str | Path, *, mpp: float | None = None, image: int = 0) -> Slide:
    """Open a slide lazily.

    Parameters
    ----------
    path
        TIFF family, OME-Zarr folder, PNG, JPEG, or a format of OpenSlide (extra ``wsi``).
    mpp
        µm per pixel; stands instead of what the file says.
    image
        Which image of a TIFF that holds several full-size ones; 0 is the first.

    Returns
    -------
    Slide
        Close it, or use it in a ``with`` block.

    Raises
    ------
    SlideError
        If the file is missing, no slide, damaged, or not a brightfield picture.
    """
    path = Path(path)
    if not path.exists():
        raise SlideError(f"{path}: no such file; check the path.")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise SlideError(f"{path}: this is a folder, not a slide.")
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError(f"{path}: the file is empty (0 bytes); copy or export it again.")
    slide = _open_by_suffix(path, image)
    try:
        if slide.width < MIN_PIXELS or slide.height < MIN_PIXELS:
            raise SlideError(
                f"{path}: the image is {slide.width} x {slide.height} px, too small to be a section; "
                "was a thumbnail exported instead of the slide?"
            )
        if mpp is not None:
            slide.set_mpp(mpp)
    except SlideError:
        slide.close()
        raise
    return slide


def _open_by_suffix(path: Path, image: int) -> Slide:
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        return open_ome_zarr(path)
    if suffix in TIFF_SUFFIXES:
        return open_tiff(path, image)
    if suffix in OPENSLIDE_SUFFIXES:
        return open_openslide(path)
    if suffix in PLAIN_SUFFIXES:
        return open_plain(path)
    endings = " ".join(SLIDE_SUFFIXES)
    raise SlideError(f"{path}: '{path.suffix}' is not a slide format that is known ({endings}).")
