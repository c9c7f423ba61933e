"""Does the knockout respond to a treatment as the control does? Differences between comparisons of one study.

The comparisons within each treatment (`designs.comparisons`) say how the groups differ there. Here, treatments are
compared: in the control, in the knockout, and the ratio of the two (the interaction of genotype and treatment). For
ages and other numbers, the effect is the linear trend of the logarithms, from the lowest to the highest. Animals of
several treatments are taken to be independent of each other.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import columns_of
from follicle_stager.statistics.decision import rungs_after, with_imputed
from follicle_stager.statistics.effects import Effect, Layout, holm
from follicle_stager.statistics.matrix import columns_of_batches
from follicle_stager.statistics.words import later_follicles, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.matrix import CountMatrix

    Values = NDArray[np.float64]

_NAMES = [name.replace("_", " ") for name in RUNGS]


class _Over(NamedTuple):
    """Treatments that are compared, by their place in a list of comparisons, with their weights; and in words."""

    weights: dict[int, float]
    title: str


def responses(
    matrices: Sequence[CountMatrix], drawn: Sequence[Values | None], config: ComparisonConfig
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Compare the effects between the treatments of a study.

    Parameters
    ----------
    matrices
        All comparisons.
    drawn
        Their imputed counts, (draws, n, 5), or None.
    config
        The question.

    Returns
    -------
    DataFrame, tuple of str
        A row for each effect and test, and a sentence for each pair of groups; empty if there is one treatment.
    """
    both = sorted(zip(matrices, drawn, strict=True), key=lambda one: (one[0].model, one[0].genotypes))
    tables, sentences = [], []
    for _, own in groupby(both, key=lambda one: (one[0].model, one[0].genotypes)):
        strata = [(m, d) for m, d in own if m.enough]
        for over in _over([m for m, _ in strata]):
            table, sentence = _response([strata[i] for i in over.weights], over, config)
            tables.append(table)
            sentences.append(sentence)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), tuple(sentences)


def _over(strata: list[CountMatrix]) -> Iterator[_Over]:
    """Which treatments are compared: each with the first one, or all numbers as a series."""
    if len(strata) < 2:
        return
    values = [m.stratum_value for m in strata]
    if all(value is not None for value in values):
        at = np.array(values, np.float64)
        apart = at - at.mean()
        weights = apart / (apart**2).sum() * (at.max() - at.min())
        title = f"{strata[int(at.argmax())].stratum} against {strata[int(at.argmin())].stratum}"
        yield _Over(dict(enumerate(weights.tolist())), title if len(at) == 2 else f"trend, {title}")
        return
    for i in range(1, len(strata)):
        yield _Over({0: -1.0, i: 1.0}, f"{strata[i].stratum} against {strata[0].stratum}")


def _response(
    strata: list[tuple[CountMatrix, Values | None]], over: _Over, config: ComparisonConfig
) -> tuple[pd.DataFrame, str]:
    matrices, weights = [m for m, _ in strata], list(over.weights.values())
    first, contrast = matrices[0], list(RUNGS).index(config.contrast)
    counts, exposure = (
        np.concatenate([m.by_unit(getattr(m, name)) for m in matrices]) for name in ("counts", "exposure")
    )
    imputed = None
    if any(d is not None for _, d in strata):
        most = max(len(d) for _, d in strata if d is not None)
        imputed = np.concatenate(
            [m.by_unit(d if d is not None else np.repeat(m.counts[None], most, axis=0)) for m, d in strata], axis=1
        )
    groups = _groups(matrices)
    effects = {
        f"in {first.genotypes[0]}": [(groups[i, 0], w) for i, w in enumerate(weights)],
        f"in {first.genotypes[1]}": [(groups[i, 1], w) for i, w in enumerate(weights)],
        f"{first.genotypes[1]} against {first.genotypes[0]}": [
            (groups[i, side], w if side else -w) for i, w in enumerate(weights) for side in (0, 1)
        ],
    }
    seen = np.asarray(np.isfinite(counts).all(axis=0))
    steps = [(k, rungs_after(k, seen)[0]) for k in range(len(_NAMES) - 1)]
    steps = [(k, to) for k, to in steps if seen[k] and seen[to]]
    shift = f"{_NAMES[contrast]} to all later"
    rows, shifts = [], list[Effect]()
    for name, parts in effects.items():
        # Only the animals of the effect: the scale of the added half a follicle is theirs.
        own = np.any([group for group, _ in parts], axis=0)
        layout = Layout(tuple(group[own] for group, _ in parts), tuple(w for _, w in parts), _beside(matrices, own))
        drawn = None if imputed is None else imputed[:, own]
        tests = with_imputed(counts[own], drawn, exposure[own], layout, contrast)
        shifts.append(tests.shift)
        p_steps = holm(tests.steps.p_two_sided[[k for k, _ in steps]])
        of_steps = [
            (f"{_NAMES[k]} to {_NAMES[to]}", tests.steps.at(k), p) for (k, to), p in zip(steps, p_steps, strict=True)
        ]
        for test, effect, p in [(shift, tests.shift, tests.shift.p_two_sided), *of_steps]:
            values = columns_of(effect) | {"p": effect.p_two_sided, "p_holm": p}
            kept = ("ratio", "low", "high", "se", "df", "p", "p_holm")
            rows.append({"effect": name, "test": test} | {column: float(values[column]) for column in kept})
    table = pd.DataFrame(rows)
    table.insert(0, "response", ", ".join(part for part in (first.model, over.title) if part))
    return table, _sentence(table["response"][0], first, seen, shifts, contrast, config)


def _groups(matrices: list[CountMatrix]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Units of each group among those of all matrices, by the place of the matrix, and 1 for the knockouts."""
    knockouts = [m.of_units(m.knockout) for m in matrices]
    place = np.repeat(range(len(matrices)), [len(own) for own in knockouts])
    knockout = np.concatenate(knockouts)
    return {(i, side): (place == i) & (knockout == side) for i in range(len(matrices)) for side in (0, 1)}


def _beside(matrices: list[CountMatrix], own: NDArray[np.bool_]) -> Values | None:
    """Columns of the batches, if all comparisons hold them constant."""
    if any(m.batches is None for m in matrices):
        return None
    return columns_of_batches(np.concatenate([m.of_units(m.batches) for m in matrices if m.batches is not None])[own])


def _sentence(
    title: str,
    first: CountMatrix,
    seen: NDArray[np.bool_],
    shifts: list[Effect],
    contrast: int,
    config: ComparisonConfig,
) -> str:
    control, knockout = first.genotypes
    if not all(np.isfinite(effect.log_ratio) for effect in shifts):
        why = "a group has no follicles of these stages"
        if first.batches is not None:
            why += ", or the batches cannot be told from the treatments"
        return f"{title}: the response could not be tested, because {why}."
    in_control, in_knockout, ratio = (f"{number_of(effect.log_ratio)}" for effect in shifts)
    p = float(shifts[2].p_two_sided)
    shown = f"{knockout} responds differently" if p <= config.alpha else "no difference in the response is shown"
    many = f"as many {later_follicles(contrast, seen)}"
    return (
        f"{title}: {shown}. For each {_NAMES[contrast]} follicle, there are {in_control} times {many} in {control} "
        f"({_interval(shifts[0])}) and {in_knockout} times in {knockout} ({_interval(shifts[1])}). The second "
        f"response is {ratio} times the first ({_interval(shifts[2])}; two-sided p = {p:.2g})."
    )


def _interval(effect: Effect) -> str:
    low, high = effect.interval()
    return f"95 % interval {number_of(low)} to {number_of(high)}"
