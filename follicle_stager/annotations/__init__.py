"""Outlines in and out of other programs."""

from follicle_stager.annotations.geojson import read_geojson, read_sections, write_geojson, write_sections
from follicle_stager.annotations.imagej import write_rois
from follicle_stager.annotations.points import Annotation, read_annotations

__all__ = [
    "Annotation",
    "read_annotations",
    "read_geojson",
    "read_sections",
    "write_geojson",
    "write_rois",
    "write_sections",
]
