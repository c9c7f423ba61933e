"""Open a slide of any format; refuse images that are too small or too large. The formats are in `formats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from follicle_stager.config import SlidesConfig
from follicle_stager.errors import SlideError, UserError
from follicle_stager.files import as_path, check_regular, is_remote, read_remote
from follicle_stager.slides.formats import SLIDE_SUFFIXES, format_of

if TYPE_CHECKING:
    from pathlib import Path

    from follicle_stager.slides.slide import Slide

#: Smallest height and width of an image that can show a section, px.
MIN_PIXELS = 32


def open_slide(path: str | Path, *, mpp: float | None = None, limits: SlidesConfig | None = None) -> Slide:
    """Open a slide lazily.

    Parameters
    ----------
    path
        Path of the slide, in one of the formats of `formats.FORMATS`; or the address of an OME-Zarr image.
    mpp
        Pixel size, µm/px, used instead of the value in the file.
    limits
        Size limits; by default those of `SlidesConfig`.

    Returns
    -------
    Slide
        Open slide; close it, or use it in a ``with`` block. ``origin`` tells how it was opened and why.

    Raises
    ------
    SlideError
        If the file is missing, not a slide, damaged, too large, or not a brightfield image.
    """
    path, limits = as_path(path), limits or SlidesConfig()
    _check_exists(path)
    known = format_of(path)
    if not is_remote(path) and path.is_dir() and not (known is not None and known.is_folder):
        raise SlideError(f"{path}: this is a folder, not a slide.")
    if not is_remote(path) and not path.is_dir():
        try:
            check_regular(path)
        except UserError as error:
            raise SlideError(str(error)) from None
        if path.stat().st_size == 0:
            raise SlideError(f"{path}: the file is empty (0 bytes); copy or export it again.")
    if known is None:
        endings = " ".join(SLIDE_SUFFIXES)
        raise SlideError(f"{path}: '{path.suffix}' is not a slide format that can be read ({endings}).")
    slide = known.open(path, limits)
    try:
        _check_size(slide, limits)
        if mpp is not None:
            slide.set_mpp(mpp)
        _check_area(slide, limits)
    except SlideError:
        slide.close()
        raise
    return slide


def _check_exists(path: Path) -> None:
    if not is_remote(path):
        if not path.exists():
            raise SlideError(f"{path}: no such file; check the path.")
        return
    if all(read_remote(path, name) is None for name in ("zarr.json", ".zattrs")):
        raise SlideError(f"{path}: no OME-Zarr image there; check the address.")


def _check_size(slide: Slide, limits: SlidesConfig) -> None:
    if slide.width < MIN_PIXELS or slide.height < MIN_PIXELS:
        raise SlideError(
            f"{slide.path}: the image is {slide.width} x {slide.height} px, too small to be a section; "
            "was a thumbnail exported instead of the slide?"
        )
    if not all(1 <= level.width <= slide.width and 1 <= level.height <= slide.height for level in slide.levels):
        raise SlideError(f"{slide.path}: its resolutions do not fit together; copy or export it again.")
    coarsest = slide.levels[-1]
    mpx = coarsest.width * coarsest.height / 1e6
    if mpx > limits.max_overview_mpx:
        raise SlideError(
            f"{slide.path}: its lowest resolution has {mpx:,.0f} million pixels (limit: "
            f"{limits.max_overview_mpx:g}), which would take very long to process. Export it as a pyramid (in "
            "QuPath: File > Export images > OME TIFF), or raise slides.max_overview_mpx in a --config file."
        )


def _check_area(slide: Slide, limits: SlidesConfig) -> None:
    if slide.stated_pixel_size is None:
        return
    width_mm, height_mm = (side / 1e3 for side in slide.size_um)
    if width_mm * height_mm > limits.max_area_mm2:
        raise SlideError(
            f"{slide.path}: at {slide.mpp:.4g} µm/px the slide would be {width_mm:,.0f} x {height_mm:,.0f} mm (limit: "
            f"{limits.max_area_mm2:g} mm²). Its µm/px is wrong: give it with --mpp; or raise "
            "slides.max_area_mm2 in a --config file."
        )
