"""µm per pixel, from whatever a file says about it. Never a guess: what is not a scale is None.

Pixel size lost, or left at a default, is the commonest fault of slide files. A resolution tag therefore
counts only where it is one that a microscope can have: 72 or 96 dpi (264-353 µm/px) is a screen default.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

#: Outside this range (µm/px) a pixel size is not one of light microscopy of tissue sections.
PLAUSIBLE_MPP = (0.02, 20.0)

_UM_PER_UNIT = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "inch": 25_400.0,
    "in": 25_400.0,
    "m": 1e6,
    "meter": 1e6,
    "å": 1e-4,
}


#: Source of a pixel size that stands instead of the file's.
GIVEN = "given by the user"


@dataclass(frozen=True)
class PixelSize:
    """Size of a level-0 pixel.

    Attributes
    ----------
    mpp_x, mpp_y
        µm per pixel across and down; they may differ.
    source
        Where the numbers come from, for the record.
    """

    mpp_x: float
    mpp_y: float
    source: str

    @property
    def mpp(self) -> float:
        """Side of the square pixel of equal area, µm."""
        return math.sqrt(self.mpp_x * self.mpp_y)


def pixel_size(mpp_x: float, mpp_y: float, source: str) -> PixelSize | None:
    """Accept a pixel size if a microscope can have it, else None."""
    low, high = PLAUSIBLE_MPP
    plausible = all(math.isfinite(value) and low <= value <= high for value in (mpp_x, mpp_y))
    return PixelSize(mpp_x, mpp_y, source) if plausible else None


def um_per_unit(unit: str | None) -> float | None:
    """µm in one ``unit`` of length, None for a unit that is none (``"pixel"``, empty)."""
    # ImageJ writes the micro sign as an escape into an ASCII field.
    text = (unit or "").strip().lower().replace("\\u00b5", "µ")
    return _UM_PER_UNIT.get(text)


def from_ome(pixels: dict[str, Any]) -> PixelSize | None:
    """Scale from the attributes of an OME ``Pixels`` element (default unit µm)."""
    try:
        size_x = float(pixels["PhysicalSizeX"]) * (um_per_unit(pixels.get("PhysicalSizeXUnit", "µm")) or 0)
        size_y = float(pixels.get("PhysicalSizeY", pixels["PhysicalSizeX"])) * (
            um_per_unit(pixels.get("PhysicalSizeYUnit", pixels.get("PhysicalSizeXUnit", "µm"))) or 0
        )
    except (KeyError, TypeError, ValueError):
        return None
    return pixel_size(size_x, size_y, "OME PhysicalSize")


def from_aperio(description: str) -> PixelSize | None:
    """Scale from ``MPP = 0.2520`` in an Aperio image description."""
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", description)
    try:
        mpp = float(found.group(1)) if found else math.nan
    except ValueError:
        return None
    return pixel_size(mpp, mpp, "Aperio MPP")


def from_resolution(per_unit_x: float, per_unit_y: float, unit: str | None, source: str) -> PixelSize | None:
    """Scale from a resolution (pixels per ``unit``), e.g. TIFF XResolution with ResolutionUnit."""
    unit_um = um_per_unit(unit)
    if unit_um is None or per_unit_x <= 0 or per_unit_y <= 0:
        return None
    return pixel_size(unit_um / per_unit_x, unit_um / per_unit_y, source)
