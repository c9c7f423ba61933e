"""Cut an ovary into sections, and compute the truth: the profile of each follicle in each section.

A section is a slab from ``z`` to ``z + thickness``. Outlines are those in its middle plane, as drawn by the renderer. A
nucleus is in the section as soon as the slab touches it, because sections are transparent. Polygons are the zero lines
of the same functions that the renderer uses, so they are exact to about 0.1 µm. Lengths are µm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Polygon
from skimage.measure import find_contours

from follicle_stager.config import ContentsConfig, StagingConfig
from follicle_stager.errors import UserError
from follicle_stager.geometry import equivalent_diameter
from follicle_stager.phantom.fields import body_grid, follicle_grid, ovary_grid
from follicle_stager.stages import LADDER, Health, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.phantom.anatomy import Ovary

#: Criteria for the stage that a section shows, as in the staging of slides.
_SEEN_FLUID_UM2 = ContentsConfig().fluid_min_area_um2
_ONE_CAVITY = StagingConfig().antral_min_fraction
_PREOVULATORY_UM = StagingConfig().preovulatory_um
#: Smallest cap of a corpus luteum that is an outline in the truth: 50 µm wide.
_SMALLEST_LUTEAL_UM2 = 2000.0


@dataclass(frozen=True)
class Cut:
    """One section of an ovary: its number in the series, lower surface and thickness, µm."""

    number: int
    z: float
    thickness: float

    @property
    def middle(self) -> float:
        """Height of the middle plane, in which outlines are measured, µm."""
        return self.z + self.thickness / 2


@dataclass(frozen=True)
class Profile:
    """The profile of one follicle in a section; polygons in µm, in the ovary's x and y.

    Attributes
    ----------
    body
        Row of the follicle in its ovary, the same in all sections that cut it.
    stage
        Stage that the section shows. For antral follicles it depends on the fluid in the section: secondary without
        fluid, early antral with little fluid or several spaces, antral with one large space, preovulatory if also at
        least 400 µm wide. For a cap it is ``stage_3d``.
    stage_3d
        Stage of the whole follicle.
    health
        Healthy or atretic.
    outline, oocyte, nucleus, fluid
        Visible outlines; ``outline`` is the basement membrane.
    height
        Height of the cut, as a share of the radius: 0 through the middle, ±1 at the poles.
    recognisable
        Whether oocyte or fluid shows; False for a cap, which cannot be staged.
    layers
        Number of granulosa layers of the whole follicle.
    """

    body: int
    stage: Stage
    stage_3d: Stage
    health: Health
    outline: Polygon
    oocyte: Polygon | None
    nucleus: Polygon | None
    fluid: tuple[Polygon, ...]
    height: float
    recognisable: bool
    layers: int


def series(ovary: Ovary, *, thickness_um: float, interval: int, start: int = 0) -> list[Cut]:
    """Cut an ovary from end to end, and take every ``interval``-th section.

    Parameters
    ----------
    ovary
        The ovary.
    thickness_um
        Thickness of a section, µm.
    interval
        Sampling interval; 1 for all sections.
    start
        Number of the first section taken, less than the interval. Draw it at random for an unbiased sample.

    Raises
    ------
    UserError
        If thickness or interval is not positive, or start is not less than the interval.
    """
    if not 0 < thickness_um <= 100:
        raise UserError(f"thickness_um is {thickness_um:g}: use a thickness between 0 and 100 µm, usually 5 to 8.")
    if interval < 1:
        raise UserError(f"interval is {interval}: use 1 for every section, 2 for every second, and so on.")
    if not 0 <= start < interval:
        raise UserError(f"start is {start}: it must be from 0 to interval - 1 ({interval - 1}).")
    low, high = ovary.extent_z
    numbers = range(start, int(np.ceil((high - low) / thickness_um)), interval)
    return [Cut(number, low + number * thickness_um, thickness_um) for number in numbers]


def nuclei_in(ovary: Ovary, cut: Cut) -> NDArray[np.bool_]:
    """Mask of the follicles that show the nucleus of their oocyte in a section, (follicle,) bool."""
    f = ovary.follicles
    below = f["nz"] + f["nucleus"] - cut.z
    above = cut.z + cut.thickness - (f["nz"] - f["nucleus"])
    # A nucleus that reaches into the section by less than the lost cap is not seen.
    deep = np.minimum(below, above)
    return np.asarray((f["nucleus"] > 0) & (deep > np.minimum(ovary.lost_cap_um, 2 * f["nucleus"] - 1e-9)))


def bodies_in(ovary: Ovary, cut: Cut) -> NDArray[np.intp]:
    """Rows of the follicles that may reach the middle plane of a section."""
    f = ovary.follicles
    return np.flatnonzero(np.abs(f["z"] - cut.middle) < 1.3 * f["radius"])


def profiles(ovary: Ovary, cut: Cut) -> list[Profile]:
    """Profiles of all follicles in a section, in the order of the ovary's rows."""
    seen = nuclei_in(ovary, cut)
    found = (_profile(ovary, cut, int(i), bool(seen[i])) for i in bodies_in(ovary, cut))
    return [p for p in found if p is not None]


def profiles_near(ovary: Ovary, cut: Cut, x_um: float, y_um: float, side_um: float) -> list[Profile]:
    """Profiles that may reach into a square with its top-left corner at ``x_um, y_um``; see `profiles`."""
    f, seen = ovary.follicles, nuclei_in(ovary, cut)
    rows = bodies_in(ovary, cut)
    far = 1.3 * f["radius"][rows]
    x, y = f["x"][rows] - x_um, f["y"][rows] - y_um
    near = (x > -far) & (x < side_um + far) & (y > -far) & (y < side_um + far)
    found = (_profile(ovary, cut, int(i), bool(seen[i])) for i in rows[near])
    return [p for p in found if p is not None]


