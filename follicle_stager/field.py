"""A window of a slide at a known µm/px, with the channels that detection and measurement use.

Positions are in µm from the slide's top-left corner; only `Field` converts them to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.stain import StainModel


@dataclass(frozen=True, eq=False)
class Field:
    """Pixels and derived channels of one window.

    Attributes
    ----------
    rgb
        Colour image, (y, x, 3) uint8.
    tissue
        (y, x) bool; True on tissue, holes inside it included.
    stain
        Stain model of the slide.
    mpp
        Pixel size, µm/px; pixels are square.
    x_um, y_um
        Position of the window's top-left corner on the slide, µm.
    """

    rgb: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    stain: StainModel
    mpp: float
    x_um: float
    y_um: float

    @cached_property
    def _channels(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        od = self.stain.optical_density(self.rgb)
        hematoxylin, counterstain = self.stain.amounts(od)
        return hematoxylin.astype(np.float32), counterstain.astype(np.float32), od.mean(axis=2)

    @property
    def hematoxylin(self) -> NDArray[np.float32]:
        """Amount of hematoxylin, (y, x); 1 is the 95th percentile of the slide's tissue."""
        return self._channels[0]

    @property
    def counterstain(self) -> NDArray[np.float32]:
        """Amount of counterstain (eosin, PAS or similar), (y, x); 1 is the 95th percentile of the slide's tissue."""
        return self._channels[1]

    @property
    def density(self) -> NDArray[np.float32]:
        """Mean optical density of the three colours, (y, x); 0 is empty glass."""
        return self._channels[2]

    @property
    def clear(self) -> NDArray[np.bool_]:
        """(y, x) bool; True where a pixel is as clear as glass."""
        return np.asarray(self.density < self.stain.clear_density)

    @cached_property
    def smooth_hematoxylin(self) -> NDArray[np.float32]:
        """Hematoxylin, smoothed by a Gaussian of 0.8 µm against single-pixel noise."""
        return np.asarray(ndi.gaussian_filter(np.minimum(self.hematoxylin, 1.5), 0.8 / self.mpp))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def pixel(
        self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Row and column of slide positions in µm; fractional, with pixel centres at whole numbers."""
        return (y_um - self.y_um) / self.mpp - 0.5, (x_um - self.x_um) / self.mpp - 0.5

    def sample(
        self, channel: NDArray[np.floating], x_um: NDArray[np.floating], y_um: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Values of a channel at slide positions, linearly interpolated; outside the field, the nearest pixel."""
        rows, columns = self.pixel(x_um, y_um)
        values = ndi.map_coordinates(channel, [rows, columns], order=1, mode="nearest", output=np.float32)
        return np.asarray(values)
