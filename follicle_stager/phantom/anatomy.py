"""The ovary in three dimensions: follicles, corpora lutea and vessels; follicles and corpora lutea do not overlap.

Lengths are µm. The origin is the ovary's centre, and sections are perpendicular to z.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.phantom.biology import LAYER_UM, GenotypeModel, StageModel, between
from follicle_stager.phantom.fields import first_free, rotation, settle
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

#: Largest filled share of a volume at which spheres of mixed size can still be pushed apart.
_PACKED = 0.42

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
    """

    axes: NDArray[np.float64]
    lobes: NDArray[np.float64]
    follicles: NDArray[np.void]
    corpora_lutea: NDArray[np.void]
    vessels: NDArray[np.void]
    lost_cap_um: float
    seed: int

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
        directions = _sphere(4000)
        height = directions[:, 2] * _surface(self.axes, self.lobes, directions)
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
            _sphere(model.lobes, rng),
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
    volume = float((_surface(axes, lobes, _sphere(2000)) ** 3).mean())
    contents = ((_widest(follicles) + follicles["theca"] + 3) ** 3).sum() + ((_widest(lutea) + 8) ** 3).sum()
    axes[:, 3] *= max(1.0, float(contents) / volume / _PACKED) ** (1 / 3)
    follicles, lutea = _place(rng, model, axes, lobes, follicles, lutea)
    vessels = _vessels(rng, axes, lobes, rng.poisson(model.vessels))
    return Ovary(axes, lobes, follicles, lutea, vessels, model.lost_cap_um, int(rng.integers(2**40)))


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
        f["ox"], f["oy"], f["oz"] = offset * _sphere(1, rng)[0]
        if f["health"]:
            _degenerate(rng, f)
        inside = max(0.0, 0.86 * f["oocyte"] - f["nucleus"]) * rng.random() ** 0.5
        f["nx"], f["ny"], f["nz"] = np.array([f["ox"], f["oy"], f["oz"]]) + inside * _sphere(1, rng)[0]
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


