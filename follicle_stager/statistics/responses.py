"""Does the knockout respond to a treatment as the control does? Differences between comparisons of one study.

The comparisons within each treatment (`designs.comparisons`) say how the groups differ there. Here, treatments are
compared: in the control, in the knockout, and the ratio of the two (the interaction of genotype and treatment). For
ages and other numbers, the effect is the linear trend of the logarithms, from the lowest to the highest. A trend over
gene dose is tested in the same way. Animals of several treatments are taken to be independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import columns_of
from follicle_stager.statistics.decision import rungs_after, with_imputed
from follicle_stager.statistics.effects import Layout, holm
from follicle_stager.statistics.matrix import indicators
from follicle_stager.statistics.words import later_follicles, number_of
from follicle_stager.study.samples import read_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.decision import Tests
    from follicle_stager.statistics.effects import Effect
    from follicle_stager.statistics.matrix import CountMatrix

    Values = NDArray[np.float64]
    # A comparison, and its imputed counts if any.
    _Drawn = tuple[CountMatrix, Values | None]

_SIDES = ("control", "knockout")
_NAMES = [name.replace("_", " ") for name in RUNGS]


# Weights of the means of groups in an effect: by the place of the comparison that a group is in, and whether the group
# is the knockout.
Cells = dict[tuple[int, bool], float]


class Responses(NamedTuple):
    """Effects and tests, the weights of the groups in them, and sentences; empty if nothing can be compared."""

    table: pd.DataFrame
    weights: pd.DataFrame
    said: tuple[str, ...]


def effects_of_response(weights: Sequence[float]) -> tuple[Cells, Cells, Cells]:
    """Effects of a treatment in the control, in the knockout, and their difference (the interaction).

    Parameters
    ----------
    weights
        Weight of each treatment: -1 and 1 for a difference.
    """
    control, knockout = ({(i, side): w for i, w in enumerate(weights)} for side in (False, True))
    return control, knockout, {**knockout, **{cell: -w for cell, w in control.items()}}


def trend(values: Sequence[float], sizes: Sequence[int] | None = None) -> list[float]:
    """Weights of groups in the slope of a straight line over their values, each weighing as its size (default: 1)."""
    at, size = np.array(values, np.float64), np.ones(len(values)) if sizes is None else np.array(sizes, np.float64)
    apart = at - (at * size).sum() / size.sum()
    return [float(weight) for weight in size * apart / (size * apart**2).sum()]


def responses(matrices: Sequence[CountMatrix], drawn: Sequence[Values | None], config: ComparisonConfig) -> Responses:
    """Compare the effects between the treatments of a study, and test the trend over gene dose.

    Parameters
    ----------
    matrices
        All comparisons.
    drawn
        Their imputed counts, (draws, n, 5), or None.
    config
        The question, and ``dose``.
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
    table, weights = (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        for tables in ([one.table for one in found], [one.weights for one in found])
    )
    return Responses(table, weights, tuple(said for one in found for said in one.said))


def _alike(
    matrices: Sequence[CountMatrix], drawn: Sequence[Values | None], key: Callable[[CountMatrix], tuple[str, ...]]
) -> list[list[_Drawn]]:
    """Comparisons with the same key, in their order."""
    found: dict[tuple[str, ...], list[_Drawn]] = {}
    for matrix, own in zip(matrices, drawn, strict=True):
        found.setdefault(key(matrix), []).append((matrix, own))
    return list(found.values())


class _Over(NamedTuple):
    """Treatments that are compared, by their place in a list of comparisons, with their weights; and in words."""

    weights: dict[int, float]
    title: str


def _over(strata: list[CountMatrix]) -> Iterator[_Over]:
    """Which treatments are compared: each with the first one, or all numbers as a series."""
    if len(strata) < 2:
        return
    values = [m.stratum_value for m in strata]
    if all(value is not None for value in values):
        at = np.array(values, np.float64)
        weights = np.array(trend(at.tolist())) * (at.max() - at.min())
        title = f"{strata[int(at.argmax())].stratum} against {strata[int(at.argmin())].stratum}"
        yield _Over(dict(enumerate(weights.tolist())), title if len(at) == 2 else f"trend, {title}")
        return
    for i in range(1, len(strata)):
        yield _Over({0: -1.0, i: 1.0}, f"{strata[i].stratum} against {strata[0].stratum}")


