"""Write docs/ablation.md: what each part of the training contributes, and how much is chance.

    python tools/make_ablation.py [--work build/ablation] [--jobs 2] [--only VARIANT ...]

Trains the coarse scale of the shipped recipe again and again, each time without one ingredient, and the whole network
from three seeds, for fewer steps than the recipe's: about three hours on two cores. An interrupted command
continues where it stopped: a variant with a row in docs/ablation.csv is trained again only if the row is deleted or the
variant is named. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from make_accuracy import DOCS, NAME, coarsened, examine, markdown, render_exam
from shapely.geometry import shape

from follicle_stager.annotations import read_geojson
from follicle_stager.config import Config, TissueConfig
from follicle_stager.detection.detectors import passes, visible_stages
from follicle_stager.detection.search import search
from follicle_stager.evaluation import box_iou, evaluate
from follicle_stager.files import write_text
from follicle_stager.matching import overlaps
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide
from follicle_stager.study import list_slides
from follicle_stager.tissue import survey
from follicle_stager.training import MOUSE_OVARY, load_recipe, train_network

if TYPE_CHECKING:
    from follicle_stager.training.settings import Recipe

#: What differs from the recipe in the coarse scale.
VARIANTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "the recipe, seed 2": {"seed": 2, "data_seed": 2},
    "the recipe, seed 3": {"seed": 3, "data_seed": 3},
    "without random looks": {"without": ("random looks",)},
    "without faults": {"without": ("faults",)},
    "without look-alikes": {"without": ("look-alikes",)},
    "without the three": {"without": ("random looks", "faults", "look-alikes")},
    "random weights at the start": {"encoder": "lite"},
}
#: Of these both scales are trained: the whole network, as it is shipped.
WHOLE = tuple(name for name in VARIANTS if name.startswith("the recipe"))
#: Steps of the coarse and the fine scale, instead of the recipe's.
STEPS = (2560, 2048)
CLASSICAL, BEST_CASE = "no training: classical detector", "no training: all candidates, perfectly verified"
ROWS = DOCS / "ablation.csv"

TEXT = """# Ablation: what each part of the training contributes

This page is written by `make ablation` (about three hours on two cores). Parts of the training are left out in turn,
to see what each of them contributes. One row of `ablation.csv` is one training run.

## The coarse scale

The coarse scale works at 1.5 µm/px and finds primary and larger follicles. All variants are trained for {coarse}
steps instead of the {recipe_coarse} of the recipe, so that they can be compared. Seeds 2 and 3 have other initial
weights, another order of the training patches and other virtual ovaries: their differences are due to chance. *Random
looks* are colours, contrasts and textures far beyond the natural range (without them, slides look like good real
ones). *Faults* are artefacts such as folds, tears and dust. *Look-alikes* are corpora lutea, vessels and atretic
follicles. The probabilities of all variants are calibrated on the same virtual slides, which have all three.

Scores are those on the slides of the evaluation cohort ([Accuracy](accuracy.md)) at 1.5 µm/px, for the stages that
can be seen at this resolution, with outlines matched at IoU 0.5. The classical detector is scored at the original 0.5
µm/px. *All candidates, perfectly verified* takes every candidate of the classical detector, at a threshold of almost
zero, and assumes that a verifying network accepts exactly the right ones. The columns *real* are for the real
hematoxylin section of [The network detector](network-detector.md), if the picture is available: boxes of growing
follicles found at IoU 0.5, how many of them have the right stage, and other claims.

{table}

## Three seeds of the whole network

Both scales are trained, for {coarse} and {fine} steps instead of {recipe_coarse} and {recipe_fine}. Scores are those
on the evaluation cohort at the original 0.5 µm/px, for all stages. The supplied network was trained longer; its
results are in [Accuracy](accuracy.md).

{seeds}

## Interpretation (November 2026)

