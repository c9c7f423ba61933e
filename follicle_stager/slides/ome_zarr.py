"""Read OME-Zarr folders (versions 0.4 and 0.5, also those of bioformats2raw) with zarr.

The metadata in the folder selects the codecs that decode an array, and some codecs of zarr run code. The metadata of
every array is therefore read first, as plain JSON, and only codecs on a list are accepted.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from follicle_stager.errors import SlideError, UserError
from follicle_stager.files import is_remote, read_json, read_text
from follicle_stager.pixel_size import PixelSize
from follicle_stager.slides import ome, stated_mpp
from follicle_stager.slides.rgb import check_pixels, to_rgb8, white_level
from follicle_stager.slides.slide import Level, Origin, Slide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.config import SlidesConfig

# Accepted codecs: they are used for images and only unpack bytes.
_CODECS = {
    *("bytes", "endian", "transpose", "sharding_indexed", "crc32", "crc32c", "delta", "shuffle"),
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
}
_DTYPES = {"|b1", "|u1", "<u1", ">u1", "<u2", ">u2", "bool", "uint8", "uint16"}
# Largest relative difference in width (µm) between resolutions of one image.
_SAME_VIEW = 0.05


def open_ome_zarr(path: Path, limits: SlidesConfig) -> Slide:
    """Open an OME-Zarr image folder.

    Parameters
    ----------
    path
        The folder.
    limits
        Limits on the amount of data that is decoded at once.

    Raises
    ------
    SlideError
        If the folder holds no multiscale image, an image that is not two-dimensional, several images that may be
        sections, or anything other than plain pixels.
    """
    try:
        return _opened(path, limits)
    except (SlideError, OSError, MemoryError):
        raise
    except Exception as error:  # the errors of zarr vary with its version and the damage
        said = str(error).removeprefix(f"{path}: ")
        raise SlideError(f"{path}: this folder is not a readable OME-Zarr image ({said}); export it again.") from error


def _opened(path: Path, limits: SlidesConfig) -> Slide:
    _check_files(path)
    folder, why, beside = _image_folder(path)
    attributes = _attributes(folder)
    multiscale = attributes["multiscales"][0]
    if len(attributes["multiscales"]) > 1:
        raise SlideError(
            f"{path}: the folder holds {len(attributes['multiscales'])} images that may each be a section; export each "
            "as a separate file."
        )
    places = [_inside(folder, str(dataset["path"])) for dataset in multiscale["datasets"]]
    for place in places:
        _check_array(path, place, limits.max_decoded_mb)
    arrays = [_array(place) for place in places]
    given = multiscale.get("axes", "tczyx"[-arrays[0].ndim :])
    axes = [(str(a["name"]) if isinstance(a, dict) else str(a)).lower() for a in given]
    shape = dict(zip(axes, arrays[0].shape, strict=True))
    deep = {name: n for name, n in shape.items() if name not in "cyx" and n > 1}
    if deep or not {"y", "x"} <= shape.keys():
        raise SlideError(f"{path}: the image is a stack ({shape}); export one plane as 8-bit RGB.")
    channels = shape.get("c", 1)
    check_pixels(path, np.dtype(arrays[0].dtype), channels)
    order = ome.rgb_order(_channels(attributes)) if channels == 3 else None
    if channels != 1 and order is None:
        raise SlideError(
            f"{path}: the {channels} channels are not red, green and blue. Is it a fluorescence image? "
            "Export the brightfield image as 8-bit RGB."
        )
    full_scale = 255
    if arrays[0].dtype == np.uint16:
        full_scale = white_level(_window(arrays[-1], axes, None, 0, 2048, 0, 2048))
    levels: list[Level] = []
    mpp, scaled = _scales(multiscale, axes), _has_scale(multiscale)
    for i, array in enumerate(arrays):
        sizes = dict(zip(axes, array.shape, strict=True))
        if array.dtype != arrays[0].dtype:
            raise SlideError(f"{path}: its resolutions have different pixel types; export it again.")
        if levels and scaled and abs(sizes["x"] * mpp[i] / (shape["x"] * mpp[0]) - 1) > _SAME_VIEW:
            continue  # another field of view
        read = functools.partial(_read_rgb, array, axes, order, full_scale)
        chunk = dict(zip(axes, array.chunks, strict=True))
        levels.append(Level(sizes["x"], sizes["y"], read, (chunk["y"], chunk["x"])))
    levels.sort(key=lambda level: -level.width)
    notes = () if is_remote(path) else _missing(path, arrays[0])  # a store may not be listed
    origin = Origin("zarr, as OME-Zarr", why, tuple(beside))
    return Slide(path, levels, _pixel_size(multiscale, axes), notes=notes, origin=origin)


def _missing(path: Path, array: Any) -> tuple[str, ...]:
    """A note about parts of an image that are not stored; zarr fills them with one value, often black."""
    stored, wanted = array.nchunks_initialized, array.nchunks
    if not stored:
        raise SlideError(f"{path}: the folder describes an image, but holds no pixels of it; copy or export it again.")
    if stored == wanted:
        return ()
    return (f"{wanted - stored} of {wanted} parts of the image are not stored: was the folder copied completely?",)


def _check_files(path: Path) -> None:
    """Refuse a folder that holds anything other than files and folders; reading a pipe would never end."""
    if is_remote(path):
        return
    if not path.is_dir():
        raise SlideError(f"{path}: an OME-Zarr is a folder, but this is a file; unpack it first.")
    for file in path.rglob("*"):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise SlideError(f"{file}: this is not a regular file, but a link, pipe, socket or device; delete it.")


def _attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group or array in zarr 2 or 3."""
    if (folder / "zarr.json").is_file():
        attributes = read_json(folder / "zarr.json").get("attributes", {})
    elif (folder / ".zattrs").is_file():
        attributes = read_json(folder / ".zattrs")
    else:
        attributes = {}
    own = attributes.get("ome", attributes)
    if not isinstance(own, dict):
        raise ValueError("its attributes are not named values")
    return own


