"""Find candidate oocytes: pale discs inside a dense nuclear ring, at every size, with high recall.

For each oocyte diameter the field is resized until the disc has a fixed radius in pixels, so one small
filter bank covers the whole range, and large oocytes take less time than small ones. The response is ring
minus disc. The ring is divided into eight sectors and the second-lowest one counts, so that half a ring is
rejected. This filter was tested on real sections earlier; the scale pyramid and the tolerance of a dark
germinal vesicle are new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi
from skimage.transform import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.field import Field

# Radius of the disc in pixels of the resized field; with a smaller one, the sectors of the ring are too coarse.
_DISC_PX = 6.0
_N_SECTORS = 8
# Smallest width of the ring, µm: one layer of granulosa cells.
_RING_UM = 7.0


@dataclass(frozen=True)
class Seeds:
    """Centres and radii of candidates, (n,), µm on the slide, and the filter's response to them."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    response: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)


def find_seeds(field: Field, *, min_diameter_um: float, max_diameter_um: float, min_response: float) -> Seeds:
    """Find pale, homogeneous discs inside a dense ring.

    Parameters
    ----------
    field
        The window to search.
    min_diameter_um, max_diameter_um
        Range of oocyte diameters.
    min_response
        Smallest response (ring minus disc, in hematoxylin units); low, because the outline decides later.

    Returns
    -------
    Seeds
        Candidates; no peak of the filter lies within the disc of a better one.
    """
    n_scales = max(2, round(np.log(max_diameter_um / min_diameter_um) / np.log(1.2)) + 1)
    candidates = [
        _at_scale(field, diameter / 2, min_response)
        for diameter in np.geomspace(min_diameter_um, max_diameter_um, n_scales)
    ]
    table = np.concatenate(candidates) if candidates else np.empty((0, 4))
    order = np.lexsort((table[:, 0], table[:, 1], -table[:, 3]))
    table = table[order]
    kept: list[int] = []
    for i, (x, y, radius, _) in enumerate(table):
        chosen = table[kept]
        apart = np.hypot(chosen[:, 0] - x, chosen[:, 1] - y) > np.maximum(chosen[:, 2], radius)
        if apart.all():
            kept.append(i)
    chosen = np.concatenate([table[kept], _between(table[kept])]) if kept else np.empty((0, 4))
    return Seeds(*chosen.T)


def _between(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """An additional seed between each two that touch, because a long oocyte looks like two round ones."""
    if len(table) < 2:
        return np.empty((0, 4))
    distance = np.hypot(table[:, None, 0] - table[None, :, 0], table[:, None, 1] - table[None, :, 1])
    reach = table[:, None, 2] + table[None, :, 2]
    alike = np.abs(np.log(table[:, None, 2] / table[None, :, 2])) < 0.5
    first, second = np.nonzero(np.triu((distance < 1.2 * reach) & alike, 1))
    middle = (table[first] + table[second]) / 2
    middle[:, 2] *= 1.3
    return middle


def _at_scale(field: Field, radius_um: float, min_response: float) -> NDArray[np.float64]:
    """Peaks of the filter for one radius: (n, 4) array of x, y, radius (µm) and response."""
    height, width = field.shape
    factor = radius_um / _DISC_PX / field.mpp
    shape = max(8, round(height / factor)), max(8, round(width / factor))
    hematoxylin = _resize(np.minimum(field.hematoxylin, 1.5), shape, factor)
    # A lumen is white; the cytoplasm of an oocyte never is.
    white = _resize(field.clear.astype(np.float32), shape, factor)
    px_y, px_x = field.mpp * height / shape[0], field.mpp * width / shape[1]
    ring_px = max(_RING_UM / px_x, 0.45 * _DISC_PX)
    bank = _FilterBank(shape, round(1.1 * _DISC_PX + ring_px) + 3)
    disc = _disc(0, 0.85 * _DISC_PX)
    spectrum = bank.transform(hematoxylin)
    inside = bank.apply(spectrum, disc)
    cytoplasm = bank.apply(spectrum, _disc(0.5 * _DISC_PX, 0.85 * _DISC_PX))
    square = bank.apply(bank.transform(hematoxylin**2), disc)
    uneven = np.sqrt(np.maximum(square - inside**2, 0))
    whiteness = bank.apply(bank.transform(white), _disc(0, 0.7 * _DISC_PX))
    sector = 2 * np.pi / _N_SECTORS
    sectors = np.stack(
        [
            bank.apply(spectrum, _disc(1.1 * _DISC_PX, 1.1 * _DISC_PX + ring_px, k * sector, (k + 1) * sector))
            for k in range(_N_SECTORS)
        ]
    )
    ring = np.partition(sectors, 1, axis=0)[1]
    response = ring - np.minimum(inside, cytoplasm) - uneven - np.clip(whiteness - 0.15, 0, 1)
    peaks = (response == ndi.maximum_filter(response, 2 * int(_DISC_PX) + 1)) & (response > min_response)
    rows, columns = np.nonzero(peaks)
    return np.column_stack(
        [
            field.x_um + (columns + 0.5) * px_x,
            field.y_um + (rows + 0.5) * px_y,
            np.full(len(rows), radius_um),
            response[rows, columns],
        ]
    )


def _resize(values: NDArray[np.float32], shape: tuple[int, int], factor: float) -> NDArray[np.float32]:
    resized = resize(values, shape, order=1, anti_aliasing=factor > 1, preserve_range=True)
    return np.asarray(resized, np.float32)


def _disc(
    inner_px: float, outer_px: float, from_angle: float = 0.0, to_angle: float = 2 * np.pi
) -> NDArray[np.float32]:
    """An averaging kernel with soft edges: a disc, a ring or a sector of a ring."""
    half = int(np.ceil(outer_px)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.hypot(x, y)
    kernel = np.clip(outer_px - distance + 0.5, 0, 1)
    if inner_px > 0:
        kernel *= np.clip(distance - inner_px + 0.5, 0, 1)
    if to_angle - from_angle < 2 * np.pi:
        angle = np.mod(np.arctan2(y, x), 2 * np.pi)
        kernel *= (angle >= from_angle) & (angle < to_angle)
    return np.asarray(kernel / kernel.sum(), np.float32)


class _FilterBank:
    """Filter one image with many kernels by FFT; the image is transformed only once."""

    def __init__(self, shape: tuple[int, int], pad: int) -> None:
        self._shape, self._pad = shape, pad
        self._size = [fft.next_fast_len(n + 2 * pad, True) for n in shape]

    def transform(self, image: NDArray[np.float32]) -> NDArray[np.complex64]:
        padded = np.pad(image, self._pad, mode="reflect" if min(self._shape) > self._pad else "edge")
        return np.asarray(fft.rfft2(padded, self._size))

    def apply(self, spectrum: NDArray[np.complex64], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        half = kernel.shape[0] // 2
        padded = np.zeros(self._size, np.float32)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel[::-1, ::-1]
        padded = np.roll(padded, (-half, -half), (0, 1))
        full = fft.irfft2(spectrum * fft.rfft2(padded), self._size)
        (height, width), pad = self._shape, self._pad
        return np.asarray(full[pad : pad + height, pad : pad + width])
