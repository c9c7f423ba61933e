"""The ovary in three dimensions: follicles, corpora lutea and vessels; follicles and corpora lutea do not overlap.

Lengths are µm. The origin is the ovary's centre, and sections are perpendicular to z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.phantom.biology import LAYER_UM, GenotypeModel, StageModel, between
from follicle_stager.phantom.fields import rotation
from follicle_stager.phantom.placement import place, points_inside, surface_um, unit_vectors, widest
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest filled share of a volume at which spheres of mixed size can still be pushed apart.
_PACKED = 0.42
# Number of vessels of the hilum.
_IN_HILUM = 12

#: Record of a follicle. ``bumps`` has rows of direction, amount and phase, see `fields.bumpiness`.
FOLLICLE = np.dtype(
    [
        ("stage", np.int64),  # index in LADDER
        ("health", np.int64),  # 0 healthy, 1 early atresia (pyknosis), 2 late (collapsed)
        ("x", np.float64),
        ("y", np.float64),
        ("z", np.float64),
        ("radius", np.float64),  # to the basement membrane
        ("bumps", np.float64, (5, 5)),
        ("facets", np.float64, (16, 4)),  # planes at which it touches others, see `fields.outline_level`
        ("ox", np.float64),
        ("oy", np.float64),
        ("oz", np.float64),
        ("oocyte", np.float64),  # radius without zona
        ("oocyte_bumps", np.float64, (4, 5)),
        ("nx", np.float64),
        ("ny", np.float64),
        ("nz", np.float64),
        ("nucleus", np.float64),  # radius; 0 after germinal vesicle breakdown
        ("zona", np.float64),
        ("theca", np.float64),
        ("layers", np.int64),
        ("layer", np.float64),
        ("fluid", np.int64),  # 0 none, 1 several spaces, 2 one cavity
        ("fluid_um", np.float64),  # size of the spaces
        ("fluid_cut", np.float64),  # the lower, the larger the spaces
        ("wall", np.float64),
        ("cumulus", np.float64),
        ("pyknosis", np.float64),  # share of granulosa nuclei
        ("zona_gap", np.float64),  # shrinkage gap between oocyte and granulosa, µm
        ("loose", np.float64),  # separation of granulosa cells: 0 none, 1 ragged
        ("theca_gap", np.float64),  # shrinkage gap outside the basement membrane, µm
        ("seed", np.int64),
    ]
)

CORPUS_LUTEUM = np.dtype(
    [
        ("x", np.float64),
        ("y", np.float64),
        ("z", np.float64),
        ("radius", np.float64),
        ("bumps", np.float64, (5, 5)),
        ("age", np.int64),  # 0 fresh with a clot, 1 mature, 2 regressing
        ("core", np.float64),  # radius of the clot or scar in the middle
        ("seed", np.int64),
    ]
)

#: A straight piece of a vessel.
VESSEL = np.dtype(
    [
        ("x0", np.float64),
        ("y0", np.float64),
        ("z0", np.float64),
        ("x1", np.float64),
        ("y1", np.float64),
        ("z1", np.float64),
        ("radius", np.float64),
        ("wall", np.float64),
        ("content", np.int64),  # 0 empty, 1 red cells, 2 plasma; lined by an epithelium: 3 empty, 4 plasma
        ("seed", np.int64),
    ]
)


@dataclass(frozen=True, eq=False)
class Ovary:
    """One ovary.

    Attributes
    ----------
    axes
        Unit vectors and half axes of the ellipsoid, (3, 4).
    lobes
        Bulges and clefts, (n, 5), see `fields.ovary_grid`.
    follicles, corpora_lutea, vessels
        Record arrays of the types above.
    lost_cap_um
        Lost cap, µm: a nucleus that reaches less than this into a section is not seen.
    seed
        Seed of everything that is a function of position: cells, zones of tissue.
    hilum_um
        Width of the hilum, µm, which lies at the end of the second axis; 0 for none.
    """

    axes: NDArray[np.float64]
    lobes: NDArray[np.float64]
    follicles: NDArray[np.void]
    corpora_lutea: NDArray[np.void]
    vessels: NDArray[np.void]
    lost_cap_um: float
    seed: int
    hilum_um: float = 0.0

    def counts(self) -> dict[Stage, int]:
        """True number of follicles per stage."""
        return {stage: int((self.follicles["stage"] == i).sum()) for i, stage in enumerate(LADDER)}

    def turned(self, rotation: NDArray[np.float64]) -> Ovary:
        """The same ovary, rotated so that it is cut in another direction.

        Parameters
        ----------
        rotation
            Rotation matrix, (3, 3); the direction that it turns onto z becomes the direction of cutting. Follicles and
            other bodies stay the same; the cells between them change.
        """
        axes, lobes = self.axes.copy(), self.lobes.copy()
        axes[:, :3] @= rotation.T
        lobes[:, :3] @= rotation.T
        return replace(
            self,
            axes=axes,
            lobes=lobes,
            follicles=_turned(self.follicles, rotation),
            corpora_lutea=_turned(self.corpora_lutea, rotation),
            vessels=_turned(self.vessels, rotation),
        )

    @property
    def reach(self) -> float:
        """Upper limit of the distance of any part of the ovary from its centre, µm."""
        return float(self.axes[:, 3].max() * (1 + np.clip(self.lobes[:, 3], 0, None).sum()))

    @property
    def extent_z(self) -> tuple[float, float]:
        """Beginning and end of the ovary along the direction of cutting, µm, to within 1 µm."""
        directions = unit_vectors(4000)
        height = directions[:, 2] * surface_um(self.axes, self.lobes, directions)
        return float(height.min()) - 1, float(height.max()) + 1


def build_ovary(rng: np.random.Generator, model: GenotypeModel, *, levels: dict[Stage, float] | None = None) -> Ovary:
    """Build an ovary in a random orientation.

    Parameters
    ----------
    rng
        Source of all randomness.
    model
        Genotype.
    levels
        Factor of the animal for each stage, see `animal_levels`; None to draw an animal.

    Returns
    -------
    Ovary
        The ovary. Bodies without room are left out, also of its counts; this is rare at the densities that
        `GenotypeModel` allows.
    """
    levels = animal_levels(rng, model) if levels is None else levels
    half = rng.uniform(*model.length_mm) * 500
    axes = np.column_stack([rotation(rng), half * np.array([1.0, *rng.uniform(*model.width_share, 2)])])
    lobes = np.column_stack(
        [
            unit_vectors(model.lobes, rng),
            rng.normal(0, model.lobe_size, model.lobes).clip(-2 * model.lobe_size, 2 * model.lobe_size),
            rng.uniform(0.06, 0.35, model.lobes),
        ]
    )
    follicles = np.zeros(0, FOLLICLE)
    for stage, mean in model.means().items():
        number = rng.poisson(mean * levels[stage])
        follicles = np.concatenate([follicles, _grow(rng, stage, model.stages[stage], number)])
    lutea = _corpora_lutea(rng, model, rng.poisson(model.corpora_lutea))
    # The ovary is enlarged if its contents need more room, bumps and theca included.
    volume = float((surface_um(axes, lobes, unit_vectors(2000)) ** 3).mean())
    contents = ((widest(follicles) + follicles["theca"] + 3) ** 3).sum() + ((widest(lutea) + 8) ** 3).sum()
    axes[:, 3] *= max(1.0, float(contents) / volume / _PACKED) ** (1 / 3)
    follicles, lutea = place(rng, model, axes, lobes, follicles, lutea)
    vessels = _vessels(rng, axes, lobes, rng.poisson(model.vessels), model.hilum_um)
    seed = int(rng.integers(2**40))
    return Ovary(axes, lobes, follicles, lutea, vessels, model.lost_cap_um, seed, model.hilum_um)


def animal_levels(rng: np.random.Generator, model: GenotypeModel) -> dict[Stage, float]:
    """Factors with mean 1 by which an animal differs from the mean of its genotype, per stage."""
    common = _factor(rng, model.animal_cv)
    return {stage: common * _factor(rng, model.stage_cv) for stage in model.means()}


def _factor(rng: np.random.Generator, cv: float) -> float:
    """Gamma variate with mean 1, so that counts over animals are negative-binomial."""
    return float(rng.gamma(1 / cv**2, cv**2)) if cv > 1e-6 else 1.0


def _grow(rng: np.random.Generator, stage: Stage, model: StageModel, number: int) -> NDArray[np.void]:
    """Draw the follicles of a stage, centred at the origin."""
    out = np.zeros(number, FOLLICLE)
    for f in out:
        grown = rng.random()

        def draw(limits: tuple[float, float], grown: float = grown) -> float:
            return between(limits, float(np.clip(grown + rng.normal(0, 0.12), 0, 1)))

        f["stage"], f["seed"] = LADDER.index(stage), rng.integers(2**40)
        f["oocyte"], f["zona"] = draw(model.oocyte_um) / 2, draw(model.zona_um)
        f["nucleus"] = min(draw(model.nucleus_um) / 2, 0.72 * f["oocyte"])
        f["layers"], f["layer"] = round(between(model.layers, grown)), draw(model.layer_um)
        f["theca"] = draw(model.theca_um)
        wall = f["layers"] * f["layer"]
        f["radius"] = draw(model.diameter_um) / 2 if model.diameter_um else f["oocyte"] + f["zona"] + wall
        large = stage.antral or stage.rung == "secondary"
        # Most follicles are nearly round; some are compressed to ovals, together with their oocytes.
        f["bumps"] = _bumps(rng, 5, 0.20 if rng.random() < 0.65 else 0.45, 0.03)
        f["oocyte_bumps"] = _bumps(rng, 4, 0.0, 0.03)
        f["oocyte_bumps"][:2] = f["bumps"][:2]
        f["oocyte_bumps"][:2, 3] *= np.clip(f["oocyte"] / f["radius"] + rng.normal(0, 0.1, 2), 0.2, 1)
        if rng.random() < model.atretic:
            f["health"] = 1 if rng.random() < 0.55 else 2
            f["pyknosis"] = rng.uniform(0.25, 0.8)
        f["zona_gap"] = rng.exponential(1.4) if rng.random() < 0.55 else 0.0
        f["loose"] = rng.random() if rng.random() < 0.5 else 0.0
        f["theca_gap"] = rng.exponential(3.0) if large and rng.random() < 0.4 else 0.0
        offset = rng.uniform(0, 0.06) * f["radius"]
        if stage == Stage.TRANSITIONAL:
            # Flat cells on one side, cuboidal ones on the other: some have begun to grow, the others not.
            offset = rng.uniform(0.35, 0.6) * wall
        if stage.antral:
            f["fluid"] = 1 if stage == Stage.EARLY_ANTRAL else 2
            f["cumulus"] = rng.uniform(12, 20) if stage == Stage.EARLY_ANTRAL else rng.uniform(14, 30)
            f["wall"] = rng.uniform(12, 20) if stage == Stage.EARLY_ANTRAL else min(wall, 0.4 * f["radius"])
            f["fluid_um"] = rng.uniform(26, 48)
            # The fluid spaces are small at first and merge towards the antral stage.
            f["fluid_cut"] = between((0.42, 0.02), grown)
            # The oocyte moves towards the wall as the cavity grows.
            room = f["radius"] - f["oocyte"] - f["zona"] - 1.5 * LAYER_UM
            offset = room * (rng.uniform(0.05, 0.45) if f["fluid"] == 1 else rng.uniform(0.75, 0.98))
        f["ox"], f["oy"], f["oz"] = offset * unit_vectors(1, rng)[0]
        if f["health"]:
            _degenerate(rng, f)
        inside = max(0.0, 0.86 * f["oocyte"] - f["nucleus"]) * rng.random() ** 0.5
        f["nx"], f["ny"], f["nz"] = np.array([f["ox"], f["oy"], f["oz"]]) + inside * unit_vectors(1, rng)[0]
    return out


def _degenerate(rng: np.random.Generator, f: np.void) -> None:
    """Make a follicle atretic: no nucleus, a shrunken oocyte, and late only the zona in a collapsed mass of cells."""
    f["nucleus"] = 0.0
    f["oocyte"] *= rng.uniform(0.75, 0.95) if f["health"] == 1 else rng.uniform(0.3, 0.7)
    f["oocyte_bumps"] = _bumps(rng, 4, 0.5, 0.08)
    f["zona_gap"] = rng.uniform(2, 7)
    if f["health"] == 2:
        f["radius"] *= rng.uniform(0.6, 0.95)
        f["fluid"] = 0 if rng.random() < 0.5 else f["fluid"]
        f["pyknosis"] = rng.uniform(0.1, 0.5)
        room = max(0.0, f["radius"] - f["oocyte"] - f["zona"] - LAYER_UM)
        apart = np.sqrt(f["ox"] ** 2 + f["oy"] ** 2 + f["oz"] ** 2)
        for name in ("ox", "oy", "oz"):
            f[name] *= min(1.0, room / max(apart, 1e-6))


def _corpora_lutea(rng: np.random.Generator, model: GenotypeModel, number: int) -> NDArray[np.void]:
    out = np.zeros(number, CORPUS_LUTEUM)
    for c in out:
        c["age"] = rng.choice(3, p=[0.25, 0.45, 0.3])
        grown = rng.random() if c["age"] < 2 else 0.5 * rng.random()
        c["radius"] = between(model.corpus_luteum_um, grown) / 2
        c["bumps"] = _bumps(rng, 5, 0.2, 0.03)
        c["core"] = c["radius"] * (rng.uniform(0.15, 0.45) if c["age"] == 0 else rng.uniform(0, 0.2))
        c["seed"] = rng.integers(2**40)
    return out


def _turned(bodies: NDArray[np.void], rotation: NDArray[np.float64]) -> NDArray[np.void]:
    out, names = bodies.copy(), bodies.dtype.names or ()
    for before, after in (("", ""), ("o", ""), ("n", ""), ("", "0"), ("", "1")):
        point = [f"{before}{axis}{after}" for axis in "xyz"]
        if point[0] in names:
            at = np.column_stack([bodies[name] for name in point]) @ rotation.T
            for name, values in zip(point, at.T, strict=True):
                out[name] = values
    for name in ("bumps", "facets", "oocyte_bumps"):
        if name in names:
            out[name][:, :, :3] = bodies[name][:, :, :3] @ rotation.T
    return out


def _vessels(
    rng: np.random.Generator, axes: NDArray[np.float64], lobes: NDArray[np.float64], number: int, hilum_um: float
) -> NDArray[np.void]:
    """Draw winding tubes, most of them in the medulla, and some in the hilum; follicles are painted over them."""
    pieces, starts = [], points_inside(rng, axes, lobes, number, power=0.75)
    if hilum_um:
        along = axes[1, 3] * rng.uniform(0.4, 1.1, (_IN_HILUM, 1)) * axes[1, :3]
        starts = np.concatenate([starts, along + rng.normal(0, hilum_um / 4, (_IN_HILUM, 3))])
    for start in starts:
        radius, content = 2 + rng.gamma(2.0, 4.0), int(rng.choice(4, p=[0.42, 0.34, 0.16, 0.08]))
        wall = rng.uniform(1.5, 3.0) if rng.random() < 0.6 else rng.uniform(4, 10)
        if content == 3:
            wall = rng.uniform(7, 10)
        direction = unit_vectors(1, rng)[0]
        seed = int(rng.integers(2**40))
        for _ in range(int(rng.integers(2, 5))):
            direction = direction + rng.normal(0, 0.35, 3)
            direction /= np.linalg.norm(direction)
            end = start + direction * rng.uniform(40, 140)
            pieces.append((*start, *end, min(radius, 45.0), wall, content, seed))
            start = end
    return np.array(pieces, VESSEL)


def _bumps(rng: np.random.Generator, rows: int, stretch: float, dent: float) -> NDArray[np.float64]:
    out = np.zeros((rows, 5))
    out[:, :3] = unit_vectors(rows, rng)
    out[:2, 3] = rng.uniform(-stretch, stretch, 2)
    out[2:, 3] = rng.normal(0, dent, rows - 2)
    out[:, 4] = rng.uniform(0, 2 * np.pi, rows)
    return out
