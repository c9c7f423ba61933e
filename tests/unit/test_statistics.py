"""Where is the block? Against arithmetic by hand, R's definitions, and cohorts with a planted answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from studies import counts_of, study_rows

from follicle_stager.config import ComparisonConfig
from follicle_stager.errors import UserError
from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import RUNGS
from follicle_stager.statistics import CountMatrix, compare, count_matrices, effects, find_arrest, linear
from follicle_stager.statistics.decision import VerdictKind, all_effects
from follicle_stager.statistics.effects import Counted, holm, rate_ratio, ratio_of_ratios, two_groups
from follicle_stager.statistics.per_stage import per_stage
from follicle_stager.statistics.power import simulate_verdicts
from follicle_stager.statistics.schemas import SCHEMAS
from follicle_stager.statistics.simulate import SPREADS, Design, Sampling, expected_counts, matrix_of, moves
from follicle_stager.statistics.stage_errors import StageErrors, stage_errors
from follicle_stager.statistics.write import prism_arrest, prism_grouped
from follicle_stager.study.schemas import validated

NOTHING = pd.DataFrame(columns=["model", "animal", "stage_predicted", "countable", "health"])
KO = np.array([False] * 4 + [True] * 4)
TWO = two_groups(KO)


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
    CONTROL, OTHER = np.array([30.0, 44, 25, 38]), np.array([21.0, 9, 14, 30])

    def test_animals_of_equal_sampling_are_compared_as_by_scipy(self):
        counts = np.array([*self.CONTROL, *self.OTHER])
        effect = rate_ratio(Counted(counts, np.ones(8)), TWO)
        logs = np.log(counts + 0.5)
        welch = stats.ttest_ind(logs[KO], logs[~KO], equal_var=False)
        assert effect.p_two_sided == pytest.approx(welch.pvalue)
        assert effect.df == pytest.approx(welch.df)
        low, high = welch.confidence_interval()
        assert effect.interval() == (pytest.approx(low), pytest.approx(high))

    def test_a_step_compares_the_animals_log_ratios(self):
        upper, lower = np.array([9.0, 30, 12, 7, 5, 4, 20, 6]), np.array([30.0, 44, 25, 38, 21, 19, 24, 30])
        effect = ratio_of_ratios(Counted(upper, np.ones(8)), Counted(lower, np.ones(8)), TWO)
        logs = np.log((upper + 0.5) / (lower + 0.5))
        welch = stats.ttest_ind(logs[KO], logs[~KO], equal_var=False, alternative="less")
        assert effect.p_lower == pytest.approx(welch.pvalue)
        assert effect.upper() == pytest.approx(welch.confidence_interval().high)

    def test_animals_that_are_alike_have_the_variance_of_random_counts(self):
        """Four animals with 40 follicles each, and four with 20: each log count has the variance 1/(mean + 1)."""
        effect = rate_ratio(Counted(np.array([40.0] * 4 + [20.0] * 4), np.ones(8)), TWO)
        # The rates of the groups are (160 + 0.5)/4 and (80 + 0.5)/4; half a follicle is added to each animal.
        assert effect.se == pytest.approx(math.sqrt((1 / 40.625 + 1 / 20.625) / 4))
        assert effect.df > 60

    def test_few_follicles_are_compared_by_the_sums_of_the_groups(self):
        effect = rate_ratio(Counted(np.array([5.0, 6, 4, 5, 1, 0, 1, 0]), np.ones(8)), TWO)
        assert effect.few
        assert effect.log_ratio == pytest.approx(math.log(2.5 / 20.5))
        assert effect.se == pytest.approx(math.sqrt(1 / 2.5 + 1 / 20.5))

    def test_exposure_is_an_offset(self):
        exposure = np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
        for mean in (1000.0, 2.0):
            effect = rate_ratio(Counted(exposure * np.where(KO, mean / 2, mean), exposure), TWO)
            assert effect.log_ratio == pytest.approx(math.log(0.5), abs=0.5 / mean)

    @given(st.integers(0, 7), st.sampled_from([0.1, 3.0, 10.0]))
    def test_what_an_animals_counts_share_drops_out(self, animal, factor):
        """An animal of which more was cut has more of both stages; with many follicles, the step stays the same."""
        upper, lower = 1e5 * self.CONTROL.repeat(2), 1e5 * self.OTHER.repeat(2)
        more = np.where(np.arange(8) == animal, factor, 1.0)
        plain, cut = (
            ratio_of_ratios(Counted(upper * f, f), Counted(lower * f, f), TWO).log_ratio for f in (np.ones(8), more)
        )
        assert cut == pytest.approx(plain, abs=1e-5)

    def test_a_group_without_follicles_is_finite(self):
        upper = np.array([5.0, 6, 4, 5, 0, 0, 0, 0])
        effect = ratio_of_ratios(Counted(upper, np.ones(8)), Counted(np.full(8, 8.0), np.ones(8)), TWO)
        assert all(map(math.isfinite, (effect.log_ratio, *effect.interval())))
        assert effect.upper() < 0

    def test_many_studies_at_once_are_as_one_by_one(self):
        rng = np.random.default_rng(0)
        counts, exposure = rng.poisson(6, (30, 8, 2)).astype(float), rng.uniform(0.5, 2, (30, 8, 2))
        both = [Counted(counts[..., i], exposure[..., i]) for i in range(2)]
        many = ratio_of_ratios(*both, TWO)
        for i in range(30):
            one = ratio_of_ratios(*(Counted(c[i], e[i]) for c, e in both), TWO)
            given = many.log_ratio[i], many.se[i], many.df[i]
            assert (one.log_ratio, one.se, one.df) == pytest.approx(given, rel=1e-12)

    def test_holm_as_r(self):
        """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")"""
        np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])

    def test_weighted_holm_by_hand(self):
        """Weights 2, 1, 1: 0.02 * 4/2; then 0.02 * 2/1 of what is left; then 0.3. The order is by p over weight."""
        np.testing.assert_allclose(holm(np.array([0.02, 0.02, 0.3]), [2, 1, 1]), [0.04, 0.04, 0.3])

    @pytest.mark.parametrize("audited", [False, True])
    def test_each_rung_and_step_is_as_if_tested_alone(self, audited):
        """All rungs are tested in one call, in which each animal must stay with its own counts and errors."""
        rng = np.random.default_rng(3)
        counts = rng.poisson([40, 25, 12, 6, 3], (8, 5)) * np.where(KO, 0.6, 1.0)[:, None]
        exposure = rng.uniform(0.5, 2.0, (8, 5))
        sampling = rng.uniform(0.5, 4.0, (8, 5)) if audited else None
        tests = all_effects(counts, exposure, TWO, 2, sampling=sampling)
        if audited:
            stages, module = linear.estimated(counts, exposure, sampling, TWO), linear
        else:
            stages, module = [Counted(counts[:, k], exposure[:, k]) for k in range(5)], effects
        alone = [(tests.rungs, k, module.rate_ratio(stages[k], TWO)) for k in range(5)]
        alone += [(tests.steps, k, module.ratio_of_ratios(stages[k + 1], stages[k], TWO)) for k in range(4)]
        for of_all, k, single in alone:
            for name in ("log_ratio", "se", "df", "p_lower"):
                assert getattr(of_all, name)[k] == pytest.approx(float(getattr(single, name)), rel=1e-9)
            np.testing.assert_allclose(of_all.at(k).interval(), single.interval(), rtol=1e-6)


