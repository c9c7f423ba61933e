"""Read the µm per pixel from the metadata of a file. Nothing is guessed: an implausible value gives None.

A missing pixel size, or one left at a default, is the most common fault of slide files. A resolution tag therefore
counts only if a microscope can have this resolution: 72 or 96 dpi (264-353 µm/px) is a screen default.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from follicle_stager.pixel_size import PixelSize

if TYPE_CHECKING:
    from collections.abc import Mapping

_UM_PER_UNIT = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mikrometer": 1.0,
    "mkm": 1.0,
    "pm": 1e-6,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "dm": 1e5,
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
    "thou": 25.4,
    "pt": 25_400 / 72,
}


def um_per_unit(unit: str | None) -> float | None:
    """µm in one ``unit`` of length; None if it is not a unit of length (``"pixel"``, empty)."""
    # ImageJ writes the micro sign as an escape sequence into an ASCII field.
    text = str(unit or "").strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    for charset in ("latin-1", "cp1252"):  # UTF-8 that a program read in this charset and wrote again: "Âµm"
        with contextlib.suppress(UnicodeError):
            text = text.encode(charset).decode("utf-8")
            text = text.encode(charset).decode("utf-8")
    text = re.sub(r"\s*/\s*(px|pixel)$", "", text.lower().replace("μ", "µ"))
    text = text if text in _UM_PER_UNIT else re.sub(r"[\s-]", "", text)
    return _UM_PER_UNIT.get(text) or _UM_PER_UNIT.get(text.removesuffix("s"))


def number(text: object) -> float:
    """Read a number in the format of any country: ``0.25``, ``0,25``, ``1.234,5`` or ``1'234.5``.

    Raises
    ------
    ValueError, TypeError
        If it is not a number.
    """
    if not isinstance(text, str):
        return float(text)  # type: ignore[arg-type]
    plain = re.sub(r"(?<=\d)[\s'’](?=\d{3})", "", text.strip().replace("\u2212", "-"))
    if "," in plain and "." in plain:  # the last of the two is the decimal separator
        plain = plain.replace("." if plain.rindex(",") > plain.rindex(".") else ",", "")
    return float(plain.replace(",", "."))


def um_of_ome(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    """µm per pixel in x and y from an OME ``Pixels`` element, plausible or not; the default unit is µm."""
    try:
        unit_x = pixels.get("PhysicalSizeXUnit") or "µm"
        size_x = number(pixels["PhysicalSizeX"]) * (um_per_unit(unit_x) or math.nan)
        size_y = number(pixels.get("PhysicalSizeY", pixels["PhysicalSizeX"])) * (
            um_per_unit(pixels.get("PhysicalSizeYUnit") or unit_x) or math.nan
        )
    except (KeyError, TypeError, ValueError):
        return None
    return (size_x, size_y) if math.isfinite(size_x) and math.isfinite(size_y) else None


def from_ome(pixels: Mapping[str, Any]) -> PixelSize | None:
    """Pixel size from the attributes of an OME ``Pixels`` element."""
    given = um_of_ome(pixels)
    return PixelSize.checked(*given, "OME PhysicalSize") if given is not None else None


def from_aperio(description: str) -> PixelSize | None:
    """Pixel size from ``MPP = 0.2520`` in an Aperio image description."""
    found = re.search(r"\bMPP\s*=\s*([0-9.,eE+-]+)", description, re.IGNORECASE)
    try:
        mpp = number(found.group(1)) if found else math.nan
    except ValueError:
        return None
    return PixelSize.checked(mpp, mpp, "Aperio MPP")


def from_philips(description: str) -> PixelSize | None:
    """Pixel size of the scan (not of macro or label) from a Philips image description, which has mm, y before x."""
    try:
        root = ElementTree.fromstring(description)
        scans = [
            image
            for image in root.iter("DataObject")
            if image.get("ObjectType") == "DPScannedImage" and _text(image, "PIM_DP_IMAGE_TYPE") in ("WSI", "")
        ]
        spacing = next(text for image in scans if (text := _text(image, "DICOM_PIXEL_SPACING")))
        down, across = (number(text) * 1e3 for text in spacing.replace('"', " ").split()[:2])
    except (ElementTree.ParseError, StopIteration, ValueError):
        return None
    return PixelSize.checked(across, down, "Philips DICOM_PIXEL_SPACING")


def _text(image: ElementTree.Element, name: str) -> str:
    """First attribute with this name in an object of a Philips description; its own attributes come first."""
    own = [a for a in image.findall("Attribute") if a.get("Name") == name]
    found = own or [a for a in image.iter("Attribute") if a.get("Name") == name]
    return (found[0].text or "").strip() if found else ""


def from_resolution(per_unit_x: float, per_unit_y: float, unit: str | None, source: str) -> PixelSize | None:
    """Pixel size from a resolution (pixels per ``unit``), e.g. TIFF XResolution with ResolutionUnit."""
    unit_um = um_per_unit(unit)
    if unit_um is None or per_unit_x <= 0 or per_unit_y <= 0:
        return None
    return PixelSize.checked(unit_um / per_unit_x, unit_um / per_unit_y, source)
