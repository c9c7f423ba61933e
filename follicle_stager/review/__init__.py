"""The correction session without a screen: edits with inverse, an append-only log, and what stands.

command -> `Edit` (before, after) -> ``edits.jsonl`` on disk -> `Standing`: the predictions with the edits replayed.
"""

from follicle_stager.review.edits import Conflict, Edit, Kind
from follicle_stager.review.merge import Merged, NothingToTakeIn, merge_edits
from follicle_stager.review.queue import Filter, Order, Progress, progress, queue, uncertainty
from follicle_stager.review.session import ReviewSession
from follicle_stager.review.standing import Standing, standing

__all__ = [
    "Conflict",
    "Edit",
    "Filter",
    "Kind",
    "Merged",
    "NothingToTakeIn",
    "Order",
    "Progress",
    "ReviewSession",
    "Standing",
    "merge_edits",
    "progress",
    "queue",
    "standing",
    "uncertainty",
]
