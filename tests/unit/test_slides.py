"""Every file format becomes the same lazy 8-bit RGB pyramid."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from follicle_stager.batch import process_folder
from follicle_stager.errors import SlideError, UserError
from follicle_stager.slides import open_slide
from follicle_stager.slides.slide import Level, Slide
from follicle_stager.study import list_slides


@pytest.fixture
def picture():
    rng = np.random.default_rng(3)
    smooth = rng.integers(0, 256, (10, 13, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(smooth).resize((416, 320), Image.Resampling.BICUBIC))


def _half(picture):
    return picture[::2, ::2]


def write_tiled(path, p):
    tifffile.imwrite(path, p, tile=(64, 64), compression="zlib", photometric="rgb")


def write_stripped(path, p):
    tifffile.imwrite(path, p, rowsperstrip=16, compression="lzw", photometric="rgb")


def write_single_strip(path, p):
    tifffile.imwrite(path, p, rowsperstrip=len(p), compression="zlib", photometric="rgb")


def write_uncompressed(path, p):
    tifffile.imwrite(path, p, photometric="rgb")


def write_bigtiff(path, p):
    tifffile.imwrite(path, p, bigtiff=True, tile=(64, 64), photometric="rgb")


def write_planar(path, p):
    tifffile.imwrite(path, np.moveaxis(p, -1, 0), planarconfig="separate", photometric="rgb")


def write_ome_subifd(path, p):
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(p, subifds=1, tile=(64, 64), photometric="rgb", metadata={"axes": "YXS"})
        tif.write(_half(p), subfiletype=1, tile=(64, 64), photometric="rgb")


def write_plain_pyramid(path, p):
    with tifffile.TiffWriter(path) as tif:
        tif.write(p, tile=(64, 64), photometric="rgb")
        tif.write(_half(p), tile=(64, 64), photometric="rgb", subfiletype=1)


def write_png(path, p):
    Image.fromarray(p).save(path)


def write_ome_zarr(path, p):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for level, pixels in enumerate((p, _half(p))):
        array = group.create_array(str(level), shape=(3, *pixels.shape[:2]), chunks=(3, 64, 64), dtype="uint8")
        array[:] = np.moveaxis(pixels, -1, 0)
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    scales = [{"type": "scale", "scale": [1, 0.5 * f, 0.25 * f]} for f in (1, 2)]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, *axes],
            "datasets": [{"path": str(i), "coordinateTransformations": [s]} for i, s in enumerate(scales)],
        }
    ]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_tiled, "a.tif"),
        (write_stripped, "a.tif"),
        (write_single_strip, "a.tif"),
        (write_uncompressed, "a.tif"),
        (write_bigtiff, "a.tif"),
        (write_planar, "a.tif"),
        (write_ome_subifd, "a.ome.tif"),
        (write_plain_pyramid, "a.tif"),
        (write_plain_pyramid, "a.svs"),
        (write_png, "a.png"),
        (write_ome_zarr, "a.ome.zarr"),
    ],
)
def test_formats_give_the_same_pixels(tmp_path, picture, write, name):
    path = tmp_path / name
    write(path, picture)
    with open_slide(path) as slide:
        assert (slide.width, slide.height) == (416, 320)
        np.testing.assert_array_equal(slide.read_region(30, 50, 100, 70), picture[50:120, 30:130])
        np.testing.assert_array_equal(np.asarray(slide.to_dask(0, chunk=100)), picture)
        if "pyramid" in write.__name__ or "ome" in write.__name__:
            assert [(level.width, level.height) for level in slide.levels] == [(416, 320), (208, 160)]
            np.testing.assert_array_equal(slide.read_region(0, 0, 208, 160, 1), _half(picture))


def test_what_is_decoded_ahead_is_not_read_again(picture):
    reads = []

    def read(y0, y1, x0, x1):
        reads.append((y0, y1, x0, x1))
        return large[y0:y1, x0:x1]

    large = np.tile(picture, (8, 6, 1))  # 2,560 x 2,496 px
    slide = Slide(Path("a.tif"), [Level(large.shape[1], large.shape[0], read)], None)
    slide.decode_ahead(-50, 900, 1200, 300)
    assert sorted(reads) == [(y, y + 1024, x, x + 1024) for y in (0, 1024) for x in (0, 1024)]
    before = len(reads)
    np.testing.assert_array_equal(np.asarray(slide.to_dask()[900:1200, 0:1150]), large[900:1200, 0:1150])
    assert len(reads) == before
    np.testing.assert_array_equal(np.asarray(slide.to_dask()), large)
    slide.decode_ahead(5000, 5000, 10, 10)


def test_jpeg_is_close(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95)
    with open_slide(tmp_path / "a.jpg") as slide:
        difference = slide.read_region(0, 0, 416, 320).astype(int) - picture
        assert np.abs(difference).mean() < 4


def test_outside_is_white(tmp_path, picture):
    write_tiled(tmp_path / "a.tif", picture)
    with open_slide(tmp_path / "a.tif") as slide:
        region = slide.read_region(-10, -20, 50, 60)
        assert (region[:20] == 255).all()
        assert (region[:, :10] == 255).all()
        np.testing.assert_array_equal(region[20:, 10:], picture[:40, :40])


def test_a_region_costs_its_own_pixels(tmp_path, picture):
    """A damaged tile far away does not matter; reading it names the place."""
    path = tmp_path / "a.tif"
    write_tiled(path, picture)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[-1], tif.pages[0].databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 64, 64), picture[:64, :64])
        with pytest.raises(SlideError, match=r"a\.tif.*x = 400, y = 310.*damaged"):
            slide.read_region(400, 310, 10, 10)


class TestColours:
    def test_gray_becomes_rgb(self, tmp_path, picture):
        tifffile.imwrite(tmp_path / "a.tif", picture[..., 0])
        with open_slide(tmp_path / "a.tif") as slide:
            np.testing.assert_array_equal(slide.read_region(0, 0, 416, 320), np.repeat(picture[..., :1], 3, 2))

    def test_transparent_is_white_glass(self, tmp_path, picture):
        alpha = np.full(picture.shape[:2], 255, np.uint8)
        alpha[:, :100] = 0
        Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
        with open_slide(tmp_path / "a.png") as slide:
            region = slide.read_region(0, 0, 416, 320)
            assert (region[:, :100] == 255).all()
            np.testing.assert_array_equal(region[:, 100:], picture[:, 100:])

    def test_palette_is_looked_up(self, tmp_path, picture):
        indexed = Image.fromarray(picture).quantize(32)
        for name in ("a.png", "a.tif"):
            indexed.save(tmp_path / name)
            with open_slide(tmp_path / name) as slide:
                region = slide.read_region(0, 0, 416, 320)
            np.testing.assert_array_equal(region, np.asarray(indexed.convert("RGB")))

    @pytest.mark.parametrize("bits", [12, 16])
    def test_16_bit_is_scaled_by_the_bits_in_use(self, tmp_path, picture, bits):
        deep = (picture.astype(np.float64) * ((2**bits - 1) / 255)).astype(np.uint16)
        deep[0, 0] = 2**bits - 1
        tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", tile=(64, 64))
        with open_slide(tmp_path / "a.tif") as slide:
            difference = slide.read_region(0, 0, 416, 320).astype(int) - picture
        assert np.abs(difference[1:]).max() <= 1

    def test_big_endian_as_imagej_writes_it(self, tmp_path, picture):
        deep = picture.astype(np.uint16) * 257
        tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", byteorder=">")
        with open_slide(tmp_path / "a.tif") as slide:
            np.testing.assert_array_equal(slide.read_region(0, 0, 416, 320), picture)

    def test_a_fourth_channel_that_is_no_transparency_is_left_out(self, tmp_path, picture):
        four = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"])
        with open_slide(tmp_path / "a.tif") as slide:
            np.testing.assert_array_equal(slide.read_region(0, 0, 416, 320), picture)

    def test_cmyk_is_ink(self, tmp_path, picture):
        Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.tif", compression="tiff_lzw")
        with open_slide(tmp_path / "a.tif") as slide:
            difference = slide.read_region(0, 0, 416, 320).astype(int) - picture
        assert np.abs(difference).max() <= 2

    def test_float_is_refused(self, tmp_path, picture):
        tifffile.imwrite(tmp_path / "a.tif", picture.astype(np.float32), photometric="rgb")
        with pytest.raises(SlideError, match="8- or 16-bit"):
            open_slide(tmp_path / "a.tif")

    def test_fluorescence_stack_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((5, 64, 64), np.uint8), metadata={"axes": "ZYX"}, ome=True)
        with pytest.raises(SlideError, match=r"a\.ome\.tif.*5 focal planes"):
            open_slide(tmp_path / "a.ome.tif")


class TestBadFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(SlideError, match=r"nothing\.tif: no such file"):
            open_slide(tmp_path / "nothing.tif")

    def test_empty(self, tmp_path):
        (tmp_path / "a.tif").touch()
        with pytest.raises(SlideError, match="0 bytes"):
            open_slide(tmp_path / "a.tif")

    def test_zip_renamed(self, tmp_path):
        (tmp_path / "a.tif").write_bytes(b"PK\x03\x04" + bytes(500))
        with pytest.raises(SlideError, match="not a TIFF file"):
            open_slide(tmp_path / "a.tif")

    @pytest.mark.parametrize("write", [write_tiled, write_uncompressed, write_ome_subifd])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
    def test_truncated(self, tmp_path, picture, write, share):
        path = tmp_path / "a.ome.tif"
        write(path, picture)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SlideError, match=r"a\.ome\.tif"), open_slide(path) as slide:
            slide.read_region(0, 0, slide.width, slide.height)

    def test_text_as_png(self, tmp_path):
        (tmp_path / "a.png").write_text("hello")
        with pytest.raises(SlideError, match="not an image"):
            open_slide(tmp_path / "a.png")

    def test_truncated_png(self, tmp_path, picture):
        write_png(tmp_path / "a.png", picture)
        data = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
        with pytest.raises(SlideError, match="damaged or incomplete"):
            open_slide(tmp_path / "a.png")

    def test_one_pixel(self, tmp_path):
        Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
        with pytest.raises(SlideError, match="1 x 1 px, too small"):
            open_slide(tmp_path / "a.png")

    def test_unknown_ending(self, tmp_path):
        (tmp_path / "a.docx").write_text("x")
        with pytest.raises(SlideError, match="not a slide format"):
            open_slide(tmp_path / "a.docx")

    def test_openslide_format_names_the_extra(self, tmp_path, monkeypatch):
        import sys

        (tmp_path / "a.mrxs").write_bytes(b"x")
        monkeypatch.setitem(sys.modules, "openslide", None)
        with pytest.raises(SlideError, match=r"\.\[wsi\]"):
            open_slide(tmp_path / "a.mrxs")


class TestAddresses:
    """OME-Zarr images on a web server; those of an object store are read in the same way."""

    @pytest.fixture
    def web(self, tmp_path):
        pytest.importorskip("upath", reason="the remote extra is not installed")
        pytest.importorskip("aiohttp", reason="the remote extra is not installed")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

        handler = functools.partial(Quiet, directory=str(tmp_path))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def test_an_image_at_an_address_has_the_same_pixels(self, web, tmp_path, picture):
        write_ome_zarr(tmp_path / "a.ome.zarr", picture)
        with open_slide(f"{web}/a.ome.zarr") as slide, open_slide(tmp_path / "a.ome.zarr") as own:
            assert [(n.width, n.height) for n in slide.levels] == [(n.width, n.height) for n in own.levels]
            np.testing.assert_array_equal(slide.read_region(30, 50, 100, 70), picture[50:120, 30:130])
            assert slide.stated_pixel_size == own.stated_pixel_size

    def test_a_study_of_an_address_is_kept_and_finds_its_image(self, web, tmp_path, section):
        picture = section[1]
        write_ome_zarr(tmp_path / "a.ome.zarr", picture)
        address = f"{web}/a.ome.zarr"
        study, (outcome,) = process_folder(address, tmp_path / "study", mpp=1.0)
        assert outcome.state == "done"
        assert outcome.follicles
        assert study.run("a").source == address
        with study.open_slide("a") as slide:
            np.testing.assert_array_equal(slide.read_region(0, 0, 90, 80), picture[:80, :90])
        _, (again,) = process_folder(address, tmp_path / "study", mpp=1.0)
        assert again.state == "kept"

    def test_what_is_not_there_is_named(self, web, tmp_path):
        with pytest.raises(SlideError, match=r"nothing.ome.zarr: no OME-Zarr image there"):
            open_slide(f"{web}/nothing.ome.zarr")
        with pytest.raises(SlideError, match=r"cannot be reached"):
            open_slide("http://127.0.0.1:1/a.ome.zarr")
        with pytest.raises(UserError, match=r"only those of OME-Zarr"):
            list_slides(f"{web}/a.tif")
        with pytest.raises(UserError, match=r"^htp://x/a.ome.zarr: addresses with htp:// cannot be read"):
            list_slides("htp://x/a.ome.zarr")

    @pytest.mark.parametrize(
        ("address", "name"),
        [
            ("https://x/my%20slide.ome.zarr", "my slide"),
            ("https://x/a%2Fb.zarr", "a_b"),
            ("https://x/t10%3A00%5C.zarr", "t10_00_"),
            ("https://x/%2e%2e.zarr", "%2e%2e"),
            ("s3://x/my%20slide.ome.zarr", "my%20slide"),  # a store has names, not addresses
        ],
    )
    def test_names_in_an_address_are_decoded(self, address, name):
        pytest.importorskip("upath", reason="the remote extra is not installed")
        assert [source.slide_id for source in list_slides(address)] == [name]

    def test_metadata_do_not_lead_to_another_address(self, web, tmp_path, picture):
        write_ome_zarr(tmp_path / "a.ome.zarr", picture)
        for name in (".zattrs", "zarr.json"):
            file = tmp_path / "a.ome.zarr" / name
            if file.exists():
                file.write_text(file.read_text().replace('"path": "0"', '"path": "../b.ome.zarr/0"'))
        with pytest.raises(SlideError, match="lies outside"):
            open_slide(f"{web}/a.ome.zarr")
