"""µm/px from every source; a screen's dpi is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from follicle_stager.errors import SlideError
from follicle_stager.slides import open_slide
from follicle_stager.slides.resample import grid_shape, read_at_mpp
from follicle_stager.slides.stated_mpp import from_aperio, from_ome, from_resolution

BLANK = np.full((64, 80, 3), 240, np.uint8)


def write(path, **options):
    tifffile.imwrite(path, BLANK, photometric="rgb", **options)
    with open_slide(path) as slide:
        return slide.stated_pixel_size


def test_ome_physical_size(tmp_path):
    size = write(tmp_path / "a.ome.tif", metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5})
    assert (size.mpp_x, size.mpp_y, size.source) == (0.25, 0.5, "OME PhysicalSize")


def test_ome_unit_nm(tmp_path):
    metadata = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"}
    assert write(tmp_path / "a.ome.tif", metadata=metadata).mpp == pytest.approx(0.25)


def test_scale_is_that_of_the_slide_and_not_of_its_macro(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for picture, mpp in ((BLANK[:40, :50], 16.0), (np.repeat(np.repeat(BLANK, 5, 0), 5, 1), 0.5)):
            metadata = {"axes": "YXS", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            tif.write(picture, photometric="rgb", metadata=metadata)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.width, slide.mpp) == (400, 0.5)


def test_tiff_resolution_cm(tmp_path):
    size = write(tmp_path / "a.tif", resolution=(20000, 40000), resolutionunit="CENTIMETER")
    assert (size.mpp_x, size.mpp_y) == (pytest.approx(0.5), pytest.approx(0.25))


def test_aperio(tmp_path):
    size = write(tmp_path / "a.svs", description="Aperio Image Library v11\r\n64x80 |AppMag = 20|MPP = 0.4990")
    assert (size.mpp, size.source) == (pytest.approx(0.499), "Aperio MPP")


def test_imagej(tmp_path):
    size = write(tmp_path / "a.tif", imagej=True, resolution=(2.0, 2.0), metadata={"unit": "micron"})
    assert size.mpp == pytest.approx(0.5)


@pytest.mark.parametrize("dpi", [72, 96, 300])
def test_screen_and_print_dpi_is_no_scale(tmp_path, dpi):
    assert write(tmp_path / "a.tif", resolution=(dpi, dpi), resolutionunit="INCH") is None
    Image.fromarray(BLANK).save(tmp_path / "a.png", dpi=(dpi, dpi))
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.mpp is None
        with pytest.raises(SlideError, match=r"--mpp.*mpp column"):
            _ = slide.pixel_size


def test_unit_none_is_no_scale(tmp_path):
    assert write(tmp_path / "a.tif", resolution=(1, 1), resolutionunit="NONE") is None


@pytest.mark.parametrize("mpp", [352.8, 0.0, -1.0, math.nan, math.inf])
def test_a_users_impossible_scale_is_refused(tmp_path, mpp):
    Image.fromarray(BLANK).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="not a pixel size of a microscope"):
        open_slide(tmp_path / "a.png", mpp=mpp)


def test_a_users_scale_stands(tmp_path):
    write(tmp_path / "a.tif", resolution=(20000, 20000), resolutionunit="CENTIMETER")
    with open_slide(tmp_path / "a.tif", mpp=0.9) as slide:
        assert slide.mpp == 0.9


@given(st.floats(0.03, 19), st.sampled_from(["inch", "cm", "mm", "µm", "micron"]))
def test_resolution_inverts(mpp, unit):
    per_um = {"inch": 25400, "cm": 1e4, "mm": 1e3, "µm": 1, "micron": 1}[unit]
    size = from_resolution(per_um / mpp, per_um / mpp, unit, "")
    assert size is not None
    assert size.mpp == pytest.approx(mpp)


@pytest.mark.parametrize("text", ["", "MPP = ", "MPP = x", "MPP = 0", "AppMag = 20"])
def test_no_aperio_scale(text):
    assert from_aperio(text) is None


def test_no_ome_scale():
    assert from_ome({}) is None
    assert from_ome({"PhysicalSizeX": "1", "PhysicalSizeXUnit": "pixel"}) is None


@pytest.fixture
def gradient(tmp_path):
    y, x = np.mgrid[0:200, 0:300]
    picture = np.dstack([x * 0.8, y * 1.2, x * 0 + 50]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "g.tif", picture, photometric="rgb", tile=(64, 64))
    return tmp_path / "g.tif"


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.77, 1.0, 1.9, 3.0])
def test_windows_of_the_grid_agree(gradient, mpp):
    """A window holds the same values however it is cut."""
    with open_slide(gradient, mpp=0.5) as slide:
        height, width = grid_shape(slide, mpp)
        whole = read_at_mpp(slide, 0, 0, width, height, mpp)
        for x, y, w, h in ((0, 0, 7, 9), (5, 3, 20, 11), (width - 6, height - 5, 6, 5)):
            np.testing.assert_array_equal(read_at_mpp(slide, x, y, w, h, mpp), whole[y : y + h, x : x + w])


@pytest.mark.parametrize("mpp", [0.3, 0.5, 0.8, 1.7])
def test_positions_are_physical(gradient, mpp):
    """Pixel i of the grid is centred at (i + 0.5) * mpp µm, whatever the slide's µm/px in x and y."""
    with open_slide(gradient, mpp=0.5) as slide:
        from follicle_stager.pixel_size import PixelSize

        slide.stated_pixel_size = PixelSize(0.5, 0.25, "test")
        window = read_at_mpp(slide, 20, 8, 10, 6, mpp).astype(float)
        x_um, y_um = (np.arange(20, 30) + 0.5) * mpp, (np.arange(8, 14) + 0.5) * mpp
        np.testing.assert_allclose(window[0, :, 0], (x_um / 0.5 - 0.5) * 0.8, atol=1.6)
        np.testing.assert_allclose(window[:, 0, 1], (y_um / 0.25 - 0.5) * 1.2, atol=1.8)
