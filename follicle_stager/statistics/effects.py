"""Ratios of knockout to control, tested over animals that may differ in spread, sampling and number.

Each animal has one number: the logarithm of its count per exposure, or the difference between those of two stages. The
groups are compared with Welch's t test, which allows each group its own variance (`Layout` says how it is extended to
more groups, batches and litters). Half a follicle is added to a count
where all animals stand on one scale, that of the mean exposure: added to the counts as they are, it would pull the
animals of which less was cut more than the others. A variance is not taken to be smaller than that of random counts
(Poisson) with the rate of the group.

Where a group has few follicles per animal, logarithms of single animals are biased. There, the sums of the groups are
compared instead, again with half a follicle added: for two groups, Firth's penalised likelihood (1993,
doi:10.1093/biomet/80.1.27). So a group without follicles has a finite ratio, with an interval that is long.

docs/statistics.md shows how often the tests err, beside those that were tried. All functions work on many studies at
once: counts have the shape (..., n animals), effects the shape (...).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: Number of follicles added to counts and sums.
HALF = 0.5
#: Smallest mean count per animal of both groups for logarithms of single animals; below it, sums are compared.
LEAST_PER_ANIMAL = 3.0
# Degrees of freedom of a variance that is that of random counts: it is not estimated from the few animals.
_DF_OF_RANDOM_COUNTS = 60.0


@dataclass(frozen=True)
class Effect:
    """Log ratios of knockout to control, each array of shape (...); NaN where nothing can be estimated.

    Attributes
    ----------
    log_ratio, se, df
        Estimate, standard error and degrees of freedom.
    few
        Whether the sums of the groups were compared, because a group has few follicles per animal.
    """

    log_ratio: Values
    se: Values
    df: Values
    few: NDArray[np.bool_]

    def interval(self, level: float = 0.95) -> tuple[Values, Values]:
        """Two-sided confidence interval of the log ratio."""
        reach = stdtrit(self.df, 0.5 + level / 2) * self.se
        return self.log_ratio - reach, self.log_ratio + reach

    def upper(self, level: float = 0.95) -> Values:
        """Upper end of the one-sided confidence interval; it is below 0 if and only if ``p_lower`` < 1 - level."""
        return np.asarray(self.log_ratio + stdtrit(self.df, level) * self.se)

    def lower(self, level: float = 0.95) -> Values:
        """Lower end of the one-sided confidence interval."""
        return np.asarray(self.log_ratio - stdtrit(self.df, level) * self.se)

    def at(self, place: int) -> Effect:
        """Effects at a place of the last axis."""
        return Effect(self.log_ratio[..., place], self.se[..., place], self.df[..., place], self.few[..., place])

    def only(self, known: NDArray[np.bool_]) -> Effect:
        """The same, but NaN where not ``known``."""
        log_ratio, se, df = (np.where(known, values, np.nan) for values in (self.log_ratio, self.se, self.df))
        return Effect(log_ratio, se, df, self.few)

    @property
    def p_upper(self) -> Values:
        """One-sided p value for a higher ratio."""
        return np.asarray(stdtr(self.df, -self.log_ratio / self.se))

    @property
    def p_lower(self) -> Values:
        """One-sided p value: probability of such a low ratio or a lower one without a difference."""
        return np.asarray(stdtr(self.df, self.log_ratio / self.se))

    @property
    def p_two_sided(self) -> Values:
        """Two-sided p value."""
        return np.asarray(2 * np.minimum(self.p_lower, self.p_upper))


class Counted(NamedTuple):
    """Counts and exposures of the animals for one stage, or for several together, (..., n) each."""

    counts: Values
    exposure: Values


@dataclass(frozen=True)
class Layout:
    """Which animals are compared, and what is held constant.

    The logarithms are fitted by least squares: a mean for each group, and effects of the columns ``beside``. Each group
    has a variance of its own, from its residuals. With two groups and nothing beside them, this is Welch's t test. With
    ``pairs``, the differences between the two groups of each litter are used instead: a paired t test.

    Attributes
    ----------
    groups
        Animals of each group, (n,) bool each.
    weights
        Weights of the means of the groups: 1 and -1 for a difference.
    beside
        Columns that are held constant: batches, covariates, (n, q).
    pairs
        Litter of each animal, (n,); one animal of each group in each. None if animals are not paired.
    """

    groups: tuple[NDArray[np.bool_], ...]
    weights: tuple[float, ...] = (1.0, -1.0)
    beside: Values | None = None
    pairs: NDArray[np.int_] | None = None

    @cached_property
    def _differences(self) -> Values:
        """Numbers that are fitted, as sums over the animals: (numbers, n)."""
        n = len(self.groups[0])
        if self.pairs is None:
            return np.eye(n)
        signs = np.where(self.groups[0], 1.0, -1.0)
        return np.asarray((self.pairs == np.unique(self.pairs)[:, None]) * signs)

    @cached_property
    def _strata(self) -> tuple[NDArray[np.bool_], ...]:
        """Numbers that share a variance."""
        return self.groups if self.pairs is None else (np.ones(len(self._differences), bool),)

    @cached_property
    def _fit(self) -> tuple[Values, Values]:
        """Weights of the numbers in the estimate, (numbers,), and the matrix that makes their residuals.

        The weights are NaN if the groups cannot be told from the columns beside them.
        """
        columns = [*map(np.float64, self._strata)]
        if self.beside is not None:
            columns += list((self._differences @ self.beside).T)
        design = np.column_stack(columns)
        inverse = np.linalg.pinv(design)
        weights = [*(self.weights if self.pairs is None else (1.0,)), *[0.0] * (len(columns) - len(self._strata))]
        in_estimate = np.asarray(weights @ inverse)
        if not np.allclose(in_estimate @ design, weights):
            in_estimate = np.full_like(in_estimate, np.nan)
        return in_estimate, np.eye(len(design)) - design @ inverse

    @property
    def free(self) -> list[float]:
        """Degrees of freedom of the variance of each group."""
        return [float(np.diag(self._fit[1])[own].sum()) for own in self._strata]

    def fitted(self, values: Values, random: Values) -> tuple[Values, Values, Values]:
        """Estimate, standard error, and degrees of freedom after Welch and Satterthwaite.

        Parameters
        ----------
        values
            Logarithms of the animals, (..., n).
        random
            Their variances if only chance makes animals of a group differ, (..., n); a variance is not taken to be
            smaller.
        """
        weights, residuals = self._fit
        numbers, least = values @ self._differences.T, random @ (self._differences**2).T
        apart = (numbers @ residuals) ** 2
        parts = []
        for own, free in zip(self._strata, self.free, strict=True):
            spread, chance = apart[..., own].sum(axis=-1) / free, least[..., own].mean(axis=-1)
            df = np.where(spread > chance, free, _DF_OF_RANDOM_COUNTS)
            parts.append((np.maximum(spread, chance) * (weights[own] ** 2).sum(), df))
        return _with_satterthwaite(numbers @ weights, parts)


def two_groups(knockout: NDArray[np.bool_]) -> Layout:
    """Knockouts, (n,) bool, against the other animals."""
    return Layout((knockout, ~knockout))


def together(counts: Values, exposure: Values, rungs: Sequence[int]) -> Counted:
    """Add up several rungs. Their exposures differ by the height of nuclei; the mean is weighted by their rates.

    Parameters
    ----------
    counts, exposure
        Counts and exposures, (..., n animals, 5 rungs).
    rungs
        Places of the rungs.
    """
    counts, exposure = counts[..., rungs], exposure[..., rungs]
    rates = (counts.sum(axis=-2, keepdims=True) + HALF) / exposure.sum(axis=-2, keepdims=True)
    weights = rates / rates.sum(axis=-1, keepdims=True)
    return Counted(counts.sum(axis=-1), (weights * exposure).sum(axis=-1))


def rate_ratio(stage: Counted, layout: Layout) -> Effect:
    """Log ratio of the rates (follicles per exposure) of knockout and control.

    Parameters
    ----------
    stage
        Counts and exposures.
    layout
        The groups; at least two animals of each.
    """
    return _compared([(1, stage)], layout)


def ratio_of_ratios(upper: Counted, lower: Counted, layout: Layout) -> Effect:
    """Log of (upper/lower in the knockout) / (upper/lower in the control).

    What an animal's counts share (its size, how much of it was cut) cancels out.

    Parameters
    ----------
    upper, lower
        Counts and exposures of the two stages.
    layout
        The groups; at least two animals of each.
    """
    return _compared([(1, upper), (-1, lower)], layout)


def log_rates(stage: Counted) -> Values:
    """Log count of each animal on the scale of the mean exposure, with half a follicle added, (..., n)."""
    counts, exposure = stage
    return np.asarray(np.log(counts / exposure * exposure.mean(axis=-1, keepdims=True) + HALF))


def holm(p: Values, weights: Sequence[float] | None = None) -> Values:
    """Adjusted p values after Holm (1979), with weights if given; NaN stays NaN and does not count.

    Parameters
    ----------
    p
        p values, (..., m).
    weights
        Weight of each hypothesis, (m,); the larger, the easier it is rejected. Equal by default.
    """
    p = np.asarray(p, np.float64)
    share = np.broadcast_to(np.ones(p.shape[-1]) if weights is None else np.asarray(weights, np.float64), p.shape)
    share = np.where(np.isfinite(p), share, 0.0)
    order = np.argsort(np.where(share > 0, p / np.where(share > 0, share, 1), np.inf), axis=-1)
    ranked, own = np.take_along_axis(p, order, -1), np.take_along_axis(share, order, -1)
    left = np.flip(np.cumsum(np.flip(own, -1), axis=-1), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        raised = np.where(own > 0, ranked * left / own, np.nan)
    adjusted = np.minimum(np.maximum.accumulate(np.where(own > 0, raised, -np.inf), axis=-1), 1.0)
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.where(own > 0, adjusted, np.nan), -1)
    return out


def _compared(stages: list[tuple[int, Counted]], layout: Layout) -> Effect:
    few = np.any([s.counts[..., g].mean(axis=-1) < LEAST_PER_ANIMAL for _, s in stages for g in layout.groups], 0)
    by_animals, by_sums = (rule(stages, layout) for rule in (_animals, _sums))
    log_ratio, se, df = (np.where(few, b, a) for a, b in zip(by_animals, by_sums, strict=True))
    return Effect(log_ratio, se, df, np.asarray(few))


def _with_satterthwaite(estimate: Values, parts: list[tuple[Values, Values]]) -> tuple[Values, Values, Values]:
    """Estimate, standard error and degrees of freedom, from parts of its variance with degrees of freedom each."""
    variance = np.sum([v for v, _ in parts], axis=0)
    return estimate, np.sqrt(variance), np.asarray(variance**2 / np.sum([v**2 / df for v, df in parts], axis=0))


def _animals(stages: list[tuple[int, Counted]], layout: Layout) -> tuple[Values, Values, Values]:
    """Compare the animals' logarithms."""
    values = np.sum([sign * log_rates(stage) for sign, stage in stages], axis=0)
    random = np.zeros(values.shape)
    for _, stage in stages:
        for own in layout.groups:
            random[..., own] += _random_variance(stage.counts[..., own], stage.exposure[..., own])
    return layout.fitted(values, random)


