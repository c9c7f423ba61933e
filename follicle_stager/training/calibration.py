"""Calibrate the probability that a claim is a follicle, by logistic regression on virtual slides.

Weights have the sign that anatomy suggests, and the penalty is as strong as the virtual slides allow (the
one-standard-error rule of Hastie, Tibshirani & Friedman 2009), so that the score holds on slides with other looks.

The slides are whole, have randomised looks as in training, and show ovaries that no run trains on. If the network was
trained with pictures of other organs, what it claims on them is part of the regression, too: all of it is false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from follicle_stager.annotations import read_geojson
from follicle_stager.config import TissueConfig
from follicle_stager.detection.detectors import COARSER, network_pass
from follicle_stager.detection.search import search
from follicle_stager.errors import SlideError, UserError
from follicle_stager.evaluation.marks import SMALLEST_FIELD_MM2
from follicle_stager.evaluation.pairs import only_follicles
from follicle_stager.matching import match_outlines
from follicle_stager.slides import open_slide
from follicle_stager.study import list_slides
from follicle_stager.tissue import survey
from follicle_stager.training.textures import for_training

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.detection.network.model import Scale

#: Evidence of a claim that the regression uses, and whether it supports that the claim is a follicle. With weights of
#: another sign, a claim that looks better could get a lower score; virtual slides alone do not prevent that.
EVIDENCE = {
    "oocyte": True,
    "oocyte_share": True,
    "centre": True,
    "spread": False,
    "moved": False,
    "border": True,
    "granulosa": True,
    "cut": False,
    "fluid": True,
}
# Weights of the squared coefficients to choose from.
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# Parts in which the slides are left out in turn. With five, the standard error is so wide that penalties pass whose
# probabilities are wrong (claims of 0.55 are right in 0.37 of cases).
_FOLDS = 10
#: Smallest overlap of a claim with its true follicle, as in the evaluation.
_MIN_IOU = 0.5
_LEAST_SPREAD = 0.05
_LEAST_SECTIONS = 8


@dataclass(frozen=True)
class Calibration:
    """A fitted regression, and its reliability on slides that it was not fitted to.

    Attributes
    ----------
    intercept, weights
        Coefficients, as in `detection.network.model.Scale`.
    reliability
        Table with one row per tenth of probability: number of claims, mean probability, share of follicles.
    """

    intercept: float
    weights: dict[str, float]
    reliability: pd.DataFrame


def claims_on(cohort: Path, folder: Path, index: int, scale: Scale) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Collect all claims of a network on a cohort of virtual slides, and how strange the slides are to it.

    Parameters
    ----------
    cohort
        Folder of a cohort from ``phantom``.
    folder, index, scale
        Folder of the network, and index and description of one of its scales.

    Returns
    -------
    claims : DataFrame
        One row per claim: evidence, ``true`` and ``slide``. A follicle without oocyte and fluid in the section does not
        count as true, because it cannot be staged.
    strangeness : ndarray, (slide,)
        Strangeness of the largest section of each slide, see `detection.search.Searched`; others are debris.
    """
    look = network_pass(folder, index, scale, 0.0)
    rows, strangeness = [], []
    for source in list_slides(cohort):
        with open_slide(source.path) as slide:
            overview = survey(slide, TissueConfig())
            found, strange, _ = search(slide, overview, look)
        largest = int(np.argmax([section.area for section in overview.sections]))
        strangeness.append(strange[largest])
        size = slide.pixel_size
        truth = only_follicles(read_geojson(cohort / "truth" / f"{source.slide_id}.geojson"))
        outlines = [size.to_um(t.outline) for t in truth]
        for claim in found:
            # Each claim on its own: several claims may match one follicle, and the best one is chosen later.
            match = match_outlines([claim.outline], outlines, min_iou=_MIN_IOU)
            true = bool(match) and truth[match[0].true].other_numbers.get("Recognisable", 1.0) > 0
            rows.append(claim.evidence | {"true": true, "slide": source.slide_id})
    return pd.DataFrame(rows), np.array(strangeness)


def claims_on_textures(folder: Path, network: Path, index: int, scale: Scale) -> pd.DataFrame:
    """Collect all claims of a network on pictures for training of tissue without follicles; all of them are false.

    Parameters
    ----------
    folder
        Folder with the pictures, see `training.textures`. Pictures on which nobody could see follicles of the scale are
        left out.
    network, index, scale
        Folder of the network, and index and description of one of its scales.

    Returns
    -------
    DataFrame
        As from `claims_on`.
    """
    look, tissue = network_pass(network, index, scale, 0.0), TissueConfig(min_section_mm2=SMALLEST_FIELD_MM2)
    rows = []
    for picture in for_training(folder):
        if picture.mpp > COARSER * scale.mpp:
            continue
        try:
            with open_slide(picture.path, mpp=picture.mpp) as slide:
                claims = search(slide, survey(slide, tissue), look).claims
        except SlideError:  # nothing but glass, for example
            continue
        rows += [claim.evidence | {"true": False, "slide": str(picture.path)} for claim in claims]
    return pd.DataFrame(rows)


