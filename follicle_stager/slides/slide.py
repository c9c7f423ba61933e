"""A slide: a lazy pyramid of 8-bit RGB levels, and its pixel size.

All file formats use this class; they differ only in the ``read`` function of each level. Coordinates are level-0
pixels, x to the right, y down, origin at the top left.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from follicle_stager.errors import SlideError
from follicle_stager.pixel_size import GIVEN, PixelSize
from follicle_stager.slides.blocks import Stored, layers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.slides.blocks import Layer

    #: ``read(y0, y1, x0, x1)`` of one level, inside its bounds -> uint8 (y, x, 3).
    LevelRead = Callable[[int, int, int, int], NDArray[np.uint8]]


# Side of the parts in which levels are decoded for a window, px, and how many of them stay decoded, of 3 MB each.
_CHUNK_PX, _CHUNKS = 1024, 48


@dataclass(frozen=True)
class Level:
    """One resolution of a slide, with its size in its own pixels.

    Attributes
    ----------
    width, height
        Size, px.
    read
        Function that reads a window.
    chunk
        Rows and columns of the parts that the file stores, px; None if the pixels need no decoding.
    """

    width: int
    height: int
    read: LevelRead
    chunk: tuple[int, int] | None = (256, 256)


@dataclass(frozen=True)
class Origin:
    """How a slide was opened, for ``doctor``.

    Attributes
    ----------
    backend
        Library that reads the slide.
    why
        Reason why this image of the file is the slide.
    beside
        Images of the file that are not searched (label, macro, thumbnail).
    """

    backend: str
    why: str
    beside: tuple[str, ...] = ()


class Slide:
    """A slide, opened for reading.

    Parameters
    ----------
    path
        Path of the slide, for messages.
    levels
        Resolutions, the finest first.
    size
        Size of a level-0 pixel; None if the file does not contain it.
    close
        Function that releases the file.
    notes
        Notes for the user (e.g. focal planes that were left out).
    origin
        Library and reason for the choice of the image.
    """

    def __init__(
        self,
        path: Path,
        levels: list[Level],
        size: PixelSize | None,
        close: Callable[[], None] = lambda: None,
        notes: tuple[str, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        self.path = path
        self.levels = levels
        self.stated_pixel_size = size
        self.notes = notes
        self.origin = origin or Origin("", "")
        #: Number of pixels that were decoded so far, of all levels.
        self.decoded_px = 0
        self._close = close
        self._lazy: dict[tuple[int, int], Any] = {}

    @property
    def width(self) -> int:
        """Level-0 width, px."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Level-0 height, px."""
        return self.levels[0].height

    @property
    def mpp(self) -> float | None:
        """µm per level-0 pixel (geometric mean of x and y); None if it is not known."""
        return self.stated_pixel_size.mpp if self.stated_pixel_size else None

    @property
    def pixel_size(self) -> PixelSize:
        """Size of a level-0 pixel; ``stated_pixel_size`` is the same, or None if it is not known.

        Raises
        ------
        SlideError
            If neither the file nor the user gave it: it is never guessed.
        """
        if self.stated_pixel_size is None:
            raise SlideError(
                f"{self.path}: the file does not contain the µm per pixel, so nothing can be measured. "
                "Give it with --mpp (e.g. --mpp 0.5), or in the mpp column of the sample sheet."
            )
        return self.stated_pixel_size

    def set_mpp(self, mpp: float) -> None:
        """Use the user's µm/px instead of the value in the file.

        Raises
        ------
        SlideError
            If it is not a plausible pixel size of a microscope.
        """
        size = PixelSize.checked(mpp, mpp, GIVEN)
        if size is None:
            hint = " That is a screen's resolution, not a pixel size." if mpp > 100 else ""
            raise SlideError(
                f"{self.path}: {mpp:g} µm/px is not a pixel size of a microscope image.{hint} "
                "Give the size of one pixel in µm, e.g. 0.25 (40x scan), 0.5 (20x scan) or 1.0."
            )
        self.stated_pixel_size = size

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the slide, µm."""
        return self.pixel_size.xy_um(self.width, self.height)

    def downsample(self, level: int) -> tuple[float, float]:
        """Level-0 pixels per pixel of ``level``, across and down."""
        return self.width / self.levels[level].width, self.height / self.levels[level].height

    def read_region(self, x: int, y: int, width: int, height: int, level: int = 0) -> NDArray[np.uint8]:
        """Read a window of one level; the area outside the slide is white.

        Parameters
        ----------
        x, y
            Top-left corner in pixels **of that level**.
        width, height
            Size in pixels of that level.
        level
            Index of the level; 0 is the finest.

        Returns
        -------
        ndarray of uint8, (height, width, 3)
            RGB pixels.

        Raises
        ------
        SlideError
            If the pixels of the file cannot be decoded.
        """
        pyramid_level = self.levels[level]
        y0, y1 = max(0, y), min(pyramid_level.height, y + height)
        x0, x1 = max(0, x), min(pyramid_level.width, x + width)
        out = np.full((height, width, 3), 255, np.uint8)
        if y0 >= y1 or x0 >= x1:
            return out
        self.decoded_px += (y1 - y0) * (x1 - x0)
        try:
            pixels = pyramid_level.read(y0, y1, x0, x1)
        except (SlideError, MemoryError):
            raise
        except Exception as error:  # each codec has its own exceptions; for the user, all mean the same
            raise SlideError(
                f"{self.path}: the pixels at x = {x0}, y = {y0} (level {level}) cannot be read ({error}). "
                "The file seems damaged or incomplete; copy or export it again."
            ) from error
        if (y0, y1, x0, x1) == (y, y + height, x, x + width):
            return pixels
        out[y0 - y : y1 - y, x0 - x : x1 - x] = pixels
        return out

    @functools.cached_property
    def layers(self) -> list[Layer]:
        """Resolutions of the slide in blocks that are kept, with those that the file lacks; the finest first."""
        stored = []
        for index, level in enumerate(self.levels):
            read = functools.partial(self.read_region, level=index)
            stored.append(Stored(read, level.width, level.height, *self.downsample(index), level.chunk))
        return layers_of(stored)

    def free_blocks(self) -> None:
        """Give the memory of the blocks in `layers` back; they are decoded again when they are needed."""
        self.__dict__.pop("layers", None)

    def to_dask(self, level: int = 0, chunk: int = _CHUNK_PX) -> Any:
        """A lazy dask array of one level, (height, width, 3) uint8; it is made once, because that takes long."""
        if (level, chunk) not in self._lazy:
            self._lazy[level, chunk] = self._as_dask(level, chunk)
        return self._lazy[level, chunk]

    def _as_dask(self, level: int, chunk: int) -> Any:
        import dask.array as da

        pyramid_level = self.levels[level]

        def block(block_info: Any = None) -> NDArray[np.uint8]:
            (y0, y1), (x0, x1), _ = block_info[None]["array-location"]
            return _chunk(self, level, y0, y1, x0, x1)

        def split(length: int) -> tuple[int, ...]:
            whole, rest = divmod(length, chunk)
            return (chunk,) * whole + ((rest,) if rest else ())

        chunks = (split(pyramid_level.height), split(pyramid_level.width), (3,))
        return da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))

    def decode_ahead(self, x: int, y: int, width: int, height: int, level: int = 0) -> None:
        """Decode a region (px of the level) for `to_dask`; a thread may call this, while dask has to stay in one.

        Raises
        ------
        SlideError
            If the pixels of the file cannot be decoded.
        """
        whole = self.levels[level]
        for y0 in range(max(0, y // _CHUNK_PX * _CHUNK_PX), min(whole.height, y + height), _CHUNK_PX):
            for x0 in range(max(0, x // _CHUNK_PX * _CHUNK_PX), min(whole.width, x + width), _CHUNK_PX):
                y1, x1 = min(y0 + _CHUNK_PX, whole.height), min(x0 + _CHUNK_PX, whole.width)
                _chunk(self, level, y0, y1, x0, x1)

    def close(self) -> None:
        """Release the file, and the memory of its blocks."""
        self.free_blocks()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        size = f"{self.mpp:.4g} µm/px" if self.mpp else "µm/px unknown"
        return f"<Slide {self.path.name}: {self.width} x {self.height} px, {len(self.levels)} levels, {size}>"


@functools.lru_cache(maxsize=_CHUNKS)
def _chunk(slide: Slide, level: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.uint8]:
    """A part of a level; the parts that were used last, of all slides, stay in memory."""
    return slide.read_region(x0, y0, x1 - x0, y1 - y0, level)
