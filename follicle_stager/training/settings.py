"""All settings of a training run, read from a TOML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from follicle_stager.config import Positive, explain, read_values
from follicle_stager.detection.network.layout import STEP
from follicle_stager.errors import UserError
from follicle_stager.phantom.patches import Ingredient
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from pathlib import Path

Count = Annotated[int, Field(ge=1)]


class TrainSettings(BaseModel):
    """Settings for the network of one scale; lengths are µm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    """Name of the network, used for its files."""
    mpp: Positive
    """Pixel size, µm/px, to which slides are resampled."""
    mpp_spread: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Spread of the pixel size, against wrong scales: from ``mpp / (1 + spread)`` to ``mpp * (1 + spread)``."""
    smallest_um: Positive
    """Diameter of the smallest follicles to find."""
    largest_um: Positive
    """Diameter of the largest follicles to find."""
    claims_to_um: Positive | None = None
    """Approximate largest diameter that the network may claim, if a coarser scale is better for larger follicles."""
    corpora_lutea: bool = False
    """Whether the network looks for corpora lutea at this scale."""
    stages: tuple[Stage, ...] = LADDER
    """Stages of the follicles that patches are placed on."""
    without: tuple[Ingredient, ...] = ()
    """Ingredients that the virtual sections lack, to measure their effect."""
    patch_px: Count = 256
    """Side of a training patch, px."""
    batch: Count = 4
    """Patches per step; on a few processors, many small steps learn faster than few large ones."""
    steps: Count = 8000
    reuse: Count = 3
    """How often each patch is used, each time rotated, mirrored and recoloured; 1 for new patches only."""
    learning_rate: Positive = 2e-3
    """Highest learning rate; it rises during the first twentieth of the steps and then falls to almost 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    encoder: Literal["imagenet", "lite", "plain"] = "imagenet"
    """Encoder: EfficientNet-Lite0 with ImageNet or random weights, or plain convolutions."""
    widths: tuple[Count, ...] = (32, 64, 112, 160)
    """Numbers of channels at 1/4, 1/8, 1/16 and (plain) 1/32 of the resolution."""
    start: str = ""
    """ONNX file of the same architecture; the run starts from its weights instead of those of ``encoder``."""
    start_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the weights of ``start`` in the network that is written: it is the mean of the weights before and after
    training, which often copes better with looks that training does not show (Wortsman et al. 2022,
    doi:10.1109/CVPR52688.2022.00780). Of no effect without ``start``."""
    textures: str = ""
    """Folder with pictures of real tissue without follicles, which are shown between and around virtual follicles. The
    calibration takes all claims on them as false."""
    study: str = ""
    """Study folder; half of the patches come from its corrected slides."""
    seed: int = 1
    """Seed of weights, order and rotations."""
    data_seed: int = 1
    """Seed of the virtual ovaries; runs with the same seed and patch settings share patches."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of processes that render patches."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for training; ``auto`` uses a GPU if there is one."""
    checkpoint_steps: Count = 100
    """Steps between checkpoints, the most that an interruption can lose."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patch_px % STEP:
            raise ValueError(f"patch_px must be a multiple of {STEP}")
        if self.smallest_um >= self.largest_um:
            raise ValueError("smallest_um must be smaller than largest_um")
        if self.claims_to_um is not None and not self.smallest_um < self.claims_to_um <= self.largest_um:
            raise ValueError("claims_to_um must be between smallest_um and largest_um")
        return self


class Recipe(BaseModel):
    """Recipe of a network: one training run for each scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    scales: tuple[TrainSettings, ...] = Field(min_length=1)
    calibration_animals: Count = 2
    """Virtual animals per stain and group for the calibration of probabilities."""


def starting_from(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with each scale starting from the weights of that scale in a network's folder.

    Raises
    ------
    UserError
        If the folder lacks the weights of a scale.
    """
    scales = []
    for scale in recipe.scales:
        path = folder / f"{scale.name}.onnx"
        if not path.is_file():
            raise UserError(f"{folder}: there is no {path.name} in it; the recipe has a scale of this name.")
        scales.append(scale.model_copy(update={"start": str(path.resolve())}))
    return recipe.model_copy(update={"scales": tuple(scales)})


def load_recipe(path: Path, **given: object) -> Recipe:
    """Read a recipe from TOML.

    Parameters
    ----------
    path
        TOML file with the ``name`` of the network, settings for all scales, and a table ``[[scales]]`` for each scale.
    **given
        Settings that replace those of the file, for all scales.

    Raises
    ------
    UserError
        If the file is missing, is not TOML, or has an unknown name or a value out of range.
    """
    values = read_values(path)
    own = {name: values.pop(name) for name in list(values) if name in Recipe.model_fields}
    try:
        scales = own.get("scales", [])
        if not isinstance(scales, list):
            raise UserError(f"{path}: scales: write a table [[scales]] for each scale.")
        return Recipe.model_validate(own | {"scales": [values | dict(scale) | given for scale in scales]})
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}. All names are in follicle_stager/training/settings.py.") from None
