"""A made-up lab that draws a line elsewhere: how well does a classifier learn it from corrections?"""

from __future__ import annotations

import shutil

from follicle_stager import examples
from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.learning import learn
from follicle_stager.stages import LADDER, Stage
from follicle_stager.study import Study, list_slides


def test_a_lab_with_other_criteria(tmp_path, record):
    """An invented lab calls early antral follicles *secondary* if their largest space is below 6 % of the granulosa.

    It judges every follicle of the example slides; animals are held back in turn.
    """
    study = Study.create(tmp_path / "study", Config())
    run_batch(study, list_slides(examples.folder()), Config(), jobs=2)
    shutil.copy(examples.folder() / "samples.csv", study.samples_path)
    changed = 0
    for slide in study.slide_ids():
        with study.review(slide, author="lab") as session:
            for f in session.follicles:
                if f.stage not in LADDER:
                    continue
                if f.stage == Stage.EARLY_ANTRAL and f.measurements.largest_space_fraction < 0.06:
                    session.set_stage([f.id], Stage.SECONDARY)
                    changed += 1
                else:
                    session.accept([f.id])
    result = learn(study)
    value, low, high = result.difference
    record(
        f"{result.card.follicles} follicles of {result.card.animals} animals, {changed} of them staged otherwise\n"
        f"{result.scores.round(3).to_string(index=False)}\n"
        f"right stage, classifier minus criteria: {value:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    )
    assert result.card.takes_over
