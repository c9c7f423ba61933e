"""Annotations survive the round trip, and what QuPath and people write is read."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import roifile
from follicles import make_follicle
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon, box

from follicle_stager.annotations import read_geojson, read_sections, write_geojson, write_rois, write_sections
from follicle_stager.errors import UserError
from follicle_stager.records import Section, follicle_id
from follicle_stager.stages import TABLE_ROWS, Countable, Health, Stage, Status

text = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters=";"), min_size=1, max_size=20)


@st.composite
def follicles(draw):
    outline = Point(draw(st.floats(0, 1e5)), draw(st.floats(0, 1e5))).buffer(draw(st.floats(5, 300)))
    centre = outline.centroid
    with_parts = draw(st.booleans())
    return make_follicle(
        follicle_id("s", outline),
        draw(text),
        outline,
        oocyte=centre.buffer(4) if with_parts else None,
        nucleus=centre.buffer(2) if with_parts else None,
        fluid=tuple(centre.buffer(r) for r in draw(st.lists(st.floats(1, 4), max_size=3))),
        score=draw(st.floats(0, 1)),
        measurements={"diameter_um": draw(st.floats(1, 500)), "layers": float("nan")},
        stage_predicted=draw(st.sampled_from(TABLE_ROWS)),
        probabilities={s: draw(st.floats(0, 1)) for s in draw(st.sets(st.sampled_from(TABLE_ROWS)))},
        reasons=tuple(r.strip() for r in draw(st.lists(text, max_size=3)) if r.strip()),
        stage=draw(st.sampled_from(list(Stage))),
        health=draw(st.sampled_from(list(Health))),
        countable=draw(st.sampled_from(list(Countable))),
        status=draw(st.sampled_from(list(Status))),
    )


@settings(max_examples=60)
@given(st.lists(follicles(), max_size=4, unique_by=lambda f: f.id))
def test_round_trip(written):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.geojson"
        write_geojson(path, written)
        back = read_geojson(path)
    assert [f.id for f in back] == [f.id for f in written]
    for a, b in zip(written, back, strict=True):
        for name in ("section_id", "stage", "stage_predicted", "health", "countable", "status", "reasons"):
            assert getattr(a, name) == getattr(b, name), name
        assert a.outline.symmetric_difference(b.outline).area < 0.01 * a.outline.area + 1
        assert (a.oocyte is None) == (b.oocyte is None)
        assert (a.nucleus is None) == (b.nucleus is None)
        assert len(a.fluid) == len(b.fluid)
        assert b.score == pytest.approx(a.score, abs=1e-4)
        assert b.probabilities == pytest.approx(a.probabilities, abs=1e-4)
        assert dict(b.measurements.items()) == pytest.approx(dict(a.measurements.items()), abs=1e-4, nan_ok=True)


def test_what_qupath_needs(tmp_path):
    """Each class has name and colour, rings are closed, ids are UUIDs, and there is no NaN."""
    outline = box(0, 0, 10, 10)
    follicle = make_follicle(follicle_id("s", outline), "s", outline, measurements={"a": float("nan"), "b": 1.0})
    write_geojson(tmp_path / "f.geojson", [follicle])
    (feature,) = json.loads((tmp_path / "f.geojson").read_text())["features"]
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert len(feature["properties"]["classification"]["color"]) == 3
    assert feature["properties"]["measurements"] == {"Score": 1.0, "b": 1.0}
    assert len(feature["id"]) == 36


SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}


@pytest.mark.parametrize(
    ("data", "stages"),
    [
        ([{"type": "Feature", "geometry": SQUARE, "properties": {}}], [Stage.UNSURE]),
        (
            {
                "type": "Feature",
                "geometry": SQUARE,
                "properties": {"classification": {"names": ["Antral", "x"]}},
            },
            ["antral"],
        ),
        (
            [
                {
                    "type": "Feature",
                    "geometry": SQUARE,
                    "properties": {"classification": {"name": "early antral"}},
                }
            ],
            ["early_antral"],
        ),
        (
            [{"type": "Feature", "geometry": SQUARE, "properties": {"classification": {"name": "Tumor"}}}],
            ["unsure"],
        ),
        ([{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": None}], []),
        (
            [
                {
                    "type": "Feature",
                    "geometry": {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]},
                    "properties": {"measurements": [{"name": "Area", "value": 3.0}]},
                }
            ],
            ["unsure"],
        ),
        (
            [
                {
                    "type": "Feature",
                    "geometry": SQUARE,
                    "properties": {"childObjects": [{"type": "Feature", "geometry": SQUARE, "properties": {}}]},
                }
            ],
            ["unsure", "unsure"],
        ),
    ],
)
def test_what_people_write_is_read(tmp_path, data, stages):
    path = tmp_path / "f.geojson"
    path.write_text(json.dumps(data))
    assert [f.stage for f in read_geojson(path)] == stages


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1, 2]", '{"features": 3}', '[{"type": "Feature", "geometry": {"type": "Polygon"}}]'],
)
def test_no_geojson_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.geojson"
    path.write_text(content)
    with pytest.raises(UserError, match=r"bad\.geojson"):
        read_geojson(path)


def ring(*corners):
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ({"geometry": ring([0, 0], [9, float("nan")], [9, 9])}, "feature 2 has a coordinate that is not a number"),
        ({"geometry": ring([0, 0], [9, 9], [18, 18])}, "outline of feature 2 encloses nothing"),
        ({"geometry": ring([0, 0], [9, 0])}, "outline of feature 2 encloses nothing"),
        ({"geometry": ring([0, 0])}, "geometry of feature 2 cannot be read"),
        ({"geometry": "square"}, "geometry of feature 2 cannot be read"),
        ({"geometry": SQUARE, "properties": [1]}, "feature 2 cannot be read"),
        ({"geometry": SQUARE, "properties": {"metadata": {"status": "gone"}}}, "feature 2 cannot be read"),
        ({"geometry": SQUARE, "properties": {"measurements": [3]}}, "feature 2 cannot be read"),
        (
            {"geometry": SQUARE, "properties": {"classification": "Oocyte", "metadata": {"follicle": [1]}}},
            "feature 2 cannot be read",
        ),
    ],
)
def test_a_broken_feature_is_named(tmp_path, feature, reason):
    path = tmp_path / "broken.geojson"
    path.write_text(json.dumps([{"type": "Feature", "geometry": SQUARE}, {"type": "Feature", **feature}]))
    with pytest.raises(UserError, match=reason):
        read_geojson(path)


def test_what_would_take_minutes_or_is_no_number_is_refused_at_once(tmp_path):
    path = tmp_path / "large.geojson"
    corners = [[i % 1000, i // 1000] for i in range(300_000)]
    path.write_text(json.dumps([{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]}}]))
    with pytest.raises(UserError, match="feature 1 has 30000. corners"):
        read_geojson(path)
    path.write_text("9" * 10_000)
    with pytest.raises(UserError, match="not a list of GeoJSON features"):
        read_geojson(path)
    for value in ("9" * 400, "1e999", "NaN"):
        path.write_text(json.dumps([{"type": "Feature", "geometry": SQUARE}]).replace("9", value, 1))
        with pytest.raises(UserError, match="a coordinate that is not a number"):
            read_geojson(path)


@pytest.mark.parametrize(
    "deep", ["[" * 200_000, '{"features": ' * 100_000, '[{"geometry": {"coordinates": ' + "[" * 10**6]
)
def test_deep_nesting_is_refused(tmp_path, deep):
    (tmp_path / "deep.geojson").write_text(deep)
    with pytest.raises(UserError, match="this is not GeoJSON"):
        read_geojson(tmp_path / "deep.geojson")


def test_a_family_of_features_is_read_to_its_end(tmp_path):
    """QuPath nests what lies in something; the order of the file stays."""
    feature: dict = {"type": "Feature", "geometry": SQUARE, "properties": {"classification": "Primary"}}
    for name in ("Secondary", "Antral"):
        feature = {
            "type": "Feature",
            "geometry": SQUARE,
            "properties": {"classification": name, "childObjects": [feature, 3]},
        }
    (tmp_path / "f.geojson").write_text(json.dumps([feature]))
    assert [f.stage for f in read_geojson(tmp_path / "f.geojson")] == [Stage.ANTRAL, Stage.SECONDARY, Stage.PRIMARY]


@settings(max_examples=60)
@given(st.lists(follicles(), max_size=4, unique_by=lambda f: f.id))
def test_what_was_read_is_written_as_it_is(written):
    """A second round changes nothing: what stands in memory is what stands in the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.geojson"
        write_geojson(path, written)
        first = path.read_bytes()
        write_geojson(path, read_geojson(path))
        assert path.read_bytes() == first


