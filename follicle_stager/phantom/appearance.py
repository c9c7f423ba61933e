"""Convert stain amounts to an image: staining, scanning and faults of a slide.

A `Look` holds every choice. `faithful` draws a good slide with the usual variation. `randomised` goes far beyond the
natural range, so that a network does not learn the colours of one renderer. Stains mix in optical density
(Beer-Lambert).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage as ndi

from follicle_stager.phantom.fields import texture
from follicle_stager.phantom.tissues import CODE, COLUMNS, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Stains: directions of nuclear stain and counterstain in RGB optical density, strength of the counterstain, and
#: its column in the table of tissues.
STAINS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float, str]] = {
    "H&E": ((0.65, 0.70, 0.29), (0.20, 0.94, 0.28), 1.0, "eosin"),
    "hematoxylin": ((0.69, 0.66, 0.30), (0.62, 0.70, 0.34), 0.30, "eosin"),
    "PAS": ((0.70, 0.64, 0.31), (0.17, 0.91, 0.38), 0.9, "pas"),
}


@dataclass(frozen=True, eq=False)
class Look:
    """Stain, optics and faults of one slide.

    Attributes
    ----------
    tissues
        Table of tissues, see `tissues.table`.
    counterstain
        Column of the counterstain in the table of tissues.
    nuclear, counter
        Direction of each stain in RGB optical density times its strength, (3,).
    white
        Colour of empty glass, (3,), 0-255.
    blur_um, sharpen, noise
        Point spread, µm; unsharp masking by the scanner; sensor noise, grey values.
    uneven
        Amount of slow variation in thickness and stain.
    faults
        Probability of each fault of a section (`SECTION_FAULTS`) and of the slide (`SLIDE_FAULTS`).
    jpeg
        JPEG quality; 0 for no compression.
    zones
        Threshold of the interstitial gland (the higher, the less gland), and size of its patches, µm.
    contrast
        Exponents of the amounts of nuclear stain and counterstain, (2,).
    variety
        Share of the follicles and vessels with a look of `variety`.
    washed_out
        Share of the oocytes and antra that are nearly as clear as glass, and of the resting follicles with few nuclei.
    """

    tissues: NDArray[np.float64]
    counterstain: str
    nuclear: NDArray[np.float64]
    counter: NDArray[np.float64]
    white: NDArray[np.float64]
    blur_um: float
    sharpen: float
    noise: float
    uneven: float
    faults: float
    jpeg: int = 0
    zones: tuple[float, float] = (0.0, 70.0)
    contrast: NDArray[np.float64] = field(default_factory=lambda: np.ones(2))
    variety: float = 0.0
    washed_out: float = 0.0


def faithful(rng: np.random.Generator, stain: str, *, faults: float = 0.2) -> Look:
    """Draw the look of a good slide.

    Parameters
    ----------
    rng
        Source of the variation between stainings and animals.
    stain
        A key of `STAINS`.
    faults
        Probability of each fault, 0 to 1.
    """
    first, second, strength, column = STAINS[stain]
    tissues = table()
    # Density and darkness of each tissue differ slightly between animals and batches.
    for name in ("dark", "eosin", "pas", "basophil", "gaps"):
        tissues[:, COLUMNS[name]] *= rng.lognormal(0, 0.10, len(tissues))
    granulosa = [CODE[n] for n in ("granulosa", "granulosa rim")]
    tissues[granulosa, COLUMNS["basophil"]] *= rng.uniform(0.7, 1.6)
    tissues[granulosa, COLUMNS["gaps"]] *= rng.uniform(0.3, 3.0)
    return Look(
        tissues=tissues,
        counterstain=column,
        nuclear=_direction(rng, first, 0.02) * rng.uniform(0.85, 1.3),
        counter=_direction(rng, second, 0.02) * strength * rng.uniform(0.75, 1.15),
        white=np.clip(rng.uniform(238, 250) + rng.normal(0, 2.5, 3), 225, 253),
        blur_um=rng.uniform(0.3, 0.55),
        sharpen=rng.choice([0.0, 0.3]),
        noise=rng.uniform(0.8, 2.5),
        uneven=rng.uniform(0.05, 0.14),
        faults=faults,
        zones=(rng.uniform(-0.25, 0.25), rng.uniform(55, 100)),
    )


def randomised(rng: np.random.Generator) -> Look:
    """Draw a look far outside the natural range, with random colours, contrasts and textures of every tissue."""
    tissues = table()
    n = len(tissues)

    def spread(name: str, common: float, each: float) -> None:
        column = COLUMNS[name]
        tissues[:, column] *= np.exp(rng.uniform(-common, common) + rng.normal(0, each, n))

    spread("dark", 0.5, 0.18)
    spread("dark_cv", 0.6, 0.3)
    spread("vesicular", 0.9, 0.4)
    spread("basophil", 1.0, 0.6)
    spread("eosin", 0.5, 0.4)
    spread("pas", 0.5, 0.4)
    spread("grain", 0.7, 0.4)
    spread("gaps", 1.2, 0.8)
    spread("pitch", 0.10, 0.08)
    spread("nucleus", 0.10, 0.07)
    spread("cytoplasm", 0.08, 0.08)
    tissues[:, COLUMNS["elongation"]] = np.maximum(1, tissues[:, COLUMNS["elongation"]] * rng.lognormal(0, 0.15, n))
    tissues[:, COLUMNS["between"]] = np.clip(tissues[:, COLUMNS["between"]] + rng.normal(0, 0.2, n), 0.05, 1)
    tissues[:, COLUMNS["hollow"]] = np.clip(tissues[:, COLUMNS["hollow"]] * rng.lognormal(0, 0.7, n), 0, 0.4)
    tissues[:, COLUMNS["gaps"]] = np.minimum(tissues[:, COLUMNS["gaps"]], 0.4)
    tissues[:, COLUMNS["vesicular"]] = np.minimum(tissues[:, COLUMNS["vesicular"]], 0.9)
    first, second, strength, column = STAINS[str(rng.choice(list(STAINS)))]
    return Look(
        tissues=tissues,
        counterstain=column,
        nuclear=_direction(rng, first, 0.12) * np.exp(rng.uniform(-0.5, 0.45)),
        counter=_direction(rng, second, 0.15) * strength * np.exp(rng.uniform(-0.9, 0.6)),
        white=np.clip(rng.uniform(195, 255) + rng.normal(0, 5, 3), 170, 255),
        blur_um=np.exp(rng.uniform(np.log(0.15), np.log(1.6))),
        sharpen=rng.choice([0.0, rng.uniform(0.2, 1.0)]),
        noise=rng.uniform(0, 6),
        uneven=rng.uniform(0, 0.4),
        faults=rng.choice([0.0, 0.35]),
        jpeg=int(rng.integers(40, 95)) if rng.random() < 0.5 else 0,
        zones=(rng.uniform(-0.6, 0.6), rng.uniform(35, 140)),
        contrast=np.exp(rng.uniform(-0.25, 0.25, 2)),
    )


#: Light of lamps and cameras that are too warm, too cold or too dim: factors of red, green and blue.
LIGHTS = ((1.0, 0.93, 0.66), (1.0, 0.97, 0.85), (0.84, 0.92, 1.0), (0.75, 0.75, 0.74), (0.78, 0.71, 0.52))


def varied(rng: np.random.Generator, look: Look, share: float) -> Look:
    """Add looks that good slides do not have, but many real ones: see `variety`, and glands, luteal cells and light.

    Parameters
    ----------
    rng
        Source of the choices for the slide.
    look
        Look to change.
    share
        Share of the follicles and vessels that look other, and probability of each change of the slide.
    """
    tissues, white = look.tissues.copy(), look.white
    for names in (("gland",), ("fresh luteal", "luteal"), ("regressing luteal",)):
        pale, borders, holes = rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.6), rng.uniform(0.08, 0.3)
        if rng.random() < share:
            codes = [CODE[name] for name in names]
            # Cells full of fat: pale, with borders between them and vacuoles within.
            for column in ("eosin", "pas", "basophil"):
                tissues[codes, COLUMNS[column]] *= pale
            tissues[codes, COLUMNS["between"]] = borders
            tissues[codes, COLUMNS["gaps"]] = holes
    light = np.array(LIGHTS[rng.integers(len(LIGHTS))]) ** rng.uniform(0.3, 1.1)
    if rng.random() < 0.5 * share:
        white = np.clip(white * light, 60, 255)
    return replace(look, tissues=tissues, white=white, variety=share)


def handle(
    look: Look,
    rng: np.random.Generator,
    nuclear: NDArray[np.float32],
    counter: NDArray[np.float32],
    *,
    mpp: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add the faults of cutting, mounting and staining to a section: uneven thickness, folds, tears, spilt red cells.

    Nothing is moved, so the truth of the section stays valid.

    Parameters
    ----------
    look
        Look of the slide.
    rng
        Source of the positions of faults.
    nuclear, counter
        Amounts of stain, (y, x) float32, see `render.Maps`.
    mpp
        Pixel size, µm/px.

    Returns
    -------
    nuclear, counter
        Changed amounts, as new arrays.
    """
    h, e = nuclear ** np.float32(look.contrast[0]), counter ** np.float32(look.contrast[1])
    if look.uneven:
        h *= 1 + np.float32(look.uneven) * slow(rng, h.shape, 350.0, mpp)
        e *= 1 + np.float32(look.uneven) * slow(rng, h.shape, 250.0, mpp)
    for fault in SECTION_FAULTS:
        if rng.random() < look.faults:
            h, e = fault(rng, h, e, mpp)
    return h, e


