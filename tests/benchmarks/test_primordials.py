"""What looking for primordial oocytes costs and brings, on synthetic sections at 0.5 µm/px. Prints; ``make bench``."""

from __future__ import annotations

import numpy as np
import pytest

from follicle_stager.config import Config
from follicle_stager.evaluation import match_outlines
from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide
from follicle_stager.stages import Stage

SMALL = (Stage.PRIMORDIAL, Stage.TRANSITIONAL)


@pytest.mark.parametrize("min_oocyte_um", [20.0, 12.0])
@pytest.mark.parametrize("stain", ["H&E", "hematoxylin"])
def test_small_oocytes(stain, min_oocyte_um, tmp_path):
    rng = np.random.default_rng(100)
    ovary = build_ovary(rng, small_ovary())
    slide = render_slide(ovary, [Cut(0, -100.0, 5.0), Cut(1, 50.0, 5.0)], faithful(rng, stain), rng, mpp=0.5)
    truth = slide.follicles
    write_ome_tiff(tmp_path / "a.ome.tif", slide.picture, mpp=0.5)
    detection = {"detector": "classical", "min_oocyte_um": min_oocyte_um, "working_mpp": 0.5}
    config = Config.model_validate({"detection": detection})
    with open_slide(tmp_path / "a.ome.tif") as slide:
        found = process_slide(slide, config, slide_id="a").follicles
    matches = match_outlines([f.outline for f in found], [t.outline for t in truth], min_iou=0.3)
    small = [i for i, t in enumerate(truth) if t.stage in SMALL and t.oocyte is not None]
    hit = sum(m.true in small for m in matches)
    print(
        f"\n{stain}, oocytes from {min_oocyte_um:.0f} µm: {len(found)} claims, {len(found) - len(matches)} false; "
        f"primordial and transitional with oocyte found: {hit} of {len(small)}"
    )