def _image_folder(path: Path) -> tuple[Path, str, list[str]]:
    """The folder of the scan, the reason for this choice, and the other images, in words.

    bioformats2raw writes each image of a file to a separate group 0, 1 and so on, including label and macro.
    """
    attributes = _attributes(path)
    if "plate" in attributes:
        raise SlideError(f"{path}: this is a plate of many wells; export the image of one section.")
    if "multiscales" in attributes:
        return path, "the multiscale image of the folder", []
    listed = _attributes(path / "OME").get("series") if (path / "OME").is_dir() else None
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    numbered = [p.name for p in path.iterdir() if p.is_dir() and p.name.isdecimal() and p.name not in names]
    names += sorted(numbered, key=int)
    images = [(_inside(path, name), name) for name in names]
    images = [(folder, name) for folder, name in images if "multiscales" in _attributes(folder)]
    if not images:
        raise ValueError("no multiscale image in it")
    called = _names(path, len(images))
    mpps = [_mpp_of(folder) for folder, _ in images]
    finest = min((mpp for mpp in mpps if mpp is not None), default=None)
    scans: list[tuple[Path, str]] = []
    beside: list[tuple[Path, str]] = []
    for (folder, name), own, mpp in zip(images, called, mpps, strict=True):
        other = ome.is_beside(own) or ome.is_overview(mpp, finest)
        (beside if other else scans).append((folder, f"image {name} {own}".strip()))
    if not scans:
        scans, beside = beside[:1], beside[1:]
    if len(scans) > 1:
        listed_names = ", ".join(name for _, name in scans[:6])
        raise SlideError(
            f"{path}: the folder holds {len(scans)} images that may each be a section: {listed_names}. Only one could "
            "be searched, and the others would be lost: export each as a separate file."
        )
    return scans[0][0], f"{scans[0][1]}, in the layout of bioformats2raw", [name for _, name in beside]


def _names(path: Path, count: int) -> list[str]:
    """Names of the images in ``OME/METADATA.ome.xml``; empty names if it is missing or does not match."""
    file = path / "OME" / "METADATA.ome.xml"
    if file.is_file():
        try:
            names = [image.name for image in ome.read_ome(read_text(file))]
        except (ValueError, UserError):
            names = []
        if len(names) == count:
            return names
    return [""] * count


def _mpp_of(folder: Path) -> float | None:
    multiscale = _attributes(folder)["multiscales"][0]
    axes = [str(a["name"]) if isinstance(a, dict) else str(a) for a in multiscale.get("axes", "tczyx")]
    units = {a["name"]: a.get("unit") for a in multiscale.get("axes", []) if isinstance(a, dict)}
    um = stated_mpp.um_per_unit(units.get("x"))
    return _scales(multiscale, axes)[0] * um if um is not None and _has_scale(multiscale) else None


def _inside(folder: Path, name: str) -> Path:
    """The path of a folder inside another one; a path that leads outside is refused."""
    place = folder / name
    if is_remote(folder):
        if "://" in name or name.startswith("/") or ".." in name.split("/"):
            raise SlideError(f"{folder}: its metadata names {name!r}, which lies outside the slide. Export it again.")
        return place
    if not place.resolve().is_relative_to(folder.resolve()) or place.resolve() == folder.resolve():
        raise SlideError(
            f"{folder}: its metadata names {name!r}, which lies outside the slide's folder. Export the slide again."
        )
    return place


