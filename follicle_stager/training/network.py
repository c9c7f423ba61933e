"""A whole network: each scale trained, calibrated, and put into one folder."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pandas as pd

from follicle_stager.detection.network.model import DESCRIPTION, Description, Scale, toml_of
from follicle_stager.files import replacing, write_csv, write_text
from follicle_stager.phantom.cohort import make_plan, write_cohort
from follicle_stager.training.calibration import claims_on, fit
from follicle_stager.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from follicle_stager.training.settings import Recipe, TrainSettings

#: Of the slides on which probabilities are calibrated; no run trains on ovaries of this seed.
_CALIBRATION_SEED = 20261124
_CALIBRATION: dict[str, Any] = {
    "models": {"HE": "H&E", "H": "hematoxylin", "PAS": "PAS"},
    "sections": 1,
    "sections_per_slide": 1,
    "mode": "randomised",
    "faults": [0.0, 0.35],
    "mpp": 0.5,
    "jpeg": 85,
    "ovary": "adult",
    "seed": _CALIBRATION_SEED,
}


def train_network(
    recipe: Recipe,
    folder: Path,
    *,
    patches: Path,
    on_step: Callable[[str, int, dict[str, float]], None] = lambda scale, step, losses: None,
) -> Path:
    """Train, calibrate and export a network; what an earlier call finished is kept.

    Parameters
    ----------
    recipe
        What to train.
    folder
        Gets a run for each scale, and ``network/`` with what `detection.network.model` loads.
    patches
        Where rendered patches are kept; networks can share it.
    on_step
        Called with the scale's name, the number of steps done, and the losses.

    Returns
    -------
    Path
        The network's folder.
    """
    weights = {}
    for settings in recipe.scales:

        def report(step: int, losses: dict[str, float], name: str = settings.name) -> None:
            on_step(name, step, losses)

        weights[settings.name] = train(settings, folder / settings.name, patches=patches, on_step=report)
    cohort = _calibration_slides(patches / "calibration", recipe)
    network = folder / "network"
    network.mkdir(exist_ok=True)
    for name, path in weights.items():
        with replacing(network / f"{name}.onnx") as temporary:
            temporary.write_bytes(path.read_bytes())
    scales = tuple(_scale(settings, network) for settings in recipe.scales)
    _describe(network, recipe.name, scales)
    calibrated, tables = [], []
    for index, (settings, scale) in enumerate(zip(recipe.scales, scales, strict=True)):
        calibration = fit(claims_on(cohort, network, index, scale))
        calibrated.append(scale.model_copy(update={"intercept": calibration.intercept, "weights": calibration.weights}))
        tables.append(calibration.reliability.assign(scale=settings.name))
    write_csv(folder / "reliability.csv", pd.concat(tables))
    _describe(network, recipe.name, tuple(calibrated))
    return network


def _scale(settings: TrainSettings, network: Path) -> Scale:
    file = f"{settings.name}.onnx"
    return Scale(
        file=file,
        sha256=hashlib.sha256((network / file).read_bytes()).hexdigest(),
        mpp=settings.mpp,
        smallest_um=settings.smallest_um,
        largest_um=settings.largest_um,
    )


def _describe(network: Path, name: str, scales: tuple[Scale, ...]) -> None:
    write_text(network / DESCRIPTION, toml_of(Description(name=name, scales=scales)))


def _calibration_slides(folder: Path, recipe: Recipe) -> Path:
    plan = make_plan(_CALIBRATION | {"animals": recipe.calibration_animals})
    last = folder / "truth" / "genotypes.csv"
    if not last.exists():
        write_cohort(folder, plan, jobs=recipe.scales[0].workers)
    return folder
