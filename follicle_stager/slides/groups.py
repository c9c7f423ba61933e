"""Group the files of a folder that belong to one slide, so that no part is taken for a separate slide."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import tifffile

from follicle_stager.errors import UserError
from follicle_stager.files import check_regular, read_text
from follicle_stager.slides.ome import other_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)


def group_files(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Group files that form one slide: a DICOM series, an OME-TIFF of several files, a VMS with its images.

    Parameters
    ----------
    files
        Slide files of a folder, sorted by name.

    Returns
    -------
    list of tuple of Path
        One tuple per slide: the file to open, and the other files that belong to it.
    """
    groups: dict[Path, list[Path]] = {path: [path] for path in files}
    by_name = {path.name.lower(): path for path in files}
    series: dict[str, Path] = {}
    for path in files:
        if path not in groups:
            continue
        if path.suffix.lower() == ".dcm":
            uid, is_scan = _dicom(path)
            if not is_scan:
                del groups[path]
            elif (first := series.setdefault(uid, path)) != path:
                groups[first].append(path)
                del groups[path]
            continue
        for name in _named_in(path):
            part = by_name.get(name.lower())
            if part is not None and part != path and part in groups:
                groups[path] += groups.pop(part)
    return [tuple(group) for group in groups.values()]


def _dicom(path: Path) -> tuple[str, bool]:
    """The series of a DICOM file, and whether the file holds a part of the scan, not a label or overview."""
    with contextlib.suppress(ImportError):
        import pydicom

        try:
            check_regular(path)
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "ImageType"])
            kinds = [str(kind).upper() for kind in header.get("ImageType", [])]
            beside = any(kind in ("LABEL", "OVERVIEW", "THUMBNAIL") for kind in kinds)
            return str(header.get("SeriesInstanceUID") or path.name), not beside
        except Exception as error:  # a damaged file is reported when it is opened
            logger.info("%s: %s", path, error)
    return path.name, True


def _named_in(path: Path) -> list[str]:
    """Other files that a slide names as parts of it."""
    name = path.name.lower()
    try:
        if name.endswith((".ome.tif", ".ome.tiff")) and path.is_file():
            with tifffile.TiffFile(path) as tif:
                return other_files(tif.ome_metadata or "<OME/>", path.name)
        if name.endswith((".vms", ".vmu")):
            lines = [line.partition("=")[2].strip() for line in read_text(path).splitlines()]
            return [line for line in lines if line]
    except (UserError, OSError):
        return []
    except Exception as error:  # as above
        logger.info("%s: %s", path, error)
    return []
