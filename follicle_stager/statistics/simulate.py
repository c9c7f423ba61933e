"""Simulate counts of many studies at once, without rendering images.

Numbers per ovary are those of the virtual ovary (`phantom.GenotypeModel`). Animals differ by log-normal factors, one
for all stages and one for each stage, in both groups around the same median. Sections add a little more than chance
(negative binomial). Every k-th section of an ovary is counted, so a follicle shows its nucleus (T + h)/(k T) times on
average (T section thickness, h height of the nucleus).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.stages import RUNGS, Stage
from follicle_stager.statistics.matrix import CountMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.phantom import GenotypeModel

    Values = NDArray[np.float64]

#: Shape of the gamma factor of each count: sections vary a little more than chance.
SECTIONS = 50.0


@dataclass(frozen=True)
class Spread:
    """How animals differ: standard deviations of logarithms.

    Attributes
    ----------
    animal
        Spread of the factor for all stages of an animal.
    stages
        Spread of the factor for each rung of an animal, (5,).
    """

    animal: float
    stages: tuple[float, ...]


#: Spreads: animals that hardly differ; animals as in published counts; animals that differ widely.
SPREADS = {
    "even": Spread(0.10, (0.08,) * 5),
    "real": Spread(0.25, (0.20, 0.20, 0.25, 0.35, 0.45)),
    "wide": Spread(0.40, (0.40,) * 5),
}


@dataclass(frozen=True)
class Sampling:
    """How much of each animal is counted.

    Attributes
    ----------
    share
        Share of the series of ovaries that is counted.
    uneven
        Whether each animal has 1/3, 2/3 or all of this share, at random.
    """

    share: float = 1.0
    uneven: bool = False


@dataclass(frozen=True)
class Design:
    """The design of a study, and its truth.

    Attributes
    ----------
    ratios
        True rate ratio of knockout to control on each rung, (5,).
    expected
        Follicles counted on each rung of a control animal of which all is counted, (5,); NaN for a rung without counts.
    spread
        How animals differ.
    knockout_spread
        Factor on the spread of knockouts.
    sampling
        How much of each animal is counted.
    wrong_stage
        Share of follicles of each rung that are staged one rung too early or too late, half each.
    shared_sd
        Spread of a factor for each rung that the animals of a litter or batch share.
    shared
        Litter or batch of each animal, numbers from 0; needed with ``shared_sd``.
    """

    ratios: tuple[float, ...]
    expected: tuple[float, ...]
    spread: Spread = SPREADS["real"]
    knockout_spread: float = 1.0
    sampling: Sampling = Sampling()
    wrong_stage: float = 0.0
    shared_sd: float = 0.0
    shared: tuple[int, ...] = ()

    @property
    def blocks(self) -> NDArray[np.bool_]:
        """Whether there truly is a block after each rung, (4,): the next rung and all later ones are lower."""
        ratios = np.array(self.ratios)
        later = np.array([ratios[k + 1 :].max() for k in range(len(ratios) - 1)])
        return np.asarray((ratios[1:] < 0.999 * ratios[:-1]) & (later < 0.999))

    def treated(self, after: int, control: float, knockout: float) -> Design:
        """The same ovaries after a treatment that multiplies the numbers on all rungs after one.

        Parameters
        ----------
        after
            Place of the rung.
        control, knockout
            Factor in each group.
        """
        later = np.arange(len(RUNGS)) > after
        expected = np.where(later, control, 1.0) * self.expected
        ratios = np.where(later, knockout / control, 1.0) * self.ratios
        return replace(self, expected=tuple(expected.tolist()), ratios=tuple(ratios.tolist()))

    def draw(self, studies: int, animals: tuple[int, int], rng: np.random.Generator) -> tuple[Values, Values]:
        """Draw counts and exposures of many studies, (studies, animals, 5) each; controls first.

        Parameters
        ----------
        studies
            Number of studies.
        animals
            Numbers of controls and knockouts.
        rng
            Source of all randomness.
        """
        shape = (studies, sum(animals), len(RUNGS))
        stages = np.array(self.spread.stages) * rng.standard_normal(shape)
        logs = self.spread.animal * rng.standard_normal((*shape[:2], 1)) + stages
        logs *= np.repeat([1.0, self.knockout_spread], animals)[:, None]
        if self.shared_sd:
            effects = self.shared_sd * rng.standard_normal((studies, max(self.shared) + 1, len(RUNGS)))
            logs = logs + effects[:, list(self.shared)]
        counted = rng.choice([1 / 3, 2 / 3, 1.0], (*shape[:2], 1)) if self.sampling.uneven else np.ones((*shape[:2], 1))
        exposure = np.array(np.broadcast_to(self.sampling.share * counted, shape))
        expected = np.nan_to_num(np.array(self.expected, np.float64))
        means = np.repeat([expected, expected * self.ratios], animals, axis=0)
        sections = rng.gamma(SECTIONS, 1 / SECTIONS, shape)
        counts = rng.poisson(means * exposure * np.exp(logs) * sections).astype(np.float64)
        counts = misstaged(counts, self.wrong_stage, rng)
        counts[..., np.isnan(self.expected)] = np.nan
        return counts, exposure


def expected_counts(
    genotype: GenotypeModel, *, ovaries: int = 2, interval: float = 10, thickness_um: float = 5.0
) -> tuple[float, ...]:
    """Expected counts of an animal on each rung, (5,).

    Parameters
    ----------
    genotype
        Ovaries of the genotype.
    ovaries
        Number of ovaries counted per animal.
    interval
        Sampling interval; 10 counts every tenth section.
    thickness_um
        Thickness of a section, µm.
    """
    means = genotype.means()

    def shown(stage: Stage) -> float:
        height = float(np.mean(genotype.stages[stage].nucleus_um))
        return ovaries * (thickness_um + height) / (interval * thickness_um)

    return tuple(sum(means[s] * shown(s) for s in stages if s in means) for stages in RUNGS.values())


def matrix_of(counts: Values, exposure: Values, animals: tuple[int, int]) -> CountMatrix:
    """One drawn study as a matrix."""
    return CountMatrix(
        model="simulated",
        animals=tuple(f"animal {i + 1}" for i in range(len(counts))),
        knockout=np.repeat([False, True], animals),
        counts=counts,
        exposure=exposure,
    )


def misstaged(counts: Values, share: float, rng: np.random.Generator) -> Values:
    """Counts, (..., 5), in which a share of the follicles is staged one rung too early or too late."""
    if not share:
        return counts
    return np.asarray(
        sum(rng.multinomial(counts[..., rung].astype(int), own) for rung, own in enumerate(moves(share))), np.float64
    )


def moves(share: float) -> Values:
    """Probability of each called rung, (true, called), if a share is called one rung too early or too late."""
    n = len(RUNGS)
    called = (1 - share) * np.eye(n) + share / 2 * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.asarray(called / called.sum(axis=1, keepdims=True))
