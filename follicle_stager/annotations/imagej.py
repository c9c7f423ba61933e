"""ImageJ ROIs: one polygon a follicle, in a zip that ImageJ's ROI manager opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from roifile import ROI_TYPE, ImagejRoi, roiwrite

from follicle_stager.files import replacing
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from follicle_stager.records import Follicle


def write_rois(path: Path, follicles: Iterable[Follicle]) -> None:
    """Write follicles as ImageJ ROIs, named by their number and stage; rejected ones are left out.

    Parameters
    ----------
    path
        A ``.zip``, written atomically.
    follicles
        Outlines in level-0 pixels, in the order of the file: numbers are those of the overlay.
    """
    rois = []
    for number, follicle in enumerate(follicles, start=1):
        if follicle.status == Status.REJECTED:
            continue
        ring = np.asarray(follicle.outline.exterior.coords)[:-1, :2]
        # The number makes each name unique: ImageJ keeps one of two that are called the same.
        roi = ImagejRoi.frompoints(ring, name=f"{number:04d} {follicle.stage.label}")
        roi.roitype = ROI_TYPE.POLYGON
        roi.stroke_color = bytes((255, *follicle.stage.color))
        rois.append(roi)
    with replacing(path) as temporary:
        temporary.unlink()  # roifile adds to a zip that exists
        roiwrite(temporary, rois)
