"""The detectors, in one list, and the passes in which a slide is searched: all that the pipeline knows of them.

A new detector is a class with the methods of `Detector`, a part of the configuration for its parameters, and a line in
`DETECTORS`. The command line, the napari window and ``doctor`` read the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from follicle_stager.detection.found import Sight
from follicle_stager.detection.network import engines, layout, model
from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.config import Config
    from follicle_stager.field import Field

# Side of the part of a window that a network answers for, px: most sections fit into one.
_CORE_PX = 3072
#: A slide this much coarser than a scale of the network can still be read at it.
COARSER = 1.3
# Diameters of the smallest primordial follicles and of their oocytes; the classical detector needs this µm/px for them.
_PRIMORDIAL_UM, _PRIMORDIAL_OOCYTE_UM = 15.0, 12.0
_PRIMORDIAL_MPP = 0.65


@dataclass(frozen=True)
class Pass:
    """One look at the whole slide at one resolution.

    Attributes
    ----------
    mpp
        Pixel size, µm/px.
    core_um
        Side of the squares in which the slide is searched.
    margin_um
        Width of the border around a square in which its follicles may reach: the largest follicle.
    reach_um
        Width of the border beyond that which the filters see.
    align_px
        Windows begin and end at multiples of this number of pixels.
    find
        Function from a window to what is seen in it.
    familiar_to
        Strangeness above which a section is unlike anything that the detector knows; None if it is not measured.
    """

    mpp: float
    core_um: float
    margin_um: float
    reach_um: float
    align_px: int
    find: Callable[[Field], Sight]
    familiar_to: float | None = None


class Detector(Protocol):
    """A way to find follicles."""

    name: str
    needs: str
    """What must be installed, for messages."""

    def can_run(self) -> bool:
        """Whether all that it needs is installed."""

    def identity(self, config: Config) -> str:
        """Name of the detector and its weights: results depend on it besides the configuration.

        Raises
        ------
        UserError
            If its weights cannot be read.
        """

    def passes(self, config: Config, mpp: float) -> list[Pass]:
        """How a slide of this µm/px is searched."""

    def visible_stages(self, config: Config, mpp: float) -> tuple[Stage, ...]:
        """Stages, and corpora lutea, that it can find on a slide of this µm/px; counts of others are not available."""


class NetworkDetector:
    """A trained network, at one or more scales."""

    name = "network"
    needs = "onnxruntime"

    def can_run(self) -> bool:
        """Whether an engine for it is installed."""
        return engines.can_run()

    def identity(self, config: Config) -> str:
        """Name, hashes of the weights, and the engine if it is not the reference."""
        scales = model.describe(_folder(config)).scales
        engine = engines.choose_engine(config.network.engine)
        other = [] if engine.name == engines.REFERENCE else [engine.name, engine.precision()]
        return " ".join([self.name, *(scale.sha256[:12] for scale in scales), *other])

    def passes(self, config: Config, mpp: float) -> list[Pass]:
        """One pass for each scale of the network at which a slide of this µm/px can be read."""
        folder, engine = _folder(config), engines.choose_engine(config.network.engine).name
        scales = list(enumerate(model.describe(folder).scales))
        coarsest = max(scale.mpp for _, scale in scales)
        return [
            network_pass(folder, index, scale, config.detection.min_score, engine)
            for index, scale in scales
            if mpp <= COARSER * scale.mpp or scale.mpp == coarsest
        ]

    def visible_stages(self, config: Config, mpp: float) -> tuple[Stage, ...]:
        """All stages where a scale for the smallest follicles can be read."""
        scales = model.describe(_folder(config)).scales
        resting_too = any(mpp <= COARSER * s.mpp and s.smallest_um <= _PRIMORDIAL_UM for s in scales)
        beside = (Stage.CORPUS_LUTEUM,) if any(scale.corpora_lutea for scale in scales) else ()
        return (*_visible(resting_too), *beside)


class ClassicalDetector:
    """Filters and contours; it needs no weights."""

    name = "classical"
    needs = ""

    def can_run(self) -> bool:
        """Return True: it needs nothing."""
        return True

    def identity(self, config: Config) -> str:
        """Name of the detector."""
        return self.name

    def passes(self, config: Config, mpp: float) -> list[Pass]:
        """One pass at the resolution of measurement."""
        from follicle_stager.detection import classical

        detection = config.detection

        def find(field: Field) -> Sight:
            return Sight(classical.find_follicles(field, config.classical, min_score=detection.min_score))

        return [Pass(detection.working_mpp, 1600.0, 420.0, 0.0, 1, find)]

    def visible_stages(self, config: Config, mpp: float) -> tuple[Stage, ...]:
        """All stages where small oocytes are looked for on a fine slide."""
        return _visible(mpp <= _PRIMORDIAL_MPP and config.classical.min_oocyte_um <= _PRIMORDIAL_OOCYTE_UM)


#: By name; ``auto`` is the first one that can run.
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in (NetworkDetector(), ClassicalDetector())}


def choose_detector(config: Config) -> Detector:
    """Return the detector that the configuration names, or that ``auto`` stands for here.

    Raises
    ------
    UserError
        If there is none of that name, or it cannot run.
    """
    name = config.detection.detector
    if name == "auto":
        return next(detector for detector in DETECTORS.values() if detector.can_run())
    if name not in DETECTORS:
        raise UserError(f"detection.detector is {name!r}; write auto, {' or '.join(DETECTORS)}.")
    detector = DETECTORS[name]
    if not detector.can_run():
        others = " or ".join(other.name for other in DETECTORS.values() if other.can_run())
        raise UserError(
            f"The {name} detector cannot run: {detector.needs} is not installed (pip install {detector.needs}). Or use "
            f"--detector {others}."
        )
    return detector


def detector_id(config: Config) -> str:
    """Name of what results depend on besides the configuration: the detector that runs here, and its weights."""
    return choose_detector(config).identity(config)


def passes(config: Config, mpp: float) -> list[Pass]:
    """How a slide of this µm/px is searched by the detector that runs here."""
    return choose_detector(config).passes(config, mpp)


def visible_stages(config: Config, mpp: float) -> tuple[Stage, ...]:
    """Stages that a slide of this µm/px shows to the detector that runs here."""
    return choose_detector(config).visible_stages(config, mpp)


def _visible(resting_too: bool) -> tuple[Stage, ...]:
    return LADDER if resting_too else tuple(s for s in LADDER if not s.resting)


def _folder(config: Config) -> Path:
    return Path(config.network.folder) if config.network.folder else model.SHIPPED


def network_pass(
    folder: Path, index: int, scale: model.Scale, min_score: float, engine: str = engines.REFERENCE
) -> Pass:
    """One scale of the network in a folder; claims below ``min_score`` are left out."""
    # Only where something is searched: the name of a detector is also needed for slides that are finished.
    from follicle_stager.detection.network.instances import Window, find_in
    from follicle_stager.detection.network.luteal import find_corpora_lutea

    def find(field: Field) -> Sight:
        picture = layout.shown(field.rgb, field.stain.white, field.stain.density_full)
        maps = model.load(folder, index, engine)(picture, field.tissue)
        window = Window(maps, field.x_um, field.y_um, field.mpp)
        claims = [f for f in find_in(window, scale) if f.score >= min_score]
        return Sight(claims, maps.texture, find_corpora_lutea(window) if scale.corpora_lutea else [])

    margin_um, reach_um = 0.6 * scale.largest_um, layout.REACH * scale.mpp
    return Pass(scale.mpp, _CORE_PX * scale.mpp, margin_um, reach_um, layout.STEP, find, scale.familiar_to)
