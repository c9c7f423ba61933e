"""Optical density, and the stain vectors of a slide: fit once per slide, apply to any region of it.

The two-stain fit follows Macenko et al. 2009 (doi 10.1109/ISBI.2009.5193250): tissue pixels span a plane in
optical density, and its extreme directions are the stains. On hematoxylin-only slides the plane collapses
to a line; then the counterstain is set to a reference direction instead of being fitted to noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Reference directions in RGB optical density (Ruifrok & Johnston 2001), unit length.
_HEMATOXYLIN = np.array([0.650, 0.704, 0.286])
_EOSIN = np.array([0.072, 0.990, 0.105])

#: A fitted hematoxylin further than this from the reference is the work of dirt or pen, and is pulled back.
MAX_DEVIATION_DEG = 15.0

#: Two stains are told apart only where their directions differ by this angle; below it the slide is
#: treated as hematoxylin-only. Directions of one stain spread by about 10 degrees through noise.
MIN_STAIN_ANGLE_DEG = 18.0

#: A counterstain (eosin, PAS) takes out far less red than green light; the second direction of a
#: hematoxylin-only slide is noise of the scanner and its compression, and does not.
MAX_COUNTERSTAIN_RED = 0.65


@dataclass(frozen=True)
class StainModel:
    """Stains of one slide.

    Attributes
    ----------
    white
        (3,) brightness of empty glass, 0-255.
    hematoxylin, counterstain
        (3,) directions in optical density, unit length. The counterstain is eosin, PAS or the like.
    hematoxylin_full, counterstain_full
        Amount (95th percentile over tissue) that counts as 1.
    density_full
        (3,) optical density per colour that 9 of 10 tissue pixels stay below.
    two_stains
        Whether a second stain was found; if not, ``counterstain`` is a reference.
    clear_density
        Mean optical density below which a pixel is as clear as glass: lumen, fluid, tear. It follows the
        strength of the staining, since a pale slide has paler cytoplasm.
    """

    white: NDArray[np.float64]
    hematoxylin: NDArray[np.float64]
    counterstain: NDArray[np.float64]
    hematoxylin_full: float
    counterstain_full: float
    two_stains: bool
    clear_density: float = 0.10
    density_full: NDArray[np.float64] = field(default_factory=lambda: np.full(3, 0.5))

    def optical_density(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(y, x, 3) optical density (natural log) of a region; 0 is empty glass."""
        # A table of 256 values a channel: the logarithm of every pixel would cost more than the filters.
        table = np.log(self.white[None, :] / np.maximum(np.arange(256.0), 1.0)[:, None]).astype(np.float32)
        table = np.maximum(table, 0)
        return np.asarray(np.stack([table[rgb[..., c], c] for c in range(3)], axis=-1))

    def amounts(self, od: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Hematoxylin and counterstain of a region, each about 0-1 (may pass 1 in dense nuclei).

        Parameters
        ----------
        od
            (y, x, 3) from `optical_density`.
        """
        basis = np.stack([self.hematoxylin, self.counterstain], axis=1)
        inverse = np.linalg.pinv(basis).astype(np.float32)
        amounts = np.maximum(od @ inverse.T, 0)
        return amounts[..., 0] / self.hematoxylin_full, amounts[..., 1] / self.counterstain_full


# Optical density that no tissue falls below; and the least that counts as full, where there is next to none.
_TISSUE_DENSITY = 0.10
_LEAST_FULL = 0.15


def estimate_white(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Brightness of empty glass, (3,): the bright mode of the image, or near white where no glass shows.

    Parameters
    ----------
    rgb
        (y, x, 3) overview of the slide.
    """
    pixels = rgb.reshape(-1, 3)
    bright = pixels[pixels.min(axis=1) >= 190]
    if len(bright) < 0.01 * len(pixels):
        return np.array([245.0, 245.0, 245.0])
    return np.asarray(np.clip(np.percentile(bright, 75, axis=0), 200, 255), np.float64)


def is_pen(od: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Colours that no histological stain has: marker pen, coloured dirt, drawn boxes.

    Parameters
    ----------
    od
        (..., 3) optical density.

    Returns
    -------
    ndarray of bool, (...)
        True where the direction in optical density leaves the fan between hematoxylin and eosin / PAS: those
        take out more green than any other light, and little blue.
    """
    direction = od / np.maximum(np.linalg.norm(od, axis=-1, keepdims=True), 1e-6)
    blue_marker = (direction[..., 0] > 0.6) & (direction[..., 2] < 0.12)
    unlike = (direction[..., 1] < 0.42) | (direction[..., 2] > 0.62) | blue_marker
    return np.asarray(unlike & (od.max(axis=-1) > 0.3))


def fit_stains(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_], white: NDArray[np.float64]) -> StainModel:
    """Estimate the stains of a slide from an overview of it.

    Parameters
    ----------
    rgb
        (y, x, 3) overview at 1-4 µm/px.
    tissue
        (y, x) True where tissue is.
    white
        (3,) from `estimate_white`.

    Returns
    -------
    StainModel
    """
    blank = StainModel(white, _HEMATOXYLIN, _EOSIN, 1.0, 1.0, False)
    pixels = _thinned(rgb[tissue])
    od = blank.optical_density(pixels).astype(np.float64)
    od = od[(od.mean(axis=1) > 0.12) & (od.max(axis=1) < 3.0) & ~is_pen(od)]
    if len(od) < 200:
        return blank
    _, vectors = np.linalg.eigh(np.cov(od.T))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    if (od @ plane[:, 0]).mean() < 0:
        plane[:, 0] *= -1
    projected = od @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    low, high = np.percentile(angles, [1, 99])
    ends = [np.clip(plane @ np.array([np.cos(a), np.sin(a)]), 0.01, None) for a in (low, high)]
    ends = [v / np.linalg.norm(v) for v in ends]
    # Hematoxylin takes out more red, in proportion, than eosin, PAS or any usual counterstain.
    hematoxylin, counterstain = sorted(ends, key=lambda v: v[0], reverse=True)
    hematoxylin = _within(hematoxylin, _HEMATOXYLIN, MAX_DEVIATION_DEG)
    two_stains = bool(
        _angle_deg(hematoxylin, counterstain) >= MIN_STAIN_ANGLE_DEG
        and counterstain[0] <= MAX_COUNTERSTAIN_RED * counterstain[1]
    )
    if not two_stains:
        mean = od.mean(axis=0)
        hematoxylin, counterstain = mean / np.linalg.norm(mean), _EOSIN
    clear_density = float(np.clip(0.25 * np.median(od.mean(axis=1)), 0.04, 0.12))
    model = StainModel(white, hematoxylin, counterstain, 1.0, 1.0, two_stains)
    h, c = model.amounts(od.astype(np.float32))
    full_h, full_c = (max(float(np.percentile(values, 95)), 0.05) for values in (h, c))
    if not two_stains:
        full_c = 1.0  # what is left beside hematoxylin is noise, and must not be blown up
    density = density_full(pixels, white)
    return StainModel(white, hematoxylin, counterstain, full_h, full_c, two_stains, clear_density, density)


def density_full(rgb: NDArray[np.uint8], white: NDArray[np.float64]) -> NDArray[np.float64]:
    """Optical density per colour that 9 of 10 pixels of tissue stay below, (3,).

    Parameters
    ----------
    rgb
        (..., 3) pixels; what is as clear as glass is left out.
    white
        (3,) from `estimate_white`.
    """
    pixels = _thinned(rgb.reshape(-1, 3))
    od = np.maximum(np.log(white / np.maximum(pixels, 1)), 0)
    tissue = od[od.mean(axis=1) > _TISSUE_DENSITY]
    if len(tissue) < 50:
        return np.full(3, 0.5)
    return np.asarray(np.maximum(np.percentile(tissue, 90, axis=0), _LEAST_FULL))


def _thinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most some 200,000 of many pixels, evenly spread."""
    return pixels[:: len(pixels) // 200_000 + 1]


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def _within(vector: NDArray[np.float64], reference: NDArray[np.float64], limit_deg: float) -> NDArray[np.float64]:
    """Pull a unit vector towards a reference until it is at most ``limit_deg`` away."""
    reference = reference / np.linalg.norm(reference)
    angle = _angle_deg(vector, reference)
    if angle <= limit_deg:
        return vector
    share = limit_deg / angle
    mixed = share * vector + (1 - share) * reference
    return np.asarray(mixed / np.linalg.norm(mixed))
