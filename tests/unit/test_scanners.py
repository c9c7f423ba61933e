"""Which picture of a scanner's file is the slide, at what scale, and in which colours."""

from __future__ import annotations

import contextlib
import json
import os

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from scanners import (
    JPEG,
    half,
    macro,
    tissue,
    write_mrxs,
    write_ndpi,
    write_philips,
    write_scn,
    write_sis,
    write_svs,
    write_svs_jpeg2000,
)

from follicle_stager.config import SlidesConfig
from follicle_stager.errors import SlideError
from follicle_stager.slides import open_slide
from follicle_stager.study import list_slides

SCAN = tissue()
OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:2">{}</OME>'
)
IMAGE = (
    '<Image ID="Image:{n}" Name="{name}"><Pixels ID="Pixels:{n}" DimensionOrder="XYCZT" Type="uint8" SizeX="{w}" '
    'SizeY="{h}" SizeC="3" SizeZ="1" SizeT="1"{size}><Channel ID="Channel:{n}:0" SamplesPerPixel="3"/>'
    '<TiffData IFD="{n}" PlaneCount="1">{uuid}</TiffData></Pixels></Image>'
)


def write_ome(path, images, uuids=()):
    """An OME-TIFF of several images: name, picture, and µm/px as text, or none; and where each is said to be."""
    xml = ""
    for n, (name, picture, mpp) in enumerate(images):
        size = f' PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}"' if mpp else ""
        place = f'<UUID FileName="{uuids[n][0]}">{uuids[n][1]}</UUID>' if uuids else ""
        xml += IMAGE.format(n=n, name=name, w=picture.shape[1], h=picture.shape[0], size=size, uuid=place)
    with tifffile.TiffWriter(path) as tif:
        for n, (_, picture, _) in enumerate(images):
            tif.write(picture, tile=(128, 128), description=OME.format(xml).encode() if not n else None, **JPEG)


def is_scan(slide, picture=SCAN):
    """Whether a slide shows the scan, but for JPEG."""
    if (slide.height, slide.width) != picture.shape[:2]:
        return False
    seen = slide.read_region(0, 0, slide.width, slide.height).astype(int)
    return abs(seen - picture).mean() < 3


