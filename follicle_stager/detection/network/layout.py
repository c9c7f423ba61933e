"""Input and output of the network, as used by training and inference.

The input is the optical density per colour, divided by that of the slide (`shown`). The outputs are

- ``classes`` (class, y, x) at half the resolution: the kind of tissue of each pixel, see `CLASSES`;
- ``border`` (y, x) at half the resolution: probability that the outline of a follicle runs here;
- ``centre`` (y, x) at a quarter: 1 at the centre of a recognisable follicle, decreasing to 0 at its outline;
- ``rays`` (ray, y, x) at a quarter: distance from a pixel inside a follicle to its outline, in `N_RAYS` directions, as
  the logarithm of pixels (star-convex polygons: Schmidt et al. 2018, doi 10.1007/978-3-030-00934-2_30);
- ``texture`` (channel, y, x) at a sixteenth: features of the network that describe the appearance of the image, with
  mean 0 and SD 1 over the training data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds of tissue. ``cut granulosa`` belongs to a follicle without oocyte and fluid in this section, so its stage is
#: unknown.
CLASSES = (
    "outside",
    "other tissue",
    "oocyte",
    "nucleus",
    "zona",
    "granulosa",
    "fluid",
    "cut granulosa",
    "dying granulosa",
    "luteal",
)
OUTSIDE, OTHER, OOCYTE, NUCLEUS, ZONA, GRANULOSA, FLUID, CUT, DYING, LUTEAL = range(len(CLASSES))

#: Label of pixels with an ambiguous truth; they do not contribute to the loss.
IGNORE = 255

N_RAYS = 32
#: Directions of the rays, radians from x towards y (down).
ANGLES = np.arange(N_RAYS) * 2 * np.pi / N_RAYS
#: Sides and positions of windows are multiples of this many pixels, the step of the network's deepest layer.
STEP = 32
#: Width of the context around a window, px; pixels further away hardly change the output.
REACH = 128
#: Image pixels per pixel of ``classes`` and ``border``, and per pixel of ``centre`` and ``rays``.
FINE, COARSE = 2, 4
# Rows of an image that are converted together: numpy needs 8 bytes for each of their bytes, which fit into the cache.
_ROWS = 16


def shown(rgb: NDArray[np.uint8], white: NDArray[np.floating], full: NDArray[np.floating]) -> NDArray[np.float32]:
    """Convert an image to the network's input, (3, y, x) float32 from -1 (dense) to 1 (glass).

    Parameters
    ----------
    rgb
        Image, (y, x, 3) uint8.
    white
        Brightness of empty glass, (3,).
    full
        Optical density of the slide, (3,), from `stain.density_full`; it differs between stains and scanners.
    """
    grey = np.maximum(np.arange(256.0), 1.0)[:, None]
    density = np.maximum(np.log(white / grey), 0) / full
    tables = (2.0 * np.exp(-density) - 1.0).astype(np.float32).T.copy()
    out = np.empty((3, *rgb.shape[:2]), np.float32)
    for top in range(0, len(rgb), _ROWS):
        for table, colour, of in zip(tables, np.moveaxis(rgb[top : top + _ROWS], -1, 0), out, strict=True):
            np.take(table, colour, out=of[top : top + _ROWS], mode="clip")  # "raise" would copy
    return out


def pixels_inside(
    ring: NDArray[np.floating], step: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a map, with ``step`` image px per pixel, inside a ring of x and y, (n, 2), image px."""
    from skimage.draw import polygon  # takes long to import, and only a search needs it

    rows, columns = polygon(ring[:, 1] / step - 0.5, ring[:, 0] / step - 0.5, shape=shape)
    return rows, columns
