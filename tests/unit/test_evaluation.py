"""The yardstick against independent ones: COCO's own code, scikit-learn, and figures worked out by hand."""

from __future__ import annotations

import contextlib
import io
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from follicles import changed, make_follicle
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Point, box
from sklearn.metrics import cohen_kappa_score

from follicle_stager.annotations import Annotation, read_annotations, write_geojson, write_sections
from follicle_stager.config import Config
from follicle_stager.errors import UserError
from follicle_stager.evaluation import (
    Criterion,
    SlidePair,
    agreement,
    cohen_kappa,
    evaluate,
    load_pairs,
    match_outlines,
    match_points,
    weighted_kappa,
)
from follicle_stager.evaluation.precision import average_precision, match_claims
from follicle_stager.evaluation.scores import boundary_distance
from follicle_stager.phantom import write_cohort
from follicle_stager.records import Follicle, Section
from follicle_stager.stages import LADDER, Countable, Stage
from follicle_stager.study import Study

PAIR = Path(__file__).parents[3] / "shared" / "annotator_pair"


def follicle(x: float, y: float, stage: Stage, *, r: float = 20, section: str = "section 1", **more) -> Follicle:
    return make_follicle(
        str(uuid.uuid5(uuid.NAMESPACE_OID, f"{x} {y}")),
        section,
        Point(x, y).buffer(r),
        oocyte=Point(x, y).buffer(r / 2),
        stage=stage,
        stage_predicted=stage,
        **more,
    )


class TestMatching:
    def test_as_many_pairs_as_possible(self):
        """Nearest first would pair 0 with 1 and leave 9 and -8 alone."""
        matches = match_points([(0, 0), (9, 0)], [(1, 0), (-8, 0)], max_distance=10)
        assert {(m.found, m.true) for m in matches} == {(0, 1), (1, 0)}

    @given(
        points=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=12),
        others=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=12),
    )
    def test_number_of_pairs_is_that_of_an_independent_matching(self, points, others):
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_bipartite_matching
        from scipy.spatial.distance import cdist

        near = cdist(points, others) <= 15
        largest = (maximum_bipartite_matching(csr_array(near), perm_type="column") >= 0).sum()
        matches = match_points(points, others, max_distance=15)
        assert len(matches) == largest
        assert len({m.found for m in matches}) == len({m.true for m in matches}) == len(matches)
        assert all(m.value <= 15 for m in matches)

    def test_nothing_to_match(self):
        assert match_points([], [(0, 0)], max_distance=1) == []
        assert match_outlines([], [box(0, 0, 1, 1)]) == []