class TestWhichPicture:
    def test_a_macro_is_larger_than_a_small_svs(self, tmp_path):
        write_svs(tmp_path / "a.svs", SCAN)
        with open_slide(tmp_path / "a.svs") as slide:
            assert is_scan(slide)
            assert slide.mpp == pytest.approx(0.499)
            assert [level.width for level in slide.levels] == [512, 256]
            assert {text.split()[0] for text in slide.origin.beside} == {"Thumbnail", "Label", "Macro"}

    def test_the_focal_plane_nearest_to_zero(self, tmp_path):
        write_ndpi(tmp_path / "a.tif", SCAN)  # by its tags; what is called .ndpi has wider offsets
        with open_slide(tmp_path / "a.tif") as slide:
            assert is_scan(slide)
            assert slide.mpp == pytest.approx(1e4 / 22_000)
            assert "number 2" in slide.notes[0]
            assert [level.width for level in slide.levels] == [512, 128]

    @pytest.mark.parametrize(("level_planes", "widths"), [((-2000, 0, 2000), [512, 128]), ((-2000,), [512])])
    def test_levels_are_those_of_the_same_focal_plane(self, tmp_path, level_planes, widths):
        write_ndpi(tmp_path / "a.tif", SCAN, level_planes=level_planes)
        with open_slide(tmp_path / "a.tif") as slide:
            assert [level.width for level in slide.levels] == widths
            small = slide.read_region(0, 0, slide.levels[-1].width, slide.levels[-1].height, len(widths) - 1)
            assert small.std() > 20, "no plane but this one shows anything"

    def test_an_svs_with_focal_planes_is_refused_by_name(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.svs") as tif:
            for name in ("Aperio Image Library v11 \n|MPP = 0.5", "thumbnail", "plane", "plane"):
                picture = half(SCAN) if name == "thumbnail" else SCAN
                tif.write(picture, tile=(256, 256), description=name, **JPEG)
        with pytest.raises(SlideError, match="3 focal planes"):
            open_slide(tmp_path / "a.svs")

    def test_one_region_of_an_scn_and_not_its_overview(self, tmp_path):
        write_scn(tmp_path / "a.scn", [SCAN])
        with open_slide(tmp_path / "a.scn") as slide:
            assert is_scan(slide)
            assert slide.mpp == pytest.approx(1.0)

    def test_all_regions_of_an_scn_at_their_places(self, tmp_path):
        others = [tissue(352, 416, seed=8), tissue(160, 192, seed=9)]
        write_scn(tmp_path / "a.scn", [SCAN, *others], nm=2000)
        with open_slide(tmp_path / "a.scn") as slide:
            assert "3 scanned regions" in slide.notes[0]
            for number, picture in enumerate((SCAN, *others)):
                height, width = picture.shape[:2]
                seen = slide.read_region(4000 * number, 0, width, height).astype(int)  # 8 mm of 2 µm/px
                assert abs(seen - picture).mean() < 3
            assert (slide.read_region(600, 0, 3000, 384) == 255).all(), "glass between them"
            assert len(slide.levels) == 2
            small = slide.read_region(2000, 0, 208, 176, level=1).astype(int)
            assert abs(small - half(others[0])).mean() < 4

    @pytest.mark.parametrize(("name", "mpp"), [("macro image", None), ("label", "1.0"), ("Image:1", "55")])
    def test_what_lies_beside_an_ome_scan(self, tmp_path, name, mpp):
        """By its name, or by its scale; its shape is that of a level."""
        other = half(tissue(seed=5))
        write_ome(tmp_path / "a.ome.tif", [("scan", SCAN, "1.0"), (name, other, mpp)])
        with open_slide(tmp_path / "a.ome.tif") as slide:
            assert is_scan(slide)
            assert len(slide.levels) == 1
            assert slide.mpp == 1.0

    def test_levels_that_are_images_of_their_own(self, tmp_path):
        write_ome(tmp_path / "a.ome.tif", [("scan", SCAN, "0,5"), ("scan 2", half(SCAN), "1,0")])
        with open_slide(tmp_path / "a.ome.tif") as slide:
            assert [level.width for level in slide.levels] == [512, 256]
            assert slide.mpp == 0.5, "with a decimal comma"

    @pytest.mark.parametrize(
        ("name", "mpp", "twice"),
        [("ovary right", "", 1), ("ovary right", "2.5", 1), ("Sox9 MAP2", "1.0", 1), ("two", "2.0", 2)],
    )
    def test_what_only_resembles_an_overview_or_a_level(self, tmp_path, name, mpp, twice):
        other = tissue(352, 416, seed=8) if twice == 1 else half(tissue(seed=8))
        write_ome(tmp_path / "a.ome.tif", [("ovary left", SCAN, "0.25" if mpp == "2.5" else "1.0"), (name, other, mpp)])
        with pytest.raises(SlideError, match="2 images"):
            open_slide(tmp_path / "a.ome.tif")

    def test_two_small_sections_on_much_glass(self, tmp_path):
        """Their glass is the same, and the second one has the shape of a level."""
        first, second = (np.full((1024, 1024, 3), 245, np.uint8) for _ in range(2))
        first[100:300, 100:350] = (190, 120, 180)
        second[700:900, 600:850] = (190, 120, 180)
        with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
            for picture in (first, half(second)):
                tif.write(picture, tile=(256, 256), compression="zlib", photometric="rgb")
        with pytest.raises(SlideError, match="2 images"):
            open_slide(tmp_path / "a.tif")

    def test_a_detail_within_a_region_is_a_second_scan(self, tmp_path):
        """The large region holds the sections; it is no overview, though the finer one lies within it."""
        write_scn(tmp_path / "a.scn", [tissue(256, 256)], nm=500, around=(SCAN, 1000))
        with pytest.raises(SlideError, match="at different resolutions"):
            open_slide(tmp_path / "a.scn")

    def test_an_untagged_macro_with_tiles_is_no_level_of_an_svs(self, tmp_path):
        described = "Aperio Image Library v11.2.1 \n512x384|MPP = 0.5"
        with tifffile.TiffWriter(tmp_path / "a.svs") as tif:
            tif.write(SCAN, tile=(256, 256), description=described, **JPEG)
            tif.write(half(half(SCAN)), rowsperstrip=16, **JPEG)
            tif.write(half(SCAN), tile=(256, 256), **JPEG)
            tif.write(macro(200, 250), tile=(256, 256), description="Aperio macro", **JPEG)
            tif.write(macro(150, 200), tile=(256, 256), **JPEG)
        with open_slide(tmp_path / "a.svs") as slide:
            assert [level.width for level in slide.levels] == [512, 256]
        with tifffile.TiffWriter(tmp_path / "b.svs") as tif:
            tif.write(SCAN, tile=(256, 256), description=described, **JPEG)
            tif.write(tissue(seed=8), tile=(256, 256), **JPEG)
        with pytest.raises(SlideError, match="2 images"):
            open_slide(tmp_path / "b.svs")

    @pytest.mark.parametrize("second", [tissue(352, 416, seed=8), tissue(96, 128, seed=8), half(tissue(seed=8))])
    def test_a_second_scan_is_never_lost_in_silence(self, tmp_path, second):
        """Also one that is small, or has the shape of a level."""
        write_ome(tmp_path / "a.ome.tif", [("one", SCAN, "1.0"), ("two", second, "1.0")])
        with tifffile.TiffWriter(tmp_path / "b.tif") as tif:
            for picture in (SCAN, second):
                tif.write(picture, tile=(64, 64), photometric="rgb")
        tifffile.imwrite(tmp_path / "c.tif", np.stack([SCAN, tissue(seed=8)]), tile=(64, 64), photometric="rgb")
        with pytest.raises(SlideError, match=r"2 images .* may each be a section: one .*two"):
            open_slide(tmp_path / "a.ome.tif")
        with pytest.raises(SlideError, match="2 images"):
            open_slide(tmp_path / "b.tif")
        with pytest.raises(SlideError, match="2 images"):
            open_slide(tmp_path / "c.tif")

    def test_levels_and_label_of_a_plain_tiff(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
            tif.write(SCAN, tile=(64, 64), photometric="rgb")
            tif.write(half(SCAN), tile=(64, 64), photometric="rgb")
            tif.write(half(tissue(seed=5)), rowsperstrip=16, photometric="rgb")
        with open_slide(tmp_path / "a.tif") as slide:
            assert is_scan(slide)
            assert [level.width for level in slide.levels] == [512, 256], "the strips have the shape of a level too"

    def test_mirax_positions_count_from_what_was_scanned(self, tmp_path):
        openslide = pytest.importorskip("openslide")
        picture = tissue(512, 768)
        write_mrxs(tmp_path / "a.mrxs", picture)
        bounds = openslide.OpenSlide(tmp_path / "a.mrxs").properties
        assert bounds["openslide.bounds-x"] == "768", "the canvas is larger"
        with open_slide(tmp_path / "a.mrxs") as slide:
            assert is_scan(slide, picture)
            assert slide.mpp == 0.5


class TestZarr:
    @staticmethod
    def write(path, *, version=2, groups=("0",), mpp=(0.5,), colors=None, layout=True):
        """An OME-Zarr as bioformats2raw writes it: each image in a group of its own."""
        root = zarr.open_group(path, mode="w", zarr_format=version)

        def own(attributes):
            return {"ome": {"version": "0.5", **attributes}} if version == 3 else attributes

        if layout:
            root.attrs.update(own({"bioformats2raw.layout": 3}))
            root.create_group("OME").attrs.update(own({"series": list(groups)}))
        for name, size in zip(groups, mpp, strict=True):
            group = root.create_group(name) if layout else root
            picture = np.moveaxis(SCAN, -1, 0)[None, :, None]
            array = group.create_array("0", shape=picture.shape, chunks=(1, 1, 1, 256, 256), dtype="uint8")
            array[:] = picture if colors is None else picture[:, ::-1]
            axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "tczyx"]
            scaled = [{"type": "scale", "scale": [1, 1, 1, size, size]}]
            attributes = {
                "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scaled}]}]
            }
            if colors is not None:
                attributes["omero"] = {"channels": [{"color": color} for color in colors]}
            group.attrs.update(own(attributes))

    @pytest.mark.parametrize("version", [2, 3])
    def test_group_0_is_the_scan(self, tmp_path, version):
        self.write(tmp_path / "a.zarr", version=version, groups=("0", "1"), mpp=(0.5, 20))
        with open_slide(tmp_path / "a.zarr") as slide:
            assert is_scan(slide)
            assert slide.mpp == 0.5
            assert slide.origin.beside == ("image 1",)

    def test_two_scans_are_refused(self, tmp_path):
        self.write(tmp_path / "a.zarr", groups=("0", "1"), mpp=(0.5, 0.5))
        with pytest.raises(SlideError, match="2 images that may each be a section"):
            open_slide(tmp_path / "a.zarr")

    def test_channels_by_their_colours(self, tmp_path):
        self.write(tmp_path / "a.zarr", layout=False, colors=("0000FF", "00FF00", "FF0000"))
        with open_slide(tmp_path / "a.zarr") as slide:
            assert is_scan(slide)
        self.write(tmp_path / "b.zarr", layout=False, colors=("0000FF", "00FF00", "FF00FF"))
        with pytest.raises(SlideError, match="not red, green and blue"):
            open_slide(tmp_path / "b.zarr")

    @pytest.mark.parametrize(
        "change",
        [
            {"filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}]},
            {"dtype": "|O", "filters": [{"id": "pickle"}]},
            {"compressor": {"id": "pickle"}},
            {"dtype": "<f4"},
        ],
    )
    def test_no_codec_that_could_run_code(self, tmp_path, change):
        self.write(tmp_path / "a.zarr", layout=False)
        place = tmp_path / "a.zarr" / "0" / ".zarray"
        place.write_text(json.dumps(json.loads(place.read_text()) | change))
        with pytest.raises(SlideError, match="may run code|a brightfield slide has"):
            open_slide(tmp_path / "a.zarr")

    def test_no_codec_within_a_shard(self, tmp_path):
        self.write(tmp_path / "a.zarr", layout=False, version=3)
        place = tmp_path / "a.zarr" / "0" / "zarr.json"
        metadata = json.loads(place.read_text())
        inner = {"chunk_shape": [1, 1, 1, 64, 64], "codecs": [{"name": "numcodecs.pickle"}], "index_codecs": []}
        metadata["codecs"] = [{"name": "sharding_indexed", "configuration": inner}]
        place.write_text(json.dumps(metadata))
        with pytest.raises(SlideError, match="'pickle'"):
            open_slide(tmp_path / "a.zarr")

    @pytest.mark.parametrize("path", ["../b.zarr/0", ".", "/etc"])
    def test_nothing_outside_is_read(self, tmp_path, path):
        for name in "ab":
            self.write(tmp_path / f"{name}.zarr", layout=False)
        place = tmp_path / "a.zarr" / ".zattrs"
        place.write_text(place.read_text().replace('"path": "0"', f'"path": "{path}"'))
        with pytest.raises(SlideError, match="outside the slide's folder"):
            open_slide(tmp_path / "a.zarr")

    @pytest.mark.parametrize(
        "change",
        [
            {"axes": [{"name": n, "unit": 5} for n in "tczyx"]},
            {"axes": 3},
            {"datasets": [{"path": "0", "coordinateTransformations": "abc"}]},
            {"datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale"}]}]},
            {"datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0, 0, 0, 0, 0]}]}]},
            {"datasets": []},
        ],
    )
    def test_odd_metadata_is_no_defect(self, tmp_path, change):
        self.write(tmp_path / "a.zarr", layout=False)
        place = tmp_path / "a.zarr" / ".zattrs"
        attributes = json.loads(place.read_text())
        attributes["multiscales"][0] |= change
        place.write_text(json.dumps(attributes))
        with contextlib.suppress(SlideError), open_slide(tmp_path / "a.zarr") as slide:
            assert slide.mpp is None


