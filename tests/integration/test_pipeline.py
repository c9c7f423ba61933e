"""The whole way on a synthetic section: what must be found, and what must not change the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage as ndi
from shapely import box

import follicle_stager.pipeline as pipeline
from follicle_stager.config import Config
from follicle_stager.detection import passes, visible_stages
from follicle_stager.detection.network import model
from follicle_stager.errors import SlideError
from follicle_stager.evaluation import match_outlines
from follicle_stager.pipeline import Examiner, process_slide
from follicle_stager.pixel_size import PixelSize
from follicle_stager.slides import open_slide
from follicle_stager.stages import LADDER, Stage


@pytest.fixture(scope="module", params=["classical", "network"])
def config(request):
    return Config().with_options(detection={"detector": request.param})


@pytest.fixture(scope="module")
def result(section_path, config):
    with open_slide(section_path) as slide:
        return process_slide(slide, config, slide_id="ovary")


def test_follicles_with_an_oocyte_or_a_cavity_are_found(result, section):
    """On this clean section nearly all, with the right stage, and little else."""
    visible = [t for t in section[0] if t.oocyte is not None or t.stage == Stage.ANTRAL]
    matches = match_outlines([f.outline for f in result.follicles], [t.outline for t in visible], min_iou=0.5)
    assert len(visible) >= 5
    assert len(matches) >= 0.8 * len(visible)
    assert len(result.follicles) - len(matches) <= 2
    right = sum(result.follicles[m.found].stage == visible[m.true].stage for m in matches)
    assert right >= 0.8 * len(matches)


def test_sizes_agree_with_what_was_drawn(result, section):
    truth = section[0]
    for m in match_outlines([f.outline for f in result.follicles], [t.outline for t in truth], min_iou=0.5):
        drawn = 2 * np.sqrt(truth[m.true].outline.area / np.pi)
        assert result.follicles[m.found].measurements.diameter_um == pytest.approx(drawn, rel=0.25)


def test_the_same_slide_gives_the_same_result(result, section_path, config):
    with open_slide(section_path) as slide:
        again = process_slide(slide, config, slide_id="ovary")
    assert repr(again.follicles) == repr(result.follicles)  # NaN is not equal to itself


def test_tiles_do_not_change_the_result(result, section_path, config, monkeypatch):
    """Windows of another size cut follicles elsewhere; each comes out the same."""
    monkeypatch.setattr(pipeline, "passes", lambda c, mpp: [replace(look, core_um=230.0) for look in passes(c, mpp)])
    for name in ("_TILE_PX", "_TILE_OF_LUTEA_PX"):
        monkeypatch.setattr(model, name, 256)
    with open_slide(section_path) as slide:
        tiled = process_slide(slide, config, slide_id="ovary")
    matches = match_outlines([f.outline for f in tiled.follicles], [f.outline for f in result.follicles], min_iou=0.9)
    assert len(matches) == len(tiled.follicles) == len(result.follicles)
    assert all(tiled.follicles[m.found].stage == result.follicles[m.true].stage for m in matches)


def test_anisotropic_pixels_are_the_same_tissue(result, section, config, tmp_path):
    """Every second row left out and µm/px doubled in y: the follicles stay where they are, in µm."""
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(section[1][::2]), photometric="rgb")
    with open_slide(tmp_path / "a.tif") as slide:
        slide.stated_pixel_size = PixelSize(1.0, 2.0, "test")
        squeezed = process_slide(slide, config, slide_id="a")
    from shapely.affinity import scale

    stretched = [scale(f.outline, 1, 2, origin=(0, 0)) for f in squeezed.follicles]
    matches = match_outlines(stretched, [f.outline for f in result.follicles], min_iou=0.5)
    assert len(matches) >= 0.6 * len(result.follicles)


def test_a_good_section_is_not_doubtful(result, config):
    assert not result.sections[0].doubt
    # The classical detector cannot tell, which is not the same as familiar.
    assert ("strangeness" in result.quality) == (config.detection.detector == "network")


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("blurred", lambda picture: ndi.gaussian_filter(picture, (5, 5, 0)), "differs from all sections"),
        ("enlarged", lambda picture: picture.repeat(3, axis=0).repeat(3, axis=1), "nuclei"),
    ],
)
def test_a_section_that_is_blurred_or_of_another_scale_is_doubtful(name, spoil, said, section, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", spoil(section[1]), photometric="rgb")
    with open_slide(tmp_path / "a.tif", mpp=1.0) as slide:
        seen = process_slide(slide, Config(), slide_id=name)
    assert (seen.quality["strangeness"] > 1) == (name == "blurred")
    assert any(s.doubt for s in seen.sections)
    assert any(said in flag for flag in seen.flags)


def test_everything_lies_inside_its_follicle(result):
    assert result.follicles
    for f in result.follicles:
        around = f.outline.buffer(4)
        for part in (f.oocyte, f.nucleus, *f.fluid):
            assert part is None or around.contains(part)
        assert f.section_id == "ovary_s1"
        assert f.reasons
        assert sum(f.probabilities.values()) == pytest.approx(1)


def test_progress_is_told_and_can_stop_the_work(section_path):
    steps = []

    def stop(step, done, total):
        steps.append(step)
        if step == "measuring":
            raise KeyboardInterrupt

    with open_slide(section_path) as slide, pytest.raises(KeyboardInterrupt):
        process_slide(slide, Config(), slide_id="ovary", progress=stop)
    assert {"tissue", "detection", "measuring"} <= set(steps)


def test_nothing_is_measured_without_a_scale(section, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", section[1], photometric="rgb")
    with open_slide(tmp_path / "a.tif") as slide, pytest.raises(SlideError, match="--mpp"):
        process_slide(slide, Config(), slide_id="a")


def test_primordials_are_available_only_where_they_are_looked_for():
    searching = Config().with_options(detection={"detector": "classical"}, classical={"min_oocyte_um": 12})
    assert visible_stages(searching, 0.5) == LADDER
    assert Stage.PRIMORDIAL not in visible_stages(searching, 1.0)
    assert Stage.PRIMORDIAL not in visible_stages(Config().with_options(detection={"detector": "classical"}), 0.5)


class TestExaminer:
    """A person points at a follicle, or draws one, and gets what the whole slide would have given."""

    @pytest.fixture
    def examiner(self, section_path, config):
        with open_slide(section_path) as slide:
            yield Examiner(slide, config, slide_id="ovary")

    def test_a_click_proposes_the_follicle_that_is_there(self, examiner, result):
        for one in result.follicles:
            # The classical detector may propose a larger one that it would not have claimed.
            at = (one.oocyte or one.outline).representative_point()
            proposal = examiner.proposed(at.x, at.y)
            assert proposal.outline.contains(at)
            assert proposal.score >= one.score
            if proposal.score == one.score:
                assert proposal.id == one.id
                assert proposal.stage == one.stage

    def test_a_click_on_glass_proposes_nothing(self, examiner):
        assert examiner.proposed(1.0, 1.0) is None

    def test_a_part_holds_what_the_whole_holds_there(self, examiner, result):
        x0, y0, x1, y1 = examiner.sections[0].outline.bounds
        half = box(x0, y0, (x0 + x1) / 2, y1)
        # At the edge a claim outside may have won over one inside.
        expected = {f.id for f in result.follicles if half.buffer(-60).contains(f.outline)}
        found = {f.id for f in examiner.within(half)}
        assert expected
        assert expected <= found
        assert all(half.contains(f.outline.centroid) for f in examiner.within(half))

    def test_a_drawn_outline_is_measured_as_it_is(self, examiner, result):
        one = max(result.follicles, key=lambda f: f.outline.area)
        drawn = one.outline.buffer(1.0)
        measured = examiner.measured(drawn)
        assert (measured.section_id, measured.outline) == (one.section_id, drawn)
        assert measured.measurements.diameter_um == pytest.approx(one.measurements.diameter_um + 2, abs=0.5)
        assert measured.reasons
        assert measured.oocyte is None or drawn.buffer(0.01).contains(measured.oocyte)

    def test_off_the_tissue_nothing_is_measured(self, examiner, result):
        assert examiner.measured(box(0, 0, 5, 5)) is None
