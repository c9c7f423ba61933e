"""Find tissue and sections on a slide, and judge their quality.

Works on an overview of the whole slide (4 µm/px by default), so it is fast on any slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from scipy import ndimage as ndi
from shapely.geometry import MultiPolygon, Polygon
from shapely.ops import unary_union
from skimage.filters import threshold_otsu
from skimage.measure import find_contours, label, regionprops
from skimage.morphology import disk

from follicle_stager.errors import SlideError
from follicle_stager.slides.resample import grid_shape, read_at_mpp
from follicle_stager.stain import StainModel, estimate_white, fit_stains, is_pen

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.config import TissueConfig
    from follicle_stager.slides import Slide

# Range of optical density in which Otsu's threshold is trusted. Outside it, a field without glass would
# be split into dark and pale tissue.
_TISSUE_OD_RANGE = (0.04, 0.14)

# Pixel size (µm/px), side (px) and largest number of the windows from which stains and focus are estimated.
_DETAIL_MPP = 1.0
_DETAIL_WINDOW = 512
_MAX_DETAIL_WINDOWS = 12
# Rows of the overview that are processed at once.
_ROWS = 512


@dataclass(frozen=True)
class Overview:
    """The slide at low resolution.

    Attributes
    ----------
    tissue
        (y, x) bool; True on tissue, holes filled.
    mpp
        Pixel size of the mask, µm/px.
    stain
        Stain model of the slide.
    sections
        Outlines of the sections in µm, in reading order (rows from the top, each from left to right).
    quality
        ``tissue_mm2``, ``focus`` (0-1), ``fold_fraction``, ``pen_fraction``, ``tint`` (0-255), ``two_stains``.
    flags
        Warnings for the user, derived from ``quality``.
    """

    tissue: NDArray[np.bool_]
    mpp: float
    stain: StainModel
    sections: list[MultiPolygon]
    quality: dict[str, float]
    flags: tuple[str, ...]

    def tissue_window(self, x_um: float, y_um: float, shape: tuple[int, int], mpp: float) -> NDArray[np.bool_]:
        """The tissue mask of a window at another µm/px; False outside the slide."""
        return _mask_window(self.tissue, self.mpp, x_um, y_um, shape, mpp)


def survey(slide: Slide, config: TissueConfig) -> Overview:
    """Find tissue, sections and stains of a slide.

    Parameters
    ----------
    slide
        A slide with known µm/px.
    config
        Physical sizes that distinguish sections from debris.

    Returns
    -------
    Overview

    Raises
    ------
    SlideError
        If there is no tissue on the slide, or the image is black.
    """
    mpp = max(config.overview_mpp, slide.pixel_size.mpp)
    height, width = grid_shape(slide, mpp)
    rgb = read_at_mpp(slide, 0, 0, width, height, mpp)
    if np.percentile(rgb.max(axis=2), 99.5) < 60:
        raise SlideError(
            f"{slide.path}: the image is black almost everywhere; this is not a brightfield section. "
            "Is it a fluorescence image, or an empty export?"
        )
    # The last row and column may reach beyond the slide, where everything is white.
    rows, columns = (max(1, int(n * slide.pixel_size.mpp / mpp)) for n in (slide.height, slide.width))
    white = estimate_white(rgb[:rows, :columns])
    density, pen = _density_and_pen(rgb, white)
    tint = _tint(rgb)
    del rgb  # half a gigabyte for a whole glass slide
    tissue = tissue_mask(density, pen, mpp=mpp)
    sections = find_sections(tissue, mpp=mpp, config=config)
    image_mm2 = height * width * mpp**2 / 1e6
    if not sections and image_mm2 < 4 * config.min_section_mm2:
        raise SlideError(
            f"{slide.path}: no piece of tissue of at least {config.min_section_mm2:g} mm² (the whole image is "
            f"{image_mm2:.3f} mm² at {slide.mpp:.3g} µm/px). For small fields, reduce tissue.min_section_mm2 "
            "in a --config file."
        )
    if not sections:
        raise SlideError(
            f"{slide.path}: no tissue found (no piece of at least {config.min_section_mm2:g} mm² at "
            f"{slide.pixel_size.mpp:.3g} µm/px). Is the slide empty, or its µm/px wrong?"
        )
    footprint = _rasterise(sections, tissue.shape, mpp)
    tissue &= ndi.binary_dilation(footprint, iterations=2)
    stain, focus = _stain_and_focus(slide, tissue, mpp, white)
    quality = {
        "tissue_mm2": round(sum(section.area for section in sections) / 1e6, 4),
        "focus": round(focus, 3),
        "fold_fraction": round(_fold_fraction(density, tissue, mpp=mpp), 4),
        "pen_fraction": round(float(pen.mean()), 4),
        "tint": round(tint, 1),
        "two_stains": float(stain.two_stains),
    }
    return Overview(tissue, mpp, stain, sections, quality, quality_flags(quality))


def tissue_mask(density: NDArray[np.float32], pen: NDArray[np.bool_], *, mpp: float) -> NDArray[np.bool_]:
    """Distinguish tissue from glass.

    Parameters
    ----------
    density
        Mean optical density, (y, x).
    pen
        (y, x) bool; True on marker pen, which is never tissue.
    mpp
        Pixel size of both, µm/px.

    Returns
    -------
    ndarray of bool, (y, x)
        True on tissue; gaps below 40 µm are closed and holes filled (antra and vessels lie inside the tissue).
    """
    smooth = ndi.gaussian_filter(density, 6.0 / mpp)
    if smooth.max() - smooth.min() < 0.03:
        return np.full(density.shape, bool(smooth.mean() > _TISSUE_OD_RANGE[1]))
    threshold = float(np.clip(0.6 * threshold_otsu(smooth), *_TISSUE_OD_RANGE))
    mask = (smooth > threshold) & ~ndi.binary_dilation(pen, disk(2))
    pad = max(2, round(20.0 / mpp))
    mask = np.pad(mask, pad, mode="edge")
    mask = ndi.binary_closing(mask, disk(max(1, round(20.0 / mpp))))
    mask = ndi.binary_opening(mask, disk(max(1, round(10.0 / mpp))))
    mask = np.asarray(ndi.binary_fill_holes(mask))
    return mask[pad:-pad, pad:-pad]


def find_sections(tissue: NDArray[np.bool_], *, mpp: float, config: TissueConfig) -> list[MultiPolygon]:
    """Find the sections of ovary on a slide: pieces of tissue, with torn parts joined and debris removed.

    Parameters
    ----------
    tissue
        (y, x) bool; True on tissue.
    mpp
        Pixel size of the mask, µm/px.
    config
        Smallest area of a section, and largest gap between its parts.

    Returns
    -------
    list of MultiPolygon
        Outlines of the sections in µm, in reading order.
    """
    pieces = []
    for region in regionprops(label(tissue)):
        # A piece below a tenth of the smallest section is debris; a larger one may be torn off a section.
        if region.area * mpp**2 / 1e6 < 0.1 * config.min_section_mm2:
            continue
        padded = np.pad(region.image.astype(float), 1)
        rings = find_contours(padded, 0.5)
        outer = max(rings, key=len)
        top, left = region.bbox[0], region.bbox[1]
        points = np.column_stack([outer[:, 1] - 1 + left + 0.5, outer[:, 0] - 1 + top + 0.5]) * mpp
        pieces.append(Polygon(points).buffer(0).simplify(mpp))
    if not pieces:
        return []
    joined = unary_union([p.buffer(config.join_gap_um / 2) for p in pieces])
    groups = list(getattr(joined, "geoms", [joined]))
    sections = []
    for group in groups:
        members = [p for p in pieces if group.intersects(p)]
        section = _as_multipolygon(unary_union(members))
        if section.area / 1e6 >= config.min_section_mm2:
            sections.append(section)
    return reading_order(sections)


def reading_order(sections: list[MultiPolygon]) -> list[MultiPolygon]:
    """Sort sections like text: rows from the top, each from left to right.

    Two sections are in the same row if their vertical extents overlap by more than half of the smaller one.
    """
    rows: list[list[MultiPolygon]] = []
    for section in sorted(sections, key=lambda s: s.centroid.y):
        top, bottom = section.bounds[1], section.bounds[3]
        for row in rows:
            row_top, row_bottom = row[0].bounds[1], row[0].bounds[3]
            shared = min(bottom, row_bottom) - max(top, row_top)
            if shared > 0.5 * min(bottom - top, row_bottom - row_top):
                row.append(section)
                break
        else:
            rows.append([section])
    return [s for row in rows for s in sorted(row, key=lambda s: s.centroid.x)]


def _density_and_pen(
    rgb: NDArray[np.uint8], white: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean optical density, and mask of marker pen, (y, x) each; computed in parts to save memory."""
    stain = StainModel(white, np.zeros(3), np.zeros(3), 1.0, 1.0, False)
    density, pen = np.empty(rgb.shape[:2], np.float32), np.empty(rgb.shape[:2], bool)
    for top in range(0, len(rgb), _ROWS):
        part = slice(top, top + _ROWS)
        od = stain.optical_density(rgb[part])
        density[part], pen[part] = od.mean(axis=2), is_pen(od)
    return density, ndi.binary_opening(pen, disk(2))


