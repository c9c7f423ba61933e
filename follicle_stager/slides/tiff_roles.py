"""Find the slide among the images of a TIFF, from the metadata of scanner or converter, never by size or shape alone.

Besides the scan, files of scanners hold other images (label, macro, thumbnail), focal planes, or several scanned
regions. A wrong choice would count a macro, or lose a section without notice. A file with an image that could be a
second scan is therefore refused, and the message names it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import tifffile

from follicle_stager.errors import SlideError
from follicle_stager.pixel_size import PLAUSIBLE_MPP, PixelSize
from follicle_stager.slides import ome, stated_mpp
from follicle_stager.slides.tiff_pixels import is_same_view, reader, size_of

if TYPE_CHECKING:
    from pathlib import Path

# Tags of NDPI: magnification (-1 for a macro, -2 for a map), and height of the focal plane above the glass, nm.
_NDPI_MAGNIFICATION, _NDPI_PLANE = 65421, 65424
# Largest share of a region that may lie outside an image that contains it.
_OUTSIDE = 0.02
# Largest deviation from an exact halving, log2; levels are rounded to whole pixels.
_NOT_HALVED = 0.03
# Largest relative difference in width (µm) between resolutions of one image.
_SAME_EXTENT = 0.03
# No slide has more images than this; comparing them all would take minutes.
_MOST_PICTURES = 200


@dataclass(frozen=True)
class Region:
    """A scanned part of the glass.

    Attributes
    ----------
    levels
        Series of tifffile, finest first.
    x_um, y_um
        Position of the top-left corner on the glass, µm; 0 if there is only one region.
    size
        Pixel size of the finest level, if the file has one for this region.
    channels
        Name and colour of each channel, as in `ome.rgb_order`.
    """

    levels: list[Any]
    x_um: float = 0.0
    y_um: float = 0.0
    size: PixelSize | None = None
    channels: tuple[tuple[str, int | None], ...] = ()


@dataclass
class Scan:
    """The scan and the other images of a file.

    Attributes
    ----------
    regions
        Scanned regions; several only if the position of each on the glass is known.
    beside
        Names and sizes of images that are not searched.
    notes
        Notes for the user of the slide.
    why
        Reason for the choice of the scan, in words.
    """

    regions: list[Region]
    why: str
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_scan(tif: Any, path: Path, *, max_decoded_mb: float) -> Scan:
    """Find the slide among the images of a TIFF.

    Parameters
    ----------
    tif
        The file, opened by tifffile.
    path
        Path of the file.
    max_decoded_mb
        Largest tile or strip that is decoded, MB; see `tiff_pixels.reader`.

    Raises
    ------
    SlideError
        If there is no two-dimensional image, or more than one image could be the slide.
    """
    files = _other_files(tif, path)  # before tifffile opens them
    kind = tif.series[0].kind if tif.series else ""
    if len(tif.series) > _MOST_PICTURES:
        raise _several(path, [str(series.shape) for series in tif.series])
    if kind in ("svs", "qpi", "philips"):
        return _by_name(tif, path, kind, max_decoded_mb)
    if kind == "ndpi":
        return _ndpi(tif, path)
    if kind == "scn":
        return _scn(tif, path)
    images = _ome_images(tif)
    if kind == "ome" and images:
        return _ome(tif, path, images, files, max_decoded_mb)
    return _plain(tif, path, max_decoded_mb)


def in_words(series: Any, name: str = "") -> str:
    """Name and size of an image, in words."""
    height, width = size_of(series)
    return f"{name or series.name or 'image'} ({width} x {height} px)"


def _by_name(tif: Any, path: Path, kind: str, max_decoded_mb: float) -> Scan:
    """The scan of an Aperio, PerkinElmer or Philips file, which tifffile calls Baseline."""
    scans = [series for series in tif.series if series.name == "Baseline"] or tif.series[:1]
    scan = scans[0]
    _check_flat(scan, path)
    levels = [scan]
    beside: list[Any] = []
    left: list[Any] = []
    for series in scan.levels[1:]:
        halved = math.log2(size_of(scan)[1] / max(1, size_of(series)[1]))
        fits = _is_flat(series) and _has_shape_of(series, scan) and not _is_called_beside(series.keyframe)
        # Scanners halve the resolution; any other image of this shape may be a macro, so its pixels are compared.
        if fits and abs(halved - round(halved)) > _NOT_HALVED:
            fits = _is_level(series, scan, path, max_decoded_mb)
        (levels if fits else beside).append(series)
    for series in tif.series:
        if series is scan:
            continue
        # An image at the position of the thumbnail that is as large as the scan is not a thumbnail.
        large = series.name == "Thumbnail" and _is_flat(series) and size_of(series)[1] >= 0.9 * size_of(scan)[1]
        (left if large else beside).append(series)
    if left:
        raise _several(path, [in_words(series) for series in (scan, *left)])
    return Scan([Region(levels)], f"the scan of a file of kind {kind}", [in_words(series) for series in beside])


def _ndpi(tif: Any, path: Path) -> Scan:
    """The scan of a Hamamatsu file, from the magnification and focal plane of each page; the plane nearest to 0."""
    pages, beside = [], []
    for page in tif.pages:
        magnification = page.tags.valueof(_NDPI_MAGNIFICATION)
        if magnification is not None and float(magnification) < 0:
            name = "Macro" if float(magnification) == -1 else "Map"
            beside.append(f"{name} ({page.imagewidth} x {page.imagelength} px)")
        elif page.axes in ("YX", "YXS") and 0 not in page.shape:
            pages.append((float(magnification or 0), page.imagewidth, page))
    if not pages:
        raise _no_picture(tif, path)
    best = max(own[:2] for own in pages)
    planes = [page for *own, page in pages if tuple(own) == best]
    heights_nm = [int(page.tags.valueof(_NDPI_PLANE) or 0) for page in planes]
    height_nm = min(heights_nm, key=abs)
    note = []
    if len(planes) > 1:
        number = heights_nm.index(height_nm) + 1
        note = [f"{len(planes)} focal planes; only the one nearest to the focus (number {number}) is read"]
    scan = _series_of(planes[heights_nm.index(height_nm)])
    levels, sizes = [scan], {size_of(scan)}
    for *_, page in sorted(pages, key=lambda own: -own[1]):
        series = _series_of(page)
        # Levels of other focal planes are left out.
        same_plane = int(page.tags.valueof(_NDPI_PLANE) or 0) == height_nm
        if same_plane and size_of(series) not in sizes and _has_shape_of(series, scan):
            levels.append(series)
            sizes.add(size_of(series))
    return Scan([Region(levels)], "the highest magnification of an NDPI", beside, note)


def _series_of(page: Any) -> Any:
    return tifffile.TiffPageSeries([page], page.shape, page.dtype, page.axes, kind="ndpi")


def _scn(tif: Any, path: Path) -> Scan:
    """The scan of a Leica file, from the position of each image on the glass; images around others are overviews."""
    collections = ElementTree.fromstring(tif.pages.first.description).findall("{*}collection")
    images = [image for c in collections for image in c.findall("{*}image") for _ in image.findall("{*}pixels")]
    found = []
    for image, series in zip(images, tif.series, strict=True):
        _check_flat(series, path)
        view = image.find("{*}view")
        if view is None:
            raise ValueError("an image has no view")
        x, y, width, height = (
            stated_mpp.number(view.get(name, "0")) / 1e3 for name in ("offsetX", "offsetY", "sizeX", "sizeY")
        )
        pixels = size_of(series)
        found.append((series, (x, y, x + width, y + height), (width / pixels[1], height / pixels[0])))
    finest = min(mpp for *_, (mpp, _) in found)
    regions, beside = [], []
    for series, box, (mpp_x, mpp_y) in found:
        around = any(_lies_within(other, box) for _, other, (own, _) in found if own < mpp_x / 2)
        if mpp_x > PLAUSIBLE_MPP[1] or (around and ome.is_overview(mpp_x, finest)):
            beside.append(in_words(series))
            continue
        size = PixelSize.checked(mpp_x, mpp_y, "SCN view")
        regions.append(Region(list(series.levels), box[0], box[1], size))
    if not regions:
        raise _no_picture(tif, path)
    first = regions[0].size
    if len(regions) > 1:
        if first is None or any(r.size is None or abs(r.size.mpp / first.mpp - 1) > 0.01 for r in regions):
            names = [in_words(r.levels[0]) for r in regions]
            raise _several(path, names, "at different resolutions")
        note = [f"{len(regions)} scanned regions; all are searched, at their positions on the glass"]
        return Scan(regions, "all regions of an SCN that are not overviews", beside, note)
    return Scan([Region(regions[0].levels, size=first)], "the region of an SCN that is not an overview", beside)


def _ome_images(tif: Any) -> list[ome.OmeImage]:
    """OME metadata of each series, in the same order; empty if metadata and series do not match."""
    if not tif.is_ome:
        return []
    try:
        images = ome.read_ome(tif.ome_metadata)
    except ValueError:
        return []
    found = []
    for series in tif.series:  # tifffile leaves out images without pixels
        alike = [i for i in images if i.name == (series.name or "") and (i.height, i.width) == size_of(series)]
        if not alike:
            return []
        found.append(alike[0])
        images.remove(alike[0])
    return found


def _ome(tif: Any, path: Path, images: list[ome.OmeImage], files: list[str], max_decoded_mb: float) -> Scan:
    """The scan of an OME-TIFF; names and pixel sizes distinguish it from other images."""
    finest = min((image.mpp for image in images if image.mpp is not None), default=None)
    pairs = list(zip(images, tif.series, strict=True))
    scans = [(i, s) for i, s in pairs if not ome.is_beside(i.name) and not ome.is_overview(i.mpp, finest)]
    scans = scans or pairs
    image, best = min(scans, key=lambda p: (p[0].mpp is None, p[0].mpp or 0.0, -size_of(p[1])[0] * size_of(p[1])[1]))
    _check_flat(best, path)
    levels, left = list(best.levels), []
    for other, series in scans:
        if series is best:
            continue
        if _is_level(series, best, path, max_decoded_mb, (other.mpp, image.mpp)):
            levels.append(series)
        else:
            left.append(in_words(series, other.name))
    if left:
        raise _several(path, [in_words(best, image.name), *left])
    levels.sort(key=lambda level: -size_of(level)[0])
    beside = [in_words(s, i.name) for i, s in pairs if not any(s is level for level in levels)]
    note = [f"parts of the image are in {', '.join(files)}"] if files else []
    why = "the only image of the OME metadata" if len(pairs) == 1 else "names and pixel sizes in the OME metadata"
    return Scan([Region(levels, size=image.size, channels=image.channels)], why, beside, note)


def _other_files(tif: Any, path: Path) -> list[str]:
    """Other files named in OME metadata; only files in the slide's folder are read.

    Raises
    ------
    SlideError
        If the metadata names a file in another folder, or something that is not a regular file.
    """
    names = ome.other_files(tif.ome_metadata, path.name) if tif.is_ome else []
    for name in names:
        file = path.parent / name
        if file.resolve().parent != path.parent.resolve() or not file.is_file():
            raise SlideError(
                f"{path}: according to its metadata, a part of the image is in {name!r}, which is not a file in the "
                "slide's folder. Other folders are not read: move the part there, or export the slide as one file."
            )
    return names


def _plain(tif: Any, path: Path, max_decoded_mb: float) -> Scan:
    """The scan of any other TIFF: its largest image with the reduced copies. Other images are noted or refused."""
    flat = [series for series in tif.series if _is_flat(series)]
    flat = [s for s in flat if not (s.keyframe.is_reduced or s.keyframe.is_mask)] or flat
    if not flat:
        raise _no_picture(tif, path)
    full = max(flat, key=lambda s: size_of(s)[0] * size_of(s)[1])
    # In a file with tiles, strips hold label and macro; OpenSlide uses the same rule.
    tiled = [s for s in flat if s.keyframe.is_tiled]
    if tiled and not full.keyframe.is_tiled:
        full = max(tiled, key=lambda s: size_of(s)[0] * size_of(s)[1])
    # tifffile takes any page of half the size as a level; only sub-images of the first page are certain to be levels.
    levels = [full] + [level for level in full.levels[1:] if level.keyframe.is_subifd]
    beside: list[str] = []
    left: list[str] = []
    note: list[str] = []
    for series in [*full.levels[1:], *tif.series]:
        if any(series is own for own in levels):
            continue
        page = series.keyframe
        if _is_flat(series) and _is_level(series, full, path, max_decoded_mb):
            levels.append(series)
        elif not _is_flat(series):
            left.append(f"{len(series.pages)} pages of {page.imagewidth} x {page.imagelength} px")
        elif _is_called_beside(page) or page.is_mask:
            beside.append(in_words(series))
        elif page.is_reduced or (tiled and not page.is_tiled):
            beside.append(in_words(series))
            note.append(f"not searched, because according to its tags it is not a scan: {in_words(series)}")
        else:
            left.append(in_words(series))
    if left:
        raise _several(path, [in_words(full), *left])
    levels.sort(key=lambda level: -size_of(level)[0])
    why = "the image that is not a reduced copy" if beside else "the image of a TIFF"
    return Scan([Region(levels)], why, beside, note)


def _is_called_beside(page: Any) -> bool:
    """Whether the description or name of a page says that it is a label, macro or similar image."""
    names = [str(page.description or "").splitlines()[:1], [str(page.tags.valueof(285) or "")]]
    return any(ome.is_beside(name) for given in names for name in given)


def _is_level(
    small: Any, large: Any, path: Path, max_decoded_mb: float, mpp: tuple[float | None, float | None] = (None, None)
) -> bool:
    """Whether an image is another one at a lower resolution: same shape and same view."""
    if not _is_flat(small) or not _has_shape_of(small, large):
        return False
    known = mpp[0] is not None and mpp[1] is not None and abs(mpp[0] / mpp[1] - 1) > 0.01
    if known and abs((mpp[0] or 0) * size_of(small)[1] / ((mpp[1] or 1) * size_of(large)[1]) - 1) > _SAME_EXTENT:
        return False
    reads = [reader(s, path, max_decoded_mb=max_decoded_mb)[0] for s in (small, large)]
    return is_same_view(reads[0], size_of(small), reads[1], size_of(large))


def _has_shape_of(small: Any, large: Any) -> bool:
    if small is large or small.dtype != large.dtype:
        return False
    (small_h, small_w), (large_h, large_w) = size_of(small), size_of(large)
    factor_y, factor_x = large_h / small_h, large_w / small_w
    # The size of each level is rounded to whole pixels.
    tolerance = factor_x * factor_y * 1.5 / min(large_h, large_w) + 0.02 * factor_x
    return factor_x > 1.3 and abs(factor_x - factor_y) < tolerance


def _is_flat(series: Any) -> bool:
    return sorted(series.axes) in (["X", "Y"], ["S", "X", "Y"], ["C", "X", "Y"]) and min(size_of(series)) > 0


def _check_flat(series: Any, path: Path) -> None:
    if _is_flat(series):
        return
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if sizes.get("Z", 1) > 1:
        raise SlideError(
            f"{path}: the scan has {sizes['Z']} focal planes (z), and it is unknown which one to count in; export one "
            "plane as 8-bit RGB."
        )
    raise SlideError(f"{path}: the scan is not a two-dimensional image (axes {sizes}); export one plane as 8-bit RGB.")


def _no_picture(tif: Any, path: Path) -> SlideError:
    pages = [s for s in tif.series if sorted(s.axes.replace("S", ""))[1:] == ["X", "Y"] and s.axes[0] in "IQ"]
    if pages:
        size = f"{pages[0].keyframe.imagewidth} x {pages[0].keyframe.imagelength} px"
        return _several(path, [size] * len(pages[0].pages))
    shapes = ", ".join(f"{series.axes} {series.shape}" for series in tif.series[:3]) or "nothing"
    return SlideError(
        f"{path}: no two-dimensional brightfield image in the file (found {shapes}). "
        "Export a stack or time series as one plane of 8-bit RGB."
    )


def _several(path: Path, names: list[str], how: str = "") -> SlideError:
    listed = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    return SlideError(
        f"{path}: the file holds {len(names)} images{' ' + how if how else ''} that may each be a section: {listed}. "
        "Only one could be searched, and the others would be lost: export each as a separate file."
    )


def _lies_within(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether a box (left, top, right, bottom) lies almost entirely within another one."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    return width * height >= (1 - _OUTSIDE) * (box[2] - box[0]) * (box[3] - box[1])
