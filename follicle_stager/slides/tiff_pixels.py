"""Read windows of one resolution of a TIFF; only the tiles or strips that a window touches are decoded."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from follicle_stager.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    #: ``read(y0, y1, x0, x1)`` -> pixels as stored in the file, (y, x) or (y, x, channel)
    Read = Callable[[int, int, int, int], NDArray[np.generic]]

# Tiles or strips larger than this are kept after decoding, because neighbouring windows would decode them again.
_KEEP_BYTES = 8_000_000
# Number of positions read across and down an image, how many of them are compared, and their side in the larger image,
# px.
_PLACES, _COMPARED, _SIDE_PX = 16, 25, 96
# Largest mean and maximum difference in colour between the images, as a share of full scale; resampling, sharpening and
# JPEG cause some.
_MEAN_DIFFERENCE, _MAX_DIFFERENCE = 0.03, 0.15
# Largest ratio of the encoded to the declared area of a tile. Tiles may be padded to whole blocks; larger ones are made
# to fill the memory.
_PADDED = 4


def size_of(series: Any) -> tuple[int, int]:
    """Height and width of an image, px."""
    return int(series.shape[series.axes.index("Y")]), int(series.shape[series.axes.index("X")])


def check_stored(series: Any, path: Path) -> None:
    """Refuse an image that the file does not hold completely.

    Raises
    ------
    SlideError
        If the file is truncated, a part of the image is missing, or no pixels are stored.
    """
    stored = 0
    for page in series.pages:
        if page is None:
            raise SlideError(f"{path}: a channel or plane of the image is missing in the file; export it again.")
        size_bytes = page.parent.filehandle.size
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        stored += sum(int(count) for _, count in parts)
        needed = max((int(offset) + int(count) for offset, count in parts), default=0)
        if needed > size_bytes:
            raise SlideError(
                f"{path}: the file is truncated: it has {size_bytes:,} bytes, but needs {needed:,}. "
                "Copy or export it again."
            )
    if not stored:
        raise SlideError(f"{path}: the file describes an image, but holds no pixels of it; copy or export it again.")


def reader(series: Any, path: Path, *, max_decoded_mb: float) -> tuple[Read, tuple[int, int] | None]:
    """Make a function that reads windows of an image; return it, and the rows and columns of its tiles or strips.

    These are None if the pixels are not compressed, and need no decoding.

    Parameters
    ----------
    series
        One resolution, a two-dimensional series of tifffile.
    path
        Path of the slide, for messages.
    max_decoded_mb
        Largest tile or strip that is decoded, MB.

    Raises
    ------
    SlideError
        If a tile or strip is larger than ``max_decoded_mb``.
    """
    channel_first = series.axes[:1] in ("S", "C")

    def window(source: Any, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
        if channel_first:
            return np.moveaxis(np.asarray(source[:, y0:y1, x0:x1]), 0, -1)
        return np.asarray(source[y0:y1, x0:x1])

    for handle in {page.parent.filehandle for page in series.pages if page is not None}:
        if handle.closed:  # tifffile closes the other files of a slide
            handle.open()
    page = series.keyframe
    if len(series.pages) == 1 and page.is_memmappable and series.dataoffset is not None:
        stored = series.dtype.newbyteorder(page.parent.byteorder)  # the dtype of tifffile has native byte order
        mapped = np.memmap(page.parent.filehandle.path, stored, "r", offset=series.dataoffset, shape=series.shape)
        return lambda y0, y1, x0, x1: window(mapped, y0, y1, x0, x1).astype(series.dtype, copy=False), None
    _check_encoded(page, path)
    import zarr  # it takes long to import

    source: Any = zarr.open(series.aszarr(level=0, multiscales=False, fillvalue=_glass(series)), mode="r")
    chunk = dict(zip(series.axes, source.chunks, strict=True))
    chunk_bytes = math.prod(source.chunks) * series.dtype.itemsize
    if chunk_bytes > max_decoded_mb * 1e6:
        raise SlideError(
            f"{path}: its tiles or strips have {chunk['X']} x {chunk['Y']} px, {chunk_bytes / 1e6:,.0f} MB at once "
            f"(limit: {max_decoded_mb:g} MB). Export it as a pyramid with tiles (in QuPath: File > Export images > OME "
            "TIFF), or increase slides.max_decoded_mb in a --config file."
        )
    stored_in = int(chunk["Y"]), int(chunk["X"])
    if chunk_bytes <= _KEEP_BYTES:
        return functools.partial(window, source), stored_in
    return _kept(functools.partial(window, source), *stored_in, size_of(series)), stored_in


def _check_encoded(page: Any, path: Path) -> None:
    """Prevent decoding of a tile that is far larger than declared in the file; it could fill the memory."""
    decode = page.decode
    if getattr(decode, "__name__", "") == "checked":
        return
    width = page.tilewidth or page.imagewidth
    height = page.tilelength or min(page.rowsperstrip or page.imagelength, page.imagelength)
    most = _PADDED * max(width, 64) * max(height, 64)

    def checked(data: bytes | None, *args: Any, **kwargs: Any) -> Any:
        size = encoded_size(data) if data is not None else None
        if size is not None and size[0] * size[1] > most:
            raise SlideError(
                f"{path}: a tile is packed as {size[1]} x {size[0]} px, far more than the file says, so it is not "
                "opened. Export the slide again."
            )
        return decode(data, *args, **kwargs)

    page.decode = checked


def encoded_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the header of a JPEG, PNG or JPEG 2000; None for any other data."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if data[:4] == b"\xff\x4f\xff\x51" or data[4:8] == b"jP  ":  # JPEG 2000: SIZ of the code stream
        at = data.find(b"\xff\x4f\xff\x51")
        return int.from_bytes(data[at + 12 : at + 16], "big"), int.from_bytes(data[at + 8 : at + 12], "big")
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _glass(series: Any) -> int:
    """Value of white, used for pixels that the scanner did not store."""
    if getattr(series.keyframe.photometric, "name", "") == "MINISWHITE" or series.dtype.kind != "u":
        return 0
    return int(np.iinfo(series.dtype).max)


def _kept(read: Read, rows: int, columns: int, size: tuple[int, int]) -> Read:
    """A function that reads windows from whole chunks and keeps the last chunk."""
    height, width = size

    @functools.lru_cache(maxsize=1)
    def chunk(i: int, j: int) -> NDArray[np.generic]:
        return read(i * rows, min((i + 1) * rows, height), j * columns, min((j + 1) * columns, width))

    def window(y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
        lines = []
        for i in range(y0 // rows, (y1 - 1) // rows + 1):
            top, bottom = max(y0 - i * rows, 0), min(y1 - i * rows, rows)
            parts = []
            for j in range(x0 // columns, (x1 - 1) // columns + 1):
                left, right = max(x0 - j * columns, 0), min(x1 - j * columns, columns)
                parts.append(chunk(i, j)[top:bottom, left:right])
            lines.append(np.concatenate(parts, axis=1))
        return np.concatenate(lines)

    return window


def is_same_view(small: Read, small_size: tuple[int, int], large: Read, large_size: tuple[int, int]) -> bool:
    """Whether two images show the same view, one at a lower resolution.

    Compares mean colours at the positions that differ most from the rest of the image; empty glass looks alike in all
    images.

    Parameters
    ----------
    small, large
        Functions that read a window of each image.
    small_size, large_size
        Height and width of each image, px.
    """
    height, width = small_size
    factor_y, factor_x = large_size[0] / height, large_size[1] / width
    side = max(2, min(round(_SIDE_PX / max(factor_x, factor_y)), 24, height, width))
    means: list[list[NDArray[np.float64]]] = []
    for y in np.linspace(0, height - side, _PLACES).astype(int):
        for x in np.linspace(0, width - side, _PLACES).astype(int):
            top, left = round(y * factor_y), round(x * factor_x)
            bottom, right = round((y + side) * factor_y), round((x + side) * factor_x)
            other = large(top, min(bottom, large_size[0]), left, min(right, large_size[1]))
            windows = small(y, y + side, x, x + side), other
            means.append([np.atleast_1d(w.astype(np.float64).mean(axis=(0, 1))) for w in windows])
    if any(one.shape != other.shape for one, other in means):
        return False
    values = np.array(means)  # (place, picture, colour)
    away = np.abs(values - np.median(values, axis=0)).max(axis=(1, 2))
    shown = values[np.argsort(-away)[:_COMPARED]]
    differences = np.abs(shown[:, 0] - shown[:, 1]).max(axis=1)
    full = 255.0 if small(0, 1, 0, 1).dtype == np.uint8 else max(float(values.max()), 1.0)
    return bool(differences.mean() < _MEAN_DIFFERENCE * full and differences.max() < _MAX_DIFFERENCE * full)
