"""Where is the block? Against arithmetic by hand, R's definitions, and cohorts with a planted answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from follicle_stager.errors import UserError
from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import RUNGS, TABLE_ROWS, Stage
from follicle_stager.statistics import CountMatrix, compare, count_matrices, find_arrest
from follicle_stager.statistics.effects import holm, permutation_p, rate_ratio, ratio_of_ratios
from follicle_stager.statistics.per_stage import per_stage
from follicle_stager.statistics.power import Design, misstaged, moves
from follicle_stager.statistics.schemas import SCHEMAS
from follicle_stager.statistics.simulate import simulate_matrix
from follicle_stager.statistics.stage_errors import StageErrors, stage_errors
from follicle_stager.statistics.write import prism_arrest, prism_grouped
from follicle_stager.study import Counts
from follicle_stager.study.schemas import validated

NOTHING = pd.DataFrame(columns=["model", "animal", "stage_predicted", "countable", "health"])
KO = np.array([False] * 4 + [True] * 4)


def matrix(control, knockout, **given):
    """From rows of five counts."""
    counts = np.array([*control, *knockout], float)
    values = {
        "model": "m",
        "animals": tuple(f"a{i}" for i in range(len(counts))),
        "knockout": np.repeat([False, True], [len(control), len(knockout)]),
        "counts": counts,
        "exposure": np.ones_like(counts),
        "genotypes": ("+/+", "-/-"),
    }
    return CountMatrix(**(values | given))


class TestEffects:
    def test_ratio_of_ratios_by_hand(self):
        """Sums 40/20 in controls and 10/20 in knockouts; animals that differ by chance only."""
        upper = np.array([10.0, 10, 10, 10, 3, 2, 2, 3])
        lower = np.full(8, 5.0)
        effect = ratio_of_ratios(upper, np.ones(8), lower, np.ones(8), KO)
        assert effect.log_ratio == pytest.approx(math.log((10.5 / 20.5) / (40.5 / 20.5)))
        assert effect.dispersion == 1
        assert effect.se == pytest.approx(math.sqrt(1 / 10.5 + 1 / 20.5 + 1 / 40.5 + 1 / 20.5))
        assert effect.df == 6
        low, high = effect.interval()
        assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 6) * effect.se)
        assert effect.p_lower == pytest.approx(stats.t.cdf(effect.log_ratio / effect.se, 6))

    def test_dispersion_is_pearsons(self):
        """As R's quasibinomial: sum of squared Pearson residuals over n - 2."""
        upper, lower = np.array([2.0, 18, 4, 16, 10, 10, 3, 17]), np.array([18.0, 2, 16, 4, 10, 10, 17, 3])
        effect = ratio_of_ratios(upper, np.ones(8), lower, np.ones(8), KO)
        expected = sum((u - 10) ** 2 / 5 for u in upper) / 6
        assert effect.dispersion == pytest.approx(expected)

    @given(st.floats(0.1, 10), st.integers(1, 6))
    def test_what_an_animals_counts_share_drops_out(self, scale, animal):
        """An animal of which more was cut has more of both stages; the step is the same."""
        upper, lower = np.array([9.0, 12, 8, 11, 3, 2, 4, 3]), np.array([10.0, 9, 12, 10, 11, 12, 10, 9])
        share = np.ones(8)
        share[animal] = scale
        one = ratio_of_ratios(upper, np.ones(8), lower, np.ones(8), KO)
        other = ratio_of_ratios(upper, share, lower, share, KO)
        assert other.dispersion == pytest.approx(one.dispersion)

    def test_exposure_is_an_offset(self):
        counts, exposure = np.array([10.0, 20, 10, 20, 5, 10, 5, 10]), np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
        effect = rate_ratio(counts, exposure, KO)
        assert effect.log_ratio == pytest.approx(math.log(30.5 / 60.5))
        assert effect.dispersion == 1

    def test_a_group_without_follicles_is_finite(self):
        effect = ratio_of_ratios(np.array([5.0, 6, 4, 5, 0, 0, 0, 0]), np.ones(8), np.full(8, 8.0), np.ones(8), KO)
        assert effect.added
        assert math.isfinite(effect.log_ratio)
        assert all(map(math.isfinite, effect.interval()))

    def test_holm_as_r(self):
        """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")"""
        np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])

    def test_permutation_by_hand(self):
        """Two and two, all apart: 2 of the 6 ways differ as much."""
        values, ko = np.array([1.0, 2, 8, 9]), np.array([False, False, True, True])
        p, exact = permutation_p(lambda k: values[k].mean() - values[~k].mean(), ko)
        assert (p, exact) == (pytest.approx(2 / 6), True)

    def test_many_animals_are_regrouped_at_random_and_the_same_each_time(self):
        rng = np.random.default_rng(0)
        values, ko = rng.normal(size=24), np.repeat([False, True], 12)
        ps = [permutation_p(lambda k: values[k].mean() - values[~k].mean(), ko) for _ in range(2)]
        assert ps[0] == ps[1]
        assert not ps[0][1]
        assert ps[0][0] == pytest.approx(stats.ttest_ind(values[ko], values[~ko]).pvalue, abs=0.03)


