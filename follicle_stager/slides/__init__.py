"""Pixels in: ``open_slide(path)`` gives a lazy pyramid with µm/px, whatever the file format."""

from follicle_stager.slides.open import SLIDE_SUFFIXES, is_slide, open_slide
from follicle_stager.slides.slide import Level, Origin, Slide

__all__ = ["SLIDE_SUFFIXES", "Level", "Origin", "Slide", "is_slide", "open_slide"]
