"""Desired output of the network for a patch, from the truth of the virtual ovary or from a person's outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely
from scipy import ndimage as ndi
from skimage.draw import polygon_perimeter

from follicle_stager.detection.network import layout
from follicle_stager.geometry import equivalent_diameter
from follicle_stager.phantom.fields import compiled
from follicle_stager.phantom.sectioning import profiles_near
from follicle_stager.phantom.tissues import CODE
from follicle_stager.stages import Health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.phantom.patches import Patch
    from follicle_stager.phantom.sectioning import Profile

_OF_KIND = {
    layout.OUTSIDE: ("glass", "lumen", "fat wall", "bursa"),
    layout.OOCYTE: ("ooplasm",),
    layout.ZONA: ("zona",),
    layout.GRANULOSA: ("granulosa", "granulosa rim", "flat granulosa"),
    layout.DYING: ("dying granulosa",),
    layout.FLUID: ("fluid",),
    layout.LUTEAL: ("fresh luteal", "luteal", "regressing luteal", "clot", "scar"),
}
_CLASS_OF = np.full(len(CODE), layout.OTHER, np.uint8)
for _class, _names in _OF_KIND.items():
    _CLASS_OF[[CODE[name] for name in _names]] = _class

#: Diameter of the smallest profile that can be recognised, µm.
_SMALLEST_UM = 12.0
#: Width of the border in the target, µm (one standard deviation).
_BORDER_UM = 2.5
#: Range of the rays, px; their logarithm is stored as bytes.
_SHORTEST, _LONGEST = 0.5, 600.0


@dataclass(frozen=True, eq=False)
class Target:
    """Desired output for one patch, as bytes.

    Attributes
    ----------
    classes
        Class of each pixel, (y, x) at half the patch's resolution; `layout.IGNORE` where truth is ambiguous.
    border
        Border, (y, x) at half the resolution, 0-255.
    centre
        Centre, (y, x) at a quarter, 0-254; `layout.IGNORE` where truth is ambiguous.
    rays
        Rays, (ray, y, x) at a quarter, see `decode_rays`.
    follicle
        Kind of follicle, (y, x) at a quarter: 0 none, 1 recognisable, 2 without oocyte and fluid in the section.
    """

    classes: NDArray[np.uint8]
    border: NDArray[np.uint8]
    centre: NDArray[np.uint8]
    rays: NDArray[np.uint8]
    follicle: NDArray[np.uint8]


def encode_rays(distance_px: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Encode distances (px) as bytes, with a relative error of 1.4 %."""
    share = np.log(np.clip(distance_px, _SHORTEST, _LONGEST) / _SHORTEST) / np.log(_LONGEST / _SHORTEST)
    return np.asarray(np.round(255 * share), np.uint8)


