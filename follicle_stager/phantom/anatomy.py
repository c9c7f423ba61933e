"""What lies in a section: follicles of every stage, cut at random heights, and the look-alikes between them.

A follicle is a sphere with an oocyte, granulosa layers and fluid; the section cuts it at a random height, so
caps without oocyte, and oocytes without nucleus, come out as often as geometry says. Sizes follow Griffin 2006
(BioNumbers 102237) where it gives them and are [M] otherwise: common values, no sourced standard. Lengths are µm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Polygon

from follicle_stager.stages import Health, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

N_THETA = 128
THETA = np.arange(N_THETA) * (2 * np.pi / N_THETA)

#: Height of one layer of cuboidal granulosa cells, µm [M].
LAYER_UM = 7.5

# Mean profiles per section of a control animal, at the section size of the demo. Ratios between stages follow
# a cycling adult; the absolute level is set so that a small section is neither empty nor full [M].
_CONTROL_PROFILES: dict[Stage, float] = {
    Stage.PRIMORDIAL: 5.0,
    Stage.TRANSITIONAL: 1.0,
    Stage.PRIMARY: 3.0,
    Stage.SECONDARY: 4.0,
    Stage.EARLY_ANTRAL: 1.6,
    Stage.ANTRAL: 1.6,
}


@dataclass(frozen=True)
class GenotypeModel:
    """How many follicles a section of one genotype shows.

    Attributes
    ----------
    profiles
        Mean number per section and stage before the arrest.
    arrest
        Share of follicles that should have formed an antrum and do not. They stay at the secondary stage or die:
        ``accumulate`` of them are still seen as secondary.
    accumulate
        See ``arrest``.
    animal_cv
        Coefficient of variation of the follicle number between animals (34 % in old, 7-12 % in young mice).
    atretic
        Share of secondary and larger follicles that degenerate.
    """

    profiles: Mapping[Stage, float] = field(default_factory=lambda: dict(_CONTROL_PROFILES))
    arrest: float = 0.0
    accumulate: float = 0.5
    animal_cv: float = 0.15
    atretic: float = 0.12

    def rates(self) -> dict[Stage, float]:
        """Mean profiles per section with the arrest planted."""
        rates = dict(self.profiles)
        blocked = 0.0
        for stage in (Stage.EARLY_ANTRAL, Stage.ANTRAL):
            blocked += self.arrest * rates[stage]
            rates[stage] *= 1 - self.arrest
        rates[Stage.SECONDARY] += self.accumulate * blocked
        return rates


@dataclass(frozen=True)
class ProfileTruth:
    """One follicle as the section shows it: exact, since it was drawn from this.

    ``outline``, ``oocyte``, ``nucleus`` and ``fluid`` are polygons in µm from the section's corner.
    """

    stage: Stage
    health: Health
    outline: Polygon
    oocyte: Polygon | None
    nucleus: Polygon | None
    fluid: tuple[Polygon, ...]
    layers: int


@dataclass
class Body:
    """A closed shape as radius(angle) around a centre, and how it is filled."""

    x: float
    y: float
    radius: NDArray[np.float64]

    def polygon(self, grow: float = 0.0) -> Polygon:
        """The shape in µm."""
        r = self.radius + grow
        return Polygon(np.column_stack([self.x + r * np.cos(THETA), self.y + r * np.sin(THETA)])).buffer(0)

    @property
    def reach(self) -> float:
        """Largest radius."""
        return float(self.radius.max())


@dataclass
class FollicleBody:
    """A follicle's profile in the plane of the section."""

    stage: Stage
    health: Health
    outline: Body
    oocyte: Body | None
    nucleus: Body | None
    fluid: list[Body]
    layers: int
    zona_um: float
    theca_um: float

    def truth(self) -> ProfileTruth:
        """Polygons of what was drawn."""
        outline = self.outline.polygon()
        oocyte = self.oocyte.polygon() if self.oocyte else None
        solid = oocyte.buffer(self.zona_um + 2) if oocyte else None
        fluid = []
        for body in self.fluid:
            space = body.polygon().intersection(outline)
            space = space.difference(solid) if solid else space
            fluid += [p for p in getattr(space, "geoms", [space]) if p.geom_type == "Polygon" and p.area > 50]
        nucleus = self.nucleus.polygon() if self.nucleus else None
        return ProfileTruth(self.stage, self.health, outline, oocyte, nucleus, tuple(fluid), self.layers)


@dataclass
class SectionPlan:
    """All bodies of one section, µm."""

    width: float
    height: float
    surface: Body
    follicles: list[FollicleBody]
    corpora_lutea: list[Body]
    vessels: list[tuple[Body, str]]
    seed: int


