"""Train all scales of a network, calibrate them, and put them into one folder."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from follicle_stager.detection.network import model
from follicle_stager.detection.network.model import Scale
from follicle_stager.files import replacing, write_csv, write_text
from follicle_stager.phantom.cohort import plan_audit, write_cohort
from follicle_stager.phantom.fields import renderer_id
from follicle_stager.training.calibration import claims_on, claims_on_textures, familiar_to, fit, plot_reliability
from follicle_stager.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from follicle_stager.training.settings import Recipe

#: Seed of the calibration slides; no run trains on ovaries of this seed.
_CALIBRATION_SEED = 20261124
_CALIBRATION: dict[str, Any] = {
    "models": {"HE": "H&E", "H": "hematoxylin", "PAS": "PAS"},
    "sections": 1,
    "sections_per_slide": 1,
    "mode": "randomised",
    "faults": [0.0, 0.35],
    "variety": [0.0, 0.6, 0.6],
    "washed_out": [0.0, 0.4, 0.4],
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
    """Train, calibrate and export a network; results of an earlier call are kept.

    Parameters
    ----------
    recipe
        Recipe of the network.
    folder
        Folder for the run of each scale, and for ``network/``, which `detection.network.model` loads.
    patches
        Folder in which rendered patches are kept; networks can share it.
    on_step
        Function that is called with the scale's name, the number of steps done, and the losses.

    Returns
    -------
    Path
        Folder of the network.
    """
    weights = {}
    for settings in recipe.scales:
        report = functools.partial(on_step, settings.name)
        weights[settings.name] = train(settings, folder / settings.name, patches=patches, on_step=report)
    cohort = _calibration_slides(patches, recipe)
    known = [
        Scale(
            file=f"{settings.name}.onnx",
            sha256="0" * 64,  # `describe_network` fills it in
            mpp=settings.mpp,
            smallest_um=settings.smallest_um,
            largest_um=settings.claims_to_um or settings.largest_um,
            corpora_lutea=settings.corpora_lutea,
        )
        for settings in recipe.scales
    ]
    raw = describe_network(folder / "uncalibrated", recipe.name, weights, known)
    calibrated, tables = [], []
    for index, scale in enumerate(model.describe(raw).scales):
        claims, strangeness = claims_on(cohort, raw, index, scale)
        if textures := recipe.scales[index].textures:
            claims = pd.concat([claims, claims_on_textures(Path(textures), raw, index, scale)], ignore_index=True)
        calibration = fit(claims)
        update = {"intercept": calibration.intercept, "weights": calibration.weights}
        calibrated.append(scale.model_copy(update=update | {"familiar_to": familiar_to(strangeness)}))
        tables.append(calibration.reliability.assign(scale=recipe.scales[index].name))
    reliability = pd.concat(tables)
    write_csv(folder / "reliability.csv", reliability)
    plot_reliability(reliability, folder / "reliability.png")
    return describe_network(folder / "network", recipe.name, weights, calibrated)


def describe_network(folder: Path, name: str, weights: dict[str, Path], scales: Sequence[Scale]) -> Path:
    """Put a network's files into one folder.

    Parameters
    ----------
    folder
        Folder to write to.
    name
        Name of the network.
    weights
        ONNX file of each scale, by name.
    scales
        Descriptions of the scales, in the same order.

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = []
    for (own, path), scale in zip(weights.items(), scales, strict=True):
        content = path.read_bytes()
        with replacing(folder / f"{own}.onnx") as temporary:
            temporary.write_bytes(content)
        update = {"file": f"{own}.onnx", "sha256": hashlib.sha256(content).hexdigest()}
        described.append(scale.model_copy(update=update))
    write_text(folder / model.DESCRIPTION, model.Description(name=name, scales=tuple(described)).as_toml())
    return folder


def _calibration_slides(patches: Path, recipe: Recipe) -> Path:
    plan = plan_audit(_CALIBRATION | {"animals": recipe.calibration_animals})
    made_of = hashlib.sha256((plan.model_dump_json() + renderer_id()).encode()).hexdigest()[:12]
    folder = patches / f"calibration-{made_of}"
    last = folder / "truth" / "genotypes.csv"
    if not last.exists():
        write_cohort(folder, plan, jobs=recipe.scales[0].workers)
    return folder
