"""From measurements to a stage with reasons."""

from follicle_stager.staging.criteria import Verdict, judge
from follicle_stager.staging.learned import stage_follicle, stager_id

__all__ = ["Verdict", "judge", "stage_follicle", "stager_id"]
