"""Simulate counts of animals from the virtual ovary's animal model, without rendering images.

Numbers per ovary follow `phantom.GenotypeModel`: means per stage with block and depletion applied, a factor for each
animal (``animal_cv``), and one for each stage of an animal (``stage_cv``). Every k-th section of an ovary is counted,
so a follicle shows its nucleus (T + h)/(k T) times on average (T section thickness, h height of the nucleus).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.matrix import CountMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.phantom import GenotypeModel


def simulate_matrix(
    control: GenotypeModel,
    knockout: GenotypeModel,
    rng: np.random.Generator,
    *,
    animals: tuple[int, int] = (4, 4),
    ovaries: int = 2,
    interval: int = 10,
    thickness_um: float = 5.0,
) -> CountMatrix:
    """Draw the counts of one study.

    Parameters
    ----------
    control, knockout
        The genotypes.
    rng
        Source of all randomness.
    animals
        Numbers of controls and knockouts.
    ovaries
        Number of ovaries counted per animal.
    interval
        Sampling interval; 10 counts every tenth section.
    thickness_um
        Thickness of a section, µm.
    """
    seen = {
        name: [(stage, _shown(control, stage, interval, thickness_um)) for stage in stages if stage in control.stages]
        for name, stages in RUNGS.items()
    }
    rows = []
    for genotype, n in zip((control, knockout), animals, strict=True):
        means = genotype.means()
        for _ in range(n):
            own = _factor(rng, genotype.animal_cv)
            expected = [
                sum(means[stage] * shown * _factor(rng, genotype.stage_cv) for stage, shown in stages)
                for stages in seen.values()
            ]
            rows.append(rng.poisson(own * ovaries * np.array(expected)))
    is_knockout = np.repeat([False, True], animals)
    return CountMatrix(
        model="simulated",
        animals=tuple(f"animal {i + 1}" for i in range(len(rows))),
        knockout=is_knockout,
        counts=np.array(rows, dtype=np.float64),
        exposure=np.ones((len(rows), len(RUNGS))),
    )


def _shown(genotype: GenotypeModel, stage: object, interval: int, thickness_um: float) -> float:
    """Expected number of sections in which a follicle of a stage is counted."""
    height = float(np.mean(genotype.stages[stage].nucleus_um))  # type: ignore[index]
    return (thickness_um + height) / (interval * thickness_um)


def _factor(rng: np.random.Generator, cv: float) -> float:
    """Gamma variate with mean 1."""
    return float(rng.gamma(1 / cv**2, cv**2)) if cv else 1.0


def chi_square_p(counts: NDArray[np.float64], knockout: NDArray[np.bool_]) -> float:
    """Compute the p value of Pearson's chi-square test over follicles, for comparison only: the units are animals."""
    from scipy import stats

    table = np.array([counts[knockout].sum(axis=0), counts[~knockout].sum(axis=0)])
    table = table[:, table.sum(axis=0) > 0]
    return float(stats.chi2_contingency(table).pvalue)
