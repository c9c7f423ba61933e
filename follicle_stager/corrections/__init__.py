"""Corrections of one slide: edits with an inverse, an append-only log, and the current state; no user interface.

A command of `ReviewSession` becomes an `Edit` (before, after) and a line in ``edits.jsonl``. The current state is the
predictions with all edits replayed.
"""

from follicle_stager.corrections.edits import Conflict, Edit, Kind
from follicle_stager.corrections.merge import Merged, NothingToTakeIn, merge_edits
from follicle_stager.corrections.session import ReviewSession
from follicle_stager.corrections.standing import Standing, standing

__all__ = [
    "Conflict",
    "Edit",
    "Kind",
    "Merged",
    "NothingToTakeIn",
    "ReviewSession",
    "Standing",
    "merge_edits",
    "standing",
]
