"""The verdict in sentences that can be quoted; each claim comes with the interval of the test that it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.decision import rungs_after
from follicle_stager.statistics.effects import LEAST_PER_ANIMAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.decision import Decision, Tests
    from follicle_stager.statistics.effects import Effect
    from follicle_stager.statistics.matrix import CountMatrix

_NAMES = [name.replace("_", " ") for name in RUNGS]
_LAST = len(_NAMES) - 1
_PRIMORDIAL, _GROWING = "as many primordial follicles", "as many growing follicles"
_FEWER_PRIMORDIAL = "There are also fewer primordial follicles"
#: Smallest number of animals per group without a warning.
_FEW_ANIMALS = 4


def sentence_of(matrix: CountMatrix, tests: Tests, decision: Decision, config: ComparisonConfig) -> str:
    """Say the verdict, and what it rests on.

    Parameters
    ----------
    matrix
        Counts of the animals.
    tests, decision
        Its effects, and what they say.
    config
        The question, and limits of the verdict.
    """
    said = _Said(matrix, tests, decision, config)
    rule = {
        "arrest": said.blocks,
        "block": said.blocks,
        "total loss": said.total_loss,
        "loss of the reserve": said.loss_of_the_reserve,
        "acceleration": said.acceleration,
        "accumulation": said.accumulation,
        "depletion": said.depletion,
        "none": said.none,
        "inconclusive": said.inconclusive,
        "not estimable": said.not_estimable,
    }[decision.kind.item()]
    who = ", ".join(part for part in (matrix.genotypes[1], matrix.stratum) if part)
    return f"{who}: {rule()} {_basis(matrix)}"


class _Said:
    """One method for each kind of verdict."""

    def __init__(self, matrix: CountMatrix, tests: Tests, decision: Decision, config: ComparisonConfig) -> None:
        self.matrix, self.tests, self.decision, self.config = matrix, tests, decision, config
        self.control = matrix.genotypes[0]
        self.contrast = config.contrast_place

    def blocks(self) -> str:
        tests, control, parts = self.tests, self.control, list[str]()
        places = [int(k) for k in np.flatnonzero(self.decision.blocks)]
        for k in places:
            also = "there is also " if parts else ""
            many = f"as many {later_follicles(k, self.matrix.seen)}"
            counted = self._counted_after(k)
            # Without any follicle, the estimate is that of half a follicle; its limit is what is known.
            limit = _limit if counted[1] <= 0 else _at_most
            if self.decision.arrest and k == self.contrast:
                claim = f"{'an ' if also else ''}arrest at the {_NAMES[k]} stage (block or delay)"
                ratio = f"for each {_NAMES[k]} follicle there are {limit(tests.shift, many, control)}"
            else:
                claim = f"{'a ' if also else ''}block or delay after the {_NAMES[k]} stage"
                ratio = f"the step to {self._next(k)} is taken {limit(tests.steps.at(k), 'as often', control)}"
            total = f"in total {limit(tests.later.at(k), many)}"
            what = _capital(later_follicles(k, self.matrix.seen))
            groups = f"{counted[0]:.0f} in {control}, {counted[1]:.0f} in {self.matrix.genotypes[1]}"
            how = "counted" if self.matrix.sampling is None else "estimated"
            parts.append(f"{also}{claim}: {ratio}, and {total}. {what} {how}: {groups}.")
        first = tests.rungs.at(places[0])
        if first.p_lower <= self.config.alpha:
            start = f"Fewer follicles also reach the {_NAMES[places[0]]} stage" if places[0] else _FEWER_PRIMORDIAL
            parts.append(f"{start}: {_at_most(first, 'as many')}.")
        return " ".join([parts[0], *map(_capital, parts[1:])])

    def _counted_after(self, k: int) -> tuple[float, float]:
        """How many follicles after rung k were counted in the controls and in the knockouts."""
        after = rungs_after(k, self.matrix.seen)
        own = self.matrix.knockout
        return float(self.matrix.counts[~own][:, after].sum()), float(self.matrix.counts[own][:, after].sum())

    def total_loss(self) -> str:
        return f"total loss: there are {self._reserve_and_growing()}."

    def loss_of_the_reserve(self) -> str:
        primordial = _at_most(self.tests.rungs.at(0), _PRIMORDIAL, self.control)
        return f"loss of the reserve: there are {primordial}. Growing follicles: {_between(self.tests.growing)}."

    def acceleration(self) -> str:
        tests = self.tests
        if self.decision.activated:
            return (
                f"acceleration: there are {_at_most(tests.rungs.at(0), _PRIMORDIAL, self.control)}, and "
                f"{_at_least(tests.growing, _GROWING)}. More follicles leave the reserve."
            )
        k = int(np.nanargmin(np.where(self.decision.faster, tests.steps.p_upper, np.nan)))
        return (
            f"acceleration: the step from {_NAMES[k]} to {self._next(k)} is taken "
            f"{_at_least(tests.steps.at(k), 'as often', self.control)}. Follicles pass through the {_NAMES[k]} stage "
            "faster, or fewer are there for another reason. No block is shown."
        )

    def accumulation(self) -> str:
        tests = self.tests
        k = int(np.nanargmin(np.where(self.decision.waiting, tests.rungs.p_upper[:-1], np.nan)))
        many = _at_least(tests.rungs.at(k), f"as many {_NAMES[k]} follicles", self.control)
        later, p = tests.later.at(k), float(self.decision.p_claims[k])
        if p <= self.config.alpha:
            why = "not every later stage is lower"
        elif later.p_lower <= self.config.alpha:
            why = f"corrected for the other stages, its p is {p:.2g}"
        else:
            why = "later follicles are not shown to be fewer"
        return (
            f"accumulation at the {_NAMES[k]} stage: there are {many}, and a smaller share of them goes on. All "
            f"follicles after this stage: {_between(later)}. No block is shown, because {why}."
        )

    def depletion(self) -> str:
        fewer, seen = self._reserve_and_growing(), np.isfinite(self.tests.rungs.log_ratio).all()
        tested = np.isfinite(self.tests.steps.log_ratio).any()
        where = "at all stages" + ("" if seen else " that can be seen")
        steps = "differs significantly" if tested else "could be tested"
        return f"depletion: there are fewer follicles {where}: {fewer}. No step {steps}."

    def none(self) -> str:
        ratio = self.config.equivalence_ratio
        return (
            f"no block is found; {self._steps()} is taken between 1/{ratio:g} and {ratio:g} times as often as in "
            f"{self.control} (all 90 % intervals lie within these limits; smaller differences are possible)."
        )

    def inconclusive(self) -> str:
        tests, alpha, what = self.tests, self.config.alpha, later_follicles(self.contrast, self.matrix.seen)
        found = []
        if tests.shift.p_lower <= alpha:
            found.append(f"for each {_NAMES[self.contrast]} follicle, {_at_most(tests.shift, 'as many')}")
        if tests.later.at(self.contrast).p_lower <= alpha:
            found.append(f"in total, {_at_most(tests.later.at(self.contrast), 'as many')}")
        elif not found and tests.growing.p_lower <= alpha:
            what = "growing follicles"
            found.append(f"in total, {_at_most(tests.growing, 'as many')}")
        said = "inconclusive: no arrest, block or other pattern is shown, and none is excluded."
        if found:
            claimed = (np.asarray(self.decision.p_claims) <= alpha).any()
            why = "Not every later stage is lower." if claimed else "This alone is no block."
            said += f" There may be fewer {what}: {'; '.join(found)}. {why}"
        return f"{said} Count more animals or sections."

    def not_estimable(self) -> str:
        if not self.matrix.enough:
            controls, knockouts = self.matrix.group_sizes
            return (
                f"not estimable with {knockouts} {self.matrix.genotypes[1]} and {controls} {self.control} animals; at "
                "least two of each are needed, of different litters."
            )
        return "not estimable, as no two neighbouring stages have follicles in both groups."

    def _next(self, k: int) -> str:
        """Name of the rung to which the step from rung k leads."""
        return _NAMES[rungs_after(k, self.matrix.seen)[0]]

    def _steps(self) -> str:
        known = int(np.isfinite(self.tests.steps.log_ratio).sum())
        return "every step" if known == _LAST else f"each of the {known} steps that could be tested"

    def _reserve_and_growing(self) -> str:
        parts = [(self.tests.rungs.at(0), _PRIMORDIAL), (self.tests.growing, _GROWING)]
        there = [(effect, what) for effect, what in parts if np.isfinite(effect.log_ratio)]
        return " and ".join(_at_most(effect, what, "" if i else self.control) for i, (effect, what) in enumerate(there))


def warnings_of(matrix: CountMatrix, tests: Tests, config: ComparisonConfig) -> tuple[str, ...]:
    """Say what limits the verdict: few animals, steps without a test, stages that the counting rule has emptied."""
    n, enough = min(matrix.group_sizes), matrix.enough
    said = list(matrix.notes)
    if enough and n < _FEW_ANIMALS:
        said.append(f"{n} animals in a group: four or more are advised, as few give uncertain intervals.")
    seen = matrix.seen
    unseen = [name for name, there in zip(_NAMES, seen, strict=True) if not there]
    if unseen:
        by_hand = matrix.profiles is None and matrix.sampling is None
        why = "were not counted in every animal" if by_hand else "cannot be seen on all of these slides"
        said.append(f"Left out, because they {why}: {', '.join(unseen)}.")
    steps = [(int(k), rungs_after(int(k), seen)[0]) for k in np.flatnonzero(np.isnan(tests.steps.log_ratio))]
    missing = [f"{_NAMES[k]} to {_NAMES[to]}" for k, to in steps if seen[k] and seen[to]]
    if missing and enough and matrix.sampling is not None:
        said.append(f"Not estimable from the audit: {', '.join(missing)}.")
    elif missing and enough:
        said.append(f"Not estimable, because a group has no counted follicles of these stages: {', '.join(missing)}.")
    if np.isnan(tests.shift.log_ratio) and enough:
        stage = config.contrast.replace("_", " ")
        said.append(f"The question, an arrest at the {stage} stage, could not be tested.")
    if matrix.sampling is not None:
        return tuple(said)
    profiles = np.zeros_like(matrix.counts) if matrix.profiles is None else matrix.profiles
    for group, own in zip(matrix.genotypes, (~matrix.knockout, matrix.knockout), strict=True):
        emptied = np.flatnonzero((matrix.counts[own].sum(axis=0) == 0) & (profiles[own].sum(axis=0) > 0))
        if len(emptied):
            numbers = ", ".join(f"{_NAMES[k]} ({profiles[own, k].sum():.0f})" for k in emptied)
            said.append(
                f"{group}: outlines of these stages were found, but none shows the nucleus of its oocyte, so they "
                f"count as 0: {numbers}."
            )
    return (*said, *_too_few_countable(matrix))


def _too_few_countable(matrix: CountMatrix) -> list[str]:
    """Advice where few antral follicles are counted in all animals together: it does not depend on the groups."""
    counts, later = matrix.counts[:, _LAST - 1 :], matrix.seen[_LAST - 1 :]
    if matrix.profiles is None or not later.any() or np.array_equal(matrix.counts, matrix.profiles, equal_nan=True):
        return []
    n, outlines = (float(np.nansum(table[:, later])) for table in (counts, matrix.profiles[:, _LAST - 1 :]))
    if n >= LEAST_PER_ANIMAL * len(matrix.animals) or outlines <= n:
        return []
    return [
        f"In all animals together, only {n:.0f} of {outlines:.0f} outlines of antral follicles show the nucleus of the "
        "oocyte. Count more sections. In a new study, you can also decide beforehand to compare outlines per section "
        "(option --count profiles)."
    ]


def _basis(matrix: CountMatrix) -> str:
    """How many follicles and which animals the verdict rests on."""
    counted = matrix.audited or f"{np.nansum(matrix.counts):.0f} counted follicles"
    if matrix.profiles is not None:
        counted = f"{np.nansum(matrix.profiles):.0f} staged outlines, {np.nansum(matrix.counts):.0f} of them counted,"
    groups = []
    for group, own in zip(matrix.genotypes, (~matrix.knockout, matrix.knockout), strict=True):
        names = [animal for animal, there in zip(matrix.animals, own, strict=True) if there]
        groups.append(f"{len(names)} {group} ({', '.join(names)})")
    return f"Based on {counted} of {' and '.join(groups)}."


def later_follicles(k: int, seen: NDArray[np.bool_]) -> str:
    """Name of the follicles after rung k, of those rungs that are seen."""
    after = rungs_after(k, seen)
    if len(after) == 1:
        return f"{_NAMES[after[0]]} follicles"
    return {0: "growing follicles", _LAST - 2: "antral follicles of all kinds"}.get(k, "later follicles")


def _at_most(effect: Effect, what: str, control: str = "") -> str:
    """A ratio that is lower, with the upper end of its one-sided interval."""
    return f"{_times(effect.log_ratio, what, control)} (at most {number_of(effect.upper())}; one-sided 95 % limit)"


def _limit(effect: Effect, what: str, control: str = "") -> str:
    """Only the upper end of the one-sided interval of a ratio."""
    return f"at most {_times(effect.upper(), what, control)} (one-sided 95 % limit)"


def _at_least(effect: Effect, what: str, control: str = "") -> str:
    """A ratio that is higher, with the lower end of its one-sided interval."""
    return f"{_times(effect.log_ratio, what, control)} (at least {number_of(effect.lower())}; one-sided 95 % limit)"


def _times(log_ratio: NDArray[np.float64], what: str, control: str) -> str:
    return f"{number_of(log_ratio)} times {what}" + (f" as in {control}" if control else "")


def _between(effect: Effect) -> str:
    low, high = effect.interval()
    return f"{number_of(effect.log_ratio)} times as many, 95 % interval {number_of(low)} to {number_of(high)}"


def number_of(log_ratio: NDArray[np.float64]) -> str:
    """A ratio with two digits that count, or two decimals."""
    value = float(np.exp(log_ratio))
    return f"{value:.2f}" if 0.095 <= value < 100 else f"{value:.2g}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
