"""A slide is searched again: what a person did to the follicles of the earlier run goes to those of the new one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.matching import match_outlines
from follicle_stager.review.edits import Edit, Kind, another_id
from follicle_stager.review.log import read_edits
from follicle_stager.review.standing import SOFTWARE, edits_of, predictions, software, standing
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from follicle_stager.records import Follicle
    from follicle_stager.review.log import EditLog
    from follicle_stager.review.standing import Standing

# Least overlap of one follicle in two runs.
_IOU = 0.5
# What a person says of a follicle, and what goes with an outline that a person drew.
_SAID = ("stage", "health", "countable", "status", "edited_by", "edited_at")
_DRAWN = ("outline", "oocyte", "nucleus", "fluid", "measurements")


def carry_over(
    folder: Path, old_run: str | None, new_run: str, found: Sequence[Follicle], log: EditLog
) -> tuple[dict[str, Follicle], tuple[str, ...]]:
    """Write the predictions of a run, and log what earlier corrections are in it.

    Nothing is replaced yet: after a crash the earlier run stands as it stood.

    Parameters
    ----------
    folder
        Of the slide.
    old_run, new_run
        The run whose follicles stand, None for the first one; and the one that comes.
    found
        What the new one found.
    log
        Open for writing: nobody corrects meanwhile.

    Returns
    -------
    state : dict
        What stands in the new run, by id.
    orphans : tuple of str
        Corrected follicles that were not found again.
    """
    old = standing(folder, old_run) if old_run else None
    if old is not None and old.imported is not None:
        log.append(old.imported)
    path, corrected = predictions(folder, new_run), edits_of(read_edits(folder), new_run)
    # What was corrected stays as it was found then: the same run finds the same.
    if not (path.exists() and corrected):
        write_geojson(path, found)
    new = read_geojson(path)
    state: dict[str, Follicle] = {follicle.id: follicle for follicle in new}
    orphans: tuple[str, ...] = ()
    if old is not None and (old.touched or corrected):
        before, after, orphans = reattach(old, new)
        edit = Edit.make(Kind.REATTACH, before, after, author=SOFTWARE, run_id=new_run, software=software())
        edit.apply(state)
        log.append(edit)
    return state, orphans


def reattach(old: Standing, new: Sequence[Follicle]) -> tuple[list[Follicle], list[Follicle], tuple[str, ...]]:
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
        The edit of ``new``. A touched follicle takes the place of its partner: what the software says is the later
        run's, what a person said and drew is the person's. One without partner is added, without a section.
    orphans : tuple of str
        Those without partner that count, for a person to look at.
    """
    partners = _partners(old, new)
    before, after, orphans = [], [], []
    taken = {f.id for f in new}
    for own in old.touched:
        if own.status == Status.PREDICTED:  # found when a part was searched again; nobody said anything of it
            continue
        partner, said_first = partners.get(own.id), old.predicted.get(own.id)
        if partner is None:
            after.append(replace(own, id=another_id(own.id, taken), section_id=""))
            taken.add(after[-1].id)
            if own.status != Status.REJECTED:
                at = own.outline.centroid
                orphans.append(f"{own.stage.label} at x = {at.x:.0f}, y = {at.y:.0f}")
            continue
        drawn = said_first is None or said_first.outline != own.outline
        before.append(partner)
        after.append(replace(partner, **{name: getattr(own, name) for name in _SAID + (_DRAWN if drawn else ())}))
    return before, after, tuple(orphans)


def _partners(old: Standing, new: Sequence[Follicle]) -> dict[str, Follicle]:
    """The same follicles in the new run, one to one, by their ids in the old one.

    What the software had found is compared first: a person may have drawn something else there. What has no partner
    then is compared as it was drawn, with what is left.
    """
    partners: dict[str, Follicle] = {}
    left = list(new)
    for candidates in ([f for f in old.predicted.values() if f.id in old.follicles], old.touched):
        own = [f for f in candidates if f.id not in partners]
        matches = match_outlines([f.outline for f in own], [f.outline for f in left], min_iou=_IOU)
        partners |= {own[m.found].id: left[m.true] for m in matches}
        gone = {m.true for m in matches}
        left = [f for i, f in enumerate(left) if i not in gone]
    return partners
