"""How strange the network finds sections of ovary and other things; 1 is the limit. Prints; ``make bench``."""

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
# Of scikit-image: a section of colon (IHC), a fundus, and what is no tissue at all.
OTHERS = ("ihc.png", "retina.jpg", "gravel.png", "brick.png", "grass.png", "page.png", "coffee.png")


def strangeness(picture, mpp, folder):
    """Of a picture, or why there is none."""
    path = folder / "picture.png"
    Image.fromarray(picture.astype(np.uint8)).save(path)
    try:
        with open_slide(path, mpp=mpp) as slide:
            result = process_slide(slide, CONFIG, slide_id="picture")
    except SlideError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')[:60]}"
    return f"{result.quality['strangeness']:.2f}, {len(result.follicles)} follicles claimed"


def mutilated(name, picture, mpp):
    """The same section as nobody should count it."""
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


def test_virtual_and_other(section, tmp_path):
    print()
    for name, picture, mpp in mutilated("virtual section, H&E", section[1], 1.0):
        print(f"{name}: {strangeness(picture, mpp, tmp_path)}")
    for name in OTHERS:
        print(f"{name}: {strangeness(load(Path(skimage.__file__).parent / 'data' / name), 1.0, tmp_path)}")


def test_real(real_sections, tmp_path):
    print()
    for name, mpp in (("mouse_hematoxylin_section.png", 1.55), ("mouse_he_region_boxes_drawn_in.png", 1.8)):
        for title, picture, own in mutilated(name, load(real_sections / name), mpp):
            print(f"{title}: {strangeness(picture, own, tmp_path)}")
