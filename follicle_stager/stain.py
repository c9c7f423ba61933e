"""Optical density and stain vectors of a slide, fitted once per slide and applied to any region of it.

The two-stain fit follows Macenko et al. 2009 (doi 10.1109/ISBI.2009.5193250): tissue pixels span a plane in
optical density, and its extreme directions are the stains. On hematoxylin-only slides the plane collapses
to a line; the counterstain is then set to a reference direction instead of being fitted to noise.
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

#: Largest angle between the fitted and the reference hematoxylin. Dirt or pen causes larger ones; they are reduced to
#: this angle.
MAX_DEVIATION_DEG = 15.0

#: Smallest angle between two stains; below it, the slide is treated as hematoxylin-only. Noise alone spreads
#: the directions of one stain by about 10 degrees.
MIN_STAIN_ANGLE_DEG = 18.0

#: Largest ratio of red to green optical density of a counterstain: eosin and PAS absorb far less red than green light.
#: The second direction of a hematoxylin-only slide is noise of scanner and compression, with a larger ratio.
MAX_COUNTERSTAIN_RED = 0.65


@dataclass(frozen=True)
class StainModel:
    """Stains of one slide.

    Attributes
    ----------
    white
        Brightness of empty glass, (3,), 0-255.
    hematoxylin, counterstain
        Directions in optical density, (3,), unit length. The counterstain is eosin, PAS or similar.
    hematoxylin_full, counterstain_full
        Amount that counts as 1: the 95th percentile over tissue.
    density_full
        Optical density per colour, (3,): the 90th percentile over tissue.
    two_stains
        Whether a second stain was found; if not, ``counterstain`` is the reference direction.
    clear_density
        Mean optical density below which a pixel is as clear as glass: lumen, fluid, tear. It depends on the
        strength of the staining, because a pale slide has paler cytoplasm.
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
        """Optical density (natural log) of a region, (y, x, 3); 0 is empty glass."""
        # A table of 256 values per channel; the logarithm of every pixel would take longer than the filters.
        table = np.log(self.white[None, :] / np.maximum(np.arange(256.0), 1.0)[:, None]).astype(np.float32)
        table = np.maximum(table, 0)
        return np.asarray(np.stack([table[rgb[..., c], c] for c in range(3)], axis=-1))

    def amounts(self, od: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Hematoxylin and counterstain of a region, each about 0-1 (above 1 in dense nuclei).

        Parameters
        ----------
        od
            Optical density, (y, x, 3), from `optical_density`.
        """
        basis = np.stack([self.hematoxylin, self.counterstain], axis=1)
        inverse = np.linalg.pinv(basis).astype(np.float32)
        amounts = np.maximum(od @ inverse.T, 0)
        return amounts[..., 0] / self.hematoxylin_full, amounts[..., 1] / self.counterstain_full


# Smallest optical density of tissue, and the smallest value of `density_full`, for slides with very pale staining.
_TISSUE_DENSITY = 0.10
_LEAST_FULL = 0.15

#: Brightness that is assumed for glass in an image that shows none, (3,).
NEARLY_WHITE = np.array([245.0, 245.0, 245.0])
# Share of an image that has to be glass, and the lowest value of the brightest colour of dim glass.
_LEAST_GLASS, _DIMMEST = 0.01, 120.0
# Largest share of pure white that can be a frame around a picture; more is overexposed glass.
_LARGEST_FRAME = 0.2
# Number of pixels that are enough to find dim glass.
_MOST_PIXELS = 4e6
# Optical density from which a colour says whether it is that of a pen.
_PEN_DENSITY = 0.3


def estimate_white(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Brightness of empty glass, (3,), also if the light is coloured or dim.

    Glass is nearly white on most slides. Otherwise it is looked for among the lightest areas: if a lamp or a camera is
    too warm, too cold or too dim, glass has a green value between red and blue, while all stains of tissue absorb green
    most. In an image without glass, glass is assumed to be nearly white, unless most of the tissue would then have
    colours that no stain has; in this case, the highest value of each colour is taken.

    Parameters
    ----------
    rgb
        Overview of the slide, (y, x, 3), at about 4 µm/px, without what lies beyond the slide.
    """
    pixels = rgb.reshape(-1, 3)
    bright = pixels[pixels.min(axis=1) >= 190]
    glass = bright if len(bright) >= _LEAST_GLASS * len(pixels) else bright[:0]
    if not len(glass) or _is_frame(rgb, bright):
        step = int(np.ceil(np.sqrt(len(pixels) / _MOST_PIXELS)))
        dim = _dim_glass(rgb[::step, ::step])
        if len(dim) * step**2 > max(_LEAST_GLASS * len(pixels), len(glass)):
            glass = dim
    if len(glass):
        return np.asarray(np.percentile(glass, 75, axis=0), np.float64)
    pixels = _thinned(pixels)
    od = np.log(NEARLY_WHITE / np.maximum(pixels, 1))
    if is_pen(od).sum() > 0.5 * (od.max(axis=-1) > _PEN_DENSITY).sum():
        return np.asarray(np.maximum(np.percentile(pixels, 99.5, axis=0), 1), np.float64)
    return NEARLY_WHITE.copy()


def _is_frame(rgb: NDArray[np.uint8], bright: NDArray[np.uint8]) -> bool:
    """Whether the bright pixels of an image are a pure white frame around it, and no glass."""
    edge = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    thinned = bright[:: len(bright) // 200_000 + 1]
    return bool(
        len(bright) < _LARGEST_FRAME * rgb.shape[0] * rgb.shape[1]
        and (edge == 255).all(axis=1).mean() > 0.9
        and (thinned == 255).all(axis=1).mean() > 0.9
    )


def _dim_glass(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels that may be glass in dim or coloured light, (n, 3): the lightest ones without the colour of a stain.

    Pure white is left out, because it is a frame around the picture. There are none if the darker pixels have no colour
    of a stain either, as in a grey picture: colour then tells nothing.
    """
    colours = rgb.astype(np.int16)
    lightest = colours.max(axis=2)
    frame = colours.min(axis=2) == 255
    if frame.all():
        return np.empty((0, 3), np.uint8)
    limit = max(0.85 * np.percentile(lightest[~frame], 97), _DIMMEST)
    red, green, blue = (colours[..., c] for c in range(3))
    unstained = (green >= 0.95 * (red + blue) / 2) & (green <= 1.05 * np.maximum(red, blue))
    darker = lightest < limit
    if darker.any() and unstained[darker].mean() > 0.5:
        return np.empty((0, 3), np.uint8)
    return np.asarray(rgb[unstained & ~darker & ~frame])


def is_pen(od: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find colours that no histological stain has: marker pen, coloured dirt, drawn boxes.

    Parameters
    ----------
    od
        Optical density, (..., 3).

    Returns
    -------
    ndarray of bool, (...)
        True where the direction in optical density lies outside the range between hematoxylin and eosin / PAS;
        these absorb green light most, and little blue.
    """
    direction = od / np.maximum(np.linalg.norm(od, axis=-1, keepdims=True), 1e-6)
    blue_marker = (direction[..., 0] > 0.6) & (direction[..., 2] < 0.12)
    unlike = (direction[..., 1] < 0.42) | (direction[..., 2] > 0.62) | blue_marker
    return np.asarray(unlike & (od.max(axis=-1) > _PEN_DENSITY))


def fit_stains(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_], white: NDArray[np.float64]) -> StainModel:
    """Estimate the stains of a slide from an overview of it.

    Parameters
    ----------
    rgb
        Overview of the slide, (y, x, 3), at 1-4 µm/px.
    tissue
        (y, x) bool; True on tissue.
    white
        Brightness of empty glass, (3,), from `estimate_white`.

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
    # Hematoxylin absorbs proportionally more red than eosin, PAS or any other usual counterstain.
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
        full_c = 1.0  # the rest besides hematoxylin is noise and must not be amplified
    density = density_full(pixels, white)
    return StainModel(white, hematoxylin, counterstain, full_h, full_c, two_stains, clear_density, density)


def density_full(rgb: NDArray[np.uint8], white: NDArray[np.float64]) -> NDArray[np.float64]:
    """90th percentile of the optical density of tissue, per colour, (3,).

    Parameters
    ----------
    rgb
        Pixels, (..., 3); those as clear as glass are left out.
    white
        Brightness of empty glass, (3,), from `estimate_white`.
    """
    pixels = _thinned(rgb.reshape(-1, 3))
    od = np.maximum(np.log(white / np.maximum(pixels, 1)), 0)
    tissue = od[od.mean(axis=1) > _TISSUE_DENSITY]
    if len(tissue) < 50:
        return np.full(3, 0.5)
    return np.asarray(np.maximum(np.percentile(tissue, 90, axis=0), _LEAST_FULL))


def _thinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every n-th pixel, so that at most 200,000 are left."""
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
