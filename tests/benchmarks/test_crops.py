"""Real follicles cut out of their surroundings, stage against stage. Prints; ``make bench``.

The crops are not part of the project, and their scale is lost: each is tried as a follicle of every size. A table for
the size that is typical of its label, and one for the surest claim of all sizes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shapely.geometry import Point

from follicle_stager.config import Config
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide

SIZES_UM = {"primordial": 25, "primary": 50, "secondary": 110, "tertiary": 300}


@pytest.mark.parametrize("detector", ["classical", "network"])
def test_crops(real_sections, detector, tmp_path):
    labels = pd.read_csv(real_sections / "crops" / "labels.csv")
    config = Config.model_validate({"detection": {"detector": detector}, "tissue": {"min_section_mm2": 1e-4}})
    rows = []
    for file, label in labels[["file", "stage"]].itertuples(index=False):
        with Image.open(real_sections / "crops" / file) as crop:
            picture = np.asarray(crop.convert("RGB"))
        side = picture.shape[0]
        around = np.pad(picture, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)), mode="reflect")
        Image.fromarray(around).save(tmp_path / file)
        for size_um in SIZES_UM.values():
            with open_slide(tmp_path / file, mpp=min(size_um / side, config.detection.max_mpp)) as slide:
                found = process_slide(slide, config, slide_id="crop").follicles
            own = [f for f in found if f.outline.contains(Point(side, side))]
            best = max(own, key=lambda f: f.score, default=None)
            called, score = (best.stage.value, best.score) if best else ("none", 0.0)
            rows.append({"file": file, "label": label, "size": size_um, "called": called, "score": score})
    table = pd.DataFrame(rows)
    typical = table[table["size"] == table["label"].map(SIZES_UM).fillna(SIZES_UM["secondary"])]
    surest = table.sort_values("score", kind="stable").groupby("file").last()
    for name, part in (("at the size typical of the label (110 µm where it is none)", typical), ("surest", surest)):
        print(f"\n{detector}, {name}\n{pd.crosstab(part['label'], part['called'])}")
