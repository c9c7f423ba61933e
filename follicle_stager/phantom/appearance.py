"""Colours and faults of a slide: stains in optical density (Beer-Lambert), thickness, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Directions in RGB optical density: nuclear stain, counterstain; and the counterstain's strength.
STAINS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "H&E": ((0.65, 0.70, 0.29), (0.20, 0.94, 0.28), 1.0),
    "hematoxylin": ((0.68, 0.67, 0.30), (0.45, 0.80, 0.35), 0.18),
    "PAS": ((0.68, 0.66, 0.32), (0.17, 0.91, 0.38), 0.8),
}


@dataclass(frozen=True)
class Appearance:
    """How a slide was stained and scanned."""

    stain: str
    nuclear: float
    counter: float
    blur_um: float
    noise: float
    white: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, stain: str) -> Appearance:
        """A good slide with the usual spread between stainings."""
        return cls(
            stain=stain,
            nuclear=rng.uniform(0.9, 1.25),
            counter=rng.uniform(0.75, 1.2),
            blur_um=rng.uniform(0.5, 0.9),
            noise=rng.uniform(1.0, 3.0),
            white=(rng.uniform(242, 252), rng.uniform(242, 252), rng.uniform(240, 252)),
        )

    def develop(
        self,
        rng: np.random.Generator,
        nuclear: NDArray[np.float32],
        counter: NDArray[np.float32],
        *,
        mpp: float,
    ) -> NDArray[np.uint8]:
        """Turn amounts of stain into an 8-bit picture.

        Parameters
        ----------
        rng
            For noise.
        nuclear, counter
            (y, x) amounts; 1 is a dark nucleus, or well-stained muscle.
        mpp
            µm/px.
        """
        first, second, strength = STAINS[self.stain]
        sigma = self.blur_um / mpp
        h = ndi.gaussian_filter(nuclear, sigma) * self.nuclear
        e = ndi.gaussian_filter(counter, sigma) * self.counter * strength
        od = h[..., None] * np.array(first, np.float32) + e[..., None] * np.array(second, np.float32)
        picture = np.array(self.white, np.float32) * np.exp(-od)
        picture += rng.normal(0, self.noise, picture.shape).astype(np.float32)
        return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)