def plan_section(
    rng: np.random.Generator, rates: Mapping[Stage, float], *, atretic: float = 0.12, size_um: float = 900.0
) -> SectionPlan:
    """Draw the anatomy of one section.

    Parameters
    ----------
    rng
        Source of all randomness.
    rates
        Mean number of profiles per stage.
    atretic
        Share of secondary and larger follicles that degenerate.
    size_um
        Width of the section.

    Returns
    -------
    SectionPlan
    """
    width = size_um * rng.uniform(0.95, 1.1)
    height = width * rng.uniform(0.72, 0.9)
    surface = Body(0, 0, _ellipse(width / 2, height / 2) * _wobble(rng, 0.05))
    # Glass all around, wide enough that two sections side by side stay two.
    margin = 60.0
    left, top, right, bottom = surface.polygon().bounds
    surface.x, surface.y = margin - left, margin - top
    plan = SectionPlan(
        right - left + 2 * margin, bottom - top + 2 * margin, surface, [], [], [], int(rng.integers(2**31))
    )
    stages = [s for s, rate in rates.items() for _ in range(rng.poisson(rate))]
    bodies = [_follicle(rng, stage, atretic) for stage in stages]
    taken: list[Body] = []
    # Large ones first, as they find room least easily. One that finds none is left out, of the truth as well.
    for body in sorted(bodies, key=lambda b: -b.outline.reach):
        small = body.stage in (Stage.PRIMORDIAL, Stage.TRANSITIONAL, Stage.PRIMARY)
        depth = rng.uniform(10, 45) if body.stage == Stage.PRIMORDIAL else rng.uniform(12, 130)
        if _place(rng, body, surface, taken, depth=depth if small else None, gap=body.theca_um + 6):
            plan.follicles.append(body)
            taken.append(body.outline)
    for _ in range(rng.integers(0, 3)):
        lutein = Body(0, 0, rng.uniform(70, 150) * _wobble(rng, 0.05))
        if _place_body(rng, lutein, surface, taken, gap=12):
            plan.corpora_lutea.append(lutein)
            taken.append(lutein)
    for _ in range(rng.integers(2, 8)):
        vessel = Body(0, 0, _ellipse(rng.uniform(5, 26), rng.uniform(5, 18)) * _wobble(rng, 0.12))
        if _place_body(rng, vessel, surface, taken, gap=8):
            plan.vessels.append((vessel, str(rng.choice(["empty", "red cells", "plasma"], p=[0.5, 0.35, 0.15]))))
            taken.append(vessel)
    return plan


def _follicle(rng: np.random.Generator, stage: Stage, atretic: float) -> FollicleBody:
    """A follicle of a stage, cut at a random height, centred at the origin."""
    oocyte_d, thickness, layers = _sizes(rng, stage)
    zona = 0.0 if stage in (Stage.PRIMORDIAL, Stage.TRANSITIONAL) else rng.uniform(2.0, 5.0)
    radius3 = oocyte_d / 2 + zona + thickness
    large = stage in (Stage.SECONDARY, Stage.EARLY_ANTRAL, Stage.ANTRAL)
    health = Health.ATRETIC if large and rng.random() < atretic else Health.HEALTHY
    antral = stage == Stage.ANTRAL
    # The oocyte of an antral follicle sits in the cumulus near the wall.
    eccentric = radius3 - oocyte_d / 2 - rng.uniform(20, 32) if antral else 0.0
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    ox, oy, oz = direction * eccentric
    # A plane through the body at a random height; thin caps are not recognised as follicles by anyone.
    z = rng.uniform(-0.9, 0.9) * radius3
    cut = np.sqrt(radius3**2 - z**2)
    outline = Body(0.0, 0.0, cut * _ellipse(1.0, rng.uniform(0.84, 1.0)) * _wobble(rng, 0.025))
    dz = z - oz
    oocyte = nucleus = None
    if abs(dz) < 0.93 * oocyte_d / 2:
        oocyte_r = np.sqrt((oocyte_d / 2) ** 2 - dz**2)
        if health == Health.ATRETIC:
            oocyte_r *= rng.uniform(0.6, 0.9)
        oocyte_r = min(oocyte_r, float(outline.radius.min()) - 2.5)
        oocyte = Body(ox, oy, oocyte_r * _ellipse(1.0, rng.uniform(0.88, 1.0)) * _wobble(rng, 0.02))
        nucleus_r = min(0.45 * oocyte_d / 2, rng.uniform(10.0, 14.0))
        nucleus_z = dz + rng.uniform(-0.25, 0.25) * oocyte_d / 2
        if abs(nucleus_z) < 0.85 * nucleus_r and health == Health.HEALTHY:
            inner = min(np.sqrt(nucleus_r**2 - nucleus_z**2), 0.65 * oocyte_r)
            shift = rng.uniform(0, max(0.0, 0.8 * oocyte_r - inner))
            angle = rng.uniform(0, 2 * np.pi)
            nucleus = Body(ox + shift * np.cos(angle), oy + shift * np.sin(angle), inner * _wobble(rng, 0.02))
    fluid = _fluid(rng, stage, outline, oocyte, (ox, oy), oocyte_d)
    return FollicleBody(
        stage=stage,
        health=health,
        outline=outline,
        oocyte=oocyte,
        nucleus=nucleus,
        fluid=fluid,
        layers=layers,
        zona_um=zona,
        theca_um={Stage.PRIMORDIAL: 0.0, Stage.TRANSITIONAL: 2.0, Stage.PRIMARY: 4.0}.get(stage, rng.uniform(8, 16)),
    )


