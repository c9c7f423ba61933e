"""The audit: the draw of fields, the estimates, the log, and the comparison of audited counts."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from shapely import box, intersects, unary_union

from follicle_stager.audit import AuditPlan, AuditRecord, AuditResult, AuditSession, is_open, plan_audit
from follicle_stager.audit.estimates import AuditedAnimal, all_totals, tuned_weights
from follicle_stager.audit.plan import BORDERS, STRATA, reference_point
from follicle_stager.audit.record import Seen, Visit, compared, found
from follicle_stager.audit.sampling import LEAST_FIELDS, LEAST_IN_STRATUM, allocation, draw, strata_of
from follicle_stager.config import AuditConfig
from follicle_stager.errors import UserError
from follicle_stager.review import Desk
from follicle_stager.stages import Countable, Health, Stage
from follicle_stager.statistics import compare
from follicle_stager.statistics.effects import Layout, two_groups
from follicle_stager.statistics.expected import expected_intervals
from follicle_stager.statistics.linear import Estimated, estimated, rate_ratio, ratio_of_ratios
from follicle_stager.study import Study, count

CONFIG = AuditConfig(field_um=120, share=0.2, repeats=6)


@pytest.fixture
def study(staged, tmp_path):
    """A study that may be changed."""
    shutil.copytree(staged, tmp_path / "study")
    return Study.open(tmp_path / "study")


@pytest.fixture
def planned(study):
    plan_audit(study, config=CONFIG, seed=7, author="A").write(study)
    return study


def marks_in(study, field):
    """What a reader marks who agrees with all outlines of a slide."""
    row = AuditPlan.read(study).fields.set_index("field").loc[field]
    seen = []
    for f in study.follicles(row.slide):
        x, y = reference_point(f)
        if row.left_px <= x < row.right_px and row.top_px <= y < row.bottom_px:
            seen.append(Seen(f"mark {f.id}", x, y, f.stage, f.health, f.countable))
    return seen


def visit_all(study, seen_in=marks_in, *, number=None, reader="A"):
    """Visit fields in their order: mark, see the claims, reject those without a mark."""
    with AuditSession(study, reader=reader) as session:
        while (key := session.record.next_visit(session.plan)) is not None and number != 0:
            number = None if number is None else number - 1
            for seen in seen_in(study, key[0]):
                session.mark(key, seen)
            session.show(key)
            for difference in session.open_differences(key, 1.0):
                seen = difference.mark or replace(difference.claim, stage=Stage.NOT_FOLLICLE)
                session.settle(key, difference, seen)
            session.finish(key)


class TestDraw:
    @given(
        sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4), number=st.integers(1, 80), seed=st.integers(0, 9)
    )
    def test_allocation_keeps_to_its_limits(self, sizes, number, seed):
        strata = np.repeat(np.arange(len(sizes)), sizes)
        variance = np.random.default_rng(seed).uniform(0.01, 1, len(strata))
        drawn = allocation(strata, variance, number)
        assert (drawn <= sizes).all()
        assert (drawn >= np.minimum(sizes, LEAST_IN_STRATUM)).all()
        assert drawn.sum() >= min(max(number, LEAST_FIELDS), len(strata))

    def test_allocation_is_neymans(self):
        """Beyond the least, numbers are in proportion to size times standard deviation."""
        strata = np.repeat([0, 1, 2], [4000, 2000, 1000])
        variance = np.repeat([1.0, 4.0, 16.0], [4000, 2000, 1000])
        drawn = allocation(strata, variance, 600)
        assert drawn == pytest.approx([200, 200, 200], abs=2)

    def test_every_field_of_a_stratum_has_the_same_chance(self):
        strata = np.repeat([0, 1], [8, 5])
        rng = np.random.default_rng(1)
        hits = np.zeros(13)
        for _ in range(4000):
            hits[draw(strata, np.array([2, 3]), rng)] += 1
        assert hits[:8] / 4000 == pytest.approx(np.full(8, 0.25), abs=0.03)
        assert hits[8:] / 4000 == pytest.approx(np.full(5, 0.6), abs=0.03)

    def test_the_rarest_claim_decides_the_stratum(self):
        claims = np.array([[0, 0], [3, 0], [0, 1], [4, 1.0]])
        assert strata_of(claims, [[0], [1]]).tolist() == [0, 1, 2, 2]


class TestEstimates:
    @given(
        claims=arrays(np.float64, (9, 2), elements=st.integers(0, 4)),
        found=arrays(np.float64, (9, 2), elements=st.integers(0, 4)),
        weight=st.floats(0, 1),
    )
    def test_with_all_fields_the_total_is_the_truth(self, claims, found, weight):
        animal = AuditedAnimal(np.repeat([0, 1, 2], 3), claims, np.arange(9), found)
        totals, variances = animal.totals(np.array([weight, weight]))
        assert totals == pytest.approx(found.sum(axis=0))
        assert variances == pytest.approx([0, 0], abs=1e-9)

    def test_unbiased_with_the_right_variance_over_all_possible_draws(self):
        """All samples of 2 of 4 and 2 of 3 fields, with a bad detector."""
        rng = np.random.default_rng(4)
        strata = np.repeat([0, 1], [4, 3])
        claims, found = rng.poisson(2, (7, 1)).astype(float), rng.poisson([[1]] * 4 + [[5]] * 3).astype(float)
        totals, variances = [], []
        for first, second in product(combinations(range(4), 2), combinations(range(4, 7), 2)):
            audited = np.array(first + second)
            total, variance = AuditedAnimal(strata, claims, audited, found[audited]).totals(np.array([0.6]))
            totals.append(total[0])
            variances.append(variance[0])
        assert np.mean(totals) == pytest.approx(found.sum())
        assert np.mean(variances) == pytest.approx(np.var(totals))

    def test_totals_are_not_cut_off(self):
        animal = AuditedAnimal(np.zeros(4, int), np.array([[3.0], [3], [0], [0]]), np.array([0, 1]), np.zeros((2, 1)))
        assert animal.totals(np.ones(1))[0] == pytest.approx([-6])

    def test_a_weight_comes_from_the_other_animals(self):
        rng = np.random.default_rng(2)

        def animal(right):
            claims = rng.poisson(3, (40, 1)).astype(float)
            audited = rng.choice(40, 20, replace=False)
            found = claims[audited] if right else rng.poisson(3, (20, 1)).astype(float)
            return AuditedAnimal(np.zeros(40, int), claims, audited, found)

        useless, *others = animals = [animal(False), animal(True), animal(True)]
        weights = tuned_weights(animals)
        assert weights[0] == pytest.approx([1])
        own = tuned_weights([useless, others[0]])
        assert own[1] < 0.6 < own[0]
        changed = [replace(useless, found=useless.found + 5), *others]
        assert tuned_weights(changed)[0] == weights[0]
        assert all_totals(animals, tuned=False)[0][1] == pytest.approx(others[0].claims.sum(axis=0))


def fieller(knockout, control):
    """Fieller's interval of the ratio of two means by the quadratic formula, with Welch's degrees of freedom at the
    ends left to a search."""
    a, b = np.mean(knockout), np.mean(control)
    va, vb = np.var(knockout, ddof=1) / len(knockout), np.var(control, ddof=1) / len(control)

    def inside(r):
        v = va + r**2 * vb
        df = v**2 / (va**2 / (len(knockout) - 1) + (r**2 * vb) ** 2 / (len(control) - 1))
        return abs(a - r * b) <= stats.t.ppf(0.975, df) * math.sqrt(v)

    grid = np.exp(np.linspace(-4, 4, 80001))
    held = grid[[inside(r) for r in grid]]
    return a / b, held[0], held[-1]


class TestRatios:
    knockout, control = np.array([40.0, 55, 71, 62]), np.array([100.0, 130, 86, 140, 121])

    def effect(self, knockout, control, **more):
        counts = np.concatenate([knockout, control])
        layout = two_groups(np.arange(len(counts)) < len(knockout))
        zero = np.zeros(len(counts))
        return rate_ratio(Estimated(counts, zero, np.ones(len(counts))), layout, **more)

    def test_the_interval_is_fiellers(self):
        effect = self.effect(self.knockout, self.control)
        low, high = effect.interval()
        expected = fieller(self.knockout, self.control)
        assert np.exp([effect.log_ratio, low, high]) == pytest.approx(expected, rel=2e-3)

    def test_the_test_of_no_difference_is_welchs(self):
        effect = self.effect(self.knockout, self.control)
        expected = stats.ttest_ind(self.knockout, self.control, equal_var=False, alternative="less")
        assert effect.p_lower == pytest.approx(expected.pvalue)
        assert effect.p_two_sided == pytest.approx(2 * expected.pvalue)

    @given(level=st.floats(0.55, 0.99))
    def test_a_limit_and_its_p_agree(self, level):
        effect = self.effect(self.knockout, self.control * 0.6)
        assert (effect.upper(level) < 0) == (effect.p_lower < 1 - level)

    def test_a_rung_that_only_the_knockouts_have_is_no_gap(self):
        """The control's estimate is below zero: the ratio is as large as can be, and its lower end says how large."""
        effect = self.effect(np.array([12.0, 14, 9, 15]), np.array([-1.0, 0.5, -0.8, 0.1]))
        assert np.exp(effect.log_ratio) > 100
        assert effect.p_upper < 0.001
        low, high = effect.interval()
        assert np.exp(low) > 3
        assert np.isinf(high)

    def test_open_if_the_control_may_be_zero(self):
        effect = self.effect(self.knockout, np.array([-20.0, 60, 5, 30]))
        assert np.isinf(effect.interval()[1])
        assert np.isfinite(effect.log_ratio)

    def test_nothing_found_is_not_certain(self):
        """Two found in each control of which a tenth was audited; none in the knockouts: the limit is far above 0."""
        counts = np.array([0.0, 0, 0, 0, 20, 20, 20, 20])[:, None]
        sampling = np.where(counts > 0, 180.0, 0.0)
        layout = two_groups(np.arange(8) < 4)
        (stage,) = estimated(counts, np.ones((8, 1)), sampling, layout)
        effect = rate_ratio(stage, layout)
        assert 0.3 < np.exp(effect.upper()) < 2

    def test_exposures_cancel(self):
        """Twice as many follicles in animals of which twice as much was cut are no difference."""
        exposure = np.array([2.0, 1, 2, 1, 1, 1, 1, 1])
        counts = np.array([20.0, 11, 21, 10, 10, 9, 11, 10])
        layout = two_groups(np.arange(8) < 4)
        effect = rate_ratio(Estimated(counts, np.zeros(8), exposure), layout)
        assert np.exp(effect.log_ratio) == pytest.approx((62 / 6) / 10)

    def test_ratio_of_ratios(self):
        """What an animal's counts share cancels: all of an animal doubled changes little."""
        layout = two_groups(np.arange(8) < 4)
        upper = np.array([5.0, 6, 4, 5, 10, 11, 9, 10])
        lower = np.array([20.0, 19, 21, 20, 20, 21, 19, 20])
        one = np.ones(8)
        effect = ratio_of_ratios(Estimated(upper, 0 * one, one), Estimated(lower, 0 * one, one), layout)
        assert np.exp(effect.log_ratio) == pytest.approx(0.5)
        assert effect.p_lower < 0.001

    def test_pairs(self):
        """With pairs, the test of no difference is the paired t test."""
        knockout, control = np.array([10.0, 22, 31, 38]), np.array([15.0, 30, 37, 50])
        layout = Layout(two_groups(np.arange(8) < 4).groups, pairs=np.tile(np.arange(4), 2))
        counts = np.concatenate([knockout, control])
        effect = rate_ratio(Estimated(counts, np.zeros(8), np.ones(8)), layout)
        expected = stats.ttest_rel(knockout, control, alternative="less")
        assert effect.p_lower == pytest.approx(expected.pvalue)

    @pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
    def test_r_agrees(self, tmp_path):
        """The interval by uniroot on R's own Welch test."""
        numbers = ", ".join(map(str, self.knockout)), ", ".join(map(str, self.control))
        code = (
            f"k <- c({numbers[0]}); c0 <- c({numbers[1]}); f <- function(r, p) t.test(k, r * c0)$p.value - p; "
            "h <- mean(k) / mean(c0); cat(uniroot(f, c(0.01, h), p = 0.05, tol = 1e-9)$root, "
            "uniroot(f, c(h, 5), p = 0.05, tol = 1e-9)$root)"
        )
        script = tmp_path / "fieller.R"
        script.write_text(code)
        said = subprocess.run(["Rscript", str(script)], capture_output=True, text=True, check=True).stdout
        ends = np.exp(self.effect(self.knockout, self.control).interval())
        assert ends == pytest.approx([float(x) for x in said.split()], rel=1e-5)


