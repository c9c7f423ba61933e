"""Which animals are compared with which, and what is independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from studies import counts_of, study_rows

from follicle_stager import compare_counts
from follicle_stager.config import ComparisonConfig
from follicle_stager.errors import UserError
from follicle_stager.phantom import GenotypeModel
from follicle_stager.statistics import compare, decision
from follicle_stager.statistics.effects import Counted, Layout, rate_ratio, two_groups
from follicle_stager.statistics.hand_counts import read_counts
from follicle_stager.statistics.power import pilot, simulate_verdicts
from follicle_stager.statistics.sensitivity import in_words
from follicle_stager.statistics.simulate import Design, Spread, expected_counts

STAGES = ("primordial", "primary", "secondary", "early_antral", "antral")
MEANS = np.array([800, 80, 60, 25, 15])


def study(*groups, seed=1, **columns):
    """A table of counts: groups as (genotype, number of animals, ratios on the stages)."""
    rng = np.random.default_rng(seed)
    rows = [
        {"genotype": genotype, **dict(zip(STAGES, rng.poisson(MEANS * ratios * rng.lognormal(0, 0.1)), strict=True))}
        for genotype, n, ratios in groups
        for _ in range(n)
    ]
    table = pd.DataFrame(rows)
    return table.assign(animal=[f"m{i}" for i in range(len(table))], **columns)


SAME, ARREST = np.ones(5), np.array([1, 1, 1, 0.2, 0.2])


class TestGroups:
    def test_several_groups_share_one_reference(self):
        result = compare_counts(study(("WT", 5, SAME), ("het", 5, SAME), ("KO", 5, ARREST)))
        assert list(result.verdicts["comparison"]) == ["het against WT", "KO against WT"]
        assert list(result.verdicts["blocks_after"]) == ["", "secondary"]
        assert set(result.animals["comparison"].value_counts()) == {10}

    def test_a_trend_over_gene_dose(self):
        """Half of the antral follicles with each copy that is lost; the three groups have equal numbers."""
        half = np.array([1, 1, 1, 0.5, 0.5])
        table = study(("WT", 5, SAME), ("het", 5, half), ("KO", 5, half**2))
        result = compare_counts(table, config=ComparisonConfig(dose=("WT", "het", "KO")))
        row = result.responses.set_index("test").loc["secondary to all later"]
        assert row["low"] < 0.5 < row["high"]
        assert row["p"] < 0.01
        assert (
            f"gene dose (WT, het, KO): for each secondary follicle, there are {row['ratio']:.2f} times"
            in result.said[0]
        )
        # With equal steps and numbers, the trend is half of the difference between the ends.
        ends = compare_counts(table[table["genotype"] != "het"]).question.set_index("test").loc["shift", "ratio"]
        assert row["ratio"] == pytest.approx(np.sqrt(ends), rel=0.02)
        with pytest.raises(UserError, match="has no group fl/fl, which"):
            compare_counts(table, config=ComparisonConfig(dose=("WT", "fl/fl")))

    def test_the_reference_can_be_named(self):
        table = study(("line A", 5, SAME), ("line B", 5, ARREST))
        with pytest.raises(UserError, match="name the one with which the others are compared: reference"):
            compare_counts(table)
        result = compare_counts(table, config=ComparisonConfig(reference="line A"))
        assert result.verdicts["sentence"].item().startswith("line B: arrest")

    def test_each_group_has_one_genotype(self):
        table = study(("+/+", 4, SAME), ("-/-", 4, ARREST)).assign(group=["control"] * 4 + ["knockout"] * 4)
        table.loc[7, "genotype"] = "fl/fl"
        with pytest.raises(UserError, match="the knockout animals of the table have 2 genotypes"):
            compare_counts(table)


class TestTreatments:
    TABLE = study(
        ("WT", 5, SAME), ("KO", 5, SAME), ("WT", 5, (1, 1, 1, 2.5, 2.5)), ("KO", 5, SAME),
        treatment=[""] * 10 + ["PMSG"] * 10,
    )  # fmt: skip

    def test_animals_of_several_treatments_are_never_pooled(self):
        result = compare_counts(self.TABLE)
        assert list(result.verdicts["comparison"]) == ["no stimulation", "PMSG"]
        assert list(result.verdicts["blocks_after"]) == ["", "secondary"]
        assert result.verdicts["sentence"][1].startswith("KO, PMSG: arrest")
        pooled = compare_counts(self.TABLE, config=ComparisonConfig(by=""))
        assert len(pooled.verdicts) == 1
        assert "stimulation (, PMSG)" in pooled.verdicts["warnings"].item()

    def test_the_response_is_a_ratio_of_ratios(self):
        """Against the formula by hand: means and variances of four groups, half a follicle added."""
        result = compare_counts(self.TABLE)
        table = self.TABLE.sort_values("animal", key=lambda names: names.str[1:].astype(int))
        logs = np.log(table["early_antral"] + table["antral"] + 0.5) - np.log(table["secondary"] + 0.5)
        groups = [logs[5 * i : 5 * i + 5].to_numpy() for i in range(4)]  # WT, KO; the same with PMSG
        random = [
            np.mean(1 / (own.mean() + 0.6)) + np.mean(1 / (other.mean() + 0.6))
            for own, other in ((table[["early_antral", "antral"]].sum(axis=1)[5 * i : 5 * i + 5],
                                table["secondary"][5 * i : 5 * i + 5]) for i in range(4))
        ]  # fmt: skip
        row = result.responses.set_index(["effect", "test"]).loc[
            "KO against WT (interaction)", "secondary to all later"
        ]
        weights = (1, -1, -1, 1)
        assert np.log(row["ratio"]) == pytest.approx(sum(w * g.mean() for w, g in zip(weights, groups, strict=True)))
        variance = sum(max(g.var(ddof=1), r) / 5 for g, r in zip(groups, random, strict=True))
        assert row["se"] == pytest.approx(np.sqrt(variance), rel=1e-6)
        assert row["high"] < 1
        assert "PMSG against no stimulation: KO responds differently." in result.said[0]
        total = result.responses.set_index(["effect", "test"]).loc["in WT", "all later than secondary"]
        assert f"In total, they are multiplied by {total['ratio']:.2f} (95 % interval" in result.said[0]

    def test_a_series_of_ages_is_a_trend(self):
        later = self.TABLE.iloc[10:].assign(animal=[f"x{i}" for i in range(10)])
        table = pd.concat([self.TABLE, later]).drop(columns="treatment").assign(age=[8] * 10 + [20] * 10 + [60] * 10)
        (said,) = compare_counts(table, config=ComparisonConfig(by="age_days")).said
        assert "trend, age days 60 against age days 8" in said

    def test_a_treatment_of_one_genotype_is_refused(self):
        with pytest.raises(UserError, match="PMSG has only animals of the group control"):
            compare_counts(self.TABLE.iloc[:15])

    def test_ages_can_be_compared_apart(self):
        table = self.TABLE.drop(columns="treatment").assign(age=[60] * 10 + [8] * 10)
        whole = compare_counts(table)
        assert "age_days (8, 60)" in whole.verdicts["warnings"].item()
        apart = compare_counts(table, config=ComparisonConfig(by="age_days"))
        assert list(apart.verdicts["comparison"]) == ["age days 8", "age days 60"]


class TestLitters:
    def test_littermates_of_both_groups_are_pairs(self):
        counts, litters = np.array([30.0, 44, 25, 38, 9, 40, 14, 22]), np.array([0, 1, 2, 3] * 2)
        ko = np.arange(8) >= 4
        effect = rate_ratio(Counted(counts, np.ones(8)), Layout((ko, ~ko), pairs=litters))
        logs = np.log(counts + 0.5)
        paired = stats.ttest_rel(logs[ko], logs[~ko])
        assert effect.p_two_sided == pytest.approx(paired.pvalue)
        low, high = paired.confidence_interval()
        assert effect.interval() == (pytest.approx(low), pytest.approx(high))

    def test_a_litter_of_one_genotype_is_one_unit(self):
        table = study(("WT", 6, SAME), ("KO", 6, ARREST), litter=[*"aabbccddeeff"])
        result = compare_counts(table)
        assert "the litter is the unit (3 of WT, 3 of KO)" in result.verdicts["warnings"].item()
        both = table.assign(animal=table["litter"]).groupby(["animal", "genotype"], as_index=False)[list(STAGES)].sum()
        summed = compare_counts(both)
        columns = ["ratio", "low", "high"]
        pd.testing.assert_frame_equal(result.steps[columns], summed.steps[columns])

    def test_litters_with_both_groups_are_pairs_and_the_others_are_named(self):
        table = study(("WT", 5, SAME), ("KO", 5, ARREST), litter=[*"abcdeabcdf"])
        result = compare_counts(table)
        assert "4 litters with animals of both groups. Animals of other litters are left out: m4, m9." in (
            result.verdicts["warnings"].item()
        )
        assert len(result.animals) == 8
        assert result.stages["method"][0] == "paired t, litters"
        alone = compare_counts(table, config=ComparisonConfig(litters="ignore"))
        assert "not used in the comparison: litter (6)" in alone.verdicts["warnings"].item()

    def test_a_missing_litter_is_named(self):
        with pytest.raises(UserError, match="animals m3 have no litter"):
            compare_counts(study(("WT", 4, SAME), ("KO", 4, SAME), litter=[*"aab", "", *"ccdd"]))


class TestPilot:
    def test_numbers_and_spread_are_those_of_the_simulated_animals(self):
        """Forty animals of a known design, and half of each group treated."""
        spread = Spread(0.3, (0.0, 0.2, 0.3, 0.4, 0.5))
        counts, _ = Design((1,) * 5, (900, 150, 130, 60, 40), spread).draw(1, (60, 60), np.random.default_rng(1))
        table = pd.DataFrame(counts[0], columns=list(STAGES)).astype(int)
        table = table.assign(animal=[f"m{i}" for i in range(120)], genotype=["WT"] * 60 + ["KO"] * 60)
        table["antral"] *= np.where(np.arange(120) % 2, 3, 1)
        models, _ = read_counts(table.assign(treatment=["PMSG" if i % 2 else "" for i in range(120)]))
        expected, found, free = pilot(models, ComparisonConfig())
        assert free == 116
        assert expected[1:3] == pytest.approx([150, 130], rel=0.2), "the mean of a log-normal is a little higher"
        assert found.animal == pytest.approx(0.3, abs=0.08)
        assert found.stages == pytest.approx(spread.stages, abs=0.12)

    def test_a_stage_without_counts_has_none_in_the_simulation(self):
        models, _ = read_counts(study(("WT", 5, SAME)).drop(columns="early_antral"))
        expected, spread, _ = pilot(models, ComparisonConfig())
        assert np.isnan(expected[3])
        design = Design((1, 1, 1, 0.2, 0.2), tuple(expected), spread)
        assert simulate_verdicts(design, (6, 4), studies=50)["arrest"] > 0.9

    def test_single_animals_show_no_spread(self):
        models, _ = read_counts(study(("WT", 1, SAME), ("KO", 1, SAME)))
        with pytest.raises(UserError, match="no group with two animals"):
            pilot(models, ComparisonConfig())


class TestSensitivity:
    def test_each_way_changes_one_thing(self):
        table = study(("WT", 4, SAME), ("KO", 4, ARREST), litter=[*"abcdabcd"])
        ways = compare_counts(table).sensitivity
        changed = [
            "as compared",
            "early antral counted as antral",
            "litters ignored",
            *(f"without {x}" for x in "abcd"),
        ]
        assert ways["changed"].tolist() == changed
        assert set(ways["verdict"]) == {"arrest"}
        ignored = compare_counts(table, config=ComparisonConfig(litters="ignore")).question.set_index("test")
        assert ways.loc[2, "shift_ratio"] == pytest.approx(ignored.loc["shift", "ratio"])
        without = compare_counts(table[~table["litter"].eq("b")]).question.set_index("test")
        assert ways.loc[4, "total_high"] == pytest.approx(without.loc["total", "high"])

    def test_the_animal_on_which_the_verdict_depends_is_named(self):
        """One knockout without an arrest among four with one."""
        table = study(("WT", 5, SAME), ("KO", 4, ARREST), ("KO", 1, (1, 1, 1, 3, 3)))
        result = compare_counts(table)
        assert result.verdicts["verdict"].item() != "arrest"
        assert "arrest (without m9)" in in_words(result.sensitivity)

    def test_a_way_that_changes_nothing_is_no_support(self):
        result = compare_counts(study(("WT", 4, SAME), ("KO", 4, ARREST)))
        assert "early antral counted as antral" in set(result.sensitivity["changed"])
        assert in_words(result.sensitivity).endswith("the verdict is also arrest in 8 of 8 other ways to compare.")

    def test_a_study_has_its_other_kinds_of_counts(self):
        ways = compare(counts_of(study_rows())).sensitivity["changed"].tolist()
        assert ways[:3] == ["as compared", "counted: healthy", "counted: profiles"]


class TestManyStudies:
    """Litters share a factor for each stage (SD 35 %); docs/statistics.md has the table."""

    def false_blocks(self, shared, layout, units=None):
        half = len(shared) // 2
        design = Design((0.5,) * 5, expected_counts(GenotypeModel()), shared_sd=0.35, shared=shared)
        drawn = design.draw(800, (half, half), np.random.default_rng(3))
        given = [c if units is None else np.einsum("un,snr->sur", units, c) for c in drawn]
        return decision.decide(decision.all_effects(*given, layout, 2), ComparisonConfig()).blocks.any(axis=1).mean()

    def test_littermates_of_one_group_are_no_evidence_of_their_own(self):
        mates = tuple(np.repeat(range(6), 4).tolist())
        assert self.false_blocks(mates, two_groups(np.repeat([False, True], 12))) > 0.15
        litters = two_groups(np.repeat([False, True], 3))
        assert self.false_blocks(mates, litters, np.repeat(np.eye(6), 4, axis=1)) < 0.06

    def test_pairs_keep_their_level(self):
        six = np.repeat([False, True], 6)
        shared = tuple(range(6)) * 2
        assert self.false_blocks(shared, Layout((six, ~six), pairs=np.array(shared))) < 0.06

    def test_batches_keep_their_level(self):
        six, batch = np.repeat([False, True], 6), (0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1)
        assert self.false_blocks(batch, Layout((six, ~six), beside=np.array(batch, float)[:, None])) < 0.06


class TestBatches:
    def test_a_batch_is_held_constant_on_request(self):
        """The second batch shows three times as many antral follicles, and has more knockouts."""
        batch = [*"aaaab", *"abbbb"]
        more = np.where(np.array(batch) == "b", 3, 1)
        table = study(("WT", 5, SAME), ("KO", 5, SAME), batch=batch)
        table["antral"] *= more
        plain = compare_counts(table)
        assert "batch (a, b)" in plain.verdicts["warnings"].item()
        held = compare_counts(table, config=ComparisonConfig(batches="constant"))
        of_plain, of_held = (r.stages.set_index("stage").loc["antral", "ratio"] for r in (plain, held))
        assert of_plain > 1.5
        assert of_held == pytest.approx(1, abs=0.3)

    def test_without_batches_it_is_welch(self):
        counts = np.array([30.0, 44, 25, 38, 21, 9, 14, 30])
        ko = np.arange(8) >= 4
        nothing = Layout((ko, ~ko), beside=np.zeros((8, 0)))
        effects = [rate_ratio(Counted(counts, np.ones(8)), layout) for layout in (two_groups(ko), nothing)]
        assert effects[0].se == pytest.approx(effects[1].se)
        assert effects[0].df == pytest.approx(effects[1].df)

    def test_a_batch_for_each_treatment_leaves_the_groups_but_not_the_response(self):
        """WT and KO share a batch within each treatment; the treatments have batches of their own."""
        table = study(("WT", 4, SAME), ("KO", 4, SAME), ("WT", 4, SAME), ("KO", 4, SAME))
        table = table.assign(treatment=[""] * 8 + ["FSH"] * 8, batch=[*"aabbaabbccddccdd"])
        result = compare_counts(table, config=ComparisonConfig(batches="constant"))
        assert result.question["ratio"].notna().sum() == 4
        responses = result.responses.set_index(["effect", "test"])["ratio"]
        assert responses["in WT"].isna().all()
        assert responses["KO against WT (interaction)"].notna().all(), "the batches cancel out"

    def test_a_batch_for_each_group_is_refused(self):
        table = study(("WT", 4, SAME), ("KO", 4, SAME), batch=[*"aaaabbbb"])
        with pytest.raises(UserError, match="no batch has animals of both groups"):
            compare_counts(table, config=ComparisonConfig(batches="constant"))
