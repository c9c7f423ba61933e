"""Read OME metadata of the images in a file: names, pixel sizes, channels, and the files that hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from follicle_stager.slides import stated_mpp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from follicle_stager.pixel_size import PixelSize

# Names that scanners and converters give to images other than the scan: "macro image", "Label", "scan.svs (thumbnail)".
# "Sox9 MAP2" and "Mapping" must not match.
_WORDS = r"(label|macro|thumbnail|overview|preview)([\s_-]*image)?"
_BESIDE = re.compile(rf"(({_WORDS}|map)([\s_-]*\d+)?|.*[\s_:#(\[-]{_WORDS}[)\]]?)(\.[a-z]+)?")
# An image is an overview of the glass if its pixels are this many times larger than those of the finest image, and too
# large (µm/px) to recognise stages.
_OVERVIEW_FACTOR, _OVERVIEW_MPP = 8.0, 3.0
# Names of fluorescent channels; the red, green and blue channels of a camera do not match.
_FLUORESCENT = re.compile(r"dapi|hoechst|fitc|tritc|gfp|rfp|yfp|cherry|tomato|texas|alexa|cy[357]|fluor")


@dataclass(frozen=True)
class OmeImage:
    """One ``Image`` of OME metadata.

    Attributes
    ----------
    name
        Name in the file; may be empty.
    width, height
        Size of the image, px.
    size
        Pixel size; None if the file has none, or one that is implausible for a microscope.
    mpp
        Pixel size in the file, µm/px, even if implausible; None if the file has none.
    channels
        Name and colour (0xRRGGBB; None if the file has none) of each channel.
    """

    name: str
    width: int
    height: int
    size: PixelSize | None
    mpp: float | None
    channels: tuple[tuple[str, int | None], ...]


def read_ome(xml: str) -> list[OmeImage]:
    """Read the images of OME-XML, in the order of the file.

    Raises
    ------
    ValueError
        If the text is not XML, or a number in it cannot be read.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the OME metadata is damaged: {error}") from None
    return [_image(image, pixels) for image in root.findall("{*}Image") for pixels in image.findall("{*}Pixels")]


def _image(image: ElementTree.Element, pixels: ElementTree.Element) -> OmeImage:
    given = stated_mpp.um_of_ome(pixels.attrib)
    channels = []
    for channel in pixels.findall("{*}Channel"):
        color = channel.get("Color")
        try:  # OME stores RGBA as one signed 32-bit number
            rgb = (int(color) & 0xFFFFFFFF) >> 8 if color is not None else None
        except ValueError:
            rgb = None
        channels.append((channel.get("Name", ""), rgb))
    return OmeImage(
        name=image.get("Name", ""),
        width=int(pixels.get("SizeX", "0")),
        height=int(pixels.get("SizeY", "0")),
        size=stated_mpp.from_ome(pixels.attrib),
        mpp=given[0] if given is not None else None,
        channels=tuple(channels),
    )


def other_files(xml: str, name: str) -> list[str]:
    """Other files that OME metadata names as parts of an image, even if the metadata has other faults.

    tifffile opens each of them. A part with the UUID of the file itself is in this file, even if the file was renamed.

    Parameters
    ----------
    xml
        The OME metadata.
    name
        Name of the file that holds the metadata.

    Raises
    ------
    ValueError
        If no part of any image is in the file itself.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:  # tifffile cannot read it either
        return []
    own = root.get("UUID")
    parts = [(part.get("FileName", ""), part.text) for part in root.iter() if part.tag.endswith("UUID")]
    others = [file for file, uuid in parts if file and file != name and (own is None or uuid != own)]
    if parts and len(others) == len(parts):
        raise ValueError(f"according to its metadata, the whole image is in {others[0]!r}; was one of them renamed?")
    return list(dict.fromkeys(others))


def is_beside(name: str) -> bool:
    """Whether the name of an image says that it is not the scan, but a label, macro, thumbnail or similar."""
    return bool(_BESIDE.fullmatch(name.strip().lower()))


def is_overview(mpp: float | None, finest: float | None) -> bool:
    """Whether an image is an overview of the glass, from its pixel size and the finest one in the file, µm/px."""
    return mpp is not None and finest is not None and mpp >= max(_OVERVIEW_FACTOR * finest, _OVERVIEW_MPP)


def rgb_order(channels: Sequence[tuple[str, int | None]]) -> tuple[int, int, int] | None:
    """Positions of the red, green and blue channel; None if the channels have other colours, as in fluorescence.

    Parameters
    ----------
    channels
        Name and colour (0xRRGGBB) of each channel. Channels without either are red, green and blue, in this order.
    """
    primaries = [0xFF0000, 0x00FF00, 0x0000FF]
    colors = [color if color not in (0xFFFFFF, 0) else None for _, color in channels]
    if any(color is not None for color in colors):
        if sorted(colors, key=str) != sorted(primaries, key=str):
            return None
        return colors.index(primaries[0]), colors.index(primaries[1]), colors.index(primaries[2])
    names = [name.strip().lower() for name, _ in channels]
    if any(_FLUORESCENT.search(name) for name in names):
        return None
    for known in (("red", "green", "blue"), ("r", "g", "b")):
        places = [[i for i, name in enumerate(names) if word in re.split(r"[^a-z]+", name)] for word in known]
        if all(len(place) == 1 for place in places):
            return places[0][0], places[1][0], places[2][0]
    return 0, 1, 2
