"""What this installation can read and run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from rich.markup import escape
from rich.table import Table

import follicle_stager
from follicle_stager.config import DetectionConfig
from follicle_stager.detection import choose_detector
from follicle_stager.detection.network import model
from follicle_stager.slides import open_slide

_PARTS = {
    "tifffile": ("TIFF, OME-TIFF, svs, ndpi", None),
    "imagecodecs": ("compressed TIFF", None),
    "zarr": ("OME-Zarr", None),
    "pillow": ("PNG, JPEG", None),
    "numba": ("virtual ovaries", None),
    "onnxruntime": ("network detection", None),
    "openslide-python": ("mrxs, DICOM, bif, czi", "wsi"),
    "napari": ("correction on screen", "napari"),
    "distributed": ("cluster", "cluster"),
    "torch": ("training", "train"),
}


def report() -> Table:
    """A table of versions, optional parts and the machine."""
    table = Table(title=f"follicle-stager {follicle_stager.__version__}", show_header=True)
    table.add_column("part")
    table.add_column("version")
    table.add_column("for")
    table.add_row("python", platform.python_version(), platform.platform())
    for name, (purpose, extra) in _PARTS.items():
        version = _version(name)
        if version is None and extra:
            version = escape(f'not installed; pip install "follicle-stager[{extra}]"')
        table.add_row(name, version or "missing: reinstall follicle-stager", purpose)
    table.add_row("detector", choose_detector(DetectionConfig()), "the default here; classical needs no weights")
    for scale in model.describe().scales if model.can_run() else ():
        said = f"follicles of {scale.smallest_um:g}-{scale.largest_um:g} µm at {scale.mpp:g} µm/px"
        table.add_row(f"weights {scale.file}", f"sha256 {scale.sha256[:12]}", said)
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    table.add_row("machine", f"{os.cpu_count()} processors", f"{free_gb:.0f} GB free on this disk")
    return table


def describe_slide(path: Path) -> Table:
    """How a slide is read: what opens it, which picture of the file is searched, at what scale, and why.

    Raises
    ------
    SlideError
        If it cannot be read.
    """
    table = Table(title=escape(path.name), show_header=False)
    table.add_column("what")
    table.add_column("value")
    with open_slide(path) as slide:
        sizes = [f"{level.width} x {level.height}" for level in slide.levels]
        size = slide.stated_pixel_size
        scale = "unknown: give --mpp, or a column mpp in the sample sheet"
        if size is not None:
            scale = f"{size.mpp_x:.4g} x {size.mpp_y:.4g} µm, from {size.source}"
        for name, value in (
            ("read with", slide.origin.backend),
            ("picture", slide.origin.why),
            ("resolutions, px", ", ".join(sizes)),
            ("size of a pixel", scale),
            ("not searched", ", ".join(slide.origin.beside) or "nothing"),
            ("notes", "; ".join(slide.notes) or "none"),
        ):
            table.add_row(name, escape(value))
    return table


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
