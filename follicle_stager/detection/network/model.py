"""A trained network on disk: a folder with ``network.toml`` and one ONNX file for each scale.

The description contains each file's SHA-256, and weights that do not match are refused. An ONNX file holds arithmetic
only, no code that could be executed.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from follicle_stager.config import Positive, explain, read_values
from follicle_stager.detection.network.engines import REFERENCE, choose_engine
from follicle_stager.detection.network.engines import SHIPPED as SHIPPED
from follicle_stager.detection.network.layout import REACH, STEP
from follicle_stager.errors import UserError
from follicle_stager.files import as_toml, check_regular
from follicle_stager.geometry import equal_parts
from follicle_stager.machine import processors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DESCRIPTION = "network.toml"
# Longest side of a tile without its context, px. It needs about 250 MB of memory, which the engine keeps for the next
# tile. Larger tiles would compute less context twice, but they do not fit into a processor's cache.
_TILE_PX = 896
# The same at a scale that looks for corpora lutea, which are larger than the context of a tile: with small tiles, their
# precision on evaluation_v4 falls from 0.96 to 0.90.
_TILE_OF_LUTEA_PX = 1280


# Threads of a network, if a batch has set them; otherwise 0.
_threads = 0


class Scale(BaseModel):
    """One scale of a network; lengths are µm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^[\w-]+\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mpp: Positive
    """Pixel size, µm/px, to which slides are resampled."""
    smallest_um: Positive
    """Smallest diameter of follicles."""
    largest_um: Positive
    """Largest diameter of follicles."""
    corpora_lutea: bool = False
    """Whether corpora lutea are looked for at this scale."""
    familiar_to: Positive | None = None
    """Limit of strangeness, SDs; a section above it is unlike all sections that the network learned from."""
    intercept: float = 0.0
    weights: dict[str, float] = {}
    """Logistic regression from the evidence of a claim to the probability that it is a follicle."""


