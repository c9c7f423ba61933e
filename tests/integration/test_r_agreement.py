"""The script that a study carries gives in R what Python gave; skipped where R is missing."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from follicle_stager.config import ComparisonConfig
from follicle_stager.files import write_csv
from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import RUNGS
from follicle_stager.statistics import compare_counts, find_arrest
from follicle_stager.statistics.simulate import SPREADS, Design, Sampling, expected_counts, matrix_of, moves
from follicle_stager.statistics.stage_errors import StageErrors
from follicle_stager.statistics.write import R_SCRIPT

EXPECTED = expected_counts(GenotypeModel())


def repeated(matrix, folder, errors=None):
    """What R prints, by the first cells of its lines."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    arrest = find_arrest(matrix, imputed=errors and errors.imputed(matrix))
    exposures = pd.DataFrame(matrix.exposure, columns=list(RUNGS)).assign(
        comparison=matrix.comparison, animal=matrix.animals
    )
    drawn = errors.imputed(matrix) if errors else np.zeros((0, *matrix.counts.shape))
    draws = pd.DataFrame(drawn.reshape(-1, 5), columns=list(RUNGS))
    draws = draws.assign(comparison=matrix.comparison, animal=list(matrix.animals) * len(drawn))
    draws = draws.assign(draw=np.repeat(range(len(drawn)), len(matrix.animals)))
    tables = {"animals": arrest.animals, "exposures": exposures, "imputations": draws}
    tables["settings"] = pd.DataFrame([ComparisonConfig().model_dump()])
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table.round(6))
    (folder / "analysis.R").write_text(R_SCRIPT.read_text("utf-8"))
    done = subprocess.run([rscript, "analysis.R"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return arrest, [line.split(",") for line in done.stdout.splitlines() if "," in line]


@pytest.mark.parametrize("paired", [False, True])
def test_rs_own_t_test_gives_the_question(paired, tmp_path):
    """On the exported table; the animals differ by more than chance, so that the variances are theirs."""
    drawn = Design((1, 1, 1, 0.4, 0.4), EXPECTED, SPREADS["wide"])
    counts, exposure = drawn.draw(1, (6, 6), np.random.default_rng(3))
    matrix = matrix_of(counts[0], exposure[0], (6, 6))
    if paired:
        matrix = replace(matrix, litters=np.array([*"abcdefabcdef"]), paired=True)
    arrest, _ = repeated(matrix, tmp_path)
    code = (
        'a <- read.csv("animals.csv"); ko <- a$group == "knockout"; x <- a$arrest_log_ratio; '
        f't <- t.test(x[ko], x[!ko], alternative = "less", paired = {str(paired).upper()}); '
        "d <- if (length(t$estimate) > 1) t$estimate[[1]] - t$estimate[[2]] else t$estimate[[1]]; "
        "cat(exp(d), exp(t$conf.int[2]), t$p.value, t$parameter)"
    )
    done = subprocess.run(["Rscript", "-e", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    shift = arrest.question.set_index("test").loc["shift", ["ratio", "upper", "p", "df"]].to_numpy(float)
    np.testing.assert_allclose(shift, [float(cell) for cell in done.stdout.split()], rtol=1e-4)


def test_rs_linear_model_gives_the_interaction_of_genotype_and_treatment():
    """The estimate of lm; its standard error takes one variance for all groups, the product one for each."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    rng = np.random.default_rng(4)
    counts = rng.poisson(np.array([800, 80, 60, 40, 30]) * rng.lognormal(0, 0.6, (20, 5)))
    table = pd.DataFrame(counts, columns=list(RUNGS)).assign(animal=[f"m{i}" for i in range(20)])
    table["genotype"], table["treatment"] = ["WT", "KO"] * 10, ["none"] * 10 + ["PMSG"] * 10
    row = compare_counts(table).responses.set_index(["effect", "test"]).loc["KO against WT", "secondary to all later"]
    y = np.log(table["early_antral"] + table["antral"] + 0.5) - np.log(table["secondary"] + 0.5)
    values = ", ".join(f"{value:.10f}" for value in y)
    code = (
        f"y <- c({values}); ko <- rep(0:1, 10); treated <- rep(0:1, each = 10); "
        "cat(exp(coef(lm(y ~ ko * treated))[4]), summary(lm(y ~ ko * treated))$coefficients[4, 2])"
    )
    done = subprocess.run([rscript, "-e", code], capture_output=True, text=True, check=True)
    ratio, se = map(float, done.stdout.split())
    assert row["ratio"] == pytest.approx(ratio, rel=1e-4)
    assert row["se"] == pytest.approx(se, rel=0.01), "equal numbers of animals: the two variances are the same"


@pytest.mark.parametrize(
    ("ratios", "spread", "sampling", "animals", "wrong", "unseen", "design"),
    [
        ((1, 1, 1, 0.3, 0.3), "real", Sampling(), (5, 6), 0.0, (), {}),
        ((1, 1, 1, 0.3, 0.3), "even", Sampling(uneven=True), (6, 6), 0.1, (), {}),
        ((1, 1, 0.2, 0.2, 0.0), "even", Sampling(), (6, 4), 0.0, (), {}),
        ((1, 1, 2, 1, 1), "even", Sampling(1 / 8), (8, 8), 0.0, (), {}),
        ((0.1, 1, 1, 1, 1), "real", Sampling(1 / 8, uneven=True), (4, 4), 0.0, (), {}),
        ((0.3, 2, 2, 1.5, 1.5), "even", Sampling(), (6, 6), 0.0, (), {}),
        ((0.4,) * 5, "even", Sampling(), (6, 6), 0.0, (), {}),
        ((0.01,) * 5, "even", Sampling(), (6, 6), 0.0, (), {}),
        ((1,) * 5, "even", Sampling(), (6, 6), 0.0, (), {}),
        ((1,) * 5, "wide", Sampling(1 / 24), (4, 4), 0.0, (), {}),
        ((1, 1, 1, 0.2, 0.2), "even", Sampling(), (5, 5), 0.1, (0,), {}),
        ((1, 1, 1, 0.2, 0.2), "even", Sampling(), (5, 5), 0.0, (2,), {}),
        ((1, 1, 1, 0.2, 0.2), "even", Sampling(), (5, 5), 0.0, (3,), {}),
        ((1, 1, 1, 0.4, 0.02), "even", Sampling(), (6, 6), 0.0, (), {}),
        ((1, 1, 1, 0.3, 0.3), "real", Sampling(), (6, 6), 0.0, (), {"litters": np.array([*"aabbcddeeffg"])}),
        ((1, 1, 1, 0.3, 0.3), "real", Sampling(), (6, 6), 0.1, (), {"litters": np.array([*"abcdefabcdeef"[:12]])}),
        (
            (1, 1, 1, 0.3, 0.3),
            "real",
            Sampling(),
            (5, 7),
            0.0,
            (),
            {"litters": np.array([*"aabcdabbccdd"]), "paired": True},
        ),
        ((1, 1, 1, 0.3, 0.3), "real", Sampling(), (6, 6), 0.1, (3,), {"batches": np.array([*"aabbccabbbcc"])}),
        ((1, 1, 1, 0.3, 0.1), "real", Sampling(1 / 8), (6, 6), 0.0, (), {"batches": np.array([*"aaabbbabbbbb"])}),
    ],
)
def test_r_gives_the_same_to_four_digits(ratios, spread, sampling, animals, wrong, unseen, design, tmp_path):
    drawn = Design(ratios, EXPECTED, SPREADS[spread], sampling=sampling, wrong_stage=wrong)
    counts, exposure = drawn.draw(1, animals, np.random.default_rng(7))
    # Nuclei of other heights on each rung, in sections of two thicknesses; in some studies, a rung that is not seen.
    heights = np.where(np.arange(sum(animals))[:, None] % 2, (0.3, 0.4, 0.5, 0.6, 0.6), (0.5, 0.6, 0.7, 0.9, 1.2))
    matrix = matrix_of(counts[0], exposure[0] * heights, animals)
    matrix.counts[:, list(unseen)] = np.nan
    matrix = replace(matrix, **design)
    errors = None
    if wrong:
        nothing_false = np.array([[0.0, 1e6]] * 5)
        errors = StageErrors(np.zeros_like(matrix.counts), matrix.counts, 200 * moves(wrong), nothing_false)
    arrest, lines = repeated(matrix, tmp_path, errors)
    theirs = {line[0]: [float(cell) if cell.strip() != "NA" else math.nan for cell in line[1:]]
              for line in lines if len(line) == 6}  # fmt: skip
    columns = ["ratio", "low", "high", "upper", "p"]
    question = arrest.question.set_index("test")
    ours = {f"step {k + 1}": row for k, row in arrest.steps.iterrows()} | {"shift": question.loc["shift"]}
    for name, row in ours.items():
        np.testing.assert_allclose(row[columns].to_numpy(float), theirs[name], rtol=1e-4, atol=1e-9, err_msg=name)
    p_holm = [float(line[2]) if line[2].strip() != "NA" else math.nan for line in lines if line[0] == "p_holm"]
    np.testing.assert_allclose(arrest.steps["p_holm"], np.array(p_holm)[arrest.steps.index], rtol=1e-4, atol=1e-9)
    said = {line[0]: line[1].split() for line in lines if line[0] in ("verdict", "blocks_after")}
    assert (" ".join(said["verdict"]), tuple(said["blocks_after"])) == (arrest.verdict.kind, arrest.verdict.blocks)
