"""Pixels to outlines. ``classical`` needs no weights; all positions and outlines here are in µm."""

from follicle_stager.detection.found import FoundFollicle, Sight, resolve_overlaps
from follicle_stager.detection.passes import Pass, choose_detector, detector_id, passes, visible_stages

__all__ = [
    "FoundFollicle",
    "Pass",
    "Sight",
    "choose_detector",
    "detector_id",
    "passes",
    "resolve_overlaps",
    "visible_stages",
]
