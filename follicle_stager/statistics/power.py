"""How often verdicts and responses are right: simulated studies, and the number of animals that a study needs."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from follicle_stager.config import ComparisonConfig
from follicle_stager.errors import UserError
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.decision import Tests, VerdictKind, all_effects, decide, with_imputed
from follicle_stager.statistics.effects import HALF, LEAST_PER_ANIMAL, Effect, two_groups
from follicle_stager.statistics.responses import Units, effects_of_response
from follicle_stager.statistics.simulate import SECTIONS, SPREADS, Design, Spread, matrix_of, moves
from follicle_stager.statistics.stage_errors import StageErrors
from follicle_stager.study.samples import read_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import AllCounts, CountMatrix

    Values = NDArray[np.float64]

# Studies that are tested at once; more need more memory.
_AT_ONCE = 1000
# Verdicts that `power` shows beside the blocks.
_SHOWN: tuple[VerdictKind, ...] = ("none", "inconclusive")


def simulate_verdicts(
    design: Design,
    animals: tuple[int, int],
    *,
    studies: int,
    seed: int = 1,
    carried: bool = False,
    config: ComparisonConfig | None = None,
) -> dict[str, float]:
    """Simulate studies of a design, and measure how often their verdicts are right.

    Parameters
    ----------
    design
        Design and truth of the studies.
    animals
        Numbers of controls and knockouts.
    studies
        Number of studies.
    seed
        Seed of the simulation.
    carried
        Whether staging errors are carried into the results; their true frequency is then used.
    config
        The question, and limits of the verdict.

    Returns
    -------
    dict
        Shares of the studies: ``false_block`` (an arrest or a block where there is none), ``right`` (all true blocks,
        with or without a false one), ``arrest``, and each kind of verdict; and how often 95 % intervals cover the
        truth: ``coverage`` over all rungs, all steps and the question, and ``least_coverage``, the lowest of these.
    """
    rng = np.random.default_rng([seed, *animals])
    config = config or ComparisonConfig()
    layout = two_groups(np.repeat([False, True], animals))
    contrast = config.contrast_place
    kinds: list[NDArray[np.str_]] = []
    blocks: list[NDArray[np.bool_]] = []
    arrests: list[NDArray[np.bool_]] = []
    held: list[Values] = []
    for first in range(0, studies, _AT_ONCE):
        counts, exposure = design.draw(min(_AT_ONCE, studies - first), animals, rng)
        tests = all_effects(counts, exposure, layout, contrast)
        if carried:
            both = zip(counts, exposure, strict=True)
            drawn = [_carried(c, e, animals, design.wrong_stage, contrast) for c, e in both]
            tests = Tests(*(_of_many([getattr(t, f.name) for t in drawn]) for f in fields(Tests)))
        decision = decide(tests, config)
        kinds.append(decision.kind)
        blocks.append(decision.blocks)
        arrests.append(decision.arrest)
        held.append(_held(tests, design, contrast))
    found, inside = np.concatenate(blocks), np.concatenate(held)
    covered = np.nanmean(inside[:, np.isfinite(inside).any(axis=0)], axis=0)
    kind = np.concatenate(kinds)
    return {
        "false_block": float((found & ~design.blocks).any(axis=1).mean()),
        "right": float(found[:, design.blocks].all(axis=1).mean()) if design.blocks.any() else math.nan,
        "arrest": float(np.concatenate(arrests).mean()),
        **{name: float((kind == name).mean()) for name in get_args(VerdictKind)},
        "coverage": float(np.nanmean(covered)),
        "least_coverage": float(np.nanmin(covered)),
    }


def _of_many(effects: Sequence[Effect]) -> Effect:
    """Effects of single studies as those of many: a new first axis."""
    return Effect(*(np.stack([getattr(e, f.name) for e in effects]) for f in fields(Effect)))


def _carried(counts: Values, exposure: Values, animals: tuple[int, int], wrong: float, contrast: int) -> Tests:
    """Effects of one study with its staging errors carried into them."""
    matrix = matrix_of(counts, exposure, animals)
    return with_imputed(counts, _known(matrix, wrong).imputed(matrix), exposure, two_groups(matrix.knockout), contrast)


def _known(matrix: CountMatrix, wrong: float) -> StageErrors:
    """Staging errors of a study without judged follicles, for which the frequency of errors is known."""
    nothing_false = np.array([[0.0, 1e6]] * len(RUNGS))
    return StageErrors(np.zeros_like(matrix.counts), matrix.counts, 200 * moves(wrong), nothing_false)


def _held(tests: Tests, design: Design, contrast: int) -> Values:
    """Whether each interval contains the true log ratio, (studies, 10); NaN where nothing was estimated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rungs = np.log(design.ratios)
        after = np.nan_to_num(np.array(design.expected[contrast + 1 :], np.float64))
        later = np.log((after * design.ratios[contrast + 1 :]).sum() / after.sum())
        truth = [(tests.rungs, rungs), (tests.steps, np.diff(rungs)), (tests.shift, later - rungs[contrast])]
    columns = []
    for effect, true in truth:
        low, high = effect.interval()
        inside = np.where(np.isfinite(low) & np.isfinite(true), (low <= true) & (true <= high), np.nan)
        columns.append(inside if inside.ndim > 1 else inside[:, None])
    return np.concatenate(columns, axis=1)


