"""Carry the staging errors of the software into the steps of the ladder.

The software staged the follicles that no person judged. It assigns some of them to a neighbouring rung, and takes some
other structures for follicles. The confusion between rungs is estimated from the study's judged follicles, with the
results on the exam (`confusion.csv`, written by tools/make_accuracy.py) as the prior. For each group, expectation
maximisation then estimates the true numbers that explain the called ones. The true rungs of the unjudged follicles are
drawn many times: multiple imputation (Rubin 1987). Judged follicles count unchanged, and a study without corrections
has wider intervals. The share of false follicles cannot be estimated from the counts. For each called rung, it comes
from the exam and from the claims that a person rejected in this study. Follicles that were not found are not included.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS, Countable, Health, Status
from follicle_stager.statistics.effects import Effect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountKind, CountMatrix

_RUNG_OF = {stage.value: i for i, stages in enumerate(RUNGS.values()) for stage in stages}
#: Weight of the exam as the prior, in follicles per rung; it is small, because other slides differ from the exam.
_PRIOR_WEIGHT = 20.0
_DRAWS, _ROUNDS = 40, 200


@dataclass(frozen=True)
class StageErrors:
    """Judged and unjudged follicles of a mouse model, and the frequency of staging errors.

    Attributes
    ----------
    judged
        Numbers of follicles with a stage that a person gave or accepted, per animal and rung, (n, 5).
    called
        Numbers of the other follicles, per animal and rung called by the software, (n, 5).
    confusion
        Dirichlet parameters, (5, 5): rows are true rungs, columns are called rungs.
    false
        Beta parameters of each called rung, (5, 2): not follicles, and follicles.
    """

    judged: NDArray[np.float64]
    called: NDArray[np.float64]
    confusion: NDArray[np.float64]
    false: NDArray[np.float64]

    def imputed(self, matrix: CountMatrix, *, seed: int = 0) -> NDArray[np.float64]:
        """Draw the true counts at random, many times: (draws, n, 5)."""
        rng = np.random.default_rng(seed)
        rungs = np.flatnonzero(matrix.seen)
        share = np.stack([rng.dirichlet(self.confusion[rung][rungs] + 1e-3, _DRAWS) for rung in rungs], axis=1)
        wrong, right = self.false[rungs].T + 1e-3
        real = 1 - rng.beta(wrong, right, size=(_DRAWS, len(rungs)))
        drawn = np.repeat(self.judged[None], _DRAWS, axis=0)
        for group in (matrix.knockout, ~matrix.knockout):
            called = self.called[group][:, rungs].astype(int)
            true = _true_given_called(share, real * called.sum(axis=0))
            follicles = rng.binomial(called, real[:, None])
            moved = rng.multinomial(follicles, np.swapaxes(true, 1, 2)[:, None])  # (draws, animals, called, true)
            drawn[:, np.flatnonzero(group)[:, None], rungs] += moved.sum(axis=2)
        return np.where(matrix.seen, drawn, np.nan)


def stage_errors(
    follicles: pd.DataFrame, rejected: pd.DataFrame, matrix: CountMatrix, *, kind: CountKind
) -> StageErrors | None:
    """Collect judged and unjudged follicles and the errors; None if every follicle was judged.

    Parameters
    ----------
    follicles
        Table of the study's follicles, one row each.
    rejected
        Table of claims that a person rejected as not follicles, see `Counts`.
    matrix
        Counts of a comparison, which define its animals; errors are learned from all animals of the model.
    kind
        Kind of follicles that is counted.
    """
    own = _of_kind(follicles, matrix, kind)
    own = own[own["stage"].isin(_RUNG_OF)]
    place = {animal: i for i, animal in enumerate(matrix.animals)}
    judged, called = np.zeros_like(matrix.counts), np.zeros_like(matrix.counts)
    confusion, false = _prior()
    for animal, stage, predicted, status in own[["animal", "stage", "stage_predicted", "status"]].itertuples(
        index=False
    ):
        unjudged = status == Status.PREDICTED
        if str(animal) in place:
            (called if unjudged else judged)[place[str(animal)], _RUNG_OF[stage]] += 1
        if not unjudged and status != Status.ADDED and predicted in _RUNG_OF:
            confusion[_RUNG_OF[stage], _RUNG_OF[predicted]] += 1
            false[_RUNG_OF[predicted], 1] += 1
    for predicted in _of_kind(rejected, matrix, kind)["stage_predicted"]:
        if predicted in _RUNG_OF:
            false[_RUNG_OF[predicted], 0] += 1
    return StageErrors(judged, called, confusion, false) if called.any() else None


def _of_kind(follicles: pd.DataFrame, matrix: CountMatrix, kind: CountKind) -> pd.DataFrame:
    """The rows of a mouse model's follicles that are counted."""
    own = follicles[follicles["model"].fillna("") == matrix.model]
    if kind != "profiles":
        own = own[own["countable"] == Countable.YES.value]
    return own[own["health"] != Health.ATRETIC.value] if kind == "healthy" else own


