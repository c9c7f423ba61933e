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


def crop_of(slide: Slide, follicle: Follicle, side_px: int) -> NDArray[np.uint8]:
    """Crop of the slide around a follicle, with a margin, RGB, (side_px, side_px, 3).

    Raises
    ------
    SlideError
        If pixels cannot be read.
    """
    left, top, right, bottom = slide.pixel_size.to_um(follicle.outline).bounds
    mpp = max(1.3 * (right - left), 1.3 * (bottom - top), _LEAST_UM) / side_px
    x, y = (left + right) / 2 / mpp, (top + bottom) / 2 / mpp
    return read_at_mpp(slide, round(x - side_px / 2), round(y - side_px / 2), side_px, side_px, mpp)
