"""Measurements of a follicle. Each field is a column of follicles.csv and a measurement in QuPath."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measurements of one shape; NaN if a value could not be measured. Two are equal if all numbers are, NaN included.

    Attributes
    ----------
    diameter_um, long_axis_um, short_axis_um
        Follicle: diameter of the circle of equal area, and two perpendicular axes.
    oocyte_um, oocyte_long_um, oocyte_short_um
        Oocyte: diameter of the circle of equal area, and two perpendicular axes.
    nucleus_um
        Oocyte nucleus: diameter of the circle of equal area.
    nucleus_contrast
        How clearly the nucleus stands out, units of hematoxylin.
    layers, layers_iqr
        Granulosa layers: nuclei met per ray, median over rays, and the interquartile range.
    two_layers_fraction
        Share of rays that meet at least two layers.
    granulosa_um
        Thickness of the granulosa outside the zona, median over rays.
    cuboidal_fraction
        Share of rays on which the granulosa is at least as high as a cuboidal cell.
    fluid_fraction
        Fluid area / (follicle area - area of oocyte and zona).
    fluid_spaces
        Number of fluid spaces.
    largest_space_fraction
        Largest fluid space / (follicle area - area of oocyte and zona).
    granulosa_nuclei
        Number of nuclei found in the granulosa.
    pyknotic_fraction
        Share of these nuclei that are small and very dark.
    surface_distance_um
        Distance from the outline to the border of the section.
    dying_fraction
        Share of the granulosa that looks like that of an atretic follicle; only the network measures it.
    """

    diameter_um: float = math.nan
    long_axis_um: float = math.nan
    short_axis_um: float = math.nan
    oocyte_um: float = math.nan
    oocyte_long_um: float = math.nan
    oocyte_short_um: float = math.nan
    nucleus_um: float = math.nan
    nucleus_contrast: float = math.nan
    layers: float = math.nan
    layers_iqr: float = math.nan
    two_layers_fraction: float = math.nan
    granulosa_um: float = math.nan
    cuboidal_fraction: float = math.nan
    fluid_fraction: float = math.nan
    fluid_spaces: float = math.nan
    largest_space_fraction: float = math.nan
    granulosa_nuclei: float = math.nan
    pyknotic_fraction: float = math.nan
    surface_distance_um: float = math.nan
    dying_fraction: float = math.nan

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all measurements, in the order of the tables."""
        return tuple(f.name for f in fields(cls))

    def items(self) -> Iterator[tuple[str, float]]:
        """Names and values, in the order of the tables."""
        return iter(vars(self).items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measurements) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[float | None, ...]:
        return tuple(None if math.isnan(value) else value for value in vars(self).values())