@dataclass(frozen=True)
class Units:
    """Units of several groups together, in one study or in many at once.

    Attributes
    ----------
    cells
        The groups: place of the comparison, and whether it is the knockout.
    cell
        Place of each unit's group in these, (n,).
    counts, exposure
        Their counts and exposures, (..., n, 5).
    imputed
        Imputed counts of one study, (draws, n, 5), or None.
    batches
        Batches, (n,), if they are held constant, or None.
    """

    cells: tuple[tuple[int, bool], ...]
    cell: NDArray[np.int_]
    counts: Values
    exposure: Values
    imputed: Values | None = None
    batches: NDArray[np.str_] | None = None

    @classmethod
    def of(cls, compared: Sequence[_Drawn], cells: Sequence[tuple[int, bool]]) -> Units:
        """Take the units of some groups of several comparisons."""
        own = [(*compared[i], compared[i][0].of_units(compared[i][0].knockout) == side) for i, side in cells]
        counts, exposure = (
            np.concatenate([m.by_unit(getattr(m, name))[kept] for m, _, kept in own]) for name in ("counts", "exposure")
        )
        imputed = batches = None
        if any(drawn is not None for _, drawn, _ in own):
            most = max(len(drawn) for _, drawn, _ in own if drawn is not None)
            every = [np.repeat(m.counts[None], most, axis=0) if drawn is None else drawn for m, drawn, _ in own]
            parts = [m.by_unit(drawn)[:, kept] for (m, _, kept), drawn in zip(own, every, strict=True)]
            imputed = np.concatenate(parts, axis=1)
        if all(m.batches is not None for m, _, _ in own):
            batches = np.concatenate([m.of_units(m.batches)[kept] for m, _, kept in own if m.batches is not None])
        cell = np.repeat(range(len(own)), [int(kept.sum()) for _, _, kept in own])
        return cls(tuple(cells), cell, counts, exposure, imputed, batches)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether each rung can be seen in all units, (5,) bool."""
        return np.asarray(np.isfinite(self.counts).reshape(-1, len(_NAMES)).all(axis=0))

    def tested(self, effect: Cells, contrast: int) -> Tests:
        """Test an effect."""
        groups = [(self.cell == self.cells.index(cell), weight) for cell, weight in effect.items()]
        # Only the units of the effect: the scale of the added half a follicle is theirs.
        own = np.any([group for group, _ in groups], axis=0)
        beside = None if self.batches is None else indicators(self.batches[own])
        layout = Layout(tuple(group[own] for group, _ in groups), tuple(w for _, w in groups), beside)
        drawn = None if self.imputed is None else self.imputed[:, own]
        return with_imputed(self.counts[..., own, :], drawn, self.exposure[..., own, :], layout, contrast)


def _rows(name: str, tests: Tests, seen: NDArray[np.bool_], contrast: int) -> list[dict[str, object]]:
    """Rows of one effect: on the question, the total of all later rungs, and each step between rungs that are seen."""
    steps = [(k, rungs_after(k, seen)[0]) for k in range(len(_NAMES) - 1)]
    steps = [(k, to) for k, to in steps if seen[k] and seen[to]]
    p_steps = holm(tests.steps.p_two_sided[[k for k, _ in steps]])
    # The question and its total are each one test.
    shown = [(f"{_NAMES[contrast]} to all later", tests.shift, np.array(np.nan))]
    shown += [(f"all later than {_NAMES[contrast]}", tests.later.at(contrast), np.array(np.nan))]
    shown += [(f"{_NAMES[k]} to {_NAMES[to]}", tests.steps.at(k), p) for (k, to), p in zip(steps, p_steps, strict=True)]
    rows = list[dict[str, object]]()
    for test, effect, p in shown:
        values = columns_of(effect) | {"p": effect.p_two_sided, "p_holm": p}
        kept = ("ratio", "low", "high", "se", "df", "p", "p_holm")
        rows.append({"effect": name, "test": test} | {column: float(values[column]) for column in kept})
    return rows


def _tested(
    title: str, compared: Sequence[_Drawn], effects: dict[str, Cells], contrast: int
) -> tuple[Responses, list[Tests], NDArray[np.bool_]]:
    """Tables of some effects, their tests, and the rungs that can be seen."""
    units = Units.of(compared, list(dict.fromkeys(cell for effect in effects.values() for cell in effect)))
    rows, weights, tested = [], [], []
    for name, effect in effects.items():
        tests = units.tested(effect, contrast)
        rows += _rows(name, tests, units.seen, contrast)
        tested.append(tests)
        weights += [
            {"effect": name, "comparison": compared[i][0].comparison, "group": _SIDES[side], "weight": weight}
            for (i, side), weight in effect.items()
        ]
    tables = [pd.DataFrame(table) for table in (rows, weights)]
    for table in tables:
        table.insert(0, "response", title)
    return Responses(tables[0], tables[1], ()), tested, units.seen


def _response(strata: list[_Drawn], over: _Over, config: ComparisonConfig) -> Responses:
    first, contrast = strata[0][0], config.contrast_place
    control, knockout = first.genotypes
    names = (f"in {control}", f"in {knockout}", f"{knockout} against {control} (interaction)")
    effects = dict(zip(names, effects_of_response(list(over.weights.values())), strict=True))
    title = ", ".join(part for part in (first.model, over.title) if part)
    found, tests, seen = _tested(title, strata, effects, contrast)
    return found._replace(said=(_sentence(title, first, seen, tests, config),))


def _dose(groups: list[tuple[int, CountMatrix, Values | None]], config: ComparisonConfig) -> Responses:
    """The linear trend over the order of dose: the factor of each step. The reference is used once."""
    contrast, both = config.contrast_place, [(m, d) for _, m, d in groups]
    missing = next(iter({*range(len(config.dose))} - {place for place, _, _ in groups}))
    # The reference is the control of every comparison; that of the first is taken.
    cells = [(missing, (0, False)), *((place, (i, True)) for i, (place, _, _) in enumerate(groups))]
    sizes = [int((both[i][0].of_units(both[i][0].knockout) == side).sum()) for _, (i, side) in cells]
    weights = trend([place for place, _ in cells], sizes)
    effect = {cell: weight for (_, cell), weight in zip(cells, weights, strict=True)}
    first = both[0][0]
    title = ", ".join(part for part in (first.model, f"gene dose ({', '.join(config.dose)})", first.stratum) if part)
    found, (tests,), seen = _tested(title, both, {"for each step of dose": effect}, contrast)
    shift = tests.shift
    if not np.isfinite(shift.log_ratio):
        return found._replace(said=(f"{title}: the trend could not be tested.",))
    said = (
        f"{title}: for each {_NAMES[contrast]} follicle, there are {number_of(shift.log_ratio)} times as many "
        f"{later_follicles(contrast, seen)} with each step of dose ({_interval(shift)}; two-sided p = "
        f"{float(shift.p_two_sided):.2g})."
    )
    return found._replace(said=(said,))


def _sentence(
    title: str,
    first: CountMatrix,
    seen: NDArray[np.bool_],
    tests: list[Tests],
    config: ComparisonConfig,
) -> str:
    contrast, (control, knockout) = config.contrast_place, first.genotypes
    shifts, totals = [own.shift for own in tests], [own.later.at(contrast) for own in tests]
    if not all(np.isfinite(effect.log_ratio) for effect in shifts):
        why = "a group has no follicles of these stages"
        if first.batches is not None:
            why += ", or the batches cannot be told from the treatments"
        return f"{title}: the response could not be tested, because {why}."
    p = float(shifts[2].p_two_sided)
    shown = f"{knockout} responds differently" if p <= config.alpha else "no difference in the response is shown"
    by, of_total = ([f"{number_of(one.log_ratio)} ({_interval(one)})" for one in own] for own in (shifts, totals))
    return (
        f"{title}: {shown}. The number of {later_follicles(contrast, seen)} for each {_NAMES[contrast]} follicle is "
        f"multiplied by {by[0]} in {control}, and by {by[1]} in {knockout}. The factor of {knockout} divided "
        f"by that of {control} is {by[2]}, two-sided p = {p:.2g}. In total, they are multiplied by "
        f"{of_total[0]} in {control}, and by {of_total[1]} in {knockout}."
    )


def _interval(effect: Effect) -> str:
    low, high = effect.interval()
    return f"95 % interval {number_of(low)} to {number_of(high)}"
