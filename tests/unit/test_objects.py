"""What counts as a follicle in files of QuPath and ImageJ, and that nothing is left out in silence."""

from __future__ import annotations

import gzip
import json
import zipfile

import numpy as np
import pytest
from follicles import make_follicle
from hypothesis import given, settings
from hypothesis import strategies as st
from roifile import ROI_TYPE, ImagejRoi, roiwrite
from shapely.geometry import Point, mapping

from follicle_stager.annotations import in_words, read_marks, read_outlines, write_geojson, write_rois
from follicle_stager.errors import UserError
from follicle_stager.slides.stated_mpp import number
from follicle_stager.stages import LADDER, Health, Stage


def circle(x, y=100.0, radius=20.0):
    return mapping(Point(x, y).buffer(radius))


def feature(geometry, label=None, kind="annotation", **properties):
    named = {"classification": label if isinstance(label, dict) else {"name": label}} if label else {}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind, **named, **properties}}


@pytest.fixture
def read(tmp_path):
    def of(features, encoding="utf-8", name="a.geojson"):
        path = tmp_path / name
        path.write_bytes(json.dumps(features, ensure_ascii=False).encode(encoding))
        return read_outlines(path)

    return of


def stages(outlines):
    return [f.stage.value for f in outlines.follicles]


