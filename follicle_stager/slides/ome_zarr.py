"""OME-Zarr folders (versions 0.4 and 0.5) through zarr."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from follicle_stager.errors import SlideError
from follicle_stager.slides import scale
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.slide import Level, Slide

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def open_ome_zarr(path: Path) -> Slide:
    """Open an OME-Zarr image folder.

    Raises
    ------
    SlideError
        If the folder holds no multiscale image, or one that is not a flat picture.
    """
    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        multiscale = attributes.get("ome", attributes)["multiscales"][0]
        arrays = [group[dataset["path"]] for dataset in multiscale["datasets"]]
        axes = [a["name"] if isinstance(a, dict) else a for a in multiscale.get("axes", "tczyx"[-arrays[0].ndim :])]
    except OSError:
        raise
    except Exception as error:  # zarr's errors vary with version and damage
        raise SlideError(f"{path}: this folder is no readable OME-Zarr image ({error}).") from error
    shape = dict(zip(axes, arrays[0].shape, strict=True))
    deep = {name: n for name, n in shape.items() if name not in "cyx" and n > 1}
    if deep or not {"y", "x"} <= shape.keys():
        raise SlideError(f"{path}: it is a stack ({shape}); export one plane of 8-bit RGB.")
    dtype = np.dtype(arrays[0].dtype)
    check_pixels(path, dtype, shape.get("c", 1))
    full_scale = white_level(_window(arrays[-1], axes, 0, 2048, 0, 2048)) if dtype == np.uint16 else 255
    levels = []
    for array in arrays:
        sizes = dict(zip(axes, array.shape, strict=True))
        read = functools.partial(_read_rgb, array, axes, full_scale)
        levels.append(Level(sizes["x"], sizes["y"], read))
    return Slide(path, levels, _pixel_size(multiscale, axes))


def _read_rgb(array: Any, axes: list[str], full_scale: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.uint8]:
    return to_rgb8(_window(array, axes, y0, y1, x0, x1), full_scale=full_scale)


def _window(array: Any, axes: list[str], y0: int, y1: int, x0: int, x1: int) -> NDArray[np.generic]:
    index = tuple({"y": slice(y0, y1), "x": slice(x0, x1), "c": slice(None)}.get(a, 0) for a in axes)
    kept = [a for a in axes if a in "cyx"]
    pixels = np.asarray(array[index])
    return pixels.transpose([kept.index(a) for a in "yxc" if a in kept])


def _pixel_size(multiscale: dict[str, Any], axes: list[str]) -> scale.PixelSize | None:
    units = {a["name"]: a.get("unit") for a in multiscale.get("axes", []) if isinstance(a, dict)}
    factors = dict.fromkeys(axes, 1.0)
    found = False
    for owner in (multiscale["datasets"][0], multiscale):
        for transform in owner.get("coordinateTransformations", []):
            if transform.get("type") == "scale":
                found = True
                for name, value in zip(axes, transform["scale"], strict=False):
                    factors[name] *= float(value)
    unit_x, unit_y = scale.um_per_unit(units.get("x")), scale.um_per_unit(units.get("y"))
    if not found or unit_x is None or unit_y is None:
        return None
    return scale.pixel_size(factors["x"] * unit_x, factors["y"] * unit_y, "OME-Zarr scale")
