"""Fine-tune a network on a study's corrected slides, and test whether it improved on animals held back."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from follicle_stager.detection.network import model
from follicle_stager.evaluation import SlidePair, evaluate
from follicle_stager.evaluation.pairs import only_follicles
from follicle_stager.files import write_csv
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide
from follicle_stager.training.corrected import corrected_slides, held_out, judged_area
from follicle_stager.training.loop import train
from follicle_stager.training.network import describe_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from follicle_stager.study import Study
    from follicle_stager.training.corrected import CorrectedSlide
    from follicle_stager.training.settings import Recipe


def fine_tune(
    study: Study,
    recipe: Recipe,
    folder: Path,
    *,
    base: Path = model.SHIPPED,
    patches: Path,
    on_step: Callable[[str, int, dict[str, float]], None] = lambda scale, step, losses: None,
) -> tuple[Path, pd.DataFrame]:
    """Fine-tune a network.

    Parameters
    ----------
    study
        Study with corrected slides of at least two animals.
    recipe
        Recipe with one scale per file of the network, under the same names.
    folder
        Folder for the runs, ``network/`` and ``before_after.csv``.
    base
        Folder of the network to start from.
    patches
        Folder in which patches are kept.
    on_step
        Function that is called with the scale's name, the number of steps done, and the losses.

    Returns
    -------
    Path
        Folder of the new network. It computes probabilities like the old one, and calls no section doubtful.
    DataFrame
        Figures on the slides of the animals held back, ``before`` and ``after``.

    Raises
    ------
    UserError
        If corrected slides of fewer than two animals exist.
    """
    slides = corrected_slides(study)
    old = {scale.file.removesuffix(".onnx"): scale for scale in model.describe(base).scales}
    weights, scales = {}, []
    for settings in recipe.scales:
        own = settings.model_copy(
            update={"study": str(study.path.resolve()), "start": str((base / old[settings.name].file).resolve())}
        )
        report = functools.partial(on_step, settings.name)
        weights[settings.name] = train(own, folder / settings.name, patches=patches, on_step=report)
        # No limit of strangeness is known for the new network, because its statistics come from other patches.
        scales.append(old[settings.name].model_copy(update={"familiar_to": None}))
    network = describe_network(folder / "network", recipe.name, weights, scales)
    held_back = held_out(slides, recipe.scales[0].data_seed)
    unseen = [s for s in slides if s.animal in held_back]
    before, after = (evaluate([_pair(study, s, place) for s in unseen], resamples=0) for place in (base, network))
    table = before.summary[["figure", "value"]].rename(columns={"value": "before"}).assign(after=after.summary["value"])
    write_csv(folder / "before_after.csv", table)
    return network, table


def _pair(study: Study, own: CorrectedSlide, network: Path) -> SlidePair:
    """The result of a network on a slide, paired with a person's correction."""
    config = study.config.with_options(detection={"detector": "network"}, network={"folder": str(network)})
    with open_slide(own.source, mpp=own.mpp) as slide:
        result = process_slide(slide, config, slide_id=own.slide_id)
    true = only_follicles(study.follicles(own.slide_id))
    found, judged = only_follicles(list(result.follicles)), judged_area(study, own.slide_id)
    if judged is not None:  # elsewhere, follicles may not be marked
        found, true = ([f for f in side if judged.intersects(f.outline.centroid)] for side in (found, true))
    visible = frozenset(result.visible_stages)
    return SlidePair(own.slide_id, own.animal, found, true, mpp=own.mpp, visible=visible)
