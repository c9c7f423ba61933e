"""A slide is searched again: what a person did to the follicles of the earlier run is carried over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from follicle_stager.annotations import read_geojson
from follicle_stager.files import replacing
from follicle_stager.matching import match_outlines
from follicle_stager.review.edits import Edit, Kind
from follicle_stager.review.log import EditLog, read_edits
from follicle_stager.review.session import ReviewSession
from follicle_stager.review.standing import FOLLICLES, predictions, software, standing
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from follicle_stager.records import Follicle
    from follicle_stager.review.standing import Standing

# What a person says of a follicle, and what goes with an outline that a person drew.
_SAID = ("stage", "health", "countable", "status", "edited_by", "edited_at")
_DRAWN = ("outline", "oocyte", "nucleus", "fluid", "measurements")
_SOFTWARE = "follicle-stager"


def carry_over(folder: Path, old_run: str | None, new_run: str) -> tuple[str, ...]:
    """Log what the corrections of one run are in another, whose predictions are there already.

    Parameters
    ----------
    folder
        Of the slide.
    old_run, new_run
        None for the first run of a slide.

    Returns
    -------
    tuple of str
        What a person must know.
    """
    if old_run is None:
        return ()
    old = standing(folder, old_run)
    if not old.touched and not read_edits(folder):
        return ()
    before, after, orphans = reattach(old, read_geojson(predictions(folder, new_run)))
    log = EditLog(folder)
    try:
        signature = {"author": _SOFTWARE, "run_id": new_run, "software": software()}
        log.append(Edit.make(Kind.REATTACH, before, after, **signature))
    finally:
        log.close()
    return tuple(f"corrected before and not found again, kept as it was: {orphan}" for orphan in orphans)


def rewrite(folder: Path, run_id: str) -> None:
    """Write follicles.geojson of a run, whatever another one left there."""
    path = folder / FOLLICLES
    path.unlink(missing_ok=True)
    if read_edits(folder):
        ReviewSession(folder, run_id, author=_SOFTWARE).close()
    else:
        with replacing(path) as temporary:
            temporary.write_bytes(predictions(folder, run_id).read_bytes())


def reattach(old: Standing, new: Sequence[Follicle]) -> tuple[list[Follicle], list[Follicle], list[str]]:
    """Carry what a person said about the follicles of one run over to those of another.

    Parameters
    ----------
    old
        What stood after the earlier run.
    new
        What the later one found.

    Returns
    -------
    before, after : list of Follicle
        The edit of ``new``. A touched follicle takes the place of its partner (one to one, IoU at least 0.5): what the
        software says is the later run's, what a person said and drew is the person's. One without partner is added.
    orphans : list of str
        Those without partner, for a person to look at.
    """
    own = old.touched
    matches = match_outlines([f.outline for f in own], [f.outline for f in new], min_iou=0.5)
    partner = {own[m.found].id: new[m.true] for m in matches}
    before, after, orphans = [], [], []
    for follicle in own:
        if follicle.id in partner:
            before.append(partner[follicle.id])
            kept = _SAID + (_DRAWN if old.drawn(follicle) else ())
            after.append(replace(partner[follicle.id], **{name: getattr(follicle, name) for name in kept}))
        elif follicle.status != Status.REJECTED:
            after.append(follicle)
            at = follicle.outline.centroid
            orphans.append(f"{follicle.stage.label} at x = {at.x:.0f}, y = {at.y:.0f}")
    return before, after, orphans
