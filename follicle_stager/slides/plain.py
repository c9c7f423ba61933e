"""Read PNG, JPEG and BMP: images without a pyramid, decoded once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from follicle_stager.errors import SlideError
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.slide import Level, Origin, Slide
from follicle_stager.slides.stated_mpp import from_resolution

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.config import SlidesConfig

#: Formats that Pillow may open. It would open others too, PostScript even with an external program.
FORMATS = ("PNG", "JPEG", "BMP")

# Bytes per pixel in Pillow while it decodes, by mode.
_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "I": 4, "F": 4, "I;16": 2, "I;16B": 2, "I;16L": 2}
# Rows that are converted at a time; a copy of the whole image would double the memory.
_ROWS = 512


def open_plain(path: Path, limits: SlidesConfig) -> Slide:
    """Open an image that Pillow reads.

    Parameters
    ----------
    path
        The file.
    limits
        Limits on the amount of data that is decoded at once.

    Raises
    ------
    SlideError
        If the file is not an image, is damaged, or is too large to decode at once.
    """
    try:
        with warnings.catch_warnings():
            # Our own limit is checked before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                _check_size(path, file, limits.max_decoded_mb)
                resolution = file.info.get("dpi")
                rgb = _decoded(path, file)
                kind = str(file.format)
    except UnidentifiedImageError:
        raise SlideError(f"{path}: this is not an image that can be read; export it as TIFF or PNG.") from None
    except Image.DecompressionBombError:
        raise _too_large(path, "too large to decode at once") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SlideError(f"{path}: the image is damaged or incomplete ({error}); export it again.") from error
    size = None
    if resolution:
        size = from_resolution(float(resolution[0]), float(resolution[1]), "inch", "image resolution tag")
    height, width = rgb.shape[:2]
    origin = Origin(f"Pillow, as {kind}", "the only image in the file")
    level = Level(width, height, lambda y0, y1, x0, x1: rgb[y0:y1, x0:x1], chunk=None)
    return Slide(path, [level], size, origin=origin)


def _check_size(path: Path, file: Image.Image, max_mb: float) -> None:
    needed_mb = file.width * file.height * _BYTES.get(file.mode, 4) / 1e6
    if needed_mb > max_mb:
        raise _too_large(
            path, f"its {file.width} x {file.height} px need {needed_mb:,.0f} MB at once (limit: {max_mb:g} MB)"
        )


def _too_large(path: Path, why: str) -> SlideError:
    return SlideError(
        f"{path}: {why}; convert it to a pyramidal TIFF (in QuPath: File > Export images > OME TIFF), or increase "
        "slides.max_decoded_mb in a --config file."
    )


def _decoded(path: Path, file: Image.Image) -> NDArray[np.uint8]:
    """The whole image, (y, x, 3) uint8; converted in parts."""
    file.load()
    # Only a conversion to RGBA keeps transparent palette entries.
    to = {"P": "RGBA", "PA": "RGBA", "LA": "RGBA", "RGBA": "RGBA"}
    to |= dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV"), "RGB")
    out = np.empty((file.height, file.width, 3), np.uint8)
    full_scale = 255
    for top in range(0, file.height, _ROWS):
        bottom = min(top + _ROWS, file.height)
        part = file.crop((0, top, file.width, bottom))
        if file.mode == "P" and "transparency" in file.info:
            part.info["transparency"] = file.info["transparency"]
        raw = np.asarray(part.convert(to[part.mode]) if part.mode in to else part)
        if raw.dtype == np.int32:  # Pillow opens 16-bit grey PNG as int32
            raw = raw.astype(np.uint16)
        check_pixels(path, raw.dtype, raw.shape[2] if raw.ndim == 3 else 1)
        if raw.dtype == np.uint16 and top == 0:
            full_scale = white_level(np.asarray(file)[:: max(1, file.height // 500)])
        out[top:bottom] = to_rgb8(raw, full_scale=full_scale)
    return out
