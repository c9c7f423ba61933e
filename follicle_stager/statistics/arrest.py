"""All results of one comparison: the effects of its counts, the verdict, and their tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.config import ComparisonConfig
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.decision import Decision, Tests, VerdictKind, decide, rungs_after, with_imputed
from follicle_stager.statistics.effects import Counted, Effect, log_rates, together
from follicle_stager.statistics.linear import LinearEffect
from follicle_stager.statistics.words import sentence_of, warnings_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.statistics.matrix import CountMatrix

    Values = NDArray[np.float64]

_NAMES = tuple(RUNGS)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one comparison.

    Attributes
    ----------
    kind
        The verdict in a few words.
    blocks
        Rungs after which follicles are blocked, earliest first; with an arrest, its rung is among them.
    sentence
        The verdict as sentences to quote, with what they rest on.
    warnings
        Limitations that a reader must know.
    """

    kind: VerdictKind
    blocks: tuple[str, ...]
    sentence: str
    warnings: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Arrest:
    """All results of one comparison.

    Attributes
    ----------
    matrix
        The counts.
    question
        Table with a row for each part of the question (``shift``, ``total``) and for the ``arrest``, which needs both.
    steps
        Table with one row for each step between neighbouring rungs that are seen.
    animals
        Table with one row per animal: its counts, and its log ratio of later follicles to those of the contrast's rung.
    verdict
        The verdict.
    """

    matrix: CountMatrix
    question: pd.DataFrame
    steps: pd.DataFrame
    animals: pd.DataFrame
    verdict: Verdict


def find_arrest(
    matrix: CountMatrix, config: ComparisonConfig | None = None, *, imputed: Values | None = None
) -> Arrest:
    """Test the question and every step of the ladder, and find the block.

    Parameters
    ----------
    matrix
        Counts of the animals.
    config
        The question, and limits of the verdict.
    imputed
        Counts with the staging errors of follicles that were not judged, `StageErrors.imputed`; the errors are carried
        into all effects.
    """
    config = config or ComparisonConfig()
    contrast = config.contrast_place
    tests, decision = tested(matrix, config, imputed)
    kind: VerdictKind = str(decision.kind)  # type: ignore[assignment]
    verdict = Verdict(
        kind=kind,
        blocks=decision.blocked_after,
        sentence=sentence_of(matrix, tests, decision, config),
        warnings=warnings_of(matrix, tests, config),
    )
    return Arrest(
        matrix=matrix,
        question=_question(matrix, tests, decision, contrast),
        steps=_steps(matrix, tests, decision, contrast),
        animals=_animals(matrix, contrast),
        verdict=verdict,
    )


def tested(matrix: CountMatrix, config: ComparisonConfig, imputed: Values | None) -> tuple[Tests, Decision]:
    """The effects of one comparison, and what they say; parameters as those of `find_arrest`."""
    if not matrix.enough:
        return _nothing()
    drawn = None if imputed is None else matrix.by_unit(imputed)
    counts, exposure = matrix.by_unit(matrix.counts), matrix.by_unit(matrix.exposure)
    sampling = None if matrix.sampling is None else matrix.by_unit(matrix.sampling)
    tests = with_imputed(counts, drawn, exposure, matrix.layout, config.contrast_place, sampling=sampling)
    return tests, decide(tests, config)


def _nothing() -> tuple[Tests, Decision]:
    def unknown(*shape: int) -> Effect:
        log_ratio, se, df = (np.full(shape, math.nan) for _ in range(3))
        return Effect(log_ratio, se, df, np.zeros(shape, bool))

    n = len(_NAMES)
    tests = Tests(unknown(n), unknown(n - 1), unknown(n - 1), unknown())
    no = np.zeros(n - 1, bool)
    return tests, Decision(np.full(n - 1, math.nan), no, no[0], no, no, no[0], np.array("not estimable"))


def columns_of(effect: Effect) -> dict[str, Values]:
    """Columns of an effect in the tables; ratios instead of logarithms."""
    (low, high), (low_90, high_90) = effect.interval(), effect.interval(0.90)
    logs = {"ratio": effect.log_ratio, "low": low, "high": high, "low_90": low_90, "high_90": high_90}
    ratios = {name: np.exp(value) for name, value in (logs | {"upper": effect.upper()}).items()}
    if isinstance(effect, LinearEffect):
        ratios["ratio"] = effect.ratio
    return ratios | {
        "se": effect.se,
        "df": effect.df,
    }


def _steps(matrix: CountMatrix, tests: Tests, decision: Decision, contrast: int) -> pd.DataFrame:
    seen, later = matrix.seen, tests.later
    to = [rungs_after(k, seen)[0] for k in range(len(_NAMES) - 1)]
    table = pd.DataFrame(
        {"comparison": matrix.comparison, "from": _NAMES[:-1], "to": [_NAMES[k] for k in to]}
        | columns_of(tests.steps)
        | {
            "p": tests.steps.p_lower,
            "later_ratio": columns_of(later)["ratio"],
            "later_upper": np.exp(later.upper()),
            "later_p": later.p_lower,
            "p_holm": decision.p_claims,
            "block": np.where(decision.blocks, "yes", "no"),
            "note": [_note(tests, decision, k, contrast) for k in range(len(_NAMES) - 1)],
        }
    )
    return table[seen[:-1] & seen[to]]


def _note(tests: Tests, decision: Decision, k: int, contrast: int) -> str:
    parts = ["arrest, see question.csv"] if decision.arrest and k == contrast else []
    if np.isnan(tests.steps.log_ratio[k]):
        parts.append("not estimable")
    elif tests.steps.few[k]:
        parts.append("sums of the groups")
    return "; ".join(parts)


def _question(matrix: CountMatrix, tests: Tests, decision: Decision, contrast: int) -> pd.DataFrame:
    rows = [
        {"test": name} | {key: float(value) for key, value in columns_of(effect).items()} | {"p": float(effect.p_lower)}
        for name, effect in (("shift", tests.shift), ("total", tests.later.at(contrast)))
    ]
    table = pd.DataFrame([*rows, {"test": "arrest", "p": float(np.maximum(rows[0]["p"], rows[1]["p"]))}])
    return table.assign(
        comparison=matrix.comparison,
        contrast=_NAMES[contrast],
        p_holm=[math.nan, math.nan, float(decision.p_claims[contrast])],
        arrest="yes" if decision.arrest else "no",
    )


def _animals(matrix: CountMatrix, contrast: int) -> pd.DataFrame:
    table = pd.DataFrame(matrix.counts, columns=list(_NAMES))
    table.insert(0, "animal", list(matrix.animals))
    table.insert(0, "group", np.where(matrix.knockout, "knockout", "control"))
    table.insert(0, "comparison", matrix.comparison)
    table["unit"] = matrix.units
    table["pair"] = matrix.litters if matrix.paired else ""
    table["batch"] = "" if matrix.batches is None else matrix.batches
    own = Counted(matrix.counts[:, contrast], matrix.exposure[:, contrast])
    later = together(matrix.counts, matrix.exposure, rungs_after(contrast, matrix.seen))
    with np.errstate(invalid="ignore"):  # estimates of an audit may be negative
        return table.assign(arrest_log_ratio=log_rates(later) - log_rates(own))
