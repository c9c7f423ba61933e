"""Estimate how many animals a study needs, by simulating studies from the virtual ovary's animal model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import find_arrest
from follicle_stager.statistics.per_stage import per_stage
from follicle_stager.statistics.simulate import chi_square_p, simulate_matrix
from follicle_stager.statistics.stage_errors import StageErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.phantom import GenotypeModel
    from follicle_stager.statistics.matrix import CountMatrix


@dataclass(frozen=True)
class Design:
    """The design of a study.

    Attributes
    ----------
    control, knockout
        Ovaries of the two genotypes.
    ovaries, interval, thickness_um
        Ovaries per animal, sampling interval, and thickness of a section, µm.
    wrong_stage
        Share of follicles of each rung that are staged one rung too early or too late, half each.
    """

    control: GenotypeModel
    knockout: GenotypeModel
    ovaries: int = 2
    interval: int = 10
    thickness_um: float = 5.0
    wrong_stage: float = 0.0

    @property
    def truth(self) -> tuple[str, ...]:
        """Rungs after which the knockout is blocked."""
        stage = self.knockout.block_after
        blocked = stage is not None and self.knockout.block_probability > 0
        return tuple(name for name, stages in RUNGS.items() if blocked and stage in stages)

    @property
    def log_ratios(self) -> NDArray[np.float64]:
        """True log ratio of each step, (4,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diff(self.stage_log_ratios))

    @property
    def stage_log_ratios(self) -> NDArray[np.float64]:
        """True log rate ratio of each rung, (5,)."""
        by_rung = []
        for genotype in (self.control, self.knockout):
            means = genotype.means()
            by_rung.append(
                [
                    sum(
                        means[s] * (self.thickness_um + np.mean(self.control.stages[s].nucleus_um))
                        for s in stages
                        if s in means
                    )
                    for stages in RUNGS.values()
                ]
            )
        with np.errstate(divide="ignore"):  # there are no follicles after a complete block
            logs = np.log(np.array(by_rung, dtype=np.float64))
        return np.asarray(logs[1] - logs[0])


def simulate_verdicts(
    design: Design, animals: int, *, studies: int, seed: int = 1, carried: bool = False, single_stages: bool = False
) -> dict[str, float]:
    """Simulate studies of a design, and measure how often their verdicts are right.

    Parameters
    ----------
    design
        Design of the studies.
    animals
        Number of animals per group.
    studies
        Number of studies.
    seed
        Seed of the simulation.
    carried
        Whether staging errors are carried into the results; their true frequency is then used.
    single_stages
        Whether the models of single stages are evaluated too, which takes much longer.

    Returns
    -------
    dict
        Shares of the studies: ``any_block``, ``right`` (exactly the true blocks), each kind of verdict,
        ``chi_square`` (p < 0.05 in a test over follicles); and ``coverage`` of the 95 % intervals of the steps.
        For single stages: ``any_stage`` (Holm's p < 0.05 for at least one), ``stage_coverage``, and
        ``plain_coverage`` without the variance factor.
    """
    rng = np.random.default_rng([seed, animals])
    kinds: Counter[str] = Counter()
    any_block, right, naive, covered = 0, 0, 0, []
    any_stage, stages_covered, plain_covered = 0, [], []
    for _ in range(studies):
        matrix = simulate_matrix(
            design.control,
            design.knockout,
            rng,
            animals=(animals, animals),
            ovaries=design.ovaries,
            interval=design.interval,
            thickness_um=design.thickness_um,
        )
        matrix = misstaged(matrix, design.wrong_stage, rng)
        errors = _known(matrix, design) if carried else None
        arrest = find_arrest(matrix, errors=errors, permute=False)
        kinds[arrest.verdict.kind] += 1
        any_block += bool(arrest.verdict.blocks)
        right += arrest.verdict.blocks == design.truth
        naive += chi_square_p(matrix.counts, matrix.knockout) < 0.05
        covered += _held(arrest.steps, design.log_ratios)
        if single_stages:
            table = per_stage(matrix, errors=errors, permute=False)
            any_stage += bool((table["p_holm"] < 0.05).any())
            stages_covered += _held(table, design.stage_log_ratios)
            narrower = np.sqrt(table["variance_factor"].fillna(1.0))
            for side in ("low", "high"):
                table[side] = table["rate_ratio"] * (table[side] / table["rate_ratio"]) ** (1 / narrower)
            plain_covered += _held(table, design.stage_log_ratios)
    shares = {"any_block": any_block, "right": right, "chi_square": naive, **kinds}
    coverages = {"coverage": float(np.mean(covered))}
    if single_stages:
        shares["any_stage"] = any_stage
        coverages |= {"stage_coverage": float(np.mean(stages_covered)), "plain_coverage": float(np.mean(plain_covered))}
    return {name: value / studies for name, value in shares.items()} | coverages


def _held(table: pd.DataFrame, log_ratios: NDArray[np.float64]) -> list[bool]:
    """Whether each interval of a table contains the true ratio."""
    low, high = table["low"].to_numpy(float), table["high"].to_numpy(float)
    known = np.isfinite(low)
    true = np.exp(log_ratios)[known]
    return list((low[known] <= true) & (true <= high[known]))


def power(design: Design, animals: Sequence[int], *, studies: int = 300, seed: int = 1) -> pd.DataFrame:
    """Estimate how often studies of several sizes find exactly the true block.

    Parameters
    ----------
    design
        Design of the studies.
    animals
        Numbers of animals per group.
    studies
        Number of simulated studies of each size.
    seed
        Seed of the simulation.

    Returns
    -------
    DataFrame
        ``animals`` per group, ``power`` (exactly the true block), ``other_block``, and the other verdicts.
    """
    rows = []
    for n in animals:
        share = simulate_verdicts(design, n, studies=studies, seed=seed)
        other = share["any_block"] - (share["right"] if design.truth else 0.0)
        rows.append(
            {
                "animals": n,
                "power": share["right"] if design.truth else float("nan"),
                "other_block": other,
                "none": share.get("none", 0.0),
                "depletion": share.get("depletion", 0.0),
                "inconclusive": share.get("inconclusive", 0.0),
            }
        )
    return pd.DataFrame(rows)


def _known(matrix: CountMatrix, design: Design) -> StageErrors:
    """Staging errors of a study without judged follicles, for which the frequency of errors is known."""
    nothing_false = np.array([[0.0, 1e6]] * len(RUNGS))
    return StageErrors(np.zeros_like(matrix.counts), matrix.counts, 200 * moves(design.wrong_stage), nothing_false)


def misstaged(matrix: CountMatrix, share: float, rng: np.random.Generator) -> CountMatrix:
    """Counts in which a share of the follicles is staged one rung too early or too late."""
    if not share:
        return matrix
    counts = np.zeros_like(matrix.counts)
    for rung, own in enumerate(moves(share)):
        counts += rng.multinomial(matrix.counts[:, rung].astype(int), own)
    return replace(matrix, counts=counts)


def moves(share: float) -> NDArray[np.float64]:
    """Probability of each called rung, (true, called), if a share is called one rung too early or too late."""
    n = len(RUNGS)
    called = (1 - share) * np.eye(n) + share / 2 * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.asarray(called / called.sum(axis=1, keepdims=True))