class TestPlan:
    def test_fields_cover_the_tissue_and_hold_each_claim_once(self, planned):
        plan = AuditPlan.read(planned)
        for slide in planned.slide_ids():
            own = plan.fields[plan.fields["slide"] == slide]
            fields = box(*own[list(BORDERS)].to_numpy().T)
            tissue = unary_union([s.outline for s in planned.sections(slide) if s.included])
            assert unary_union(list(fields)).buffer(0.1).covers(tissue)
            assert all(intersects(fields, tissue))
        standing = [f.id for slide in planned.slide_ids() for f in planned.follicles(slide)]
        assert sorted(plan.claims["follicle_id"]) == sorted(standing)
        where = plan.claims.merge(plan.fields, on="field")
        inside = where["x_px"].between(where["left_px"], where["right_px"])
        assert (inside & where["y_px"].between(where["top_px"], where["bottom_px"])).mean() > 0.9

    def test_each_animal_and_stratum_is_drawn_with_a_known_chance(self, planned):
        fields = AuditPlan.read(planned).fields
        for _, own in fields.groupby(["animal", "stratum"]):
            drawn = own["visit"].notna().sum()
            assert drawn >= min(LEAST_IN_STRATUM, len(own))
            assert own["chance"].to_numpy() == pytest.approx(drawn / len(own))
        drawn = fields[fields["visit"].notna()].groupby("animal").size()
        assert (drawn >= np.minimum(LEAST_FIELDS, fields.groupby("animal").size())).all()
        assert set(fields["stratum"]) <= set(STRATA)

    def test_visits_come_in_random_order_with_repeats_later(self, planned):
        plan = AuditPlan.read(planned)
        first: set[str] = set()
        for field, again in plan.visits:
            assert (field in first) == again
            first.add(field)
        assert sum(again for _, again in plan.visits) == CONFIG.repeats
        animals = plan.fields.set_index("field").loc[[f for f, _ in plan.visits], "animal"]
        assert (animals.to_numpy()[1:] != animals.to_numpy()[:-1]).sum() > 2

    def test_the_same_seed_gives_the_same_plan(self, study):
        one, other, third = (plan_audit(study, config=CONFIG, seed=seed) for seed in (7, 7, 8))
        pd.testing.assert_frame_equal(one.fields, other.fields)
        assert one.visits != third.visits

    def test_extending_keeps_what_was_drawn(self, planned):
        plan = AuditPlan.read(planned)
        more = plan.extended(0.5)
        assert more.visits[: len(plan.visits)] == plan.visits
        assert len(more.visits) > len(plan.visits)
        for _, own in more.fields.groupby(["animal", "stratum"]):
            assert own["chance"].to_numpy() == pytest.approx(own["visit"].notna().mean())
        with pytest.raises(UserError, match="larger share"):
            more.extended(0.4)

    def test_later_corrections_do_not_change_the_claims(self, planned):
        before = AuditPlan.read(planned).claims
        slide = planned.slide_ids()[0]
        with planned.review(slide, author="B") as session:
            session.delete([session.follicles[0].id])
        pd.testing.assert_frame_equal(AuditPlan.read(planned).claims, before)

    @pytest.mark.parametrize("name", ["fields.csv", "claims.csv"])
    def test_a_table_that_was_changed_is_refused(self, planned, name):
        path = planned.path / "audit" / name
        whole = path.read_bytes()
        for content in (None, whole[: len(whole) // 2], whole.replace(b",", b";"), whole.rsplit(b"\n", 2)[0] + b"\n"):
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(UserError, match=f"{name}: this file was changed.*Restore"):
                AuditPlan.read(planned)
            path.write_bytes(whole)

    @pytest.mark.parametrize("text", ["{}", "[]", '{"share": "much"}', "not json", ""])
    def test_a_damaged_plan_is_named(self, planned, text):
        (planned.path / "audit" / "plan.json").write_text(text)
        with pytest.raises(UserError, match=r"plan\.json"):
            AuditPlan.read(planned)

    def test_a_plan_that_was_deleted_is_missed(self, planned):
        (planned.path / "audit" / "plan.json").unlink()
        with pytest.raises(UserError, match="this file is missing"):
            AuditPlan.read(planned)


class TestRecord:
    def seen(self, number=1, stage=Stage.PRIMARY):
        return Seen(f"m{number}", 10.0 * number, 20.0, stage)

    def test_every_act_survives(self, planned):
        with AuditSession(planned, reader="A", blind=True) as session:
            key = session.plan.visits[0]
            session.mark(key, self.seen(1))
            session.mark(key, self.seen(2))
            session.mark(key, self.seen(2, Stage.ANTRAL))
            session.unmark(key, "m1")
            session.show(key)
            session.finish(key)
            before = session.record
        after = AuditRecord.read(planned)
        assert after.visits == before.visits
        visit = after.visits[key]
        assert [m.stage for m in visit.first] == [Stage.ANTRAL]
        assert (visit.done, visit.readers, visit.blind, visit.hidden) == (True, ("A",), True, True)
        assert after.done(session.plan) == [key]
        assert after.next_visit(session.plan) == session.plan.visits[1]

    def test_undo_takes_back_one_act_at_a_time(self, planned):
        with AuditSession(planned, reader="A") as session:
            key = session.plan.visits[0]
            states = [session.visit(key)]
            session.mark(key, self.seen(1))
            states.append(session.visit(key))
            session.show(key)
            states.append(session.visit(key))
            session.finish(key)
            assert session.undo(key) == "done"
            assert replace(session.visit(key), readers=()) == replace(states[-1], readers=())
            assert session.undo(key) == "", "claims that were shown have been seen"

    def test_undo_of_marks(self, planned):
        with AuditSession(planned, reader="A") as session:
            key = session.plan.visits[0]
            session.mark(key, self.seen(1))
            session.mark(key, self.seen(2))
            assert session.undo(key) == "mark"
            assert list(session.visit(key).marks) == ["m1"]
            assert session.undo(key) == "mark"
            assert session.undo(key) == ""

    def test_a_mark_with_the_claims_in_view_takes_no_claim_over(self, planned):
        """A missed follicle beside a confirmed one, inside its circle: both are there."""
        claim = Seen("c", 100.0, 100.0, Stage.ANTRAL, diameter_um=300.0)
        visit = Visit(first=(), settled={"c": claim}, marks={"m9": self.seen(9, Stage.SECONDARY)})
        assert [s.id for s in found(visit, [claim], 1.0)] == ["c", "m9"]

    def test_a_resting_follicle_is_not_the_large_one_around_it(self):
        claim = Seen("c", 100.0, 100.0, Stage.ANTRAL, diameter_um=300.0)
        mark = Seen("m", 150.0, 100.0, Stage.PRIMORDIAL)
        assert [(d.claim, d.mark) for d in compared([claim], [mark], 1.0)] == [(claim, None), (None, mark)]

    def test_events_of_another_plan_do_not_count(self, planned):
        visit_all(planned, number=2)
        plan_audit(planned, config=CONFIG, seed=8).write(planned)
        assert not AuditRecord.read(planned).visits

    def test_a_visit_is_blind_only_if_all_of_it_was(self, planned):
        key = AuditPlan.read(planned).visits[0]
        for blind, reader in ((False, "A"), (True, "B")):
            with AuditSession(planned, reader=reader, blind=blind) as session:
                session.mark(key, self.seen(1))
        visit = AuditRecord.read(planned).visits[key]
        assert (visit.blind, visit.readers) == (False, ("A", "B"))

    def test_a_torn_line_is_set_aside(self, planned):
        with AuditSession(planned, reader="A") as session:
            key = session.plan.visits[0]
            session.mark(key, self.seen(1))
        log = planned.path / "audit" / "log.jsonl"
        log.write_bytes(log.read_bytes() + b'{"event": "mark", "fie')
        with AuditSession(planned, reader="A") as session:
            assert list(session.visit(key).marks) == ["m1"]
            session.mark(key, self.seen(2))
        assert list(AuditRecord.read(planned).visits[key].marks) == ["m1", "m2"]

    def test_one_reader_at_a_time(self, planned):
        with AuditSession(planned, reader="A"), pytest.raises(UserError, match="open in another window"):
            AuditSession(planned, reader="B")

    def test_a_line_that_is_no_event_is_named(self, planned):
        (planned.path / "audit" / "log.jsonl").write_text(json.dumps({"event": "mark"}) + "\n")
        with pytest.raises(UserError, match=r"log.jsonl: line 1"):
            AuditRecord.read(planned)

    def test_marks_are_matched_with_the_nearest_claims(self):
        claims = [replace(self.seen(1), id="c1", diameter_um=80), replace(self.seen(9), id="c2", diameter_um=20)]
        marks = [replace(self.seen(3), id="a"), replace(self.seen(2), id="b")]
        pairs = {(d.claim and d.claim.id, d.mark and d.mark.id) for d in compared(claims, marks, 1.0)}
        assert pairs == {("c1", "b"), ("c2", None), (None, "a")}

    def test_kinds_that_differ_must_be_settled(self, planned):
        with AuditSession(planned, reader="A") as session:
            field = session.plan.claims["field"].iloc[0]
            (claim, *_) = session.claims((field, False))
            other = Stage.ANTRAL if claim.stage is not Stage.ANTRAL else Stage.PRIMARY
            session.mark((field, False), replace(claim, id="m", stage=other))
            session.show((field, False))
            opened = session.open_differences((field, False), 1.0)
            mine = next(d for d in opened if d.id == "m")
            session.settle((field, False), mine, replace(mine.claim))
            assert "m" not in [d.id for d in session.open_differences((field, False), 1.0)]


class TestResults:
    def test_a_reader_who_agrees_changes_nothing(self, planned):
        visit_all(planned)
        result = AuditResult.of(planned)
        table = result.table()
        assert table["estimated"].to_numpy() == pytest.approx(table["predicted"].to_numpy())
        accuracy = result.accuracy().query("stage == 'all stages' and group == 'all'").set_index("measure")["value"]
        assert accuracy[["precision", "recall", "right stage"]].to_numpy() == pytest.approx([1, 1, 1])
        assert accuracy["count error"] == pytest.approx(0)
        assert result.unaided() == 1

    def test_with_all_fields_the_estimate_is_what_was_found(self, study):
        """The reader finds a primary follicle in the middle of each field, and nothing else."""
        plan_audit(study, config=AuditConfig(field_um=200, share=1, repeats=0)).write(study)

        def middles(study, field):
            row = AuditPlan.read(study).fields.set_index("field").loc[field]
            return [Seen("m", (row.left_px + row.right_px) / 2, (row.top_px + row.bottom_px) / 2, Stage.PRIMARY)]

        visit_all(study, middles)
        result = AuditResult.of(study)
        table = result.table().query("counted == 'profiles'")
        fields = result.plan.fields.groupby("animal").size()
        primary = table[table["stage"] == "primary"].set_index("animal")
        assert primary["estimated"].to_dict() == fields.astype(float).to_dict()
        assert table.loc[table["stage"] != "primary", "estimated"].eq(0).all()
        assert primary.loc[primary["seen"] >= 10, "se"].eq(0).all()

    def test_too_few_follicles_have_no_interval(self, planned):
        visit_all(planned)
        table = AuditResult.of(planned).table()
        few = table["seen"] < 10
        assert table.loc[few, ["se", "low", "high"]].isna().all(axis=None)
        assert (table["note"].eq("too few") == few).all()

    def test_agreement_needs_twenty_fields(self, planned):
        visit_all(planned)
        assert math.isnan(AuditResult.of(planned).agreement()["found"])

    def test_agreement_of_two_visits(self, study):
        plan_audit(study, config=AuditConfig(field_um=100, share=0.5, repeats=25), seed=3).write(study)
        visit_all(study)
        agreement = AuditResult.of(study).agreement()
        assert (agreement["fields"], agreement["found"]) == (25, 1)

    def test_the_result_is_hidden_until_the_audit_is_closed(self, planned):
        visit_all(planned, number=3)
        with pytest.raises(UserError, match="hidden until the audit is closed"):
            compare(count(planned), audit=AuditResult.of(planned))

    def test_sections_that_changed_since_the_plan_are_refused(self, planned):
        visit_all(planned)
        with AuditSession(planned, reader="A") as session:
            session.close_audit()
        slide = planned.slide_ids()[0]
        with planned.review(slide, author="B") as session:
            session.set_included([session.sections[0].section_id], False, "fold")
        result = AuditResult.of(planned)
        with pytest.raises(UserError, match=f"left out.* after the audit was planned: {slide}_s1"):
            compare(count(planned), audit=result)

    def test_means_of_groups_are_hidden_while_it_is_open(self, planned):
        assert is_open(planned)
        assert Desk(planned, author="B").hides_groups
        with AuditSession(planned, reader="A") as session:
            session.close_audit()
        assert not is_open(planned)
        assert not Desk(planned, author="B").hides_groups

    def test_closed_early_it_counts_the_fields_that_are_done(self, planned):
        plan = AuditPlan.read(planned)
        visit_all(planned, number=len(plan.visits) // 2)
        with AuditSession(planned, reader="A") as session:
            session.close_audit("no time")
            with pytest.raises(UserError, match="closed"):
                session.show(plan.visits[0])
        result = AuditResult.of(planned)
        assert result.record.acts[-1]["reason"] == "no time"
        assert result.table()["estimated"].to_numpy() == pytest.approx(result.table()["predicted"].to_numpy())
        assert "closed before" in result.in_words()

    def test_too_early_there_is_no_result(self, planned):
        visit_all(planned, number=2)
        with pytest.raises(UserError, match="of each kind are needed"):
            AuditResult.of(planned).table()

    def test_a_reopened_audit_is_reported(self, planned):
        visit_all(planned)
        with AuditSession(planned, reader="A") as session:
            session.close_audit()
            session.reopen("a second reader")
            session.close_audit()
        assert "opened again after its results could be seen (a second reader)" in AuditResult.of(planned).in_words()

    def test_shown_predictions_are_reported(self, planned):
        with AuditSession(planned, reader="A", hidden=False, blind=False) as session:
            for key in session.plan.visits:
                session.show(key)
                for difference in session.open_differences(key, 1.0):
                    session.settle(key, difference, difference.claim)
                session.finish(key)
        said = AuditResult.of(planned).in_words()
        assert "under-found" in said
        assert "could see the names" in said

    def test_health_and_nucleus_are_counted(self, study):
        plan_audit(study, config=AuditConfig(field_um=200, share=1, repeats=0)).write(study)

        def dying(study, field):
            seen = marks_in(study, field)
            return [replace(s, health=Health.ATRETIC, countable=Countable.NO) for s in seen]

        visit_all(study, dying)
        table = AuditResult.of(study).table().groupby("counted")[["predicted", "estimated"]].sum()
        assert table.loc["atretic", "estimated"] == table.loc["profiles", "predicted"]
        assert table.loc[["countable", "healthy"], "estimated"].eq(0).all()


class TestExpected:
    def test_more_fields_give_narrower_intervals(self, planned):
        table = expected_intervals(AuditResult.of(planned), contrast=2, shares=(0.3, 0.6, 1.0), kind="profiles")
        for _, own in table.dropna().groupby("stage"):
            assert own["fields"].is_monotonic_increasing
            assert own["low"].is_monotonic_increasing
            assert own["high"].is_monotonic_decreasing

    def test_a_good_detector_narrows_them(self, planned):
        before = expected_intervals(AuditResult.of(planned), contrast=2, kind="profiles")
        visit_all(planned)
        after = expected_intervals(AuditResult.of(planned), contrast=2, kind="profiles")
        assert (after["low"].dropna() >= before["low"].dropna()).all()
        assert (after["high"].dropna() <= before["high"].dropna()).all()
