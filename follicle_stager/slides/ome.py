"""What OME metadata says of the pictures in a file: their names, scales, channels, and which files they are in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from follicle_stager.slides import scale

if TYPE_CHECKING:
    from collections.abc import Sequence

# Names that scanners and converters give to pictures beside the scan: "macro image", "Label", "scan.svs (thumbnail)".
_BESIDE = re.compile(r"(^|[\s_\-:#(])(label|macro|thumbnail|overview|preview|map)( image)?\s*\d*\)?$")
# A picture with pixels so many times larger than those of the finest one shows the glass, not the tissue.
_OVERVIEW_FACTOR = 8.0


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
    files
        Other files that hold parts of it.
    """

    name: str
    width: int
    height: int
    size: scale.PixelSize | None
    mpp: float | None
    channels: tuple[tuple[str, int | None], ...]
    files: tuple[str, ...]


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
    given = scale.um_of_ome(pixels.attrib)
    channels = []
    for channel in pixels.findall("{*}Channel"):
        color = channel.get("Color")
        # OME writes RGBA into one signed number of 32 bits.
        rgb = (int(color) & 0xFFFFFFFF) >> 8 if color is not None else None
        channels.append((channel.get("Name", ""), rgb))
    return OmeImage(
        name=image.get("Name", ""),
        width=int(pixels.get("SizeX", "0")),
        height=int(pixels.get("SizeY", "0")),
        size=scale.from_ome(pixels.attrib),
        mpp=given[0] if given is not None else None,
        channels=tuple(channels),
        files=tuple(dict.fromkeys(u.get("FileName", "") for u in pixels.iter() if u.tag.endswith("UUID"))),
    )


def is_beside(name: str) -> bool:
    """Whether a picture is called like one beside the scan: label, macro, thumbnail and so on."""
    return bool(_BESIDE.search(name.strip().lower()))


def is_overview(mpp: float | None, finest: float | None) -> bool:
    """Whether a picture's pixels are those of an overview of the glass, beside the finest one of its file."""
    return mpp is not None and finest is not None and mpp >= _OVERVIEW_FACTOR * finest


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
    names = [name.strip().lower()[:1] for name, _ in channels]
    if sorted(names) == ["b", "g", "r"]:
        return names.index("r"), names.index("g"), names.index("b")
    return 0, 1, 2
