"""The script that a study carries gives in R what Python gave; skipped where R or MASS is missing."""

from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import Stage
from follicle_stager.statistics import find_arrest
from follicle_stager.statistics.compare import R_SCRIPT
from follicle_stager.statistics.matrix import RUNGS
from follicle_stager.statistics.per_stage import per_stage
from follicle_stager.statistics.simulate import simulate_matrix


@pytest.fixture(scope="module")
def in_r(tmp_path_factory):
    """A simulated study, and the lines that R prints of it."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    folder = tmp_path_factory.mktemp("r")
    control = GenotypeModel(animal_cv=0.3, stage_cv=0.3)
    knockout = GenotypeModel(animal_cv=0.3, stage_cv=0.3, block_after=Stage.SECONDARY, block_probability=0.5)
    matrix = simulate_matrix(control, knockout, np.random.default_rng(4), animals=(5, 6))
    arrest = find_arrest(matrix)
    arrest.animals.to_csv(folder / "animals.csv", index=False)
    exposures = pd.DataFrame(matrix.exposure, columns=list(RUNGS))
    exposures.assign(model=matrix.model, animal=matrix.animals).to_csv(folder / "exposures.csv", index=False)
    (folder / "analysis.R").write_text(R_SCRIPT.read_text("utf-8"))
    done = subprocess.run([rscript, "analysis.R"], cwd=folder, capture_output=True, text=True, check=False)
    if "there is no package called" in done.stderr:
        pytest.skip("MASS is not installed")
    assert done.returncode == 0, done.stderr
    lines = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 2]
    return arrest, {name: (float(value), float(se)) for name, value, se in lines if name not in ("stage", "step")}


def test_negative_binomial_models_agree(in_r):
    arrest, r = in_r
    table = per_stage(arrest.matrix).set_index("stage")
    from scipy import stats

    for stage in RUNGS:
        value, se = r[stage]
        assert math.log(table.loc[stage, "rate_ratio"]) == pytest.approx(value, rel=1e-3)
        reach = (math.log(table.loc[stage, "high"]) - math.log(table.loc[stage, "low"])) / 2
        assert reach / stats.t.ppf(0.975, len(arrest.matrix.animals) - 2) == pytest.approx(se, rel=1e-3)


def test_steps_agree_but_for_the_half_that_is_added(in_r):
    """R adds nothing to a group's sums of tens and hundreds, so the two differ in the third digit."""
    arrest, r = in_r
    for row in arrest.steps.to_dict("records"):
        value, se = r[f"{row['from']} to {row['to']}"]
        assert math.log(row["ratio"]) == pytest.approx(value, abs=0.02)
        own = (math.log(row["high"]) - math.log(row["low"])) / 2
        assert own > 0
        assert row["dispersion"] >= 1
        assert se > 0
