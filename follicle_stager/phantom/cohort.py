"""A study's worth of synthetic slides: models x genotypes x animals, with truth and a sample sheet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile
from shapely import affinity

from follicle_stager.annotations import write_geojson
from follicle_stager.files import replacing, write_csv
from follicle_stager.phantom.anatomy import GenotypeModel, ProfileTruth, plan_section
from follicle_stager.phantom.appearance import Appearance
from follicle_stager.phantom.render import render_section
from follicle_stager.records import Follicle, follicle_id
from follicle_stager.stages import Countable, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry import Polygon


@dataclass(frozen=True)
class CohortPlan:
    """What the cohort holds.

    Attributes
    ----------
    models
        Mouse model -> stain of its slides.
    animals
        Per group.
    sections
        Per animal, side by side on one slide.
    arrest
        Planted in the knockouts, see `GenotypeModel`.
    mpp
        µm/px.
    section_um
        Mean width of a section.
    seed
        Everything follows from it.
    """

    models: dict[str, str] = field(default_factory=lambda: {"Igfals": "H&E", "Igf1r": "hematoxylin"})
    animals: int = 4
    sections: int = 3
    arrest: float = 0.8
    mpp: float = 1.0
    section_um: float = 900.0
    seed: int = 20260101


def write_cohort(
    folder: Path, plan: CohortPlan, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Render a cohort: one OME-TIFF per animal, ``samples.csv`` and ``truth/<slide>.geojson``.

    Parameters
    ----------
    folder
        Where to write; created.
    plan
        What to render.
    progress
        Called with slides done and slides in all.
    """
    rows = []
    slides = [
        (model, group, number)
        for model in plan.models
        for group in ("control", "knockout")
        for number in range(1, plan.animals + 1)
    ]
    for index, (model, group, number) in enumerate(slides):
        # A stream of its own per slide: the order of rendering does not matter.
        rng = np.random.default_rng([plan.seed, index])
        genotype_model = GenotypeModel(arrest=plan.arrest if group == "knockout" else 0.0)
        name = f"{model}_{'KO' if group == 'knockout' else 'WT'}_{number}"
        picture, truth = render_slide(
            rng,
            genotype_model,
            stain=plan.models[model],
            sections=plan.sections,
            mpp=plan.mpp,
            section_um=plan.section_um,
        )
        write_ome_tiff(folder / f"{name}.ome.tif", picture, mpp=plan.mpp)
        write_geojson(folder / "truth" / f"{name}.geojson", truth)
        rows.append(
            {
                "slide": f"{name}.ome.tif",
                "animal": name.replace("_", "-"),
                "genotype": f"{model} {'-/-' if group == 'knockout' else '+/+'}",
                "group": group,
                "model": model,
                "ovary": "L",
                "section": "",
                "interval": 10,
                "thickness_um": 5,
                "age_days": 56,
                "stimulation": "none",
            }
        )
        progress(index + 1, len(slides))
    write_csv(folder / "samples.csv", pd.DataFrame(rows))


def render_slide(
    rng: np.random.Generator,
    genotype: GenotypeModel,
    *,
    stain: str,
    sections: int,
    mpp: float,
    section_um: float = 900.0,
) -> tuple[NDArray[np.uint8], list[Follicle]]:
    """Render the sections of one animal side by side.

    Returns
    -------
    picture : ndarray of uint8, (y, x, 3)
    truth : list of Follicle
        Pixels of the picture; ``measurements`` hold the number of layers.
    """
    look = Appearance.draw(rng, stain)
    # The animal's own level, the same for all its sections: animals differ more than sections do.
    level = rng.lognormal(-0.5 * genotype.animal_cv**2, genotype.animal_cv)
    rates = {stage: rate * level for stage, rate in genotype.rates().items()}
    pieces, truth = [], []
    left = 0
    for order in range(1, sections + 1):
        plan = plan_section(rng, rates, atretic=genotype.atretic, size_um=section_um)
        pieces.append(render_section(plan, look, mpp=mpp))
        for body in plan.follicles:
            truth.append(_record(body.truth(), f"section {order}", left, mpp))
        left += pieces[-1].shape[1]
    height = max(p.shape[0] for p in pieces)
    glass = np.array(look.white)
    picture = np.clip(glass + rng.normal(0, look.noise, (height, left, 3)), 0, 255).astype(np.uint8)
    x = 0
    for piece in pieces:
        picture[: piece.shape[0], x : x + piece.shape[1]] = piece
        x += piece.shape[1]
    return picture, truth


def write_ome_tiff(path: Path, picture: NDArray[np.uint8], *, mpp: float, quality: int = 75) -> None:
    """Write a picture as a tiled, JPEG-compressed OME-TIFF pyramid with µm/px."""
    levels = [picture]
    while max(levels[-1].shape[:2]) > 1024:
        above = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2].astype(np.uint16)
        levels.append(
            ((above[::2, ::2] + above[1::2, ::2] + above[::2, 1::2] + above[1::2, 1::2] + 2) // 4).astype(np.uint8)
        )
    options = {
        "photometric": "rgb",
        "tile": (256, 256),
        "compression": "jpeg",
        "compressionargs": {"level": quality},
    }
    unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tif:
        tif.write(
            levels[0],
            subifds=len(levels) - 1,
            metadata={"axes": "YXS", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp, **unit},
            **options,
        )
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)


def _record(truth: ProfileTruth, section: str, left_px: int, mpp: float) -> Follicle:
    def px(polygon: Polygon) -> Polygon:
        return affinity.translate(affinity.scale(polygon, 1 / mpp, 1 / mpp, origin=(0, 0)), left_px)

    outline = px(truth.outline)
    return Follicle(
        id=follicle_id(section, outline),
        section_id=section,
        outline=outline,
        oocyte=px(truth.oocyte) if truth.oocyte else None,
        nucleus=px(truth.nucleus) if truth.nucleus else None,
        fluid=tuple(px(p) for p in truth.fluid),
        measurements={"Granulosa layers": float(truth.layers)},
        stage_predicted=truth.stage,
        stage=truth.stage,
        health=truth.health,
        countable=Countable.YES if truth.nucleus else Countable.NO,
        status=Status.ACCEPTED,
    )
