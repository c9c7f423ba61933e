"""The software's own errors of stage, carried into the steps of the ladder.

Follicles that nobody judged were staged by the software, which takes some for their neighbours on the ladder, or what
is no follicle for one. How often it calls a follicle of one rung another is learned from the study's judged follicles,
with what it did on the exam (`confusion.csv`, written by docs/make_accuracy.py) as a start. From it follows, for each
group, how many follicles of each rung there must be to give what was called (expectation maximisation), and the true
rungs of the unjudged ones are drawn many times: multiple imputation (Rubin 1987). So what was judged counts as it is,
and a study that nobody corrected has wider intervals. Follicles that were not found are in none of it.
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
        (6, 5) Dirichlet parameters: rows are true rungs, then what is no follicle; columns the rung that is called.
    """

    judged: NDArray[np.float64]
    called: NDArray[np.float64]
    confusion: NDArray[np.float64]

    def imputed(self, matrix: CountMatrix, *, seed: int = 0) -> Iterator[CountMatrix]:
        """The counts, drawn anew again and again as they may truly be."""
        rng = np.random.default_rng(seed)
        rungs = np.flatnonzero(matrix.seen)
        rows = [*rungs, len(RUNGS)]
        for _ in range(_DRAWS):
            share = np.array([rng.dirichlet(self.confusion[t][rungs] + 1e-3) for t in rows])
            counts = self.judged.copy()
            for group in (matrix.knockout, ~matrix.knockout):
                true = _true_given_called(share, self.called[group][:, rungs].sum(axis=0))
                for animal in np.flatnonzero(group):
                    for p, rung in enumerate(rungs):
                        drawn = rng.multinomial(int(self.called[animal, rung]), true[:, p])
                        counts[animal, rungs] += drawn[:-1]
            yield replace(matrix, counts=np.where(matrix.seen, counts, np.nan))


def stage_errors(follicles: pd.DataFrame, matrix: CountMatrix, *, count: Counted) -> StageErrors | None:
    """Collect what is known of the stages; None where every follicle was judged.

    Parameters
    ----------
    follicles
        Of the study, a row each.
    matrix
        The model's counts, whose animals are meant.
    count
        What is counted.
    """
    own = follicles[(follicles["model"].fillna("") == matrix.model) & follicles["stage"].isin(_RUNG_OF)]
    if count != "profiles":
        own = own[own["countable"] == Countable.YES.value]
    if count == "healthy":
        own = own[own["health"] != Health.ATRETIC.value]
    place = {animal: i for i, animal in enumerate(matrix.animals)}
    judged, called = np.zeros_like(matrix.counts), np.zeros_like(matrix.counts)
    confusion = _prior()
    for animal, stage, predicted, status in own[["animal", "stage", "stage_predicted", "status"]].itertuples(
        index=False
    ):
        unjudged = status == Status.PREDICTED
        (called if unjudged else judged)[place[str(animal)], _RUNG_OF[stage]] += 1
        if not unjudged and status != Status.ADDED and predicted in _RUNG_OF:
            confusion[_RUNG_OF[stage], _RUNG_OF[predicted]] += 1
    return StageErrors(judged, called, confusion) if called.any() else None


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
        added=any(e.added for e in effects),
    )


def with_errors(
    matrix: CountMatrix, errors: StageErrors | None, effect: Callable[[CountMatrix], Effect | None]
) -> Effect | None:
    """An effect of the counts as they are, or with the errors of stage carried into it; None where there is none."""
    plain = effect(matrix)
    if plain is None or errors is None:
        return plain
    drawn = [e for e in map(effect, errors.imputed(matrix)) if e is not None]
    return pooled(drawn) if len(drawn) > 1 else plain


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


def _prior() -> NDArray[np.float64]:
    """The exam's confusion, worth `_PRIOR_WEIGHT` follicles of each true rung."""
    with files("follicle_stager.statistics").joinpath("confusion.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, index_col=0)
    values = table.loc[[*RUNGS, "none"], list(RUNGS)].to_numpy(np.float64)
    return np.asarray(values / values.sum(axis=1, keepdims=True) * _PRIOR_WEIGHT)