def section_outline(ovary: Ovary, cut: Cut) -> Polygon | None:
    """Outline of the ovary in a section, µm; None if the section misses it."""
    step = 8.0
    n = 2 * int(ovary.reach / step) + 3
    low = -(n // 2) * step
    depth = ovary_grid(low, low, cut.middle, step, n, n, ovary.axes, ovary.lobes)
    return _largest(_polygons(depth, low, low, step))


def corpora_lutea(ovary: Ovary, cut: Cut) -> list[Polygon]:
    """Outlines of the corpora lutea in a section, without their capsules, µm."""
    found = []
    for body in ovary.corpora_lutea:
        reach = 1.35 * float(body["radius"])
        if abs(body["z"] - cut.middle) > reach:
            continue
        x0, y0, step, n = _grid(body, reach)
        outline = _largest(_polygons(body_grid(x0, y0, cut.middle, step, n, n, body), x0, y0, step))
        if outline is not None and outline.area >= _SMALLEST_LUTEAL_UM2:
            found.append(outline)
    return found


def _grid(body: np.void, reach: float) -> tuple[float, float, float, int]:
    """A grid around a body: its top-left point, the distance between points, µm, and the points on a side."""
    step = float(np.clip(reach / 45, 0.35, 3.0))
    n = 2 * int(reach / step) + 3
    return body["x"] - step * (n // 2), body["y"] - step * (n // 2), step, n


def _profile(ovary: Ovary, cut: Cut, body: int, nucleus_seen: bool) -> Profile | None:
    f = ovary.follicles[body]
    x0, y0, step, n = _grid(f, 1.3 * float(f["radius"]))
    grid = follicle_grid(x0, y0, cut.middle, step, n, n, f)
    outline = _largest(_polygons(grid[0], x0, y0, step))
    if outline is None or outline.area < 20:
        return None
    oocyte = _largest(_polygons(np.minimum(grid[1], grid[0]), x0, y0, step))
    fluid = tuple(p for p in _polygons(np.minimum(grid[3], grid[0]), x0, y0, step) if p.area > 30)
    nucleus = _nucleus(f, cut) if nucleus_seen else None
    stage_3d = LADDER[int(f["stage"])]
    seen_fluid = sum(p.area for p in fluid) >= _SEEN_FLUID_UM2
    if oocyte is not None and oocyte.area < 12:
        oocyte = None
    recognisable = oocyte is not None or seen_fluid
    return Profile(
        body=body,
        stage=_stage_seen(stage_3d, outline, oocyte, fluid) if recognisable else stage_3d,
        stage_3d=stage_3d,
        health=Health.ATRETIC if f["health"] else Health.HEALTHY,
        outline=outline,
        oocyte=oocyte,
        nucleus=nucleus,
        fluid=fluid,
        height=float(np.clip((cut.middle - f["z"]) / f["radius"], -1, 1)),
        recognisable=recognisable,
        layers=int(f["layers"]),
    )


def _stage_seen(stage_3d: Stage, outline: Polygon, oocyte: Polygon | None, fluid: tuple[Polygon, ...]) -> Stage:
    """Stage that a reader with these criteria gives to an antral follicle cut here; other stages are unchanged."""
    if LADDER.index(stage_3d) <= LADDER.index(Stage.SECONDARY):
        return stage_3d
    if sum(p.area for p in fluid) < _SEEN_FLUID_UM2:
        return Stage.SECONDARY
    granulosa = outline.area - (oocyte.area if oocyte else 0.0)
    if max(p.area for p in fluid) < _ONE_CAVITY * granulosa:
        return Stage.EARLY_ANTRAL
    return Stage.PREOVULATORY if equivalent_diameter(outline) >= _PREOVULATORY_UM else Stage.ANTRAL


def _nucleus(f: np.void, cut: Cut) -> Polygon | None:
    """Circle of the widest part of the nucleus within the slab."""
    dz = max(cut.z - f["nz"], f["nz"] - cut.z - cut.thickness, 0.0)
    radius = np.sqrt(max(f["nucleus"] ** 2 - dz**2, 0.25))
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    return Polygon(np.column_stack([f["nx"] + radius * np.cos(turn), f["ny"] + radius * np.sin(turn)]))


def _polygons(level: NDArray[np.floating], x0: float, y0: float, step: float) -> list[Polygon]:
    """Areas with a positive level, as polygons with holes."""
    if level.max() <= 0:
        return []
    lines = find_contours(np.pad(level, 1, constant_values=-1e-3 - abs(float(level.min()))), 0.0)
    rings = [
        Polygon(np.column_stack([x0 + (r[:, 1] - 1) * step, y0 + (r[:, 0] - 1) * step])) for r in lines if len(r) > 3
    ]
    rings = sorted((r.buffer(0) for r in rings), key=lambda r: -r.area)
    area: BaseGeometry = Polygon()
    for ring in rings:  # even-odd rule: a ring inside a ring is a hole
        area = area.symmetric_difference(ring)
    parts = [p for p in getattr(area, "geoms", [area]) if isinstance(p, Polygon) and not p.is_empty]
    return [p for p in (q.simplify(0.08) for q in parts) if isinstance(p, Polygon) and p.is_valid]


def _largest(polygons: list[Polygon]) -> Polygon | None:
    return max(polygons, key=lambda p: p.area, default=None)
