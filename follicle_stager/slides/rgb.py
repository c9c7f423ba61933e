"""Convert pixels of any supported kind to 8-bit RGB, or refuse them with a clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def white_level(samples: NDArray[np.generic]) -> int:
    """Full scale of 16-bit data: the largest value of the smallest usual bit depth that holds its bright pixels.

    Cameras store 10, 12 or 14 bits in 16; dividing by 65535 would give a black slide.
    """
    bright = float(np.percentile(samples.astype(np.float64), 99.9))
    return next(top for bits in (8, 10, 12, 14, 16) if bright <= (top := 2**bits - 1) or bits == 16)


def to_rgb8(
    pixels: NDArray[np.generic],
    *,
    full_scale: int = 255,
    palette: NDArray[np.uint8] | None = None,
    cmyk: bool = False,
    alpha: bool = True,
    premultiplied: bool = False,
    inverted: bool = False,
) -> NDArray[np.uint8]:
    """Convert one region to 8-bit RGB.

    Parameters
    ----------
    pixels
        Grey values or palette indices, (y, x), or channels, (y, x, c) with c = 1 to 4; uint8, uint16 or bool.
    full_scale
        Value that becomes 255, for 16-bit input.
    palette
        Colours of a palette image, (n, 3).
    cmyk
        Whether the four channels are inks, not colours and transparency.
    alpha
        Whether a fourth channel is transparency; if not, it is left out.
    premultiplied
        Whether the colours are already multiplied by the transparency.
    inverted
        Whether 0 is white, as in some grey TIFFs.

    Returns
    -------
    ndarray of uint8, (y, x, 3)
    """
    if palette is not None:
        index = pixels.astype(np.intp)
        return np.asarray(palette[np.minimum(index, len(palette) - 1)], np.uint8)
    if pixels.dtype == np.bool_:
        eight = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype != np.uint8:
        scaled = pixels.astype(np.float32) * (255.0 / full_scale)
        eight = np.clip(scaled + 0.5, 0, 255).astype(np.uint8)
    else:
        eight = pixels.astype(np.uint8, copy=False)
    if inverted:
        eight = np.uint8(255) - eight
    if eight.ndim == 2:
        eight = eight[..., None]
    channels = eight.shape[2]
    if channels == 1:
        return np.repeat(eight, 3, axis=2)
    if channels == 2:  # grey and alpha
        return over_white(np.repeat(eight[..., :1], 3, axis=2), eight[..., 1])
    if cmyk:
        ink = 255 - eight.astype(np.uint16)
        return np.asarray(ink[..., :3] * ink[..., 3:4] // 255, np.uint8)
    if channels == 4 and alpha:
        return over_white(eight[..., :3], eight[..., 3], premultiplied=premultiplied)
    return np.ascontiguousarray(eight[..., :3])


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Put a transparent image on a white background, because scanners leave unscanned areas transparent."""
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgb)
    if premultiplied:
        return np.asarray(np.minimum(rgb + (255 - alpha.astype(np.uint16))[..., None], 255), np.uint8)
    weight = alpha[..., None].astype(np.uint16)
    return ((rgb * weight + 255 * (255 - weight)) // 255).astype(np.uint8)


def check_pixels(path: object, dtype: np.dtype[np.generic], channels: int, *, gray_alpha: bool = False) -> None:
    """Refuse pixels that cannot be a brightfield image.

    Parameters
    ----------
    path
        Path of the slide, for messages.
    dtype, channels
        Type of the pixels, and number of channels.
    gray_alpha
        Whether the second of two channels is transparency.

    Raises
    ------
    SlideError
        If pixels are not 8- or 16-bit, or the number of channels is impossible for a colour or grey image.
    """
    if dtype not in (np.uint8, np.uint16, np.bool_):
        raise SlideError(
            f"{path}: pixels are {dtype}; a brightfield slide has 8- or 16-bit pixels. Export it as 8-bit RGB."
        )
    if channels not in (1, 3, 4) and not (channels == 2 and gray_alpha):
        raise SlideError(
            f"{path}: {channels} channels; a brightfield slide has 3 (RGB). "
            "Is it a fluorescence image? Export the brightfield channels as 8-bit RGB."
        )
