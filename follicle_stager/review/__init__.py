"""The correction session without a screen: edits with inverse, an append-only log, and what stands.

command -> `Edit` (before, after) -> ``edits.jsonl`` on disk -> `Standing`: the predictions with the edits replayed.
"""

from follicle_stager.review.edits import Edit, Kind
from follicle_stager.review.session import ReviewSession
from follicle_stager.review.standing import Standing, standing

__all__ = ["Edit", "Kind", "ReviewSession", "Standing", "standing"]
