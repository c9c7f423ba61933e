"""Pixels in: ``open_slide(path)`` gives a lazy pyramid with the size of a pixel, whatever the file format."""

from follicle_stager.slides.formats import FORMATS, SLIDE_SUFFIXES, Format, is_slide, slide_name
from follicle_stager.slides.open import open_slide
from follicle_stager.slides.slide import Level, Origin, Slide

__all__ = [
    "FORMATS",
    "SLIDE_SUFFIXES",
    "Format",
    "Level",
    "Origin",
    "Slide",
    "is_slide",
    "open_slide",
    "slide_name",
]
