"""Find the block: test the question of the study, and every step of the ladder, over animals.

RR_k is the rate ratio of knockout to control at rung k. The step from k to k + 1 has the ratio RR_{k+1} / RR_k. A block
after k reduces all later rungs by the same factor: this step's ratio is below 1, and fewer follicles are on the later
rungs. If only the first holds, follicles wait at k (accumulation) or are missing at one rung.

Claims of a block, and why their errors stay at 5 % in all:

- **arrest**, the question of the study, named before the data: all later rungs together against the rung of the
  contrast (shift), and all later rungs in total, are both lower. Both must hold at the level of the claim, so its p is
  the larger one (intersection-union; Berger 1982, doi:10.1080/00401706.1982.10487790).
- **block after k**, for the other rungs: the same with the step from k to k + 1 in place of the shift.
- These four claims share 5 % by Holm's procedure with weights (two thirds of the weight for the arrest).
- Every later rung must be lower in its estimate too, and not much less so than all of them together. This is no test:
  it keeps a loss at one rung from being called a block.

Rungs that cannot be seen, or that a table does not have, are left out: the step goes to the next rung that is there.

The other verdicts have no part in these 5 %; each is tested at 5 % by itself: see `decide` and docs/statistics.md.

Counts at one age cannot distinguish slow entry from fast exit, so a verdict says *block or delay*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from follicle_stager.stages import RUNGS
from follicle_stager.statistics import effects, linear
from follicle_stager.statistics.effects import Counted, Effect, Layout, holm, together
from follicle_stager.statistics.stage_errors import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig

    Values = NDArray[np.float64]

#: Kinds of verdict.
VerdictKind = Literal[
    "arrest",
    "block",
    "total loss",
    "loss of the reserve",
    "acceleration",
    "accumulation",
    "depletion",
    "none",
    "inconclusive",
    "not estimable",
]
_NAMES = tuple(RUNGS)
#: Weight of the question in Holm's procedure; each of the three blocks after other rungs has 1.
QUESTION_WEIGHT = 6.0
# Each later rung must be lower by this share of the ratio of all later ones (logarithms): a block reduces all alike.
_SHARE_OF_LATER = 0.5


@dataclass(frozen=True)
class Tests:
    """Effects in one study, or in many at once: arrays (..., as given).

    Attributes
    ----------
    rungs
        Rate ratio of each rung, (..., 5).
    steps
        Ratio of each step to the next rung that is seen, (..., 4).
    later
        Rate ratio of all rungs after each rung together, of those that are seen, (..., 4).
    shift
        The same rungs after that of the contrast, against that rung, (...).
    """

    rungs: Effect
    steps: Effect
    later: Effect
    shift: Effect

    @property
    def growing(self) -> Effect:
        """Rate ratio of all rungs but the first together, (...)."""
        return self.later.at(0)


@dataclass(frozen=True)
class Decision:
    """What the tests say: arrays (..., as given).

    Attributes
    ----------
    p_claims
        Adjusted p of a block after each rung; of the arrest, at the rung of the contrast, (..., 4).
    blocks
        Whether follicles are blocked after each rung, (..., 4).
    arrest
        Whether they are arrested at the rung of the contrast, (...).
    waiting
        Whether more follicles are on each rung, of which fewer go on, (..., 4).
    faster
        Whether each step is taken more often, (..., 4).
    activated
        Whether fewer follicles rest, and more grow, (...).
    kind
        The verdict, (...) of str.
    """

    p_claims: Values
    blocks: NDArray[np.bool_]
    arrest: NDArray[np.bool_]
    waiting: NDArray[np.bool_]
    faster: NDArray[np.bool_]
    activated: NDArray[np.bool_]
    kind: NDArray[np.str_]

    @property
    def blocked_after(self) -> tuple[str, ...]:
        """Rungs after which follicles are blocked, of one study."""
        return tuple(name for name, blocked in zip(_NAMES, self.blocks, strict=False) if blocked)


def all_effects(
    counts: Values, exposure: Values, layout: Layout, contrast: int, *, sampling: Values | None = None
) -> Tests:
    """Compute all effects.

    Parameters
    ----------
    counts, exposure
        Counts and exposures, (..., n animals, 5 rungs); NaN counts where a rung cannot be seen.
    layout
        The groups; at least two animals of each.
    contrast
        Rung of the question: all later rungs against this one.
    sampling
        Variances of the sampling errors if the counts are those of an audit; effects are then on the linear scale.
    """
    n = len(_NAMES)
    seen = np.asarray(np.isfinite(counts).reshape(-1, n).all(axis=0))
    sums = np.stack([np.nan_to_num(counts)[..., own, :].sum(axis=-2) for own in layout.groups])
    present = np.asarray(seen & (sums > 0).any(axis=0))  # estimates of an audit may be negative
    if sampling is None:
        stages: list[Any] = [Counted(counts[..., k], exposure[..., k]) for k in range(n)]
        ratio, against_ratio = effects.rate_ratio, effects.ratio_of_ratios
    else:
        stages = linear.estimated(counts, exposure, sampling, layout)
        ratio, against_ratio = linear.rate_ratio, linear.ratio_of_ratios  # type: ignore[assignment]

    def joined(rungs: list[int]) -> Any:
        return together(counts, exposure, rungs) if sampling is None else linear.together([stages[k] for k in rungs])

    def known(k: int, rungs: list[int]) -> NDArray[np.bool_]:
        # A step says something if both sides have follicles, and each group has some on one of the two.
        each = np.asarray((sums[..., [k, *rungs]].sum(axis=-1) > 0).all(axis=0))
        return np.asarray(each & present[..., k] & present[..., rungs].any(axis=-1))

    follow = [rungs_after(k, seen) for k in range(n - 1)]
    after = [joined(own) for own in follow]
    next_up = _side_by_side([stages[own[0]] for own in follow])
    step_known = np.stack([known(k, own[:1]) for k, own in enumerate(follow)], axis=-1)
    some_later = np.stack([present[..., own].any(axis=-1) for own in follow], axis=-1)
    shift_known = known(contrast, follow[contrast])
    return Tests(
        rungs=ratio(_side_by_side(stages), layout).only(present),
        steps=against_ratio(next_up, _side_by_side(stages[:-1]), layout).only(step_known),
        later=ratio(_side_by_side(after), layout).only(some_later),
        shift=against_ratio(after[contrast], stages[contrast], layout).only(shift_known),
    )


def _side_by_side(stages: Sequence[Any]) -> Any:
    """Several stages as one, with an axis for them before that of the animals."""
    return type(stages[0])(*(np.stack(parts, axis=-2) for parts in zip(*stages, strict=True)))


def rungs_after(k: int, seen: NDArray[np.bool_]) -> list[int]:
    """Rungs after rung k of those that are seen, (5,) bool; only the last rung if none is."""
    last = len(_NAMES) - 1
    return [i for i in range(k + 1, last + 1) if seen[i]] or [last]


def with_imputed(
    counts: Values,
    imputed: Values | None,
    exposure: Values,
    layout: Layout,
    contrast: int,
    *,
    sampling: Values | None = None,
) -> Tests:
    """Compute all effects of one study, with the staging errors of imputed counts, (draws, n animals, 5), if given."""
    plain = all_effects(counts, exposure, layout, contrast, sampling=sampling)
    if imputed is None:
        return plain
    drawn = all_effects(imputed, exposure, layout, contrast)
    return Tests(*(pooled(getattr(plain, f.name), getattr(drawn, f.name)) for f in fields(Tests)))


def decide(tests: Tests, config: ComparisonConfig) -> Decision:
    """Apply the rules of the verdict; the first that holds is the kind.

    Parameters
    ----------
    tests
        The effects.
    config
        Levels and limits.
    """
    alpha, contrast = config.alpha, config.contrast_place
    own, steps = tests.rungs.log_ratio, tests.steps

    def significant(p: Values) -> NDArray[np.bool_]:
        return np.asarray(p <= alpha)  # not if it is NaN: a test that is not possible rejects nothing

    # Claims of an arrest or a block: the only ones that share the level.
    p_less, weights = steps.p_lower, [1.0] * (len(_NAMES) - 1)
    p_less[..., contrast], weights[contrast] = tests.shift.p_lower, QUESTION_WEIGHT
    p_claims = holm(np.maximum(p_less, tests.later.p_lower), weights)
    lower = np.stack([_all_lower(own, tests.later, k) for k in range(len(_NAMES) - 1)], axis=-1)
    blocks = significant(p_claims) & lower
    arrest = blocks[..., contrast]

    slower, faster = significant(holm(steps.p_lower)), significant(holm(steps.p_upper))
    slower[..., contrast] |= significant(tests.shift.p_lower)
    reserve_seen = np.isfinite(own[..., 0])
    reserve_lost = faster[..., 0] & significant(tests.rungs.at(0).p_lower)
    activated = reserve_lost & significant(tests.growing.p_upper)
    waiting = slower & significant(tests.rungs.p_upper[..., :-1])
    some_later_fewer = significant(tests.later.p_lower).any(axis=-1)
    fewer = significant(tests.growing.p_lower) & (~reserve_seen | significant(tests.rungs.at(0).p_lower))
    all_lower = (~np.isfinite(own) | (own < 0)).all(axis=-1)
    limit, bound = math.log(config.total_loss_ratio), math.log(config.equivalence_ratio)
    lost = (tests.rungs.at(0).upper() < limit) & (tests.growing.upper() < limit)
    known, (low, high) = np.isfinite(steps.log_ratio), steps.interval(0.90)
    # Steps from a rung that is not there do not count; one that leads to a rung without follicles does.
    apart = ~np.isfinite(own[..., :-1])
    same = (apart | ((-bound < low) & (high < bound))).all(axis=-1) & np.isfinite(tests.shift.log_ratio)
    rules: list[tuple[VerdictKind, object]] = [
        ("total loss", lost),
        ("arrest", arrest),
        ("block", blocks.any(axis=-1)),
        ("not estimable", ~known.any(axis=-1) & ~np.isfinite(tests.shift.log_ratio) & ~fewer),
        ("acceleration", activated),
        ("loss of the reserve", reserve_lost),
        ("accumulation", waiting.any(axis=-1)),
        ("acceleration", faster.any(axis=-1)),
        ("depletion", fewer & all_lower & ~slower.any(axis=-1)),
        ("none", same & ~some_later_fewer),
    ]
    kind = np.select([np.asarray(rule) for _, rule in rules], [name for name, _ in rules], default="inconclusive")
    blocked = np.isin(kind, ("arrest", "block"))
    return Decision(
        p_claims, blocks & blocked[..., None], arrest & blocked, waiting, faster, activated, np.asarray(kind)
    )


def _all_lower(rungs: Values, later: Effect, k: int) -> NDArray[np.bool_]:
    """Whether all rungs after k are lower, none much less than all together; those without follicles do not count."""
    after, together = rungs[..., k + 1 :], later.at(k).log_ratio
    highest = np.where(np.isfinite(after), after, -np.inf).max(axis=-1)
    return np.asarray((together < 0) & (highest <= _SHARE_OF_LATER * together))
