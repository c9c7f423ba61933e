"""Train and export the detection network on virtual ovaries only (extra ``train``).

recipe (TOML) -> for each scale: patches rendered by worker processes -> training loop -> ONNX -> calibration on whole
virtual slides -> a network folder that `detection.network` loads.
"""

from pathlib import Path

from follicle_stager.training.fine_tune import fine_tune
from follicle_stager.training.network import train_network
from follicle_stager.training.settings import Recipe, TrainSettings, load_recipe, starting_from

#: Recipe of the shipped network, and recipe for fine-tuning it on a lab's own slides.
MOUSE_OVARY, FINE_TUNE = (Path(__file__).with_name(f"{name}.toml") for name in ("mouse_ovary", "fine_tune"))

__all__ = [
    "FINE_TUNE",
    "MOUSE_OVARY",
    "Recipe",
    "TrainSettings",
    "fine_tune",
    "load_recipe",
    "starting_from",
    "train_network",
]
