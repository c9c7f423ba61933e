"""Decoded blocks of a slide, kept for the next window that needs them, and resolutions that the file lacks.

Tissue survey, both scales of the network, measurement and overlay read the same tissue. Decoding is slow for some
files, so blocks stay in memory, up to a limit for each resolution. Where a file has no pyramid, or a gap in it, halved
resolutions are made from blocks, so that a coarse view of the whole slide decodes each pixel once and leaves the finer
resolutions behind for the search.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    #: ``read(x, y, width, height)``, px of a level -> uint8 (y, x, 3), white outside.
    ReadWindow = Callable[[int, int, int, int], NDArray[np.uint8]]

# Memory for the blocks of one resolution, bytes.
_KEPT_BYTES = 96_000_000
# Number of pixels of a block, about; smaller tiles or strips of the file are read together.
_BLOCK_PX = 1 << 20
# Halved resolutions are made down to this number of pixels, and in gaps of the pyramid of at least this factor.
_SMALLEST_PX, _GAP = 1_000_000, 4.0


@dataclass(frozen=True)
class Stored:
    """A level of the file.

    Attributes
    ----------
    read
        Function that reads a window.
    width, height
        Size, px.
    down_x, down_y
        Level-0 pixels per pixel.
    chunk
        Rows and columns of the parts that the file stores, px; None if the pixels need no decoding.
    """

    read: ReadWindow
    width: int
    height: int
    down_x: float
    down_y: float
    chunk: tuple[int, int] | None


class Layer:
    """One resolution in blocks: a level of the file, or the next finer layer halved.

    Attributes
    ----------
    width, height
        Size, px.
    down_x, down_y
        Level-0 pixels per pixel.
    """

    width: int
    height: int
    down_x: float
    down_y: float
    block: tuple[int, int]

    def __init__(self, source: Stored | Layer) -> None:
        self._source = source
        if isinstance(source, Layer):
            self.width, self.height = -(-source.width // 2), -(-source.height // 2)
            self.down_x, self.down_y = 2 * source.down_x, 2 * source.down_y
            block = source.block
        else:
            self.width, self.height = source.width, source.height
            self.down_x, self.down_y = source.down_x, source.down_y
            block = whole_blocks(source.chunk or (1024, 1024))
        self.block = min(block[0], self.height), min(block[1], self.width)
        self._kept: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()
        self._most = _KEPT_BYTES // (3 * self.block[0] * self.block[1])

    @property
    def fits(self) -> bool:
        """Whether all blocks can be kept."""
        return 3 * self.width * self.height <= _KEPT_BYTES

    def read(self, x: int, y: int, width: int, height: int, *, keep: bool = True) -> NDArray[np.uint8]:
        """Read a window, px of this layer; white outside. Its blocks are kept if ``keep``."""
        out = np.empty((height, width, 3), np.uint8)
        rows, columns = self.block
        top, bottom = max(0, y), min(self.height, y + height)
        left, right = max(0, x), min(self.width, x + width)
        if (bottom - top, right - left) != (height, width):
            out[:] = 255
        if top >= bottom or left >= right:
            return out
        for i in range(top // rows, (bottom - 1) // rows + 1):
            for j in range(left // columns, (right - 1) // columns + 1):
                block = self._block(i, j, keep=keep)
                y0, x0 = max(top, i * rows), max(left, j * columns)
                y1, x1 = min(bottom, i * rows + block.shape[0]), min(right, j * columns + block.shape[1])
                part = block[y0 - i * rows : y1 - i * rows, x0 - j * columns : x1 - j * columns]
                out[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return out

    def _block(self, i: int, j: int, *, keep: bool) -> NDArray[np.uint8]:
        with self._lock:
            if (i, j) in self._kept:
                self._kept.move_to_end((i, j))
                return self._kept[i, j]
        rows, columns = self.block
        y, x = i * rows, j * columns
        height, width = min(rows, self.height - y), min(columns, self.width - x)
        if isinstance(self._source, Layer):
            block = self._source.halved(x, y, width, height)
        else:
            block = self._source.read(x, y, width, height)
        if keep and self._most:
            with self._lock:
                self._kept[i, j] = block
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return block

    def halved(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A window at half the resolution, px of that; at the end of an odd side, a pixel has half the source."""
        width_here, height_here = min(2 * width, self.width - 2 * x), min(2 * height, self.height - 2 * y)
        # Blocks of the file are not needed a second time, unless all of them can stay.
        keep = self.fits or isinstance(self._source, Layer)
        return np.asarray(Image.fromarray(self.read(2 * x, 2 * y, width_here, height_here, keep=keep)).reduce(2))


class Direct(Layer):
    """A level whose pixels need no decoding: nothing is kept."""

    def read(self, x: int, y: int, width: int, height: int, *, keep: bool = True) -> NDArray[np.uint8]:
        """Read a window, px of the level; white outside."""
        assert isinstance(self._source, Stored)
        return self._source.read(x, y, width, height)


def layers_of(levels: Sequence[Stored]) -> list[Layer]:
    """All resolutions of a slide: its levels, and halved ones where the file has none; the finest first."""
    layers: list[Layer] = []
    for index, level in enumerate(levels):
        layers.append(Layer(level) if level.chunk else Direct(level))
        following = levels[index + 1 : index + 2]
        next_down = max((down for other in following for down in (other.down_x, other.down_y)), default=np.inf)
        while (finer := layers[-1]).width * finer.height > _SMALLEST_PX:
            if _GAP * max(finer.down_x, finer.down_y) > next_down:
                break
            layers.append(Layer(finer))
    return layers


def whole_blocks(chunk: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a block of about `_BLOCK_PX` that consists of whole tiles or strips."""
    rows, columns = chunk
    across = max(1, min(round(1024 / columns), round(_BLOCK_PX / (rows * columns))))
    down = max(1, round(_BLOCK_PX / (rows * columns * across)))
    return rows * down, columns * across