class TestAveragePrecision:
    @settings(max_examples=25)
    @given(seed=st.integers(0, 2**32))
    def test_it_is_what_coco_says(self, seed):
        """Random boxes on five pictures, some true ones ignored, against pycocotools at the same IoU."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        rng = np.random.default_rng(seed)
        images, annotations, results = [], [], []
        scores, verdicts, n_true = [], [], 0
        for image in range(1, 6):
            images.append({"id": image, "width": 400, "height": 400})
            true = rng.uniform(0, 300, (rng.integers(0, 7), 2))
            sizes = rng.uniform(20, 60, (len(true), 2))
            ignored = rng.random(len(true)) < 0.25
            near = true[rng.random(len(true)) < 0.8]
            found = np.concatenate([near + rng.normal(0, 12, near.shape), rng.uniform(0, 300, (rng.integers(0, 4), 2))])
            widths = rng.uniform(20, 60, (len(found), 2))
            values = rng.random(len(found))
            for corner, size, off in zip(true, sizes, ignored, strict=True):
                # COCO ignores by area; the area that it is told here says only that.
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [*corner, *size],
                        "area": 1.0 if off else 1000.0,
                    }
                )
            for corner, size, value in zip(found, widths, values, strict=True):
                results.append({"image_id": image, "category_id": 1, "bbox": [*corner, *size], "score": value})
            shapes = [
                [box(x, y, x + w, y + h) for (x, y), (w, h) in zip(a, b, strict=True)]
                for a, b in ((found, widths), (true, sizes))
            ]
            from follicle_stager.matching import overlaps

            verdicts.append(match_claims(overlaps(*shapes), values, ignored, min_iou=0.25))
            scores.append(values)
            n_true += int((~ignored).sum())
        ours = average_precision(np.concatenate(scores), np.concatenate(verdicts), n_true)
        if not results:
            assert np.isnan(ours) or ours == 0
            return
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}], "info": {}}
            coco.createIndex()
            run = COCOeval(coco, coco.loadRes(results), "bbox")
            run.params.iouThrs = np.array([0.25])
            # From 2 up: the ignored ones have area 1. All claims are larger.
            run.params.areaRng, run.params.areaRngLbl = [[2, 1e9]], ["all"]
            run.params.maxDets = [1000]
            run.evaluate()
            run.accumulate()
        theirs = run.eval["precision"][0, :, 0, 0, 0].mean()
        assert (np.isnan(ours) and theirs == -1) or ours == pytest.approx(theirs, abs=1e-9)

    def test_by_hand(self):
        # Hit, miss, hit of two: precision 1 up to recall 0.5 (51 points), then 2/3 (50 points).
        assert average_precision([0.9, 0.8, 0.7], np.array([1, 0, 1]), 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
        assert np.isnan(average_precision([0.5], np.array([0]), 0))


class TestKappa:
    @given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60))
    def test_both_are_what_scikit_learn_says(self, pairs):
        a, b = zip(*pairs, strict=True)
        if len({*a, *b}) == 1:
            assert np.isnan(cohen_kappa([*map(str, a)], [*map(str, b)]))
            return
        assert cohen_kappa([*map(str, a)], [*map(str, b)]) == pytest.approx(cohen_kappa_score(a, b))
        theirs = cohen_kappa_score(a, b, labels=range(5), weights="quadratic")
        assert weighted_kappa(a, b, 5) == pytest.approx(theirs)


class TestBoundary:
    def test_two_circles(self):
        small, large = Point(0, 0).buffer(10, 64), Point(0, 0).buffer(13, 64)
        assert boundary_distance(small, large) == pytest.approx(3, abs=0.02)
        assert boundary_distance(small, small) == pytest.approx(0, abs=1e-9)


TRUE = [
    follicle(50, 50, Stage.PRIMARY, countable=Countable.YES),
    follicle(150, 50, Stage.SECONDARY, countable=Countable.YES),
    follicle(250, 50, Stage.SECONDARY),
    follicle(50, 150, Stage.ANTRAL),
    follicle(150, 150, Stage.EARLY_ANTRAL, section="section 2"),
    follicle(250, 150, Stage.SECONDARY, section="section 2", measurements={"Recognisable": 0.0}),
]
CAP = 5


def figures(found, **pair) -> dict[str, float]:
    result = evaluate([SlidePair("a", "A", found, TRUE, 0.5, **pair)])
    return dict(zip(result.summary["figure"], result.summary["value"], strict=True))


class TestEvaluation:
    def test_the_truth_is_perfect(self):
        values = figures(TRUE[:CAP])
        ones = ("precision", "recall", "f1", "mean_ap", "right_stage", "kappa", "weighted_kappa", "dice", "oocyte_dice")
        assert [values[n] for n in ones] == pytest.approx([1] * len(ones))
        assert values["secondary_antral_confusion"] == 0
        assert values["boundary_um"] == pytest.approx(0, abs=1e-6)

    def test_one_missed_one_false_one_wrong_stage(self):
        wrong = changed(TRUE[3], stage=Stage.SECONDARY)
        found = [TRUE[0], TRUE[1], wrong, TRUE[4], follicle(400, 400, Stage.PRIMARY)]
        values = figures(found)
        assert values["precision"] == values["recall"] == pytest.approx(4 / 5)
        assert values["right_stage"] == pytest.approx(3 / 4)
        # Of a secondary, an antral and an early antral one that were found, one antral was called secondary.
        assert values["secondary_antral_confusion"] == pytest.approx(1 / 3)
        assert values["antral_called_secondary"] == pytest.approx(1 / 2)
        assert values["secondary_called_antral"] == 0
        assert values["recall_nucleus_seen"] == 1

    def test_what_nobody_can_recognise_is_neutral(self):
        """Claimed or not, a cap changes no figure; the table says how many were claimed."""
        with_cap, without = figures(TRUE), figures(TRUE[:CAP])
        assert with_cap == pytest.approx(without, nan_ok=True)
        kinds = evaluate([SlidePair("a", "A", TRUE, TRUE)]).kinds
        assert list(kinds.iloc[-1][["true", "found"]]) == [1, 1]

    def test_corpora_lutea_are_scored_apart(self):
        body = follicle(300, 300, Stage.CORPUS_LUTEUM)
        away = changed(body, outline=translate(body.outline, 500, 0))
        values = figures(TRUE, lutea_found=[body, away], lutea_true=[body])
        assert (values["corpus_luteum_precision"], values["corpus_luteum_recall"]) == (0.5, 1.0)
        assert values["f1"] == figures(TRUE)["f1"]

    def test_shifted_outlines(self):
        shifted = [changed(t, outline=translate(t.outline, 4, 0)) for t in TRUE[:CAP]]
        values = figures(shifted)
        assert values["recall"] == 1
        # Mean distance of two circles of radius r shifted by d << r is d·2/π; 4 px are 2 µm.
        assert values["boundary_um"] == pytest.approx(2 * 2 / np.pi, rel=0.05)
        far = [changed(t, outline=translate(t.outline, 25, 0)) for t in TRUE[:CAP]]
        assert figures(far)["recall"] == 0
        assert figures(far, criterion=Criterion(distance_um=13))["recall"] == 1
        assert figures(far, criterion=Criterion(distance_um=12))["recall"] == 0

    def test_counts_are_per_section(self):
        found = [*TRUE[:CAP], follicle(200, 170, Stage.EARLY_ANTRAL)]
        counts = evaluate([SlidePair("a", "A", found, TRUE)]).counts.set_index("stage")
        early = counts.loc["early_antral"]
        assert (early["sections"], early["true_per_section"], early["found_per_section"]) == (2, 0.5, 1.0)
        assert (early["bias"], early["mean_absolute_error"]) == (1.0, 0.5)

    def test_a_stage_that_cannot_be_seen_has_no_count(self):
        visible = frozenset(LADDER) - {Stage.PRIMARY}
        counts = evaluate([SlidePair("a", "A", [], TRUE, visible=visible)]).counts.set_index("stage")
        assert np.isnan(counts.loc["primary", "found_per_section"])
        assert counts.loc["secondary", "found_per_section"] == 0

    def test_a_slide_without_follicles_counts_what_is_claimed_there(self):
        pairs = [SlidePair("x", "A", [follicle(9, 9, Stage.PRIMARY)], []), SlidePair("y", "B", TRUE[:1], TRUE[:1])]
        primary = evaluate(pairs).counts.set_index("stage").loc["primary"]
        assert (primary["sections"], primary["found_per_section"], primary["bias"]) == (2, 1.0, 1.0)

    def test_who_claims_a_cap_has_found_nothing_else(self):
        cap = changed(TRUE[CAP], outline=translate(TRUE[0].outline, 60, 0))
        pair = SlidePair("a", "A", [cap], [TRUE[0], cap], 1.0, criterion=Criterion(distance_um=70))
        values = dict(zip(*(evaluate([pair]).summary[c] for c in ("figure", "value")), strict=True))
        assert values["recall"] == 0
        assert np.isnan(values["precision"])

    def test_confusion_accounts_for_all(self):
        found = [TRUE[0], changed(TRUE[1], stage=Stage.UNSURE), follicle(400, 400, Stage.PRIMARY)]
        table = evaluate([SlidePair("a", "A", found, TRUE)]).confusion.set_index("true")
        assert table.loc["secondary", "unsure"] == 1
        assert table.loc["secondary", "missed"] == 1
        assert table.loc["(false)", "primary"] == 1
        assert table.drop(index="(false)").to_numpy().sum() == 5

    def test_intervals_are_over_animals(self):
        """Slides of one animal are no independent ones: ten equal slides of it tell no more than one."""
        good, bad = TRUE[:CAP], TRUE[:2]
        pairs = [SlidePair(f"a{i}", "A", good, TRUE) for i in range(10)]
        pairs += [SlidePair("b", "B", bad, TRUE), SlidePair("c", "C", good, TRUE)]
        summary = evaluate(pairs, resamples=300).summary.set_index("figure")
        assert summary.loc["recall", "low"] < 0.6
        assert summary.loc["recall", "high"] == 1
        alone = evaluate(pairs[:10]).summary.set_index("figure")
        assert np.isnan(alone.loc["recall", "low"])

    def test_nothing_found_and_nothing_true(self):
        values = figures([])
        assert values["recall"] == 0
        assert np.isnan(values["precision"])
        for table in evaluate([SlidePair("a", "A", [], [])]).tables().values():
            assert len(table.columns)


class TestFiles:
    def test_a_study_and_a_cohort_belong_together_by_name(self, cohort, tmp_path):
        for path in (cohort / "truth").glob("*.geojson"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        pairs = load_pairs(tmp_path, cohort, criterion=Criterion(), mpp=1.0)
        assert {p.animal for p in pairs} == {"Igfals-WT-1", "Igfals-WT-2", "Igfals-KO-1", "Igfals-KO-2"}
        values = evaluate(pairs, resamples=20).summary.set_index("figure")["value"]
        assert values["f1"] == values["mean_ap"] == 1
        (tmp_path / "Igfals_WT_1.geojson").unlink()
        with pytest.raises(UserError, match="no result for 1 of 4 slides of the truth: Igfals_WT_1"):
            load_pairs(tmp_path, cohort, criterion=Criterion())

    def test_the_truth_of_another_cohort_is_refused(self, cohort, plan, tmp_path):
        """Its slides are called the same; the study knows where its own are from."""
        study = Study.create(tmp_path / "study", Config())
        for path in sorted((cohort / "truth").glob("*.geojson")):
            study.slide_folder(path.stem).mkdir(parents=True)
            source = str(cohort / f"{path.stem}.ome.tif")
            info = {"source": source, "mpp_x": 1, "mpp_y": 1, "visible_stages": ["primary"]}
            (study.slide_folder(path.stem) / "run.json").write_text(json.dumps(info))
            (study.slide_folder(path.stem) / "follicles.geojson").write_bytes(path.read_bytes())
            whole = Section("s1", MultiPolygon([box(0, 0, 1e5, 1e5)]), 1.0, 1)
            write_sections(study.slide_folder(path.stem) / "sections.geojson", [whole])
        assert len(load_pairs(study.path, cohort, criterion=Criterion())) == 4
        write_cohort(tmp_path / "other", plan.model_copy(update={"seed": 6, "mpp": 4.0}))
        with pytest.raises(UserError, match="is another cohort"):
            load_pairs(study.path, tmp_path / "other", criterion=Criterion())
        with pytest.raises(UserError, match="leave --mpp out"):
            load_pairs(study.path, cohort, criterion=Criterion(), mpp=1.0)

    @pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf")])
    def test_impossible_scales(self, tmp_path, mpp):
        write_geojson(tmp_path / "a.geojson", TRUE)
        with pytest.raises(UserError, match="more than 0"):
            load_pairs(tmp_path / "a.geojson", tmp_path / "a.geojson", criterion=Criterion(), mpp=mpp)
        with pytest.raises(UserError, match="more than 0"):
            read_annotations(tmp_path / "a.geojson", mpp=mpp)

    def test_one_file_may_have_any_name(self, tmp_path):
        for folder, name in (("a", "slide7"), ("b", "mine")):
            write_geojson(tmp_path / folder / f"{name}.geojson", TRUE)
        found, mine = tmp_path / "a" / "slide7.geojson", tmp_path / "b" / "mine.geojson"
        assert len(load_pairs(found, mine, criterion=Criterion())) == 1
        with pytest.raises(UserError, match="belong together by name"):
            load_pairs(tmp_path / "a", tmp_path / "b", criterion=Criterion())

    def test_distance_needs_a_scale(self, tmp_path):
        write_geojson(tmp_path / "a.geojson", TRUE)
        with pytest.raises(UserError, match="--mpp"):
            load_pairs(tmp_path / "a.geojson", tmp_path / "a.geojson", criterion=Criterion(distance_um=10))

    def test_what_is_no_follicle_is_left_out(self, tmp_path):
        write_geojson(tmp_path / "a.geojson", [*TRUE, follicle(9, 9, Stage.CORPUS_LUTEUM)])
        (pair,) = load_pairs(tmp_path / "a.geojson", tmp_path / "a.geojson", criterion=Criterion())
        assert len(pair.true) == len(TRUE)


class TestAgreement:
    def test_real_annotators(self):
        """The published pair: F1 0.912, 84 % same class, kappa 0.578 with as many pairs as possible."""
        if not PAIR.is_dir():
            pytest.skip("the annotators' tables are not on this machine")
        a, b = (read_annotations(PAIR / f"{name}_measurements.txt") for name in ("mazooz", "yding98"))
        result = agreement(a, b)
        assert result.detection_f1 == pytest.approx(0.912, abs=0.01)
        assert result.same_class == pytest.approx(0.84, abs=0.01)
        assert result.kappa == pytest.approx(0.578, abs=0.01)

    def test_by_hand(self):
        a = [Annotation(0, 0, "Primary"), Annotation(100, 0, "Primary"), Annotation(200, 0, "Antral")]
        b = [Annotation(5, 0, "Primary"), Annotation(100, 30, "Secondary"), Annotation(400, 0, "Odd")]
        result = agreement(a, b)
        assert (result.n_matched, result.detection_f1, result.same_class) == (2, pytest.approx(4 / 6), 0.5)
        assert result.confusion.loc["Antral", "(only A)"] == 1
        assert result.confusion.loc["(only B)", "Odd"] == 1

    def test_tables_as_people_save_them(self, tmp_path):
        (tmp_path / "a.csv").write_text("Image;Classification;Centroid X px;Centroid Y px\nx;Primary;10;20\n")
        assert read_annotations(tmp_path / "a.csv", mpp=0.5) == [Annotation(5, 10, "Primary")]
        with pytest.raises(UserError, match="--mpp"):
            read_annotations(tmp_path / "a.csv")
        (tmp_path / "b.txt").write_text("Class\tCentroid X µm\tCentroid Y µm\r\nAntral\t1\t2\r\nPIE\tNaN\tNaN\r\n")
        assert read_annotations(tmp_path / "b.txt") == [Annotation(1, 2, "Antral")]

    def test_a_separator_too_many_moves_nothing(self, tmp_path):
        (tmp_path / "a.txt").write_text("Class\tCentroid X µm\tCentroid Y µm\nAntral\t1\t2\t\n")
        assert read_annotations(tmp_path / "a.txt") == [Annotation(1, 2, "Antral")]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("Class,Centroid X µm,Centroid Y µm\nA,1,2\nB,x,2\n", "line 3, column Centroid X µm: 'x' is not a number"),
            ("Class,x,y\nA,1,2\n", "no columns 'Centroid X"),
            ("Centroid X µm,Centroid Y µm\n1,2\n", "no column says the class"),
            ("", "no columns 'Centroid X"),
            ("Image,Class,Centroid X µm,Centroid Y µm\na,A,1,2\nb,A,1,2\n", "marks of 2 images"),
        ],
    )
    def test_bad_tables(self, tmp_path, text, reason):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(UserError, match=reason):
            read_annotations(tmp_path / "a.csv")

    def test_geojson(self, tmp_path):
        write_geojson(tmp_path / "a.geojson", TRUE[:2])
        marks = read_annotations(tmp_path / "a.geojson", mpp=2.0)
        assert [m.label for m in marks] == ["Primary", "Secondary"]
        assert (marks[0].x_um, marks[0].y_um) == pytest.approx((100, 100), abs=0.1)
