"""Whole trainings: a network with its calibration, and the shipped one on slides that a person corrected."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely import contains_xy

from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.batch import run_batch
from follicle_stager.config import Config
from follicle_stager.detection.network import layout, model
from follicle_stager.errors import UserError
from follicle_stager.slides import open_slide
from follicle_stager.study import Study, list_slides
from follicle_stager.training import (
    FINE_TUNE,
    MOUSE_OVARY,
    Recipe,
    fine_tune,
    load_recipe,
    loop,
    network,
    train_network,
)
from follicle_stager.training.calibration import EVIDENCE
from follicle_stager.training.corrected import _Opened, corrected_patches, corrected_slides, held_out


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    """A finished study, nothing corrected."""
    study = Study.create(tmp_path_factory.mktemp("study") / "study", Config())
    run_batch(study, list_slides(cohort), Config())
    shutil.copy(cohort / "samples.csv", study.samples_path)
    return study


@pytest.fixture(scope="module")
def corrected(study, cohort, tmp_path_factory):
    """The same study after a person who knows the truth drew it into every slide."""
    path = tmp_path_factory.mktemp("corrected") / "study"
    shutil.copytree(study.path, path)
    done = Study.open(path)
    for slide in done.slide_ids():
        truth = read_geojson(cohort / "truth" / f"{slide}.geojson")
        write_geojson(done.slide_folder(slide) / "follicles.geojson", truth)
    return done


def recipe(corrected_study, **given):
    start = str(model.SHIPPED / "growing.onnx")
    own = load_recipe(FINE_TUNE, workers=1, **given)
    scale = own.scales[0].model_copy(update={"study": str(corrected_study.path), "start": start})
    return own, scale


def test_nothing_corrected_is_said(study):
    with pytest.raises(UserError, match="corrected slides of 0 animals"):
        corrected_slides(study)


def test_a_slide_without_follicles_counts_once_a_person_judged_it_whole(study, tmp_path):
    """The hardest background: nothing was claimed on it, so there is nothing to correct."""
    path = tmp_path / "study"
    shutil.copytree(study.path, path)
    judged = Study.open(path)
    slides = judged.slide_ids()
    for slide in slides:
        with judged.review(slide, author="Ada") as session:
            if slide == slides[-1]:
                session.delete([f.id for f in session.follicles])
            session.judge_whole([session.sections[0].section_id])
    assert [s.slide_id for s in corrected_slides(judged)] == slides
    _, settings = recipe(judged)
    stream = corrected_patches(settings, 0)
    slide = _Opened.of(judged, corrected_slides(judged)[0])
    whole = slide.slide.pixel_size.to_um(judged.sections(slides[0])[0].outline)
    rng = np.random.default_rng(0)
    centres = np.array([slide.place(rng, 100.0) + 50.0 for _ in range(60)])
    near = whole.buffer(100.0)  # patches lie around follicles, which are in the section
    assert contains_xy(near, *centres.T).all()
    for section, ignored in zip(judged.sections(slides[0])[:2], (0, 1), strict=True):
        x, y = slide.slide.pixel_size.to_um(section.outline).representative_point().coords[0]
        assert slide.unjudged(int(x) - 5, int(y) - 5, 1.0, 5, 2).mean() == ignored, "what was not judged is ignored"
    assert next(stream)[0].shape == (settings.patch_px, settings.patch_px, 3)


def test_small_fields_are_surveyed_as_in_their_study(cohort, tmp_path):
    """With the study's own limits: the default ones find no section in them."""
    config = Config.model_validate({"tissue": {"min_section_mm2": 0.002}})
    fields = tmp_path / "fields"
    fields.mkdir()
    for number, source in enumerate(list_slides(cohort)[:2]):
        with open_slide(source.path) as slide:
            side = 200
            rgb = slide.read_region(slide.width // 2 - side // 2, slide.height // 2 - side // 2, side, side, 0)
        tifffile.imwrite(fields / f"field{number}.tif", rgb, photometric="rgb")
    study = Study.create(tmp_path / "study", config)
    run_batch(study, list_slides(fields), config, mpp=1.0)
    for slide in study.slide_ids():
        with study.review(slide, author="Ada") as session:
            session.judge_whole([s.section_id for s in session.sections])
    assert len(corrected_slides(study)) == 2
    _, settings = recipe(study)
    assert next(corrected_patches(settings, 0))[0].shape[2] == 3


def test_patches_hold_the_persons_outlines(corrected):
    _, settings = recipe(corrected)
    stream = corrected_patches(settings, 0)
    follicles, classes = 0, set()
    for _ in range(12):
        picture, white, target = next(stream)
        assert (white > 200).all()
        assert picture.shape == (settings.patch_px, settings.patch_px, 3)
        follicles += target.follicle.any()
        classes |= set(np.unique(target.classes))
        # Where a follicle can be recognised the tissue is a follicle's.
        inside = np.kron(target.follicle == 1, np.ones((2, 2), bool))
        assert np.isin(target.classes[inside], (layout.OUTSIDE, layout.OTHER)).sum() <= 0.2 * inside.sum()
    assert follicles > 5
    assert {layout.OOCYTE, layout.GRANULOSA, layout.OTHER} <= classes
    again, *_ = next(corrected_patches(settings, 0))
    np.testing.assert_array_equal(again, next(corrected_patches(settings, 0))[0])


def test_before_and_after_are_of_animals_that_training_did_not_see(corrected, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_VALIDATION_SHARDS", 1)
    own, _ = recipe(corrected, steps=3, checkpoint_steps=3, patch_px=64, reuse=1)
    own = own.model_copy(update={"scales": own.scales[:1]})
    slides = corrected_slides(corrected)
    held_back = held_out(slides, own.scales[0].data_seed)
    assert 0 < len(held_back) < len({s.animal for s in slides})
    network, table = fine_tune(corrected, own, tmp_path / "run", patches=tmp_path / "patches")
    assert model.describe(network).scales[0].sha256 != model.describe().scales[0].sha256
    assert {"figure", "before", "after"} == set(table.columns)
    # A few small steps change little.
    recall = table.set_index("figure").loc["recall"]
    assert recall["after"] == pytest.approx(recall["before"], abs=0.3)
    assert (tmp_path / "run" / "before_after.csv").is_file()


def test_a_whole_network_is_trained_calibrated_and_loaded(tmp_path, monkeypatch):
    """From the shipped weights, two steps; on two calibration slides."""
    small = {"models": {"HE": "H&E"}, "mode": "faithful", "mpp": 1.0, "ovary": "small", "faults": [0.0]}
    monkeypatch.setattr(network, "_CALIBRATION", network._CALIBRATION | small)
    monkeypatch.setattr(loop, "_VALIDATION_SHARDS", 1)
    scale = (
        load_recipe(MOUSE_OVARY, workers=1)
        .scales[0]
        .model_copy(
            update={
                "start": str(model.SHIPPED / "growing.onnx"),
                "steps": 2,
                "reuse": 1,
                "patch_px": 64,
                "learning_rate": 1e-5,
            }
        )
    )
    recipe = Recipe(name="small", scales=(scale,), calibration_animals=2)
    folder = train_network(recipe, tmp_path / "run", patches=tmp_path / "patches")
    (described,) = model.describe(folder).scales
    assert set(described.weights) == set(EVIDENCE)
    assert described.familiar_to is None  # few sections tell nothing
    model.Network(folder, described)
    table = pd.read_csv(tmp_path / "run" / "reliability.csv")
    assert table["claims"].sum() >= 10
    assert (table["true"] * table["claims"]).sum() >= 5
    assert (tmp_path / "run" / "reliability.png").exists()
    before = (folder / "growing.onnx").read_bytes()
    train_network(recipe, tmp_path / "run", patches=tmp_path / "patches")
    assert (folder / "growing.onnx").read_bytes() == before