def _place(
    rng: np.random.Generator,
    model: GenotypeModel,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    lutea: NDArray[np.void],
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Move all bodies to free positions; those without room are left out."""
    small = follicles["stage"] <= LADDER.index(Stage.TRANSITIONAL)
    growing, resting = follicles[~small], follicles[small]
    reach = np.concatenate([_widest(growing) + growing["theca"] + 3, _widest(lutea) + 8])
    limits = [_depth(model, f) for f in growing] + [(c["radius"], 1e6) for c in lutea]
    depth = np.array(limits).reshape(-1, 2)
    order = np.argsort(-reach, kind="stable")
    at = _inside(rng, axes, lobes, len(reach))
    # Each follicle has its own range of depth, so that the small ones stay in the cortex.
    placed, free = np.empty_like(at), np.empty(len(at), bool)
    settled = at[order].copy()
    free[order] = settle(settled, reach[order], depth[order], axes, lobes, 600)
    placed[order] = settled
    n = len(growing)
    kept = free[:n]
    growing, lutea = _moved(growing[kept], placed[:n][kept]), _moved(lutea[free[n:]], placed[n:][free[n:]])
    resting = resting[rng.permutation(len(resting))]
    taken, taken_reach, nested = placed[free], reach[free], resting[:0]
    if model.nested:
        nested, resting = _nests(rng, model, axes, lobes, resting, taken, taken_reach)
        taken = np.concatenate([taken, np.column_stack([nested[name] for name in "xyz"])])
        taken_reach = np.concatenate([taken_reach, _widest(nested)])
    candidates = _cortical(rng, axes, lobes, resting, model)
    depth = np.array([_depth(model, f) for f in resting]).reshape(-1, 2)
    chosen = first_free(candidates, _widest(resting) + 0.8, depth, axes, lobes, taken, taken_reach)
    there = chosen >= 0
    resting = _moved(resting[there], candidates[np.flatnonzero(there), chosen[there]])
    together = np.concatenate([nested, resting, growing])
    left_out = len(follicles) - len(together)
    if left_out:
        log.info("%d of %d follicles found no room", left_out, len(follicles))
    return together[np.argsort(together["stage"], kind="stable")], lutea


def _nests(
    rng: np.random.Generator,
    model: GenotypeModel,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    taken: NDArray[np.float64],
    taken_reach: NDArray[np.float64],
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Place a share of the primordial follicles in nests in which they touch; return these, and all others.

    The follicles of a nest begin in one place and are pushed apart until none overlap. ``taken`` are the positions of
    larger bodies, with the room that they need; follicles that overlap them are returned with the others.
    """
    chosen = (follicles["stage"] == 0) & (rng.random(len(follicles)) < model.nested)
    own = follicles[chosen]
    if not len(own):
        return own, follicles
    sizes = rng.integers(4, 15, len(own))
    nest = np.repeat(np.arange(len(own)), sizes)[: len(own)]
    centres = _cortical(rng, axes, lobes, own, model, tries=1)[:, 0]
    at = centres[nest] + rng.normal(0, 6, (len(own), 3))
    reach, depth = _widest(own) + 0.2, np.array([_depth(model, f) for f in own])
    order = np.argsort(-reach, kind="stable")
    settled, free = at[order], np.empty(len(own), bool)
    free[order] = settle(settled, reach[order], depth[order], axes, lobes, 300)
    at[order] = settled
    for centre, room in zip(taken, taken_reach, strict=True):
        free &= np.linalg.norm(at - centre, axis=1) >= reach + room
    return _moved(own[free], at[free]), np.concatenate([follicles[~chosen], own[~free]])


def _depth(model: GenotypeModel, f: np.void) -> tuple[float, float]:
    low, high = model.stages[LADDER[int(f["stage"])]].depth_um
    outer = float(f["radius"] + f["theca"]) * 1.08
    return low + outer, high + outer


def _widest(bodies: NDArray[np.void]) -> NDArray[np.float64]:
    """Largest radius of each body, bumps included, so that no two outlines overlap."""
    directions = _sphere(160)
    along = np.einsum("bik,dk->bdi", bodies["bumps"][:, :, :3], directions)
    amount, phase = bodies["bumps"][:, None, :, 3], bodies["bumps"][:, None, :, 4]
    stretched = (amount * (along**2 - 1 / 3))[..., :2].sum(axis=2)
    dented = (amount * np.sin(3.5 * along + phase))[..., 2:].sum(axis=2)
    return np.asarray(bodies["radius"] * (1.01 + stretched + dented).max(axis=1, initial=0.0))


def _moved(bodies: NDArray[np.void], to: NDArray[np.float64]) -> NDArray[np.void]:
    out = bodies.copy()
    names = ("x", "ox", "nx"), ("y", "oy", "ny"), ("z", "oz", "nz")
    for axis, own in enumerate(names):
        for name in own:
            if name in (out.dtype.names or ()):
                out[name] += to[:, axis]
    return out


def _turned(bodies: NDArray[np.void], rotation: NDArray[np.float64]) -> NDArray[np.void]:
    out, names = bodies.copy(), bodies.dtype.names or ()
    for before, after in (("", ""), ("o", ""), ("n", ""), ("", "0"), ("", "1")):
        point = [f"{before}{axis}{after}" for axis in "xyz"]
        if point[0] in names:
            at = np.column_stack([bodies[name] for name in point]) @ rotation.T
            for name, values in zip(point, at.T, strict=True):
                out[name] = values
    for name in ("bumps", "oocyte_bumps"):
        if name in names:
            out[name][:, :, :3] = bodies[name][:, :, :3] @ rotation.T
    return out


def _cortical(
    rng: np.random.Generator,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    follicles: NDArray[np.void],
    model: GenotypeModel,
    tries: int = 24,
) -> NDArray[np.float64]:
    """Candidate positions of resting follicles in the cortex, about two thirds of them in nests."""
    n = len(follicles)
    if n == 0:
        return np.zeros((0, tries, 3))
    nests = _sphere(max(4, n // 7), rng)
    directions = _sphere(n * tries, rng).reshape(n, tries, 3)
    near = rng.random((n, tries)) < 0.65
    picked = nests[rng.integers(len(nests), size=(n, tries))] + rng.normal(0, 0.05, (n, tries, 3))
    directions[near] = picked[near]
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    limits = np.array([_depth(model, f) for f in follicles])
    depth = limits[:, :1] + (limits[:, 1:] - limits[:, :1]) * rng.beta(1.0, 2.2, (n, tries))
    radius = _surface(axes, lobes, directions.reshape(-1, 3)).reshape(n, tries)
    return np.asarray(directions * np.maximum(radius - depth, 0)[..., None])


def _vessels(
    rng: np.random.Generator, axes: NDArray[np.float64], lobes: NDArray[np.float64], number: int
) -> NDArray[np.void]:
    """Draw winding tubes, most of them in the medulla; follicles are painted over them."""
    pieces = []
    for start in _inside(rng, axes, lobes, number, power=0.75):
        radius, content = 2 + rng.gamma(2.0, 4.0), int(rng.choice(4, p=[0.42, 0.34, 0.16, 0.08]))
        wall = rng.uniform(1.5, 3.0) if rng.random() < 0.6 else rng.uniform(4, 10)
        if content == 3:
            wall = rng.uniform(7, 10)
        direction = _sphere(1, rng)[0]
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
    out[:, :3] = _sphere(rows, rng)
    out[:2, 3] = rng.uniform(-stretch, stretch, 2)
    out[2:, 3] = rng.normal(0, dent, rows - 2)
    out[:, 4] = rng.uniform(0, 2 * np.pi, rows)
    return out


def _inside(
    rng: np.random.Generator,
    axes: NDArray[np.float64],
    lobes: NDArray[np.float64],
    number: int,
    power: float = 1 / 3,
) -> NDArray[np.float64]:
    """Random points in the ovary: uniform for a power of 1/3, closer to the centre for a larger power."""
    directions = _sphere(number, rng)
    radius = _surface(axes, lobes, directions) * rng.random(number) ** power
    return np.asarray(directions * radius[:, None])


def _surface(
    axes: NDArray[np.float64], lobes: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance from the centre to the surface in each direction, µm; `fields.depth_in_ovary` for arrays."""
    inverse = ((directions @ axes[:, :3].T / axes[:, 3]) ** 2).sum(axis=1)
    bulge = lobes[:, 3] * np.exp((directions @ lobes[:, :3].T - 1) / lobes[:, 4])
    return np.asarray((1 + bulge.sum(axis=1)) / np.sqrt(inverse))


def _sphere(number: int, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Unit vectors: random, or evenly spread without a generator."""
    if rng is None:
        k = np.arange(number) + 0.5
        z, turn = 1 - 2 * k / number, np.pi * (1 + 5**0.5) * k
        r = np.sqrt(1 - z**2)
        return np.column_stack([r * np.cos(turn), r * np.sin(turn), z])
    v = rng.normal(size=(number, 3))
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12))