class TestScale:
    @pytest.mark.parametrize(("written", "mpp"), [("0.2520", 0.252), ("0,2520", 0.252), ("x", None)])
    def test_aperio(self, tmp_path, written, mpp):
        write_svs(tmp_path / "a.svs", SCAN, mpp=written, with_macro=False)
        with open_slide(tmp_path / "a.svs") as slide:
            assert slide.mpp == mpp

    def test_philips_and_olympus(self, tmp_path):
        write_philips(tmp_path / "a.tiff", SCAN)
        write_sis(tmp_path / "b.tif", SCAN)
        for name, mpp in (("a.tiff", 0.25), ("b.tif", 0.5)):
            with open_slide(tmp_path / name) as slide:
                assert slide.mpp == pytest.approx(mpp)
                assert is_scan(slide)

    @pytest.mark.parametrize(
        ("unit", "per_unit", "resolution_unit", "mpp"),
        [
            ("micrometers", 2, "NONE", 0.5),
            ("microns", 2, "NONE", 0.5),
            ("Âµm", 2, "NONE", 0.5),
            ("Î¼m", 2, "NONE", 0.5),
            ("\\u00B5m", 2, "NONE", 0.5),
            ("nm", 0.002, "NONE", 0.5),
            (None, 20_000, "CENTIMETER", 0.5),
            ("pixel", 20_000, "CENTIMETER", 0.5),
            (None, 72, "INCH", None),
            (None, 96, "INCH", None),
            ("pixel", 1, "NONE", None),
        ],
    )
    def test_imagej(self, tmp_path, unit, per_unit, resolution_unit, mpp):
        described = "ImageJ=1.54f\n" + (f"unit={unit}\n" if unit else "")
        kept = {"photometric": "rgb", "metadata": None, "resolutionunit": resolution_unit}
        tifffile.imwrite(
            tmp_path / "a.tif", SCAN, description=described.encode(), resolution=(per_unit, per_unit), **kept
        )
        with open_slide(tmp_path / "a.tif") as slide:
            assert slide.mpp == (pytest.approx(mpp) if mpp else None)


