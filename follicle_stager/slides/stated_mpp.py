"""µm per pixel, from whatever a file says about it. Nothing is guessed: what is no pixel size is None.

Pixel size lost, or left at a default, is the commonest fault of slide files. A resolution tag therefore
counts only where it is one that a microscope can have: 72 or 96 dpi (264-353 µm/px) is a screen default.
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
    """µm in one ``unit`` of length, None for a unit that is none (``"pixel"``, empty)."""
    # ImageJ writes the micro sign as an escape into an ASCII field.
    text = str(unit or "").strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    for charset in ("latin-1", "cp1252"):  # UTF-8 that a program read so, and wrote again: "Âµm"
        with contextlib.suppress(UnicodeError):
            text = text.encode(charset).decode("utf-8")
            text = text.encode(charset).decode("utf-8")
    text = re.sub(r"\s*/\s*(px|pixel)$", "", text.lower().replace("μ", "µ"))
    text = text if text in _UM_PER_UNIT else re.sub(r"[\s-]", "", text)
    return _UM_PER_UNIT.get(text) or _UM_PER_UNIT.get(text.removesuffix("s"))


def number(text: object) -> float:
    """A number as files of any country write it: ``0.25``, ``0,25``, ``1.234,5`` or ``1'234.5``.

    Raises
    ------
    ValueError, TypeError
        If it is none.
    """
    if not isinstance(text, str):
        return float(text)  # type: ignore[arg-type]
    plain = re.sub(r"(?<=\d)[\s'’](?=\d{3})", "", text.strip().replace("\u2212", "-"))
    if "," in plain and "." in plain:  # the last sign is the decimal one
        plain = plain.replace("." if plain.rindex(",") > plain.rindex(".") else ",", "")
    return float(plain.replace(",", "."))


def um_of_ome(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    """µm per pixel across and down by an OME ``Pixels`` element, plausible or not; the default unit is µm."""
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
    """Scale of the scan (and not of macro or label) in a Philips image description: mm, down and across."""
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
    """First attribute of this name in an object of a Philips description, its own ones first."""
    own = [a for a in image.findall("Attribute") if a.get("Name") == name]
    found = own or [a for a in image.iter("Attribute") if a.get("Name") == name]
    return (found[0].text or "").strip() if found else ""


def from_resolution(per_unit_x: float, per_unit_y: float, unit: str | None, source: str) -> PixelSize | None:
    """Pixel size from a resolution (pixels per ``unit``), e.g. TIFF XResolution with ResolutionUnit."""
    unit_um = um_per_unit(unit)
    if unit_um is None or per_unit_x <= 0 or per_unit_y <= 0:
        return None
    return PixelSize.checked(unit_um / per_unit_x, unit_um / per_unit_y, source)