class TestQuPath:
    def test_only_what_a_person_drew_is_a_follicle(self, read):
        outlines = read(
            [
                feature(circle(500, 500, 500), "Ovary"),
                feature(circle(500, 500, 500), "Region 1"),
                *(feature(circle(100 * i, 400), stage.label) for i, stage in enumerate(LADDER, start=1)),
                *[feature(circle(50), "Positive", "detection")] * 30,
                *[feature(circle(50), None, "cell")] * 20,
                feature(circle(50), None, "tile"),
                feature(circle(50), "Ignore*"),
                feature(circle(50), "Follicle: Region*"),
                feature({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}),
                feature({"type": "Point", "coordinates": [0, 0]}, "Primary"),
                feature(circle(900), "Primary", "detection"),
            ]
        )
        assert stages(outlines) == [*(s.value for s in LADDER), "primary"], "and what a classifier gave a stage"
        assert in_words(outlines.left_out) == (
            "cells: 20, class Follicle: Region*: 1, class Ignore*: 1, class Ovary: 1, detections: 30, lines: 1, "
            "outlines around follicles: 1, points: 1, tiles: 1"
        )

    def test_an_outline_without_a_class_is_asked_about(self, read):
        """One around a single other one may be a follicle in which somebody drew the oocyte."""
        assert stages(read([feature(circle(100)), feature(circle(100, radius=8), "Primary")])) == ["unsure", "primary"]

    def test_a_class_of_ones_own_may_hold_outlines(self, read):
        """A follicle in which somebody drew what is in it; one that holds follicles is a region."""
        inside = [feature(circle(90, radius=5)), feature(circle(110, radius=5))]
        assert stages(read([feature(circle(100, radius=40), "Cystic"), *inside])) == ["unsure"] * 3
        staged = [feature(circle(90, radius=5), "Primary"), feature(circle(110, radius=5), "Primary")]
        assert stages(read([feature(circle(100, radius=40), "Left part"), *staged])) == ["primary"] * 2

    @pytest.mark.parametrize("name", ["Tissue", "ovary", "Region", "Ovary: left"])
    def test_the_tissue_by_its_name(self, read, name):
        outlines = read([feature(circle(100), name), feature(circle(300), None, name=name.partition(":")[0])])
        assert not outlines.follicles

    def test_qupath_0_2_wrote_the_kind_as_the_id(self, read):
        features = [feature(circle(100 * n), "Primary") | {"id": "PathAnnotationObject"} for n in (1, 2)]
        features += [feature(circle(400), "Primary") | {"id": f"Path{kind}Object"} for kind in ("Cell", "Tile", "Root")]
        features += [feature(circle(100, radius=5), "Oocyte") | {"id": "PathAnnotationObject"}]
        for one in features:
            del one["properties"]["objectType"]
        outlines = read(features)
        assert stages(outlines) == ["primary"] * 2
        assert [f.oocyte is not None for f in outlines.follicles] == [True, False]
        assert in_words(outlines.left_out) == "cells: 1, roots: 1, tiles: 1"

    @pytest.mark.parametrize("label", ["oocyte", "Follicle: Oocyte", "Primary: Oocyte"])
    def test_parts_by_any_spelling(self, read, tmp_path, label):
        features = [feature(circle(100), "Primary") | {"id": "f1"}, feature(circle(100, radius=5), label)]
        (follicle,) = read(features).follicles
        assert follicle.oocyte is not None
        write_geojson(tmp_path / "b.geojson", [follicle])  # an id that is no UUID
        assert read_outlines(tmp_path / "b.geojson").follicles[0].oocyte is not None
        assert len(read_marks(tmp_path / "a.geojson", mpp=1).annotations) == 1

    @pytest.mark.parametrize(
        ("label", "stage", "health"),
        [
            ({"name": "Follicle: Primary"}, "primary", Health.UNKNOWN),
            ({"names": ["Follicle", "Secondary"]}, "secondary", Health.UNKNOWN),
            ({"name": "Antral: Atretic"}, "antral", Health.ATRETIC),
            ({"name": "Primordial follicles"}, "primordial", Health.UNKNOWN),
            ("Early antral", "early_antral", Health.UNKNOWN),
            ("Stroma", "unsure", Health.UNKNOWN),
        ],
    )
    def test_classes(self, read, label, stage, health):
        (follicle,) = read([feature(circle(100), label)]).follicles
        assert (follicle.stage.value, follicle.health) == (stage, health)

    def test_a_name_is_the_class_where_there_is_none(self, read, tmp_path):
        features = [feature(circle(100), None, name="Antral"), feature(circle(300), "Primary", name="Antral")]
        assert stages(read(features)) == ["antral", "primary"]
        assert [a.label for a in read_marks(tmp_path / "a.geojson", mpp=0.5).annotations] == ["Antral", "Primary"]

    def test_merged_outlines_are_several_follicles(self, read):
        several = {"type": "MultiPolygon", "coordinates": [circle(x)["coordinates"] for x in (100, 200, 300)]}
        nested = {"type": "GeometryCollection", "geometries": [several, circle(400)]}
        outlines = read([feature(nested, "Primary"), feature(circle(900), "Secondary")])
        assert stages(outlines) == ["primary"] * 4 + ["secondary"]
        assert len({f.id for f in outlines.follicles}) == 5

    def test_each_point_is_a_mark(self, read, tmp_path):
        points = {"type": "MultiPoint", "coordinates": [[10, 20], [30, 40]]}
        outlines = read([feature(points, "Primary"), feature({"type": "Point", "coordinates": [5, 6]}, "Antral")])
        assert not outlines.follicles
        marks = read_marks(tmp_path / "a.geojson", mpp=0.5).annotations
        assert [(m.x_um, m.y_um, m.label) for m in marks] == [
            (5, 10, "Primary"),
            (15, 20, "Primary"),
            (2.5, 3, "Antral"),
        ]

    def test_own_parts_come_back_without_metadata(self, tmp_path):
        """Another program may keep classes and drop what only this software writes."""
        follicles = [
            make_follicle(
                f"00000000-0000-0000-0000-00000000000{n}",
                "s",
                Point(100 * n, 50).buffer(30),
                oocyte=Point(100 * n, 50).buffer(9),
                nucleus=Point(100 * n, 50).buffer(4),
                fluid=(Point(100 * n + 18, 50).buffer(5), Point(100 * n - 18, 50).buffer(5)),
                stage=Stage.ANTRAL,
            )
            for n in (1, 2, 3)
        ]
        path = tmp_path / "a.geojson"
        write_geojson(path, follicles)
        data = json.loads(path.read_text())
        for own in data["features"]:
            del own["properties"]["metadata"]
        data["features"].append(feature(circle(900), "Oocyte"))
        path.write_text(json.dumps(data))
        back = read_outlines(path)
        assert stages(back) == ["antral"] * 3
        for was, own in zip(follicles, back.follicles, strict=True):
            assert own.oocyte.equals_exact(was.oocyte, 0.02)
            assert own.nucleus is not None
            assert len(own.fluid) == 2
        assert in_words(back.left_out) == "parts of no follicle: 1"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
    def test_encodings(self, read, encoding):
        outlines = read([feature(circle(100), "Primary", name="Größe µm")], encoding)
        assert stages(outlines) == ["primary"]

    def test_gzip(self, tmp_path):
        path = tmp_path / "a.geojson.gz"
        path.write_bytes(gzip.compress(json.dumps([feature(circle(100), "Primary")]).encode()))
        assert stages(read_outlines(path)) == ["primary"]
        assert len(read_marks(path, mpp=1).annotations) == 1
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(UserError, match=r"a\.geojson\.gz.*damaged"):
            read_outlines(path)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"properties": [1]},
            {"properties": {"metadata": [1]}},
            {"properties": {"metadata": {"reasons": [1], "stage": "primary"}}},
            {"properties": {"measurements": 3}},
            {"properties": {"classification": {"names": 5}}},
            {"geometry": {"type": "Polygon"}},
            {"geometry": {"type": "Circle", "coordinates": [1]}},
            {"geometry": {"type": "Polygon", "coordinates": "abc"}},
            {"geometry": [1]},
        ],
    )
    def test_what_cannot_be_read_names_the_feature(self, read, wrong):
        with pytest.raises(UserError, match="feature 2"):
            read([feature(circle(100), "Primary"), feature(circle(300)) | wrong])