class TestColours:
    def test_jpeg_2000_as_openslide_shows_it(self, tmp_path):
        openslide = pytest.importorskip("openslide")
        write_svs_jpeg2000(tmp_path / "a.svs", SCAN)
        right = openslide.OpenSlide(tmp_path / "a.svs").read_region((0, 0), 0, (512, 384)).convert("RGB")
        assert abs(np.asarray(right).astype(int) - SCAN).mean() < 3, "the referee sees the scan"
        with open_slide(tmp_path / "a.svs") as slide:
            assert abs(slide.read_region(0, 0, 512, 384).astype(int) - np.asarray(right)).max() <= 2
            assert "JPEG 2000" in slide.origin.why

    def test_lab_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", SCAN, photometric="cielab")
        with pytest.raises(SlideError, match="CIELAB"):
            open_slide(tmp_path / "a.tif")

    @pytest.mark.parametrize("channels", [2, 4])
    def test_more_channels_are_no_transparency(self, tmp_path, channels):
        tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((channels, 64, 64), np.uint8), metadata={"axes": "CYX"})
        with pytest.raises(SlideError, match="channels"):
            open_slide(tmp_path / "a.ome.tif")

    def test_gray_with_transparency_is_read(self, tmp_path):
        pixels = np.dstack([np.full((64, 64), 10, np.uint8), np.zeros((64, 64), np.uint8)])
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", extrasamples=["unassalpha"])
        with open_slide(tmp_path / "a.tif") as slide:
            assert (slide.read_region(0, 0, 64, 64) == 255).all()

    @pytest.mark.parametrize("names", [["DAPI", "FITC", "TRITC"], ["Hoechst", "GFP", "mCherry"]])
    def test_fluorescence_by_its_names(self, tmp_path, names):
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(tmp_path / "a.ome.tif", np.moveaxis(SCAN, -1, 0), metadata=metadata)
        with pytest.raises(SlideError, match="fluorescence"):
            open_slide(tmp_path / "a.ome.tif")

    def test_transparency_of_16_bits(self, tmp_path):
        """A camera's 12 bits beside a full transparency; and ink that is dark where it is thick."""
        pixels = np.dstack([SCAN.astype(np.uint16) * 16, np.full(SCAN.shape[:2], 65535, np.uint16)])
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
        ink = (255 - SCAN[..., 0].astype(np.uint16)) * 20
        tifffile.imwrite(tmp_path / "b.tif", ink, photometric="miniswhite")
        with open_slide(tmp_path / "a.tif") as slide:
            assert is_scan(slide)
        with open_slide(tmp_path / "b.tif") as slide:
            assert slide.read_region(0, 0, 512, 384).max() > 250, "no ink is white"

    def test_channels_in_blue_green_red(self, tmp_path):
        colors = [0x0000FFFF, 0x00FF00FF, 0xFF0000FF - 2**32]
        metadata = {"axes": "CYX", "Channel": {"Color": colors}}
        tifffile.imwrite(tmp_path / "a.ome.tif", np.moveaxis(SCAN, -1, 0)[::-1], metadata=metadata)
        with open_slide(tmp_path / "a.ome.tif") as slide:
            assert is_scan(slide)


