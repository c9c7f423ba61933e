"""Small files as scanners write them: each with what surrounds the scan in it (label, macro, planes, regions)."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

JPEG = {"compression": "jpeg", "compressionargs": {"level": 95}, "photometric": "rgb", "metadata": None}


def half(picture):
    return np.asarray(Image.fromarray(picture).reduce(2))


def tissue(height=384, width=512, seed=3):
    """A picture that is nowhere like another one."""
    small = np.random.default_rng(seed).integers(60, 256, (height // 32, width // 32, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def macro(height=629, width=1600):
    """The whole glass with its label, larger than a small scan."""
    picture = np.full((height, width, 3), 235, np.uint8)
    picture[:, : height // 2] = (40, 60, 200)
    return picture


def write_svs(path, picture, *, mpp="0.4990", with_macro=True):
    """Aperio: baseline, thumbnail, one level, label, macro."""
    described = f"Aperio Image Library v11.2.1 \n512x384 (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = {mpp}|Left = 0"
    with tifffile.TiffWriter(path) as tif:
        tif.write(picture, tile=(256, 256), description=described, **JPEG)
        if with_macro:
            tif.write(half(picture), rowsperstrip=16, description="Aperio thumbnail", **JPEG)
            tif.write(half(picture), tile=(256, 256), description="Aperio level", **JPEG)
            tif.write(macro(400, 420), rowsperstrip=16, subfiletype=1, description="Aperio label", **JPEG)
            tif.write(macro(), rowsperstrip=16, subfiletype=9, description="Aperio macro", **JPEG)


def write_svs_jpeg2000(path, picture):
    """Aperio JPEG 2000 of YCbCr (33003): tifffile decodes it as it is stored, in other colours."""
    red, green, blue = (picture[..., i].astype(float) for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ycc = np.stack([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)], -1).round().clip(0, 255)
    described = "Aperio Image Library v11.2.1 \n512x384 (256x256) J2K/YUV16 Q=70|AppMag = 20|MPP = 0.4990"
    tiles = [
        imagecodecs.jpeg2k_encode(ycc[y : y + 128, x : x + 256].astype(np.uint8), level=0, mct=False, codecformat="j2k")
        for y in range(0, 384, 128)
        for x in range(0, 512, 256)
    ]
    shape = {"shape": (384, 512, 3), "dtype": "uint8", "tile": (128, 256), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(iter(tiles), description=described, compression=33003, **shape)


def write_ndpi(path, picture, *, planes=(-2000, 0, 2000), level_planes=(0,)):
    """Hamamatsu: focal planes, a level of some, and the macro; only the one at 0 is ``picture``."""

    def tags(magnification, height_nm):
        return [
            (65420, "I", 1, 1, True),
            (65421, "f", 1, magnification, True),
            (65424, "i", 1, height_nm, True),
            (271, "s", 0, "Hamamatsu", True),
        ]

    kept = {**JPEG, "rowsperstrip": 16, "resolution": (22_000, 22_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tif:
        for height_nm in planes:
            blurred = picture if height_nm == 0 else np.full_like(picture, 90)
            tif.write(blurred, extratags=tags(20.0, height_nm), **kept)
        for height_nm in level_planes:
            small = half(half(picture))
            tif.write(small if height_nm == 0 else np.full_like(small, 90), extratags=tags(5.0, height_nm), **kept)
        tif.write(macro(204, 599), extratags=tags(-1.0, 0), **kept)


def write_scn(path, regions, *, nm=1000, around=None):
    """Leica: an overview of the glass, then regions side by side, 8 mm apart, each with a level.

    ``around``: a picture that holds the first region, and the nm of its pixels.
    """
    overview = macro(900, 440)
    pages, images = [overview], [(overview, 60_000, 0, 0, [0])]
    for number, region in enumerate(regions):
        images.append((region, nm, 2_000_000 + 8_000_000 * number, 20_000_000, [len(pages), len(pages) + 1]))
        pages += [region, half(region)]
    if around is not None:
        images.append((*around, 1_990_000, 19_990_000, [len(pages)]))
        pages.append(around[0])
    xml = '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection sizeX="26564529" sizeY="76734528">'
    for picture, pixel_nm, x, y, pages_of in images:
        height, width = picture.shape[:2]
        sizes = [pages[ifd].shape for ifd in pages_of]
        levels = [
            f'<dimension sizeX="{s[1]}" sizeY="{s[0]}" r="{r}" ifd="{i}"/>'
            for r, (i, s) in enumerate(zip(pages_of, sizes, strict=True))
        ]
        xml += (
            f'<image name="image_{x}"><pixels sizeX="{width}" sizeY="{height}">{"".join(levels)}</pixels>'
            f'<view sizeX="{width * pixel_nm}" sizeY="{height * pixel_nm}" offsetX="{x}" offsetY="{y}"/></image>'
        )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, page in enumerate(pages):
            tif.write(page, tile=(256, 256), description=xml + "</collection></scn>" if not number else None, **JPEG)


def write_philips(path, picture, *, mm="0.00025"):
    """Philips: the scale stands in the description alone."""
    spacing = '<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">&quot;{}&quot; &quot;{}&quot;</Attribute>'
    sizes = (mm, str(2 * float(mm)))
    label = '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">LABELIMAGE</Attribute>'
    label += spacing.format("0.01", "0.01") + "</DataObject>"
    levels = [f'<DataObject ObjectType="PixelDataRepresentation">{spacing.format(s, s)}</DataObject>' for s in sizes]
    xml = (
        '<?xml version="1.0" ?><DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        f'{label}<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        f'{spacing.format(mm, mm)}<Attribute Name="X"><Array>{"".join(levels)}'
        "</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path) as tif:
        kept = {**JPEG, "tile": (256, 256), "software": "Philips DP v1.0"}
        tif.write(picture, description=xml, **kept)
        tif.write(half(picture), subfiletype=1, **kept)


def write_sis(path, picture, *, um=0.5):
    """Olympus cellSens: 72 dpi in the usual tags, the pixel size in a tag of its own."""
    known = 4_242_424_242
    place = [(33560, "I", 1, known, True)]
    tifffile.imwrite(
        path, picture, rowsperstrip=64, resolution=(72, 72), resolutionunit="INCH", extratags=place, **JPEG
    )
    content = bytearray(path.read_bytes())
    content += b"\0" * (len(content) % 2)
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 30, 12, 1, 0, 120, b"section", 1)
    at = len(content)
    head += struct.pack("<hhI", 1, 1, at + len(head) + 8)
    head += struct.pack("<10xhdd8xd2x34s32s", -6, um, um, 20.0, b"UC90", b"Brightfield")
    where = content.index(struct.pack("<I", known))
    content[where : where + 4] = struct.pack("<I", at)
    path.write_bytes(bytes(content + head))


def write_mrxs(path, picture, *, first=(3, 2), grid=(9, 8), side=256):
    """MIRAX: a grid of camera positions, of which only some from ``first`` on (column, row) were scanned."""
    folder = path.with_suffix("")
    folder.mkdir()
    Image.fromarray(half(picture)).save(path, "JPEG")
    slide = b"0123456789ABCDEF0123456789ABCDEF"
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    data, entries = bytearray(b"01.02" + slide), []
    for row in range(rows):
        for column in range(columns):
            tile = io.BytesIO()
            part = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
            Image.fromarray(part).save(tile, "JPEG", quality=95)
            entries.append(((first[1] + row) * grid[0] + first[0] + column, len(data), len(tile.getvalue()), 0))
            data += tile.getvalue()
    index = bytearray(b"01.02" + slide)
    table = len(index) + 8
    page = table + 4
    index += struct.pack("<iii", table, 0, page) + struct.pack("<ii", 0, page + 8)
    index += struct.pack("<ii", len(entries), 0) + b"".join(struct.pack("<iiii", *entry) for entry in entries)
    (folder / "Index.dat").write_bytes(bytes(index))
    (folder / "Data0000.dat").write_bytes(bytes(data))
    (folder / "Slidedat.ini").write_text(
        f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {slide.decode()}
IMAGENUMBER_X = {grid[0]}
IMAGENUMBER_Y = {grid[1]}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
INDEXFILE = Index.dat
HIER_COUNT = 1
NONHIER_COUNT = 0
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0 = ZoomLevel_0
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = 0.5
MICROMETER_PER_PIXEL_Y = 0.5
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {side}
DIGITIZER_HEIGHT = {side}
IMAGE_FORMAT = JPEG
IMAGE_CONCAT_FACTOR = 0
""",
        encoding="utf-8",
    )
