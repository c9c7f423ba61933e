"""What the window says of things that went wrong or need a look; no Qt in here."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from follicle_stager.errors import UserError, describe_os_error

if TYPE_CHECKING:
    from follicle_stager.learning import Learned
    from follicle_stager.review.desk import Desk

#: Said at once, whatever has led to it.
OVERLAP = (
    "Two outlines overlap now, and one follicle may be counted twice: take it back (Ctrl-Z), reject one of them (0), "
    "or make one of them (J)."
)

_FULL = {errno.ENOSPC: "The disk is full", errno.EDQUOT: "Your disk quota is used up"}


def refused(error: UserError | OSError) -> str:
    """Say why something cannot be done, and what a person at the window can do."""
    if isinstance(error, UserError):
        return str(error)
    full = _FULL.get(error.errno or 0)
    if full is None:
        return describe_os_error(error)
    where = f" ({error.filename})" if error.filename else ""
    return f"{full}{where}. Free some space and press the same again. What was decided before is kept."


def overlap_of(desk: Desk) -> str:
    """Say what the follicle in view overlaps, and which key to press; empty where it overlaps nothing."""
    others = desk.overlapping.get(desk.current or "", [])
    if not others:
        return ""
    stages = ", ".join(desk.session[other].stage.label for other in others)
    return f"It overlaps another outline ({stages}): one may be counted twice. 0: reject this one. J: make one of them."


def learned(result: Learned) -> str:
    """Say what a classifier that was learned from corrections is worth."""
    card, (value, low, high) = result.card, result.difference
    verdict = "it beats the criteria" if card.takes_over else "it is not surely better than the criteria"
    return (
        f"Learned from {card.follicles} follicles of {card.animals} animals. On animals held back, its share "
        f"of right stages minus that of the criteria is {value:+.1%} (95 % interval {low:+.1%} to "
        f"{high:+.1%}): {verdict}. The order 'disagreement' shows where it differs."
    )