class TestVerdict:
    CONTROL = ((200, 40, 30, 20, 15), (220, 44, 33, 22, 16), (190, 38, 28, 19, 14), (210, 42, 31, 21, 15))

    def of(self, *factors):
        """Verdict for knockouts with these ratios on the rungs; six animals each."""
        control = np.array([*self.CONTROL, *self.CONTROL[:2]])
        return find_arrest(matrix(control, np.round(control * factors)))

    def test_an_arrest_at_the_secondary_stage(self):
        arrest = self.of(1, 1, 1, 0.2, 0.2)
        assert arrest.verdict.kind == "arrest"
        assert arrest.verdict.blocks == ("secondary",)
        assert "arrest at the secondary stage (block or delay)" in arrest.verdict.sentence
        assert "reach the secondary stage" not in arrest.verdict.sentence
        question = arrest.question.set_index("test")
        assert question.loc[["shift", "total"], "ratio"].tolist() == pytest.approx([0.2, 0.2], abs=0.05)
        assert question.loc["arrest", ["p", "p_holm"]].max() < 0.01
        assert arrest.steps["note"].tolist() == ["", "", "arrest, see question.csv", ""]

    @pytest.mark.parametrize(
        ("factors", "kind"),
        [
            ((1, 1, 2.5, 1, 1), "accumulation"),
            ((1, 1, 1, 0.4, 1), "acceleration"),
            ((0.1, 1, 1, 1, 1), "loss of the reserve"),
            ((0.3, 2, 2, 1.5, 1.2), "acceleration"),
            ((0.01, 0.01, 0.01, 0.01, 0.01), "total loss"),
            ((0, 0, 0, 0, 0), "total loss"),
            ((0.5, 0.5, 0.5, 0.5, 0.5), "depletion"),
            ((1, 1, 1, 1, 1), "none"),
        ],
    )
    def test_patterns_that_are_no_block_have_their_own_names(self, factors, kind):
        verdict = self.of(*factors).verdict
        assert verdict.kind == kind
        assert verdict.blocks == ()
        assert f": {'no block' if kind == 'none' else kind}" in verdict.sentence

    def test_a_block_is_placed(self):
        assert self.of(1, 1, 0.2, 0.2, 0.2).verdict.blocks == ("primary",)
        assert self.of(1, 1, 1, 1, 0.1).verdict.blocks == ("early_antral",)
        assert self.of(1, 0.2, 0.2, 0.03, 0.03).verdict.blocks == ("primordial", "secondary")

    def test_a_second_loss_does_not_hide_the_arrest(self):
        assert self.of(1, 1, 1, 0.45, 0.03).verdict.blocks == ("secondary", "early_antral")

    @pytest.mark.parametrize(("unseen", "blocks"), [(3, ("secondary",)), (4, ("secondary",)), (2, ("primary",))])
    def test_a_stage_that_was_not_counted_hides_no_block(self, unseen, blocks):
        """Most labs count primordial, primary, secondary and antral follicles."""
        control = np.array([*self.CONTROL, *self.CONTROL[:2]], float)
        control[:, unseen] = np.nan
        arrest = find_arrest(matrix(control, np.round(control * (1, 1, 1, 0.2, 0.2))))
        assert arrest.verdict.blocks == blocks
        assert len(arrest.steps) == 3
        blocked = arrest.steps[arrest.steps["block"] == "yes"].iloc[0]
        after = blocked["to"].replace("_", " ")
        said = arrest.verdict.sentence
        assert f"as many {after} follicles" in said or f"the step to {after}" in said

    def test_stages_together_weigh_their_exposures_by_their_rates(self):
        """Thick sections of the knockouts show twice the rare large follicles, but hardly more of the small ones."""
        exposure = np.where(np.arange(8)[:, None] < 4, (1, 1, 1, 1, 1), (1, 1, 1, 1.1, 2.0))
        counts = exposure * (800, 80, 60, 50, 5)
        arrest = find_arrest(matrix(counts[:4], counts[4:], exposure=exposure))
        assert arrest.question["ratio"].iloc[0] == pytest.approx(1, abs=0.01)

    def test_a_stage_that_is_missing_everywhere_hides_no_block(self):
        control = 3 * np.array([*self.CONTROL, *self.CONTROL[:2]])
        control[:, 2] = 0
        verdict = find_arrest(matrix(control, np.round(control * (1, 1, 1, 0.2, 0.2)))).verdict
        assert verdict.kind == "inconclusive"
        assert "0.2" in verdict.sentence
        assert any("could not be tested" in warning for warning in verdict.warnings)

    def test_an_arrest_needs_no_step(self):
        control = 3 * np.array([*self.CONTROL, *self.CONTROL[:2]])
        control[:, [1, 3]] = 0
        verdict = find_arrest(matrix(control, np.round(control * (1, 1, 1, 1, 0.1)))).verdict
        assert (verdict.kind, verdict.blocks) == ("arrest", ("secondary",))

    def test_none_is_not_said_of_fewer_follicles(self):
        control = 2 * np.array([*self.CONTROL, *self.CONTROL[:2]])
        rng = np.random.default_rng(1)
        verdict = find_arrest(matrix(rng.poisson(control), rng.poisson(control * (1, 1, 0.7, 0.7, 0.8)))).verdict
        assert verdict.kind != "none"

    def test_an_accumulation_is_placed_and_explained(self):
        control = 3 * np.array([*self.CONTROL, *self.CONTROL[:2]])
        said = find_arrest(matrix(control, np.round(control * (1, 3, 2.8, 1, 1)))).verdict.sentence
        assert "accumulation at the secondary stage" in said
        assert "because later follicles are not shown to be fewer" in said
        assert (
            "because corrected for the other stages, its p is 0."
            in self.of(1.23, 0.87, 0.56, 1.27, 1.03).verdict.sentence
        )
        assert "not every later stage is lower" in self.of(1, 1, 1.6, 0.5, 1).verdict.sentence

    def test_an_acceleration_names_its_step(self):
        said = self.of(0.6, 0.7, 3, 3, 3).verdict.sentence
        assert "the step from primary to secondary" in said

    def test_a_loss_before_growth_is_worded_so(self):
        said = self.of(0.5, 0.05, 0.05, 0.05, 0.05).verdict.sentence
        assert "There are also fewer primordial follicles: 0.5" in said

    def test_stages_that_cannot_be_seen_are_not_claimed(self):
        control = np.array([*self.CONTROL, *self.CONTROL[:2]], float)
        control[:, 0] = np.nan
        assert "at all stages that can be seen" in find_arrest(matrix(control, control // 2)).verdict.sentence
        assert find_arrest(matrix(control, control * 0)).verdict.kind != "total loss"

    def test_fewer_follicles_that_also_reach_the_stage_are_said(self):
        sentence = self.of(0.5, 0.5, 0.5, 0.1, 0.1).verdict.sentence
        assert "Fewer follicles also reach the secondary stage: 0.5" in sentence

    def test_another_question_can_be_named(self):
        control = np.array(self.CONTROL)
        blocked = np.round(control * (1, 1, 0.2, 0.2, 0.2))
        verdict = find_arrest(matrix(control, blocked), ComparisonConfig(contrast="primary")).verdict
        assert verdict.kind == "arrest"
        assert "arrest at the primary stage" in verdict.sentence

    def test_none_only_where_a_block_is_excluded(self):
        few = np.array(self.CONTROL) // 10
        assert find_arrest(matrix(few, few)).verdict.kind == "inconclusive", "no follicles are no proof"

    def test_complete_separation_is_an_answer(self):
        arrest = self.of(1, 1, 1, 0, 0)
        assert arrest.verdict.blocks == ("secondary",)
        assert np.isfinite(arrest.steps.loc[:2, ["ratio", "low", "high"]].to_numpy(float)).all()
        assert arrest.steps["note"].tolist()[2:] == ["arrest, see question.csv; sums of the groups", "not estimable"]
        assert per_stage(arrest.matrix)["method"].tolist()[2:] == ["Welch, animals", *["sums of the groups"] * 2]

    def test_the_sentence_says_what_it_rests_on(self):
        m = matrix(self.CONTROL, self.CONTROL)
        m = replace(m, profiles=2 * m.counts)
        assert find_arrest(m).verdict.sentence.endswith(
            "Based on 4992 staged outlines, 2496 of them counted, of 4 +/+ (a0, a1, a2, a3) and 4 -/- (a4, a5, a6, a7)."
        )

    def test_a_stage_that_the_counting_rule_has_emptied_is_named(self):
        m = matrix(self.CONTROL, np.array(self.CONTROL) * (1, 1, 1, 1, 0))
        profiles = m.counts + np.array([0, 0, 0, 0, 3])
        warnings = find_arrest(replace(m, profiles=profiles)).verdict.warnings
        assert any("-/-: outlines" in w and "antral (12)" in w for w in warnings)

    def test_advice_on_few_antral_follicles_does_not_depend_on_the_groups(self):
        counts = np.array([(200, 40, 30, 2, 1)] * 4 + [(200, 40, 30, 0, 0)] * 4, float)
        for rows in (counts, counts[::-1]):
            m = matrix(rows[:4], rows[4:])
            (said,) = [w for w in find_arrest(replace(m, profiles=m.counts + 5)).verdict.warnings if "together" in w]
            assert "only 12 of 92 outlines" in said
        many = matrix(self.CONTROL, self.CONTROL)
        assert find_arrest(replace(many, profiles=2 * many.counts)).verdict.warnings == ()

    def test_one_animal_is_not_estimable_and_two_are_few(self):
        one = find_arrest(matrix(self.CONTROL, self.CONTROL[:1]))
        assert one.verdict.kind == "not estimable"
        assert "1 -/- and 4 +/+" in one.verdict.sentence
        two = find_arrest(matrix(self.CONTROL, self.CONTROL[:2]))
        assert any("four or more" in warning for warning in two.verdict.warnings)

    def test_stages_that_are_not_seen_or_empty_are_left_out_and_said(self):
        counts = np.array(self.CONTROL, float)
        counts[:, 0] = np.nan
        counts[:, 4] = 0
        arrest = find_arrest(matrix(counts, counts))
        assert arrest.steps["ratio"].isna().tolist() == [False, False, True]
        warnings = " ".join(arrest.verdict.warnings)
        assert "they were not counted in every animal: primordial." in warnings
        assert "a group has no counted follicles of these stages: early antral to antral." in warnings
        nothing = find_arrest(matrix(np.zeros((4, 5)), np.zeros((4, 5))))
        assert nothing.verdict.kind == "not estimable"

    @settings(max_examples=60)
    @given(
        st.lists(st.lists(st.integers(0, 40), min_size=5, max_size=5), min_size=4, max_size=9),
        st.integers(1, 8),
        st.sets(st.integers(0, 4)),
        st.integers(0, 2**32),
    )
    def test_any_counts_give_a_verdict_and_no_claim_contradicts_its_interval(self, rows, first, unseen, seed):
        first = min(first, len(rows) - 1)
        m = matrix(np.array(rows[:first], float), np.array(rows[first:], float))
        m.counts[:, list(unseen)] = np.nan
        arrest = find_arrest(replace(m, exposure=np.random.default_rng(seed).uniform(0.3, 3, m.counts.shape)))
        assert arrest.verdict.kind in get_args(VerdictKind)
        assert not np.isinf(arrest.steps[["ratio", "low_90", "p_holm"]].to_numpy(float)).any()
        question = arrest.question.set_index("test")
        for row in arrest.steps[arrest.steps["block"] == "yes"].to_dict("records"):
            by_question = (row["from"], question.loc["arrest", "arrest"]) == ("secondary", "yes")
            assert (question.loc["shift", "upper"] if by_question else row["upper"]) < 1
            assert row["later_upper"] < 1
        assert "nan" not in arrest.verdict.sentence
        per_stage(arrest.matrix)


class TestManyStudies:
    """``tools/make_statistics.py`` does it for thousands of studies and many more designs."""

    EXPECTED = expected_counts(GenotypeModel())

    def share(self, ratios, spread="real", n=(6, 6), **given):
        design = Design(ratios, self.EXPECTED, SPREADS[spread], **given)
        return simulate_verdicts(design, n, studies=800)

    @pytest.mark.parametrize("spread", ["even", "real", "wide"])
    @pytest.mark.parametrize("sampling", [Sampling(), Sampling(uneven=True), Sampling(1 / 8)])
    def test_no_arrest_or_block_is_claimed_without_one(self, spread, sampling):
        assert self.share((1,) * 5, spread, sampling=sampling)["false_block"] < 0.02
        # The later stages are fewer, so that only the steps tell.
        assert self.share((0.5,) * 5, spread, sampling=sampling)["false_block"] < 0.06
        unequal = self.share((0.5,) * 5, spread, (8, 4), sampling=sampling, knockout_spread=2.0)
        assert unequal["false_block"] < 0.06

    def test_an_arrest_is_found(self):
        assert self.share((1, 1, 1, 0.3, 0.3))["arrest"] > 0.9
        assert self.share((1, 1, 1, 0.5, 0.5), "even", (4, 4))["arrest"] > 0.65

    @pytest.mark.parametrize(
        ("ratios", "right"),
        [
            ((1, 1, 2, 1, 1), "accumulation"),
            ((0.01,) * 5, "total loss"),
            ((0.1, 1, 1, 1, 1), "loss of the reserve"),
            ((0.3, 2, 2, 1.5, 1.5), "acceleration"),
        ],
    )
    def test_patterns_that_are_no_block_are_named(self, ratios, right):
        assert self.share(ratios, "even")[right] > 0.9

    @pytest.mark.parametrize("spread", ["even", "real"])
    def test_one_rung_that_is_lower_is_no_block(self, spread):
        share = self.share((1, 1, 1, 0.5, 1), spread)
        assert share["arrest"] + share["block"] < 0.12

    def test_intervals_cover_the_truth(self):
        for ratios in ((1,) * 5, (1, 1, 1, 0.3, 0.3), (1, 1, 1, 0.1, 0.1)):
            for sampling in (Sampling(), Sampling(1 / 8)):
                share = self.share(ratios, sampling=sampling)
                assert share["coverage"] > 0.94
                assert share["least_coverage"] > 0.91


class TestErrorsOfStage:
    """A tenth of the follicles is staged one rung off; how often is known."""

    @staticmethod
    def errors_of(called, known):
        known_moves = moves(0.1) * known
        nothing_false = np.array([[0.0, 1e6]] * 5)
        return StageErrors(np.zeros_like(called.counts), called.counts, known_moves, nothing_false)

    def test_intervals_hold_that_do_not_without(self):
        ratios = (1, 1, 1, 0.3, 0.3)
        design = Design(ratios, expected_counts(GenotypeModel()), SPREADS["even"], wrong_stage=0.1)
        true = np.divide(ratios[1:], ratios[:-1])
        held = {"plain": [], "carried": []}
        for counts, exposure in zip(*design.draw(40, (8, 8), np.random.default_rng(2)), strict=True):
            drawn = matrix_of(counts, exposure, (8, 8))
            for name, errors in (("plain", None), ("carried", self.errors_of(drawn, 200))):
                steps = find_arrest(drawn, imputed=errors and errors.imputed(drawn)).steps
                held[name].append((steps["low"] <= true) & (true <= steps["high"]))
        assert np.mean(held["plain"], axis=0)[2] < 0.7
        assert np.mean(held["carried"], axis=0)[2] > 0.9
        assert np.mean(held["carried"]) > 0.9

    def test_the_less_is_known_the_wider(self):
        m = matrix(TestVerdict.CONTROL, TestVerdict.CONTROL)
        widths = []
        for errors in (None, self.errors_of(m, 2000), self.errors_of(m, 20)):
            steps = find_arrest(m, imputed=errors and errors.imputed(m)).steps
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
        arrest = find_arrest(m, imputed=errors and errors.imputed(m))
        assert not arrest.verdict.blocks
        first = per_stage(m, imputed=errors.imputed(m)).iloc[0]
        assert first["ratio"] == pytest.approx(1, abs=0.06)
        assert per_stage(m).iloc[0]["ratio"] < 0.9, "as they come it is not"

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
        assert find_arrest(m, imputed=errors and errors.imputed(m)).verdict.blocks[:1] == ("primordial",)

    def test_single_stages_are_wider_too(self):
        m = matrix(TestVerdict.CONTROL, TestVerdict.CONTROL)
        plain, carried = per_stage(m), per_stage(m, imputed=self.errors_of(m, 20).imputed(m))
        assert (carried["high"] / carried["low"] > plain["high"] / plain["low"]).all()

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
        assert (errors.imputed(m) >= errors.judged).all()


class TestStages:
    def test_covariates_change_the_answer_and_are_checked(self):
        rng = np.random.default_rng(1)
        m = matrix(rng.negative_binomial(4, 0.05, (5, 5)), rng.negative_binomial(4, 0.05, (5, 5)))
        ages = pd.DataFrame({"age_days": [40.0, 50, 60, 70, 80, 40, 50, 60, 70, 80]})
        with_ages = per_stage(m, covariates=ages)
        assert set(with_ages["method"]) == {"Welch, animals, adjusted"}
        design = np.column_stack([np.ones(10), m.knockout, ages["age_days"]])
        fit = sm.OLS(np.log(m.counts[:, 2] + 0.5), design).fit()
        assert math.log(with_ages.loc[2, "ratio"]) == pytest.approx(fit.params[1])
        # Each group has the variance of its residuals, over its degrees of freedom (10 - 3, shared by leverage).
        free = 1 - fit.get_influence().hat_matrix_diag
        of_group = np.array([(fit.resid[own] ** 2).sum() / free[own].sum() for own in (~m.knockout, m.knockout)])
        weights = np.linalg.pinv(design)[1] ** 2
        assert free.sum() == pytest.approx(7)
        assert with_ages.loc[2, "se"] == pytest.approx(math.sqrt(weights @ of_group[m.knockout.astype(int)]))
        with pytest.raises(UserError, match="says the same"):
            per_stage(m, covariates=pd.DataFrame({"batch": ["a"] * 5 + ["b"] * 5}))
        with pytest.raises(UserError, match="empty for animals a1"):
            per_stage(m, covariates=ages.assign(age_days=[1.0, np.nan, *range(8)]))


class TestStudies:
    def test_rungs_join_neighbours_and_exposure_is_abercrombies_inverse(self):
        (m,) = count_matrices(counts_of(study_rows(intervals=(10, 5) * 4)).animal)
        assert m.counts[0].tolist() == [55, 20, 12, 6, 4]
        # (T + h)/T of a nucleus of 10 and of 20 um in sections of 5 um.
        np.testing.assert_allclose(m.exposure[0], [0.3, 0.3, 0.3, 0.3, 0.5])
        np.testing.assert_allclose(m.exposure[1], 2 * m.exposure[0])
        (profiles,) = count_matrices(counts_of(study_rows()).animal, kind="profiles")
        assert profiles.counts[0].tolist() == [110, 40, 24, 12, 8]
        assert (profiles.per, m.per) == ("section", "ovary")
        np.testing.assert_allclose(profiles.exposure, 2, err_msg="two sections of each animal")

    def test_what_is_beside_the_ladder_is_compared_and_in_no_verdict(self):
        counts = counts_of(study_rows())
        unsure = counts.animal["stage"] == "unsure"
        counts.animal.loc[unsure, "n_profiles"] = [1, 2, 1, 2, 9, 8, 9, 10]
        table = compare(counts).stages.set_index("stage")
        assert list(table.index) == [*RUNGS, "unsure", "atretic"]
        assert table.loc["unsure", ["n_control", "n_knockout"]].tolist() == [6, 36]
        assert table.loc["unsure", "ratio"] == pytest.approx(36.5 / 6.5), "few: the sums, with half a follicle added"
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

    def test_the_points_of_the_figure_are_the_counts_on_one_scale(self):
        counts = counts_of(study_rows())
        sections = pd.concat([counts.animal.assign(section=name, slide="s") for name in "ab"])
        animals = counts.animal.assign(**{c: 2 * counts.animal[c] for c in ("n_countable", "n_profiles", "n_healthy")})
        result = compare(replace(counts, animal=animals, section=sections))
        shown = result.points.set_index(["level", "animal", "stage"])
        # 110 resting follicles; every tenth section; a nucleus of 10 um in sections of 5 um shows (5 + 10)/5 times.
        assert shown.loc[("animal", "A0", "primordial"), "value"] == pytest.approx(110 * 10 / 3)
        assert shown.loc[("section", "A0", "primordial"), "value"].tolist() == pytest.approx([110 * 10 / 3] * 2)
        scaled = prism_grouped(result, scaled=True).set_index("stage")
        assert scaled.loc["primordial", "+/+ A0"] == pytest.approx(110 * 10 / 3)
        assert "ovary" not in result.points["level"].unique()

    def test_treatments_and_litters_of_the_sheet_are_used(self):
        rows = study_rows("", intervals=(10,) * 8) + [(*r[:3], f"x{i}", *r[4:]) for i, r in enumerate(study_rows(""))]
        names = [r[3] for r in rows]
        sheet = pd.DataFrame({"model": "", "animal": names, "stimulation": ["none"] * 8 + ["PMSG"] * 8})
        result = compare(replace(counts_of(rows), samples=sheet.assign(litter=[*"abcdabcd", *"efghefgh"])))
        assert [a.matrix.comparison for a in result.arrests] == ["none", "PMSG"]
        assert all(a.matrix.paired for a in result.arrests)
        assert result.responses["effect"].unique().tolist() == ["in +/+", "in -/-", "-/- against +/+ (interaction)"]
        assert np.log(result.responses["ratio"].to_numpy(float)) == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("kind", ["countable", "healthy", "profiles"])
    def test_a_study_without_any_follicle_is_an_answer(self, kind):
        rows = [(*r[:4], {}, r[5]) for r in study_rows()]
        assert compare(counts_of(rows), kind=kind).arrests[0].verdict.kind == "not estimable"

    def test_one_model_may_have_intervals_and_another_none(self):
        rows = study_rows("A") + study_rows("B", intervals=(float("nan"),) * 8)
        notes = [a.matrix.exposure_note for a in compare(counts_of(rows)).arrests]
        assert "Abercrombie" in notes[0]
        assert "per section" in notes[1]

    def test_a_knockout_without_any_follicle_is_a_total_loss(self):
        rows = [r if r[1] == "control" else (*r[:4], {}, r[5]) for r in study_rows()]
        verdict = compare(counts_of(rows)).arrests[0].verdict
        assert verdict.kind == "total loss"
        assert "there are 0.0" in verdict.sentence

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
