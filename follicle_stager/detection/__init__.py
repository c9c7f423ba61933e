"""Pixels to outlines. ``classical`` needs no weights; all positions and outlines here are in µm."""

from follicle_stager.detection.classical import find_follicles
from follicle_stager.detection.found import FoundFollicle, resolve_overlaps

__all__ = ["FoundFollicle", "find_follicles", "resolve_overlaps"]
