"""From what a claim is made of to the probability that it is a follicle: logistic regression on virtual slides.

The slides are whole, look as random as those in training, and are of ovaries that no run trains on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.annotations import read_geojson
from follicle_stager.config import TissueConfig
from follicle_stager.detection.detectors import network_pass
from follicle_stager.detection.search import search
from follicle_stager.errors import UserError
from follicle_stager.matching import match_outlines
from follicle_stager.slides import open_slide
from follicle_stager.study import list_slides
from follicle_stager.tissue import survey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.detection.network.model import Scale

#: What of a claim's evidence the probability is worked out from.
EVIDENCE = ("oocyte", "oocyte_share", "centre", "spread", "moved", "border", "granulosa", "cut", "fluid", "other")
#: Claims overlap a true follicle this much to be it, as in the evaluation.
_MIN_IOU = 0.5
_LEAST_SPREAD = 0.05
_LEAST_SECTIONS = 8


@dataclass(frozen=True)
class Calibration:
    """A fitted regression, and how reliable it is on ovaries that it was not fitted to.

    Attributes
    ----------
    intercept, weights
        As in `detection.network.model.Scale`.
    reliability
        Ten classes of probability: claims, mean probability, share that are follicles.
    """

    intercept: float
    weights: dict[str, float]
    reliability: pd.DataFrame


def claims_on(cohort: Path, folder: Path, index: int, scale: Scale) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """All claims of a network on a cohort of virtual slides, and how strange it finds the sections.

    Parameters
    ----------
    cohort
        From ``phantom``.
    folder, index, scale
        The network, and which of its scales.

    Returns
    -------
    claims : DataFrame
        One row per claim: evidence, ``true`` and ``slide``. A follicle cut beside oocyte and fluid is no true one:
        nobody could give it a stage.
    strangeness : ndarray, (section,)
    """
    look = network_pass(folder, index, scale, 0.0)
    rows, strangeness = [], []
    for source in list_slides(cohort):
        with open_slide(source.path) as slide:
            found, strange = search(slide, survey(slide, TissueConfig()), look)
        strangeness.append(strange)
        size = slide.pixel_size
        truth = read_geojson(cohort / "truth" / f"{source.slide_id}.geojson")
        outlines = [size.to_um(t.outline) for t in truth]
        for claim in found:
            # One by one: several claims may be of one follicle, and the best of them is settled later.
            match = match_outlines([claim.outline], outlines, min_iou=_MIN_IOU)
            true = bool(match) and truth[match[0].true].other_numbers.get("Recognisable", 1.0) > 0
            rows.append(claim.evidence | {"true": true, "slide": source.slide_id})
    return pd.DataFrame(rows), np.concatenate(strangeness)


def familiar_to(strangeness: NDArray[np.float64]) -> float | None:
    """How strange a section may be: 3 SD above the mean of virtual ones; None if too few were measured."""
    known = strangeness[np.isfinite(strangeness)]
    return float(known.mean() + 3 * known.std(ddof=1)) if len(known) >= _LEAST_SECTIONS else None


def fit(claims: pd.DataFrame) -> Calibration:
    """Fit the regression; its reliability is measured on slides left out in turn.

    Raises
    ------
    UserError
        If there is nothing to tell apart.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    if not len(claims) or min(claims["true"].nunique(), claims["slide"].nunique()) < 2:
        raise UserError(
            "The network claims no follicle on the calibration slides, or nothing else, or claims on one slide only: "
            "train it for more steps, or raise calibration_animals."
        )
    x, y = claims[list(EVIDENCE)].to_numpy(), claims["true"].to_numpy(bool)
    # What hardly varies here must not decide on slides where it does.
    spread = np.maximum(x.std(axis=0), _LEAST_SPREAD)
    groups = claims["slide"].to_numpy()
    model = LogisticRegression(max_iter=1000)
    held_out = np.zeros(len(y))
    for train, test in GroupKFold(min(5, len(np.unique(groups)))).split(x, y, groups):
        held_out[test] = model.fit(x[train] / spread, y[train]).predict_proba(x[test] / spread)[:, 1]
    model.fit(x / spread, y)
    weights = dict(zip(EVIDENCE, (model.coef_[0] / spread).tolist(), strict=True))
    return Calibration(float(model.intercept_[0]), weights, _reliability(held_out, y))


def plot_reliability(table: pd.DataFrame, path: Path) -> None:
    """Draw stated probability against the share that are follicles; ``table`` has a column ``scale``."""
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
