"""Training patches: small windows of randomised ovaries, as many as are asked for.

An ovary takes half a second to grow and a patch a few hundredths, so an ovary serves for many patches; each has its own
plane, place, scale and look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from follicle_stager.phantom.anatomy import Ovary, build_ovary
from follicle_stager.phantom.appearance import STAINS, Look, develop, faithful, handle, randomised
from follicle_stager.phantom.biology import GenotypeModel, small_ovary
from follicle_stager.phantom.sectioning import Cut
from follicle_stager.phantom.slide import draw
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray


#: What patches can lack, to see what each is worth: looks beyond the natural range (those of good slides come instead),
#: faults of sections and slides, and what resembles follicles (corpora lutea, vessels, atresia).
Ingredient = Literal["random looks", "faults", "look-alikes"]


@dataclass(frozen=True, eq=False)
class Patch:
    """A picture and what it shows.

    Attributes
    ----------
    picture
        (y, x, 3) uint8.
    kind
        (y, x) uint8, codes of `tissues.CODE`.
    owner
        (y, x) int32, row of the follicle in ``ovary``, or -1.
    ovary, cut
        Where it is from: whatever else a target needs is a function of them.
    x_um, y_um, mpp
        Place of its corner, and scale.
    """

    picture: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    owner: NDArray[np.int32]
    ovary: Ovary
    cut: Cut
    x_um: float
    y_um: float
    mpp: float


def patches(
    seed: int | list[int],
    *,
    size: int = 256,
    mpp: tuple[float, float] = (0.25, 2.0),
    stages: Collection[Stage] = LADDER,
    per_ovary: int = 64,
    without: Collection[Ingredient] = (),
) -> Iterator[Patch]:
    """Endless stream of randomised patches; workers take different seeds.

    Parameters
    ----------
    seed
        Of the stream.
    size
        Width and height, px.
    mpp
        Range of µm/px, drawn evenly on a log scale.
    stages
        Of the follicles that patches are laid over; others appear where they lie.
    per_ovary
        Patches from one ovary before the next is grown.
    without
        What they lack.

    Yields
    ------
    Patch
    """
    rng = np.random.default_rng(seed)
    wanted = np.array([LADDER.index(stage) for stage in stages])
    while True:
        model = small_ovary() if rng.random() < 0.6 else GenotypeModel()
        ovary = build_ovary(rng, _plain(model) if "look-alikes" in without else model)
        for _ in range(per_ovary):
            yield _patch(rng, ovary, size, float(np.exp(rng.uniform(*np.log(mpp)))), wanted, without)


def _plain(model: GenotypeModel) -> GenotypeModel:
    healthy = {stage: one.model_copy(update={"atretic": 0.0}) for stage, one in model.stages.items()}
    return model.model_copy(update={"corpora_lutea": 0.0, "vessels": 0.0, "stages": healthy})


def _look(rng: np.random.Generator, without: Collection[Ingredient]) -> Look:
    if "random looks" in without:
        look = faithful(rng, str(rng.choice(list(STAINS))), faults=rng.choice([0.0, 0.35]))
    else:
        look = randomised(rng)
    return replace(look, faults=0.0) if "faults" in without else look


def _patch(
    rng: np.random.Generator,
    ovary: Ovary,
    size: int,
    mpp: float,
    stages: NDArray[np.intp],
    without: Collection[Ingredient],
) -> Patch:
    thickness = float(rng.uniform(3, 10))
    present = np.intersect1d(ovary.follicles["stage"], stages)
    if rng.random() < 0.85 and len(present):
        # Every stage as often as the others, cut anywhere.
        f = rng.choice(ovary.follicles[ovary.follicles["stage"] == rng.choice(present)])
        z = f["z"] + rng.uniform(-0.95, 0.95) * f["radius"]
        at = np.array([f["x"], f["y"]]) + rng.uniform(-0.4, 0.4, 2) * size * mpp
    else:
        at = rng.uniform(-0.9, 0.9, 2) * ovary.reach
        z = rng.uniform(*ovary.extent_z)
    cut = Cut(int(rng.integers(2**20)), float(z - thickness / 2), thickness)
    x_um, y_um = (float(v) for v in at - size * mpp / 2)
    look = _look(rng, without)
    # Finer detail than the pixels is drawn and averaged, as a camera does.
    fine = 2 if mpp > 1.4 else 1
    maps = draw(ovary, cut, look, x_um=x_um, y_um=y_um, shape=(size * fine, size * fine), mpp=mpp / fine)
    h, e = (_average(m, fine) for m in (maps.nuclear, maps.counter))
    h, e = handle(look, rng, h, e, mpp=mpp)
    middle = slice(fine // 2, None, fine)
    return Patch(
        picture=develop(look, rng, h, e, mpp=mpp),
        kind=maps.kind[middle, middle],
        owner=maps.owner[middle, middle],
        ovary=ovary,
        cut=cut,
        x_um=x_um,
        y_um=y_um,
        mpp=mpp,
    )


def _average(values: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    n, m = values.shape
    return np.asarray(values.reshape(n // by, by, m // by, by).mean(axis=(1, 3)))
