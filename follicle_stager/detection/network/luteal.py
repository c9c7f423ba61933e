"""Corpora lutea from the network's map of tissue classes: large round areas of luteal tissue.

A corpus luteum is no follicle: it has neither centre nor rays in the network's output. Its outline is that of the area
in which luteal tissue is probable. Two that touch are separated where the area is narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from follicle_stager.detection.found import FoundCorpusLuteum
from follicle_stager.detection.network import layout
from follicle_stager.geometry import areas_above, equivalent_diameter, two_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.detection.network.instances import Window

# Width over which the probability of luteal tissue is averaged, µm: single cells and small vessels do not matter.
_SMOOTH_UM = 8.0
# Smallest diameter [M]; smaller areas are caps, or single luteinised cells.
_SMALLEST_UM = 100.0
# Smallest share of the convex hull, and of the circle over the long axis: interstitial gland lies in bands and patches,
# corpora lutea are round.
_SOLID, _ROUND = 0.85, 0.4
# Smallest probability of luteal tissue at a point, and smallest mean in an area. On virtual slides with a seed of their
# own, 18 of 38 were found with 0.5 and 0.75 (1 false), and 22 with these values (1 false). In pictures of other organs
# (those for training), none was claimed with either.
_PROBABLE, _LEAST_SCORE = 0.35, 0.6
# Areas are separated where they are this much narrower than on both sides, µm (half the width).
_NECK_UM = 15.0


def find_corpora_lutea(window: Window) -> list[FoundCorpusLuteum]:
    """Find the corpora lutea of a window; the score is the mean probability of luteal tissue.

    Parameters
    ----------
    window
        The network's maps of a window.
    """
    mpp = layout.FINE * window.mpp
    luteal = window.maps.classes[layout.LUTEAL]
    smooth = ndi.gaussian_filter(luteal, _SMOOTH_UM / mpp)
    inside = np.asarray(ndi.binary_fill_holes(smooth > _PROBABLE))
    found = []
    for own, (top, left) in _separated(inside, mpp):
        corner_um = window.x_um + left * mpp, window.y_um + top * mpp
        area = max(areas_above(own, 0.5, x_um=corner_um[0], y_um=corner_um[1], mpp=mpp), key=lambda p: p.area)
        score = float(luteal[top : top + own.shape[0], left : left + own.shape[1]][own].mean())
        if score >= _LEAST_SCORE and _is_round(area):
            found.append(FoundCorpusLuteum(area, score))
    return found


def _separated(inside: NDArray[np.bool_], mpp: float) -> list[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """Masks of the areas, each in its bounding box, with the top-left corner of the box."""
    depth = ndi.distance_transform_edt(inside) * mpp
    cores, _ = ndi.label(h_maxima(depth, _NECK_UM))
    parts = watershed(-depth, cores, mask=inside)
    boxes = ndi.find_objects(parts)
    return [(parts[box] == n, (box[0].start, box[1].start)) for n, box in enumerate(boxes, start=1) if box is not None]


def _is_round(area: Polygon) -> bool:
    diameter, (longest, _) = equivalent_diameter(area), two_axes(area)
    solid = area.area >= _SOLID * area.convex_hull.area
    return diameter >= _SMALLEST_UM and solid and diameter**2 >= _ROUND * longest**2
