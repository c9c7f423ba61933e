"""From measurements to a stage with reasons."""

from follicle_stager.staging.criteria import Verdict, judge

__all__ = ["Verdict", "judge"]
