"""A study: a folder of slides, their sample sheet, what is on disk, and the counts."""

from follicle_stager.study.counts import Counts, Tally, count_study, section_animals
from follicle_stager.study.folder import Study
from follicle_stager.study.samples import Sample, read_samples, read_samples_table
from follicle_stager.study.sources import SlideSource, list_slides, slide_name

__all__ = [
    "Counts",
    "Sample",
    "SlideSource",
    "Study",
    "Tally",
    "count_study",
    "list_slides",
    "read_samples",
    "read_samples_table",
    "section_animals",
    "slide_name",
]