def _sizes(rng: np.random.Generator, stage: Stage) -> tuple[float, float, int]:
    """Oocyte diameter, granulosa thickness (µm) and number of layers of a stage."""
    if stage == Stage.PRIMORDIAL:
        return rng.uniform(12, 18), rng.uniform(2.0, 3.5), 1
    if stage == Stage.TRANSITIONAL:
        return rng.uniform(15, 21), rng.uniform(3.5, 5.5), 1
    if stage == Stage.PRIMARY:
        return rng.uniform(22, 45), rng.uniform(7.0, 9.5), 1
    if stage == Stage.SECONDARY:
        layers = int(rng.integers(2, 7))
        return (
            min(72.0, 38 + 6 * layers + rng.uniform(-6, 8)),
            layers * LAYER_UM * rng.uniform(0.95, 1.1),
            layers,
        )
    if stage == Stage.EARLY_ANTRAL:
        layers = int(rng.integers(6, 9))
        return rng.uniform(64, 74), layers * LAYER_UM + rng.uniform(8, 20), layers
    return rng.uniform(66, 74), rng.uniform(90, 140), int(rng.integers(5, 9))


def _fluid(
    rng: np.random.Generator,
    stage: Stage,
    outline: Body,
    oocyte: Body | None,
    oocyte_at: tuple[float, float],
    oocyte_d: float,
) -> list[Body]:
    radius = float(outline.radius.mean())
    if stage == Stage.ANTRAL:
        wall = rng.uniform(26, 42)
        cavity = outline.radius - wall
        if cavity.min() < 15:
            return []
        return [Body(0.0, 0.0, cavity * _wobble(rng, 0.03))]
    if stage != Stage.EARLY_ANTRAL:
        return []
    # Separate lakes in the granulosa, halfway between oocyte and basement membrane.
    inner = oocyte_d / 2 + 8 if oocyte is not None else 0.2 * radius
    lakes = []
    start = rng.uniform(0, 2 * np.pi)
    count = int(rng.integers(2, 5))
    for k in range(count):
        angle = start + 2 * np.pi * k / count + rng.uniform(-0.3, 0.3)
        room = radius - 16 - inner
        if room < 12:
            continue
        middle = inner + room * rng.uniform(0.4, 0.6)
        size = rng.uniform(0.28, 0.45) * room
        shape = _ellipse(size, size * rng.uniform(1.2, 2.2), angle) * _wobble(rng, 0.1)
        lakes.append(
            Body(
                oocyte_at[0] + middle * np.cos(angle),
                oocyte_at[1] + middle * np.sin(angle),
                shape,
            )
        )
    return lakes


def _place(
    rng: np.random.Generator,
    follicle: FollicleBody,
    surface: Body,
    taken: list[Body],
    *,
    depth: float | None,
    gap: float,
) -> bool:
    outline = follicle.outline
    if not _place_body(rng, outline, surface, taken, gap=gap, depth=depth):
        return False
    for part in (follicle.oocyte, follicle.nucleus, *follicle.fluid):
        if part is not None:
            part.x += outline.x
            part.y += outline.y
    return True


def _place_body(
    rng: np.random.Generator,
    body: Body,
    surface: Body,
    taken: list[Body],
    *,
    gap: float,
    depth: float | None = None,
    tries: int = 60,
) -> bool:
    """Move a body to a free place under the surface; False if there is none."""
    for _ in range(tries):
        angle = rng.uniform(0, 2 * np.pi)
        limit = float(np.interp(angle, THETA, surface.radius, period=2 * np.pi))
        room = limit - body.reach - gap - 6
        if room <= 0:
            continue
        distance = room * np.sqrt(rng.random()) if depth is None else max(0.0, limit - body.reach - depth)
        x, y = surface.x + distance * np.cos(angle), surface.y + distance * np.sin(angle)
        if all(np.hypot(x - o.x, y - o.y) > body.reach + o.reach + gap for o in taken):
            body.x, body.y = x, y
            return True
    return False


def _ellipse(a: float, b: float, turn: float | None = None) -> NDArray[np.float64]:
    """Radius(angle) of an ellipse with half axes a, b."""
    angle = THETA - (turn or 0.0)
    return np.asarray(a * b / np.hypot(b * np.cos(angle), a * np.sin(angle)))


def _wobble(rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """A smooth closed factor around 1."""
    out = np.ones(N_THETA)
    for k in range(2, 7):
        out += amount * rng.normal() / k * np.cos(k * THETA + rng.uniform(0, 2 * np.pi)) * 2
    return np.asarray(np.clip(out, 0.6, 1.5))
