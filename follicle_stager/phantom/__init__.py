"""Synthetic ovarian sections with exact truth: anatomy -> appearance -> pixels; cohorts with a planted arrest.

They are drawings made by rules, not photographs: good for tests, the demo and for measuring what a detector
misses, and no evidence about real tissue.
"""

from follicle_stager.phantom.anatomy import GenotypeModel, ProfileTruth, SectionPlan, plan_section
from follicle_stager.phantom.appearance import STAINS, Appearance
from follicle_stager.phantom.cohort import CohortPlan, render_slide, write_cohort
from follicle_stager.phantom.render import render_section

__all__ = [
    "STAINS",
    "Appearance",
    "CohortPlan",
    "GenotypeModel",
    "ProfileTruth",
    "SectionPlan",
    "plan_section",
    "render_section",
    "render_slide",
    "write_cohort",
]
