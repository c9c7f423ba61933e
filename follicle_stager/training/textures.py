"""Real tissue without follicles: pictures of other organs, as amounts of stain.

The pictures are not part of the project. A folder of them has a table SOURCES.csv: ``file``, ``mpp`` (µm per pixel) and
``use``; only rows with the use ``train`` are read. Their stains are separated and mixed anew with the look of each
patch. The colours, noise and compression of a patch therefore do not tell real tissue from drawn follicles.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage as ndi

from follicle_stager.errors import UserError
from follicle_stager.evaluation.marks import SOURCES, SourcePicture, read_sources
from follicle_stager.phantom.patches import Ground
from follicle_stager.slides import open_slide
from follicle_stager.stain import StainModel, estimate_white, fit_stains

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Optical density from which a pixel is tissue, for the fit of the stains.
_TISSUE_OD = 0.12
# Pixel size at which the colour of the light is measured, µm/px.
_OVERVIEW_MPP = 4.0
# Largest factor by which a picture is mirrored at its edges to fill a patch.
_MIRRORED = 4.0


@dataclass(frozen=True, eq=False)
class _Texture:
    """A picture: nuclear stain, counterstain and where it is clear, each (y, x); pixel size, µm/px; and folder."""

    nuclear: NDArray[np.float16]
    counter: NDArray[np.float16]
    clear: NDArray[np.bool_]
    mpp: float
    source: Path

    @property
    def side_um(self) -> float:
        """Shorter side."""
        return float(min(self.nuclear.shape) * self.mpp)


class Textures:
    """Windows of the pictures of a folder, for `phantom.patches`.

    Parameters
    ----------
    folder
        Folder with ``SOURCES.csv`` and the pictures.

    Raises
    ------
    UserError
        If the table or a picture is missing, or the table names no picture for training.
    """

    def __init__(self, folder: Path) -> None:
        pictures = for_training(folder)
        if not pictures:
            raise UserError(f"{folder / SOURCES}: it names no picture with the use 'train'.")
        self._textures = [_read(one.path, one.mpp) for one in pictures]

    def __call__(self, rng: np.random.Generator, side_px: int, mpp: float) -> Ground | None:
        """Draw a window of a random picture, turned and mirrored; None if all pictures are too small.

        Parameters
        ----------
        rng
            Source of the choice.
        side_px
            Side of the window, px.
        mpp
            Pixel size of the window, µm/px.
        """
        size = rng.uniform(0.8, 1.25)  # cells of other organs are larger or smaller
        fitting = [t for t in self._textures if t.side_um * size * _MIRRORED >= side_px * mpp]
        if not fitting:
            return None
        texture = fitting[rng.choice(len(fitting), p=_shares(fitting))]
        step = mpp / (texture.mpp * size)
        reach = int(np.ceil(side_px * step))
        corner = [int(rng.integers(0, max(1, n - reach + 1))) for n in texture.nuclear.shape]
        at = tuple(slice(c, c + reach) for c in corner)
        turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
        strength = rng.uniform(0.75, 1.15), rng.uniform(0.5, 0.95)
        nuclear, counter, clear = (
            _oriented(_resized(a[at].astype(np.float32), reach, side_px), turn, mirror=mirror)
            for a in (texture.nuclear, texture.counter, texture.clear)
        )
        return Ground(nuclear * np.float32(strength[0]), counter * np.float32(strength[1]), clear > 0.5)


def _shares(textures: list[_Texture]) -> NDArray[np.float64]:
    """Share of patches that each picture gets: large sources get more, but less than in proportion to their area."""
    areas = np.array([t.nuclear.size * t.mpp**2 for t in textures])
    names, source = np.unique([str(t.source) for t in textures], return_inverse=True)
    of_source = np.bincount(source, areas, len(names))[source]
    shares = areas / np.sqrt(of_source)
    return np.asarray(shares / shares.sum())


def textures_id(folder: str) -> str:
    """Short hash of the pictures of a folder; patches with other pictures are other patches."""
    digest = hashlib.sha256()
    for one in for_training(Path(folder)):
        digest.update(f"{one.path.name} {one.mpp} {hashlib.sha256(one.path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()[:12]


@functools.cache
def load_textures(folder: str) -> Textures | None:
    """Read the pictures of a folder, once per process; None without a folder."""
    return Textures(Path(folder)) if folder else None


def for_training(folder: Path) -> list[SourcePicture]:
    """Pictures of a folder that training may use."""
    pictures = [picture for picture in read_sources(folder) if picture.use == "train"]
    for one in pictures:
        if not one.path.is_file():
            raise UserError(f"{folder / SOURCES}: line {one.line}: there is no file {one.cells['file']} in {folder}.")
    return pictures


def _read(path: Path, mpp: float) -> _Texture:
    with open_slide(path, mpp=mpp) as slide:
        rgb = slide.read_region(0, 0, slide.width, slide.height, 0)
    step = max(1, round(_OVERVIEW_MPP / mpp))
    white = estimate_white(rgb[::step, ::step])
    od = StainModel(white, np.zeros(3), np.zeros(3), 1.0, 1.0, False).optical_density(rgb)
    stain = fit_stains(rgb, od.mean(axis=2) > _TISSUE_OD, white)
    nuclear, counter = stain.amounts(od)
    clear = ndi.gaussian_filter(od.mean(axis=2), 1.0 / mpp) < stain.clear_density
    return _Texture(nuclear.astype(np.float16), counter.astype(np.float16), clear, mpp, path.parent)


def _resized(values: NDArray[np.float32], reach: int, side: int) -> NDArray[np.float32]:
    """A window, mirrored at its edges up to ``reach`` and resized to ``side``, both px; averaged where it shrinks."""
    short = [(0, max(0, reach - n)) for n in values.shape]
    picture = Image.fromarray(np.pad(values, short, mode="symmetric"))
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def _oriented(values: NDArray[np.float32], turn: int, *, mirror: bool) -> NDArray[np.float32]:
    values = np.rot90(values, turn)
    return np.ascontiguousarray(values[:, ::-1] if mirror else values)