def pilot(counts: Sequence[tuple[AllCounts, pd.DataFrame]], config: ComparisonConfig) -> tuple[Values, Spread, int]:
    """Estimate the numbers and the spread of animals from pilot data.

    The spread of the logarithms within groups, less that of sections and of random counts, is that of all stages
    together (their mean covariance) and the rest of each stage. A stage with fewer than 3 follicles per animal has the
    spread of published counts.

    Parameters
    ----------
    counts
        Counts of all animals of each model, with their columns of the sample sheet. One group is enough.
    config
        ``reference`` and ``by``; animals of several treatments are not pooled.

    Returns
    -------
    ndarray, Spread, int
        Follicles counted on each rung of a control animal, (5,), NaN if not counted; the spread; and the number of
        animals beyond the group means on which it rests.

    Raises
    ------
    UserError
        If no group has two animals.
    """
    reference = read_group(config.reference) or "control"
    means: dict[str, Values] = {}
    apart, random = [], []
    for whole, who in counts:
        strata = [str(value) for value in who[config.by]] if config.by in who else [""] * len(whole.animals)
        cells = list(zip(whole.groups, strata, strict=True))
        for cell in dict.fromkeys(cells):
            own = np.array([one == cell for one in cells])
            rates = whole.counts[own] / whole.exposure[own] * whole.exposure.mean(axis=0)
            means.setdefault(cell[0], rates.mean(axis=0))
            if own.sum() > 1:
                logs = np.log(rates + HALF)
                apart.append(logs - logs.mean(axis=0))
                random.append(1 / (rates + HALF))
    free = sum(len(logs) - 1 for logs in apart)
    if not free:
        raise UserError("The pilot data have no group with two animals, so they do not show how animals differ.")
    expected = means.get(reference, next(iter(means.values())))
    residuals, chance = np.concatenate(apart), np.concatenate(random).mean(axis=0) + 1 / SECTIONS
    covariance = residuals.T @ residuals / free
    known = np.flatnonzero(np.nan_to_num(expected) >= LEAST_PER_ANIMAL)
    off = covariance[np.ix_(known, known)][~np.eye(len(known), dtype=bool)]
    common = max(float(off.mean()), 0.0) if len(off) else 0.0
    published = SPREADS["real"].stages
    stages = [
        math.sqrt(max(covariance[k, k] - chance[k] - common, 0.0)) if k in known else published[k]
        for k in range(len(RUNGS))
    ]
    return expected, Spread(math.sqrt(common), tuple(stages)), free


def power(
    design: Design,
    animals: Sequence[tuple[int, int]],
    *,
    studies: int = 2000,
    seed: int = 1,
    config: ComparisonConfig | None = None,
) -> pd.DataFrame:
    """Estimate how often studies of several sizes find the true block.

    Parameters
    ----------
    design
        Design and truth of the studies.
    animals
        Numbers of controls and knockouts.
    studies
        Number of simulated studies of each size.
    seed
        Seed of the simulation.
    config
        The question, and limits of the verdict.

    Returns
    -------
    DataFrame
        ``controls``, ``knockouts``, ``power`` (the true block is found; NaN without one), ``other_block``, and other
        verdicts.
    """
    rows = []
    for n in animals:
        share = simulate_verdicts(design, n, studies=studies, seed=seed, config=config)
        blocks = {"power": share["right"], "other_block": share["false_block"]}
        rows.append({"controls": n[0], "knockouts": n[1]} | blocks | {kind: share[kind] for kind in _SHOWN})
    return pd.DataFrame(rows)


def response_power(
    design: Design,
    animals: Sequence[tuple[int, int]],
    response: tuple[float, float],
    *,
    studies: int = 2000,
    seed: int = 1,
    config: ComparisonConfig | None = None,
) -> pd.DataFrame:
    """Estimate how often studies with and without a treatment show how the groups respond to it.

    Parameters
    ----------
    design
        Design and truth of the animals without the treatment.
    animals
        Numbers of controls and knockouts, without the treatment and again with it.
    response
        Factor by which the treatment multiplies all later stages, in controls and in knockouts.
    studies
        Number of simulated studies of each size.
    seed
        Seed of the simulation.
    config
        The question, and limits of the verdict.

    Returns
    -------
    DataFrame
        ``controls``, ``knockouts``; shares of the studies in which the response of the ``control`` and of the
        ``knockout`` is shown, and in which both ``differ`` (two-sided); in which an arrest is found ``without`` and
        ``with`` the treatment; and ``coverage`` of the 95 % interval of the ratio of the two responses.
    """
    config = config or ComparisonConfig()
    contrast = config.contrast_place
    names = ("control", "knockout", "differ")
    true = np.log(response[1] / response[0])
    rows = []
    for n in animals:
        rng = np.random.default_rng([seed, *n])
        found: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in (*names, "without", "with", "coverage")}
        for first in range(0, studies, _AT_ONCE):
            many = min(_AT_ONCE, studies - first)
            drawn = [each.draw(many, n, rng) for each in (design, design.treated(contrast, *response))]
            for when, (counts, exposure) in zip(("without", "with"), drawn, strict=True):
                tests = all_effects(counts, exposure, two_groups(np.repeat([False, True], n)), contrast)
                found[when].append(decide(tests, config).arrest)
            counts, exposure = (np.concatenate(parts, axis=1) for parts in zip(*drawn, strict=True))
            cells = ((0, False), (0, True), (1, False), (1, True))
            units = Units(cells, np.repeat(range(4), n * 2), counts, exposure)
            shifts = [units.tested(effect, contrast).shift for effect in effects_of_response((-1.0, 1.0))]
            for name, shift in zip(names, shifts, strict=True):
                found[name].append(shift.p_two_sided <= config.alpha)
            low, high = shifts[-1].interval()
            found["coverage"].append(np.asarray((low <= true) & (true <= high)))
        shares = {name: float(np.concatenate(parts).mean()) for name, parts in found.items()}
        rows.append({"controls": n[0], "knockouts": n[1], **shares})
    return pd.DataFrame(rows)
