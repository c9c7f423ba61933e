"""Train and export the detection network, from virtual ovaries alone (extra ``train``).

recipe (TOML) -> for each scale: patches rendered by worker processes -> training loop -> ONNX -> calibration on whole
virtual slides -> a network folder that `detection.network` loads.
"""

from follicle_stager.training.network import train_network
from follicle_stager.training.settings import Recipe, TrainSettings, load_recipe

__all__ = ["Recipe", "TrainSettings", "load_recipe", "train_network"]
