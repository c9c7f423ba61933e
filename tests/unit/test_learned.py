"""A classifier learned from corrections: it learns a habit, takes over only where it is better, and holds no code."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from follicles import changed, make_follicle
from shapely.geometry import MultiPolygon, Point, box
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from follicle_stager.annotations import read_geojson, write_geojson, write_sections
from follicle_stager.config import Config, StagingConfig, dump_config, load_config
from follicle_stager.errors import UserError
from follicle_stager.learning import Examples, collect, compare, learn
from follicle_stager.measurements import Measurements
from follicle_stager.records import Section, follicle_id
from follicle_stager.stages import LADDER, Stage, Status
from follicle_stager.staging import learned, stage_follicle
from follicle_stager.staging.criteria import stage_by_criteria, stage_probabilities
from follicle_stager.study import Study

CRITERIA = StagingConfig()


def measured(rng, **given):
    """A growing follicle as it could be measured."""
    layers = float(rng.integers(1, 6))
    fluid = float(rng.choice([0.0, rng.uniform(0.02, 0.5)]))
    values = {
        "diameter_um": 40 + 25 * layers + rng.normal(0, 8),
        "long_axis_um": 60 + 25 * layers,
        "short_axis_um": 40 + 20 * layers,
        "oocyte_um": 45 + rng.normal(0, 5),
        "oocyte_long_um": 50.0,
        "oocyte_short_um": 44.0,
        "nucleus_um": float(rng.choice([float("nan"), 22.0])),
        "nucleus_contrast": 0.4,
        "layers": layers,
        "layers_iqr": 1.0,
        "two_layers_fraction": float(np.clip(0.25 * layers + rng.normal(0, 0.1), 0, 1)),
        "granulosa_um": 7 * layers + rng.normal(0, 1),
        "cuboidal_fraction": 0.95,
        "fluid_fraction": fluid,
        "fluid_spaces": float(rng.integers(1, 5)) if fluid else 0.0,
        "largest_space_fraction": fluid * rng.uniform(0.4, 1),
        "granulosa_nuclei": 40 * layers,
        "pyknotic_fraction": 0.02,
        "surface_distance_um": 100.0,
        "dying_fraction": 0.0,
    }
    return Measurements(**(values | given))


def best_of_criteria(m):
    return max(LADDER, key=lambda s: stage_probabilities(m, CRITERIA)[s])


def lab(m):
    """A lab that calls three-layer follicles with gaps secondary."""
    says = best_of_criteria(m)
    gaps = m.layers <= 3 and m.largest_space_fraction < 0.2
    return Stage.SECONDARY if says == Stage.EARLY_ANTRAL and gaps else says


def judged(animals=8, each=60, seed=1):
    rng = np.random.default_rng(seed)
    table = [measured(rng) for _ in range(animals * each)]
    return table, [f"M{i // each}" for i in range(animals * each)]


@pytest.fixture(scope="module")
def stager():
    table, animals = judged()
    return learned.fit(table, [lab(m) for m in table], animals, CRITERIA)


def test_it_learns_a_labs_habit(stager):
    table, _ = judged(animals=2, seed=2)
    said = [lab(m) for m in table]
    given = [max(p, key=p.get) for p in stager.probabilities(table)]
    criteria = [best_of_criteria(m) for m in table]
    right = np.mean([a == b for a, b in zip(said, given, strict=True)])
    assert right > 0.97
    assert right > np.mean([a == b for a, b in zip(said, criteria, strict=True)]) + 0.05


def test_probabilities_are_those_of_stages_and_kept(stager):
    """Of follicles that are called so with 80 %, about as many are so: by less than 12 % where it is in doubt."""
    table, _ = judged(animals=40, seed=3)
    rng = np.random.default_rng(4)
    # A third of the labels that could be either is either: the right probability is far from 0 and 1.
    said = [Stage.SECONDARY if s == Stage.EARLY_ANTRAL and rng.random() < 0.3 else s for s in map(lab, table)]
    noisy = learned.fit(table[:1200], said[:1200], [f"M{i // 60}" for i in range(1200)], CRITERIA)
    answers = noisy.probabilities(table[1200:])
    assert all(sum(p.values()) == pytest.approx(1) for p in answers)
    best = np.array([max(p.values()) for p in answers])
    hit = np.array([max(p, key=p.get) == s for p, s in zip(answers, said[1200:], strict=True)])
    sure = best >= 0.95
    assert sure.sum() > 800
    assert hit[sure].mean() == pytest.approx(best[sure].mean(), abs=0.02)
    assert hit[~sure].mean() == pytest.approx(best[~sure].mean(), abs=0.12)


def test_stages_that_nobody_showed_it_are_left_to_the_criteria(stager):
    assert Stage.PRIMORDIAL not in stager.stages
    flat = measured(
        np.random.default_rng(5),
        layers=1.0,
        two_layers_fraction=0.0,
        granulosa_um=3.0,
        cuboidal_fraction=0.0,
        fluid_fraction=0.0,
        fluid_spaces=0.0,
        largest_space_fraction=0.0,
        diameter_um=20.0,
    )
    (p,) = stager.probabilities([flat])
    assert p[Stage.PRIMORDIAL] == stage_probabilities(flat, CRITERIA)[Stage.PRIMORDIAL] > 0.9
    assert stager.probabilities([]) == []


def test_too_few_follicles_are_refused():
    table, animals = judged(animals=3, each=3)
    with pytest.raises(UserError, match="Judge more follicles"):
        learned.fit(table, [lab(m) for m in table], animals, CRITERIA)


def card(stager, **given):
    values = {
        "software": "test",
        "follicles": 1,
        "animals": 2,
        "data_sha256": "",
        "stages": stager.stages,
        "features": learned.FEATURES,
        "temperature": stager.temperature,
        "takes_over": True,
        "scores": {},
        "criteria": CRITERIA,
    }
    return learned.Card(**(values | given))


def test_it_is_read_as_it_was_written_and_stages(stager, tmp_path):
    learned.save(tmp_path, stager, card(stager))
    table, _ = judged(animals=1, seed=6)
    assert learned.load(tmp_path).probabilities(table) == stager.probabilities(table)
    config = StagingConfig(classifier=str(tmp_path))
    m = next(
        m
        for m in table
        if lab(m) != stage_by_criteria(m, CRITERIA).stage and stage_by_criteria(m, CRITERIA).stage != Stage.UNSURE
    )
    verdict = stage_follicle(m, config)
    assert verdict.stage == lab(m)
    assert "learned from corrections: secondary" in verdict.reasons[-1]
    assert "the criteria say early antral" in verdict.reasons[-1]
    assert stage_follicle(m, CRITERIA) == stage_by_criteria(m, CRITERIA)
    unsure = stage_follicle(m, config.model_copy(update={"min_probability": 1.0}))
    assert unsure.stage == Stage.UNSURE
    cap = replace(m, oocyte_um=float("nan"), fluid_fraction=0.0, fluid_spaces=0.0, largest_space_fraction=0.0)
    assert stage_follicle(cap, config).stage == Stage.UNSURE, "what cannot be seen was not learned either"
    # Learned again in the same place: the new one stages.
    table, animals = judged(seed=8)
    other = learned.fit(table, [Stage.PRIMARY if i % 2 else Stage.ANTRAL for i in range(len(table))], animals, CRITERIA)
    learned.save(tmp_path, other, card(other))
    assert "learned from corrections: secondary" not in stage_follicle(m, config).reasons[-1]


def test_a_stage_that_few_animals_have_neither_breaks_nor_blurs_it():
    """Eight transitional ones in two small animals, which one fold holds back together; and two stages, one rare."""
    table, animals = judged()
    said = [lab(m) for m in table]
    rng = np.random.default_rng(9)
    rare = [measured(rng, layers=1.0, two_layers_fraction=0.0, granulosa_um=4.0, cuboidal_fraction=0.5,
                     fluid_fraction=0.0, fluid_spaces=0.0, largest_space_fraction=0.0) for _ in range(8)]  # fmt: skip
    whole = learned.fit(table + rare, said + [Stage.TRANSITIONAL] * 8, animals + ["R1"] * 4 + ["R2"] * 4, CRITERIA)
    assert Stage.TRANSITIONAL in whole.stages
    best = [max(p.values()) for p in whole.probabilities(table)]
    assert np.mean(best) > 0.9, "as sure as without them"
    two = [i for i, s in enumerate(said) if s == Stage.SECONDARY]
    learned.fit(
        [table[i] for i in two] + rare,
        [Stage.SECONDARY] * len(two) + [Stage.TRANSITIONAL] * 8,
        [animals[i] for i in two] + ["R1"] * 4 + ["R2"] * 4,
        CRITERIA,
    )


def test_what_is_no_classifier_is_not_read(stager, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        learned.load(tmp_path)
    learned.save(tmp_path, stager, card(stager))
    (tmp_path / learned.MODEL).write_bytes(b"other")
    with pytest.raises(UserError, match="is not the file that"):
        learned.load(tmp_path)
    # Whatever else skops could load, code among it, is refused by name before anything of it is made.
    learned.save(tmp_path, replace(stager, model=Pipeline([("f", FunctionTransformer(print))])), card(stager))
    with pytest.raises(UserError, match="not a classifier"):
        learned.load(tmp_path)
    learned.save(tmp_path, stager, card(stager, features=("other",)))
    with pytest.raises(UserError, match="another version"):
        learned.load(tmp_path)
    learned.save(tmp_path, stager, card(stager, takes_over=False))
    with pytest.raises(UserError, match="is not better than the criteria"):
        stage_follicle(judged(1, 1)[0][0], StagingConfig(classifier=str(tmp_path)))
    (tmp_path / learned.CARD).write_text(json.dumps({"stages": 3}))
    with pytest.raises(UserError, match="does not describe a classifier"):
        learned.load(tmp_path)


def said(stage, software):
    return Status.ACCEPTED if stage == software else Status.CORRECTED


@pytest.fixture
def study(tmp_path):
    """Eight animals, one slide each, whose follicles a lab has judged."""
    study = Study.create(tmp_path / "study", Config())
    rng = np.random.default_rng(7)
    rows = []
    for n in range(8):
        slide = f"S{n}"
        folder = study.slide_folder(slide)
        follicles = []
        for i in range(60):
            m = measured(rng)
            outline = Point(100 * (i % 10), 100 * (i // 10)).buffer(20)
            software = stage_by_criteria(m, CRITERIA)
            follicles.append(
                make_follicle(
                    follicle_id(f"{slide}_s1", outline),
                    f"{slide}_s1",
                    outline,
                    measurements={k: v for k, v in asdict(m).items() if np.isfinite(v)},
                    stage_predicted=software.stage,
                    probabilities=software.probabilities,
                    stage=lab(m) if i else Stage.UNSURE,
                    status=said(lab(m), software.stage) if i < 55 else Status.PREDICTED,
                )
            )
        (folder / "predictions").mkdir(parents=True)
        write_geojson(folder / "predictions" / "r.geojson", follicles)
        write_geojson(folder / "follicles.geojson", follicles)
        whole = MultiPolygon([box(-50, -50, 1100, 1100)])
        write_sections(folder / "sections.geojson", [Section(f"{slide}_s1", whole, 1.0, 1)])
        (folder / "run.json").write_text(json.dumps({"run_id": "r", "visible_stages": list(LADDER)}))
        rows.append(f"{slide},A{n},wt,control")
    study.samples_path.write_text("slide,animal,genotype,group\n" + "\n".join(rows) + "\n")
    return study


def test_a_study_teaches_it_and_it_takes_over(study):
    examples = collect(study)
    assert len(examples.stages) == 8 * 54, "judged, and with a stage of the ladder"
    result = learn(study)
    scores = result.scores.set_index("figure")
    assert result.card.takes_over
    value, low, high = result.difference
    assert low > 0
    assert low < value < high
    assert value == pytest.approx(scores.loc["right_stage", "classifier"] - scores.loc["right_stage", "criteria"])
    assert scores.loc["secondary_called_antral", "classifier"] < scores.loc["secondary_called_antral", "criteria"]
    assert result.card.data_sha256 == examples.sha256
    again = learn(study)
    assert again.card.id == result.card.id, "the same corrections, the same classifier"


def test_where_the_lab_stages_by_the_criteria_these_stay(study):
    for slide in study.slide_ids():
        folder = study.slide_folder(slide)
        for path in (folder / "predictions" / "r.geojson", folder / "follicles.geojson"):
            follicles = study.follicles(slide)
            criteria = [stage_by_criteria(f.measurements, CRITERIA).stage for f in follicles]
            own = [changed(f, stage=s, status=Status.ACCEPTED) for f, s in zip(follicles, criteria, strict=True)]
            write_geojson(path, own)
    result = learn(study)
    assert not result.card.takes_over
    assert result.scores.set_index("figure").loc["right_stage", "criteria"] == 1


def test_what_a_person_said_of_outlines_or_nuclei_is_no_stage(study):
    slide = study.slide_ids()[0]
    before = len(collect(study).stages)
    path = study.slide_folder(slide) / "predictions" / "r.geojson"
    own = study.follicles(slide)
    one = next(f for f in own if f.status == Status.PREDICTED and f.stage == f.stage_predicted)
    write_geojson(path, [changed(f, status=Status.CORRECTED) if f is one else f for f in own])
    write_geojson(study.slide_folder(slide) / "follicles.geojson", read_geojson(path))
    assert len(collect(study).stages) == before


def test_sections_of_one_animal_on_two_slides_are_held_back_together(study):
    """As in the counts: the sheet says whose a section is, also where a slide holds two animals."""
    rows = [f"S0,{animal},{n},wt,control" for n, animal in ((1, "A0"), (2, "A1"))]
    rows += [f"S{n},A{n},,wt,control" for n in range(1, 8)]
    study.samples_path.write_text("slide,animal,section,genotype,group\n" + "\n".join(rows) + "\n")
    halves = [MultiPolygon([box(-50, -50, 1100, 250)]), MultiPolygon([box(-50, 250, 1100, 1100)])]
    sections = [Section(f"S0_s{n}", half, 0.5, n) for n, half in enumerate(halves, start=1)]
    write_sections(study.slide_folder("S0") / "sections.geojson", sections)
    for name in ("predictions/r.geojson", "follicles.geojson"):
        path = study.slide_folder("S0") / name
        write_geojson(path, [changed(f, section_id="") for f in read_geojson(path)])
    animals = collect(study).animals
    assert set(animals) == {f"A{n}" for n in range(8)}
    assert animals.count("A1") > 54


def test_one_animal_is_not_enough_and_said(study):
    study.samples_path.write_text("slide,animal,genotype,group\n" + "".join(f"S{n},A,wt,control\n" for n in range(8)))
    with pytest.raises(UserError, match="of 1 animals"):
        learn(study)
    study.samples_path.unlink()
    with pytest.raises(UserError, match="sample sheet"):
        learn(study)


def test_the_difference_is_over_animals():
    """By hand: animal a gains 1 of 1, animal b 0 of 3. Mean 0.5, SD 0.71, t of one degree of freedom 12.71."""
    table, _ = judged(animals=1, each=40)
    sure = [m for m in table if stage_by_criteria(m, CRITERIA).stage in LADDER][:4]
    criteria = [stage_by_criteria(m, CRITERIA).stage for m in sure]
    truth = (Stage.PREOVULATORY, *criteria[1:])
    examples = Examples(tuple(sure), truth, ("a", "b", "b", "b"))
    scores, (value, low, high) = compare(examples, truth, CRITERIA)
    assert value == pytest.approx(0.5)
    assert (high - low) / 2 == pytest.approx(12.706 * 0.7071 / 2**0.5, rel=1e-3)
    assert scores.set_index("figure").loc["right_stage"].tolist() == [0.75, 1.0]


def test_a_path_of_windows_survives_the_configuration(tmp_path):
    path = tmp_path / "study.toml"
    config = Config.model_validate({"staging": {"classifier": 'C:\\lab\\new "one"'}})
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
