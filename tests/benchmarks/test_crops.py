"""Real follicles cut out of their surroundings, stage against stage. The crops are not part of the project."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image
from shapely.geometry import Point

from follicle_stager.config import Config
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide

SIZES_UM = {"primordial": 25, "primary": 50, "secondary": 110, "tertiary": 300}


def test_crops(real_sections, tmp_path, record):
    """Crops of real sections around one follicle, or without one. Rows are their labels.

    Their µm/px is unknown. Each crop was tried as a follicle of four sizes. One table is for the size that is typical
    of its label (110 µm without a follicle), the other for the claim with the highest score.
    """
    labels = pd.read_csv(real_sections / "crops" / "labels.csv")
    tables = []
    for detector in ("classical", "network"):
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
        best = table.sort_values("score", kind="stable").groupby("file").last()
        for name, part in (("at the typical size", typical), ("claim with the highest score", best)):
            tables.append(f"{detector}, {name}\n{pd.crosstab(part['label'], part['called']).to_string()}")
    record("\n\n".join(tables))
