"""Sizes on the screen: lines of the same width at every zoom, and labels that do not lie on each other; without Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from follicle_stager.pixel_size import PixelSize

#: Width of lines on the screen, px: of outlines, and of what is chosen.
LINE_PX, CHOSEN_PX = 2.0, 6.0
# A change of the zoom by less than this factor leaves widths as they are: nobody sees it.
_UNSEEN = 1.2
# Size of a label on the screen, px: height, and width of a letter.
_LABEL_PX, _LETTER_PX = 18.0, 9.0


def px_of_screen(viewer: ViewerModel, size: PixelSize) -> float:
    """Level-0 pixels that a pixel of the screen shows."""
    return 1.0 / (float(viewer.scene.camera.zoom) * size.mpp)


def zoom_differs(before: float, now: float) -> bool:
    """Whether two zooms differ so much that widths must change."""
    return not before or max(before, now) / min(before, now) > _UNSEEN


def apart(corners: NDArray[np.floating], letters: NDArray[np.int_], per_px: float) -> list[int]:
    """Places of labels that do not lie on earlier ones; the most important label comes first.

    Parameters
    ----------
    corners
        Upper left corners, (n, 2) row and column, in any unit.
    letters
        Number of letters of each label, (n,).
    per_px
        Units that a pixel of the screen shows.
    """
    tops, lefts = (np.asarray(corners, float).reshape(-1, 2) / per_px).T
    rights = lefts + _LETTER_PX * letters
    kept: list[int] = []
    for i in range(len(tops)):
        free = (
            (np.abs(tops[kept] - tops[i]) >= _LABEL_PX) | (lefts[kept] >= rights[i]) | (rights[kept] <= lefts[i])
        ).all()
        if free:
            kept.append(i)
    return kept
