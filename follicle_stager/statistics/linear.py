"""Ratios of audited counts, on the linear scale: Fieller's interval over animals.

An audited count is an estimate: it is not a whole number, has a sampling error, and may be zero or negative, so it has
no logarithm. The hypothesis *the ratio is r* is therefore tested as *the difference between the knockouts and r times
the controls is zero*, by Welch's t test over animals (or paired, or with batches held constant: see `effects.Layout`).
The interval holds all ratios that are not rejected (Fieller 1954). If the control's mean is uncertain, it has no upper
end, and then the audit is too small to say more. For ratios of ratios, the difference is the cross product of the
means.

Animals are the primary sampling units of two-stage sampling: the spread of their estimates contains the sampling errors
of their fields. A variance is not taken to be smaller than that of random counts with such sampling errors, if the
hypothesis is true. So a group in which nothing was found has an interval that is long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from follicle_stager.statistics.effects import HALF, Effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.statistics.effects import Layout

    Values = NDArray[np.float64]

# A ratio above this limit is not told from infinity, nor one below its inverse from 0.
_LARGEST = 1e3
_HALVINGS = 40


class Estimated(NamedTuple):
    """Estimated counts of the animals for one stage, their chance variances, and exposures, (..., n) each.

    The variances are those of animals that do not differ: of random counts, and of the sampling of fields.
    """

    counts: Values
    chance: Values
    exposure: Values


@dataclass(frozen=True)
class LinearEffect(Effect):
    """An `Effect` whose tests and intervals are Fieller's; ``log_ratio``, ``se`` and ``df`` describe it.

    Attributes
    ----------
    layout
        The groups.
    above, below
        Numerator and denominator of the animals.
    """

    layout: Layout
    above: Estimated
    below: Estimated

    @property
    def ratio(self) -> Values:
        """The ratio; 0 if its estimate is not positive."""
        return np.where(self.log_ratio <= -np.log(_LARGEST), 0.0, np.exp(self.log_ratio))

    @classmethod
    def of(cls, above: Estimated, below: Estimated, layout: Layout) -> LinearEffect:
        """Compare the ratio of two stages, or of a stage and its exposure, between the groups."""
        unknown = np.zeros(np.broadcast_shapes(above.counts.shape, below.counts.shape)[:-1])
        effect = cls(unknown, unknown, unknown, unknown > 0, layout, above, below)
        at_one, at_two = (effect._fitted(unknown + ratio)[0] for ratio in (1, 2))
        bottom = at_one - at_two  # the difference is linear in the ratio
        top = at_one + bottom
        # If only the denominator is not positive, the ratio is as large as it can be; if both are not, there is none.
        positive = bottom > 0
        ratio = np.where(positive, top / np.where(positive, bottom, 1.0), np.where(top > 0, _LARGEST, np.nan))
        ratio = np.clip(ratio, 1 / _LARGEST, _LARGEST)
        _, se, df = effect._fitted(ratio)
        with np.errstate(invalid="ignore", divide="ignore"):
            return replace(effect, log_ratio=np.log(ratio), se=se / np.abs(ratio * bottom), df=df)

    def _fitted(self, ratio: Values) -> tuple[Values, Values, Values]:
        """Difference that is zero if this is the ratio, its standard error and degrees of freedom, (...) each.

        With means U and L of numerator and denominator, knockout 1 and control 0, it is U1 L0 - r U0 L1. Each animal
        takes part by its own U or L.
        """
        knockout, r = self.layout.groups[0], np.asarray(ratio)[..., None]
        (u1, u0), (l1, l0) = (_means(side.counts, self.layout) for side in (self.above, self.below))
        upper, lower = self.above.counts, self.below.counts
        half = (u1 * l0 - r * u0 * l1) / 2
        values = np.where(knockout, l0 * upper - r * u0 * lower - half, r * l1 * upper - u1 * lower + half)
        factor = r * np.divide(l1, l0, out=np.ones(np.shape(l1)), where=l0 > 0)
        of_upper, of_lower = self._chance_if(factor), self.below.chance
        chance = np.where(
            knockout,
            l0**2 * of_upper + (r * u0) ** 2 * of_lower,
            (r * l1) ** 2 * of_upper + u1**2 * of_lower,
        )
        with np.errstate(invalid="ignore"):  # nothing in any animal: there is no ratio
            return self.layout.fitted(values, chance)

    def _chance_if(self, factor: Values) -> Values:
        """Chance variances of the numerator if it is ``factor`` times as large in the knockouts, (..., n)."""
        knockout, chance = self.layout.groups[0], self.above.chance
        scale = np.where(knockout, factor, 1.0)
        return np.asarray(chance.sum(axis=-1, keepdims=True) / scale.sum(axis=-1, keepdims=True) * scale)

    def _t(self, ratio: Values) -> tuple[Values, Values]:
        """Statistic and degrees of freedom of the test of a ratio, (...)."""
        difference, se, df = self._fitted(ratio)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.isfinite(self.log_ratio), difference / se, np.nan), df

    def _end(self, share: float, outward: float) -> Values:
        """Logarithm of one end of the interval; infinite if no ratio on this side is rejected."""

        def rejected(log_ratio: Values) -> NDArray[np.bool_]:
            t, df = self._t(np.exp(log_ratio))
            return np.asarray(-outward * t > stdtrit(df, 1 - share))

        inside, outside = self.log_ratio, np.full(self.log_ratio.shape, outward * np.log(_LARGEST))
        bounded = rejected(outside)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            out = rejected(middle)
            inside, outside = np.where(out, inside, middle), np.where(out, middle, outside)
        return np.where(np.isfinite(self.log_ratio), np.where(bounded, outside, outward * np.inf), np.nan)

    def interval(self, level: float = 0.95) -> tuple[Values, Values]:
        """Two-sided confidence interval of the log ratio; an end may be infinite."""
        return self._end((1 - level) / 2, -1.0), self._end((1 - level) / 2, 1.0)

    def upper(self, level: float = 0.95) -> Values:
        """Upper end of the one-sided confidence interval."""
        return self._end(1 - level, 1.0)

    def lower(self, level: float = 0.95) -> Values:
        """Lower end of the one-sided confidence interval."""
        return self._end(1 - level, -1.0)

    @property
    def p_upper(self) -> Values:
        """One-sided p value for a higher ratio."""
        t, df = self._t(np.ones_like(self.log_ratio))
        return np.asarray(stdtr(df, -t))

    @property
    def p_lower(self) -> Values:
        """One-sided p value for a lower ratio."""
        t, df = self._t(np.ones_like(self.log_ratio))
        return np.asarray(stdtr(df, t))

    def at(self, place: int) -> LinearEffect:
        """Effects at a place of the last axis."""
        plain = Effect.at(self, place)
        above, below = (Estimated(*(x[..., place, :] for x in side)) for side in (self.above, self.below))
        return LinearEffect(plain.log_ratio, plain.se, plain.df, plain.few, self.layout, above, below)

    def only(self, known: NDArray[np.bool_]) -> LinearEffect:
        """The same, but NaN where not ``known``."""
        log_ratio, se, df = (np.where(known, values, np.nan) for values in (self.log_ratio, self.se, self.df))
        return replace(self, log_ratio=log_ratio, se=se, df=df)


def _means(values: Values, layout: Layout) -> list[Values]:
    """Means of knockout and control, (..., 1) each."""
    return [values[..., own].mean(axis=-1, keepdims=True) for own in layout.groups]


def estimated(counts: Values, exposure: Values, sampling: Values, layout: Layout) -> list[Estimated]:
    """Estimated counts of each rung, with chance variances.

    Parameters
    ----------
    counts, exposure
        Estimated counts and exposures, (..., n, rungs).
    sampling
        Variances of the sampling errors of the counts, (..., n, rungs).
    layout
        The groups.
    """
    random = np.zeros(counts.shape)
    for own in layout.groups:
        rate = counts[..., own, :].sum(axis=-2, keepdims=True) / exposure[..., own, :].sum(axis=-2, keepdims=True)
        random[..., own, :] = np.maximum(rate, 0.0) * exposure[..., own, :]
    chance = random + sampling
    return [Estimated(counts[..., k], chance[..., k], exposure[..., k]) for k in range(counts.shape[-1])]


def rate_ratio(stage: Estimated, layout: Layout) -> LinearEffect:
    """Ratio of the rates (follicles per exposure) of knockout and control."""
    return LinearEffect.of(stage, Estimated(stage.exposure, np.zeros_like(stage.chance), stage.exposure), layout)


def ratio_of_ratios(upper: Estimated, lower: Estimated, layout: Layout) -> LinearEffect:
    """(upper/lower in the knockout) / (upper/lower in the control)."""
    scale = upper.exposure / lower.exposure  # counts of the lower stage as they would be with the other exposures
    return LinearEffect.of(upper, Estimated(lower.counts * scale, lower.chance * scale**2, upper.exposure), layout)


def together(stages: Sequence[Estimated]) -> Estimated:
    """Add up several rungs; their exposures are weighted by their rates, see `effects.together`."""
    counts, chance, exposure = (np.stack(x, axis=-1) for x in zip(*stages, strict=True))
    rates = np.maximum(counts.sum(axis=-2, keepdims=True), 0.0) + HALF
    rates = rates / exposure.sum(axis=-2, keepdims=True)
    weights = rates / rates.sum(axis=-1, keepdims=True)
    return Estimated(counts.sum(axis=-1), chance.sum(axis=-1), (weights * exposure).sum(axis=-1))