def _random_variance(counts: Values, exposure: Values) -> Values:
    """Variances of the animals' log counts if only chance makes animals of a group differ (Poisson)."""
    rate = (counts.sum(axis=-1) + HALF) / exposure.sum(axis=-1)
    return np.asarray(1 / (rate[..., None] * exposure + HALF))


def _sums(stages: list[tuple[int, Counted]], layout: Layout) -> tuple[Values, Values, Values]:
    """Compare each group's sum of counts over its sum of exposures (logarithms).

    The variance is that of the animals' residuals (linearised; each divided by 1 - leverage, as CR2), at least that of
    random counts.
    """
    estimate: Values | float = 0.0
    parts = []
    for own, weight in zip(layout.groups, layout.weights, strict=True):
        value, random, residuals = 0.0, 0.0, 0.0
        for sign, stage in stages:
            counts, exposure = stage.counts[..., own], stage.exposure[..., own]
            total, all_exposure = counts.sum(axis=-1) + HALF, exposure.sum(axis=-1)
            expected = (total / all_exposure)[..., None] * exposure
            value = value + sign * np.log(total / all_exposure)
            random = random + 1 / total
            residuals = residuals + sign * (counts - expected) / total[..., None]
        upper = stages[0][1].exposure[..., own]
        leverage = upper / upper.sum(axis=-1, keepdims=True)
        spread = (residuals**2 / (1 - leverage)).sum(axis=-1)
        effective = np.maximum(1 / (leverage**2).sum(axis=-1) - 1, 1.0)
        df = np.where(spread > random, effective, _DF_OF_RANDOM_COUNTS)
        estimate = estimate + weight * value
        parts.append((weight**2 * np.maximum(spread, random), df))
    return _with_satterthwaite(np.asarray(estimate), parts)
