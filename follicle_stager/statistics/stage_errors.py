"""The software's own errors of stage, carried into the steps of the ladder.

Follicles that nobody judged were staged by the software, which takes some for their neighbours on the ladder, or what
is no follicle for one. How often it calls a follicle of one rung another is learned from the study's judged follicles,
with what it did on the exam (`confusion.csv`, written by tools/make_accuracy.py) as a start. From it follows, for each
group, how many follicles of each rung there must be to give what was called (expectation maximisation), and the true
rungs of the unjudged ones are drawn many times: multiple imputation (Rubin 1987). So what was judged counts as it is,
and a study that nobody corrected has wider intervals. Which of the called ones are no follicles cannot be seen from
their numbers: of each rung that is called it is the share of the exam, and of what a person rejected in this study.
Follicles that were not found are in none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.stages import Countable, Health, Status
from follicle_stager.statistics.matrix import RUNGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from follicle_stager.statistics.effects import Effect
    from follicle_stager.statistics.matrix import Counted, CountMatrix

_RUNG_OF = {stage.value: i for i, stages in enumerate(RUNGS.values()) for stage in stages}
#: Follicles of a rung that the exam's experience is worth: other slides are other slides.
_PRIOR_WEIGHT = 20.0
_DRAWS, _ROUNDS = 40, 200


@dataclass(frozen=True)
class StageErrors:
    """What is known of the stages of a model's follicles.

    Attributes
    ----------
    judged
        (n, 5) follicles of each animal whose stage a person gave or accepted, by rung.
    called
        (n, 5) the others, by the rung that the software called.
    confusion
        (5, 5) Dirichlet parameters: rows are true rungs, columns the rung that is called.
    false
        (5, 2) beta parameters of each rung that is called: no follicles, and follicles.
    """

    judged: NDArray[np.float64]
    called: NDArray[np.float64]
    confusion: NDArray[np.float64]
    false: NDArray[np.float64]

    def imputed(self, matrix: CountMatrix, *, seed: int = 0) -> Iterator[CountMatrix]:
        """The counts, drawn anew again and again as they may truly be."""
        rng = np.random.default_rng(seed)
        rungs = np.flatnonzero(matrix.seen)
        for _ in range(_DRAWS):
            share = np.array([rng.dirichlet(self.confusion[rung][rungs] + 1e-3) for rung in rungs])
            real = 1 - rng.beta(*(self.false[rungs].T + 1e-3))
            counts = self.judged.copy()
            for group in (matrix.knockout, ~matrix.knockout):
                true = _true_given_called(share, real * self.called[group][:, rungs].sum(axis=0))
                for animal in np.flatnonzero(group):
                    follicles = rng.binomial(self.called[animal, rungs].astype(int), real)
                    counts[animal, rungs] += sum(rng.multinomial(n, true[:, p]) for p, n in enumerate(follicles))
            yield replace(matrix, counts=np.where(matrix.seen, counts, np.nan))


def stage_errors(
    follicles: pd.DataFrame, rejected: pd.DataFrame, matrix: CountMatrix, *, count: Counted
) -> StageErrors | None:
    """Collect what is known of the stages; None where every follicle was judged.

    Parameters
    ----------
    follicles
        Of the study, a row each.
    rejected
        What a person said is no follicle, see `Counts`.
    matrix
        The model's counts, whose animals are meant.
    count
        What is counted.
    """
    own = _counted(follicles, matrix, count)
    own = own[own["stage"].isin(_RUNG_OF)]
    place = {animal: i for i, animal in enumerate(matrix.animals)}
    judged, called = np.zeros_like(matrix.counts), np.zeros_like(matrix.counts)
    confusion, false = _prior()
    for animal, stage, predicted, status in own[["animal", "stage", "stage_predicted", "status"]].itertuples(
        index=False
    ):
        unjudged = status == Status.PREDICTED
        (called if unjudged else judged)[place[str(animal)], _RUNG_OF[stage]] += 1
        if not unjudged and status != Status.ADDED and predicted in _RUNG_OF:
            confusion[_RUNG_OF[stage], _RUNG_OF[predicted]] += 1
            false[_RUNG_OF[predicted], 1] += 1
    for predicted in _counted(rejected, matrix, count)["stage_predicted"]:
        if predicted in _RUNG_OF:
            false[_RUNG_OF[predicted], 0] += 1
    return StageErrors(judged, called, confusion, false) if called.any() else None


def _counted(follicles: pd.DataFrame, matrix: CountMatrix, count: Counted) -> pd.DataFrame:
    """Those of a model that are counted."""
    own = follicles[follicles["model"].fillna("") == matrix.model]
    if count != "profiles":
        own = own[own["countable"] == Countable.YES.value]
    return own[own["health"] != Health.ATRETIC.value] if count == "healthy" else own


def pooled(effects: list[Effect]) -> Effect:
    """One effect from those of imputed counts: Rubin's rules, with the degrees of freedom of the animals."""
    values = np.array([e.log_ratio for e in effects])
    within = float(np.mean([e.se**2 for e in effects]))
    between = float(values.var(ddof=1))
    return replace(
        effects[0],
        log_ratio=float(values.mean()),
        se=float(np.sqrt(within + (1 + 1 / len(effects)) * between)),
        dispersion=float(np.mean([e.dispersion for e in effects])),
    )


def with_errors(
    matrix: CountMatrix, errors: StageErrors | None, effect: Callable[[CountMatrix], Effect | None]
) -> Effect | None:
    """An effect of the counts as they are, or with the errors of stage carried into it; None where there is none."""
    plain = effect(matrix)
    if plain is None or errors is None:
        return plain
    drawn = [e for e in map(effect, errors.imputed(matrix)) if e is not None]
    return replace(pooled(drawn), added=plain.added) if len(drawn) > 1 else plain


def _true_given_called(share: NDArray[np.float64], called: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(true | called), (true, called), for the mix of true rungs that explains what was called best."""
    mix = np.full(len(share), 1 / len(share))
    joint = share
    for _ in range(_ROUNDS):
        joint = mix[:, None] * share
        joint = joint / np.maximum(joint.sum(axis=0), 1e-12)
        mix = (joint * called).sum(axis=1) + 1e-9
        mix = mix / mix.sum()
    return np.asarray(joint / joint.sum(axis=0))


def _prior() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exam's confusion and false claims, worth `_PRIOR_WEIGHT` follicles of each rung."""
    with files("follicle_stager.statistics").joinpath("confusion.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, index_col=0)
    real, none = (table.loc[rows, list(RUNGS)].to_numpy(np.float64) for rows in (list(RUNGS), ["none"]))
    claims = np.vstack([none, real.sum(axis=0)]).T
    confusion, false = (_PRIOR_WEIGHT * x / x.sum(axis=1, keepdims=True) for x in (real, claims))
    return confusion, false
