"""All choices of one training run, from a TOML file."""

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
    """One network for one scale; lengths are µm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    """Of the network: its files are called so."""
    mpp: Positive
    """µm/px that slides are brought to."""
    mpp_spread: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Sections are rendered from ``mpp / (1 + spread)`` to ``mpp * (1 + spread)``: scales are off."""
    smallest_um: Positive
    """Diameter of the smallest follicles that are looked for."""
    largest_um: Positive
    """... and of the largest."""
    claims_to_um: Positive | None = None
    """Diameter of about the largest that the network may claim, where a coarser scale knows larger ones better."""
    stages: tuple[Stage, ...] = LADDER
    """Of the follicles that patches are laid over."""
    without: tuple[Ingredient, ...] = ()
    """What the virtual sections lack, to see what each is worth."""
    patch_px: Count = 256
    """Side of a training patch."""
    batch: Count = 4
    """Patches per step: on a few processors many small steps learn faster than few large ones."""
    steps: Count = 8000
    reuse: Count = 3
    """How often each patch is seen, turned, mirrored and recoloured; 1 for always fresh ones."""
    learning_rate: Positive = 2e-3
    """Highest; it rises for the first twentieth and falls to nothing."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    encoder: Literal["imagenet", "lite", "plain"] = "imagenet"
    """Way down of the network: EfficientNet-Lite0 from ImageNet or from random weights, or plain convolutions."""
    widths: tuple[Count, ...] = (32, 64, 112, 160)
    """Channels at 1/4, 1/8, 1/16 and (plain) 1/32 of the resolution."""
    start: str = ""
    """ONNX file of this architecture whose weights the run starts from, instead of those of ``encoder``."""
    study: str = ""
    """Study folder: half of the patches are then from its corrected slides."""
    seed: int = 1
    """Of weights, order and turns."""
    data_seed: int = 1
    """Of the virtual ovaries: runs that share it, and all that patches depend on, share patches."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that render."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes a GPU where there is one."""
    checkpoint_steps: Count = 100
    """Steps between checkpoints: so much is lost by an interruption."""

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
    """A network: one training run for each scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    scales: tuple[TrainSettings, ...] = Field(min_length=1)
    calibration_animals: Count = 2
    """Virtual animals per stain and group on whose slides probabilities are calibrated."""


def load_recipe(path: Path, **given: object) -> Recipe:
    """Read what shall be trained from TOML.

    Parameters
    ----------
    path
        ``name`` of the network, settings for all scales, and a table ``[[scales]]`` for each with its own.
    **given
        Settings that stand instead of the file's, for all scales.

    Raises
    ------
    UserError
        If the file is missing, no TOML, or has an unknown name or a value out of range.
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