def test_imagej_opens_what_is_written(tmp_path):
    made = [
        make_follicle(follicle_id("s", outline), "s", outline, stage=stage, status=status)
        for outline, stage, status in (
            (box(1, 2, 30, 40), Stage.PRIMARY, Status.PREDICTED),
            (box(50, 2, 80, 40), Stage.ANTRAL, Status.REJECTED),
            (box(100, 2.25, 130, 40), Stage.ANTRAL, Status.ADDED),
        )
    ]
    write_rois(tmp_path / "rois.zip", made)
    write_rois(tmp_path / "rois.zip", made)  # again: not twice as many
    rois = roifile.roiread(tmp_path / "rois.zip")
    assert [roi.name for roi in rois] == ["0001 Primary", "0003 Antral"]
    for roi, follicle in zip(rois, (made[0], made[2]), strict=True):
        assert Polygon(roi.coordinates()).equals(follicle.outline)


def test_sections_round_trip(tmp_path):
    torn = Section(
        "a_s1", MultiPolygon([box(0, 0, 9, 9), box(20, 0, 25, 5)]), 0.5, 1, included=False, reason="torn", doubt="odd"
    )
    write_sections(tmp_path / "s.geojson", [torn])
    (back,) = read_sections(tmp_path / "s.geojson")
    assert back.outline.equals(torn.outline)
    assert replace(back, outline=torn.outline) == torn


@pytest.mark.parametrize(
    "properties", [{"classification": "Primary"}, {"classification": {"name": "Primary"}, "childObjects": "none"}]
)
def test_odd_but_readable_properties(tmp_path, properties):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    (tmp_path / "a.geojson").write_text(json.dumps([{"type": "Feature", "geometry": square, "properties": properties}]))
    assert [f.stage for f in read_geojson(tmp_path / "a.geojson")] == [Stage.PRIMARY]