class TestLimits:
    def test_a_png_is_measured_before_it_is_decoded(self, tmp_path):
        Image.fromarray(SCAN).save(tmp_path / "a.png")
        with pytest.raises(SlideError, match=r"512 x 384 px need 1 MB .*slides\.max_decoded_mb"):
            open_slide(tmp_path / "a.png", limits=SlidesConfig(max_decoded_mb=0.5))

    def test_a_tiff_of_one_strip(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", SCAN, rowsperstrip=384, compression="zlib", photometric="rgb")
        with pytest.raises(SlideError, match=r"512 x 384 px, 1 MB at once .*max_decoded_mb"):
            open_slide(tmp_path / "a.tif", limits=SlidesConfig(max_decoded_mb=0.5))

    def test_no_pyramid(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", SCAN, tile=(64, 64), photometric="rgb")
        with pytest.raises(SlideError, match="max_overview_mpx"):
            open_slide(tmp_path / "a.tif", limits=SlidesConfig(max_overview_mpx=0.1))

    def test_a_slide_larger_than_glass(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", SCAN, tile=(64, 64), photometric="rgb")
        with pytest.raises(SlideError, match="Its µm/px is wrong"):
            open_slide(tmp_path / "a.tif", mpp=20, limits=SlidesConfig(max_area_mm2=50))

    def test_a_file_without_pixels(self, tmp_path):
        empty = iter([b""] * 48)
        kept = {"shape": SCAN.shape, "dtype": "uint8", "tile": (64, 64), "compression": "zlib", "photometric": "rgb"}
        tifffile.imwrite(tmp_path / "a.tif", empty, **kept)
        with pytest.raises(SlideError, match="holds no pixels"):
            open_slide(tmp_path / "a.tif")

    def test_tiles_that_were_not_stored_are_glass(self, tmp_path):
        tiles = iter([np.full((64, 64, 3), 9, np.uint8), *[None] * 47])
        kept = {"shape": SCAN.shape, "dtype": "uint8", "tile": (64, 64), "compression": "zlib", "photometric": "rgb"}
        tifffile.imwrite(tmp_path / "a.tif", tiles, **kept)
        with open_slide(tmp_path / "a.tif") as slide:
            seen = slide.read_region(0, 0, 512, 384)
        assert (seen[:64, :64] == 9).all()
        assert (seen[64:] == 255).all()

    def test_large_strips_are_read_in_any_window(self, tmp_path):
        """They are decoded whole, and kept."""
        picture = tissue(2048, 2048)
        tifffile.imwrite(tmp_path / "a.tif", picture, rowsperstrip=1500, compression="zlib", photometric="rgb")
        with open_slide(tmp_path / "a.tif") as slide:
            for x, y, width, height in ((0, 0, 2048, 2048), (100, 1400, 300, 300), (1900, 1499, 148, 2)):
                seen = slide.read_region(x, y, width, height)
                assert (seen == picture[y : y + height, x : x + width]).all()


class TestSafety:
    @pytest.mark.parametrize("name", ["../secret/b.ome.tif", "{}/secret/b.ome.tif", "link.tif", "pipe.tif", "gone.tif"])
    def test_ome_reads_only_files_beside_it(self, tmp_path, name):
        for folder in ("slides", "secret"):
            (tmp_path / folder).mkdir()
        write_ome(tmp_path / "secret" / "b.ome.tif", [("b", SCAN, "1.0")])
        (tmp_path / "slides" / "link.tif").symlink_to(tmp_path / "secret" / "b.ome.tif")
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "slides" / "pipe.tif")
        path, elsewhere = tmp_path / "slides" / "a.ome.tif", (name.format(tmp_path), "urn:uuid:1")
        pictures = [("a", SCAN, "1.0"), ("b", half(SCAN), "2.0")]
        write_ome(path, pictures, [("a.ome.tif", "urn:uuid:2"), elsewhere])
        content = path.read_bytes()
        # Also where the rest of the metadata is not as it should be: tifffile reads the name all the same.
        changes = [(b'Name="a"', b'Nam_="a"'), (b"<Image ", b"<XImage "), (b"PhysicalSizeX", b"PhysicalSizeQ")]
        for old, new in [(b"\0\0nothing", b""), *changes]:
            path.write_bytes(content.replace(old, new))
            with pytest.raises(SlideError, match=r"a\.ome\.tif"):
                open_slide(path)
        write_ome(path, pictures[:1], [elsewhere])
        with pytest.raises(SlideError, match="the whole image is in"):
            open_slide(path)

    def test_parts_beside_it_are_named(self, tmp_path):
        write_ome(tmp_path / "b.ome.tif", [("b", half(SCAN), "2.0")])
        pictures = [("a", SCAN, "1.0"), ("b", half(SCAN), "2.0")]
        write_ome(tmp_path / "a.ome.tif", pictures, [("a.ome.tif", "urn:uuid:2"), ("b.ome.tif", "urn:uuid:1")])
        with open_slide(tmp_path / "a.ome.tif") as slide:
            assert slide.notes == ("parts of the image are in b.ome.tif",)
            assert is_scan(slide)
        assert [s.slide_id for s in list_slides(tmp_path)] == ["a"], "it is no slide of its own"

    def test_a_file_that_was_renamed_is_its_own(self, tmp_path):
        """Also where another slide has the name that it had."""
        write_ome(tmp_path / "new.ome.tif", [("a", SCAN, "1.0")], [("old.ome.tif", "urn:uuid:2")])
        write_ome(tmp_path / "old.ome.tif", [("b", tissue(seed=4), "1.0")])
        with open_slide(tmp_path / "new.ome.tif") as slide:
            assert is_scan(slide)
        assert [s.slide_id for s in list_slides(tmp_path)] == ["new", "old"]

    @pytest.mark.parametrize("codec", ["jpeg", "png"])
    def test_a_tile_that_is_larger_than_the_file_says(self, tmp_path, codec):
        large = np.zeros((4000, 4000, 3), np.uint8)
        tiles = [imagecodecs.png_encode(large) if codec == "png" else imagecodecs.jpeg_encode(large)]
        kept = {"shape": (128, 128, 3), "dtype": "uint8", "tile": (128, 128), "photometric": "rgb"}
        tifffile.imwrite(tmp_path / "a.tif", iter(tiles), compression=codec, **kept)
        with (
            open_slide(tmp_path / "a.tif") as slide,
            pytest.raises(SlideError, match="packed as 4000 x 4000 px, far more than the file says"),
        ):
            slide.read_region(0, 0, 128, 128)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    @pytest.mark.parametrize("name", ["a.tif", "a.png", "a.ndpi", "a.zarr"])
    def test_a_pipe_is_not_opened(self, tmp_path, name):
        if name == "a.zarr":
            TestZarr.write(tmp_path / name, layout=False)
            os.mkfifo(tmp_path / name / "0" / "x")
        else:
            os.mkfifo(tmp_path / name)
        with pytest.raises(SlideError, match="not a regular file"):
            open_slide(tmp_path / name)

    def test_other_formats_behind_a_picture_s_ending_are_not_run(self, tmp_path):
        (tmp_path / "a.png").write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"
        )
        Image.fromarray(SCAN).save(tmp_path / "b.png", "GIF")
        for name in ("a.png", "b.png"):
            with pytest.raises(SlideError, match="not an image that can be read"):
                open_slide(tmp_path / name)


def test_a_dicom_series_is_one_slide(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    kinds = {"a1": "VOLUME", "a2": "VOLUME", "a3": "LABEL", "a4": "OVERVIEW", "b1": "VOLUME"}
    for name, kind in kinds.items():
        header = pydicom.Dataset()
        header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.6", pydicom.uid.generate_uid()
        header.SeriesInstanceUID = f"1.2.3.{name[0].encode().hex()}"
        header.ImageType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    (tmp_path / "c.dcm").write_bytes(b"damaged")
    assert [s.slide_id for s in list_slides(tmp_path)] == ["a1", "b1", "c"]


def test_macro_is_no_scan():
    """The pictures of this file differ, or nothing above means anything."""
    assert abs(macro(384, 512).astype(int) - SCAN).mean() > 20
