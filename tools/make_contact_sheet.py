"""Draw docs/contact_sheet.jpg: what the virtual ovary makes of each stage, stain and look-alike.

python tools/make_contact_sheet.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from follicle_stager.phantom import STAINS, Cut, GenotypeModel, Ovary, build_ovary, faithful
from follicle_stager.phantom.appearance import develop, handle, varied
from follicle_stager.phantom.biology import STAGES
from follicle_stager.phantom.slide import draw
from follicle_stager.stages import LADDER, Stage

TILE = 220
SEED = 2


def main() -> None:
    """Draw and save."""
    # An ovary that has some of everything.
    stages = {
        s: m.model_copy(update={"per_ovary": m.per_ovary + 3, "atretic": max(m.atretic, 0.2)})
        for s, m in STAGES.items()
    }
    ovary = build_ovary(np.random.default_rng(SEED), GenotypeModel(stages=stages))
    places = [(stage.label, *_follicle(ovary, stage, health=0)) for stage in LADDER]
    places += [
        ("Atretic, early", *_follicle(ovary, Stage.SECONDARY, health=1)),
        ("Atretic, late", *_follicle(ovary, Stage.SECONDARY, health=2)),
        ("Cap, no oocyte", *_follicle(ovary, Stage.SECONDARY, health=0, height=0.8)),
        *(
            (f"Corpus luteum, {name}", *_corpus_luteum(ovary, age))
            for age, name in enumerate(("fresh", "mature", "old"))
        ),
        ("Vessel, red cells", *_vessel(ovary, 1)),
    ]
    columns = [_column(ovary, *place) for place in places]
    half = (len(columns) + 1) // 2
    sheet = np.vstack([np.hstack(columns[:half]), np.hstack(columns[half:])])
    Image.fromarray(sheet).save(Path(__file__).parents[1] / "docs" / "contact_sheet.jpg", quality=80)


def _column(ovary: Ovary, label: str, x: float, y: float, z: float, width: float) -> np.ndarray:
    """One place in all stains, and in H&E with variety, with its name and scale."""
    tiles = []
    for number, stain in enumerate((*STAINS, "H&E")):
        rng = np.random.default_rng([SEED, number])
        look, mpp = faithful(rng, stain, faults=0), width / TILE
        if number == len(STAINS):
            look = varied(rng, look, 1.0)
        fine = 2 if mpp > 0.6 else 1
        maps = draw(
            ovary, Cut(0, z - 2.5, 5.0), look, x_um=x - width / 2, y_um=y - width / 2,
            shape=(TILE * fine, TILE * fine), mpp=mpp / fine,
        )  # fmt: skip
        picture = develop(look, rng, *handle(look, rng, maps.nuclear, maps.counter, mpp=mpp / fine), mpp=mpp / fine)
        tiles.append(np.asarray(Image.fromarray(picture).resize((TILE - 4, TILE - 4), Image.Resampling.LANCZOS)))
    column = Image.new("RGB", (TILE, 24 + len(tiles) * TILE), "white")
    pen = ImageDraw.Draw(column)
    pen.text((4, 4), f"{label}, {width:.0f} um", fill="black", font=ImageFont.load_default(13))
    for number, tile in enumerate(tiles):
        column.paste(Image.fromarray(tile), (2, 24 + number * TILE))
    return np.asarray(column)


def _follicle(
    ovary: Ovary, stage: Stage, *, health: int, height: float | None = None
) -> tuple[float, float, float, float]:
    """Centre and width of a view of a follicle: cut through its nucleus or middle, or at a height."""
    f = ovary.follicles
    own = f[(f["stage"] == LADDER.index(stage)) & (f["health"] == health)]
    one = own[len(own) // 2]
    z = one["nz"] if height is None else one["z"] + height * one["radius"]
    return float(one["x"]), float(one["y"]), float(z), float(max(2.9 * (one["radius"] + one["theca"]), 60))


def _corpus_luteum(ovary: Ovary, age: int) -> tuple[float, float, float, float]:
    c = ovary.corpora_lutea
    one = c[c["age"] == age][0]
    return float(one["x"]), float(one["y"]), float(one["z"]), float(2.4 * one["radius"])


def _vessel(ovary: Ovary, content: int) -> tuple[float, float, float, float]:
    v = ovary.vessels
    one = v[(v["content"] == content) & (v["radius"] > 10)][0]
    return (
        float((one["x0"] + one["x1"]) / 2),
        float((one["y0"] + one["y1"]) / 2),
        float((one["z0"] + one["z1"]) / 2),
        200.0,
    )


if __name__ == "__main__":
    main()