def develop(
    look: Look,
    rng: np.random.Generator,
    nuclear: NDArray[np.float32],
    counter: NDArray[np.float32],
    *,
    mpp: float,
) -> NDArray[np.uint8]:
    """Convert the amounts of stain on a slide to an image.

    Parameters
    ----------
    look
        Look of the slide.
    rng
        Source of noise and of the positions of faults.
    nuclear, counter
        Amounts of stain, (y, x) float32, see `render.Maps`.
    mpp
        Pixel size, µm/px.

    Returns
    -------
    ndarray of uint8, (y, x, 3)
        RGB image.
    """
    h, e = nuclear, counter
    sigma = look.blur_um / mpp
    soft_h, soft_e = ndi.gaussian_filter(h, sigma), ndi.gaussian_filter(e, sigma)
    if rng.random() < look.faults:  # part of the section is out of focus
        share = np.clip(1.5 * slow(rng, h.shape, 300.0, mpp) - 0.2, 0, 1)
        far = rng.uniform(1.5, 4.0) / mpp
        soft_h += share * (ndi.gaussian_filter(h, far) - soft_h)
        soft_e += share * (ndi.gaussian_filter(e, far) - soft_e)
    light = np.empty((*h.shape, 3), np.float32)
    for channel in range(3):
        density = soft_h * np.float32(-look.nuclear[channel])
        density -= soft_e * np.float32(look.counter[channel])
        np.exp(density, out=density)
        light[..., channel] = np.float32(look.white[channel]) * density
    del soft_h, soft_e, density
    for fault in SLIDE_FAULTS:
        if rng.random() < look.faults:
            light = fault(rng, light, mpp)
    picture = np.empty(light.shape, np.uint8)
    for channel in range(3):  # one by one, to save memory: a slide may have a hundred million pixels
        plane = light[..., channel]
        if look.sharpen:
            plane += np.float32(look.sharpen) * (plane - ndi.gaussian_filter(plane, 1.0))
        if look.noise:
            plane += rng.standard_normal(plane.shape, np.float32) * np.float32(look.noise)
        plane += np.float32(0.5)
        np.clip(plane, 0, 255, out=plane)
        picture[..., channel] = plane
    return compress(picture, look.jpeg) if look.jpeg else picture


