"""A picture of the slide with its follicles: outlines in the colour of the stage, numbers, scale bar and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from follicle_stager.slides.resample import grid_shape, read_at_mpp
from follicle_stager.stages import OUTLINED, Health

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle, SlideResult
    from follicle_stager.slides import Slide

# Limits of the longest side of the picture; at 1 µm/px, 2 mm of tissue have 2000 px.
_MAX_SIDE_PX = 3000
_MIN_SIDE_PX = 1100


def draw_overlay(slide: Slide, result: SlideResult) -> Image.Image:
    """Draw the follicles that were found on one slide.

    Parameters
    ----------
    slide
        The open slide.
    result
        Result of the slide.

    Returns
    -------
    Image
        RGB picture, cut to the tissue with a margin of 40 µm.
    """
    size = result.pixel_size
    bounds = np.array([size.to_um(s.outline).bounds for s in result.sections])
    x0, y0 = bounds[:, :2].min(axis=0) - 40
    x1, y1 = bounds[:, 2:].max(axis=0) + 40
    longest = max(x1 - x0, y1 - y0)
    # Small sections are enlarged a little, so that labels do not cover them.
    mpp = max(longest / _MAX_SIDE_PX, min(size.mpp, longest / _MIN_SIDE_PX))
    height, width = grid_shape(slide, mpp)
    left, top = max(0, int(x0 / mpp)), max(0, int(y0 / mpp))
    right, bottom = min(width, int(x1 / mpp) + 1), min(height, int(y1 / mpp) + 1)
    picture = Image.fromarray(read_at_mpp(slide, left, top, right - left, bottom - top, mpp))
    draw = ImageDraw.Draw(picture)
    font_px = int(np.clip(18 / mpp, 12, 26))
    font = ImageFont.load_default(font_px)

    def at(polygon: Polygon) -> list[tuple[float, float]]:
        points = np.asarray(size.to_um(polygon).exterior.coords)[:, :2] / mpp
        return [(float(x) - left, float(y) - top) for x, y in points]

    line = max(2, round(3 / mpp))
    for section in result.sections:
        for part in section.outline.geoms:
            doubtful = bool(section.doubt)
            draw.line(at(part), fill=(214, 39, 40) if doubtful else (150, 150, 150), width=line if doubtful else 1)
    for follicle in result.follicles:
        color = follicle.stage.color
        for space in follicle.fluid:
            draw.line(at(space), fill=(86, 180, 233), width=max(1, line // 2))
        if follicle.oocyte is not None:
            draw.line(at(follicle.oocyte), fill=(255, 255, 255), width=max(1, line // 2))
        if follicle.nucleus is not None:
            draw.line(at(follicle.nucleus), fill=(30, 30, 30), width=max(1, line // 2))
        draw.line(at(follicle.outline), fill=(255, 255, 255), width=line + 2, joint="curve")
        draw.line(at(follicle.outline), fill=color, width=line, joint="curve")
    for number, follicle in enumerate(result.follicles, start=1):
        x, y = np.min(at(follicle.outline), axis=0)
        _label(draw, (x, y - font_px), f"{number} {_short(follicle)}", follicle.stage.color, font)
    legend = _legend(result.follicles, picture.width, font_px)
    sheet = Image.new("RGB", (picture.width, picture.height + legend.height), "white")
    sheet.paste(picture, (0, 0))
    sheet.paste(legend, (0, picture.height))
    _scale_bar(ImageDraw.Draw(sheet), sheet, mpp, font)
    return sheet


def _short(follicle: Follicle) -> str:
    dying = ", atretic" if follicle.health == Health.ATRETIC else ""
    return follicle.stage.label + dying


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = max(0.0, corner[0]), max(0.0, corner[1])
    draw.rectangle(draw.textbbox((x, y), text, font=font), fill=(255, 255, 255))
    draw.text((x, y), text, fill=tuple(int(0.75 * c) for c in color), font=font)


def _legend(follicles: Iterable[Follicle], width: int, font_px: int) -> Image.Image:
    """The legend: stages and their counts, in rows below the picture; the last row has room for the scale bar."""
    font = ImageFont.load_default(font_px)
    counts = {stage: sum(f.stage == stage for f in follicles) for stage in OUTLINED}
    rows = Image.new("RGB", (width, font_px * 14), "white")
    draw = ImageDraw.Draw(rows)
    x, y = font_px, font_px // 2
    entries = [(f"{stage.label} {n}", stage.color) for stage, n in counts.items() if n]
    entries += [("oocyte: white line, its nucleus: black, fluid: light blue", (90, 90, 90))]
    for text, color in entries:
        length = draw.textlength(text, font=font) + 2.5 * font_px
        if x + length > width and x > font_px:
            x, y = font_px, int(y + 1.6 * font_px)
        draw.rectangle((x, y + 2, x + font_px, y + font_px), fill=color)
        draw.text((x + 1.3 * font_px, y), text, fill=(20, 20, 20), font=font)
        x = int(x + length)
    return rows.crop((0, 0, width, int(y + 4.2 * font_px)))


def _scale_bar(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    mpp: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    length_um = max((n for n in (50, 100, 200, 500, 1000, 2000) if n / mpp < sheet.width / 3), default=50)
    x1, y = sheet.width - 20, sheet.height - 14
    draw.line((x1 - length_um / mpp, y, x1, y), fill=(0, 0, 0), width=5)
    text = f"{length_um / 1000:g} mm"  # Pillow's own font has no micro sign
    draw.text((x1 - length_um / mpp, y - 30), text, fill=(0, 0, 0), font=font)
