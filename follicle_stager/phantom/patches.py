"""Training patches: an endless supply of small windows of randomised ovaries.

Building an ovary takes half a second and drawing a patch a few hundredths, so each ovary is used for many patches. Each
patch has its own plane, position, scale and look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from follicle_stager.phantom.anatomy import Ovary, build_ovary
from follicle_stager.phantom.appearance import STAINS, Look, develop, faithful, handle, randomised, varied
from follicle_stager.phantom.biology import GenotypeModel, small_ovary
from follicle_stager.phantom.sectioning import Cut
from follicle_stager.phantom.slide import draw
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray


#: Ingredients that can be left out to measure their effect: looks beyond the natural range (replaced by those of good
#: slides), faults of sections and slides, look-alikes of follicles (corpora lutea, vessels, atresia), and `variety`.
Ingredient = Literal["random looks", "faults", "look-alikes", "variety"]
# Share of follicles with a look of `variety`, and of patches with other light and glands.
_VARIETY = 0.6


@dataclass(frozen=True, eq=False)
class Patch:
    """An image and its truth.

    Attributes
    ----------
    picture
        Image, (y, x, 3) uint8.
    kind
        Kind of tissue, (y, x) uint8; codes of `tissues.CODE`.
    owner
        Row of the follicle in ``ovary``, (y, x) int32, or -1.
    ovary, cut
        Ovary and section of the patch; all other truth is a function of them.
    x_um, y_um, mpp
        Position of the top-left corner, µm, and pixel size, µm/px.
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
    """Generate an endless stream of randomised patches; use different seeds for different workers.

    Parameters
    ----------
    seed
        Seed of the stream.
    size
        Width and height of a patch, px.
    mpp
        Range of µm/px, sampled uniformly on a log scale.
    stages
        Stages of the follicles that patches are placed on; patches may contain others too.
    per_ovary
        Number of patches from one ovary before the next one is built.
    without
        Ingredients that are left out.

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
    look = replace(look, faults=0.0) if "faults" in without else look
    return look if "variety" in without else varied(rng, look, _VARIETY)


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
        # All stages are equally frequent, and a follicle is cut at any height.
        f = rng.choice(ovary.follicles[ovary.follicles["stage"] == rng.choice(present)])
        z = f["z"] + rng.uniform(-0.95, 0.95) * f["radius"]
        at = np.array([f["x"], f["y"]]) + rng.uniform(-0.4, 0.4, 2) * size * mpp
    else:
        at = rng.uniform(-0.9, 0.9, 2) * ovary.reach
        z = rng.uniform(*ovary.extent_z)
    cut = Cut(int(rng.integers(2**20)), float(z - thickness / 2), thickness)
    x_um, y_um = (float(v) for v in at - size * mpp / 2)
    look = _look(rng, without)
    # Large pixels are drawn at twice the resolution and averaged, as in a camera.
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
