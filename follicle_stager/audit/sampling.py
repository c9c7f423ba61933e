"""Choose the fields of an audit at random: strata, number of fields in each, and the draw; pure functions on arrays.

Fields are the sampling units of a survey. They are grouped into strata by what was predicted in them, so that fields
without any claim are drawn too, and those with rare stages more often. Within a stratum, every field has the same
chance (simple random sampling without replacement), so the chance of each field is known. A field that was drawn stands
for 1/chance fields of its stratum: see `estimates`.

Number of fields in each stratum: Neyman's allocation (Särndal, Swensson and Wretman, *Model Assisted Survey Sampling*,
1992, chapter 3.7), with a guess of how much the truth differs from the prediction. A bad guess makes intervals wider,
never wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: Fewest fields of an animal and of a stratum.
LEAST_FIELDS, LEAST_IN_STRATUM = 20, 2
# Guess for the allocation: wrong claims, as a share of the claims, and follicles without a claim, as a share of the
# claims of their stage; half of these are anywhere in the tissue, half in proportion to other claims of the field.
_WRONG, _MISSED = 0.3, 0.3


def strata_of(claims: Values, groups: Sequence[Sequence[int]]) -> NDArray[np.int_]:
    """Stratum of each field: 0 without any claim, or 1 + the place of the last group of which it has a claim.

    Parameters
    ----------
    claims
        Predicted numbers by field and stage, (fields, stages).
    groups
        Places of the stages of each group, the most frequent group first.
    """
    strata = np.zeros(len(claims), int)
    for number, stages in enumerate(groups, start=1):
        strata[claims[:, list(stages)].sum(axis=1) > 0] = number
    return strata


def guessed_variance(claims: Values) -> Values:
    """Guess of the variance of the difference between truth and claims in each field, (fields, stages).

    Parameters
    ----------
    claims
        Predicted numbers by field and stage, (fields, stages).
    """
    crowd = claims.sum(axis=1, keepdims=True)
    anywhere = 0.5 / len(claims) + 0.5 * crowd / max(crowd.sum(), 1.0)
    return np.asarray(_WRONG * claims + _MISSED * np.maximum(claims.sum(axis=0), 1.0) * anywhere)


def expected_variance(claims: Values) -> Values:
    """The guess relative to the square of each total, (fields, stages): rare stages weigh as much as frequent ones."""
    return np.asarray(guessed_variance(claims) / np.maximum(claims.sum(axis=0), 1.0) ** 2)


def allocation(strata: NDArray[np.int_], variance: Values, number: int) -> NDArray[np.int_]:
    """Number of fields to draw from each stratum, (strata,).

    Parameters
    ----------
    strata
        Stratum of each field, numbers from 0, (fields,).
    variance
        Variance that is expected in each field, (fields,).
    number
        Number of fields to draw in all; at least `LEAST_FIELDS`, and at least `LEAST_IN_STRATUM` of each stratum, are
        drawn if there are so many.
    """
    sizes = np.bincount(strata)
    number = min(max(number, LEAST_FIELDS), len(strata))
    drawn = np.minimum(sizes, LEAST_IN_STRATUM)
    spread = np.sqrt(np.bincount(strata, variance) / np.maximum(sizes, 1))
    wanted = sizes * spread
    while drawn.sum() < number:
        # One by one to the stratum whose next field reduces the variance most; full strata get none.
        gain = np.where(drawn < sizes, wanted**2 / (drawn * (drawn + 1.0) + (drawn == 0)), -1.0)
        drawn[int(gain.argmax())] += 1
    return np.asarray(drawn)


def fields_to_draw(strata: NDArray[np.int_], claims: Values, share: float) -> NDArray[np.int_]:
    """Number of fields to draw from each stratum of an animal for a share of its fields, (strata,); see `allocation`.

    Parameters
    ----------
    strata
        Stratum of each field, numbers from 0, (fields,).
    claims
        Predicted numbers by field and stage, (fields, stages).
    share
        Share of the fields.
    """
    return allocation(strata, expected_variance(claims).sum(axis=1), round(share * len(strata)))


def draw(strata: NDArray[np.int_], numbers: NDArray[np.int_], rng: np.random.Generator) -> NDArray[np.int_]:
    """Draw fields without replacement; return their places, in random order.

    Parameters
    ----------
    strata
        Stratum of each field, (fields,).
    numbers
        Number of fields to draw from each stratum, (strata,).
    rng
        Source of all randomness.
    """
    drawn = [
        rng.choice(np.flatnonzero(strata == stratum), number, replace=False) for stratum, number in enumerate(numbers)
    ]
    return np.asarray(rng.permutation(np.concatenate(drawn).astype(int)))
