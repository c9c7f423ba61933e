"""The comparison made in other ways, to see what the verdict depends on.

Each way changes one thing: the kind of counts, one animal, the antral stages, the errors of the software, litters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import columns_of, tested

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.matrix import CountMatrix

    Values = NDArray[np.float64]

#: The comparison without the audit, as one of the other ways.
NOT_AUDITED = "audit left out"


def sensitivity(
    matrix: CountMatrix,
    imputed: Values | None,
    config: ComparisonConfig,
    *,
    of_kinds: Mapping[str, tuple[CountMatrix, Values | None]],
) -> pd.DataFrame:
    """Make the comparison again in other ways, one change at a time.

    Parameters
    ----------
    matrix, imputed
        The comparison, with the draws of its staging errors, (draws, n, 5), or None.
    config
        The question, and limits of the verdict.
    of_kinds
        The same comparison with other kinds of counts, by their names.

    Returns
    -------
    DataFrame
        A row for each way: ``changed``, the verdict, and ratio, interval and p of both parts of the question.
    """
    rows = []
    for name, own, drawn in _ways(matrix, imputed, of_kinds):
        tests, decision = tested(own, config, drawn)
        row: dict[str, object] = {"comparison": matrix.comparison, "changed": name, "verdict": str(decision.kind)}
        row["blocks_after"] = " ".join(decision.blocked_after)
        for test, effect in (("shift", tests.shift), ("total", tests.later.at(config.contrast_place))):
            columns = columns_of(effect) | {"p": effect.p_lower}
            row |= {f"{test}_{part}": float(columns[part]) for part in ("ratio", "low", "high", "p")}
        rows.append(row)
    return pd.DataFrame(rows)


def _ways(
    matrix: CountMatrix, imputed: Values | None, of_kinds: Mapping[str, tuple[CountMatrix, Values | None]]
) -> Iterator[tuple[str, CountMatrix, Values | None]]:
    yield "as compared", matrix, imputed
    for kind, (own, drawn) in of_kinds.items():
        yield kind if kind == NOT_AUDITED else f"counted: {kind}", own, drawn
    if imputed is not None:
        yield "errors of the software left out", matrix, None
    early, antral = list(RUNGS).index("early_antral"), list(RUNGS).index("antral")
    if matrix.seen[[early, antral]].all():
        drawn, sampling = (
            None if values is None else _merged(values, early, antral) for values in (imputed, matrix.sampling)
        )
        merged = replace(matrix, counts=_merged(matrix.counts, early, antral), sampling=sampling)
        yield "early antral counted as antral", merged, drawn
    if matrix.litters is not None:
        yield "litters ignored", replace(matrix, litters=None, paired=False), imputed
    if matrix.batches is not None:
        yield "batches ignored", replace(matrix, batches=None), imputed
    # A pair is left out as a whole.
    names = matrix.animals if not matrix.paired or matrix.litters is None else tuple(map(str, matrix.litters))
    for name in dict.fromkeys(names):
        kept = np.array([own != name for own in names])
        yield f"without {name}", matrix.only(kept), None if imputed is None else imputed[:, kept]


def _merged(values: Values, early: int, antral: int) -> Values:
    """Counts in which early antral follicles are antral, and have no count of their own."""
    values = values.copy()
    values[..., antral] += values[..., early]
    values[..., early] = np.nan
    return values


def called(verdict: str) -> str:
    """A kind of verdict as people read it."""
    return "no block" if verdict == "none" else verdict


def in_words(table: pd.DataFrame) -> str:
    """Say in one sentence on what the verdict depends."""
    first, others = table.iloc[0], table.iloc[1:]
    # A way that changes nothing at all is no support: early antral follicles are antral for most questions anyway.
    others = others[(others.drop(columns="changed") != first.drop("changed")).any(axis=1)]
    if others.empty:
        return ""
    same = (others["verdict"] == first["verdict"]) & (others["blocks_after"] == first["blocks_after"])
    own = called(str(first["verdict"]))
    verdict = "the same block is found" if own == "block" else f"the verdict is also {own}"
    said = f"With the same stages of the follicles, {verdict} in {same.sum()} of {len(others)} other ways to compare"
    different = []
    for name, rows in others[~same].groupby("verdict", sort=False):
        beside = " after other stages" if name == first["verdict"] else ""
        different.append(f"{called(str(name))}{beside} ({', '.join(rows['changed'])})")
    return f"{said}. In the others: {'; '.join(different)}." if different else f"{said}."
