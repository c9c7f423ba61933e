"""Whatever a file holds becomes 8-bit RGB here, or a clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def white_level(samples: NDArray[np.generic]) -> int:
    """Full scale of 16-bit data: the smallest usual bit depth that holds its bright pixels.

    Cameras write 10, 12 or 14 bits into 16: dividing those by 65535 would give a black slide.
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
        (y, x) gray or palette indices, or (y, x, c) with c = 1, 3 or 4; uint8, uint16 or bool.
    full_scale
        Value that becomes 255, for 16-bit input.
    palette
        (n, 3) colours of a palette image.
    cmyk
        The four channels are ink, not colour and transparency.
    alpha
        A fourth channel is transparency; if not, it is left out.
    premultiplied
        Colours are weighted by the transparency already.
    inverted
        Zero is white (some gray TIFFs).

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
    if channels == 2:  # gray + alpha
        return over_white(np.repeat(eight[..., :1], 3, axis=2), eight[..., 1])
    if cmyk:
        ink = 255 - eight.astype(np.uint16)
        return np.asarray(ink[..., :3] * ink[..., 3:4] // 255, np.uint8)
    if channels == 4 and alpha:
        return over_white(eight[..., :3], eight[..., 3], premultiplied=premultiplied)
    return np.ascontiguousarray(eight[..., :3])


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Lay a transparent image on white glass (scanners leave unscanned areas transparent)."""
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgb)
    if premultiplied:
        return np.asarray(np.minimum(rgb + (255 - alpha.astype(np.uint16))[..., None], 255), np.uint8)
    weight = alpha[..., None].astype(np.uint16)
    return ((rgb * weight + 255 * (255 - weight)) // 255).astype(np.uint8)


def check_pixels(path: object, dtype: np.dtype[np.generic], channels: int, *, gray_alpha: bool = False) -> None:
    """Refuse what cannot be a brightfield picture.

    Parameters
    ----------
    path
        Path of the slide, for messages.
    dtype, channels
        Kind of its pixels, and how many channels they have.
    gray_alpha
        The file says that the second of two channels is transparency.

    Raises
    ------
    SlideError
        For float or 32-bit pixels, or a channel count that no picture of colours or gray has.
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
