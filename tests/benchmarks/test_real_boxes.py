"""What is found at the boxes of the real sections. The pictures are not part of the project."""

from __future__ import annotations

import json

from shapely.geometry import shape

from follicle_stager.config import Config
from follicle_stager.evaluation import box_iou
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide


def test_real_boxes(real_sections, record):
    """Both detectors on a whole mouse section with five boxes (hematoxylin) and on a piece of cortex (H&E).

    The boxes are annotations around follicles; for each, the claim with the best IoU of the boxes is given. The
    section was also tried with a µm/px that is 10 % lower or higher, because its value is an estimate. On the cortex,
    the boxes are drawn into the pixels, so all claims are listed.
    """
    boxes = json.loads((real_sections / "mouse_hematoxylin_section.boxes.geojson").read_text())["features"]
    boxes = [(box["properties"]["classification"]["name"], shape(box["geometry"])) for box in boxes]
    lines = []
    for detector in ("network", "classical"):
        config = Config.model_validate({"detection": {"detector": detector}})
        for mpp in (1.55, 1.4, 1.7):
            with open_slide(real_sections / "mouse_hematoxylin_section.png", mpp=mpp) as slide:
                found = process_slide(slide, config, slide_id="hematoxylin").follicles
            lines.append(f"{detector}, hematoxylin section, {mpp} µm/px: {len(found)} claims")
            for name, box in boxes:
                best = max(((box_iou(f.outline, box), f.stage.label) for f in found), default=(0, "-"))
                lines.append(f"  {name} box: box IoU {best[0]:.2f}" + (f" ({best[1]})" if best[0] else ""))
        with open_slide(real_sections / "mouse_he_region_boxes_drawn_in.png", mpp=1.8) as slide:
            found = process_slide(slide, config, slide_id="he").follicles
        lines.append(f"{detector}, H&E cortex, 1.8 µm/px: {len(found)} claims")
        for f in sorted(found, key=lambda f: f.outline.centroid.y):
            x, y = f.outline.centroid.coords[0]
            lines.append(f"  x {x:.0f} y {y:.0f} px: {f.stage.label}, {f.measurements.diameter_um:.0f} µm")
    record("\n".join(lines))