def slow(rng: np.random.Generator, shape: tuple[int, ...], size_um: float, mpp: float) -> NDArray[np.float32]:
    """Slowly varying noise, about -1 to 1, (y, x) float32."""
    step = max(1, int(size_um / mpp / 12))
    rows, columns = shape[0] // step + 2, shape[1] // step + 2
    at = rng.uniform(0, 1e5, 2)
    coarse = texture(at[0], at[1], step * mpp, rows, columns, size_um, int(rng.integers(2**30)))
    # Linear interpolation between the grid points, one axis after the other.
    at_row, at_column = np.arange(shape[0]) / step, np.arange(shape[1]) / step
    return _between(_between(coarse, at_row).T, at_column).T


def _between(values: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of an array at fractional positions, linearly interpolated."""
    first = at.astype(np.intp)
    share = (at - first).astype(np.float32)[:, None]
    return np.asarray(values[first] * (1 - share) + values[first + 1] * share)


def compress(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """An image after JPEG compression and decompression."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=["JPEG"]).convert("RGB"))


def _direction(rng: np.random.Generator, vector: tuple[float, float, float], spread: float) -> NDArray[np.float64]:
    v = np.maximum(np.array(vector) + rng.normal(0, spread, 3), 0.02)
    return np.asarray(v / np.linalg.norm(v))


def _fold(
    rng: np.random.Generator, h: NDArray[np.float32], e: NDArray[np.float32], mpp: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add a fold: a winding band in which two layers of the section overlap."""
    y, x = np.ogrid[: h.shape[0], : h.shape[1]]
    turn, away = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2)
    line = (x - away[0] * h.shape[1]) * np.cos(turn) + (y - away[1] * h.shape[0]) * np.sin(turn)
    along = (y - away[1] * h.shape[0]) * np.cos(turn) - (x - away[0] * h.shape[1]) * np.sin(turn)
    bend = 25 / mpp * np.sin(along * mpp / rng.uniform(60, 160))
    width = rng.uniform(6, 28) / mpp
    band = np.clip(1.3 - np.abs(line + bend) / width, 0, 1).astype(np.float32)
    band *= np.clip(1.4 - np.abs(along) / (rng.uniform(150, 600) / mpp), 0, 1)
    shift = round(2 * width)
    turned = np.roll(h, (round(shift * np.sin(turn)), round(shift * np.cos(turn))), (0, 1))
    turned_e = np.roll(e, (round(shift * np.sin(turn)), round(shift * np.cos(turn))), (0, 1))
    return h + band * turned, e + band * turned_e


def _dust(rng: np.random.Generator, light: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    """Add specks on the glass, dark and out of focus."""
    for _ in range(int(rng.integers(1, 12))):
        radius = rng.uniform(2, 12) / mpp
        cy, cx = rng.uniform(0, light.shape[0]), rng.uniform(0, light.shape[1])
        window = _around(light, cy, cx, 2 * radius)
        y, x = np.ogrid[window]
        d = np.hypot(y - cy, (x - cx) * rng.uniform(0.5, 2)) / radius
        light[window] *= 1 - (rng.uniform(0.3, 0.8) * np.clip(1.4 - d, 0, 1))[..., None].astype(np.float32)
    return light


def _pen(rng: np.random.Generator, light: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    """Add a stroke of a felt pen on the cover slip, along an edge of the image."""
    colour = np.array([[0.75, 0.35, 0.2], [0.2, 0.6, 0.5], [0.9, 0.9, 0.9], [0.1, 0.8, 0.9]])[rng.integers(4)]
    y, x = np.ogrid[: light.shape[0], : light.shape[1]]
    along, across = (y, x) if rng.random() < 0.5 else (x, y)
    size = light.shape[1] if across is x else light.shape[0]
    middle = size * rng.choice([rng.uniform(0.0, 0.08), rng.uniform(0.92, 1.0)])
    path = middle + 20 / mpp * np.sin(along * mpp / rng.uniform(100, 400))
    stroke = np.clip((rng.uniform(15, 45) / mpp - np.abs(across - path)) / (3 / mpp), 0, 1)
    return np.asarray(light * np.exp(-stroke[..., None] * colour * rng.uniform(0.5, 1.5)).astype(np.float32))


def _seam(rng: np.random.Generator, light: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    """Add stitching errors between fields of view: a step in brightness, and a shift by one or two pixels."""
    size = int(rng.uniform(350, 900) / mpp)
    for start in range(int(rng.integers(1, size)), light.shape[1], size):
        light[:, start:] *= np.float32(rng.uniform(0.95, 1.04))
        light[:, start : start + size] = np.roll(light[:, start : start + size], int(rng.integers(-2, 3)), axis=0)
    return light


def _vignette(rng: np.random.Generator, light: NDArray[np.float32], mpp: float) -> NDArray[np.float32]:
    """Add uneven illumination across the image."""
    y, x = np.ogrid[-1 : 1 : light.shape[0] * 1j, -1 : 1 : light.shape[1] * 1j]
    slope = rng.uniform(-0.03, 0.03, 2)
    shade = 1 + slope[0] * x + slope[1] * y - rng.uniform(0, 0.03) * (x**2 + y**2)
    return np.asarray(light * shade[..., None].astype(np.float32))


def _red_cells(
    rng: np.random.Generator, h: NDArray[np.float32], e: NDArray[np.float32], mpp: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add red cells spilt over the section."""
    cy, cx = rng.uniform(0, h.shape[0]), rng.uniform(0, h.shape[1])
    for _ in range(int(rng.integers(20, 200))):
        y0, x0 = cy + rng.normal(0, 60) / mpp, cx + rng.normal(0, 60) / mpp
        radius = rng.uniform(2.2, 3.2) / mpp
        window = _around(e, y0, x0, radius + 1)
        y, x = np.ogrid[window]
        e[window] += np.clip(radius - np.hypot(y - y0, x - x0) + 0.5, 0, 1).astype(np.float32)
    return h, e


def _tear(
    rng: np.random.Generator, h: NDArray[np.float32], e: NDArray[np.float32], mpp: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add a tear: a notch in the border without tissue."""
    n, m = h.shape
    cy, cx = [(0, rng.uniform(0, m)), (n, rng.uniform(0, m)), (rng.uniform(0, n), 0), (rng.uniform(0, n), m)][
        rng.integers(4)
    ]
    y, x = np.ogrid[:n, :m]
    ty, tx = n / 2 - cy, m / 2 - cx
    long = np.hypot(ty, tx)
    along = ((y - cy) * ty + (x - cx) * tx) / long
    across = ((x - cx) * ty - (y - cy) * tx) / long
    width = np.clip(1 - along / (long * rng.uniform(0.35, 0.6)), 0, 1) * rng.uniform(10, 40) / mpp
    rough = slow(rng, (n, m), 30.0, mpp) * 6 / mpp
    there = 1 - np.clip(width - np.abs(across + 8 / mpp * np.sin(along * mpp / 40)) + rough * (width > 0), 0, 1)
    return h * there.astype(np.float32), e * there.astype(np.float32)


#: Faults of a section, applied to its stain amounts, and faults of the slide or its scan, applied to the image.
SECTION_FAULTS = (_fold, _tear, _red_cells)
SLIDE_FAULTS = (_dust, _pen, _seam, _vignette)


def _around(values: NDArray[np.float32], y: float, x: float, reach: float) -> tuple[slice, slice]:
    """Slices of an array within reach of a position."""
    limits = [
        (int(np.clip(v - reach, 0, n)), int(np.clip(v + reach + 2, 0, n)))
        for v, n in ((y, values.shape[0]), (x, values.shape[1]))
    ]
    return slice(*limits[0]), slice(*limits[1])
