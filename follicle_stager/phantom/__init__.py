"""The virtual ovary: synthetic sections with exact truth.

A three-dimensional ovary (contents in `biology`, geometry in `anatomy`) is cut (`sectioning`), drawn (`render`, with
`painting` and `cells`, from `tissues`), stained and scanned (`appearance`), placed on slides (`slide`) and written as
a study (`cohort`), or used for training patches (`patches`). The images are drawings made by rules, not photographs.
They serve for tests, training, the demo and measuring what a detector misses, but are no evidence about real tissue.
"""

from follicle_stager.phantom.anatomy import Ovary, build_ovary
from follicle_stager.phantom.appearance import STAINS, Look, faithful, randomised
from follicle_stager.phantom.biology import GenotypeModel, StageModel, small_ovary
from follicle_stager.phantom.cohort import CohortPlan, plan_audit, write_cohort
from follicle_stager.phantom.patches import Patch, patches
from follicle_stager.phantom.sectioning import Cut, Profile, profiles, series
from follicle_stager.phantom.slide import SlideTruth, render_slide

__all__ = [
    "STAINS",
    "CohortPlan",
    "Cut",
    "GenotypeModel",
    "Look",
    "Ovary",
    "Patch",
    "Profile",
    "SlideTruth",
    "StageModel",
    "build_ovary",
    "faithful",
    "plan_audit",
    "patches",
    "profiles",
    "randomised",
    "render_slide",
    "series",
    "small_ovary",
    "write_cohort",
]