def _tint(rgb: NDArray[np.uint8]) -> float:
    """Tint of the brightest part of an image: its largest minus its smallest colour value, 0-255."""
    step = max(1, round((rgb.shape[0] * rgb.shape[1] / 1e6) ** 0.5))
    pixels = rgb[::step, ::step].reshape(-1, 3)
    brightness = pixels.sum(axis=1, dtype=np.int32)
    bright = np.median(pixels[brightness >= np.percentile(brightness, 98)], axis=0)
    return float(bright.max() - bright.min())


def quality_flags(quality: dict[str, float]) -> tuple[str, ...]:
    """Warnings for the user; the limits were set by looking at sharp, blurred, folded and marked slides [M]."""
    flags = []
    if quality["focus"] < 0.25:
        flags.append("out of focus: nuclei are blurred, layers may be miscounted")
    if quality["fold_fraction"] > 0.03:
        flags.append("folds or overstained bands: follicles under them are missed")
    if quality["tint"] > 60:
        flags.append(
            "the brightest parts are strongly coloured, where glass should be nearly white: were the colours changed "
            "when the slide was exported? Check its outlines and stages"
        )
    if quality["pen_fraction"] > 0.001:
        flags.append("marker pen or drawn marks on the slide: they and the tissue below them are ignored")
    return tuple(flags)


