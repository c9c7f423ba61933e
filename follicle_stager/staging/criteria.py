"""Staging by criteria: the table of stages as code.

========== ================================================================================================
primordial oocyte with one layer of flattened granulosa
transit.   one layer, partly flat and partly cuboidal
primary    one complete layer of cuboidal granulosa, fewer than two complete layers
secondary  two or more layers, **no fluid space**
early      two or more layers and fluid: gaps between granulosa cells, or several separate cavities
antral     one large continuous cavity
preovul.   antral and larger than 400 µm
========== ================================================================================================

Sources: four-stage criteria after Hirshfield & Midgley; incipient, small antral and Graafian after Griffin 2006;
numbering of layers after Pedersen & Peters 1968. Only fluid separates secondary from early antral follicles: their
diameters overlap from 100 to 150 µm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from follicle_stager.records import Assessment
from follicle_stager.stages import LADDER, Countable, Health, Stage

if TYPE_CHECKING:
    from follicle_stager.config import StagingConfig
    from follicle_stager.measurements import Measurements


def stage_by_criteria(m: Measurements, config: StagingConfig) -> Assessment:
    """Stage one follicle.

    Parameters
    ----------
    m
        Measurements of the follicle, µm.
    config
        Thresholds.

    Returns
    -------
    Assessment
        Stage, health and countability, with reasons.
    """
    probabilities = stage_probabilities(m, config)
    best = max(probabilities, key=lambda stage: probabilities[stage])
    why_unsure = doubts(m, config)
    if probabilities[best] < config.min_probability:
        count, thickness = _layers_by_count(m, config), _layers_by_thickness(m, config)
        if (count - 0.5) * (thickness - 0.5) < 0:
            why_unsure = (*why_unsure, "number of layers and thickness of the granulosa disagree")
        why_unsure = (*why_unsure, f"between two stages: {_two_likeliest(probabilities)}")
    health, why_atretic = _health(m, config)
    countable, why_countable = _countable(m)
    return Assessment(
        stage=Stage.UNSURE if why_unsure else best,
        probabilities=probabilities,
        reasons=(*describe(m), *why_unsure, *why_atretic, why_countable),
        health=health,
        countable=countable,
        measurements=m,
    )


def stage_probabilities(m: Measurements, config: StagingConfig) -> dict[Stage, float]:
    """Probability of each row of the table, from a tree of yes/no questions with gradual answers."""
    has_fluid = _yes(m.fluid_fraction, config.fluid_min_fraction, 0.25 * config.fluid_min_fraction)
    one_cavity = _yes(m.largest_space_fraction, config.antral_min_fraction, 0.15 * config.antral_min_fraction)
    huge = _yes(m.diameter_um, config.preovulatory_um, 10.0)
    several_layers = _several_layers(m, config)
    all_cuboidal = _yes(m.cuboidal_fraction, config.cuboidal_complete, 0.06)
    all_flat = _yes(1 - m.cuboidal_fraction, 1 - config.cuboidal_none, 0.06)
    dry = 1 - has_fluid
    single = dry * (1 - several_layers)
    mixed = max(0.0, 1 - all_cuboidal - all_flat)
    total = all_cuboidal + all_flat + mixed
    return {
        Stage.PRIMORDIAL: single * all_flat / total,
        Stage.TRANSITIONAL: single * mixed / total,
        Stage.PRIMARY: single * all_cuboidal / total,
        Stage.SECONDARY: dry * several_layers,
        Stage.EARLY_ANTRAL: has_fluid * (1 - one_cavity),
        Stage.ANTRAL: has_fluid * one_cavity * (1 - huge),
        Stage.PREOVULATORY: has_fluid * one_cavity * huge,
    }


def describe(m: Measurements) -> tuple[str, ...]:
    """Describe the measurements in words."""
    seen = []
    if math.isfinite(m.layers):
        seen.append(f"granulosa {m.granulosa_um:.0f} µm thick")
        seen.append(f"two or more nuclei deep on {m.two_layers_fraction:.0%} of the rays (median {m.layers:g})")
        if m.layers < 2 and m.cuboidal_fraction < 1:
            seen.append(f"{m.cuboidal_fraction:.0%} of the layer is cuboidal")
    else:
        seen.append("no oocyte in this section")
    if m.fluid_spaces == 0:
        seen.append("no fluid space")
    elif m.fluid_spaces == 1:
        seen.append(f"one fluid space, {m.largest_space_fraction:.0%} of the granulosa's area")
    else:
        seen.append(
            f"{m.fluid_spaces:.0f} fluid spaces, {m.fluid_fraction:.0%} of the granulosa's area, "
            f"the largest {m.largest_space_fraction:.0%}"
        )
    seen.append(f"diameter {m.diameter_um:.0f} µm")
    return tuple(seen)


def doubts(m: Measurements, config: StagingConfig) -> tuple[str, ...]:
    """Reasons why the stage cannot be determined; empty if it can."""
    why = []
    no_oocyte = not math.isfinite(m.oocyte_um)
    if no_oocyte and m.fluid_fraction < config.fluid_min_fraction:
        why.append("the section misses the oocyte and shows no fluid: the stage cannot be determined")
    if math.isfinite(m.layers_iqr) and m.layers_iqr > config.max_layers_iqr and m.fluid_fraction == 0:
        why.append("the number of layers varies too much around the oocyte")
    return tuple(why)


def _several_layers(m: Measurements, config: StagingConfig) -> float:
    """Probability of two or more layers, from nuclei on rays and from thickness; 0.5 without an oocyte."""
    return 0.5 * (_layers_by_count(m, config) + _layers_by_thickness(m, config))


def _layers_by_count(m: Measurements, config: StagingConfig) -> float:
    return _yes(m.two_layers_fraction, config.two_layers_min_fraction, 0.08)


def _layers_by_thickness(m: Measurements, config: StagingConfig) -> float:
    return _yes(m.granulosa_um, config.two_layers_min_um, 1.5)


def _health(m: Measurements, config: StagingConfig) -> tuple[Health, tuple[str, ...]]:
    """Health: atretic if dying granulosa or pyknosis exceeds its limit, or with two weaker signs; not by shrinkage."""
    if m.dying_fraction > config.dying_max_fraction:
        return Health.ATRETIC, (f"{m.dying_fraction:.0%} of the granulosa looks atretic",)
    if not math.isfinite(m.pyknotic_fraction):
        return Health.UNKNOWN, ()
    signs = []
    if m.pyknotic_fraction > 0.5 * config.pyknosis_max_fraction:
        signs.append(f"{m.pyknotic_fraction:.0%} of the granulosa nuclei are pyknotic")
    oocyte_share = m.oocyte_short_um / m.oocyte_long_um if math.isfinite(m.oocyte_um) else 1.0
    if oocyte_share < config.oocyte_min_aspect:
        signs.append("the oocyte is misshapen")
    if m.pyknotic_fraction > config.pyknosis_max_fraction or len(signs) >= 2:
        return Health.ATRETIC, tuple(signs)
    return Health.HEALTHY, ()


def _countable(m: Measurements) -> tuple[Countable, str]:
    """Countability by the visible-nucleus rule."""
    if not math.isfinite(m.oocyte_um):
        return Countable.NO, "not countable: no oocyte"
    if math.isfinite(m.nucleus_um):
        return Countable.YES, f"countable: oocyte nucleus of {m.nucleus_um:.0f} µm"
    return Countable.NO, "not countable: no oocyte nucleus in this section"


def _yes(value: float, threshold: float, softness: float) -> float:
    """Gradual answer from 0 to 1, with 0.5 at the threshold; 0.5 for NaN."""
    if not math.isfinite(value):
        return 0.5
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, (value - threshold) / softness))))


def _two_likeliest(probabilities: dict[Stage, float]) -> str:
    ranked = sorted(LADDER, key=lambda stage: -probabilities[stage])
    return " or ".join(stage.label.lower() for stage in ranked[:2])
