"""Readers for napari: slides, follicles, studies, and an example slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from follicle_stager import examples
from follicle_stager.annotations import read_geojson
from follicle_stager.errors import UserError
from follicle_stager.slides import is_slide, open_slide
from follicle_stager.study import Study
from follicle_stager_napari.layers import follicle_layer, slide_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.pixel_size import PixelSize
    from follicle_stager_napari.layers import LayerData

    Reader = Callable[[Any], list[LayerData]]


def reader(path: str | list[str]) -> Reader | None:
    """Reader for whatever a path is: follicles, a study, or a slide; None for anything else."""
    return follicle_reader(path) or study_reader(path) or slide_reader(path)


def slide_reader(path: str | list[str]) -> Reader | None:
    """Reader for slides; None if the file cannot be read, so that napari tries other readers."""
    first = Path(path[0] if isinstance(path, list) else path)
    if not is_slide(first):
        return None
    try:
        open_slide(first).close()
    except UserError:
        return None
    return lambda p: [slide_layer(open_slide(one)) for one in (p if isinstance(p, list) else [p])]


def follicle_reader(path: str | list[str]) -> Reader | None:
    """Reader for follicles.geojson; inside a study, the layer gets the µm/px of the slide."""
    first = Path(path[0] if isinstance(path, list) else path)
    if first.suffix.lower() != ".geojson":
        return None
    return lambda p: [_follicles(Path(one)) for one in (p if isinstance(p, list) else [p])]


def study_reader(path: str | list[str]) -> Reader | None:
    """Reader for ``study/slides/<slide>``: the slide and its follicles; for a study folder, its first slide."""
    folder = Path(path[0] if isinstance(path, list) else path)
    if (folder / "study.toml").is_file():
        folder = next((folder / "slides" / slide for slide in Study(folder).slide_ids()), folder)
    if not (folder / "run.json").is_file():
        return None
    return lambda p: _study_slide(folder)


def example_layers() -> list[LayerData]:
    """An example slide with its true follicles."""
    folder = examples.folder()
    source = sorted(folder.glob("*.tif"))[0]
    slide = open_slide(source)
    truth = read_geojson(folder / "truth" / f"{source.stem.removesuffix('.ome')}.geojson")
    return [slide_layer(slide), follicle_layer(truth, slide.stated_pixel_size, name="truth")]


def _study_slide(folder: Path) -> list[LayerData]:
    study = Study(folder.parent.parent)
    layers = [follicle_layer(study.follicles(folder.name), _pixel_size(folder))]
    if study.source(folder.name).exists():
        layers.insert(0, slide_layer(study.open_slide(folder.name)))
    return layers


def _follicles(path: Path) -> LayerData:
    return follicle_layer(read_geojson(path), _pixel_size(path.parent), name=path.stem)


def _pixel_size(folder: Path) -> PixelSize | None:
    study = Study(folder.parent.parent)
    return study.run(folder.name).pixel_size if study.has_run(folder.name) else None
