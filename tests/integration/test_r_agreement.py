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
from follicle_stager.statistics import compare_counts, find_arrest, write_comparison
from follicle_stager.statistics.comparison import compared
from follicle_stager.statistics.simulate import SPREADS, Design, Sampling, expected_counts, matrix_of, moves
from follicle_stager.statistics.stage_errors import StageErrors
from follicle_stager.statistics.write import R_SCRIPT

EXPECTED = expected_counts(GenotypeModel())


def repeated(matrix, folder, errors=None):
    """What R prints, by the first cells of its lines."""
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
    return arrest, [line.split(",") for line in printed(folder).splitlines() if "," in line]


def printed(folder):
    """What the script in a folder prints."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    done = subprocess.run([rscript, "analysis.R"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(groups, sd=0.3, seed=5, **columns):
    """Counts of animals of several genotypes: (genotype, number, factor of the antral follicles)."""
    rng = np.random.default_rng(seed)
    rows = [
        (genotype, *rng.poisson(np.array([500, 60, 50, 20, 12]) * (1, 1, 1, late, late) * rng.lognormal(0, sd, 5)))
        for genotype, n, late in groups
        for _ in range(n)
    ]
    counts = pd.DataFrame(rows, columns=["genotype", *RUNGS])
    return counts.assign(animal=[f"m{i}" for i in range(len(counts))], **columns)


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


def in_r(code, *packages, cwd=None):
    """Numbers that a program in R prints; skipped without R or these packages."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    for package in packages:
        code = f'if (!requireNamespace("{package}", quietly = TRUE)) quit(status = 9); {code}'
    done = subprocess.run(["Rscript", "-e", code], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode == 9:
        pytest.skip(f"R has not all of {', '.join(packages)}")
    assert done.returncode == 0, done.stderr
    return [float(cell) for cell in done.stdout.split()]


def test_lme4_gives_the_difference_between_littermates():
    """With one animal of each group in each litter, a random effect of the litter is the paired t test."""
    given = table((("WT", 7, 1), ("KO", 7, 0.4)), litter=[*"abcdefgabcdefg"])
    result = compare_counts(given)
    values = ", ".join(f"{value:.10f}" for value in result.animals["arrest_log_ratio"])
    # Litters must differ in R's fit too, or it drops their effect: here, by as much again as their places.
    code = (
        f"y <- c({values}) + rep(1:7, 2); ko <- rep(0:1, each = 7); litter <- factor(rep(1:7, 2)); "
        "fit <- lme4::lmer(y ~ ko + (1 | litter)); cat(exp(lme4::fixef(fit)[2]), sqrt(vcov(fit)[2, 2]))"
    )
    ratio, se = in_r(code, "lme4")
    shift = result.question.set_index("test").loc["shift"]
    assert shift["ratio"] == pytest.approx(ratio, rel=1e-4)
    assert shift["se"] == pytest.approx(se, rel=1e-3)


def test_emmeans_gives_the_responses_and_the_trend_over_dose():
    """The estimates; with equal numbers of animals, also the standard error of the interaction."""
    # The animals differ by more than chance, so that the variances are theirs.
    groups = (("WT", 5, 1), ("KO", 5, 0.6), ("WT", 5, 2.5), ("KO", 5, 0.6))
    given = table(groups, sd=0.7, treatment=[""] * 10 + ["PMSG"] * 10)
    rows = compare_counts(given).responses
    own = rows[rows["test"] == "secondary to all later"].set_index("effect")
    code = (
        f"library(emmeans); y <- c({logs(given)}); ko <- factor(rep(rep(0:1, each = 5), 2)); "
        "treated <- factor(rep(0:1, each = 10)); fit <- lm(y ~ ko * treated); "
        "simple <- summary(contrast(emmeans(fit, ~ treated | ko), 'revpairwise')); "
        "both <- summary(contrast(emmeans(fit, ~ ko * treated), list(both = c(1, -1, -1, 1)))); "
        "cat(exp(simple$estimate), exp(both$estimate), both$SE)"
    )
    *ratios, se = in_r(code, "emmeans")
    assert own.loc[["in WT", "in KO", "KO against WT (interaction)"], "ratio"].tolist() == pytest.approx(
        ratios, rel=1e-4
    )
    assert own.loc["KO against WT (interaction)", "se"] == pytest.approx(se, rel=0.01)

    given = table((("WT", 5, 1), ("het", 3, 0.7), ("KO", 4, 0.4)))
    row = compare_counts(given, config=ComparisonConfig(dose=("WT", "het", "KO"))).responses.iloc[0]
    code = f"y <- c({logs(given)}); dose <- rep(0:2, c(5, 3, 4)); cat(exp(coef(lm(y ~ dose))[2]))"
    assert row["ratio"] == pytest.approx(in_r(code)[0], rel=1e-4)


def logs(given):
    """The animals' logarithms on the question, half a follicle added, as R reads them."""
    late, secondary = given["early_antral"] + given["antral"], given["secondary"]
    return ", ".join(f"{value:.10f}" for value in np.log(late + 0.5) - np.log(secondary + 0.5))


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


FOUR = (("WT", 5, 1), ("KO", 6, 0.6), ("WT", 4, 2.5), ("KO", 5, 0.6))
TREATED = ["none"] * 11 + ["PMSG"] * 9


@pytest.mark.parametrize(
    ("given", "config", "imputed"),
    [
        (table(FOUR, treatment=TREATED), {}, False),
        (table(FOUR, treatment=TREATED), {}, True),
        (table([(g, n, f / 8) for g, n, f in FOUR], treatment=TREATED), {}, False),
        (table(FOUR, treatment=TREATED, batch=[*"aabbabababbaabbababa"]), {"batches": "constant"}, True),
        (table(FOUR, treatment=TREATED, batch=[*"aabbaaabbbaccddccddd"]), {"batches": "constant"}, False),
        (table(FOUR, treatment=TREATED, litter=[*"aabbcdeeffgABCDEFGGG"]), {}, False),
        (table((*FOUR, ("WT", 3, 2), ("KO", 3, 1)), age=[8] * 11 + [20] * 9 + [60] * 6), {"by": "age_days"}, False),
        (table((("WT", 5, 1), ("het", 3, 0.7), ("KO", 4, 0.4))), {"dose": ("WT", "het", "KO")}, True),
    ],
)  # fmt: skip
def test_r_gives_the_same_responses(given, config, imputed, tmp_path):
    """Treatments, ages and gene dose, with few follicles, batches (also one set for each treatment) and litters."""
    question = ComparisonConfig(**config)
    result = compare_counts(given, config=question)
    if imputed:
        nothing_false = np.array([[0.0, 1e6]] * 5)
        drawn = [
            (m, StageErrors(np.zeros_like(m.counts), m.counts, 200 * moves(0.1), nothing_false).imputed(m))
            for m in (arrest.matrix for arrest in result.arrests)
        ]
        result = compared({"given": drawn}, config=question)
    write_comparison(tmp_path, result)
    theirs = {}
    for block in printed(tmp_path / "statistics").split("\n== ")[len(result.arrests) + 1 :]:
        title, *lines = block.splitlines()
        values = [line.split(", ") for line in lines if line]
        theirs[title.strip()] = {name: [math.nan if v == "NA" else float(v) for v in own] for name, *own in values}
    rows = result.responses.groupby(["response", "effect"], sort=False)
    assert list(theirs) == [f"{response} : {effect}" for response, effect in rows.groups]
    for (response, effect), own in rows:
        for place, row in enumerate(own.itertuples()):
            name = "shift" if place == 0 else "later 3" if place == 1 else f"step {place - 1}"
            ratio, low, high, _, p_lower = theirs[f"{response} : {effect}"][name]
            expected = (row.ratio, row.low, row.high, row.p)
            theirs_ = (ratio, low, high, 2 * min(p_lower, 1 - p_lower))
            np.testing.assert_allclose(expected, theirs_, rtol=1e-4, atol=1e-6)
