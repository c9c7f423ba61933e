"""Merge the corrections of two copies of one slide: add the edits of one log to the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from follicle_stager.corrections.edits import Conflict, Edit, Kind
from follicle_stager.corrections.log import NAME, read_edits
from follicle_stager.corrections.older import with_predictions
from follicle_stager.corrections.standing import edits_of, predictions, standing
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from follicle_stager.corrections.session import ReviewSession


@dataclass(frozen=True)
class Merged:
    """Result of a merge.

    Attributes
    ----------
    taken
        Edits that were added.
    conflicts
        Edits that were left out, because both people changed the same follicle or section; the own version is kept.
    """

    taken: tuple[Edit, ...]
    conflicts: tuple[Edit, ...]


class NothingToTakeIn(UserError):
    """The other copy contains no corrections."""


def merge_edits(session: ReviewSession, other: Path) -> Merged:
    """Add the corrections that another person made in a copy of the slide's folder.

    Parameters
    ----------
    session
        Open slide.
    other
        Folder of the copy, with its ``edits.jsonl``.

    Returns
    -------
    Merged
        Edits that were added, and edits that were left out.

    Raises
    ------
    UserError
        If there are no corrections, or they are from another run.
    """
    theirs = read_edits(other)
    if predictions(other, session.run_id).exists():
        # Changes by another program in the copy count, too, if the copy was not opened since.
        theirs += standing(other, session.run_id).imported
    if not theirs:
        raise NothingToTakeIn(f"{other / NAME}: there are no corrections to add; check the path.")
    if theirs[-1].run_id != session.run_id:
        raise UserError(
            f"{other / NAME}: these corrections are of run {theirs[-1].run_id}, those of this slide are of run "
            f"{session.run_id}; run 'follicle-stager stage' with the same settings on both first."
        )
    known = {edit.id for edit in read_edits(session.folder)}
    taken: list[Edit] = []
    conflicts: list[Edit] = []
    predicted = {f.id: f for f in session.predicted}
    for edit in with_predictions(edits_of(theirs, session.run_id), predicted):
        if edit.id in known or edit.kind == Kind.SAVED:
            continue
        if edit.of in {c.id for c in conflicts}:  # the undo of an edit that was left out
            continue
        if edit.kind == Kind.REATTACH:  # in this log, the replay must not start at this edit
            edit = replace(edit, kind=Kind.IMPORT)
        if edit.kind == Kind.FIND:  # both may have searched the same part
            there = {f.id for f in session.follicles}
            edit = replace(edit, after=tuple(f for f in edit.after if f.id not in there))
        try:
            session.adopt(edit)
            taken.append(edit)
        except Conflict:
            conflicts.append(edit)
    return Merged(tuple(taken), tuple(conflicts))
