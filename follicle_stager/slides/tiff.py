"""The TIFF family (tif, OME-TIFF, BigTIFF, svs, ndpi, scn, qptiff) through tifffile."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import zarr

from follicle_stager.errors import SlideError
from follicle_stager.slides import scale
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.slide import Level, Slide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".qptiff", ".btf", ".tf8", ".tf2")

# A compressed level that is one chunk (a stripped TIFF written as a single strip) is decoded once and kept:
# decoding it again for every region would cost the whole image each time.
_ONE_CHUNK_LIMIT_BYTES = 2_000_000_000


def open_tiff(path: Path, image: int = 0) -> Slide:
    """Open a TIFF file.

    Parameters
    ----------
    path
        The file.
    image
        Which full-size image of the file, for files that hold several.

    Raises
    ------
    SlideError
        If it is not a TIFF, is cut off, or holds something else than a brightfield picture.
    """
    try:
        tif = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise SlideError(
            f"{path}: this is not a TIFF file ({error}). Was another kind of file renamed? Export it as TIFF."
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged header can make tifffile fail in any way
        raise SlideError(f"{path}: the TIFF header is damaged ({error}); copy or export it again.") from error
    try:
        images = full_size_images(tif, path)
        if image >= len(images):
            raise SlideError(f"{path}: it holds {len(images)} image(s); there is no image {image + 1}.")
        chosen = images[image]
        for page_level in chosen:
            _refuse_truncated(page_level, path)
        convert = _converter(chosen[0], path)
        levels = [_level(level, convert) for level in chosen]
        size = _pixel_size(tif, chosen[0])
    except (SlideError, OSError, MemoryError):
        tif.close()
        raise
    except Exception as error:  # same as above, for damage further in
        tif.close()
        raise SlideError(f"{path}: the TIFF is damaged ({error}); copy or export it again.") from error
    notes: tuple[str, ...] = ()
    if len(images) > 1:
        notes = (f"the file holds {len(images)} full-size images; only number {image + 1} was read",)
    return Slide(path, levels, size, tif.close, notes)


def full_size_images(tif: Any, path: Path) -> list[list[Any]]:
    """Pyramids of a TIFF: one list of levels (finest first) per image, without label, macro and thumbnail.

    Plain pyramidal TIFFs store their levels as further images of the same shape, and those are gathered.
    """
    pictures = [series for series in tif.series if _is_picture(series)]
    if not pictures:
        shapes = ", ".join(f"{series.axes} {series.shape}" for series in tif.series[:3]) or "nothing"
        raise SlideError(
            f"{path}: no flat brightfield picture in it (found {shapes}). "
            "Stacks and time series must be exported as one plane of 8-bit RGB."
        )
    largest = max(_size(series)[0] * _size(series)[1] for series in pictures)
    full = [series for series in pictures if _size(series)[0] * _size(series)[1] > 0.25 * largest]
    # A half-size copy of an image is its second level, not a second image.
    full = [s for s in full if not any(_is_reduced_copy(s, other) for other in full)]
    images = []
    for series in full:
        levels = [level for level in series.levels if _is_picture(level)]
        if len(levels) == 1 and len(full) == 1:
            levels += sorted((s for s in pictures if _is_reduced_copy(s, series)), key=_size, reverse=True)
        images.append(levels)
    return images


def _is_picture(series: Any) -> bool:
    axes = series.axes
    if sorted(axes) not in (["X", "Y"], ["S", "X", "Y"], ["C", "X", "Y"]):
        return False
    height, width = _size(series)
    return height > 0 and width > 0


def _size(series: Any) -> tuple[int, int]:
    return series.shape[series.axes.index("Y")], series.shape[series.axes.index("X")]


def _is_reduced_copy(small: Any, large: Any) -> bool:
    """Whether ``small`` is ``large`` at a lower resolution (and not a label, macro or thumbnail)."""
    if small is large or small.dtype != large.dtype:
        return False
    if str(small.name).lower() in ("label", "macro", "thumbnail"):
        return False
    (small_h, small_w), (large_h, large_w) = _size(small), _size(large)
    factor_y, factor_x = large_h / small_h, large_w / small_w
    # Each level rounds to whole pixels.
    tolerance = factor_x * factor_y * 1.5 / min(large_h, large_w) + 0.02 * factor_x
    return factor_x > 1.3 and abs(factor_x - factor_y) < tolerance


def _refuse_truncated(level: Any, path: Path) -> None:
    for page in level.pages:
        if page is None:
            continue
        size_bytes = page.parent.filehandle.size
        needed = max((int(o) + int(c) for o, c in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if needed > size_bytes:
            raise SlideError(
                f"{path}: the file is cut off: it has {size_bytes:,} bytes and needs {needed:,}. "
                "Copy or export it again."
            )


def _converter(level: Any, path: Path) -> Callable[[NDArray[np.generic]], NDArray[np.uint8]]:
    page = level.keyframe
    channels = next((level.shape[level.axes.index(a)] for a in "SC" if a in level.axes), 1)
    check_pixels(path, level.dtype, channels)
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE":
        colormap = np.asarray(page.colormap)
        palette = (colormap.T >> 8).astype(np.uint8) if colormap.max() > 255 else colormap.T.astype(np.uint8)
        return functools.partial(to_rgb8, palette=palette)
    if photometric == "YCBCR" and page.compression.name not in ("JPEG", "OJPEG", "JPEG_2000_LOSSY"):
        raise SlideError(f"{path}: colours are stored as {page.compression.name} YCbCr; export it as RGB.")
    if page.compression.name == "APERIO_JP2000_YCBC":
        raise SlideError(
            f'{path}: its JPEG 2000 colours need OpenSlide; install it with  pip install "follicle-stager[wsi]"'
        )
    full_scale = 255
    if level.dtype == np.uint16:
        full_scale = white_level(_sample(level))
    return functools.partial(
        to_rgb8,
        full_scale=full_scale,
        cmyk=photometric == "SEPARATED",
        alpha=any(int(sample) in (1, 2) for sample in page.extrasamples),
        inverted=photometric == "MINISWHITE",
    )


def _sample(level: Any, window: int = 128) -> NDArray[np.generic]:
    """A few windows across a level, to see how bright it gets without decoding it all."""
    read = _reader(level)
    height, width = _size(level)
    parts = []
    for fy in (0.05, 0.35, 0.65, 0.95):
        for fx in (0.05, 0.35, 0.65, 0.95):
            y, x = int(fy * max(0, height - window)), int(fx * max(0, width - window))
            parts.append(read(y, min(y + window, height), x, min(x + window, width)).ravel())
    return np.concatenate(parts)


def _level(level: Any, convert: Callable[[NDArray[np.generic]], NDArray[np.uint8]]) -> Level:
    height, width = _size(level)
    read = _reader(level)
    return Level(width, height, lambda y0, y1, x0, x1: convert(read(y0, y1, x0, x1)))


def _reader(level: Any) -> Callable[[int, int, int, int], NDArray[np.generic]]:
    """A function that reads only the tiles or strips that a window touches."""
    channel_axis = next((level.axes.index(a) for a in "SC" if a in level.axes), None)

    def window(source: Any, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
        if channel_axis == 0:
            return np.moveaxis(np.asarray(source[:, y0:y1, x0:x1]), 0, -1)
        return np.asarray(source[y0:y1, x0:x1])

    page = level.keyframe
    if len(level.pages) == 1 and page.is_memmappable and level.dataoffset is not None:
        stored = level.dtype.newbyteorder(page.parent.byteorder)  # tifffile names the native order
        mapped = np.memmap(page.parent.filehandle.path, stored, "r", offset=level.dataoffset, shape=level.shape)
        return lambda y0, y1, x0, x1: window(mapped, y0, y1, x0, x1).astype(level.dtype, copy=False)
    array = zarr.open(level.aszarr(level=0, multiscales=False), mode="r")
    if array.chunks == array.shape and level.nbytes <= _ONE_CHUNK_LIMIT_BYTES:
        whole = functools.cache(lambda: np.asarray(array[:]))
        return lambda y0, y1, x0, x1: window(whole(), y0, y1, x0, x1)
    return functools.partial(window, array)


def _pixel_size(tif: Any, level: Any) -> scale.PixelSize | None:
    page = level.keyframe
    if tif.is_ome:
        # An OME file has one Image element per series, macro and label included.
        size = _ome_pixel_size(tif, tif.series.index(level))
        if size:
            return size
    if tif.is_svs:
        size = scale.from_aperio(page.description)
        if size:
            return size
    resolution = _resolution(page)
    if resolution is None:
        return None
    if tif.is_imagej:
        unit = (tif.imagej_metadata or {}).get("unit")
        return scale.from_resolution(*resolution, unit, "ImageJ unit with XResolution")
    unit = getattr(page.tags.get("ResolutionUnit"), "value", None)
    name = {2: "inch", 3: "cm"}.get(int(unit)) if unit is not None else None
    source = "NDPI XResolution" if tif.is_ndpi else "TIFF XResolution"
    return scale.from_resolution(*resolution, name, source)


def _ome_pixel_size(tif: Any, image: int) -> scale.PixelSize | None:
    metadata = tifffile.xml2dict(tif.ome_metadata)
    images = metadata.get("OME", {}).get("Image", [])
    images = images if isinstance(images, list) else [images]
    if not images:
        return None
    return scale.from_ome(images[min(image, len(images) - 1)].get("Pixels", {}))


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
