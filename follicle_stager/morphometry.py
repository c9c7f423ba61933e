"""Measure outlines, in µm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from shapely import contains_xy

from follicle_stager.geometry import equivalent_diameter, two_axes
from follicle_stager.measurements import Measurements

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon, Point, Polygon
    from shapely.geometry.base import BaseGeometry

    from follicle_stager.config import MorphometryConfig
    from follicle_stager.field import Field

N_RAYS = 48


def measure_outline(outline: Polygon, section: MultiPolygon) -> Measurements:
    """Measure an outline without its contents; both in µm on the slide."""
    long_axis, short_axis = two_axes(outline)
    return Measurements(
        diameter_um=equivalent_diameter(outline),
        long_axis_um=long_axis,
        short_axis_um=short_axis,
        surface_distance_um=float(section.boundary.distance(outline)),
    )


def measure(
    field: Field,
    outline: Polygon,
    *,
    oocyte: Polygon | None,
    nucleus: Polygon | None,
    nucleus_contrast: float,
    zona: Polygon | None = None,
    fluid: tuple[Polygon, ...],
    section: MultiPolygon,
    config: MorphometryConfig,
    dying_fraction: float = float("nan"),
) -> Measurements:
    """Measure one follicle.

    Parameters
    ----------
    field
        Image window that contains the follicle.
    outline, oocyte, nucleus, fluid, section
        Outlines, µm on the slide.
    zona
        Outer border of the zona pellucida, which is not granulosa; if None, the oocyte is assumed to include it.
    nucleus_contrast
        Contrast of the nucleus, from `detection.contents.find_nucleus`.
    config
        Cell sizes.
    dying_fraction
        Share of dying granulosa, from the network.

    Returns
    -------
    Measurements
        All measurements of the follicle.
    """
    nan = float("nan")
    oocyte_long, oocyte_short = two_axes(oocyte) if oocyte is not None else (nan, nan)
    inner = oocyte.union(zona).intersection(outline) if oocyte is not None and zona is not None else oocyte
    granulosa_area = outline.area - (inner.area if inner is not None else 0.0)
    fluid_areas = [space.area for space in fluid]
    granulosa: BaseGeometry = outline
    for hole in (inner, *fluid):
        if hole is not None:
            granulosa = granulosa.difference(hole)
    nuclei = find_nuclei(field, granulosa, config)
    if oocyte is not None and inner is not None:
        layers, thickness = _rays(outline, oocyte.centroid, inner, nuclei, fluid, config)
    else:
        layers, thickness = np.array([nan]), np.array([nan])
    q25, q50, q75 = np.percentile(layers, [25, 50, 75])
    return replace(
        measure_outline(outline, section),
        oocyte_um=equivalent_diameter(oocyte) if oocyte is not None else nan,
        oocyte_long_um=oocyte_long,
        oocyte_short_um=oocyte_short,
        nucleus_um=equivalent_diameter(nucleus) if nucleus is not None else nan,
        nucleus_contrast=nucleus_contrast if oocyte is not None else nan,
        layers=float(q50),
        layers_iqr=float(q75 - q25),
        two_layers_fraction=float((layers >= 2).mean()) if oocyte is not None else nan,
        granulosa_um=float(np.median(thickness)),
        cuboidal_fraction=float((thickness >= config.cuboidal_um).mean()) if oocyte is not None else nan,
        fluid_fraction=sum(fluid_areas) / max(granulosa_area, 1.0),
        fluid_spaces=float(len(fluid)),
        largest_space_fraction=max(fluid_areas, default=0.0) / max(granulosa_area, 1.0),
        granulosa_nuclei=float(len(nuclei.x)),
        pyknotic_fraction=nuclei.pyknotic_fraction(config),
        dying_fraction=dying_fraction,
    )


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a region: centres (µm), darkness and compactness; arrays of length n."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    darkness: NDArray[np.float64]
    compactness: NDArray[np.float64]

    def pyknotic_fraction(self, config: MorphometryConfig) -> float:
        """Share of nuclei that are small and much darker than normal ones.

        The lower quartile represents the normal nucleus, because in an atretic follicle the median may be dying.
        """
        if len(self.x) < config.pyknosis_min_nuclei:
            return float("nan")
        dark = self.darkness > config.pyknotic_darkness * np.percentile(self.darkness, 25)
        return float((dark & (self.compactness > config.pyknotic_compactness)).mean())


def find_nuclei(field: Field, region: BaseGeometry, config: MorphometryConfig) -> Nuclei:
    """Find cell nuclei as dark spots of nuclear size (Laplacian of Gaussian).

    Parameters
    ----------
    field
        Image window that contains the region.
    region
        Region to search, µm on the slide.
    config
        Nuclear radius and smallest response.

    Returns
    -------
    Nuclei
        Nuclei in the region.
    """
    sigma = config.nucleus_radius_um / np.sqrt(2) / field.mpp
    capped = np.minimum(field.hematoxylin, 2.0)
    response = -(sigma**2) * ndi.gaussian_laplace(capped, sigma)
    small = -((0.6 * sigma) ** 2) * ndi.gaussian_laplace(capped, max(0.6 * sigma, 0.6))
    distance = max(1, round(0.5 * config.cell_pitch_um / field.mpp))
    peaks = (response == ndi.maximum_filter(response, 2 * distance - 1)) & (response > config.nucleus_min_response)
    rows, columns = np.nonzero(peaks)
    x, y = field.x_um + (columns + 0.5) * field.mpp, field.y_um + (rows + 0.5) * field.mpp
    inside = contains_xy(region, x, y)
    rows, columns, x, y = rows[inside], columns[inside], x[inside], y[inside]
    darkness = ndi.gaussian_filter(capped, 0.5 * sigma)[rows, columns]
    compactness = small[rows, columns] / np.maximum(response[rows, columns], 1e-6)
    return Nuclei(
        x.astype(np.float64),
        y.astype(np.float64),
        darkness.astype(np.float64),
        compactness.astype(np.float64),
    )


def _rays(
    outline: Polygon,
    centre: Point,
    inner: BaseGeometry,
    nuclei: Nuclei,
    fluid: tuple[Polygon, ...],
    config: MorphometryConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of nuclei and granulosa thickness on each ray from the oocyte and its zona (``inner``) outwards.

    A ray is as wide as a cell, so it meets about one nucleus in every layer that it crosses. Distances are measured
    along rays from the centre of the oocyte; fluid on a ray does not count as thickness.
    """
    angles = np.arange(N_RAYS) * 2 * np.pi / N_RAYS
    reach = np.arange(1.0, max(outline.hausdorff_distance(centre), 2.0) + 1, 1.0)
    x = centre.x + np.cos(angles)[:, None] * reach
    y = centre.y + np.sin(angles)[:, None] * reach
    in_outline = contains_xy(outline, x, y)
    granulosa = in_outline & ~contains_xy(inner, x, y)
    for space in fluid:
        granulosa &= ~contains_xy(space, x, y)
    thickness = granulosa.sum(axis=1).astype(np.float64)
    dx, dy = nuclei.x - centre.x, nuclei.y - centre.y
    along = np.cos(angles)[:, None] * dx + np.sin(angles)[:, None] * dy
    across = np.abs(-np.sin(angles)[:, None] * dx + np.cos(angles)[:, None] * dy)
    counts = ((along > 0) & (across <= config.cell_pitch_um / 2)).sum(axis=1).astype(np.float64)
    return counts, thickness