- Chance: the three seeds of the coarse scale have F1 0.93 to 0.94, and 3 or 4 of the 4 real boxes have the right
  stage. Differences between rows that are not larger than these have no meaning.
- Look-alikes matter most: without them, F1 is the lowest, primary follicles get worse (AP 0.74 instead
  of 0.78 to 0.83), and only two of the real boxes have the right stage.
- Random looks *reduce* the score on this cohort (F1 is 0.96 without them). Its slides look natural, and a network
  that has seen only such slides needs fewer steps to learn them. Random looks are kept as a precaution for stains
  that were not rendered. This table does not show that they help there, and on the one real section they make no
  difference.
- Training with faults makes no difference beyond chance on the cohort. Without it, there is one false claim on the
  real section.
- The candidates of the classical detector, perfectly verified, reach a recall of 0.84. No verifying network can
  recover the follicles that they miss.
"""


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/ablation"))
    parser.add_argument("--patches", type=Path, default=Path("build/patches"), help="rendered patches; runs share them")
    parser.add_argument("--real", type=Path, default=Path("../shared/real_sections"), help="left out where missing")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="of the variants (default: those that have no row yet)")
    options = parser.parse_args()
    rows = pd.read_csv(ROWS).set_index("trained") if ROWS.exists() else pd.DataFrame()
    wanted = options.only or [name for name in (CLASSICAL, BEST_CASE, *VARIANTS) if name not in rows.index]
    exam = functools.cache(lambda: render_exam(options.work / NAME, jobs=options.jobs, freeze=False))
    mpp = load_recipe(MOUSE_OVARY).scales[0].mpp
    coarse_exam = functools.cache(lambda: coarsened(exam(), options.work / f"{NAME}_{mpp:g}", mpp))
    for name in wanted:
        print(name, flush=True)
        if name == BEST_CASE:
            row = _best_case(exam())
        elif name == CLASSICAL:
            row = _scores("classical", "", exam(), options)
        else:
            folder = options.work / name.replace(" ", "-").replace(",", "")
            network = str(train_network(_recipe(name), folder, patches=options.patches))
            row = _scores("network", network, coarse_exam(), options) | _learned(folder)
            if name in WHOLE:
                row |= _whole(network, exam(), options)
        rows = pd.concat([rows.drop(index=name, errors="ignore"), pd.DataFrame([row], index=[name])])
        rows.index.name = "trained"
        write_text(ROWS, rows.round(3).to_csv(lineterminator="\n"))
        write_report(rows)


def write_report(rows: pd.DataFrame) -> None:
    """Write the page from the rows that there are."""
    recipe = [scale.steps for scale in load_recipe(MOUSE_OVARY).scales]
    order = [name for name in (CLASSICAL, BEST_CASE, *VARIANTS) if name in rows.index]
    whole = [c for c in rows.columns if c.startswith("whole: ")]
    coarse = rows.loc[order].drop(columns=whole).reset_index().convert_dtypes()
    seeds = (
        rows.loc[[n for n in order if n in WHOLE], whole].dropna().rename(columns=lambda c: c.removeprefix("whole: "))
    )
    spread = seeds.agg(["mean", "std"]).rename({"std": "SD"})
    text = TEXT.format(
        coarse=STEPS[0],
        fine=STEPS[1],
        recipe_coarse=recipe[0],
        recipe_fine=recipe[1],
        table=markdown(coarse),
        seeds=markdown(pd.concat([seeds, spread]).rename_axis("trained").reset_index()),
    )
    write_text(DOCS / "ablation.md", text)


def _recipe(name: str) -> Recipe:
    recipe = load_recipe(MOUSE_OVARY)
    change = VARIANTS[name]
    scales = zip(recipe.scales if name in WHOLE else recipe.scales[:1], STEPS, strict=False)
    own = tuple(scale.model_copy(update={"steps": steps} | change) for scale, steps in scales)
    return recipe.model_copy(update={"name": "ablation", "scales": own})


def _whole(network: str, exam: Path, options: argparse.Namespace) -> dict[str, object]:
    """The headline figures, on the exam as it is."""
    result = evaluate(examine("network", exam, options.work / "study", jobs=options.jobs, network=network), resamples=0)
    value, stages = result.summary.set_index("figure")["value"], result.stages.set_index("stage")
    bias = result.counts.set_index("stage")["bias"]
    return {
        "whole: F1 of all": value["f1"],
        "whole: mean AP": value["mean_ap"],
        "whole: secondary <-> antral": value["secondary_antral_confusion"],
        "whole: F1 primordial": stages.loc["primordial", "f1"],
        "whole: count bias secondary": bias["secondary"],
        "whole: count bias antral": bias["antral"],
    }


def _scores(detector: str, network: str, exam: Path, options: argparse.Namespace) -> dict[str, object]:
    result = evaluate(examine(detector, exam, options.work / "study", jobs=options.jobs, network=network), resamples=0)
    value = result.summary.set_index("figure")["value"]
    precision = result.classes.set_index("class")["ap"]
    row = {"precision": value["precision"], "recall": value["recall_visible"], "F1": value["f1_visible"]}
    row |= {f"AP {name}": precision[name] for name in ("Primary", "Secondary", "Tertiary")}
    row |= {"right stage": value["right_stage"]}
    if options.real.exists():
        row |= _real(
            Config.model_validate({"detection": {"detector": detector}, "network": {"folder": network}}), options.real
        )
    return row


def _best_case(cohort: Path) -> dict[str, object]:
    """What a network that verifies the classical detector's candidates could reach if it were never wrong."""
    config = Config().with_options(detection={"detector": "classical", "min_score": 0}, classical={"min_seed": 0.01})
    hits = []
    for source in list_slides(cohort):
        with open_slide(source.path) as slide:
            overview, size = survey(slide, TissueConfig()), slide.pixel_size
            claims = [c for look in passes(config, size.mpp) for c in search(slide, overview, look).claims]
            seen = visible_stages(config, size.mpp)
        truth = [
            size.to_um(f.outline)
            for f in read_geojson(cohort / "truth" / f"{source.slide_id}.geojson")
            if f.stage in seen and f.recognisable
        ]
        hits += list(overlaps([c.outline for c in claims], truth).max(axis=0, initial=0) >= 0.5)
    recall = float(np.mean(hits))
    return {"precision": 1.0, "recall": recall, "F1": 2 * recall / (1 + recall)}