def _stain_and_focus(
    slide: Slide, tissue: NDArray[np.bool_], mpp: float, white: NDArray[np.float64]
) -> tuple[StainModel, float]:
    """Fit the stains and measure sharpness in a few windows spread over the tissue."""
    detail_mpp = max(_DETAIL_MPP, slide.pixel_size.mpp)
    side_um = _DETAIL_WINDOW * detail_mpp
    step = max(1, round(side_um / mpp))
    corners = [
        (x, y)
        for y in range(0, tissue.shape[0], step)
        for x in range(0, tissue.shape[1], step)
        if tissue[y : y + step, x : x + step].mean() > 0.1
    ] or [(0, 0)]
    every = -(-len(corners) // _MAX_DETAIL_WINDOWS)
    windows, masks, sharp = [], [], []
    for column, row in corners[::every]:
        x, y = round(column * mpp / detail_mpp), round(row * mpp / detail_mpp)
        rgb = read_at_mpp(slide, x, y, _DETAIL_WINDOW, _DETAIL_WINDOW, detail_mpp)
        mask = _mask_window(tissue, mpp, x * detail_mpp, y * detail_mpp, rgb.shape[:2], detail_mpp)
        windows.append(rgb)
        masks.append(mask)
        if mask.mean() > 0.2:
            sharp.append(focus_of(rgb, mask, mpp=detail_mpp))
    stain = fit_stains(np.concatenate(windows), np.concatenate(masks), white)
    return stain, float(np.median(sharp)) if sharp else 0.0


def focus_of(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_], *, mpp: float) -> float:
    """Sharpness of a window, 0 (blurred) to 1 (sharp).

    Ratio of the contrast at the scale of a nucleus' edge (1-2 px) to the contrast at the scale of nuclei. Blur
    reduces the former first, and the strength of the stain cancels out.
    """
    gray = rgb.mean(axis=2).astype(np.float32)
    smooth = ndi.gaussian_filter(gray, 1.0)
    fine, coarse = gray - smooth, smooth - ndi.gaussian_filter(gray, max(3.0, 6.0 / mpp))
    spread = float(coarse[tissue].std())
    return float(np.clip(fine[tissue].std() / spread, 0, 1)) if spread > 1 else 0.0


def _fold_fraction(density: NDArray[np.float32], tissue: NDArray[np.bool_], *, mpp: float) -> float:
    """Share of the tissue that is about twice as dense as the rest, because two layers overlap.

    The density is smoothed over 12 µm, so that dense groups of nuclei are not taken for folds.
    """
    if not tissue.any():
        return 0.0
    smooth = ndi.gaussian_filter(density, 12.0 / mpp)
    typical = float(np.median(smooth[tissue]))
    return float((tissue & (smooth > 1.8 * typical)).sum() / tissue.sum())


def _as_multipolygon(geometry: BaseGeometry) -> MultiPolygon:
    parts = getattr(geometry, "geoms", [geometry])
    return MultiPolygon([p for p in parts if isinstance(p, Polygon)])


def _mask_window(
    mask: NDArray[np.bool_], mask_mpp: float, x_um: float, y_um: float, shape: tuple[int, int], mpp: float
) -> NDArray[np.bool_]:
    """A slide's mask resampled to another grid by nearest neighbour; False outside the slide."""
    rows = ((y_um + (np.arange(shape[0]) + 0.5) * mpp) / mask_mpp).astype(np.intp)
    columns = ((x_um + (np.arange(shape[1]) + 0.5) * mpp) / mask_mpp).astype(np.intp)
    own_rows, own_columns = (np.clip(own, 0, side - 1) for own, side in zip((rows, columns), mask.shape, strict=True))
    part = mask[own_rows[0] : own_rows[-1] + 1, own_columns[0] : own_columns[-1] + 1]
    # One axis after the other: a tenth of the time of both at once.
    window = part[:, own_columns - own_columns[0]][own_rows - own_rows[0]]
    window[(rows < 0) | (rows >= mask.shape[0])] = False
    window[:, (columns < 0) | (columns >= mask.shape[1])] = False
    return np.asarray(window)


def _rasterise(sections: list[MultiPolygon], shape: tuple[int, int], mpp: float) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for section in sections:
        area = section.buffer(mpp)
        x0, y0, x1, y1 = (int(v / mpp) for v in area.bounds)
        rows, columns = slice(max(0, y0), y1 + 1), slice(max(0, x0), x1 + 1)
        part = mask[rows, columns]
        y, x = np.indices(part.shape)
        inside = shapely.contains_xy(area, (x + columns.start + 0.5) * mpp, (y + rows.start + 0.5) * mpp)
        part |= inside
    return mask
