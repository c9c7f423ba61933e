"""How good a result is against a truth."""

from follicle_stager.evaluation.matching import Match, box_iou, match_outlines

__all__ = ["Match", "box_iou", "match_outlines"]
