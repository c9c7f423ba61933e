"""Render sections side by side on a slide: the image, its truth in pixels, and the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile
from shapely import affinity

from follicle_stager.files import replacing
from follicle_stager.phantom.appearance import Look, develop, handle
from follicle_stager.phantom.render import Maps, draw_window
from follicle_stager.phantom.sectioning import Cut, Profile, corpora_lutea, nuclei_in, profiles, section_outline
from follicle_stager.records import Follicle, Judgement, Shape, follicle_id
from follicle_stager.stages import LADDER, Countable, Health, Stage, Status

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.phantom.anatomy import Ovary

#: Width of the glass around a section, µm; it has room for bursa and fat and keeps sections apart.
_GLASS_UM = 130.0


@dataclass(frozen=True)
class SlideTruth:
    """A rendered slide.

    Attributes
    ----------
    picture
        Image, (y, x, 3) uint8.
    follicles
        All profiles of follicles, then those of corpora lutea, in px of the image.
    profiles
        Table with one row per profile, and per nucleus that is visible without a profile.
    classes, instances
        Label images, (y, x): code of `tissues.CODE`, and 1 + row of the follicle in its ovary.
    """

    picture: NDArray[np.uint8]
    follicles: list[Follicle]
    profiles: pd.DataFrame
    classes: NDArray[np.uint8]
    instances: NDArray[np.uint16]


def render_slide(ovary: Ovary, cuts: list[Cut], look: Look, rng: np.random.Generator, *, mpp: float) -> SlideTruth:
    """Render sections of an ovary on one slide, in reading order.

    Parameters
    ----------
    ovary, cuts
        The ovary, and its sections.
    look
        Look of the slide.
    rng
        Source of faults and noise.
    mpp
        Pixel size, µm/px.

    Returns
    -------
    SlideTruth
    """
    windows = [_window(ovary, cut, mpp) for cut in cuts]
    columns = int(np.ceil(np.sqrt(len(cuts)))) if len(cuts) > 3 else len(cuts)
    heights = [max(w[2][0] for w in windows[i : i + columns]) for i in range(0, len(cuts), columns)]
    widths = [max(w[2][1] for w in windows[i::columns]) for i in range(columns)]
    shape = sum(heights), sum(widths)
    nuclear, counter = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    classes, instances = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    follicles: list[Follicle] = []
    lutea: list[Follicle] = []
    rows: list[dict[str, object]] = []
    for index, (cut, (x_um, y_um, size)) in enumerate(zip(cuts, windows, strict=True)):
        top, left = sum(heights[: index // columns]), sum(widths[: index % columns])
        maps = draw(ovary, cut, look, x_um=x_um, y_um=y_um, shape=size, mpp=mpp)
        at = slice(top, top + size[0]), slice(left, left + size[1])
        nuclear[at], counter[at] = handle(look, rng, maps.nuclear, maps.counter, mpp=mpp)
        classes[at], instances[at] = maps.kind, maps.owner + 1
        own = profiles(ovary, cut)
        name = f"section {cut.number}"
        # Converts µm in the ovary to pixels of the slide.
        origin = x_um - left * mpp, y_um - top * mpp
        follicles += [_record(p, name, origin, mpp) for p in own]
        lutea += [_corpus_luteum(outline, name, origin, mpp) for outline in corpora_lutea(ovary, cut)]
        rows += _rows(ovary, cut, index + 1, own)
    return SlideTruth(
        picture=develop(look, rng, nuclear, counter, mpp=mpp),
        follicles=follicles + lutea,
        profiles=pd.DataFrame(rows),
        classes=classes,
        instances=instances,
    )


def draw(ovary: Ovary, cut: Cut, look: Look, *, x_um: float, y_um: float, shape: tuple[int, int], mpp: float) -> Maps:
    """Draw a window of a section with the look of a slide, see `render.draw_window`."""
    return draw_window(
        ovary,
        cut,
        x_um=x_um,
        y_um=y_um,
        shape=shape,
        mpp=mpp,
        looks=look.tissues,
        counterstain=look.counterstain,
        zones=look.zones,
        variety=look.variety,
        washed_out=look.washed_out,
    )


def _window(ovary: Ovary, cut: Cut, mpp: float) -> tuple[float, float, tuple[int, int]]:
    """Left and top edge (µm) and size (px) of a section with glass around it."""
    border = section_outline(ovary, cut)
    left, top, right, bottom = border.bounds if border else (0.0, 0.0, 0.0, 0.0)
    shape = (
        int(np.ceil((bottom - top + 2 * _GLASS_UM) / mpp)),
        int(np.ceil((right - left + 2 * _GLASS_UM) / mpp)),
    )
    return left - _GLASS_UM, top - _GLASS_UM, shape


def _rows(ovary: Ovary, cut: Cut, section: int, own: list[Profile]) -> list[dict[str, object]]:
    """Table rows for each follicle in a section, including those with a visible nucleus but no profile."""
    seen = nuclei_in(ovary, cut)
    place: dict[str, object] = {"section": section, "cut": cut.number, "z_um": round(cut.z, 2)}
    rows = [
        place
        | {
            "body": p.body,
            "stage_3d": p.stage_3d.value,
            "stage": p.stage.value,
            "health": p.health.value,
            "cut_height": round(p.height, 4),
            "shows_oocyte": p.oocyte is not None,
            "shows_nucleus": bool(seen[p.body]),
            "shows_fluid": bool(p.fluid),
            "recognisable": p.recognisable,
        }
        for p in own
    ]
    drawn = {p.body for p in own}
    return rows + [
        place
        | {
            "body": int(body),
            "stage_3d": LADDER[int(ovary.follicles[body]["stage"])].value,
            "shows_nucleus": True,
            "recognisable": False,
        }
        for body in np.flatnonzero(seen)
        if body not in drawn
    ]


def _to_px(polygon: Polygon, origin: tuple[float, float], mpp: float) -> Polygon:
    return affinity.affine_transform(polygon, [1 / mpp, 0, 0, 1 / mpp, -origin[0] / mpp, -origin[1] / mpp])


def _corpus_luteum(outline: Polygon, section: str, origin: tuple[float, float], mpp: float) -> Follicle:
    px = _to_px(outline, origin, mpp)
    judgement = Judgement(Stage.CORPUS_LUTEUM, Health.UNKNOWN, Countable.NO, Status.ACCEPTED)
    return Follicle(id=follicle_id(section, px), section_id=section, shape=Shape(px), judgement=judgement)


def _record(p: Profile, section: str, origin: tuple[float, float], mpp: float) -> Follicle:
    outline = _to_px(p.outline, origin, mpp)
    shape = Shape(
        outline,
        _to_px(p.oocyte, origin, mpp) if p.oocyte else None,
        _to_px(p.nucleus, origin, mpp) if p.nucleus else None,
        tuple(_to_px(space, origin, mpp) for space in p.fluid),
    )
    countable = Countable.YES if p.nucleus else Countable.NO
    return Follicle(
        id=follicle_id(section, outline),
        section_id=section,
        shape=shape,
        judgement=Judgement(p.stage, p.health, countable, Status.ACCEPTED),
        other_numbers={
            "Granulosa layers": float(p.layers),
            "Body": float(p.body),
            "Cut height": p.height,
            "Recognisable": float(p.recognisable),
        },
    )


def write_ome_tiff(path: Path, picture: NDArray[np.uint8], *, mpp: float, quality: int = 75) -> None:
    """Write an image as a tiled, JPEG-compressed OME-TIFF pyramid with µm/px."""
    levels = [picture]
    while max(levels[-1].shape[:2]) > 1024:
        above = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2].astype(np.uint16)
        levels.append(
            ((above[::2, ::2] + above[1::2, ::2] + above[::2, 1::2] + above[1::2, 1::2] + 2) // 4).astype(np.uint8)
        )
    options = {
        "photometric": "rgb",
        "tile": (256, 256),
        "compression": "jpeg",
        "compressionargs": {"level": quality},
    }
    unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tif:
        tif.write(
            levels[0],
            subifds=len(levels) - 1,
            metadata={"axes": "YXS", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp, **unit},
            **options,
        )
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)
