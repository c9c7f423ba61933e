"""Carry corrections over when a slide is searched again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from follicle_stager.annotations import read_geojson, read_sections, write_geojson, write_sections
from follicle_stager.annotations import sections as section_files
from follicle_stager.annotations.geojson import as_written
from follicle_stager.corrections.edits import Edit, Kind, State, another_id
from follicle_stager.corrections.log import read_edits
from follicle_stager.corrections.sections import carried
from follicle_stager.corrections.standing import (
    SOFTWARE,
    edits_of,
    predicted_sections,
    predictions,
    software,
    standing,
)
from follicle_stager.matching import match_outlines
from follicle_stager.stages import Stage, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from follicle_stager.corrections.log import EditLog
    from follicle_stager.corrections.standing import Standing
    from follicle_stager.records import Follicle, SlideResult

# Smallest IoU of the same follicle in two runs.
_IOU = 0.5


def carry_over(
    folder: Path, old_run: str | None, new_run: str, found: SlideResult, log: EditLog
) -> tuple[State, tuple[str, ...]]:
    """Write the predictions of a run, and log the corrections that are carried over to it.

    Nothing is replaced yet: after a crash, the state of the earlier run is unchanged.

    Parameters
    ----------
    folder
        Folder of the slide.
    old_run, new_run
        Run of the current follicles (None if there is none), and the new run.
    found
        Result of the new run.
    log
        Log, open for writing, so that no other corrections are made.

    Returns
    -------
    state : State
        State of the slide in the new run.
    told : tuple of str
        Notes for the user: corrected follicles and sections that were not found again.
    """
    old = standing(folder, old_run) if old_run else None
    for edit in old.imported if old is not None else ():
        log.append(edit)
    paths = predictions(folder, new_run), predicted_sections(folder, new_run)
    corrected = edits_of(read_edits(folder), new_run)
    # If the new run was corrected before, keep its predictions: the same run finds the same follicles.
    if corrected and all(path.exists() for path in paths):
        state = State.of(read_geojson(paths[0]), read_sections(paths[1]))
    else:
        write_sections(paths[1], found.sections)
        write_geojson(paths[0], found.follicles)  # last: this file marks the run as written
        state = State.of(as_written(found.follicles), section_files.as_written(found.sections))
    told: tuple[str, ...] = ()
    if old is not None and (old.touched or old.touched_sections or corrected):
        before, after, orphans = reattach(old, list(state.follicles.values()))
        stood, found_now = (list(s.sections.values()) for s in (old.state, state))
        carried_on, gone = carried(stood, old.touched_sections, found_now)
        sections = {s.section_id: s for s in carried_on}
        edit = Edit.make(
            Kind.REATTACH,
            before,
            after,
            sections_before=[s for i, s in state.sections.items() if sections.get(i) != s],
            sections_after=[s for i, s in sections.items() if state.sections.get(i) != s],
            author=SOFTWARE,
            run_id=new_run,
            software=software(),
        )
        edit.apply(state)
        log.append(edit)
        told = (
            *(f"corrected before, not found again, and kept: {orphan}" for orphan in orphans),
            *(f"changed before, not found again, and kept: {section}" for section in gone),
        )
    return state, told


def reattach(old: Standing, new: Sequence[Follicle]) -> tuple[list[Follicle], list[Follicle], tuple[str, ...]]:
    """Carry judgements and drawn outlines over from the follicles of one run to those of another.

    Parameters
    ----------
    old
        State of the slide in the earlier run.
    new
        Follicles that the later run found.

    Returns
    -------
    before, after : list of Follicle
        Edit of ``new``. A corrected follicle replaces its partner: its predictions are from the later run, its
        judgement and drawn outline from the person. A corrected follicle without a partner is added without a section.
    orphans : tuple of str
        Descriptions of follicles without a partner that are not rejected, for review.
    """
    partners = _partners(old, new)
    before, after, orphans = [], [], []
    taken = {f.id for f in new}
    for own in old.touched:
        if own.status == Status.PREDICTED:  # found when a part was searched again, and not judged
            continue
        partner, first = partners.get(own.id), own.prediction
        if partner is None:  # the later run did not predict it
            said = own.assessment if own.measurements is not None else None
            alone = replace(own, section_id="", prediction=None, remeasured=said)
            after.append(replace(alone, id=another_id(own.id, taken)))
            taken.add(after[-1].id)
            if own.status != Status.REJECTED:
                at = own.outline.centroid
                orphans.append(f"{own.stage.label} at x = {at.x:.0f}, y = {at.y:.0f}")
            continue
        drawn = first is None or first.shape.outline != own.outline
        kept = replace(partner, shape=own.shape, remeasured=own.remeasured) if drawn else partner
        before.append(partner)
        after.append(replace(kept, judgement=own.judgement))
    return before, after, tuple(orphans)


def _partners(old: Standing, new: Sequence[Follicle]) -> dict[str, Follicle]:
    """The same follicles in the new run, matched one to one, by their ids in the old run.

    Predicted outlines are compared first, because a person may have drawn another outline. Follicles without a partner
    are then compared by their drawn outlines with the remaining new follicles.
    """
    partners: dict[str, Follicle] = {}
    stands = old.state.follicles
    for candidates in ([f for f in old.predicted.follicles.values() if f.id in stands], old.touched):
        # A follicle that was claimed on a corpus luteum, and rejected, says nothing about the corpus luteum.
        for luteal in (False, True):
            taken = {f.id for f in partners.values()}
            left = [f for f in new if f.id not in taken and (f.stage is Stage.CORPUS_LUTEUM) == luteal]
            own = [f for f in candidates if f.id not in partners and (f.stage is Stage.CORPUS_LUTEUM) == luteal]
            matches = match_outlines([f.outline for f in own], [f.outline for f in left], min_iou=_IOU)
            partners |= {own[m.found].id: left[m.true] for m in matches}
    return partners