def _check_array(path: Path, place: Path, max_decoded_mb: float) -> None:
    """Refuse an array that is not plain pixels, before zarr opens it."""
    if (place / "zarr.json").is_file():
        metadata = read_json(place / "zarr.json")
        kind, codecs = metadata["data_type"], _named_codecs(metadata["codecs"])
        shards = [c["configuration"] for c in metadata["codecs"] if c["name"] == "sharding_indexed"]
        # The chunks of a shard are decoded one by one.
        chunk = (shards or [metadata["chunk_grid"]["configuration"]])[0]["chunk_shape"]
        width = 2 if kind == "uint16" else 1
    else:
        metadata = read_json(place / ".zarray")
        kind, chunk = metadata["dtype"], metadata["chunks"]
        codecs = [c["id"] for c in (metadata.get("compressor"), *(metadata.get("filters") or [])) if c is not None]
        width = 2 if str(kind).endswith("2") else 1
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise SlideError(f"{path}: {place.name} holds {kind}; a brightfield slide has 8- or 16-bit pixels.")
    unknown = [str(codec) for codec in codecs if not isinstance(codec, str) or codec not in _CODECS]
    if unknown:
        raise SlideError(
            f"{path}: {place.name} is packed with {unknown[0]!r} and is not opened, because this codec may run code. "
            "Export it with blosc, zstd or gzip."
        )
    size_mb = math.prod(int(n) for n in chunk) * width / 1e6
    files = () if is_remote(place) else place.rglob("*")
    packed = max((file.stat().st_size for file in files if file.is_file()), default=0) / 1e6
    if packed > 2 * size_mb + 0.1 and "sharding_indexed" not in codecs:
        raise SlideError(
            f"{path}: a chunk of {place.name} is larger packed than unpacked and is not opened; export it again."
        )
    if size_mb > max_decoded_mb:
        raise SlideError(
            f"{path}: a chunk of {place.name} has {size_mb:,.0f} MB (limit: {max_decoded_mb:g} MB); export it with "
            "smaller chunks, or increase slides.max_decoded_mb in a --config file."
        )


def _array(place: Path) -> Any:
    """Open an array for reading."""
    import zarr  # it takes longer to import than all other formats together

    if not is_remote(place):
        return zarr.open_array(place, mode="r")
    return zarr.open_array(zarr.storage.FsspecStore.from_url(str(place), read_only=True), mode="r")


def _named_codecs(codecs: Sequence[Any]) -> list[Any]:
    """Names of the codecs of a zarr 3 array, including those within shards."""
    names: list[Any] = []
    for codec in codecs:
        name = codec if isinstance(codec, str) else codec["name"]
        names.append(name.removeprefix("numcodecs.") if isinstance(name, str) else name)
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        for part in ("codecs", "index_codecs"):
            if isinstance(inner, dict) and part in inner:
                names += _named_codecs(inner[part])
    return names


def _channels(attributes: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Name and colour of each channel, as in `ome.rgb_order`."""
    listed = (attributes.get("omero") or {}).get("channels") or []
    channels = []
    for channel in listed:
        color = channel.get("color")
        channels.append((str(channel.get("label", "")), int(str(color).lstrip("#"), 16) if color else None))
    return channels if len(channels) == 3 else [("", None)] * 3


def _read_rgb(
    array: Any,
    axes: list[str],
    order: tuple[int, int, int] | None,
    full_scale: int,
    y0: int,
    y1: int,
    x0: int,
    x1: int,
) -> NDArray[np.uint8]:
    return to_rgb8(_window(array, axes, order, y0, y1, x0, x1), full_scale=full_scale)


def _window(
    array: Any, axes: list[str], order: tuple[int, int, int] | None, y0: int, y1: int, x0: int, x1: int
) -> NDArray[np.generic]:
    index = tuple({"y": slice(y0, y1), "x": slice(x0, x1), "c": slice(None)}.get(a, 0) for a in axes)
    kept = [a for a in axes if a in "cyx"]
    pixels = np.asarray(array[index]).transpose([kept.index(a) for a in "yxc" if a in kept])
    return pixels[..., list(order)] if order is not None else pixels


def _has_scale(multiscale: dict[str, Any]) -> bool:
    owners = (multiscale["datasets"][0], multiscale)
    return any(t.get("type") == "scale" for owner in owners for t in owner.get("coordinateTransformations") or [])


def _scales(multiscale: dict[str, Any], axes: list[str], axis: str = "x") -> list[float]:
    """Pixel size of each resolution along an axis, in the unit of the file; 1 if the file has none."""
    sizes = []
    for dataset in multiscale["datasets"]:
        factor = 1.0
        for owner in (dataset, multiscale):
            for transform in owner.get("coordinateTransformations") or []:
                if transform.get("type") == "scale":
                    factor *= stated_mpp.number(transform["scale"][axes.index(axis)])
        sizes.append(factor)
    return sizes


def _pixel_size(multiscale: dict[str, Any], axes: list[str]) -> PixelSize | None:
    units = {a["name"]: a.get("unit") for a in multiscale.get("axes", []) if isinstance(a, dict)}
    unit_x, unit_y = stated_mpp.um_per_unit(units.get("x")), stated_mpp.um_per_unit(units.get("y"))
    if not _has_scale(multiscale) or unit_x is None or unit_y is None:
        return None
    sizes = [_scales(multiscale, axes, axis)[0] for axis in "xy"]
    return PixelSize.checked(sizes[0] * unit_x, sizes[1] * unit_y, "OME-Zarr scale")
