"""A study that version 0.2.0 made and corrected: it opens, counts to the same numbers, and can be undone."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from studies import count_study

from follicle_stager.corrections import Kind, merge_edits
from follicle_stager.stages import Status
from follicle_stager.study import Study

PACKED = Path(__file__).parents[1] / "data" / "study_0_2_0.zip"
TABLES = ("follicles", "counts_by_section", "counts_by_ovary", "counts_by_animal", "counts_by_genotype")
CORRECTED_ONLY, RUN_TWICE = "Igfals_KO_1", "Igfals_WT_1"


@pytest.fixture
def study(tmp_path):
    with zipfile.ZipFile(PACKED) as packed:
        packed.extractall(tmp_path)
    return Study.open(tmp_path / "study")


def test_it_counts_to_the_same_numbers(study):
    before = {name: pd.read_csv(study.tables / f"{name}.csv") for name in TABLES}
    count_study(study)
    for name, old in before.items():
        new = pd.read_csv(study.tables / f"{name}.csv")
        if name == "follicles":
            assert set(new.columns) - set(old.columns) == {"health_predicted", "countable_predicted"}
            # It used to be what was measured in the outline that a person drew; now it is what the run had said.
            old, new = (t.drop(columns="stage_predicted") for t in (old, new))
        # Sums of numbers with two decimals were not rounded: 38.199999999999996.
        pd.testing.assert_frame_equal(new[list(old.columns)], old.round({"abercrombie": 2}), check_exact=True)


def test_what_the_run_had_found_is_known_again(study):
    with study.review(CORRECTED_ONLY, author="Ada") as session:
        predicted = {f.id: f for f in session.predicted}
        changed = [f for f in session.follicles if f.id in predicted and f != predicted[f.id]]
        assert all(f.prediction == predicted[f.id].prediction for f in changed)
        reshaped = [f for f in changed if f.shape != f.prediction.shape]
        assert len(reshaped) == 2, "one was reshaped, one was split"
        assert all(f.remeasured is not None for f in reshaped)
        assert all(f.remeasured is None for f in changed if f not in reshaped)
        added = [f for f in session.follicles if f.status == Status.ADDED]
        assert added
        assert all(f.prediction is None for f in added)


def test_its_history_can_be_undone_and_done_again(study):
    with study.review(CORRECTED_ONLY, author="Ada") as session:
        stood = session.follicles, session.sections
        kinds = []
        while session.can_undo:
            kinds.append(session.undo().kind)
        assert kinds == [Kind.UNDO] * 10
        assert session.follicles == session.predicted
        while session.can_redo:
            session.redo()
        assert ({f.id: f for f in session.follicles}, session.sections) == ({f.id: f for f in stood[0]}, stood[1])
    with study.review(CORRECTED_ONLY, author="Ada") as session:
        assert {f.id: f for f in session.follicles} == {f.id: f for f in stood[0]}, "the same from the disk"


def test_what_was_carried_over_from_an_earlier_run_stands(study):
    with study.review(RUN_TWICE, author="Ada") as session:
        assert session.can_undo
        carried = [f for f in session.follicles if f.status in (Status.CORRECTED, Status.REJECTED)]
        assert len(carried) >= 3
        predicted = {f.id: f for f in session.predicted}
        assert all(f.prediction == predicted[f.id].prediction for f in carried if f.id in predicted)


@pytest.mark.parametrize("shared", range(0, 18, 3))
def test_another_persons_log_of_that_version_is_taken_in(study, tmp_path, shared):
    """Both began from one log of 0.2.0; the other person's goes on, and this one's is corrected with this version."""
    other = shutil.copytree(study.slide_folder(CORRECTED_ONLY), tmp_path / "other")
    log = study.slide_folder(CORRECTED_ONLY) / "edits.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:shared]))
    for name in ("follicles.geojson", "sections.geojson"):  # written when the copy was closed
        (study.slide_folder(CORRECTED_ONLY) / name).unlink()
    with study.review(CORRECTED_ONLY, author="Ada") as session:
        merged = merge_edits(session, other)
        assert not merged.conflicts
        predicted = {f.id: f.prediction for f in session.predicted}
        assert all(f.prediction == predicted.get(f.id, f.prediction) for f in session.follicles)
        session.accept([f.id for f in session.follicles if f.status == Status.PREDICTED])
        stood = session.follicles
    with study.review(CORRECTED_ONLY, author="Ada") as session:
        assert session.follicles == stood