def decode_rays(byte: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode bytes to the logarithm of the distance in px."""
    return np.asarray(np.log(_SHORTEST) + byte.astype(np.float32) / 255 * np.log(_LONGEST / _SHORTEST), np.float32)


class Seen(NamedTuple):
    """A follicle in a patch: corners of its outline, (n, 2), px of the patch; and whether it is recognisable."""

    ring: NDArray[np.float64]
    recognisable: bool


def make_target(patch: Patch, *, smallest_um: float, largest_um: float) -> Target:
    """Make the target for a patch of a virtual ovary.

    Parameters
    ----------
    patch
        Patch from `phantom.patches`; its side is a multiple of 4.
    smallest_um, largest_um
        Range of diameters, µm, see `target_of`.
    """
    size = patch.kind.shape[0]
    classes = _CLASS_OF[patch.kind][:: layout.FINE, :: layout.FINE].copy()
    owner = patch.owner[:: layout.FINE, :: layout.FINE]
    seen = []
    for p in profiles_near(patch.ovary, patch.cut, patch.x_um, patch.y_um, size * patch.mpp):
        _paint(classes, owner == p.body, p, patch)
        seen.append(Seen(_to_px(p.outline, patch), p.recognisable))
    return target_of(classes, seen, patch.mpp, smallest_um=smallest_um, largest_um=largest_um)


def target_of(
    classes: NDArray[np.uint8], seen: Sequence[Seen], mpp: float, *, smallest_um: float, largest_um: float
) -> Target:
    """Add borders, centres and rays to a map of classes.

    Parameters
    ----------
    classes
        Class of each pixel, (y, x) at half the patch's resolution; changed where follicles are too small.
    seen
        Follicles in the patch.
    mpp
        Pixel size of the patch, µm/px.
    smallest_um, largest_um
        Range of diameters to find at this scale, µm. Smaller follicles are ignored, because they have too few pixels.
        For larger ones, which do not fit into view, only the classes are used, not the outline.
    """
    half = classes.shape[0]
    size, quarter = half * layout.FINE, half * layout.FINE // layout.COARSE
    border = np.zeros((half, half), bool)
    centre = np.zeros((quarter, quarter), np.uint8)
    follicle = np.zeros((quarter, quarter), np.uint8)
    rays = np.zeros((layout.N_RAYS, quarter, quarter), np.uint8)
    box = shapely.box(0, 0, size, size)
    for ring, recognisable in seen:
        outline = shapely.Polygon(ring)
        if not box.intersects(outline):
            continue
        diameter = equivalent_diameter(outline) * mpp
        inside = filled(ring, quarter, layout.COARSE)
        if diameter < max(smallest_um, _SMALLEST_UM):
            classes[_grown(filled(ring, half, layout.FINE))] = layout.IGNORE
            centre[_grown(inside)] = layout.IGNORE
            continue
        if diameter > largest_um:
            centre[inside] = layout.IGNORE
            continue
        line = polygon_perimeter(
            ring[:, 1] / layout.FINE - 0.5, ring[:, 0] / layout.FINE - 0.5, shape=border.shape, clip=False
        )
        border[line] = True
        rows, columns = np.nonzero(inside)
        if not len(rows):
            continue
        at = (np.column_stack([columns, rows]) + 0.5) * layout.COARSE
        distance = ray_distances(at, ring, np.cos(layout.ANGLES), np.sin(layout.ANGLES))
        rays[:, rows, columns] = encode_rays(distance).T
        follicle[rows, columns] = 1 if recognisable else 2
        if recognisable:
            opposite = distance[:, : layout.N_RAYS // 2], distance[:, layout.N_RAYS // 2 :]
            evenness = (np.minimum(*opposite) / np.maximum(np.maximum(*opposite), 1e-6)).mean(axis=1)
            centre[rows, columns] = np.round(254 * evenness)
    return Target(classes, _soft(border, mpp), centre, rays, follicle)


def _paint(classes: NDArray[np.uint8], own: NDArray[np.bool_], p: Profile, patch: Patch) -> None:
    """Mark the granulosa of healthy, dying and cut follicles, and the oocyte's nucleus."""
    # Gaps between separated cells count as granulosa.
    granulosa = own & np.isin(classes, (layout.GRANULOSA, layout.DYING, layout.OUTSIDE))
    if not p.recognisable:
        classes[granulosa] = layout.CUT
    elif p.health == Health.ATRETIC:
        classes[granulosa] = layout.DYING
    else:
        classes[granulosa] = layout.GRANULOSA
    if p.nucleus is not None:
        nucleus = filled(_to_px(p.nucleus, patch), classes.shape[0], layout.FINE)
        classes[nucleus & (classes == layout.OOCYTE)] = layout.NUCLEUS


def _to_px(outline: Polygon, patch: Patch) -> NDArray[np.float64]:
    """Corners of an outline in px of the patch, (n, 2), x and y; 0 is the patch's edge."""
    corners = np.asarray(outline.exterior.coords)[:-1]
    return np.asarray((corners - (patch.x_um, patch.y_um)) / patch.mpp)


def filled(ring: NDArray[np.float64], side: int, step: int) -> NDArray[np.bool_]:
    """Mask of a ring (n, 2), px of the patch, on a square map with ``step`` px of the patch per pixel."""
    mask = np.zeros((side, side), bool)
    mask[layout.pixels_inside(ring, step, mask.shape)] = True
    return mask


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndi.binary_dilation(mask, iterations=1))


def _soft(border: NDArray[np.bool_], mpp: float) -> NDArray[np.uint8]:
    if not border.any():
        return np.zeros(border.shape, np.uint8)
    distance_um = ndi.distance_transform_edt(~border) * mpp * layout.FINE
    width = max(_BORDER_UM, mpp * layout.FINE)
    return np.asarray(np.round(255 * np.exp(-0.5 * (distance_um / width) ** 2)), np.uint8)


@compiled
def ray_distances(at, ring, cos, sin):
    """Distance from points (n, 2) along rays to the last crossing with a closed ring (m, 2); result (n, ray)."""
    out = np.zeros((at.shape[0], cos.size))
    m = ring.shape[0]
    for i in range(at.shape[0]):
        for k in range(cos.size):
            furthest = 0.0
            for j in range(m):
                ax, ay = ring[j, 0] - at[i, 0], ring[j, 1] - at[i, 1]
                n = j + 1 if j + 1 < m else 0
                bx, by = ring[n, 0] - at[i, 0], ring[n, 1] - at[i, 1]
                # Offset of both ends of the edge from the ray; the edge crosses the ray's line if their signs differ.
                a, b = ay * cos[k] - ax * sin[k], by * cos[k] - bx * sin[k]
                if (a > 0) == (b > 0):
                    continue
                t = a / (a - b)
                far = (ax + t * (bx - ax)) * cos[k] + (ay + t * (by - ay)) * sin[k]
                if far > furthest:
                    furthest = far
            out[i, k] = furthest
    return out
