"""Does the knockout respond to a treatment as the control does? Differences between comparisons of one study.

The comparisons within each treatment (`designs.comparisons`) say how the groups differ there. Here, treatments are
compared: in the control, in the knockout, and the ratio of the two (the interaction of genotype and treatment). For
ages and other numbers, the effect is the linear trend of the logarithms, from the lowest to the highest. A trend over
gene dose is tested in the same way. Animals of several treatments are taken to be independent of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import columns_of
from follicle_stager.statistics.decision import rungs_after, with_imputed
from follicle_stager.statistics.effects import Effect, Layout, holm
from follicle_stager.statistics.matrix import indicators
from follicle_stager.statistics.words import later_follicles, number_of
from follicle_stager.study.samples import read_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    """Compare the effects between the treatments of a study, and test the trend over gene dose.

    Parameters
    ----------
    matrices
        All comparisons.
    drawn
        Their imputed counts, (draws, n, 5), or None.
    config
        The question, and ``dose``.

    Returns
    -------
    DataFrame, tuple of str
        A row for each effect and test, and sentences; empty if there is one treatment and no order of dose.
    """
    found = []
    for own in _alike(matrices, drawn, lambda m: (m.model, *m.genotypes)):
        strata = [(m, d) for m, d in own if m.enough]
        found += [_response([strata[i] for i in over.weights], over, config) for over in _over([m for m, _ in strata])]
    if config.dose:
        dose = [read_group(name) for name in config.dose]
        for own in _alike(matrices, drawn, lambda m: (m.model, m.stratum)):
            of_group = {m.group: (m, d) for m, d in own}
            if len(of_group) == len(dose) - 1 and set(of_group) < set(dose):
                found.append(
                    _dose([(dose.index(group), *of_group[group]) for group in dose if group in of_group], config)
                )
    tables = [table for table, _ in found]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), tuple(said for _, said in found)


def _alike(
    matrices: Sequence[CountMatrix], drawn: Sequence[Values | None], key: Callable[[CountMatrix], tuple[str, ...]]
) -> list[list[tuple[CountMatrix, Values | None]]]:
    """Comparisons with the same key, in their order."""
    found: dict[tuple[str, ...], list[tuple[CountMatrix, Values | None]]] = {}
    for matrix, own in zip(matrices, drawn, strict=True):
        found.setdefault(key(matrix), []).append((matrix, own))
    return list(found.values())


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


class _Units(NamedTuple):
    """Units of several comparisons together: counts and exposures, (n, 5), imputed counts, and batches if constant."""

    counts: Values
    exposure: Values
    imputed: Values | None
    batches: NDArray[np.str_] | None

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.counts).all(axis=0))


def _units(matrices: list[tuple[CountMatrix, Values | None]], kept: Sequence[NDArray[np.bool_]]) -> _Units:
    """The kept units of each comparison, (units,) bool each."""
    both = list(zip(matrices, kept, strict=True))
    imputed = batches = None
    if any(d is not None for _, d in matrices):
        most = max(len(d) for _, d in matrices if d is not None)
        all_drawn = [np.repeat(m.counts[None], most, axis=0) if d is None else d for m, d in matrices]
        imputed = np.concatenate([m.by_unit(d)[:, k] for ((m, _), k), d in zip(both, all_drawn, strict=True)], axis=1)
    if all(m.batches is not None for m, _ in matrices):
        batches = np.concatenate([m.of_units(m.batches)[k] for (m, _), k in both if m.batches is not None])
    counts, exposure = (
        np.concatenate([m.by_unit(getattr(m, name))[k] for (m, _), k in both]) for name in ("counts", "exposure")
    )
    return _Units(counts, exposure, imputed, batches)


def _tested(
    name: str, parts: list[tuple[NDArray[np.bool_], float]], units: _Units, contrast: int
) -> tuple[list[dict[str, object]], Effect]:
    """Rows of one effect, a weighted sum of group means, and its effect on the question."""
    # Only the units of the effect: the scale of the added half a follicle is theirs.
    own = np.any([group for group, _ in parts], axis=0)
    beside = None if units.batches is None else indicators(units.batches[own])
    layout = Layout(tuple(group[own] for group, _ in parts), tuple(w for _, w in parts), beside)
    drawn = None if units.imputed is None else units.imputed[:, own]
    tests = with_imputed(units.counts[own], drawn, units.exposure[own], layout, contrast)
    seen = units.seen
    steps = [(k, rungs_after(k, seen)[0]) for k in range(len(_NAMES) - 1)]
    steps = [(k, to) for k, to in steps if seen[k] and seen[to]]
    p_steps = holm(tests.steps.p_two_sided[[k for k, _ in steps]])
    shown = [(f"{_NAMES[contrast]} to all later", tests.shift, tests.shift.p_two_sided)]
    shown += [(f"{_NAMES[k]} to {_NAMES[to]}", tests.steps.at(k), p) for (k, to), p in zip(steps, p_steps, strict=True)]
    rows = list[dict[str, object]]()
    for test, effect, p in shown:
        values = columns_of(effect) | {"p": effect.p_two_sided, "p_holm": p}
        kept = ("ratio", "low", "high", "se", "df", "p", "p_holm")
        rows.append({"effect": name, "test": test} | {column: float(values[column]) for column in kept})
    return rows, tests.shift


def _table(title: str, rows: list[dict[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table.insert(0, "response", title)
    return table


def _response(
    strata: list[tuple[CountMatrix, Values | None]], over: _Over, config: ComparisonConfig
) -> tuple[pd.DataFrame, str]:
    matrices, weights = [m for m, _ in strata], list(over.weights.values())
    first, contrast = matrices[0], config.contrast_place
    units = _units(strata, [np.ones(len(m.of_units(m.knockout)), bool) for m in matrices])
    groups = _groups(matrices)
    effects = {
        f"in {first.genotypes[0]}": [(groups[i, 0], w) for i, w in enumerate(weights)],
        f"in {first.genotypes[1]}": [(groups[i, 1], w) for i, w in enumerate(weights)],
        f"{first.genotypes[1]} against {first.genotypes[0]}": [
            (groups[i, side], w if side else -w) for i, w in enumerate(weights) for side in (0, 1)
        ],
    }
    rows, shifts = [], []
    for name, parts in effects.items():
        own, shift = _tested(name, parts, units, contrast)
        rows += own
        shifts.append(shift)
    title = ", ".join(part for part in (first.model, over.title) if part)
    return _table(title, rows), _sentence(title, first, units.seen, shifts, contrast, config)


def _dose(groups: list[tuple[int, CountMatrix, Values | None]], config: ComparisonConfig) -> tuple[pd.DataFrame, str]:
    """The linear trend over the order of dose: the factor of each step. The reference is used once."""
    contrast, both = config.contrast_place, [(m, d) for _, m, d in groups]
    sides = [m.of_units(m.knockout) for m, _ in both]
    units = _units([both[0], *both], [~sides[0], *sides])
    missing = next(iter({*range(len(config.dose))} - {place for place, _, _ in groups}))
    dose = np.repeat([missing, *(place for place, _, _ in groups)], [(~sides[0]).sum(), *(own.sum() for own in sides)])
    apart = dose - dose.mean()
    parts = [(dose == place, float(apart[dose == place].sum() / (apart**2).sum())) for place in sorted(set(dose))]
    rows, shift = _tested("for each step of dose", parts, units, contrast)
    first = both[0][0]
    title = ", ".join(part for part in (first.model, f"gene dose ({', '.join(config.dose)})", first.stratum) if part)
    if not np.isfinite(shift.log_ratio):
        return _table(title, rows), f"{title}: the trend could not be tested."
    said = (
        f"{title}: for each {_NAMES[contrast]} follicle, there are {number_of(shift.log_ratio)} times as many "
        f"{later_follicles(contrast, units.seen)} with each step of dose ({_interval(shift)}; two-sided p = "
        f"{float(shift.p_two_sided):.2g})."
    )
    return _table(title, rows), said


def _groups(matrices: list[CountMatrix]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Units of each group among those of all matrices, by the place of the matrix, and 1 for the knockouts."""
    knockouts = [m.of_units(m.knockout) for m in matrices]
    place = np.repeat(range(len(matrices)), [len(own) for own in knockouts])
    knockout = np.concatenate(knockouts)
    return {(i, side): (place == i) & (knockout == side) for i in range(len(matrices)) for side in (0, 1)}


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
