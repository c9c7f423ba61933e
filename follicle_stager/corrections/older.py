"""Logs of versions before 0.3, whose lines did not separate the prediction of a follicle from its correction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from follicle_stager.corrections.edits import Kind
from follicle_stager.records import Assessment
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from follicle_stager.corrections.edits import Edit
    from follicle_stager.records import Follicle, Prediction

_OLDER = ("follicle-stager 0.1.0", "follicle-stager 0.2.0")


def with_predictions(edits: Iterable[Edit], predicted: Mapping[str, Follicle]) -> tuple[Edit, ...]:
    """Edits of one run in which each follicle has its prediction again.

    Parameters
    ----------
    edits
        Edits from the log; edits of newer versions are not changed.
    predicted
        Follicles that the run found, by id.

    Returns
    -------
    tuple of Edit
        Edits with predictions.
    """
    known = {i: f.prediction for i, f in predicted.items() if f.prediction is not None}
    made = []
    for edit in edits:
        if edit.kind == Kind.FIND:
            known |= {f.id: f.prediction for f in edit.after if f.prediction is not None}
        if edit.software in _OLDER:
            before, after = (tuple(_apart(f, known.get(f.id)) for f in side) for side in (edit.before, edit.after))
            # In another person's log they are written again, and must not be separated twice.
            edit = replace(edit, before=before, after=after, software=f"{edit.software}, read by {__version__}")
        made.append(edit)
    return tuple(made)


def _apart(follicle: Follicle, prediction: Prediction | None) -> Follicle:
    """Separate the prediction from measurements in a corrected outline; old versions wrote only one of them."""
    said = follicle.first_assessment
    if said is not None and said.measurements is None:
        said = None
    if said is not None:
        # They wrote only the stage that was measured; health and countable in the line may be a person's.
        first = prediction.assessment if prediction is not None else Assessment()
        said = replace(said, health=first.health, countable=first.countable)
    if prediction is None:
        return replace(follicle, prediction=None, remeasured=said)
    same = said is None or said.measurements == prediction.assessment.measurements
    unchanged = follicle.shape == prediction.shape or same
    return replace(follicle, prediction=prediction, remeasured=None if unchanged else said)
