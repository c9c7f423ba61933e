"""The overlay of a slide, and the report of a study."""

from follicle_stager.report.html import write_report
from follicle_stager.report.overlay import draw_overlay

__all__ = ["draw_overlay", "write_report"]
