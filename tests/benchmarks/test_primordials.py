"""What searching for primordial oocytes costs and brings the classical detector."""

from __future__ import annotations

import numpy as np

from follicle_stager.config import Config
from follicle_stager.evaluation import match_outlines
from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide
from follicle_stager.stages import Stage

SMALL = (Stage.PRIMORDIAL, Stage.TRANSITIONAL)


def test_small_oocytes(tmp_path, record):
    """The classical detector on four synthetic sections at 0.5 µm/px, two of each stain.

    It searches for oocytes from 20 µm (the default) or from 12 µm, those of primordial follicles. Outlines match at
    IoU 0.3.
    """
    lines = []
    for stain in ("H&E", "hematoxylin"):
        rng = np.random.default_rng(100)
        ovary = build_ovary(rng, small_ovary())
        slide = render_slide(ovary, [Cut(0, -100.0, 5.0), Cut(1, 50.0, 5.0)], faithful(rng, stain), rng, mpp=0.5)
        truth = slide.follicles
        small = [i for i, t in enumerate(truth) if t.stage in SMALL and t.oocyte is not None]
        write_ome_tiff(tmp_path / "a.ome.tif", slide.picture, mpp=0.5)
        for min_oocyte_um in (20.0, 12.0):
            detection = {"detector": "classical", "working_mpp": 0.5}
            config = Config.model_validate({"detection": detection, "classical": {"min_oocyte_um": min_oocyte_um}})
            with open_slide(tmp_path / "a.ome.tif") as opened:
                found = process_slide(opened, config, slide_id="a").follicles
            matches = match_outlines([f.outline for f in found], [t.outline for t in truth], min_iou=0.3)
            hit, false = sum(m.true in small for m in matches), len(found) - len(matches)
            lines.append(
                f"{stain}, oocytes from {min_oocyte_um:.0f} µm: {len(found)} claims, {false} false; "
                f"primordial and transitional follicles with an oocyte found: {hit} of {len(small)}"
            )
    record("\n".join(lines))
