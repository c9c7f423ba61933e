"""Counts of animals drawn from the virtual ovary's animal model, without drawing a single pixel.

Numbers per ovary follow `phantom.GenotypeModel`: means per stage with block and depletion planted, an animal's own
factor (``animal_cv``), and one of each stage (``stage_cv``). Of an ovary every k-th section is counted, in which
follicles show their nucleus (T + h)/(k T) times.
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
        Everything is drawn from it.
    animals
        Controls and knockouts.
    ovaries
        CountKind of each animal.
    interval
        Every how many-th section is counted.
    thickness_um
        Of a section.
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
    """How often a follicle of a stage is counted."""
    height = float(np.mean(genotype.stages[stage].nucleus_um))  # type: ignore[index]
    return (thickness_um + height) / (interval * thickness_um)


def _factor(rng: np.random.Generator, cv: float) -> float:
    """Gamma of mean 1."""
    return float(rng.gamma(1 / cv**2, cv**2)) if cv else 1.0


def chi_square_p(counts: NDArray[np.float64], knockout: NDArray[np.bool_]) -> float:
    """Pearson's test of genotype against stage over follicles: wrong, since follicles are no animals; to compare."""
    from scipy import stats

    table = np.array([counts[knockout].sum(axis=0), counts[~knockout].sum(axis=0)])
    table = table[:, table.sum(axis=0) > 0]
    return float(stats.chi2_contingency(table).pvalue)
