"""Read and write outlines of other programs."""

from follicle_stager.annotations.geojson import (
    Outlines,
    read_geojson,
    read_outlines,
    write_geojson,
)
from follicle_stager.annotations.imagej import write_rois
from follicle_stager.annotations.objects import in_words
from follicle_stager.annotations.points import Annotation, Marks, read_annotations, read_marks
from follicle_stager.annotations.sections import read_sections, write_sections

__all__ = [
    "Annotation",
    "Marks",
    "Outlines",
    "in_words",
    "read_annotations",
    "read_geojson",
    "read_marks",
    "read_outlines",
    "read_sections",
    "write_geojson",
    "write_rois",
    "write_sections",
]
