"""The script that a study carries gives in R what Python gave; skipped where R or a package is missing.

pytest tests/integration/test_r_agreement.py -s     # prints both side by side
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import RUNGS, Stage
from follicle_stager.statistics import find_arrest
from follicle_stager.statistics.per_stage import per_stage
from follicle_stager.statistics.simulate import simulate_matrix
from follicle_stager.statistics.write import R_SCRIPT

PAGE = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def simulated():
    spread = {"animal_cv": 0.3, "stage_cv": 0.3}
    control = GenotypeModel(**spread)
    knockout = GenotypeModel(**spread, block_after=Stage.SECONDARY, block_probability=0.5)
    return simulate_matrix(control, knockout, np.random.default_rng(4), animals=(5, 6))


def refitted(matrix, folder):
    """What R prints: (package, what) -> (log ratio, standard error)."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    find_arrest(matrix).animals.to_csv(folder / "animals.csv", index=False)
    exposures = pd.DataFrame(matrix.exposure, columns=list(RUNGS))
    exposures.assign(model=matrix.model, animal=matrix.animals).to_csv(folder / "exposures.csv", index=False)
    (folder / "analysis.R").write_text(R_SCRIPT.read_text("utf-8"))
    done = subprocess.run([rscript, "analysis.R"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 3]
    return {(package, what): (float(value), float(se)) for package, what, value, se in lines}


@pytest.fixture(scope="module")
def in_r(tmp_path_factory):
    """A simulated study, and what R makes of it."""
    matrix = simulated()
    return matrix, refitted(matrix, tmp_path_factory.mktemp("r"))


def side_by_side(r, package, own):
    """Print and compare: three digits that count."""
    theirs = {what: value for (name, what), value in r.items() if name == package}
    if not theirs:
        pytest.skip(f"{package} is not installed")
    print(f"\n{package}: log ratio and standard error, here and in R")
    for what, (value, se) in own.items():
        print(f"  {what:25s} {value: .5f} {theirs[what][0]: .5f}   {se:.5f} {theirs[what][1]:.5f}")
    for what, (value, se) in own.items():
        assert math.exp(value) == pytest.approx(math.exp(theirs[what][0]), rel=1e-3), what
        assert se == pytest.approx(theirs[what][1], rel=1e-3), what


@pytest.mark.parametrize("package", ["MASS", "glmmTMB"])
def test_negative_binomial_models_agree(in_r, package):
    matrix, r = in_r
    table = per_stage(matrix).set_index("stage")
    n = len(matrix.animals)
    # The model's own error; the factor for few animals is ours.
    model = table["se"] / np.sqrt(table["variance_factor"])
    side_by_side(r, package, {stage: (math.log(table.loc[stage, "rate_ratio"]), model[stage]) for stage in RUNGS})
    assert set(table["variance_factor"]) <= {1.0, n / (n - 2)}
    reach = np.log(table["high"] / table["low"]) / 2
    np.testing.assert_allclose(reach, stats.t.ppf(0.975, n - 2) * table["se"])


@pytest.mark.parametrize("package", ["continuation", "VGAM"])
def test_continuation_ratios_agree(package, tmp_path):
    """Of many follicles, so that the half that is added here does not show; all of one exposure, as VGAM has none."""
    matrix = simulated()
    matrix = replace(matrix, counts=matrix.counts * 50, exposure=np.ones_like(matrix.exposure))
    r = refitted(matrix, tmp_path)
    if package == "VGAM" and not any(name == "VGAM" for name, _ in r):
        pytest.skip("VGAM is not installed")
    print(f"\n{package}: odds ratio of going on, here and in R")
    for row in find_arrest(matrix).steps.to_dict("records"):
        theirs = math.exp(r[package, f"{row['from']} to {row['to']}"][0])
        print(f"  {row['from']} to {row['to']}: {row['continuation']:.5f} {theirs:.5f}")
        assert row["continuation"] == pytest.approx(theirs, rel=1e-3)


def test_steps_agree_but_for_the_half_that_is_added(in_r):
    """R adds nothing to a group's sums of tens and hundreds, so the two differ in the third digit."""
    matrix, r = in_r
    for row in find_arrest(matrix).steps.to_dict("records"):
        step = f"{row['from']} to {row['to']}"
        value, se = r["quasibinomial", step]
        print(f"  {step}: {math.log(row['ratio']):.5f} {value:.5f}")
        assert math.log(row["ratio"]) == pytest.approx(value, abs=0.02)
        assert se > 0
        if ("lme4", step) in r:  # a random effect is another model: the same within its own standard error
            assert math.log(row["ratio"]) == pytest.approx(r["lme4", step][0], abs=r["lme4", step][1])


def quoted(row):
    """The cells of a row of the tables in docs/statistics.md, after its name."""
    lines = re.findall(rf"^\| {row} \|(.+)\|$", PAGE.partition("## In R")[2], re.MULTILINE)
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0].split("|")]


def steps_as_quoted():
    """Log ratio of each step, here and in R, as the text of that page has them."""
    pairs = re.search(r"half follicle that is added here \(([^)]+)\)", PAGE)[1]
    return [pair.split(" and ") for pair in " ".join(pairs.split()).split(", ")]


def test_the_page_of_statistics_has_these_figures():
    matrix = simulated()
    table = per_stage(matrix).set_index("stage")
    se = table["se"] / np.sqrt(table["variance_factor"])
    for stage in RUNGS:
        own = f"{math.log(table.loc[stage, 'rate_ratio']):.5f} ({se[stage]:.5f})"
        assert quoted(stage.replace("_", " "))[0] == own
    assert [own for own, _ in steps_as_quoted()] == [f"{math.log(r):.3f}" for r in find_arrest(matrix).steps["ratio"]]
    many = replace(matrix, counts=matrix.counts * 50, exposure=np.ones_like(matrix.exposure))
    for row in find_arrest(many).steps.to_dict("records"):
        assert quoted(f"{row['from']} to {row['to']}".replace("_", " "))[0] == f"{row['continuation']:.5f}"


@pytest.mark.parametrize(("column", "package"), [(1, "MASS"), (2, "glmmTMB")])
def test_the_page_of_statistics_has_the_figures_of_r(column, package, in_r):
    for (name, what), (value, se) in in_r[1].items():
        if name == package and what in RUNGS:
            assert quoted(what.replace("_", " "))[column] == f"{value:.5f} ({se:.5f})"
    theirs = [f"{value:.3f}" for (name, _), (value, _) in in_r[1].items() if name == "quasibinomial"]
    assert theirs == [value for _, value in steps_as_quoted()]
