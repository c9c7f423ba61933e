"""The stage table, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from follicle_stager.config import StagingConfig
from follicle_stager.measurements import Measurements
from follicle_stager.stages import Countable, Health, Stage
from follicle_stager.staging import stage_by_criteria

NAN = float("nan")
CONFIG = StagingConfig()

SECONDARY = Measurements(
    diameter_um=130, long_axis_um=135, short_axis_um=125, oocyte_um=65, oocyte_long_um=67, oocyte_short_um=63,
    nucleus_um=24, nucleus_contrast=0.3, layers=4, layers_iqr=1, two_layers_fraction=0.95, granulosa_um=32,
    cuboidal_fraction=1, fluid_fraction=0, fluid_spaces=0, largest_space_fraction=0, granulosa_nuclei=150,
    pyknotic_fraction=0.0, surface_distance_um=50,
)  # fmt: skip
PRIMARY = replace(
    SECONDARY, diameter_um=50, oocyte_um=34, layers=1, two_layers_fraction=0.1, granulosa_um=8, layers_iqr=0
)
EARLY = replace(SECONDARY, fluid_fraction=0.08, fluid_spaces=3, largest_space_fraction=0.04)
ANTRAL = replace(SECONDARY, diameter_um=300, fluid_fraction=0.5, fluid_spaces=1, largest_space_fraction=0.5)


@pytest.mark.parametrize(
    ("m", "stage"),
    [
        (
            replace(PRIMARY, diameter_um=20, oocyte_um=15, granulosa_um=3, cuboidal_fraction=0.0),
            Stage.PRIMORDIAL,
        ),
        (
            replace(PRIMARY, diameter_um=28, oocyte_um=18, granulosa_um=5, cuboidal_fraction=0.5),
            Stage.TRANSITIONAL,
        ),
        (PRIMARY, Stage.PRIMARY),
        (SECONDARY, Stage.SECONDARY),
        (EARLY, Stage.EARLY_ANTRAL),
        (ANTRAL, Stage.ANTRAL),
        (replace(ANTRAL, diameter_um=460), Stage.PREOVULATORY),
        (replace(ANTRAL, oocyte_um=NAN, layers=NAN, layers_iqr=NAN, two_layers_fraction=NAN), Stage.ANTRAL),
    ],
)
def test_rows_of_the_table(m, stage):
    verdict = stage_by_criteria(m, CONFIG)
    assert verdict.stage == stage
    assert max(verdict.probabilities, key=verdict.probabilities.get) == stage


@given(st.floats(60, 395), st.floats(2, 9))
def test_only_fluid_parts_secondary_from_early_antral(diameter, layers):
    """A large dry follicle is secondary, a small wet one is not, whatever its size."""
    dry = replace(SECONDARY, diameter_um=diameter, layers=layers, granulosa_um=7 * layers)
    wet = replace(EARLY, diameter_um=diameter, layers=layers, granulosa_um=7 * layers)
    assert stage_by_criteria(dry, CONFIG).stage == Stage.SECONDARY
    assert stage_by_criteria(wet, CONFIG).stage == Stage.EARLY_ANTRAL


def test_a_small_single_cavity_is_early_antral():
    m = replace(SECONDARY, fluid_fraction=0.06, fluid_spaces=1, largest_space_fraction=0.06)
    assert stage_by_criteria(m, CONFIG).stage == Stage.EARLY_ANTRAL


class TestUnsure:
    def test_no_oocyte_and_no_fluid(self):
        m = replace(SECONDARY, oocyte_um=NAN, layers=NAN, layers_iqr=NAN, two_layers_fraction=NAN, granulosa_um=NAN)
        verdict = stage_by_criteria(m, CONFIG)
        assert verdict.stage == Stage.UNSURE
        assert any("the section misses the oocyte" in reason for reason in verdict.reasons)
        assert verdict.countable == Countable.NO

    def test_count_and_thickness_conflict(self):
        verdict = stage_by_criteria(replace(PRIMARY, granulosa_um=25), CONFIG)
        assert verdict.stage == Stage.UNSURE
        assert any("disagree" in reason for reason in verdict.reasons)

    def test_layers_too_uneven(self):
        assert stage_by_criteria(replace(SECONDARY, layers_iqr=5), CONFIG).stage == Stage.UNSURE


class TestHealth:
    def test_pyknosis_above_the_limit(self):
        verdict = stage_by_criteria(replace(SECONDARY, pyknotic_fraction=0.3), CONFIG)
        assert (verdict.stage, verdict.health) == (Stage.SECONDARY, Health.ATRETIC)

    def test_two_weak_signs_together(self):
        weak = replace(SECONDARY, pyknotic_fraction=0.15)
        assert stage_by_criteria(weak, CONFIG).health == Health.HEALTHY
        assert stage_by_criteria(replace(weak, oocyte_short_um=25), CONFIG).health == Health.ATRETIC

    def test_a_misshapen_oocyte_alone_is_not_enough(self):
        assert stage_by_criteria(replace(SECONDARY, oocyte_short_um=20), CONFIG).health == Health.HEALTHY

    def test_too_few_nuclei_to_say(self):
        assert stage_by_criteria(replace(PRIMARY, pyknotic_fraction=NAN), CONFIG).health == Health.UNKNOWN


def test_countable_by_the_visible_nucleus():
    assert stage_by_criteria(SECONDARY, CONFIG).countable == Countable.YES
    assert stage_by_criteria(replace(SECONDARY, nucleus_um=NAN), CONFIG).countable == Countable.NO


@given(
    st.floats(5, 600), st.floats(0, 10), st.floats(0, 1), st.floats(0, 120), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1), st.booleans(),
)  # fmt: skip
def test_any_measurements_give_a_verdict(diameter, layers, two, thickness, cuboidal, fluid, largest, oocyte):
    m = replace(
        SECONDARY, diameter_um=diameter, layers=layers, two_layers_fraction=two, granulosa_um=thickness,
        cuboidal_fraction=cuboidal, fluid_fraction=fluid, fluid_spaces=float(fluid > 0),
        largest_space_fraction=min(largest, fluid), oocyte_um=65 if oocyte else NAN,
    )  # fmt: skip
    verdict = stage_by_criteria(m, CONFIG)
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert all(p >= 0 for p in verdict.probabilities.values())
    assert verdict.reasons
