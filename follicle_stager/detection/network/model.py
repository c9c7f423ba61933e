"""A trained network on disk: a folder with ``network.toml`` and one ONNX file for each scale.

The description names each file's SHA-256; weights that do not match are refused. ONNX holds arithmetic and nothing that
could run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import multiprocessing
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import ndimage as ndi

from follicle_stager.config import Positive, explain, read_values
from follicle_stager.detection.network.layout import REACH, STEP
from follicle_stager.errors import UserError
from follicle_stager.files import check_regular
from follicle_stager.geometry import equal_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: The weights that come with the package.
SHIPPED = Path(__file__).resolve().parents[2] / "models"
DESCRIPTION = "network.toml"
# Longest side of what is worked out at once, px, besides what is shown around it: some 400 MB of memory, which ONNX
# Runtime keeps for the next one. Larger tiles look at less twice, but to touch new memory costs more than that.
_TILE_PX = 1280


class Scale(BaseModel):
    """One scale of a network; lengths are µm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^[\w-]+\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mpp: Positive
    """Slides are brought to it."""
    smallest_um: Positive
    """Follicles of this diameter are looked for,"""
    largest_um: Positive
    """... up to this one."""
    familiar_to: Positive | None = None
    """A section whose mean texture is further from 0 than this is unlike all that the network learned from."""
    intercept: float = 0.0
    weights: dict[str, float] = {}
    """Logistic regression from what a claim is made of to the probability that it is a follicle."""


class Description(BaseModel):
    """What ``network.toml`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    scales: tuple[Scale, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Maps:
    """What the network answers for a window, see `layout`: probabilities, and rays in px of the window."""

    classes: NDArray[np.float32]
    border: NDArray[np.float32]
    centre: NDArray[np.float32]
    rays: NDArray[np.float32]
    texture: NDArray[np.float32]


class Network:
    """One scale, ready to run.

    Parameters
    ----------
    folder
        Of the description.
    scale
        Which of its scales.

    Raises
    ------
    UserError
        If the file is missing or another than described.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        import onnxruntime

        path = folder / scale.file
        if not path.exists():
            raise UserError(f"{path}: the network's weights are missing; install follicle-stager again.")
        check_regular(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != scale.sha256:
            raise UserError(
                f"{path}: these are not the weights that {folder / DESCRIPTION} describes (SHA-256 differs): the file "
                "is damaged or was exchanged. Install follicle-stager again, or export the network again."
            )
        options = onnxruntime.SessionOptions()
        # A process of a batch has neighbours; a single one may use the machine.
        options.intra_op_num_threads = 1 if multiprocessing.parent_process() else (os.cpu_count() or 1)
        options.enable_mem_pattern = False  # windows differ in size, and a plan for each would be kept
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        if len(self._session.get_outputs()) != len(fields(Maps)):
            raise UserError(f"{path}: this network was trained by another version of follicle-stager; train it again.")
        self.scale = scale

    def __call__(self, shown: NDArray[np.float32], tissue: NDArray[np.bool_] | None = None) -> Maps:
        """Answer for a window.

        It is worked out tile by tile, each with what lies around it: memory is bounded, and what is further away than
        `layout.REACH` hardly changes anything.

        Parameters
        ----------
        shown
            (3, y, x) from `layout.shown`; sides are multiples of `layout.STEP`.
        tissue
            (y, x) where to look; what is far from it is answered with zeros.
        """
        height, width = (side // STEP for side in shown.shape[1:])
        wanted = np.ones((height, width), bool)
        if tissue is not None:
            # Borders of follicles at the rim run a little outside.
            blocks = tissue[: height * STEP, : width * STEP].reshape(height, STEP, width, STEP).any(axis=(1, 3))
            wanted = ndi.maximum_filter(blocks, 3) if blocks.any() else wanted
        parts = [
            tuple(_Part.of(s, side) for s, side in zip(box, shown.shape[1:], strict=True)) for box in _boxes(wanted)
        ]
        whole: list[NDArray[np.float32]] = []
        for rows, columns in parts:
            tile = shown[:, rows.around, columns.around]
            answer: list[NDArray[np.float32]] = self._session.run(None, {"picture": tile[None]})
            steps = [tile.shape[1] // part.shape[-2] for part in answer]
            whole = whole or [
                np.zeros((*part.shape[1:-2], shown.shape[1] // step, shown.shape[2] // step), np.float32)
                for part, step in zip(answer, steps, strict=True)
            ]
            for part, step, out in zip(answer, steps, whole, strict=True):
                out[..., rows.own(step), columns.own(step)] = part[0][..., rows.kept(step), columns.kept(step)]
        return Maps(*whole)


@dataclass(frozen=True)
class _Part:
    """A stretch of a window's side, px: from ``start`` to ``stop``, worked out from ``first`` to ``last``."""

    start: int
    stop: int
    first: int
    last: int

    @classmethod
    def of(cls, blocks: slice, length: int) -> _Part:
        """A stretch of `layout.STEP` px blocks of a side."""
        start, stop = blocks.start * STEP, blocks.stop * STEP
        return cls(start, stop, max(0, start - REACH), min(length, stop + REACH))

    @property
    def around(self) -> slice:
        return slice(self.first, self.last)

    def own(self, step: int) -> slice:
        """Its place in a map of the whole window with ``step`` px per pixel."""
        return slice(self.start // step, self.stop // step)

    def kept(self, step: int) -> slice:
        """Its place in the map that was worked out."""
        return slice((self.start - self.first) // step, (self.stop - self.first) // step)


def _boxes(wanted: NDArray[np.bool_]) -> Iterator[tuple[slice, slice]]:
    """Boxes without overlap, none larger than a tile, that hold all that is wanted and little else.

    What is wanted is cut across its longer side until it fits; each piece loses its empty rim.
    """
    rows, columns = np.nonzero(wanted)
    if not len(rows):
        return
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    lengths = [s.stop - s.start for s in box]
    axis = int(np.argmax(lengths))
    if lengths[axis] * STEP <= _TILE_PX:
        yield box
        return
    for start, stop in equal_parts(box[axis].start, box[axis].stop, _TILE_PX / STEP):
        piece = np.zeros_like(wanted)
        own = tuple(slice(start, stop) if i == axis else s for i, s in enumerate(box))
        piece[own] = wanted[own]
        yield from _boxes(piece)


def can_run() -> bool:
    """Whether networks can run here."""
    return importlib.util.find_spec("onnxruntime") is not None


def describe(folder: Path = SHIPPED) -> Description:
    """Read a network's description.

    Raises
    ------
    UserError
        If there is none, or it is damaged.
    """
    path = folder / DESCRIPTION
    try:
        return Description.model_validate(read_values(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}. Export the network again.") from None


@functools.lru_cache(maxsize=4)
def load(folder: Path, index: int) -> Network:
    """One scale of the network in a folder; loaded once per process."""
    return Network(folder, describe(folder).scales[index])


def toml_of(description: Description) -> str:
    """A description as TOML."""

    def text(value: Any) -> str:
        return f'"{value}"' if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)

    lines = [f'name = "{description.name}"']
    for scale in description.scales:
        values = scale.model_dump(exclude_none=True)
        weights = values.pop("weights")
        lines += ["", "[[scales]]", *(f"{name} = {text(value)}" for name, value in values.items())]
        if weights:
            lines.append(
                "weights = { " + ", ".join(f"{name} = {text(value)}" for name, value in weights.items()) + " }"
            )
    return "\n".join(lines) + "\n"