def pooled(plain: Effect, drawn: Effect) -> Effect:
    """Pool the effects of imputed counts by Rubin's rules, with degrees of freedom after Barnard and Rubin (1999).

    Parameters
    ----------
    plain
        Effects of the counts as they are, (...); what is NaN there stays NaN.
    drawn
        Effects of imputed counts, (draws, ...).
    """
    values, known = drawn.log_ratio, np.isfinite(drawn.log_ratio)
    draws = np.maximum(known.sum(axis=0), 2)

    def mean(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.where(known, array, 0.0).sum(axis=0) / draws)

    # The mixture of a group pulls its animals together; they do not differ less than their counts as they are.
    within, complete = np.fmax(mean(drawn.se**2), plain.se**2), mean(drawn.df)
    between = mean((values - mean(values)) ** 2) * draws / (draws - 1)
    total = within + (1 + 1 / draws) * between
    with np.errstate(divide="ignore", invalid="ignore"):
        missing = np.where(total > 0, (1 + 1 / draws) * between / total, 0.0)
        of_draws = (draws - 1) / missing**2
        observed = (complete + 1) / (complete + 3) * complete * (1 - missing)
        df = 1 / (1 / of_draws + 1 / observed)
    enough = np.isfinite(plain.log_ratio) & (known.sum(axis=0) > 1)
    parts = zip((mean(values), np.sqrt(total), df), (plain.log_ratio, plain.se, plain.df), strict=True)
    log_ratio, se, df = (np.where(enough, pool, own) for pool, own in parts)
    return Effect(log_ratio, se, df, plain.few)


def _true_given_called(share: NDArray[np.float64], called: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(true | called) for the mixture of true rungs that best explains the called ones.

    Parameters
    ----------
    share
        P(called | true), (draws, true, called).
    called
        Numbers of follicles by called rung, (draws, called).
    """
    mix = np.full(share.shape[:2], 1 / share.shape[1])
    joint = share
    for _ in range(_ROUNDS):
        joint = mix[..., None] * share
        joint = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)
        mix = (joint * called[:, None]).sum(axis=2) + 1e-9
        mix = mix / mix.sum(axis=1, keepdims=True)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def _prior() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confusion and false claims on the exam, with a weight of `_PRIOR_WEIGHT` follicles per rung."""
    with files("follicle_stager.statistics").joinpath("confusion.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, index_col=0)
    real, none = (table.loc[rows, list(RUNGS)].to_numpy(np.float64) for rows in (list(RUNGS), ["none"]))
    claims = np.vstack([none, real.sum(axis=0)]).T
    confusion, false = (_PRIOR_WEIGHT * x / x.sum(axis=1, keepdims=True) for x in (real, claims))
    return confusion, false
