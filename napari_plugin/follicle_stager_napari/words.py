"""Messages of the window about problems and about follicles to check; without Qt."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from follicle_stager.corrections import Kind
from follicle_stager.errors import UserError, describe_os_error

if TYPE_CHECKING:
    from follicle_stager.corrections import Edit
    from follicle_stager.learning import Learned
    from follicle_stager.review.desk import Desk

#: Shown as soon as two outlines overlap, whatever caused it.
OVERLAP = (
    "Two outlines overlap now, and one follicle may be counted twice: undo this (Ctrl-Z), reject one of them (0), "
    "or merge them (J)."
)

# What a person did, in words, by the kind of the edit.
_DID = {
    Kind.SET_STAGE: "stage",
    Kind.SET_HEALTH: "atretic or healthy",
    Kind.SET_COUNTABLE: "nucleus visible",
    Kind.SET_STATUS: "accepted",
    Kind.ADD: "follicle added",
    Kind.FIND: "part searched",
    Kind.DELETE: "rejected",
    Kind.RESHAPE: "outline changed",
    Kind.MERGE: "merged",
    Kind.SPLIT: "split",
    Kind.ASSIGN_SECTION: "sections assigned",
    Kind.MERGE_SECTIONS: "sections merged",
    Kind.EXCLUDE_REGION: "part of a section cut out",
    Kind.SET_INCLUDED: "sections left out or counted again",
    Kind.JUDGE_WHOLE: "sections judged whole",
    Kind.IMPORT: "changes of another program",
}
#: Shown while a study is opened.
FIRST_START = "Opening. The first time on a computer, napari compiles parts of itself, which can take half a minute."

_FULL = {errno.ENOSPC: "The disk is full", errno.EDQUOT: "Your disk quota is used up"}


def refused(error: UserError | OSError) -> str:
    """Return a message that says why something failed, and what the user can do."""
    if isinstance(error, UserError):
        return str(error)
    full = _FULL.get(error.errno or 0)
    if full is None:
        return describe_os_error(error)
    where = f" ({error.filename})" if error.filename else ""
    return f"{full}{where}. Free some space and press the same key or button again. Earlier decisions are kept."


def did(edit: Edit) -> str:
    """Return what an edit did, in a few words."""
    what = _DID.get(edit.kind, edit.kind.value)
    pairs = [(f.stage, g.stage) for f in edit.before for g in edit.after if f.id == g.id]
    many = len(edit.after or edit.before)
    if edit.kind is Kind.SET_STAGE and len(pairs) == 1:
        before, after = pairs[0]
        return f"stage: {before.label} to {after.label}" if before is not after else f"stage confirmed: {after.label}"
    if many == 1 and not edit.sections_before and (edit.after or edit.before)[0].stage.label:
        return f"{what}: {(edit.after or edit.before)[0].stage.label}"
    return f"{what}: {many} follicles" if many > 1 else what


def overlap_of(desk: Desk) -> str:
    """Return a message about outlines that the current follicle overlaps, with the keys to press; else empty."""
    others = desk.walk.overlapping.get(desk.walk.current or "", [])
    if not others:
        return ""
    stages = ", ".join(desk.session[other].stage.label for other in others)
    return f"It overlaps another outline ({stages}): it may be counted twice. 0: reject this one. J: merge them."


def learned(result: Learned) -> str:
    """Return a message that says how well a classifier learned from corrections performs."""
    card, (value, low, high) = result.card, result.difference
    verdict = "it is better than the criteria" if card.takes_over else "it is not clearly better than the criteria"
    return (
        f"Learned from {card.follicles} follicles of {card.animals} animals. On held-out animals, its share "
        f"of right stages minus that of the criteria is {value:+.1%} (95 % interval {low:+.1%} to "
        f"{high:+.1%}): {verdict}. The order 'disagreement' shows where it differs."
    )
