"""Assign a stage to measurements, with reasons."""

from follicle_stager.staging.criteria import stage_by_criteria
from follicle_stager.staging.learned import stage_follicle, stager_id

__all__ = ["stage_by_criteria", "stage_follicle", "stager_id"]
