"""What the network is shown and what it answers: the one place that training and inference share.

It is shown optical density per colour, divided by the slide's own (`shown`), and answers with

- ``classes`` (class, y, x) at half the resolution: the kind of tissue of each pixel, see `CLASSES`;
- ``border`` (y, x) at half the resolution: how likely a follicle's outline runs here;
- ``centre`` (y, x) at a quarter: 1 in the middle of a follicle that can be recognised, falling to 0 at its outline;
- ``rays`` (ray, y, x) at a quarter: distance to the outline of the follicle that the pixel lies in, in `N_RAYS`
  directions, as the logarithm of pixels (star-convex polygons: Schmidt et al. 2018, doi 10.1007/978-3-030-00934-2_30);
- ``texture`` (channel, y, x) at a sixteenth: what the picture looks like inside the network, with mean 0 and SD 1 over
  what it learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds of tissue. ``cut granulosa`` is of a follicle that is cut beside oocyte and fluid: nobody can say its stage.
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

#: Where truth is ambiguous: no loss.
IGNORE = 255

N_RAYS = 32
#: Directions of the rays, radians from x towards y (down).
ANGLES = np.arange(N_RAYS) * 2 * np.pi / N_RAYS
#: A window's side is a multiple of this many pixels, and starts at one: the deepest layer of the network.
STEP = 32
#: Further away (px) than this the picture hardly changes an answer: so much is shown around what is asked for.
REACH = 128
#: Pixels of the picture per pixel of ``classes`` and ``border``, and of ``centre`` and ``rays``.
FINE, COARSE = 2, 4


def shown(rgb: NDArray[np.uint8], white: NDArray[np.floating], full: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the network is shown of a picture, (3, y, x) float32 from -1 (dense) to 1 (glass).

    Parameters
    ----------
    rgb
        (y, x, 3) uint8.
    white
        (3,) brightness of empty glass.
    full
        (3,) optical density of the slide, from `stain.density_full`: stains and scanners differ in it.
    """
    grey = np.maximum(np.arange(256.0), 1.0)[:, None]
    density = np.maximum(np.log(white / grey), 0) / full
    table = (2.0 * np.exp(-density) - 1.0).astype(np.float32)
    return np.stack([table[rgb[..., c], c] for c in range(3)])


def pixels_inside(
    ring: NDArray[np.floating], step: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a map, ``step`` px of the picture per pixel, that lie in a ring (n, 2) of x and y, px."""
    rows, columns = polygon(ring[:, 1] / step - 0.5, ring[:, 0] / step - 0.5, shape=shape)
    return rows, columns
