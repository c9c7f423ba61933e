"""Read formats that need OpenSlide (mrxs, DICOM, bif, czi, and some svs); this is the ``wsi`` extra."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from follicle_stager.errors import SlideError, how_to_install
from follicle_stager.pixel_size import PixelSize
from follicle_stager.slides.rgb import to_rgb8
from follicle_stager.slides.slide import Level, Origin, Slide
from follicle_stager.slides.stated_mpp import number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def open_openslide(path: Path, why: str = "") -> Slide:
    """Open a slide with OpenSlide.

    Parameters
    ----------
    path
        The file.
    why
        Reason why OpenSlide must read the file, for messages; empty for formats that only OpenSlide reads.

    Raises
    ------
    SlideError
        If the ``wsi`` extra is not installed, or OpenSlide cannot read the file.
    """
    try:
        import openslide
    except ImportError:
        needs = f"{why}, so reading it needs" if why else f"reading {path.suffix} files needs"
        raise SlideError(f"{path}: {needs} the 'wsi' extra: {how_to_install('wsi')}.") from None
    _check_companions(path)
    try:
        source = openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(f"{path}: OpenSlide cannot read it ({error or 'unknown format'}); export it again.") from error
    try:
        levels, origin_px = _levels(source)
    except (ValueError, openslide.OpenSlideError) as error:
        source.close()
        raise SlideError(f"{path}: the slide is damaged ({error}); copy or export it again.") from error
    try:
        size = PixelSize.checked(
            number(source.properties["openslide.mpp-x"]), number(source.properties["openslide.mpp-y"]), "openslide.mpp"
        )
    except (KeyError, ValueError):
        size = None
    vendor = source.properties.get("openslide.vendor", "")
    beside = tuple(f"{name} ({w} x {h} px)" for name, (w, h) in _sizes(source).items())
    reason = why or "a format that only OpenSlide reads"
    if origin_px != (0, 0):
        reason += (
            f"; positions start at the corner of the scanned area ({origin_px[0]}, {origin_px[1]} px), as in QuPath"
        )
    return Slide(path, levels, size, source.close, origin=Origin(f"OpenSlide, as {vendor}", reason, beside))


def _check_companions(path: Path) -> None:
    """Refuse pipes and devices among the other files of a slide, which OpenSlide would open too."""
    folders = [path.parent] if path.suffix.lower() in (".dcm", ".vms", ".vmu") else []
    folders += [path.with_suffix("")] if path.suffix.lower() == ".mrxs" else []
    for folder in folders:
        for file in folder.iterdir() if folder.is_dir() else ():
            if not file.is_file() and not file.is_dir():
                raise SlideError(
                    f"{file}: this is not a regular file, but a pipe, socket, device or broken link; delete it."
                )


def _levels(source: Any) -> tuple[list[Level], tuple[int, int]]:
    """Resolutions of the scanned area, and its top-left corner on the canvas of the file, level-0 pixels.

    A file may describe the whole glass and give the scanned area as bounds. QuPath shows only this area and starts
    pixel positions at its corner. This library does the same, because it exchanges outlines with QuPath.
    """
    left, top, width, height = _bounds(source.properties) or (0, 0, *source.dimensions)
    levels = []
    for index, down in enumerate(source.level_downsamples):
        full_width, full_height = source.level_dimensions[index]
        whole = (left, top, width, height) == (0, 0, *source.dimensions)
        size = (full_width, full_height) if whole else (max(1, round(width / down)), max(1, round(height / down)))
        read = functools.partial(_read, source, index, down, (left, top))
        levels.append(Level(*size, read))
    return levels, (left, top)


def _bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    names = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]
    if not all(name in properties for name in names):
        return None
    left, top, width, height = (int(properties[name]) for name in names)
    return (left, top, width, height) if width > 0 and height > 0 else None


def _sizes(source: Any) -> dict[str, tuple[int, int]]:
    return {name: picture.size for name, picture in source.associated_images.items()}


def _read(
    source: Any, level: int, downsample: float, corner: tuple[int, int], y0: int, y1: int, x0: int, x1: int
) -> NDArray[np.uint8]:
    at = (corner[0] + round(x0 * downsample), corner[1] + round(y0 * downsample))
    return to_rgb8(np.asarray(source.read_region(at, level, (x1 - x0, y1 - y0))))
