"""Describe what this installation can read and run, and how a slide is read."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from follicle_stager.config import Config
from follicle_stager.detection import DETECTORS, choose_detector
from follicle_stager.detection.network import engines, model
from follicle_stager.errors import how_to_install
from follicle_stager.machine import processors
from follicle_stager.slides import FORMATS, open_slide

# Packages with other purposes than reading slides: purpose, and the extra that installs them.
_OTHERS = {
    "imagecodecs": ("compressed TIFF", ""),
    "numba": ("virtual ovaries", ""),
    "onnxruntime": ("network detection", ""),
    "openvino": ("faster network detection on processors of Intel", "openvino"),
    "napari": ("correction on screen", "napari"),
    "torch": ("training", "train"),
}


@dataclass(frozen=True)
class Part:
    """A part of the installation: its name, its version or how to install it, and its purpose."""

    name: str
    version: str
    purpose: str


def parts() -> list[Part]:
    """List the parts of this installation: packages, detector, weights and machine."""
    readers: dict[str, tuple[str, str]] = {}
    for known in FORMATS:
        names, _ = readers.get(known.library, ("", ""))
        readers[known.library] = (f"{names}, {known.name}" if names else known.name, known.extra)
    found = [Part("python", platform.python_version(), platform.platform())]
    for name, (purpose, extra) in (readers | _OTHERS).items():
        missing = f"not installed: {how_to_install(extra)}" if extra else "missing: reinstall follicle-stager"
        found.append(Part(name, _version(name) or missing, purpose))
    there = [name for name, detector in DETECTORS.items() if detector.can_run()]
    found.append(Part("detector", choose_detector(Config()).name, f"the default here; can run: {', '.join(there)}"))
    if engines.can_run():
        engine = engines.choose_engine("auto")
        here = ", ".join(name for name, other in engines.ENGINES.items() if other.can_run())
        found.append(Part("engine", f"{engine.name}, {engine.precision()}", f"runs the network here; can run: {here}"))
    for scale in model.describe().scales if engines.can_run() else ():
        said = f"follicles of {scale.smallest_um:g}-{scale.largest_um:g} µm at {scale.mpp:g} µm/px"
        found.append(Part(f"weights {scale.file}", f"sha256 {scale.sha256[:12]}", said))
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    found.append(Part("machine", f"{processors()} processors", f"{free_gb:.0f} GB free on this disk"))
    return found


def describe_slide(path: Path) -> dict[str, str]:
    """Describe how a slide is read: the library, the image of the file that is searched, its pixel size, and why.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    """
    with open_slide(path) as slide:
        size = slide.stated_pixel_size
        stated = "unknown: give --mpp, or a column mpp in the sample sheet"
        if size is not None:
            stated = f"{size.mpp_x:.4g} x {size.mpp_y:.4g} µm, from {size.source}"
        return {
            "read with": slide.origin.backend,
            "picture": slide.origin.why,
            "resolutions, px": ", ".join(f"{level.width} x {level.height}" for level in slide.levels),
            "size of a pixel": stated,
            "not searched": ", ".join(slide.origin.beside) or "nothing",
            "notes": "; ".join(slide.notes) or "none",
        }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
