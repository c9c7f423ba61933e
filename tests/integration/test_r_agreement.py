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
from follicle_stager.statistics import find_arrest
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
