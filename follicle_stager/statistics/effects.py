"""Rate ratios between two groups of a few animals: zero-safe, with intervals that allow for overdispersion.

A rate is a group's sum of counts divided by its sum of exposures. Half a follicle is added to each sum. For two groups
this is Firth's penalised likelihood (1993, doi 10.1093/biomet/80.1.27), and a group without follicles gives a finite
estimate. Animals differ by more than chance: variances are multiplied by the dispersion of the animals (Pearson, at
least 1), and intervals use Student's t with n - 2 degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: Number of follicles added to each group's sum.
HALF = 0.5
# Largest number of regroupings that are all tested; of more, this many are drawn at random.
_ALL_REGROUPINGS = 20_000


@dataclass(frozen=True)
class Effect:
    """A log ratio of knockout to control.

    Attributes
    ----------
    log_ratio, se, df
        Estimate, standard error and degrees of freedom.
    dispersion
        Dispersion of the animals; 1 if they differ by chance only.
    added
        Whether a group's sum was 0, so that the estimate depends on the added half.
    """

    log_ratio: float
    se: float
    df: float
    dispersion: float
    added: bool

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval of the log ratio."""
        reach = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se
        return self.log_ratio - reach, self.log_ratio + reach

    @property
    def p_lower(self) -> float:
        """One-sided p value: probability of such a low ratio or a lower one without a difference."""
        return float(stats.t.cdf(self.log_ratio / self.se, self.df))

    @property
    def p_two_sided(self) -> float:
        """Two-sided p value."""
        return 2 * min(self.p_lower, 1 - self.p_lower)


def rate_ratio(counts: Values, exposure: Values, knockout: NDArray[np.bool_]) -> Effect:
    """Log rate ratio of knockout to control (quasi-Poisson).

    Parameters
    ----------
    counts, exposure
        Count and exposure of each animal, (n,).
    knockout
        (n,) bool; True for knockouts.
    """
    groups = (knockout, ~knockout)
    sums = np.array([counts[g].sum() for g in groups])
    rates = (sums + HALF) / [exposure[g].sum() for g in groups]
    expected = np.where(knockout, rates[0], rates[1]) * exposure
    dispersion = _dispersion((counts - expected) ** 2 / expected, len(counts) - 2)
    se = float(np.sqrt(dispersion * (1 / (sums + HALF)).sum()))
    return Effect(float(np.log(rates[0] / rates[1])), se, len(counts) - 2, dispersion, bool((sums == 0).any()))


def ratio_of_ratios(
    upper: Values, upper_exposure: Values, lower: Values, lower_exposure: Values, knockout: NDArray[np.bool_]
) -> Effect:
    """Log of (upper/lower in the knockout) / (upper/lower in the control): quasi-binomial, given each animal's sum.

    Factors common to both counts of an animal (its size, the sampled fraction) cancel out.

    Parameters
    ----------
    upper, lower
        Counts of the two stages, (n,).
    upper_exposure, lower_exposure
        Exposures of the two stages, (n,).
    knockout
        (n,) bool; True for knockouts.
    """
    groups = (knockout, ~knockout)
    tops = np.array([upper[g].sum() for g in groups])
    bottoms = np.array([lower[g].sum() for g in groups])
    top_rates = (tops + HALF) / [upper_exposure[g].sum() for g in groups]
    bottom_rates = (bottoms + HALF) / [lower_exposure[g].sum() for g in groups]
    odds = np.where(knockout, top_rates[0] / bottom_rates[0], top_rates[1] / bottom_rates[1])
    odds = odds * upper_exposure / lower_exposure
    share, both = odds / (1 + odds), upper + lower
    seen = both > 0
    pearson = (upper - both * share)[seen] ** 2 / (both * share * (1 - share))[seen]
    df = max(int(seen.sum()) - 2, 1)
    dispersion = _dispersion(pearson, df)
    se = float(np.sqrt(dispersion * (1 / (tops + HALF) + 1 / (bottoms + HALF)).sum()))
    value = float(np.log(top_rates[0] / bottom_rates[0]) - np.log(top_rates[1] / bottom_rates[1]))
    return Effect(value, se, df, dispersion, bool((tops == 0).any() or (bottoms == 0).any()))


def permutation_p(
    statistic: Callable[[NDArray[np.bool_]], float], knockout: NDArray[np.bool_], *, seed: int = 0
) -> tuple[float, bool]:
    """Two-sided p value of a difference, by permuting the animals between the groups.

    Parameters
    ----------
    statistic
        Function that takes a grouping, (n,) bool, and returns a signed difference.
    knockout
        The actual grouping, (n,) bool; True for knockouts.
    seed
        Seed of the random draws, used if there are too many regroupings.

    Returns
    -------
    p : float
        Share of the regroupings with a difference at least as large.
    exact : bool
        Whether all regroupings were tested.
    """
    n, k = len(knockout), int(knockout.sum())
    observed = abs(statistic(knockout)) - 1e-9

    def regrouped(chosen: NDArray[np.intp]) -> float:
        other = np.zeros(n, bool)
        other[chosen] = True
        return abs(statistic(other))

    exact = stats.binom(n, 0.5).pmf(k) * 2.0**n <= _ALL_REGROUPINGS
    if exact:
        ways = [regrouped(np.array(c)) for c in combinations(range(n), k)]
        return float(np.mean([w >= observed for w in ways])), True
    rng = np.random.default_rng(seed)
    drawn = [regrouped(rng.permutation(n)[:k]) for _ in range(_ALL_REGROUPINGS - 1)]
    return float((1 + np.sum([w >= observed for w in drawn])) / _ALL_REGROUPINGS), False


def holm(p: Values) -> Values:
    """Adjusted p values after Holm (1979); NaN stays NaN and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def _dispersion(pearson: Values, df: int) -> float:
    return max(1.0, float(pearson.sum()) / df) if df > 0 else 1.0
