"""Ratios of knockout to control, tested over animals that may differ in spread, sampling and number.

Each animal has one number: the logarithm of its count per exposure, or the difference between those of two stages. The
groups are compared with Welch's t test, which allows each group its own variance. Half a follicle is added to a count
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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

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
        reach = stats.t.ppf(0.5 + level / 2, self.df) * self.se
        return self.log_ratio - reach, self.log_ratio + reach

    def upper(self, level: float = 0.95) -> Values:
        """Upper end of the one-sided confidence interval; it is below 0 if and only if ``p_lower`` < 1 - level."""
        return np.asarray(self.log_ratio + stats.t.ppf(level, self.df) * self.se)

    def lower(self, level: float = 0.95) -> Values:
        """Lower end of the one-sided confidence interval."""
        return np.asarray(self.log_ratio - stats.t.ppf(level, self.df) * self.se)

    def at(self, place: int) -> Effect:
        """Effects at a place of the last axis."""
        return Effect(self.log_ratio[..., place], self.se[..., place], self.df[..., place], self.few[..., place])

    def only(self, known: NDArray[np.bool_]) -> Effect:
        """The same, but NaN where not ``known``."""
        log_ratio, se, df = (np.where(known, values, np.nan) for values in (self.log_ratio, self.se, self.df))
        return Effect(log_ratio, se, df, self.few)

    @classmethod
    def stacked(cls, effects: Sequence[Effect], axis: int = -1) -> Effect:
        """Join effects along a new axis."""
        log_ratio, se, df = (np.stack([getattr(e, name) for e in effects], axis) for name in ("log_ratio", "se", "df"))
        return cls(log_ratio, se, df, np.stack([e.few for e in effects], axis))

    @property
    def p_upper(self) -> Values:
        """One-sided p value for a higher ratio."""
        return np.asarray(stats.t.sf(self.log_ratio / self.se, self.df))

    @property
    def p_lower(self) -> Values:
        """One-sided p value: probability of such a low ratio or a lower one without a difference."""
        return np.asarray(stats.t.cdf(self.log_ratio / self.se, self.df))

    @property
    def p_two_sided(self) -> Values:
        """Two-sided p value."""
        return np.asarray(2 * np.minimum(self.p_lower, self.p_upper))


class Counted(NamedTuple):
    """Counts and exposures of the animals for one stage, or for several together, (..., n) each."""

    counts: Values
    exposure: Values


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


def rate_ratio(stage: Counted, knockout: NDArray[np.bool_]) -> Effect:
    """Log ratio of the rates (follicles per exposure) of knockout and control.

    Parameters
    ----------
    stage
        Counts and exposures.
    knockout
        Whether each animal is a knockout, (n,) bool; at least two of each group.
    """
    return _compared([(1, stage)], knockout)


def ratio_of_ratios(upper: Counted, lower: Counted, knockout: NDArray[np.bool_]) -> Effect:
    """Log of (upper/lower in the knockout) / (upper/lower in the control).

    What an animal's counts share (its size, how much of it was cut) cancels out.

    Parameters
    ----------
    upper, lower
        Counts and exposures of the two stages.
    knockout
        Whether each animal is a knockout, (n,) bool; at least two of each group.
    """
    return _compared([(1, upper), (-1, lower)], knockout)


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


def _compared(stages: list[tuple[int, Counted]], knockout: NDArray[np.bool_]) -> Effect:
    few = np.any([s.counts[..., g].mean(axis=-1) < LEAST_PER_ANIMAL for _, s in stages for g in _groups(knockout)], 0)
    by_animals, by_sums = (_difference(rule(stages, knockout)) for rule in (_animals, _sums))
    log_ratio, se, df = (np.where(few, b, a) for a, b in zip(by_animals, by_sums, strict=True))
    return Effect(log_ratio, se, df, np.asarray(few))


def _groups(knockout: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return knockout, ~knockout


#: A group's estimate, its variance and the degrees of freedom of the variance.
_Group = tuple["Values", "Values", "Values"]


def _difference(groups: list[_Group]) -> tuple[Values, Values, Values]:
    """Difference of two groups, its standard error, and its degrees of freedom after Welch and Satterthwaite."""
    (a, va, dfa), (b, vb, dfb) = groups
    return a - b, np.sqrt(va + vb), (va + vb) ** 2 / (va**2 / dfa + vb**2 / dfb)


def _animals(stages: list[tuple[int, Counted]], knockout: NDArray[np.bool_]) -> list[_Group]:
    """Mean of the animals' logarithms, for each group."""
    values = np.sum([sign * log_rates(stage) for sign, stage in stages], axis=0)
    groups = []
    for own in _groups(knockout):
        n = own.sum()
        spread = values[..., own].var(axis=-1, ddof=1)
        random = np.sum([_random_variance(s.counts[..., own], s.exposure[..., own]) for _, s in stages], axis=0)
        df = np.where(spread > random, n - 1.0, _DF_OF_RANDOM_COUNTS)
        groups.append((values[..., own].mean(axis=-1), np.maximum(spread, random) / n, df))
    return groups


def _random_variance(counts: Values, exposure: Values) -> Values:
    """Mean variance of the animals' log counts if only chance makes them differ (Poisson)."""
    rate = (counts.sum(axis=-1) + HALF) / exposure.sum(axis=-1)
    return np.asarray((1 / (rate[..., None] * exposure + HALF)).mean(axis=-1))


def _sums(stages: list[tuple[int, Counted]], knockout: NDArray[np.bool_]) -> list[_Group]:
    """Logarithm of each group's sum of counts over its sum of exposures.

    The variance is that of the animals' residuals (linearised; each divided by 1 - leverage, as CR2), at least that of
    random counts.
    """
    groups = []
    for own in _groups(knockout):
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
        groups.append((np.asarray(value), np.maximum(spread, random), df))
    return groups
