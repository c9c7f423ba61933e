"""PNG, JPEG, BMP: images without a pyramid, decoded once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from follicle_stager.errors import SlideError
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.scale import from_resolution
from follicle_stager.slides.slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

PLAIN_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


def open_plain(path: Path) -> Slide:
    """Open an image that Pillow reads.

    Raises
    ------
    SlideError
        If it is no image, damaged, or too large to decode at once.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                resolution = file.info.get("dpi")
                image: Image.Image = file
                if image.mode in ("P", "PA", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"):
                    # Transparent palette entries survive only by way of RGBA.
                    image = image.convert("RGB" if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") else "RGBA")
                raw = np.asarray(image)
    except UnidentifiedImageError:
        raise SlideError(f"{path}: this is not an image that can be read; export it as TIFF or PNG.") from None
    except Image.DecompressionBombError:
        raise SlideError(
            f"{path}: too large to decode at once; convert it to a pyramidal TIFF "
            "(e.g. in QuPath: File > Export images > OME TIFF)."
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SlideError(f"{path}: the image is damaged or incomplete ({error}); export it again.") from error
    if raw.dtype == np.int32:  # how Pillow opens 16-bit gray PNG
        raw = raw.astype(np.uint16)
    check_pixels(path, raw.dtype, raw.shape[2] if raw.ndim == 3 else 1)
    rgb = to_rgb8(raw, full_scale=white_level(raw) if raw.dtype == np.uint16 else 255)
    size = None
    if resolution:
        size = from_resolution(float(resolution[0]), float(resolution[1]), "inch", "image resolution tag")
    height, width = rgb.shape[:2]
    return Slide(path, [Level(width, height, lambda y0, y1, x0, x1: rgb[y0:y1, x0:x1])], size)