def familiar_to(strangeness: NDArray[np.float64]) -> float | None:
    """Limit of strangeness: 3 SD above the mean of virtual sections; None if too few were measured."""
    known = strangeness[np.isfinite(strangeness)]
    return float(known.mean() + 3 * known.std(ddof=1)) if len(known) >= _LEAST_SECTIONS else None


def fit(claims: pd.DataFrame) -> Calibration:
    """Fit the regression; cross-validation over slides chooses its penalty and measures its reliability.

    Raises
    ------
    UserError
        If all claims are true, all are false, or all are on one slide.
    """
    from sklearn.model_selection import GroupKFold

    if not len(claims) or min(claims["true"].nunique(), claims["slide"].nunique()) < 2:
        raise UserError(
            "On the calibration slides, the network claims no follicles, only follicles, or claims on one slide only: "
            "train it for more steps, or increase calibration_animals."
        )
    # Evidence that hardly varies here must not get a large weight, because it may vary on other slides.
    spread = np.maximum(claims[list(EVIDENCE)].std(ddof=0).to_numpy(), _LEAST_SPREAD)
    x, y, slides = claims[list(EVIDENCE)].to_numpy() / spread, claims["true"].to_numpy(bool), claims["slide"]
    folds = list(GroupKFold(min(_FOLDS, slides.nunique())).split(x, y, slides))
    held_out, losses = np.zeros((len(_PENALTIES), len(y))), np.zeros((len(_PENALTIES), len(folds)))
    for i, penalty in enumerate(_PENALTIES):
        for j, (train, test) in enumerate(folds):
            logit = _logit(x[test], _regression(x[train], y[train], penalty))
            held_out[i, test] = expit(logit)
            losses[i, j] = np.logaddexp(0, np.where(y[test], -logit, logit)).mean()
    # The strongest penalty within one standard error of the best: real slides differ more than virtual ones do.
    mean = losses.mean(axis=1)
    best = mean.argmin()
    error = losses[best].std(ddof=1) / np.sqrt(len(folds))
    chosen = int(np.flatnonzero(mean <= mean[best] + error).max())
    fitted = _regression(x, y, _PENALTIES[chosen])
    weights = dict(zip(EVIDENCE, (fitted[1:] / spread).tolist(), strict=True))
    return Calibration(float(fitted[0]), weights, _reliability(held_out[chosen], y))


def _logit(x: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(coefficients[0] + x @ coefficients[1:])


def _regression(x: NDArray[np.float64], y: NDArray[np.bool_], penalty: float) -> NDArray[np.float64]:
    """Logistic regression with a ridge penalty, whose weights have the expected signs: intercept, then weights."""
    sign = np.where(y, 1.0, -1.0)

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin, weights = sign * _logit(x, coefficients), coefficients[1:]
        slope = -sign * expit(-margin)
        value = np.logaddexp(0, -margin).sum() + penalty / 2 * (weights**2).sum()
        return float(value), np.r_[slope.sum(), slope @ x + penalty * weights]

    bounds = [(None, None), *((0, None) if supports else (None, 0) for supports in EVIDENCE.values())]
    return np.asarray(minimize(loss, np.zeros(x.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B").x)


def plot_reliability(table: pd.DataFrame, path: Path) -> None:
    """Plot the stated probability against the share of follicles; ``table`` has a column ``scale``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], "k:", linewidth=1)
    for scale, rows in table.groupby("scale", sort=False):
        axes.plot(rows["probability"], rows["true"], "-", linewidth=1)
        axes.scatter(rows["probability"], rows["true"], s=8 + 2 * rows["claims"] ** 0.5, label=scale)
    axes.set(xlabel="stated probability", ylabel="share that are follicles", xlim=(0, 1), ylim=(0, 1))
    axes.legend(title="slides left out in turn")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _reliability(probability: NDArray[np.float64], true: NDArray[np.bool_]) -> pd.DataFrame:
    table = pd.DataFrame({"probability": probability, "true": true})
    tenth = np.minimum((10 * table["probability"]).astype(int), 9)
    rows = table.groupby(tenth).agg(claims=("true", "size"), probability=("probability", "mean"), true=("true", "mean"))
    return rows.reset_index(drop=True)
