"""Read the TIFF family (tif, OME-TIFF, BigTIFF, svs, ndpi, scn, qptiff) with tifffile."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from follicle_stager.errors import SlideError
from follicle_stager.pixel_size import PixelSize
from follicle_stager.slides import stated_mpp
from follicle_stager.slides.ome import rgb_order
from follicle_stager.slides.regions import joined
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.slide import Level, Origin, Slide
from follicle_stager.slides.tiff_pixels import check_stored, reader, size_of
from follicle_stager.slides.tiff_roles import find_scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.config import SlidesConfig
    from follicle_stager.slides.tiff_pixels import Read
    from follicle_stager.slides.tiff_roles import Region

    Convert = Callable[[NDArray[np.generic]], NDArray[np.uint8]]


# Colour spaces that can be read. All others (Lab, LogLuv, raw camera data) would be read as if they were RGB.
_PHOTOMETRIC = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "SEPARATED", "YCBCR")
# Codecs that convert stored YCbCr to RGB.
_TO_RGB = ("JPEG", "OJPEG", "JPEG_2000_LOSSY")


class NeedsOpenSlide(Exception):
    """Only OpenSlide reads this file correctly; the text says why."""


def open_tiff(path: Path, limits: SlidesConfig) -> Slide:
    """Open a TIFF file.

    Parameters
    ----------
    path
        The file.
    limits
        Limits on the amount of data that is decoded at once.

    Raises
    ------
    SlideError
        If the file is not a TIFF, is truncated, or does not hold exactly one brightfield image.
    NeedsOpenSlide
        If tifffile would decode the file incorrectly.
    """
    try:
        tif = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise SlideError(
            f"{path}: this is not a TIFF file ({error}). Was another kind of file renamed? Export it as TIFF."
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # with a damaged header, tifffile may raise anything
        raise SlideError(f"{path}: the TIFF header is damaged ({error}); copy or export it again.") from error
    try:
        return _opened(tif, path, limits)
    except (SlideError, NeedsOpenSlide, OSError, MemoryError):
        tif.close()
        raise
    except ValueError as error:  # raised by the readers of metadata
        tif.close()
        raise SlideError(f"{path}: the TIFF is damaged: {error}. Copy or export it again.") from error
    except Exception as error:  # same as above, for damage after the header
        tif.close()
        raise SlideError(f"{path}: the TIFF is damaged ({error}); copy or export it again.") from error


def _opened(tif: Any, path: Path, limits: SlidesConfig) -> Slide:
    if tif.is_bif:
        raise NeedsOpenSlide("its tiles overlap, and tifffile does not stitch them")
    scan = find_scan(tif, path, max_decoded_mb=limits.max_decoded_mb)
    pyramids = []
    for region in scan.regions:
        full_scale = 0
        levels = []
        for series in region.levels:
            check_stored(series, path)
            read, chunk = reader(series, path, max_decoded_mb=limits.max_decoded_mb)
            full_scale = full_scale or _full_scale(series, read)
            convert = _converter(series, region, full_scale, path)
            height, width = size_of(series)
            levels.append(Level(width, height, functools.partial(_converted, convert, read), chunk))
        pyramids.append(levels)
    handles = {page.parent.filehandle for r in scan.regions for s in r.levels for page in s.pages if page is not None}

    def close() -> None:
        for handle in handles:
            handle.close()
        tif.close()

    first = scan.regions[0]
    size = first.size or _pixel_size(tif, first.levels[0])
    levels = pyramids[0]
    if len(pyramids) > 1 and size is not None:
        corners = [size.xy_px(region.x_um, region.y_um) for region in scan.regions]
        levels = joined(pyramids, corners)
    kind = first.levels[0].kind
    origin = Origin(f"tifffile, as {kind}", scan.why, tuple(scan.beside))
    return Slide(path, levels, size, close, tuple(scan.notes), origin)


def _converted(convert: Convert, read: Read, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.uint8]:
    return convert(read(y0, y1, x0, x1))


def _converter(series: Any, region: Region, full_scale: int, path: Path) -> Convert:
    """A function that converts the stored pixels of an image to RGB."""
    page, axes = series.keyframe, series.axes
    channels = int(series.shape[series.axes.index(next(a for a in axes if a in "SC"))]) if len(axes) > 2 else 1
    transparent = any(int(sample) in (1, 2) for sample in page.extrasamples)
    check_pixels(path, series.dtype, channels, gray_alpha=transparent)
    photometric, compression = getattr(page.photometric, "name", str(page.photometric)), page.compression.name
    if photometric not in _PHOTOMETRIC:
        raise SlideError(f"{path}: the colours are stored as {photometric}; export the slide as RGB.")
    if photometric == "PALETTE":
        colormap = np.asarray(page.colormap)
        palette = (colormap.T >> 8).astype(np.uint8) if colormap.max() > 255 else colormap.T.astype(np.uint8)
        return functools.partial(to_rgb8, palette=palette)
    if compression == "APERIO_JP2000_YCBC":
        raise NeedsOpenSlide("its JPEG 2000 colours are stored as YCbCr")
    if photometric == "YCBCR" and compression not in _TO_RGB:
        raise SlideError(f"{path}: the colours are stored as {compression} YCbCr; export the slide as RGB.")
    convert = functools.partial(
        to_rgb8,
        full_scale=full_scale,
        cmyk=photometric == "SEPARATED",
        alpha=transparent,
        premultiplied=any(int(sample) == 1 for sample in page.extrasamples),
        inverted=photometric == "MINISWHITE",
    )
    if "C" not in axes or channels == 1:
        return convert
    # Separate channels, not the samples of one colour image.
    order = rgb_order(region.channels) if len(region.channels) == channels == 3 else None
    if order is None and (channels != 3 or region.channels):
        raise SlideError(
            f"{path}: the {channels} channels are not red, green and blue. Is it a fluorescence image? "
            "Export the brightfield image as 8-bit RGB."
        )
    return functools.partial(_ordered, convert, list(order or (0, 1, 2)))


def _full_scale(series: Any, read: Read) -> int:
    """Pixel value of white."""
    page = series.keyframe
    if series.dtype != np.uint16:
        return 255
    if getattr(page.photometric, "name", "") == "MINISWHITE":  # the largest values are ink
        bits = page.bitspersample if isinstance(page.bitspersample, int) else 16
        return int(2**bits - 1)
    return white_level(_sample(read, size_of(series)))


def _ordered(convert: Convert, order: list[int], pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    return convert(pixels[..., order])


def _sample(read: Read, size: tuple[int, int], window: int = 128) -> NDArray[np.generic]:
    """Pixels of a few windows across a level, to estimate its brightness without decoding all of it."""
    height, width = size
    parts = []
    for fy in (0.05, 0.35, 0.65, 0.95):
        for fx in (0.05, 0.35, 0.65, 0.95):
            y, x = int(fy * max(0, height - window)), int(fx * max(0, width - window))
            pixels = read(y, min(y + window, height), x, min(x + window, width))
            parts.append((pixels[..., :3] if pixels.ndim == 3 else pixels).ravel())  # without transparency
    return np.concatenate(parts)


def _pixel_size(tif: Any, level: Any) -> PixelSize | None:
    """Pixel size from metadata other than OME and SCN."""
    page = level.keyframe
    if tif.is_svs and (size := stated_mpp.from_aperio(page.description)):
        return size
    if tif.is_philips:
        return stated_mpp.from_philips(tif.pages.first.description)
    if tif.is_sis:
        sis = tif.sis_metadata or {}  # in m
        size = PixelSize.checked(
            stated_mpp.number(sis.get("pixelsizex", "nan")) * 1e6,
            stated_mpp.number(sis.get("pixelsizey", "nan")) * 1e6,
            "Olympus SIS pixel size",
        )
        if size:
            return size
    resolution = _resolution(page)
    if resolution is None:
        return None
    if tif.is_imagej:
        unit = (tif.imagej_metadata or {}).get("unit")
        if stated_mpp.um_per_unit(unit) is not None:
            return stated_mpp.from_resolution(*resolution, unit, "ImageJ unit with XResolution")
    unit = getattr(page.tags.get("ResolutionUnit"), "value", None)
    name = {2: "inch", 3: "cm"}.get(int(unit)) if unit is not None else None
    source = "NDPI XResolution" if tif.is_ndpi else "TIFF XResolution"
    return stated_mpp.from_resolution(*resolution, name, source)


def _resolution(page: Any) -> tuple[float, float] | None:
    values = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        if tag is None:
            return None
        numerator, denominator = tag.value if isinstance(tag.value, tuple) else (tag.value, 1)
        if not denominator or not numerator:
            return None
        values.append(numerator / denominator)
    return values[0], values[1]
