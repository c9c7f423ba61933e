"""Two people corrected copies of one slide: the edits of one are taken into the log of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from follicle_stager.corrections.edits import Conflict, Edit, Kind
from follicle_stager.corrections.log import NAME, read_edits
from follicle_stager.corrections.standing import edits_of, predictions, standing
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from follicle_stager.corrections.session import ReviewSession


@dataclass(frozen=True)
class Merged:
    """What came of a merge.

    Attributes
    ----------
    taken
        Edits that are in both logs now.
    conflicts
        Edits that were left out, since both had changed the same follicle or section; the own stands.
    """

    taken: tuple[Edit, ...]
    conflicts: tuple[Edit, ...]


class NothingToTakeIn(UserError):
    """The other one corrected nothing."""


def merge_edits(session: ReviewSession, other: Path) -> Merged:
    """Take in what another person did on a copy of the slide's folder.

    Parameters
    ----------
    session
        The slide, open.
    other
        The copy, with its ``edits.jsonl``.

    Raises
    ------
    UserError
        If there are no corrections, or they are of another run.
    """
    theirs = read_edits(other)
    if predictions(other, session.run_id).exists():
        # What another program did to their files is theirs too, if nobody opened the copy since.
        theirs += standing(other, session.run_id).imported
    if not theirs:
        raise NothingToTakeIn(f"{other / NAME}: there are no corrections to take in; check the path.")
    if theirs[-1].run_id != session.run_id:
        raise UserError(
            f"{other / NAME}: these corrections are of run {theirs[-1].run_id}, this slide's are of {session.run_id}; "
            "run 'stage' with the same settings on both first."
        )
    known = {edit.id for edit in read_edits(session.folder)}
    taken: list[Edit] = []
    conflicts: list[Edit] = []
    for edit in edits_of(theirs, session.run_id):
        if edit.id in known or edit.kind == Kind.SAVED:
            continue
        if edit.of in {c.id for c in conflicts}:  # the undo of what was left out
            continue
        if edit.kind == Kind.REATTACH:  # here it is no new beginning
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
