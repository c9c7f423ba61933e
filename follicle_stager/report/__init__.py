"""What a person looks at."""

from follicle_stager.report.overlay import draw_overlay

__all__ = ["draw_overlay"]
