"""µm per pixel, from whatever a file says about it. Never a guess: what is not a scale is None.

Pixel size lost, or left at a default, is the commonest fault of slide files. A resolution tag therefore
counts only where it is one that a microscope can have: 72 or 96 dpi (264-353 µm/px) is a screen default.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Outside this range (µm/px) a pixel size is not one of light microscopy of tissue sections.
PLAUSIBLE_MPP = (0.02, 20.0)

_UM_PER_UNIT = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "inch": 25_400.0,
    "inches": 25_400.0,
    "in": 25_400.0,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "å": 1e-4,
    "angstrom": 1e-4,
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
    text = str(unit or "").strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    for charset in ("latin-1", "cp1252"):  # UTF-8 that a program read so, and wrote again: "Âµm"
        with contextlib.suppress(UnicodeError):
            text = text.encode(charset).decode("utf-8")
            text = text.encode(charset).decode("utf-8")
    text = text.lower().replace("μ", "µ")
    return _UM_PER_UNIT.get(text) or _UM_PER_UNIT.get(text.removesuffix("s"))


def number(text: object) -> float:
    """A number as files of any country write it: ``0.25`` or ``0,25``.

    Raises
    ------
    ValueError, TypeError
        If it is none.
    """
    return float(text.strip().replace(",", ".") if isinstance(text, str) else text)  # type: ignore[arg-type]


def um_of_ome(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    """µm per pixel across and down by an OME ``Pixels`` element, plausible or not; the default unit is µm."""
    try:
        unit_x = pixels.get("PhysicalSizeXUnit", "µm")
        size_x = number(pixels["PhysicalSizeX"]) * (um_per_unit(unit_x) or math.nan)
        size_y = number(pixels.get("PhysicalSizeY", pixels["PhysicalSizeX"])) * (
            um_per_unit(pixels.get("PhysicalSizeYUnit", unit_x)) or math.nan
        )
    except (KeyError, TypeError, ValueError):
        return None
    return (size_x, size_y) if math.isfinite(size_x) and math.isfinite(size_y) else None


def from_ome(pixels: Mapping[str, Any]) -> PixelSize | None:
    """Scale from the attributes of an OME ``Pixels`` element."""
    given = um_of_ome(pixels)
    return pixel_size(*given, "OME PhysicalSize") if given is not None else None


def from_aperio(description: str) -> PixelSize | None:
    """Scale from ``MPP = 0.2520`` in an Aperio image description."""
    found = re.search(r"\bMPP\s*=\s*([0-9.,eE+-]+)", description)
    try:
        mpp = number(found.group(1)) if found else math.nan
    except ValueError:
        return None
    return pixel_size(mpp, mpp, "Aperio MPP")


def from_philips(description: str) -> PixelSize | None:
    """Scale from the first ``DICOM_PIXEL_SPACING`` (mm, down and across) in a Philips image description."""
    found = re.search(r'DICOM_PIXEL_SPACING"[^>]*>([^<]*)<', description)
    spacing = re.findall(r"[0-9][0-9.,eE+-]*", found.group(1)) if found else []
    try:
        down, across = (number(text) * 1e3 for text in spacing[:2])
    except ValueError:  # not two, or no numbers
        return None
    return pixel_size(across, down, "Philips DICOM_PIXEL_SPACING")


def from_resolution(per_unit_x: float, per_unit_y: float, unit: str | None, source: str) -> PixelSize | None:
    """Scale from a resolution (pixels per ``unit``), e.g. TIFF XResolution with ResolutionUnit."""
    unit_um = um_per_unit(unit)
    if unit_um is None or per_unit_x <= 0 or per_unit_y <= 0:
        return None
    return pixel_size(unit_um / per_unit_x, unit_um / per_unit_y, source)
