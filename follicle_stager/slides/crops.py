"""Small pictures of single follicles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from follicle_stager.slides.resample import read_at_mpp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from follicle_stager.records import Follicle
    from follicle_stager.slides.slide import Slide

# Smallest side of the field, µm: small follicles need their surroundings.
_LEAST_UM = 60.0


def with_margin(size_um: float) -> float:
    """Side of a crop that shows a follicle of this size with its surroundings, µm."""
    return max(1.3 * size_um, _LEAST_UM)


def crop_of(slide: Slide, follicle: Follicle, side_px: int, *, side_um: float | None = None) -> NDArray[np.uint8]:
    """Crop of the slide around a follicle, RGB, (side_px, side_px, 3).

    Parameters
    ----------
    slide
        Slide with pixel size.
    follicle
        The follicle.
    side_px
        Side of the crop, px.
    side_um
        Side of the crop, µm, to show several follicles at one scale; by default, the follicle with a margin.

    Raises
    ------
    SlideError
        If pixels cannot be read.
    """
    left, top, right, bottom = slide.pixel_size.to_um(follicle.outline).bounds
    mpp = (side_um or with_margin(max(right - left, bottom - top))) / side_px
    x, y = (left + right) / 2 / mpp, (top + bottom) / 2 / mpp
    return read_at_mpp(slide, round(x - side_px / 2), round(y - side_px / 2), side_px, side_px, mpp)
