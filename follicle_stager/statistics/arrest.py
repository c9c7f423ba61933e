"""Find the block: test for each step of the ladder whether fewer follicles take it in the knockout.

RR_k is the rate ratio of knockout to control at rung k. The step from k to k + 1 has the log ratio D_k = log RR_{k+1} -
log RR_k, the change in the ratio from this rung to the next. A block after k reduces all later rungs by the same
factor, so D_k is below 0 and the steps after it are about 0. If follicles are missing on every rung by the same factor
(depletion), no step differs.

Rules and reasons:

- **block after k**: D_k < 0, one-sided, Holm over all steps. At most 5 % of studies without a block show one.
- **depletion**: the rates of all visible rungs have a common ratio below 1 (one-sided 5 %), and every step is
  equivalent. With a block, the ratio is that of the rungs up to the first block.
- **none**: the 90 % interval of every step lies within +- log(bound), which is two one-sided tests at 5 % each.
  Failing to find a block does not show that there is none.
- **inconclusive** otherwise; **not estimable** if a group has fewer than two animals, or no step has follicles.

Counts at one age cannot distinguish slow entry from fast exit, so a verdict says *block or delay*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from follicle_stager.config import ComparisonConfig
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.effects import HALF, Effect, holm, permutation_p, rate_ratio, ratio_of_ratios
from follicle_stager.statistics.stage_errors import with_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix
    from follicle_stager.statistics.stage_errors import StageErrors

#: Kinds of verdict.
VerdictKind = Literal["block", "block and depletion", "depletion", "none", "inconclusive", "not estimable"]
_NAMES = tuple(RUNGS)
_SECONDARY = _NAMES.index("secondary")
#: Smallest number of animals per group for estimates, and smallest number without a warning.
_LEAST_ANIMALS, _FEW_ANIMALS = 2, 4


@dataclass(frozen=True)
class Verdict:
    """The verdict on one mouse model.

    Attributes
    ----------
    blocks
        Rungs after which follicles are blocked, earliest first.
    depletion
        Whether there are fewer follicles already before any block.
    none
        Whether a block of relevant size is excluded at every step, and there is no depletion.
    estimable
        Whether a verdict is possible.
    sentence
        The verdict as a sentence to quote.
    warnings
        Limitations that a reader must know.
    """

    blocks: tuple[str, ...]
    depletion: bool
    none: bool
    estimable: bool
    sentence: str
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def kind(self) -> VerdictKind:
        """The verdict in one word or three."""
        if not self.estimable:
            return "not estimable"
        if self.blocks:
            return "block and depletion" if self.depletion else "block"
        return "depletion" if self.depletion else "none" if self.none else "inconclusive"


@dataclass(frozen=True)
class Arrest:
    """All results for one mouse model.

    Attributes
    ----------
    matrix
        The counts.
    steps
        Table with one row per step: ``from``, ``to``, ``ratio`` with its 95 % interval, ``p`` (one-sided), ``p_holm``,
        the 90 % interval, ``permutation_p``, and ``continuation``, the continuation ratio, as a description.
    animals
        Table with one row per animal: its counts, and log((antral of all kinds + 0.5)/(secondary + 0.5)).
    contrast
        The primary contrast, secondary to antral of all kinds, which was specified before the data were seen.
    verdict
        The verdict.
    """

    matrix: CountMatrix
    steps: pd.DataFrame
    animals: pd.DataFrame
    contrast: dict[str, float]
    verdict: Verdict


def find_arrest(
    matrix: CountMatrix,
    config: ComparisonConfig | None = None,
    *,
    errors: StageErrors | None = None,
    permute: bool = True,
) -> Arrest:
    """Test every step of the ladder, and find the block.

    Parameters
    ----------
    matrix
        Counts of one mouse model.
    config
        Limits for the verdict.
    errors
        Staging errors of the follicles that were not judged; they are carried into the steps.
    permute
        Whether permutation tests are done; no verdict depends on them.
    """
    config = config or ComparisonConfig()
    effects = [with_errors(matrix, errors, partial(_step, k=k)) for k in range(len(_NAMES) - 1)]
    p_holm = holm(np.array([e.p_lower if e else np.nan for e in effects]))
    steps = pd.DataFrame([_row(matrix, k, effect, p_holm[k], permute) for k, effect in enumerate(effects)])
    return Arrest(
        matrix=matrix,
        steps=steps,
        animals=_animals(matrix),
        contrast=_contrast(matrix, permute, errors),
        verdict=_verdict(matrix, effects, p_holm, config, errors),
    )


def _step(matrix: CountMatrix, k: int) -> Effect | None:
    """Effect of the step after rung k; None if it cannot be estimated."""
    if not matrix.seen[[k, k + 1]].all() or not _enough(matrix):
        return None
    c, e = matrix.counts, matrix.exposure
    groups = (matrix.knockout, ~matrix.knockout)
    if not c[:, [k, k + 1]].sum(axis=0).all() or not all(c[g][:, [k, k + 1]].sum() for g in groups):
        return None
    return ratio_of_ratios(c[:, k + 1], e[:, k + 1], c[:, k], e[:, k], matrix.knockout)


def _enough(matrix: CountMatrix) -> bool:
    return min(int(matrix.knockout.sum()), int((~matrix.knockout).sum())) >= _LEAST_ANIMALS


def _row(matrix: CountMatrix, k: int, effect: Effect | None, p_holm: float, permute: bool) -> dict[str, object]:
    row: dict[str, object] = {"model": matrix.model, "from": _NAMES[k], "to": _NAMES[k + 1]}
    columns = (
        "ratio",
        "low",
        "high",
        "low_90",
        "high_90",
        "p",
        "p_holm",
        "permutation_p",
        "dispersion",
        "continuation",
    )
    if effect is None:
        return row | dict.fromkeys(columns, math.nan) | {"note": "not estimable"}
    (low, high), (low_90, high_90) = effect.interval(), effect.interval(0.90)
    c, e = matrix.counts, matrix.exposure

    def statistic(knockout: NDArray[np.bool_]) -> float:
        return ratio_of_ratios(c[:, k + 1], e[:, k + 1], c[:, k], e[:, k], knockout).log_ratio

    # Continuation ratio, P(stage beyond | this or beyond). It is only a description, because it also shifts at earlier
    # steps if later stages are merely lost.
    beyond = [i for i in range(k + 1, len(_NAMES)) if matrix.seen[i]]
    continuation = ratio_of_ratios(c[:, beyond].sum(axis=1), e[:, k + 1], c[:, k], e[:, k], matrix.knockout)
    return row | {
        "ratio": _exp(effect.log_ratio),
        "low": _exp(low),
        "high": _exp(high),
        "low_90": _exp(low_90),
        "high_90": _exp(high_90),
        "p": effect.p_lower,
        "p_holm": p_holm,
        "permutation_p": permutation_p(statistic, matrix.knockout)[0] if permute else math.nan,
        "dispersion": effect.dispersion,
        "continuation": _exp(continuation.log_ratio),
        "note": "a group has none of a stage: 0.5 was added" if effect.added else "",
    }


def _animals(matrix: CountMatrix) -> pd.DataFrame:
    table = pd.DataFrame(matrix.counts, columns=list(_NAMES))
    table.insert(0, "animal", list(matrix.animals))
    table.insert(0, "group", np.where(matrix.knockout, "knockout", "control"))
    table.insert(0, "model", matrix.model)
    return table.assign(arrest_log_ratio=_log_ratios(matrix))


def _log_ratios(matrix: CountMatrix) -> NDArray[np.float64]:
    """Zero-safe log ratio of antral follicles of all kinds to secondary ones, (n,), one per animal."""
    antral = matrix.counts[:, _SECONDARY + 1 :].sum(axis=1)
    ratios: NDArray[np.float64] = np.log((antral + HALF) / (matrix.counts[:, _SECONDARY] + HALF))
    return ratios


def _contrast(matrix: CountMatrix, permute: bool, errors: StageErrors | None) -> dict[str, float]:
    """The primary contrast, secondary to antral of all kinds: the model's ratio, and a test of the animals' ratios."""
    names = ("ratio", "low", "high", "p_two_sided", "log_ratio_difference", "permutation_p")
    if not _enough(matrix) or not matrix.seen[_SECONDARY:].all():
        return dict.fromkeys(names, math.nan)

    def antral_over_secondary(m: CountMatrix) -> Effect:
        antral, beside = m.counts[:, _SECONDARY + 1 :].sum(axis=1), m.exposure[:, _SECONDARY + 1]
        return ratio_of_ratios(antral, beside, m.counts[:, _SECONDARY], m.exposure[:, _SECONDARY], m.knockout)

    effect = with_errors(matrix, errors, antral_over_secondary) or antral_over_secondary(matrix)
    low, high = effect.interval()
    own = _log_ratios(matrix)

    def difference(knockout: NDArray[np.bool_]) -> float:
        return float(own[knockout].mean() - own[~knockout].mean())

    values = (_exp(effect.log_ratio), _exp(low), _exp(high), effect.p_two_sided)
    permuted = permutation_p(difference, matrix.knockout)[0] if permute else math.nan
    tested = (difference(matrix.knockout), permuted)
    return dict(zip(names, values + tested, strict=True))


def _verdict(
    matrix: CountMatrix,
    effects: list[Effect | None],
    p_holm: NDArray[np.float64],
    config: ComparisonConfig,
    errors: StageErrors | None,
) -> Verdict:
    name = matrix.genotypes[1]
    n = int(matrix.knockout.sum()), int((~matrix.knockout).sum())
    if not _enough(matrix):
        why = f"{name}: not estimable with {n[0]} knockout and {n[1]} control animals; at least two of each are needed."
        return Verdict((), False, False, False, why)
    known = {k: e for k, e in enumerate(effects) if e is not None}
    if not known:
        return _without_steps(matrix, config, errors)
    blocks = [k for k in known if p_holm[k] <= config.alpha]
    bound = math.log(config.equivalence_ratio)
    same = all(-bound < low and high < bound for low, high in (e.interval(0.90) for e in known.values()))
    upto = blocks[0] if blocks else len(_NAMES) - 1
    common = _common(matrix, upto, errors)
    fewer = common is not None and common.p_lower <= config.alpha
    depletion = fewer and (bool(blocks) or same)
    warnings = []
    if min(n) < _FEW_ANIMALS:
        warnings.append(f"{min(n)} animals in a group: four or more are advised, as few give uncertain intervals.")
    missing = [f"{_words(k)} to {_words(k + 1)}" for k in range(len(effects)) if k not in known]
    if missing:
        warnings.append(f"Not tested, because a stage cannot be seen or has no follicles: {', '.join(missing)}.")
    sentence = _sentence(name, matrix.genotypes[0], known, blocks, depletion, same, common, config)
    return Verdict(
        blocks=tuple(_NAMES[k] for k in blocks),
        depletion=depletion,
        none=same and not blocks and not depletion,
        estimable=True,
        sentence=sentence,
        warnings=tuple(warnings),
    )


def _without_steps(matrix: CountMatrix, config: ComparisonConfig, errors: StageErrors | None) -> Verdict:
    """Verdict if no step can be tested: a group without follicles can still have a depletion."""
    name, common = matrix.genotypes[1], _common(matrix, len(_NAMES) - 1, errors)
    if common is None or common.p_lower > config.alpha:
        why = f"{name}: not estimable, as no two neighbouring stages have follicles in both groups."
        return Verdict((), False, False, False, why)
    why = "no step can be tested, as a group has no follicles of neighbouring stages"
    return Verdict((), True, False, True, f"{name}: " + _fewer(True, common, "fewer follicles, {}; " + why + "."))


def _common(matrix: CountMatrix, upto: int, errors: StageErrors | None) -> Effect | None:
    """Rate ratio of all visible rungs up to ``upto``."""
    rungs = [i for i in range(upto + 1) if matrix.seen[i]]

    def together(m: CountMatrix) -> Effect | None:
        if not rungs or not m.counts[:, rungs].sum():
            return None
        # An animal's exposures differ between rungs only by the height of nuclei, which is the same in both groups.
        return rate_ratio(m.counts[:, rungs].sum(axis=1), m.exposure[:, rungs].mean(axis=1), m.knockout)

    return with_errors(matrix, errors, together)


def _sentence(
    name: str,
    control: str,
    known: dict[int, Effect],
    blocks: list[int],
    depletion: bool,
    same: bool,
    common: Effect | None,
    config: ComparisonConfig,
) -> str:
    if blocks:
        parts = []
        for k in blocks:
            times, low, high = (_exp(v) for v in (known[k].log_ratio, *known[k].interval()))
            parts.append(
                f"{name}: block or delay after the {_words(k)} stage (the step to {_words(k + 1)} is taken {times:.2f} "
                f"times as often as in {control}, 95 % interval {low:.2f} to {high:.2f})"
            )
        return "; ".join(parts) + "." + _fewer(depletion, common, " There are also fewer follicles before it: {}.")
    steps = "every step" if len(known) == len(_NAMES) - 1 else f"each of the {len(known)} steps that could be tested"
    if depletion:
        alike = f"fewer follicles at all stages{_fewer(True, common, ', {}')}, but no block"
        return f"{name}: {alike}: {steps} is taken as often as in controls."
    ratio = config.equivalence_ratio
    if same:
        return f"{name}: no block; {steps} is taken as often as in {control}, within a factor of {ratio:g} (90 %)."
    return (
        f"{name}: inconclusive. No step is significantly blocked, but a difference by a factor of {ratio:g} is not "
        "excluded at every step; count more animals or sections."
    )


def _fewer(said: bool, common: Effect | None, text: str) -> str:
    if not said or common is None:
        return ""
    low, high = (_exp(v) for v in common.interval())
    return text.format(
        f"{_exp(common.log_ratio):.2f} times as many as in controls, 95 % interval {low:.2f} to {high:.2f}"
    )


def _exp(value: float) -> float:
    """Exponential; infinite, without an error, if the result is too large."""
    return float(np.exp(value))


def _words(k: int) -> str:
    return _NAMES[k].replace("_", " ")
