"""ImageJ ROIs: one polygon a follicle, in a zip that ImageJ's ROI manager reads and writes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from roifile import ROI_TYPE, ImagejRoi, roiwrite
from shapely import box
from shapely.affinity import scale
from shapely.geometry import LineString, MultiPoint, Point, Polygon, mapping

from follicle_stager.errors import UserError
from follicle_stager.files import MAX_TEXT_BYTES, check_regular, replacing
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shapely.geometry.base import BaseGeometry

    from follicle_stager.records import Follicle


def write_rois(path: str | Path, follicles: Iterable[Follicle]) -> None:
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
    with replacing(Path(path)) as temporary:
        temporary.unlink()  # roifile adds to a zip that exists
        roiwrite(temporary, rois)


def is_rois(path: Path) -> bool:
    """Whether a file is one of ImageJ's, by its name."""
    return path.suffix.lower() in (".zip", ".roi")


def features_of_rois(path: Path) -> list[dict[str, Any]]:
    """Read ROIs as GeoJSON features; a ROI's name, without numbers, is its class.

    Parameters
    ----------
    path
        A ``.zip`` of the ROI manager, or one ``.roi``.

    Returns
    -------
    list of dict
        Level-0 pixels. Ovals become polygons; lines and points stay what they are.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    check_regular(path)
    try:
        if path.suffix.lower() == ".roi":
            rois = [ImagejRoi.frombytes(path.read_bytes())]
            rois[0].name = _class_in(rois[0].name) or _class_in(path.stem)
        else:
            with zipfile.ZipFile(path) as packed:
                # What macOS adds to a zip is no ROI.
                names = [p for p in packed.infolist() if re.search(r"(^|/)[^./][^/]*\.roi$", p.filename, re.IGNORECASE)]
                names = [part for part in names if not part.filename.startswith("__MACOSX/")]
                if sum(part.file_size for part in names) > MAX_TEXT_BYTES:
                    raise UserError(f"{path}: its ROIs are too large to be read.")
                rois = [ImagejRoi.frombytes(packed.read(part)) for part in names]
                for roi, part in zip(rois, names, strict=True):  # ImageJ too shows the name of the file then
                    roi.name = _class_in(roi.name) or _class_in(PurePosixPath(part.filename).stem)
        if not rois:
            raise UserError(f"{path}: there is no ROI in it; save them with ImageJ's ROI manager, or give GeoJSON.")
        return [_feature(roi) for roi in rois]
    except UserError:
        raise
    except Exception as error:  # damaged ROIs fail in any way
        raise UserError(f"{path}: these are no ROIs of ImageJ that can be read ({error}); save them again.") from None


def _feature(roi: ImagejRoi) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": dict(mapping(_geometry(roi))),
        "properties": {"objectType": "annotation", "classification": {"name": roi.name}},
    }


def _class_in(name: str | None) -> str:
    """A ROI's name without the numbers that ImageJ and people add."""
    return re.sub(r"^[\d\s_-]+|[\d\s_-]+$", "", name or "")


def _geometry(roi: ImagejRoi) -> BaseGeometry:
    if roi.composite:  # paths within each other are holes
        area: BaseGeometry = Polygon()
        for path in roi.coordinates(multi=True):
            if len(path) > 2:
                area = area.symmetric_difference(Polygon(path).buffer(0))
        return area
    bounds: BaseGeometry = box(roi.left, roi.top, roi.right, roi.bottom)
    if roi.roitype == ROI_TYPE.RECT:
        return bounds
    if roi.roitype == ROI_TYPE.OVAL:
        circle = Point(0.5 * (roi.left + roi.right), 0.5 * (roi.top + roi.bottom)).buffer(0.5)
        oval: BaseGeometry = scale(circle, roi.right - roi.left, roi.bottom - roi.top)
        return oval
    corners = roi.coordinates()
    if roi.roitype == ROI_TYPE.POINT:
        return MultiPoint(corners)
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED) and len(corners) > 2:
        return Polygon(corners)
    return LineString(corners) if len(corners) > 1 else Point()
