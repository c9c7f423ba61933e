"""Scanner formats that only OpenSlide reads (mrxs, DICOM, bif, czi ...): the ``wsi`` extra."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from follicle_stager.errors import SlideError
from follicle_stager.slides.rgb import to_rgb8
from follicle_stager.slides.scale import pixel_size
from follicle_stager.slides.slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OPENSLIDE_SUFFIXES = (".mrxs", ".dcm", ".bif", ".czi", ".vms", ".vmu", ".svslide")


def open_openslide(path: Path) -> Slide:
    """Open a slide with OpenSlide.

    Raises
    ------
    SlideError
        If the ``wsi`` extra is not installed, or OpenSlide cannot read the file.
    """
    try:
        import openslide
    except ImportError:
        raise SlideError(
            f"{path}: reading {path.suffix} files needs the 'wsi' extra: "
            'install it with  pip install "follicle-stager[wsi]"'
        ) from None
    try:
        source = openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(f"{path}: OpenSlide cannot read it ({error or 'unknown format'}).") from error
    levels = []
    for index, (width, height) in enumerate(source.level_dimensions):
        read = functools.partial(_read, source, index, source.level_downsamples[index])
        levels.append(Level(width, height, read))
    try:
        size = pixel_size(
            float(source.properties["openslide.mpp-x"]),
            float(source.properties["openslide.mpp-y"]),
            "openslide.mpp",
        )
    except (KeyError, ValueError):
        size = None
    return Slide(path, levels, size, source.close)


def _read(source: Any, level: int, downsample: float, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.uint8]:
    corner = (round(x0 * downsample), round(y0 * downsample))
    return to_rgb8(np.asarray(source.read_region(corner, level, (x1 - x0, y1 - y0))))
