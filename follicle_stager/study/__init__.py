"""A study: its folder and files, its slides, the sample sheet, and the counts."""

from follicle_stager.study.content import SlideContent
from follicle_stager.study.counts import Tally, count, section_animals
from follicle_stager.study.folder import Study
from follicle_stager.study.runs import Run
from follicle_stager.study.samples import Sample, SampleSheet, read_samples
from follicle_stager.study.sources import SlideSource, list_slides
from follicle_stager.study.sums import Counts
from follicle_stager.study.tables import load_study, write_counts

__all__ = [
    "Counts",
    "Run",
    "Sample",
    "SampleSheet",
    "SlideContent",
    "SlideSource",
    "Study",
    "Tally",
    "count",
    "list_slides",
    "load_study",
    "read_samples",
    "section_animals",
    "write_counts",
]