class TestImageJ:
    @settings(max_examples=25)
    @given(
        st.lists(
            st.tuples(st.sampled_from(LADDER), st.integers(0, 30_000), st.integers(0, 30_000), st.integers(3, 400)),
            min_size=1,
            max_size=8,
        )
    )
    def test_what_was_written_comes_back(self, tmp_path_factory, wanted):
        path = tmp_path_factory.mktemp("rois") / "RoiSet.zip"
        follicles = [
            make_follicle(str(n), "", Point(x, y).buffer(radius), stage=stage)
            for n, (stage, x, y, radius) in enumerate(wanted)
        ]
        write_rois(path, follicles)
        back = read_outlines(path)
        assert not back.left_out
        assert [f.stage for f in back.follicles] == [f.stage for f in follicles]
        for was, own in zip(follicles, back.follicles, strict=True):
            assert own.outline.symmetric_difference(was.outline).area < 0.01 * was.outline.area

    def test_other_shapes(self, tmp_path):
        def roi(kind, name, corners=None, **box):
            made = ImagejRoi.frompoints(np.array(corners or [[0, 0], [9, 0], [9, 9]], float), name=name)
            made.roitype = kind
            for side, value in box.items():
                setattr(made, side, value)
            return made

        box = {"left": 10, "top": 20, "right": 110, "bottom": 60}
        rois = [
            roi(ROI_TYPE.OVAL, "0001-Primary", **box),
            roi(ROI_TYPE.RECT, "Secondary-2", **box),
            roi(ROI_TYPE.FREEHAND, "0345-0123"),
            roi(ROI_TYPE.FREELINE, "Antral"),
            roi(ROI_TYPE.POINT, "Antral", [[3, 4], [5, 6]]),
        ]
        path = tmp_path / "RoiSet.zip"
        roiwrite(path, rois, name=[f"{n}.roi" for n in range(len(rois))])
        outlines = read_outlines(path)
        assert stages(outlines) == ["primary", "secondary", "unsure"]
        oval, rectangle, _ = (f.outline for f in outlines.follicles)
        assert oval.area == pytest.approx(np.pi * 50 * 20, rel=0.01)
        assert rectangle.bounds == (10, 20, 110, 60)
        assert in_words(outlines.left_out) == "lines: 1, points: 2"
        marks = read_marks(path, mpp=0.5).annotations
        assert [(m.x_um, m.y_um, m.label) for m in marks][-2:] == [(1.5, 2, "Antral"), (2.5, 3, "Antral")]

    def test_names_of_rois(self, tmp_path):
        """In the ROI, else of its file; what macOS adds is no ROI."""
        names = {"0001-0002.roi": "Primary", "Secondary.roi": "", "c.roi": "F0003 Antral (2)", "d.roi": "EarlyAntral.1"}
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            for n, (file, name) in enumerate(names.items()):
                corners = np.array([[0, 0], [9, 0], [9, 9]]) + 20 * n
                roi = ImagejRoi.frompoints(corners)
                roi.name = name
                packed.writestr(file, roi.tobytes())
                packed.writestr(f"__MACOSX/._{file}", b"24 bytes of something else")
        assert stages(read_outlines(tmp_path / "a.zip")) == ["primary", "secondary", "antral", "early_antral"]

    def test_a_zip_without_rois(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.writestr("a.geojson", "[]")
        with pytest.raises(UserError, match="there is no ROI in it"):
            read_outlines(tmp_path / "a.zip")

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"Iout"])
    def test_damaged(self, tmp_path, content):
        for name in ("a.zip", "a.roi"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=f"{name}.*not readable ImageJ ROIs"):
                read_outlines(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize(("separator", "x"), [("\t", "12,5"), (";", "12,5"), (",", "12.5"), (",", '"12,5"')])
def test_measurement_tables_of_any_country(tmp_path, encoding, separator, x):
    lines = [["Class", "Centroid X µm", "Centroid Y µm"], ["Primary", x, "3"], ["Antral", "NaN", "NaN"]]
    (tmp_path / "a.txt").write_bytes("\r\n".join(separator.join(line) for line in lines).encode(encoding))
    (mark,) = read_marks(tmp_path / "a.txt").annotations
    assert (mark.x_um, mark.y_um, mark.label) == (12.5, 3, "Primary")


class TestTables:
    @pytest.mark.parametrize(
        ("header", "at"),
        [
            ("Centroid X µm\tCentroid Y µm", (1, 900)),
            ("Centroid X mm\tCentroid Y mm", (1000, 900_000)),
            ("Centroid X px\tCentroid Y px", (0.5, 450)),
            ("Nucleus: Centroid X µm\tNucleus: Centroid Y µm", (1, 900)),
        ],
    )
    def test_positions_in_their_unit(self, tmp_path, header, at):
        (tmp_path / "a.txt").write_text(f"Class\t{header}\nPrimary\t1\t900\n", encoding="utf-8")
        (mark,) = read_marks(tmp_path / "a.txt", mpp=0.5).annotations
        assert (mark.x_um, mark.y_um) == at

    def test_a_position_without_a_unit_is_asked_for(self, tmp_path):
        (tmp_path / "a.txt").write_text("Class\tCentroid X\tCentroid Y\nPrimary\t100\t900\n")
        with pytest.raises(UserError, match="does not say in which unit"):
            read_marks(tmp_path / "a.txt", mpp=0.5)

    def test_rows_are_told_apart_as_objects_are(self, tmp_path):
        rows = [
            "Annotation\tx\tPrimary\tPolygon\t\t1\t1",
            "Annotation\tSecondary\t\tPolygon\t\t2\t2",
            "Annotation\t\tAntral\tPoints\t1\t3\t3",
            "Annotation\t\tAntral\tPoints\t25\t3\t3",
            "Annotation\t\tOocyte\tPolygon\t\t4\t4",
            "Annotation\t\tIgnore*\tPolygon\t\t4\t4",
            "Annotation\t\tAntral\tPolygon\t\tNaN\tNaN",
            "PathCellObject\t\tPrimary\tPolygon\t\t5\t5",
            "Tile\t\t\tPolygon\t\t5\t5",
            "Detection\t\tPositive\tPolygon\t\t5\t5",
        ]
        header = "Object type\tName\tClassification\tROI\tNum points\tCentroid X µm\tCentroid Y µm"
        (tmp_path / "a.txt").write_text("\n".join([header, *rows]), encoding="utf-8")
        marks = read_marks(tmp_path / "a.txt")
        assert [m.label for m in marks.annotations] == ["Primary", "Secondary", "Antral"]
        assert sum(marks.left_out.values()) == 7
        assert "objects of several points" in in_words(marks.left_out)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.234,5", 1234.5), ("1,234.5", 1234.5), ("1 234,5", 1234.5), ("1\u00a0234,5", 1234.5), ("\u22122,5", -2.5)],
)
def test_numbers_of_any_country(text, value):
    assert number(text) == value
