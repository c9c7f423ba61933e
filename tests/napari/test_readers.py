"""napari opens slides, follicles and a study's slide, with the right scale and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from follicle_stager_napari import readers
from follicle_stager_napari.layers import follicle_layer
from follicle_stager_napari.writers import write_outlines
from napari.layers import Shapes

from follicle_stager import examples
from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.config import Config
from follicle_stager.pipeline import process_slide
from follicle_stager.slides import open_slide
from follicle_stager.stages import Stage, Status
from follicle_stager.study import Study


@pytest.fixture(scope="module")
def study_folder(section_path, tmp_path_factory):
    study = Study.create(tmp_path_factory.mktemp("study"), Config())
    with open_slide(section_path) as slide:
        result = process_slide(slide, Config(), slide_id="ovary")
    study.save(result, study.request(section_path, Config()))
    return study.slide_folder("ovary"), result


def test_slide_is_a_lazy_pyramid_with_scale(section_path, section):
    ((levels, options, kind),) = readers.slide_reader(str(section_path))(str(section_path))
    assert kind == "image"
    assert options["rgb"]
    assert options["scale"] == (1.0, 1.0)
    first = levels[0] if isinstance(levels, list) else levels
    assert first.shape == section[1].shape


def test_study_slide_opens_with_its_follicles(study_folder, make_napari_viewer_proxy):
    folder, result = study_folder
    viewer = make_napari_viewer_proxy()
    for data, options, kind in readers.study_reader(str(folder))(str(folder)):
        getattr(viewer, f"add_{kind}")(data, **options)
    image, shapes = viewer.layers
    assert len(shapes.data) == len(result.follicles) > 0
    np.testing.assert_allclose(shapes.scale, image.scale)
    assert list(shapes.features["stage"]) == [f.stage.label for f in result.follicles]
    expected = np.array(result.follicles[0].stage.color) / 255
    np.testing.assert_allclose(shapes.edge_color[0, :3], expected, atol=0.01)


def test_a_file_that_is_no_slide_is_left_to_others(tmp_path):
    (tmp_path / "a.tif").write_text("x")
    assert readers.slide_reader(str(tmp_path / "a.tif")) is None
    assert readers.study_reader(str(tmp_path)) is None
    assert readers.reader(str(tmp_path)) is None


def test_no_follicles_is_an_empty_layer(tmp_path, make_napari_viewer_proxy):
    write_geojson(tmp_path / "f.geojson", [])
    ((data, options, _),) = readers.follicle_reader(str(tmp_path / "f.geojson"))(str(tmp_path / "f.geojson"))
    layer = make_napari_viewer_proxy().add_shapes(data or None, **({} if not data else options))
    assert len(layer.data) == 0


def test_example_opens(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    for data, options, kind in readers.example_layers():
        getattr(viewer, f"add_{kind}")(data, **options)
    assert [layer.name for layer in viewer.layers][1] == "truth"
    assert (examples.folder() / viewer.layers[0].name).is_file()


def test_what_is_saved_is_what_was_drawn(tmp_path, study_folder, make_napari_viewer_proxy):
    """Also a shape that takes over the features of the one before, an ellipse, and a line that is no outline."""
    _, result = study_folder
    data, options, _ = follicle_layer(result.follicles, None)
    layer = make_napari_viewer_proxy().add_shapes(data, **options)
    layer.add_ellipses([np.array([[10, 10], [10, 50], [50, 50], [50, 10]])])
    layer.add_lines([np.array([[0, 0], [5, 5]])])
    (path,) = write_outlines(str(tmp_path / "out.geojson"), *layer.as_layer_data_tuple()[:2])
    *same, drawn = read_geojson(Path(path))
    assert [(f.id, f.stage, f.status) for f in same] == [(f.id, f.stage, f.status) for f in result.follicles]
    assert (drawn.stage, drawn.status) == (Stage.UNSURE, Status.ADDED)
    assert drawn.id not in {f.id for f in same}
    assert drawn.outline.area == pytest.approx(np.pi * 20**2, rel=0.01)


@pytest.mark.parametrize(
    ("given", "corner"),
    [
        ({"translate": (100, 200)}, (210.5, 110.5)),
        ({"scale": (0.5, 0.25), "translate": (50, 50)}, (210.5, 110.5)),
        ({"scale": (2, 1)}, (10.5, 10.5)),
        ({"affine": [[2, 0, 5], [0, 2, 7], [0, 0, 1]]}, (27.5, 25.5)),
        ({"rotate": 90}, (10.5, -29.5)),
    ],
)
def test_outlines_are_written_where_they_are_seen(tmp_path, given, corner):
    """In pixels of the layer's scale, of a layer that was moved, stretched or turned."""
    square = np.array([[10, 10], [10, 30], [30, 30], [30, 10]], float)
    layer = Shapes([square], shape_type="polygon", **given)
    (path,) = write_outlines(str(tmp_path / "a.geojson"), *layer.as_layer_data_tuple()[:2])
    left, top, *_ = read_geojson(Path(path))[0].outline.bounds
    assert (left, top) == pytest.approx(corner)
