"""Parameters of the ovaries of a genotype, checked before anything is drawn.

Sizes are from Griffin 2006 (BioNumbers 102237) and Pedersen & Peters 1968, where they give them. [M] marks a common
value without a sourced standard. Numbers per ovary: primordial follicles after OvSim (C57BL/6, 40 days: 2111 per ovary,
CV 7 %), all others [M]. Lengths are µm, unless the name says otherwise.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from follicle_stager.stages import LADDER, RUNGS, Stage

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Range = tuple[NotNegative, NotNegative]

#: Height of one layer of cuboidal granulosa cells [M].
LAYER_UM = 7.5

#: Largest share of the ovary that follicles and corpora lutea may fill; above it, some find no room [M].
MAX_FILLED = 0.38


class Part(BaseModel):
    """Base class of the parameter objects; refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Ranged(Part):
    """Base class of parameters in which every pair is a range."""

    @model_validator(mode="after")
    def _upwards(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and any(low > high for low, high in pairwise(value)):
                raise ValueError(f"{name}: the range {value} runs downwards; write the smaller value first")
        return self


class StageModel(_Ranged):
    """Follicles of one stage. Ranges go from the youngest to the oldest follicle of the stage."""

    per_ovary: NotNegative
    """Mean number in a control ovary."""
    oocyte_um: Range
    """Diameter of the oocyte without zona."""
    nucleus_um: Range
    """Diameter of the oocyte's nucleus."""
    layers: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    """Number of granulosa layers from the oocyte to the basement membrane, or in the wall of a cavity."""
    layer_um: Range = (LAYER_UM, LAYER_UM)
    """Height of one layer."""
    zona_um: Range = (0.0, 0.0)
    """Thickness of the zona pellucida."""
    diameter_um: Range | None = None
    """Diameter of a follicle with a cavity; None if it follows from oocyte and layers."""
    theca_um: Range = (0.0, 0.0)
    """Thickness of the theca outside the basement membrane."""
    depth_um: Range = (0.0, 100000.0)
    """Distance of the follicle from the ovary's surface."""
    atretic: Fraction = 0.0
    """Share of atretic follicles."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.nucleus_um[1] >= self.oocyte_um[1]:
            raise ValueError("nucleus_um must be smaller than oocyte_um")
        if self.diameter_um and self.diameter_um[0] < self.oocyte_um[0] + 2 * self.zona_um[0] + 2 * LAYER_UM:
            raise ValueError("diameter_um leaves no room for the oocyte and its granulosa")
        return self

    def outer_um(self, grown: float = 0.5) -> float:
        """Radius of the follicle without theca; ``grown`` is its progress through the stage, 0-1."""
        if self.diameter_um:
            return between(self.diameter_um, grown) / 2
        layers = round(between(self.layers, grown))
        return (
            between(self.oocyte_um, grown) / 2 + between(self.zona_um, grown) + layers * between(self.layer_um, grown)
        )


def between(limits: tuple[float, float], share: float) -> float:
    """The value at a given share of a range, 0-1."""
    return limits[0] + (limits[1] - limits[0]) * share


#: A cycling adult. Zona of full-grown oocytes 5-8 µm [M]; theca, depth, atresia, and all numbers except the
#: primordial [M].
STAGES: dict[Stage, StageModel] = {
    Stage.PRIMORDIAL: StageModel(
        per_ovary=2100, oocyte_um=(12, 18), nucleus_um=(8, 10), layers=(1, 1), layer_um=(2.0, 3.2), depth_um=(6, 60)
    ),
    Stage.TRANSITIONAL: StageModel(
        per_ovary=150,
        oocyte_um=(15, 22),
        nucleus_um=(9, 12),
        layers=(1, 1),
        layer_um=(4.4, 5.4),
        depth_um=(6, 90),
    ),
    Stage.PRIMARY: StageModel(
        per_ovary=180,
        oocyte_um=(20, 45),
        nucleus_um=(11, 20),
        layers=(1, 1),
        layer_um=(6.5, 9.0),
        zona_um=(0.5, 3.0),
        theca_um=(0.0, 4.0),
        depth_um=(8, 180),
    ),
    Stage.SECONDARY: StageModel(
        per_ovary=120,
        oocyte_um=(40, 70),
        nucleus_um=(18, 27),
        layers=(2, 6),
        zona_um=(2.5, 6.0),
        theca_um=(4, 14),
        depth_um=(12, 600),
        atretic=0.10,
    ),
    Stage.EARLY_ANTRAL: StageModel(
        per_ovary=24,
        oocyte_um=(62, 72),
        nucleus_um=(20, 28),
        layers=(5, 8),
        zona_um=(4, 7),
        diameter_um=(165, 250),
        theca_um=(8, 18),
        depth_um=(14, 700),
        atretic=0.22,
    ),
    Stage.ANTRAL: StageModel(
        per_ovary=14,
        oocyte_um=(66, 74),
        nucleus_um=(22, 30),
        layers=(4, 8),
        zona_um=(5, 8),
        diameter_um=(230, 390),
        theca_um=(10, 24),
        depth_um=(14, 700),
        atretic=0.25,
    ),
    Stage.PREOVULATORY: StageModel(
        per_ovary=0,
        oocyte_um=(68, 76),
        nucleus_um=(22, 30),
        layers=(5, 8),
        zona_um=(5, 8),
        diameter_um=(405, 480),
        theca_um=(12, 24),
        depth_um=(10, 500),
        atretic=0.05,
    ),
}

#: Stages after which follicles can be blocked.
BLOCKS: tuple[Stage, ...] = (Stage.PRIMARY, Stage.SECONDARY, Stage.EARLY_ANTRAL)


class GenotypeModel(_Ranged):
    """Parameters of the ovaries of one genotype.

    A follicle that reaches ``block_after`` is blocked there with ``block_probability``. A share ``accumulate`` of the
    blocked follicles stays at that stage, and the others die and vanish. ``depletion`` is the share of all follicles
    that is missing. Both act on the means; animals vary around them.
    """

    block_after: Stage | None = None
    """Stage after which follicles are blocked: primary, secondary, early_antral, or none."""
    block_probability: Fraction = 0.0
    """Share of blocked follicles among those that reach that stage."""
    accumulate: Fraction = 0.5
    """Share of the blocked follicles that stay at that stage; the others vanish."""
    depletion: Fraction = 0.0
    """Share of all follicles that is missing."""
    animal_cv: NotNegative = 0.15
    """Variation between animals, common to all stages (7-12 % in young, 34 % in old mice, OvSim)."""
    stage_cv: NotNegative = 0.10
    """Additional variation of each stage in each animal [M]."""
    length_mm: tuple[Positive, Positive] = (2.0, 2.5)
    """Long axis of the ovary."""
    width_share: tuple[Positive, Positive] = (0.74, 0.9)
    """Length of the other two axes, as a share of the long axis."""
    lobes: Annotated[int, Field(ge=0, le=12)] = 5
    """Number of bulges and clefts of the surface."""
    lobe_size: Annotated[float, Field(ge=0, le=0.4)] = 0.09
    """Spread of bulges and clefts, as a share of the radius."""
    corpora_lutea: NotNegative = 9.0
    """Mean number per ovary [M]; none before the first ovulation."""
    corpus_luteum_um: Range = (300, 620)
    """Diameter; 300-900 is usual [M]."""
    nested: Fraction = 0.0
    """Share of the primordial follicles that lie in nests in which they touch each other [M]."""
    flattened: Fraction = 0.0
    """How far follicles with two or more layers are pressed flat against each other, 0 to 1 [M]."""
    hilum_um: NotNegative = 0.0
    """Width of the hilum, where vessels enter and the cortex is interrupted; 0 for none [M]."""
    vessels: NotNegative = 60.0
    """Mean number per ovary [M]."""
    lost_cap_um: NotNegative = 1.0
    """Lost cap: a nucleus that reaches less than this into a section is not seen [M]."""
    stages: dict[Stage, StageModel] = STAGES

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.block_after is not None and self.block_after not in BLOCKS:
            names = ", ".join(s.value for s in BLOCKS)
            raise ValueError(f"block_after: follicles can be blocked after {names}, not after {self.block_after.value}")
        if self.block_after is None and self.block_probability:
            raise ValueError("block_probability without block_after: say after which stage")
        if self.block_after is not None and self.block_after not in self.stages:
            raise ValueError(f"block_after: this ovary has no follicles of stage {self.block_after.value}")
        wrong = [s.value for s in self.stages if s not in LADDER]
        if wrong:
            raise ValueError(f"stages: not a stage of growth: {', '.join(wrong)}")
        if self.width_share[1] > 1:
            raise ValueError("width_share: the other axes cannot be longer than the long axis; use at most 1")
        filled = self.filled()
        if filled > MAX_FILLED:
            raise ValueError(
                f"impossible density: the follicles and corpora lutea would fill {filled:.1%} of the ovary, but there "
                f"is room for at most {MAX_FILLED:.0%}; reduce per_ovary or corpora_lutea"
            )
        return self

    def means(self) -> dict[Stage, float]:
        """Mean number of follicles per stage and ovary, with block and depletion applied."""
        means = {s: (1 - self.depletion) * m.per_ovary for s, m in self.stages.items()}
        if self.block_after is None:
            return means
        rungs = list(RUNGS)
        blocked_rung = rungs.index(self.block_after.rung)
        later = [s for s in LADDER if s in means and rungs.index(s.rung) > blocked_rung]
        blocked = sum(means[s] for s in later) * self.block_probability
        for stage in later:
            means[stage] *= 1 - self.block_probability
        means[self.block_after] = means.get(self.block_after, 0.0) + self.accumulate * blocked
        return means

    def filled(self) -> float:
        """Mean share of the ovary that is filled by follicles and corpora lutea."""
        volume = 0.0
        for stage, mean in self.means().items():
            model = self.stages[stage]
            radius = np.mean([model.outer_um(g) ** 3 for g in (0.1, 0.3, 0.5, 0.7, 0.9)]) ** (1 / 3)
            volume += mean * sphere_mm3(float(radius) + between(model.theca_um, 0.5))
        volume += self.corpora_lutea * sphere_mm3(between(self.corpus_luteum_um, 0.5) / 2)
        half = between(self.length_mm, 0.5) * 500
        return volume / (sphere_mm3(half) * between(self.width_share, 0.5) ** 2)


def sphere_mm3(radius_um: float) -> float:
    """Volume of a sphere, mm³."""
    return float(4 / 3 * np.pi * (radius_um / 1000) ** 3)


def small_ovary(**changes: object) -> GenotypeModel:
    """A young ovary before the first ovulation: small, with many growing follicles and no corpora lutea.

    Parameters
    ----------
    **changes
        Fields of `GenotypeModel` to set.

    Returns
    -------
    GenotypeModel
        Model of an ovary about 1.1 mm long [M]. It has fewer primordial follicles than a real ovary of this age, where
        they would fill the cortex.
    """
    crowded = {
        stage: model.model_copy(update={"per_ovary": number})
        for stage, number in {
            Stage.PRIMORDIAL: 280.0,
            Stage.TRANSITIONAL: 40.0,
            Stage.PRIMARY: 60.0,
            Stage.SECONDARY: 30.0,
            Stage.EARLY_ANTRAL: 5.0,
            Stage.ANTRAL: 3.0,
        }.items()
        for model in [STAGES[stage]]
    }
    crowded[Stage.PREOVULATORY] = STAGES[Stage.PREOVULATORY]
    crowded[Stage.ANTRAL] = crowded[Stage.ANTRAL].model_copy(update={"diameter_um": (220.0, 310.0)})
    values = {
        "length_mm": (0.95, 1.2),
        "width_share": (0.78, 0.92),
        "corpora_lutea": 0.0,
        "vessels": 20.0,
        "stages": crowded,
    }
    return GenotypeModel.model_validate(values | changes)
