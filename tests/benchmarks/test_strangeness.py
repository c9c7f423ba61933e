"""How strange the network finds sections of ovary and other things; 1 is the limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from scipy import ndimage as ndi

from follicle_stager.config import Config
from follicle_stager.errors import SlideError
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide

CONFIG = Config.model_validate({"tissue": {"min_section_mm2": 0.01}})
OTHERS = ("ihc.png", "retina.jpg", "gravel.png", "brick.png", "grass.png", "page.png", "coffee.png")


def strangeness(picture, mpp, folder):
    """Of a picture, or why there is none."""
    path = folder / "picture.png"
    Image.fromarray(picture.astype(np.uint8)).save(path)
    try:
        with open_slide(path, mpp=mpp) as slide:
            result = process_slide(slide, CONFIG, slide_id="picture")
    except SlideError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ').split(';')[0].split(' (')[0]}"
    return f"{result.quality['strangeness']:.2f}, follicles claimed: {len(result.follicles)}"


def damaged(name, picture, mpp):
    """The same section, as it is and as nobody should count it."""
    yield name, picture, mpp
    for sigma in (1, 2, 4):
        yield f"  blurred, sigma {sigma * mpp:.1f} µm", ndi.gaussian_filter(picture, (sigma, sigma, 0)), mpp
    for factor in (0.5, 2.0):
        yield f"  µm/px said to be {factor:g} times what it is", picture, mpp * factor
    yield "  negative", 255 - picture, mpp
    yield "  red and blue exchanged", picture[..., ::-1], mpp


def load(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_strangeness_of_synthetic_and_other_pictures(section, tmp_path, record):
    """Strangeness (1 is the limit) of a synthetic section, of the same section damaged, and of other pictures.

    The other pictures come with scikit-image: colon (IHC), a retina, and pictures that show no tissue.
    """
    lines = [
        f"{name}: {strangeness(own, mpp, tmp_path)}" for name, own, mpp in damaged("virtual section", section[1], 1.0)
    ]
    for name in OTHERS:
        lines.append(f"{name}: {strangeness(load(Path(skimage.__file__).parent / 'data' / name), 1.0, tmp_path)}")
    record("\n".join(lines))


def test_strangeness_of_real_sections(real_sections, tmp_path, record):
    """Strangeness (1 is the limit) of two real sections, as they are and damaged."""
    lines = []
    for name, mpp in (("mouse_hematoxylin_section.png", 1.55), ("mouse_he_region_boxes_drawn_in.png", 1.8)):
        for title, picture, own in damaged(name, load(real_sections / name), mpp):
            lines.append(f"{title}: {strangeness(picture, own, tmp_path)}")
    record("\n".join(lines))
