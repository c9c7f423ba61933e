"""Pixels to outlines. ``classical`` needs no weights; all positions and outlines here are in µm."""

from follicle_stager.detection.detectors import (
    DETECTORS,
    Detector,
    Pass,
    choose_detector,
    detector_id,
    passes,
    visible_stages,
)
from follicle_stager.detection.found import FoundFollicle, Sight, resolve_overlaps, without_twins

__all__ = [
    "DETECTORS",
    "Detector",
    "FoundFollicle",
    "Pass",
    "Sight",
    "choose_detector",
    "detector_id",
    "passes",
    "resolve_overlaps",
    "visible_stages",
    "without_twins",
]
