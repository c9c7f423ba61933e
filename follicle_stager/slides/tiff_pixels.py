"""Windows of one resolution of a TIFF: only the tiles or strips that a window touches are decoded."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from follicle_stager.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    #: ``read(y0, y1, x0, x1)`` -> pixels as they are stored, (y, x) or (y, x, channel)
    Read = Callable[[int, int, int, int], NDArray[np.generic]]

# A tile or strip that is larger is decoded once and kept: neighbouring windows would decode it again and again.
_KEEP_BYTES = 8_000_000
# Places of a picture that are compared across and down, and their side.
_PLACES, _SIDE_PX = 5, 24
# So much may resampling, sharpening and JPEG change the mean colour of a place, as a share of full scale.
_MEAN_DIFFERENCE, _MAX_DIFFERENCE = 0.03, 0.15


def size_of(series: Any) -> tuple[int, int]:
    """Height and width of a picture, px."""
    return int(series.shape[series.axes.index("Y")]), int(series.shape[series.axes.index("X")])


def pages_of(series: Any, plane: int | None = None) -> list[Any]:
    """The pages of a picture, or those of one focal plane of it."""
    pages = [page for page in series.pages if page is not None]
    if plane is None or "Z" not in series.axes:
        return pages
    each = max(1, len(pages) // series.shape[series.axes.index("Z")])
    return pages[plane * each : (plane + 1) * each]


def check_stored(series: Any, path: Path, plane: int | None = None) -> None:
    """Refuse a picture of which the file holds nothing, or not all.

    Raises
    ------
    SlideError
        If the file is cut off, or no pixel is stored in it.
    """
    stored = 0
    for page in pages_of(series, plane):
        size_bytes = page.parent.filehandle.size
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        stored += sum(int(count) for _, count in parts)
        needed = max((int(offset) + int(count) for offset, count in parts), default=0)
        if needed > size_bytes:
            raise SlideError(
                f"{path}: the file is cut off: it has {size_bytes:,} bytes and needs {needed:,}. "
                "Copy or export it again."
            )
    if not stored:
        raise SlideError(f"{path}: the file describes a picture but holds no pixels of it; copy or export it again.")


def reader(series: Any, path: Path, *, max_decoded_mb: float, plane: int | None = None) -> Read:
    """A function that reads windows of a picture.

    Parameters
    ----------
    series
        Of tifffile, one resolution.
    path
        Of the slide, for messages.
    max_decoded_mb
        Largest tile or strip that is decoded, MB.
    plane
        Index of the focal plane, for pictures that have several.

    Raises
    ------
    SlideError
        If a tile or strip is larger.
    """
    axes = series.axes.replace("Z", "") if plane is not None else series.axes
    channel_first = axes[:1] in ("S", "C")

    def window(source: Any, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
        within = source if plane is None or "Z" not in series.axes else source[plane]
        if channel_first:
            return np.moveaxis(np.asarray(within[:, y0:y1, x0:x1]), 0, -1)
        return np.asarray(within[y0:y1, x0:x1])

    for handle in {page.parent.filehandle for page in pages_of(series)}:
        if handle.closed:  # another file of the same slide, which tifffile closed again
            handle.open()
    page = series.keyframe
    if len(series.pages) == 1 and page.is_memmappable and series.dataoffset is not None:
        stored = series.dtype.newbyteorder(page.parent.byteorder)  # tifffile names the native order
        mapped = np.memmap(page.parent.filehandle.path, stored, "r", offset=series.dataoffset, shape=series.shape)
        return lambda y0, y1, x0, x1: window(mapped, y0, y1, x0, x1).astype(series.dtype, copy=False)
    source: Any = zarr.open(series.aszarr(level=0, multiscales=False, fillvalue=_glass(series)), mode="r")
    chunk = dict(zip(series.axes, source.chunks, strict=True))
    chunk_bytes = math.prod(source.chunks) * series.dtype.itemsize
    if chunk_bytes > max_decoded_mb * 1e6:
        raise SlideError(
            f"{path}: its tiles or strips are of {chunk['X']} x {chunk['Y']} px, {chunk_bytes / 1e6:,.0f} MB at once "
            f"(limit: {max_decoded_mb:g}). Export it as a pyramid with tiles (in QuPath: File > Export images > OME "
            "TIFF), or raise slides.max_decoded_mb in a --config file."
        )
    if chunk_bytes <= _KEEP_BYTES:
        return functools.partial(window, source)
    return _kept(functools.partial(window, source), chunk["Y"], chunk["X"], size_of(series))


def _glass(series: Any) -> int:
    """What stands for pixels that a scanner did not store: white."""
    if getattr(series.keyframe.photometric, "name", "") == "MINISWHITE" or series.dtype.kind != "u":
        return 0
    return int(np.iinfo(series.dtype).max)


def _kept(read: Read, rows: int, columns: int, size: tuple[int, int]) -> Read:
    """Read whole chunks, and keep the last one."""
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
    """Whether two pictures show the same, one at a lower resolution: by their colours in places all over them.

    Parameters
    ----------
    small, large
        Read a window.
    small_size, large_size
        Height and width.
    """
    height, width = small_size
    factor_y, factor_x = large_size[0] / height, large_size[1] / width
    side = min(_SIDE_PX, height, width)
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
    values = np.array(means)
    differences = np.abs(values[:, 0] - values[:, 1]).max(axis=1)
    full = 255.0 if small(0, 1, 0, 1).dtype == np.uint8 else max(float(values.max()), 1.0)
    return bool(differences.mean() < _MEAN_DIFFERENCE * full and differences.max() < _MAX_DIFFERENCE * full)
