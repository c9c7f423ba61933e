"""Training patches: an endless supply of small windows of randomised ovaries.

Building an ovary takes half a second and drawing a patch a few hundredths, so each ovary is used for many patches. Each
patch has its own plane, position, scale and look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage as ndi

from follicle_stager.phantom.anatomy import Ovary, build_ovary
from follicle_stager.phantom.appearance import STAINS, Look, develop, faithful, handle, randomised, varied
from follicle_stager.phantom.biology import STAGES, GenotypeModel, small_ovary
from follicle_stager.phantom.sectioning import Cut
from follicle_stager.phantom.slide import draw
from follicle_stager.phantom.tissues import CODE
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray


#: Ingredients that can be left out to measure their effect: looks beyond the natural range (replaced by those of good
#: slides), faults of sections and slides, look-alikes of follicles (corpora lutea, vessels, atresia), and `variety`.
Ingredient = Literal["random looks", "faults", "look-alikes", "variety"]
# Share of follicles with a look of `variety`, and of patches with other light and glands.
_VARIETY = 0.6
# Share of oocytes and antra that are nearly as clear as glass, and of resting follicles with few nuclei.
_WASHED_OUT = 0.4
# Share of pictures with letters, lines or a scale bar on them.
_WRITTEN_ON = 0.15
# Share of patches on other tissue, and share of these that show only this tissue.
_ON_GROUND, _EMPTY = 0.4, 0.4


class Ground(NamedTuple):
    """Tissue without follicles: amounts of nuclear stain and counterstain, and where it is clear, each (y, x)."""

    nuclear: NDArray[np.float32]
    counter: NDArray[np.float32]
    clear: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Patch:
    """An image and its truth.

    Attributes
    ----------
    picture
        Image, (y, x, 3) uint8.
    white
        Brightness of empty glass, (3,), without faults of the slide.
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
    white: NDArray[np.float64]
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
    grounds: Callable[[np.random.Generator, int, float], Ground | None] | None = None,
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
    grounds
        Function from a random generator, the side of a patch (px) and µm/px to tissue without follicles, for example
        from real pictures. Two of five patches then show it, most of them with virtual follicles in it.

    Yields
    ------
    Patch
    """
    rng = np.random.default_rng(seed)
    wanted = np.array([LADDER.index(stage) for stage in stages])
    while True:
        model = small_ovary() if rng.random() < 0.6 else GenotypeModel()
        if "variety" not in without:
            model = _varied_model(model, rng)
        ovary = build_ovary(rng, _plain(model) if "look-alikes" in without else model)
        for _ in range(per_ovary):
            scale = float(np.exp(rng.uniform(*np.log(mpp))))
            ground = grounds(rng, size, scale) if grounds is not None and rng.random() < _ON_GROUND else None
            yield _patch(rng, ovary, size, scale, wanted, without, ground)


def _varied_model(model: GenotypeModel, rng: np.random.Generator) -> GenotypeModel:
    """The same ovary with some very large follicles, flattened ones, nests of primordial ones, vessels and a hilum."""
    large = STAGES[Stage.PREOVULATORY].model_copy(update={"per_ovary": 1.5, "diameter_um": (405.0, 650.0)})
    resting = STAGES[Stage.PRIMORDIAL]
    changes = {
        "stages": model.stages | {Stage.PRIMORDIAL: resting, Stage.PREOVULATORY: large},
        "nested": 0.5,
        "flattened": float(rng.random()),
        "hilum_um": float(rng.uniform(0, 0.15) * 1000 * model.length_mm[0]),
        "vessels": 1.5 * model.vessels,
    }
    return model.model_copy(update=changes)


def _plain(model: GenotypeModel) -> GenotypeModel:
    healthy = {stage: one.model_copy(update={"atretic": 0.0}) for stage, one in model.stages.items()}
    return model.model_copy(update={"corpora_lutea": 0.0, "vessels": 0.0, "stages": healthy})


def _look(rng: np.random.Generator, without: Collection[Ingredient]) -> Look:
    if "random looks" in without:
        look = faithful(rng, str(rng.choice(list(STAINS))), faults=rng.choice([0.0, 0.35]))
    else:
        look = randomised(rng)
    look = replace(look, faults=0.0) if "faults" in without else look
    if "variety" in without:
        return look
    return replace(varied(rng, look, _VARIETY), washed_out=_WASHED_OUT)


def _patch(
    rng: np.random.Generator,
    ovary: Ovary,
    size: int,
    mpp: float,
    stages: NDArray[np.intp],
    without: Collection[Ingredient],
    ground: Ground | None,
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
    middle = slice(fine // 2, None, fine)
    kind, owner = maps.kind[middle, middle], maps.owner[middle, middle]
    if ground is not None:
        if rng.random() < _EMPTY:
            ovary, owner = replace(ovary, follicles=ovary.follicles[:0]), np.full_like(owner, -1)
        h, e, kind = _on_ground(rng, ground, h, e, kind, owner, mpp)
    h, e = handle(look, rng, h, e, mpp=mpp)
    picture = develop(look, rng, h, e, mpp=mpp)
    if "faults" not in without and rng.random() < _WRITTEN_ON:
        picture = _written_on(rng, picture)
    return Patch(
        picture=picture,
        white=look.white,
        kind=kind,
        owner=owner,
        ovary=ovary,
        cut=cut,
        x_um=x_um,
        y_um=y_um,
        mpp=mpp,
    )


def _written_on(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put labels, lines, circles and scale bars on a picture, as people do for a talk; they hide what is below."""
    image = Image.fromarray(picture)
    draw, size = ImageDraw.Draw(image), min(image.size)
    for _ in range(int(rng.integers(1, 5))):
        ink, paper = ("black", "white") if rng.random() < 0.6 else ("white", "black")
        ink = str(rng.choice([ink, ink, "red", "blue", "yellow"]))
        x, y = (float(v) for v in rng.uniform(0, size, 2))
        wide, high = size * float(rng.uniform(0.1, 0.5)), size * float(rng.uniform(0.03, 0.08))
        turn, line = float(rng.uniform(0, 2 * np.pi)), max(1, round(0.2 * high))
        match int(rng.integers(4)):
            case 0:  # lines of text in a box, or without one
                lines = int(rng.integers(1, 5))
                if rng.random() < 0.6:
                    draw.rectangle((x, y, x + wide, y + 1.3 * lines * high), fill=paper, outline=ink)
                text = "\n".join(
                    "".join(rng.choice(list("aeilnorst EFT"), int(rng.integers(3, 14)))) for _ in range(lines)
                )
                draw.multiline_text((x, y), text, fill=ink, font=ImageFont.load_default(max(6.0, high)))
            case 1:
                end = x + wide * np.cos(turn), y + wide * np.sin(turn)
                draw.line((x, y, *end), fill=ink, width=line)
                draw.regular_polygon((*end, 1 + 2 * line), 3, rotation=round(90 - np.degrees(turn)) % 360, fill=ink)
            case 2:
                draw.rectangle((x, y, x + wide, y + 0.4 * high), fill=ink)
            case _:
                draw.ellipse((x, y, x + wide, y + wide), outline=ink, width=line)
    return np.asarray(image)


def _on_ground(
    rng: np.random.Generator,
    ground: Ground,
    nuclear: NDArray[np.float32],
    counter: NDArray[np.float32],
    kind: NDArray[np.uint8],
    owner: NDArray[np.int32],
    mpp: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Put the follicles of a patch, with what surrounds them, into other tissue; the borders are blended."""
    inside = owner >= 0
    # Photographed tissue is softer than drawn one.
    softness = rng.uniform(0, 0.8) / mpp
    around = ndi.binary_dilation(inside, iterations=max(1, round(rng.uniform(2, 12) / mpp)))
    share = np.maximum(ndi.gaussian_filter(around.astype(np.float32), rng.uniform(1.5, 5) / mpp), inside)
    h, e = (
        share * ndi.gaussian_filter(drawn, softness) + (1 - share) * real
        for drawn, real in ((nuclear, ground.nuclear), (counter, ground.counter))
    )
    elsewhere = np.where(ground.clear, CODE["lumen"], CODE["stroma"]).astype(np.uint8)
    return h, e, np.where(share > 0.5, kind, elsewhere)


def _average(values: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    n, m = values.shape
    return np.asarray(values.reshape(n // by, by, m // by, by).mean(axis=(1, 3)))
