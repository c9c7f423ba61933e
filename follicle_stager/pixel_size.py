"""The size of a pixel, and the only place where µm and pixels are converted into each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from shapely import affinity

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

G = TypeVar("G", bound="BaseGeometry")

#: Pixel sizes (µm/px) that a light microscope can have for tissue sections; any other number is an error of the file.
PLAUSIBLE_MPP = (0.02, 20.0)

#: Source of a pixel size that a person gave, and that replaces the one in the file.
GIVEN = "given by the user"


@dataclass(frozen=True)
class PixelSize:
    """Size of a level-0 pixel of a slide.

    Attributes
    ----------
    mpp_x, mpp_y
        µm per pixel across and down; they may differ.
    source
        Where the numbers come from, in words.
    """

    mpp_x: float
    mpp_y: float
    source: str

    @classmethod
    def checked(cls, mpp_x: float, mpp_y: float, source: str) -> PixelSize | None:
        """Return the pixel size if a microscope can have it, else None."""
        low, high = PLAUSIBLE_MPP
        plausible = all(math.isfinite(value) and low <= value <= high for value in (mpp_x, mpp_y))
        return cls(mpp_x, mpp_y, source) if plausible else None

    @property
    def mpp(self) -> float:
        """Side of the square pixel of equal area, µm."""
        return math.sqrt(self.mpp_x * self.mpp_y)

    def to_um(self, geometry: G) -> G:
        """Convert a geometry from level-0 pixels to µm."""
        return affinity.scale(geometry, self.mpp_x, self.mpp_y, origin=(0, 0))

    def to_px(self, geometry: G) -> G:
        """Convert a geometry from µm to level-0 pixels."""
        return affinity.scale(geometry, 1 / self.mpp_x, 1 / self.mpp_y, origin=(0, 0))

    def xy_um(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Convert a position or an extent from level-0 pixels to µm."""
        return x_px * self.mpp_x, y_px * self.mpp_y

    def xy_px(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Convert a position or an extent from µm to level-0 pixels."""
        return x_um / self.mpp_x, y_um / self.mpp_y