class Description(BaseModel):
    """The content of ``network.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    scales: tuple[Scale, ...] = Field(min_length=1)

    def as_toml(self) -> str:
        """Text of ``network.toml``."""
        return as_toml(self.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True, eq=False)
class Maps:
    """Output of the network for a window, see `layout`: probabilities, and rays in px of the window."""

    classes: NDArray[np.float32]
    border: NDArray[np.float32]
    centre: NDArray[np.float32]
    rays: NDArray[np.float32]
    texture: NDArray[np.float32]


class Network:
    """One scale of a network, ready to run.

    Parameters
    ----------
    folder
        Folder of the description.
    scale
        Scale to run, from that description.
    engine
        Name of the engine, see `engines`.

    Raises
    ------
    UserError
        If the weights are missing or do not match the description.
    """

    def __init__(self, folder: Path, scale: Scale, engine: str = REFERENCE) -> None:
        path = folder / scale.file
        if not path.exists():
            raise UserError(f"{path}: the network's weights are missing; install follicle-stager again.")
        check_regular(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != scale.sha256:
            raise UserError(
                f"{path}: these are not the weights that {folder / DESCRIPTION} describes (SHA-256 differs). The file "
                "is damaged or was replaced. Install follicle-stager again, or export the network again."
            )
        # A process of a batch shares the machine with others; a single process may use all cores.
        alone = 1 if multiprocessing.parent_process() else processors()
        chosen = choose_engine(engine)
        self._run, outputs = chosen.load(content, threads=_threads or alone)
        self._align_px = chosen.align_px
        if outputs != len(fields(Maps)):
            raise UserError(f"{path}: this network was trained by another version of follicle-stager; train it again.")
        self.scale = scale

    def __call__(self, shown: NDArray[np.float32], tissue: NDArray[np.bool_] | None = None) -> Maps:
        """Compute the maps of a window.

        The window is processed in tiles to limit memory, each with `layout.REACH` px of context around it.

        Parameters
        ----------
        shown
            Input, (3, y, x), from `layout.shown`; sides are multiples of `layout.STEP`.
        tissue
            (y, x) bool; True where to look: the maps are 0 far from it. If it is empty, the whole window is looked at.
        """
        # Only here: the name of a network is also needed where nothing is searched.
        from scipy import ndimage as ndi

        height, width = (side // STEP for side in shown.shape[1:])
        wanted = np.ones((height, width), bool)
        if tissue is not None:
            # Outlines of follicles at the rim of the tissue may lie slightly outside it.
            blocks = tissue[: height * STEP, : width * STEP].reshape(height, STEP, width, STEP).any(axis=(1, 3))
            wanted = ndi.maximum_filter(blocks, 3) if blocks.any() else wanted
        parts = [
            tuple(_Span.of(s, side, self._align_px) for s, side in zip(box, shown.shape[1:], strict=True))
            for box in _boxes(wanted, _TILE_OF_LUTEA_PX if self.scale.corpora_lutea else _TILE_PX)
        ]
        whole: list[NDArray[np.float32]] = []
        for rows, columns in parts:
            tile = shown[:, rows.around, columns.around]
            answer = self._run(np.ascontiguousarray(tile[None]))
            steps = [tile.shape[1] // part.shape[-2] for part in answer]
            whole = whole or [
                np.zeros((*part.shape[1:-2], shown.shape[1] // step, shown.shape[2] // step), np.float32)
                for part, step in zip(answer, steps, strict=True)
            ]
            for part, step, out in zip(answer, steps, whole, strict=True):
                out[..., rows.own(step), columns.own(step)] = part[0][..., rows.kept(step), columns.kept(step)]
        return Maps(*whole)


@dataclass(frozen=True)
class _Span:
    """A part of a window's side, px: ``start`` to ``stop``, and ``first`` to ``last`` with its context."""

    start: int
    stop: int
    first: int
    last: int

    @classmethod
    def of(cls, blocks: slice, length: int, align_px: int) -> _Span:
        """The part that covers a range of blocks of `layout.STEP` px, on a side of ``length`` px.

        With its context it is a multiple of ``align_px`` long, if the side is long enough.
        """
        start, stop = blocks.start * STEP, blocks.stop * STEP
        first, last = max(0, start - REACH), min(length, stop + REACH)
        whole = min(length, -(-(last - first) // align_px) * align_px)
        first = max(0, min(first, length - whole))
        return cls(start, stop, first, first + whole)

    @property
    def around(self) -> slice:
        return slice(self.first, self.last)

    def own(self, step: int) -> slice:
        """Position of the part in a map of the whole window with ``step`` px per pixel."""
        return slice(self.start // step, self.stop // step)

    def kept(self, step: int) -> slice:
        """Position of the part in the map of its tile."""
        return slice((self.start - self.first) // step, (self.stop - self.first) // step)


def _boxes(wanted: NDArray[np.bool_], tile_px: int) -> Iterator[tuple[slice, slice]]:
    """Non-overlapping boxes, none larger than a tile, that cover all wanted blocks and few others.

    The bounding box is cut across its longer side until it fits, and each piece is cropped to its wanted blocks.
    """
    rows, columns = np.nonzero(wanted)
    if not len(rows):
        return
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    lengths = [s.stop - s.start for s in box]
    axis = int(np.argmax(lengths))
    if lengths[axis] * STEP <= tile_px:
        yield box
        return
    for start, stop in equal_parts(box[axis].start, box[axis].stop, tile_px / STEP):
        piece = np.zeros_like(wanted)
        own = tuple(slice(start, stop) if i == axis else s for i, s in enumerate(box))
        piece[own] = wanted[own]
        yield from _boxes(piece, tile_px)


def use_threads(count: int) -> None:
    """Set the number of threads of each network that this process loads from now on; results do not depend on it."""
    global _threads
    _threads = count


def describe(folder: Path = SHIPPED) -> Description:
    """Read a network's description.

    Raises
    ------
    UserError
        If the description is missing or damaged.
    """
    path = folder / DESCRIPTION
    try:
        return Description.model_validate(read_values(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}. Export the network again.") from None


def load(folder: Path, index: int, engine: str = REFERENCE) -> Network:
    """Load one scale of the network in a folder for an engine; the last four are cached while the folder has them."""
    return _loaded(folder, index, describe(folder).scales[index].sha256, engine)


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, index: int, sha256: str, engine: str) -> Network:
    return Network(folder, describe(folder).scales[index], engine)
