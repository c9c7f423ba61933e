"""What OME metadata says of the pictures in a file: their names, scales, channels, and which files they are in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from follicle_stager.slides import stated_mpp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from follicle_stager.pixel_size import PixelSize

# Names that scanners and converters give to pictures beside the scan: "macro image", "Label", "scan.svs (thumbnail)".
# Of "Sox9 MAP2" or "Mapping" nothing follows.
_WORDS = r"(label|macro|thumbnail|overview|preview)([\s_-]*image)?"
_BESIDE = re.compile(rf"(({_WORDS}|map)([\s_-]*\d+)?|.*[\s_:#(\[-]{_WORDS}[)\]]?)(\.[a-z]+)?")
# A picture so many times coarser than the finest one, and too coarse to tell stages on, shows the glass.
_OVERVIEW_FACTOR, _OVERVIEW_MPP = 8.0, 3.0
# What fluorescent channels are called; red, green and blue light of a camera is not.
_FLUORESCENT = re.compile(r"dapi|hoechst|fitc|tritc|gfp|rfp|yfp|cherry|tomato|texas|alexa|cy[357]|fluor")


@dataclass(frozen=True)
class OmeImage:
    """One ``Image`` of OME metadata.

    Attributes
    ----------
    name
        As the file has it; may be empty.
    width, height
        Pixels.
    size
        Size of a pixel; None if it is not said, or is none of a microscope.
    mpp
        µm per pixel as the file says, also where no microscope has it; None if it is not said.
    channels
        Name and colour (0xRRGGBB, None if it is not said) of each channel of one sample.
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
        If it is no XML, or a number in it is none.
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
        try:  # OME writes RGBA into one signed number of 32 bits
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
    """Other files that OME metadata names as parts of a picture, whatever else is wrong with it.

    tifffile opens each one. A part whose UUID is that of the file itself is its own, whatever it was called once.

    Parameters
    ----------
    xml
        The metadata.
    name
        Name of the file that holds it.

    Raises
    ------
    ValueError
        If no part of any picture is in the file itself.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:  # tifffile reads none of it either
        return []
    own = root.get("UUID")
    parts = [(part.get("FileName", ""), part.text) for part in root.iter() if part.tag.endswith("UUID")]
    others = [file for file, uuid in parts if file and file != name and (own is None or uuid != own)]
    if parts and len(others) == len(parts):
        raise ValueError(f"its metadata says that the whole picture is in {others[0]!r}; was one of the two renamed?")
    return list(dict.fromkeys(others))


def is_beside(name: str) -> bool:
    """Whether a picture is called like one beside the scan: label, macro, thumbnail and so on."""
    return bool(_BESIDE.fullmatch(name.strip().lower()))


def is_overview(mpp: float | None, finest: float | None) -> bool:
    """Whether a picture's pixels are those of an overview of the glass, beside the finest one of its file."""
    return mpp is not None and finest is not None and mpp >= max(_OVERVIEW_FACTOR * finest, _OVERVIEW_MPP)


def rgb_order(channels: Sequence[tuple[str, int | None]]) -> tuple[int, int, int] | None:
    """Which of three channels is red, which green, which blue; None if they are other colours, as of fluorescence.

    Parameters
    ----------
    channels
        Name and colour (0xRRGGBB) of each. Where neither says anything, they are red, green and blue in this order.
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
