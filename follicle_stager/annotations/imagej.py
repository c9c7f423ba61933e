"""ImageJ ROIs: one polygon per follicle, in a zip file of ImageJ's ROI manager."""

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
    """Write follicles as ImageJ ROIs, named by number and stage; rejected ones are left out.

    Parameters
    ----------
    path
        File ``.zip``, which is written atomically.
    follicles
        Outlines in level-0 pixels, in the order of the file, so that the numbers are those of the overlay.
    """
    rois = []
    for number, follicle in enumerate(follicles, start=1):
        if follicle.status == Status.REJECTED:
            continue
        ring = np.asarray(follicle.outline.exterior.coords)[:-1, :2]
        # The number makes each name unique: of two ROIs with the same name, ImageJ keeps only one.
        roi = ImagejRoi.frompoints(ring, name=f"{number:04d} {follicle.stage.label}")
        roi.roitype = ROI_TYPE.POLYGON
        roi.stroke_color = bytes((255, *follicle.stage.color))
        rois.append(roi)
    with replacing(Path(path)) as temporary:
        temporary.unlink()  # roifile would add to an existing zip
        roiwrite(temporary, rois)


def is_rois(path: Path) -> bool:
    """Whether a file contains ImageJ ROIs, by its name."""
    return path.suffix.lower() in (".zip", ".roi")


def features_of_rois(path: Path) -> list[dict[str, Any]]:
    """Read ROIs as GeoJSON features; the name of a ROI, without numbers, becomes its class.

    Parameters
    ----------
    path
        File ``.zip`` of the ROI manager, or one ``.roi``.

    Returns
    -------
    list of dict
        Features in level-0 pixels. Ovals become polygons; lines and points are not changed.

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
                # Skip files that macOS adds to a zip.
                names = [p for p in packed.infolist() if re.search(r"(^|/)[^./][^/]*\.roi$", p.filename, re.IGNORECASE)]
                names = [part for part in names if not part.filename.startswith("__MACOSX/")]
                if sum(part.file_size for part in names) > MAX_TEXT_BYTES:
                    raise UserError(f"{path}: its ROIs are too large to be read.")
                rois = [ImagejRoi.frombytes(packed.read(part)) for part in names]
                for roi, part in zip(rois, names, strict=True):  # like ImageJ, use the file name if there is none
                    roi.name = _class_in(roi.name) or _class_in(PurePosixPath(part.filename).stem)
        if not rois:
            raise UserError(f"{path}: there is no ROI in it; save ROIs with ImageJ's ROI manager, or use GeoJSON.")
        return [_feature(roi) for roi in rois]
    except UserError:
        raise
    except Exception as error:  # damaged ROIs can raise any exception
        raise UserError(f"{path}: these are not readable ImageJ ROIs ({error}); save them again.") from None


def _feature(roi: ImagejRoi) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": dict(mapping(_geometry(roi))),
        "properties": {"objectType": "annotation", "classification": {"name": roi.name}},
    }


def _class_in(name: str | None) -> str:
    """The name of a ROI without the numbers that ImageJ and people add."""
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