class TestVerdict:
    CONTROL = ((200, 40, 30, 20, 15), (220, 44, 33, 22, 16), (190, 38, 28, 19, 14), (210, 42, 31, 21, 15))

    def test_a_block_after_the_secondary_stage(self):
        blocked = [(a, b, c, d // 5, e // 5) for a, b, c, d, e in self.CONTROL]
        arrest = find_arrest(matrix(self.CONTROL, blocked))
        assert arrest.verdict.kind == "block"
        assert arrest.verdict.blocks == ("secondary",)
        assert "block or delay after the secondary stage" in arrest.verdict.sentence
        step = arrest.steps.set_index("from").loc["secondary"]
        assert step["high"] < 1
        assert arrest.contrast["ratio"] == pytest.approx(0.2, abs=0.05)
        assert arrest.contrast["permutation_p"] == pytest.approx(2 / 70)

    def test_depletion_is_no_block(self):
        arrest = find_arrest(matrix(self.CONTROL, np.array(self.CONTROL) // 2))
        assert arrest.verdict.kind == "depletion"
        assert arrest.verdict.blocks == ()

    def test_block_and_depletion_and_two_blocks(self):
        fewer = [(a // 2, b // 2, c // 2, d // 10, e // 10) for a, b, c, d, e in self.CONTROL]
        assert find_arrest(matrix(self.CONTROL, fewer)).verdict.kind == "block and depletion"
        many = np.array(self.CONTROL) * 5
        twice = [(a, b // 4, c // 4, d // 4, e // 40) for a, b, c, d, e in many]
        assert find_arrest(matrix(many, twice)).verdict.blocks == ("primordial", "early_antral")

    def test_none_only_where_a_block_is_excluded(self):
        assert find_arrest(matrix(self.CONTROL, self.CONTROL)).verdict.kind == "none"
        few = np.array(self.CONTROL) // 10
        assert find_arrest(matrix(few, few)).verdict.kind == "inconclusive", "no follicles are no proof"

    def test_complete_separation_is_an_answer(self):
        separated = [(a, b, c, 0, 0) for a, b, c, _, _ in self.CONTROL]
        arrest = find_arrest(matrix(self.CONTROL, separated))
        assert arrest.verdict.blocks == ("secondary",)
        assert np.isfinite(arrest.steps.loc[:2, ["ratio", "low", "high"]].to_numpy(float)).all()
        assert arrest.steps["note"].tolist()[2:] == ["a group has none of a stage: 0.5 was added", "not estimable"]
        assert per_stage(arrest.matrix)["method"].str.contains("0.5 added").sum() == 2

    def test_one_animal_is_not_estimable_and_two_are_few(self):
        one = find_arrest(matrix(self.CONTROL, self.CONTROL[:1]))
        assert one.verdict.kind == "not estimable"
        assert "1 knockout and 4 control" in one.verdict.sentence
        two = find_arrest(matrix(self.CONTROL, self.CONTROL[:2]))
        assert any("four or more" in warning for warning in two.verdict.warnings)

    def test_stages_that_are_not_seen_or_empty_are_left_out_and_said(self):
        counts = np.array(self.CONTROL, float)
        counts[:, 0] = np.nan
        counts[:, 4] = 0
        arrest = find_arrest(matrix(counts, counts))
        assert arrest.steps["ratio"].isna().tolist() == [True, False, False, True]
        assert "primordial to primary, early antral to antral" in " ".join(arrest.verdict.warnings)
        nothing = find_arrest(matrix(np.zeros((4, 5)), np.zeros((4, 5))))
        assert nothing.verdict.kind == "not estimable"

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 40), min_size=5, max_size=5), min_size=4, max_size=9), st.integers(1, 8))
    def test_any_counts_give_a_verdict_and_no_infinity(self, rows, first):
        first = min(first, len(rows) - 1)
        arrest = find_arrest(matrix(rows[:first], rows[first:]))
        assert arrest.verdict.kind in {
            "block", "block and depletion", "depletion", "none", "inconclusive", "not estimable",
        }  # fmt: skip
        assert not np.isinf(arrest.steps[["ratio", "low_90", "p_holm"]].to_numpy(float)).any()
        per_stage(arrest.matrix)


def test_no_block_is_rarely_found_and_a_planted_one_mostly():
    """``tools/make_statistics.py`` does it a thousand times; the follicle-level test is wrong in every third study."""
    rng = np.random.default_rng(3)
    null = GenotypeModel()
    found = [find_arrest(simulate_matrix(null, null, rng)).verdict.blocks for _ in range(80)]
    assert sum(map(bool, found)) <= 9
    blocked = GenotypeModel(block_after=Stage.SECONDARY, block_probability=0.7)
    found = [find_arrest(simulate_matrix(null, blocked, rng, animals=(6, 6))).verdict.blocks for _ in range(40)]
    assert sum(f == ("secondary",) for f in found) >= 34


class TestErrorsOfStage:
    """A tenth of the follicles is staged one rung off; how often is known."""

    @staticmethod
    def errors_of(called, known):
        known_moves = moves(0.1) * known
        nothing_false = np.array([[0.0, 1e6]] * 5)
        return StageErrors(np.zeros_like(called.counts), called.counts, known_moves, nothing_false)

    def test_intervals_hold_that_do_not_without(self):
        design = Design(GenotypeModel(), GenotypeModel(block_after=Stage.SECONDARY, block_probability=0.7))
        rng = np.random.default_rng(2)
        true = np.exp(design.log_ratios)
        held = {"plain": [], "carried": []}
        for _ in range(12):
            matrix = misstaged(simulate_matrix(design.control, design.knockout, rng, animals=(8, 8)), 0.1, rng)
            for name, errors in (("plain", None), ("carried", self.errors_of(matrix, 200))):
                steps = find_arrest(matrix, errors=errors, permute=False).steps
                held[name].append((steps["low"] <= true) & (true <= steps["high"]))
        assert np.mean(held["plain"], axis=0)[2] < 0.6
        assert np.mean(held["carried"], axis=0).min() > 0.9

    def test_the_less_is_known_the_wider(self):
        m = matrix(TestVerdict.CONTROL, TestVerdict.CONTROL)
        widths = []
        for errors in (None, self.errors_of(m, 2000), self.errors_of(m, 20)):
            steps = find_arrest(m, errors=errors, permute=False).steps
            widths.append(np.log(steps["high"] / steps["low"]).to_numpy(float))
        assert widths[0].sum() < widths[1].sum() < widths[2].sum()

    def test_a_study_that_is_half_judged_shows_no_difference_of_its_own(self):
        """Equal groups, of which one was judged: its false claims were rejected, and the others' are drawn."""
        rng = np.random.default_rng(7)
        calls = {"primordial": 400, "primary": 60, "secondary": 40, "early_antral": 20, "antral": 15}
        true_share = {"primordial": 467 / 541, "primary": 114 / 117}
        rows, rejected = [], []
        animals = [f"a{i}" for i in range(10)]
        for i, animal in enumerate(animals):
            for rung, mean in calls.items():
                own = {"model": "m", "animal": animal, "stage_predicted": rung, "countable": "yes", "health": "healthy"}
                for real in rng.random(rng.poisson(mean)) < true_share.get(rung, 1.0):
                    if i < 5:
                        rows.append(own | {"stage": rung, "status": "predicted"})
                    elif real:
                        rows.append(own | {"stage": rung, "status": "accepted"})
                    else:
                        rejected.append(own)
        table = pd.DataFrame(rows)
        counts = table.groupby(["animal", "stage"]).size().unstack(fill_value=0)[list(RUNGS)]
        m = matrix(counts.to_numpy()[:5], counts.to_numpy()[5:], animals=tuple(animals))
        errors = stage_errors(table, pd.DataFrame(rejected), m, kind="countable")
        assert errors.false[0, 0] > len(rejected) * 0.9
        arrest = find_arrest(m, errors=errors, permute=False)
        assert not arrest.verdict.blocks
        first = per_stage(m, errors=errors, permute=False).iloc[0]
        assert first["rate_ratio"] == pytest.approx(1, abs=0.06)
        assert per_stage(m, permute=False).iloc[0]["rate_ratio"] < 0.9, "as they come it is not"

    def test_a_real_block_after_the_primordial_stage_is_found(self):
        control = [(400, 60, 40, 20, 15), (420, 66, 38, 22, 13), (380, 58, 43, 18, 16), (410, 61, 39, 21, 14)]
        blocked = [(a, *(x // 8 for x in rest)) for a, *rest in control]
        m = matrix(control, blocked)
        rows = [
            {"model": "m", "animal": animal, "stage": rung, "stage_predicted": rung, "status": "predicted",
             "countable": "yes", "health": "healthy"}
            for animal, own in zip(m.animals, m.counts, strict=True)
            for rung, n in zip(RUNGS, own, strict=True)
            for _ in range(int(n))
        ]  # fmt: skip
        errors = stage_errors(pd.DataFrame(rows), NOTHING, m, kind="countable")
        assert find_arrest(m, errors=errors, permute=False).verdict.blocks[:1] == ("primordial",)

    def test_single_stages_are_wider_too_and_the_permutation_is_of_what_was_counted(self):
        m = matrix(TestVerdict.CONTROL, TestVerdict.CONTROL)
        plain, carried = per_stage(m), per_stage(m, errors=self.errors_of(m, 20))
        assert (carried["high"] / carried["low"] > plain["high"] / plain["low"]).all()
        assert carried["permutation_p"].tolist() == plain["permutation_p"].tolist()

    def test_what_was_judged_counts_as_it_is(self):
        """A study of which everything was judged has no such errors; what nobody judged has the exam's."""
        m = matrix([[1, 1, 1, 1, 1]] * 2, [[1, 1, 1, 1, 1]] * 2)
        rows = [
            {
                "model": "m",
                "animal": a,
                "stage": s,
                "stage_predicted": s,
                "status": "accepted",
                "countable": "yes",
                "health": "healthy",
            }
            for a in m.animals
            for s in RUNGS
        ]
        assert stage_errors(pd.DataFrame(rows), NOTHING, m, kind="countable") is None
        rows[0]["status"] = "predicted"
        rows[1] |= {"stage_predicted": "secondary", "status": "corrected"}
        errors = stage_errors(pd.DataFrame(rows), NOTHING, m, kind="countable")
        assert errors.called.sum() == 1
        assert errors.judged.sum() == 19
        before = stage_errors(pd.DataFrame(rows[:1]), NOTHING, m, kind="countable").confusion
        assert errors.confusion[1, 2] == before[1, 2] + 1, "a primary one that was called secondary"
        np.testing.assert_allclose(before.sum(axis=1), 20)
        for drawn in errors.imputed(m):
            assert (drawn.counts >= errors.judged).all()


class TestStages:
    def test_equal_variance_to_poisson_is_a_poisson_model(self):
        """Two groups of equal exposure: the ratio is that of the means, and its SE sqrt(1/sum + 1/sum)."""
        m = matrix([[10] * 5] * 4, [[5] * 5] * 4)
        row = per_stage(m).iloc[0]
        assert row["rate_ratio"] == pytest.approx(0.5, rel=1e-4)
        reach = stats.t.ppf(0.975, 6) * math.sqrt(1 / 40 + 1 / 20)
        assert math.log(row["high"]) == pytest.approx(math.log(0.5) + reach, rel=1e-3)

    def test_a_model_that_loses_its_way_is_not_taken_for_poisson(self):
        """R 4.2: summary(MASS::glm.nb(c(9176,8779,8361,9055,8684,9438,10728,12164) ~ rep(0:1, each = 4)))."""
        y = np.array([9176.0, 8779, 8361, 9055, 8684, 9438, 10728, 12164])
        counts = np.repeat(y[:, None], 5, axis=1)
        row = per_stage(matrix(counts[:4], counts[4:])).iloc[0]
        assert row["method"] == "negative binomial"
        assert row["se"] / math.sqrt(row["variance_factor"]) == pytest.approx(0.0666, abs=2e-4)

    def test_overdispersed_counts_as_rs_glm_nb(self):
        """R 4.2: y <- c(4,30,12,22,3,9,1,15); g <- rep(0:1, each = 4); summary(MASS::glm.nb(y ~ g))."""
        y = np.array([4.0, 30, 12, 22, 3, 9, 1, 15])
        counts = np.repeat(y[:, None], 5, axis=1)
        row = per_stage(matrix(counts[:4], counts[4:])).iloc[2]
        assert row["method"] == "negative binomial"
        assert math.log(row["rate_ratio"]) == pytest.approx(-0.8873032, abs=1e-5)
        few = math.sqrt(8 / 6)  # of the 8 animals 2 are spent on coefficients
        assert math.log(row["high"]) == pytest.approx(-0.8873032 + stats.t.ppf(0.975, 6) * 0.5318929 * few, abs=1e-4)

    def test_covariates_change_the_answer_and_are_checked(self):
        rng = np.random.default_rng(1)
        m = matrix(rng.poisson(20, (5, 5)), rng.poisson(20, (5, 5)))
        ages = pd.DataFrame({"age_days": [40.0, 50, 60, 70, 80, 40, 50, 60, 70, 80]})
        assert per_stage(m, covariates=ages)["rate_ratio"].notna().all()
        with pytest.raises(UserError, match="says the same"):
            per_stage(m, covariates=pd.DataFrame({"batch": ["a"] * 5 + ["b"] * 5}))
        with pytest.raises(UserError, match="empty for animals a1"):
            per_stage(m, covariates=ages.assign(age_days=[1.0, np.nan, *range(8)]))


def counts_of(rows):
    """Tables of a study from (model, group, genotype, animal, stage numbers, interval)."""
    table = []
    for model, group, genotype, animal, numbers, interval in rows:
        for stage in TABLE_ROWS:
            n = numbers.get(stage.value, 0)
            table.append(
                {
                    "model": model, "group": group, "genotype": genotype, "animal": animal, "stage": stage.value,
                    "n_profiles": 2 * n, "n_countable": n, "n_healthy": n, "n_atretic": 1, "sections": 2,
                    "interval": interval, "ovaries_sampled": 1 / interval, "thickness_um": 5.0, "ovary": "",
                    "nucleus_height_um": 20.0 if stage == Stage.ANTRAL else 10.0,
                }
            )  # fmt: skip
    animal = pd.DataFrame(table)
    none = pd.DataFrame(columns=["model", "animal", "stage", "stage_predicted", "status", "countable", "health"])
    return Counts(none, *[animal] * 4)


def study_rows(model="A", intervals=(10,) * 8):
    groups = [("control", "+/+")] * 4 + [("knockout", "-/-")] * 4
    numbers = {"primordial": 50, "transitional": 5, "primary": 20, "secondary": 12, "early_antral": 6, "antral": 3}
    return [
        (model, group, genotype, f"{model}{i}", numbers | {"preovulatory": 1}, interval)
        for i, ((group, genotype), interval) in enumerate(zip(groups, intervals, strict=True))
    ]


class TestStudies:
    def test_rungs_join_neighbours_and_exposure_is_abercrombies_inverse(self):
        (m,) = count_matrices(counts_of(study_rows(intervals=(10, 5) * 4)).animal)
        assert m.counts[0].tolist() == [55, 20, 12, 6, 4]
        # (T + h)/T of a nucleus of 10 and of 20 um in sections of 5 um.
        np.testing.assert_allclose(m.exposure[0], [0.3, 0.3, 0.3, 0.3, 0.5])
        np.testing.assert_allclose(m.exposure[1], 2 * m.exposure[0])
        (profiles,) = count_matrices(counts_of(study_rows()).animal, kind="profiles")
        assert profiles.counts[0].tolist() == [110, 40, 24, 12, 8]
        np.testing.assert_allclose(profiles.exposure, 0.1)

    def test_what_is_beside_the_ladder_is_compared_and_in_no_verdict(self):
        counts = counts_of(study_rows())
        unsure = counts.animal["stage"] == "unsure"
        counts.animal.loc[unsure, "n_profiles"] = [1, 2, 1, 2, 9, 8, 9, 10]
        table = compare(counts).stages.set_index("stage")
        assert list(table.index) == [*RUNGS, "unsure", "atretic"]
        assert table.loc["unsure", ["n_control", "n_knockout"]].tolist() == [6, 36]
        assert table.loc["unsure", "rate_ratio"] == pytest.approx(6)
        assert table.loc["unsure", "p"] < 0.01
        assert table.loc["atretic", ["n_control", "n_knockout"]].tolist() == [28, 28], "one of each stage of the ladder"
        assert table["p_holm"].isna().tolist() == [False] * 5 + [True] * 2
        healthy = counts.animal.assign(n_healthy=counts.animal["n_countable"] - 1)
        (m,) = count_matrices(healthy, kind="healthy")
        assert m.counts[0].tolist() == [53, 19, 11, 5, 2]

    def test_models_have_their_own_controls_and_stand_side_by_side(self):
        rows = study_rows("A") + study_rows("B")
        result = compare(counts_of(rows))
        assert [a.matrix.model for a in result.arrests] == ["A", "B"]
        assert list(result.verdicts["verdict"]) == ["inconclusive", "inconclusive"]
        assert prism_grouped(result).shape == (5, 17)
        assert prism_arrest(result).shape == (4, 4)
        assert result.together == ""

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (study_rows()[:4], "no knockout animal"),
            (study_rows()[:7] + [("A", "knockout", "other", "A9", {}, 10)], "have 2 genotypes"),
            (study_rows(intervals=(10,) * 7 + (float("nan"),)), "animals A7 have no sampling interval"),
        ],
    )
    def test_what_cannot_be_compared_is_refused_by_name(self, rows, said):
        with pytest.raises(UserError, match=said):
            compare(counts_of(rows))

    def test_models_may_share_names_of_animals_and_groups(self):
        numbers = {"primordial": 200, "primary": 100, "secondary": 60, "early_antral": 30, "antral": 20}
        blocked = numbers | {"early_antral": 3, "antral": 2}
        rows = [
            (model, group, genotype, str(i), blocked if group == "knockout" else numbers, 10)
            for model in ("Igfals", "Igf1r")
            for i, (group, genotype) in enumerate([("control", "WT")] * 4 + [("knockout", "KO")] * 4)
        ]
        result = compare(counts_of(rows))
        assert result.together == "All 2 models block after the secondary stage."
        assert prism_grouped(result).shape == (5, 17)
        assert list(prism_arrest(result)) == ["Igfals WT", "Igfals KO", "Igf1r WT", "Igf1r KO"]
        sheet = pd.DataFrame({"model": [r[0] for r in rows], "animal": [r[3] for r in rows], "age_days": range(16)})
        counts = replace(counts_of(rows), samples=sheet)
        assert compare(counts, covariates=["age_days"]).covariates == ("age_days",)
        with pytest.raises(UserError, match="not a covariate"):
            compare(counts, covariates=["weight"])

    @pytest.mark.parametrize("kind", ["countable", "healthy", "profiles"])
    def test_a_study_without_any_follicle_is_an_answer(self, kind):
        rows = [(*r[:4], {}, r[5]) for r in study_rows()]
        assert compare(counts_of(rows), kind=kind).arrests[0].verdict.kind == "not estimable"

    def test_one_model_may_have_intervals_and_another_none(self):
        rows = study_rows("A") + study_rows("B", intervals=(float("nan"),) * 8)
        notes = [a.matrix.exposure_note for a in compare(counts_of(rows)).arrests]
        assert "Abercrombie" in notes[0]
        assert "per section" in notes[1]

    def test_a_knockout_without_any_follicle_is_depleted(self):
        rows = [r if r[1] == "control" else (*r[:4], {}, r[5]) for r in study_rows()]
        verdict = compare(counts_of(rows)).arrests[0].verdict
        assert verdict.kind == "depletion"
        assert "fewer follicles, 0.0" in verdict.sentence
        assert "no step can be tested" in verdict.sentence

    def test_thicknesses_that_differ_need_heights(self):
        counts = counts_of(study_rows())
        counts.animal.loc[counts.animal["animal"] == "A0", "thickness_um"] = 10.0
        assert "corrected for section thickness (Abercrombie)" in count_matrices(counts.animal)[0].exposure_note
        counts.animal.loc[counts.animal["stage"] == "antral", "nucleus_height_um"] = np.nan
        with pytest.raises(UserError, match=r"differ in thickness.*: antral\. Give it as counting"):
            count_matrices(counts.animal)
        counts.animal["thickness_um"] = 5.0
        assert "not corrected for section thickness" in count_matrices(counts.animal)[0].exposure_note
        counts.animal.loc[counts.animal["animal"] == "A0", "thickness_um"] = np.nan
        with pytest.raises(UserError, match="animals A0 have no thickness, or several"):
            count_matrices(counts.animal)

    def test_samplings_that_cannot_be_offsets_are_refused_by_name(self):
        counts = counts_of(study_rows())
        section = counts.section.copy()
        section.loc[section["animal"] == "A1", "ovary"] = "L"
        with pytest.raises(UserError, match="A0, A2, A3, A4, A5, A6, A7 have no name of their ovary"):
            compare(replace(counts, section=section))
        section = counts.section.copy()
        section.loc[section.index[section["animal"] == "A2"][:3], "interval"] = 5
        with pytest.raises(UserError, match="animals A2 have no sampling interval, or several in one ovary"):
            compare(replace(counts, section=section))

    def test_without_intervals_counts_are_per_section(self):
        (m,) = count_matrices(counts_of(study_rows(intervals=(float("nan"),) * 8)).animal)
        np.testing.assert_allclose(m.exposure, 2)
        assert "per section" in m.exposure_note
        assert set(RUNGS) == {"primordial", "primary", "secondary", "early_antral", "antral"}


def test_a_table_with_an_impossible_value_is_not_written():
    steps = find_arrest(matrix([[9, 8, 7, 6, 5]] * 3, [[8, 7, 6, 5, 4]] * 3)).steps
    assert list(validated(steps, SCHEMAS["steps"])["from"]) == list(RUNGS)[:-1]
    with pytest.raises(UserError, match=r"^statistics/arrest\.csv: a value is not allowed there"):
        validated(steps.assign(p=2.0), SCHEMAS["steps"])
    with pytest.raises(UserError, match=r"^statistics/arrest\.csv"):
        validated(steps.drop(columns="ratio"), SCHEMAS["steps"])