def _real(config: Config, folder: Path) -> dict[str, object]:
    """On the real hematoxylin section: boxes found (IoU 0.5), other claims, and the right stage."""
    with open_slide(folder / "mouse_hematoxylin_section.png", mpp=1.55) as slide:
        claims = [f for f in process_slide(slide, config, slide_id="hematoxylin").follicles if f.is_follicle]
    features = json.loads((folder / "mouse_hematoxylin_section.boxes.geojson").read_text(encoding="utf-8"))["features"]
    boxes = [
        (f["properties"]["classification"]["name"], shape(f["geometry"]))
        for f in features
        if f["properties"]["classification"]["name"] != "Primordial"
    ]
    found = [max(claims, key=lambda c: box_iou(c.outline, box), default=None) for _, box in boxes]
    hits = [
        (name, claim)
        for (name, box), claim in zip(boxes, found, strict=True)
        if claim is not None and box_iou(claim.outline, box) >= 0.5
    ]
    right = sum(claim.stage.label == name for name, claim in hits)
    return {
        "real: found": f"{len(hits)} of {len(boxes)}",
        "real: right stage": right,
        "real: other claims": len(claims) - len({id(claim) for _, claim in hits}),
    }


def _learned(folder: Path) -> dict[str, float]:
    log = pd.read_csv(folder / "growing" / "log.csv").iloc[-1]
    return {"loss of classes, held back": log["validation_classes"], "minutes": log["seconds"] / 60}


if __name__ == "__main__":
    main()
