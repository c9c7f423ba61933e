"""Which detector looks at a slide, at which scales: the one thing that the pipeline knows of detectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.detection import classical
from follicle_stager.detection.found import Sight
from follicle_stager.detection.network import layout, model
from follicle_stager.detection.network.instances import Window, find_in
from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.config import DetectionConfig
    from follicle_stager.field import Field

# Side of the part of a window that a network answers for, px: most sections fit into one.
_CORE_PX = 3072
# A slide this much coarser than a scale can still be read at it.
_COARSER = 1.3
# Primordial follicles have this diameter and more, and oocytes of that; the classical detector needs this µm/px.
_PRIMORDIAL_UM, _PRIMORDIAL_OOCYTE_UM = 15.0, 12.0
_PRIMORDIAL_MPP = 0.65


@dataclass(frozen=True)
class Pass:
    """One look at the whole slide at one scale.

    Attributes
    ----------
    mpp
        µm/px.
    core_um
        Side of the squares that the slide is searched in.
    margin_um
        What is looked at around the part that a window answers for: the largest follicle.
    reach_um
        What a window shows around that: as far as filters see.
    align_px
        Windows start and end at multiples of it.
    find
        From a window to what is seen in it.
    familiar_to
        Where given, a section whose strangeness is greater is unlike anything that the detector knows.
    """

    mpp: float
    core_um: float
    margin_um: float
    reach_um: float
    align_px: int
    find: Callable[[Field], Sight]
    familiar_to: float | None = None


def choose_detector(config: DetectionConfig) -> str:
    """Name of the detector that ``auto`` stands for here.

    Raises
    ------
    UserError
        If the network is asked for and cannot run.
    """
    if config.detector == "classical":
        return "classical"
    if model.can_run():
        return "network"
    if config.detector == "network":
        raise UserError(
            "The network cannot run: onnxruntime is not installed (pip install onnxruntime). --detector classical "
            "needs nothing."
        )
    return "classical"


def detector_id(config: DetectionConfig) -> str:
    """What results depend on besides the configuration: the detector that runs here, and its weights."""
    if choose_detector(config) == "classical":
        return "classical"
    return " ".join(["network", *(scale.sha256[:12] for scale in model.describe(_folder(config)).scales)])


def passes(config: DetectionConfig, mpp: float) -> list[Pass]:
    """How a slide of this µm/px is searched."""
    if choose_detector(config) == "classical":

        def find(field: Field) -> Sight:
            return Sight(classical.find_follicles(field, config))

        return [Pass(config.working_mpp, 1600.0, 420.0, 0.0, 1, find)]
    return [network_pass(_folder(config), index, scale, config.min_score) for index, scale in _scales(config, mpp)]


def visible_stages(config: DetectionConfig, mpp: float) -> tuple[Stage, ...]:
    """Stages that a slide of this µm/px can show to the detector; the others are not available, which is not zero."""
    if choose_detector(config) == "network":
        scales = model.describe(_folder(config)).scales
        sees_small = any(mpp <= _COARSER * s.mpp and s.smallest_um <= _PRIMORDIAL_UM for s in scales)
    else:
        sees_small = mpp <= _PRIMORDIAL_MPP and config.min_oocyte_um <= _PRIMORDIAL_OOCYTE_UM
    return LADDER if sees_small else tuple(s for s in LADDER if not s.resting)


def _scales(config: DetectionConfig, mpp: float) -> list[tuple[int, model.Scale]]:
    """Scales of the network at which a slide of this µm/px is read, with their places in its description."""
    scales = list(enumerate(model.describe(_folder(config)).scales))
    coarsest = max(scale.mpp for _, scale in scales)
    return [(index, scale) for index, scale in scales if mpp <= _COARSER * scale.mpp or scale.mpp == coarsest]


def _folder(config: DetectionConfig) -> Path:
    return Path(config.network) if config.network else model.SHIPPED


def network_pass(folder: Path, index: int, scale: model.Scale, min_score: float) -> Pass:
    """One scale of the network in a folder; claims below ``min_score`` are left out."""

    def find(field: Field) -> Sight:
        picture = layout.shown(field.rgb, field.stain.white, field.stain.density_full)
        maps = model.load(folder, index)(picture, field.tissue)
        found = find_in(Window(maps, field.x_um, field.y_um, field.mpp), scale)
        return Sight([f for f in found if f.score >= min_score], maps.texture)

    margin_um, reach_um = 0.6 * scale.largest_um, layout.REACH * scale.mpp
    return Pass(scale.mpp, _CORE_PX * scale.mpp, margin_um, reach_um, layout.STEP, find, scale.familiar_to)
