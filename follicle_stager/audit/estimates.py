"""Totals of an animal from its predictions and the audited fields, whatever the errors of the predictions are.

The total of a stage is the predicted total, plus the differences between truth and prediction in the audited fields,
expanded by the inverse of their chances of being drawn: the stratified difference estimator (Särndal, Swensson and
Wretman, *Model Assisted Survey Sampling*, 1992, chapter 6.3). It is unbiased over the draws of the fields, for any
prediction. Prediction-powered inference (Angelopoulos et al. 2023, doi:10.1126/science.adi6000) is the same idea.

A weight between 0 and 1 on the prediction (PPI++: Angelopoulos, Duchi and Zrnic 2023, arXiv:2311.01453) makes the
estimate never much worse than that of the audited fields alone. The weight of an animal is found in the *other* animals
(cross-fitting): a weight found in the same fields would bias the estimate, and one that all animals share would tie
their errors together.

Totals are not cut off at zero: this would bias the means of the groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]


@dataclass(frozen=True)
class AuditedAnimal:
    """The fields of one animal; the columns are stages, or other kinds of counts.

    Attributes
    ----------
    strata
        Stratum of each field, numbers from 0, (fields,).
    claims
        Predicted numbers, (fields, columns).
    audited
        Places of the audited fields, (audited,), each once.
    found
        True numbers in the audited fields, (audited, columns).
    """

    strata: NDArray[np.int_]
    claims: Values
    audited: NDArray[np.int_]
    found: Values

    @property
    def expansion(self) -> Values:
        """Number of fields of its stratum for which each audited field stands, (audited,)."""
        own, sizes = self.strata[self.audited], np.bincount(self.strata)
        return np.asarray((sizes / np.maximum(np.bincount(own, minlength=len(sizes)), 1))[own])

    def covariances(self) -> tuple[Values, Values, Values]:
        """Variances of the expanded totals of ``found`` and ``claims``, and their covariance, (columns,) each."""
        sizes = np.bincount(self.strata)
        own = self.strata[self.audited]
        parts = np.zeros((3, self.claims.shape[1]))
        for stratum in np.unique(own):
            inside = own == stratum
            drawn, size = int(inside.sum()), int(sizes[stratum])
            if drawn < 2:  # the whole stratum, or the audit was closed early
                continue
            truth, claim = self.found[inside], self.claims[self.audited[inside]]
            truth, claim = truth - truth.mean(axis=0), claim - claim.mean(axis=0)
            factor = size**2 * (1 / drawn - 1 / size) / (drawn - 1)
            parts += factor * np.stack(
                [(x * y).sum(axis=0) for x, y in ((truth, truth), (claim, claim), (truth, claim))]
            )
        return parts[0], parts[1], parts[2]

    def totals(self, weight: Values) -> tuple[Values, Values]:
        """Estimated totals and the variances of their sampling error, (columns,) each.

        Parameters
        ----------
        weight
            Weight of the prediction, (columns,): 1 for the difference estimator, 0 for the audited fields alone.
        """
        differences = self.found - weight * self.claims[self.audited]
        total = weight * self.claims.sum(axis=0) + (self.expansion[:, None] * differences).sum(axis=0)
        truth, claim, both = self.covariances()
        return np.asarray(total), np.maximum(truth + weight**2 * claim - 2 * weight * both, 0.0)


def tuned_weights(animals: Sequence[AuditedAnimal]) -> Values:
    """Weight of the prediction of each animal and column, from the other animals, (animals, columns); 1 if unknown."""
    _, claims, both = np.moveaxis(np.array([animal.covariances() for animal in animals]), 1, 0)
    others_claims, others_both = (values.sum(axis=0) - values for values in (claims, both))
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(others_claims > 0, others_both / others_claims, 1.0)
    return np.asarray(np.clip(weights, 0.0, 1.0))


def all_totals(animals: Sequence[AuditedAnimal], *, tuned: bool = True) -> tuple[Values, Values]:
    """Totals of all animals with the variances of their sampling errors, (animals, columns) each.

    Parameters
    ----------
    animals
        The audited animals of a study.
    tuned
        Whether the predictions get cross-fitted weights; otherwise their weight is 1.
    """
    weights = tuned_weights(animals) if tuned else np.ones((len(animals), animals[0].claims.shape[1]))
    totals, variances = zip(*(animal.totals(own) for animal, own in zip(animals, weights, strict=True)), strict=True)
    return np.array(totals), np.array(variances)
