"""The verbs, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
from follicles import make_follicle
from PIL import Image
from scanners import tissue, write_svs
from shapely.geometry import Point, mapping

from follicle_stager import batch
from follicle_stager.annotations import read_geojson, read_sections, write_geojson, write_rois, write_sections
from follicle_stager.batch import _ThisMachine, run_batch
from follicle_stager.cli import app
from follicle_stager.config import Config, load_config
from follicle_stager.job import Job, Outcome
from follicle_stager.stages import Stage, Status
from follicle_stager.study import SlideSource, Study, list_slides

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """The cohort after `run` with two processes, in a process of its own."""
    study = tmp_path_factory.mktemp("run") / "study"
    command = [sys.executable, "-m", "follicle_stager", "run", str(cohort)]
    command += ["--samples", str(cohort / "samples.csv"), "--out", str(study), "--jobs", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return study, done.stdout


def test_run_leaves_the_study_folder(finished, cohort):
    study, shown = finished
    for name in ("study.toml", "samples.csv", "tables/follicles.csv", "tables/counts_by_genotype.csv"):
        assert (study / name).is_file(), name
    for slide in list_slides(cohort):
        folder = study / "slides" / slide.slide_id
        info = json.loads((folder / "run.json").read_text())
        assert (folder / "predictions" / f"{info['run_id']}.geojson").is_file()
        assert (folder / "follicles.geojson").is_file()
        with Image.open(folder / "overlay.jpg") as overlay:
            assert min(overlay.size) > 400
        assert info["mpp_x"] == 1.0
    for word in ("Secondary", "Igfals +/+", "Igfals -/-", "2 animals", "NA"):
        assert word in shown


def test_tables_agree_with_the_annotations(finished):
    study = Study.open(finished[0])
    table = pd.read_csv(study.tables / "counts_by_section.csv")
    follicles = [f for slide in study.slide_ids() for f in study.follicles(slide)]
    assert table["n_profiles"].sum() == len(follicles)
    assert len(pd.read_csv(study.tables / "follicles.csv")) == len(follicles)


def test_one_process_gives_the_same(finished, cohort, tmp_path):
    serial = Study.create(tmp_path / "serial", Config())
    run_batch(serial, list_slides(cohort), Config(), jobs=1)
    for slide in serial.slide_ids():
        a, b = (s.slide_folder(slide) / "follicles.geojson" for s in (serial, Study(finished[0])))
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("processors", "free_gb", "slides", "jobs"),
    [(8, 64, 40, 8), (8, 4, 40, 2), (8, 64, 3, 3), (2, 0.5, 40, 1), (96, 512, 500, 61)],
)
def test_slides_at_a_time_follow_from_the_machine(monkeypatch, processors, free_gb, slides, jobs):
    monkeypatch.setattr(batch.psutil.Process, "cpu_affinity", lambda self: list(range(processors)), raising=False)
    memory = SimpleNamespace(available=free_gb * 1e9)
    monkeypatch.setattr(batch.psutil, "virtual_memory", lambda: memory)
    number, why = batch.jobs_for(slides)
    assert number == jobs
    assert f"{jobs} of {slides} slides at a time: {processors} processors" in why
    assert "--jobs" in why


def test_run_again_keeps_finished_slides(finished, cohort, cli):
    study, _ = finished
    first = next(iter(sorted(study.glob("slides/*/run.json"))))
    before = {p: p.stat().st_mtime_ns for p in study.glob("slides/*/run.json")}
    first.unlink()  # as if interrupted before this slide was finished
    code, shown = cli("run", cohort, "--samples", cohort / "samples.csv", "--out", study)
    assert code == 0
    assert "(3 slides were finished before and kept)" in shown
    after = {p: p.stat().st_mtime_ns for p in study.glob("slides/*/run.json")}
    assert {p for p in after if after[p] != before[p]} == {first}


def test_one_bad_slide_is_a_line_and_the_others_are_done(cohort, tmp_path, cli):
    slides = tmp_path / "slides"
    slides.mkdir()
    for path in list_slides(cohort)[:1]:
        shutil.copy(path.path, slides)
    (slides / "broken.tif").write_bytes(b"II*\x00" + bytes(40))
    code, shown = cli("stage", slides, "--out", tmp_path / "study")
    assert code == 1
    assert "1 of 2 slides done" in shown
    assert "error: " in shown
    assert "broken.tif" in shown
    assert "Traceback" not in shown
    assert len(Study(tmp_path / "study").slide_ids()) == 1


def test_count_after_an_edit_outside(finished, tmp_path, cli):
    study = tmp_path / "copy"
    shutil.copytree(finished[0], study)
    path = sorted(study.glob("slides/*/follicles.geojson"))[0]
    data = json.loads(path.read_text())
    kept = [f for f in data["features"] if f["properties"]["classification"]["name"] != "Secondary"]
    path.write_text(json.dumps({**data, "features": kept}))
    assert cli("count", study)[0] == 0
    table = pd.read_csv(study / "tables" / "counts_by_section.csv")
    here = table[(table["slide"] == path.parent.name) & (table["stage"] == "secondary")]
    assert here["n_profiles"].sum() == 0


def test_evaluate_prints_and_writes(finished, cohort, cli, tmp_path):
    code, shown = cli("evaluate", finished[0], cohort, "--out", tmp_path)
    assert code == 0
    assert "95 % interval over animals" in shown
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.csv" for name in ("summary", "stages", "kinds", "confusion", "counts", "classes")
    }
    counts = pd.read_csv(tmp_path / "counts.csv").set_index("stage")
    truth = pd.read_csv(cohort / "truth" / "profiles.csv")
    seen = truth[truth["recognisable"] & (truth["stage"] == "secondary")]
    assert counts.loc["secondary", "true_per_section"] * counts.loc["secondary", "sections"] == len(seen)
    # This detector cannot see them, which is not the same as none.
    assert np.isnan(counts.loc["primordial", "found_per_section"])


def test_phantom_is_made_again_from_its_plan(cohort, cli, tmp_path):
    code, _ = cli("phantom", tmp_path / "again", "--config", cohort / "truth" / "plan.json", "--jobs", 1)
    assert code == 0
    name = "truth/fingerprints.csv"
    assert (tmp_path / "again" / name).read_text() == (cohort / name).read_text()


def test_agreement_of_two_tables(cli, tmp_path):
    table = "Class\tCentroid X µm\tCentroid Y µm\nPrimary\t10\t10\nAntral\t{}\t10\n"
    for name, x in (("a", 300), ("b", 330)):
        (tmp_path / f"{name}.txt").write_text(table.format(x), encoding="utf-8")
    code, shown = cli("agreement", tmp_path / "a.txt", tmp_path / "b.txt", "--distance-um", 20)
    assert code == 0
    assert "F1 of detection" in shown
    assert "0.50" in shown


def test_another_setting_keeps_a_persons_corrections(finished, cohort, tmp_path, cli):
    study = tmp_path / "copy"
    shutil.copytree(finished[0], study)
    path = sorted(study.glob("slides/*/follicles.geojson"))[0]
    before = read_geojson(path)
    path.write_text(path.read_text().replace('"Secondary"', '"Antral"').replace('"Primary"', '"Antral"'))
    sections = path.parent / "sections.geojson"
    write_sections(sections, [replace(s, included=False, reason="torn") for s in read_sections(sections)])
    code, shown = cli("stage", cohort, "--out", study, "--min-score", 0.6)
    assert code == 0
    assert all((s.included, s.reason) == (False, "torn") for s in read_sections(sections))
    stands = {f.id: f for f in read_geojson(path)}
    changed = [f.id for f in before if f.stage in (Stage.PRIMARY, Stage.SECONDARY)]
    assert changed
    assert all((stands[i].stage, stands[i].status) == (Stage.ANTRAL, Status.CORRECTED) for i in changed)


def test_a_killed_worker_fails_only_its_slide(cohort, tmp_path, monkeypatch):
    """The worker of one slide dies (as if out of memory); all others are done."""
    sources = list_slides(cohort)[:2]
    poison = tmp_path / "slides" / "poison.tif"
    poison.parent.mkdir()
    poison.write_bytes(b"x")
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins, os\n"
        "import follicle_stager.job as b\n"
        "real = b.open_slide\n"
        "def dies(path, **kw):\n"
        "    if path.name == 'poison.tif': os._exit(9)\n"
        "    return real(path, **kw)\n"
        "b.open_slide = dies\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    study = Study.create(tmp_path / "study", Config())
    outcomes = run_batch(study, [SlideSource("poison", poison), *sources], Config(), jobs=2)
    assert [o.state for o in outcomes] == ["failed"] + ["done"] * len(sources)
    assert "ended by the system" in outcomes[0].message


@pytest.mark.parametrize(("fatal", "at_once"), [({"s5", "s6"}, 8), (set(), 4), ({"s99"}, 8)])
def test_only_slides_that_had_begun_are_processed_alone(fatal, at_once, tmp_path, monkeypatch):
    """Of 100 slides, some end each process; or memory is enough for four at a time only."""
    calls, finished = [], []

    def run(jobs, processes, on_progress, finish):
        calls.append((len(jobs), processes))
        ends = [n for n, job in enumerate(jobs) if job.source.slide_id in fatal]
        until = min(ends, default=0 if processes > at_once else len(jobs))
        for job in jobs[:until]:
            finish(Outcome(job.source.slide_id, "done"))
        return jobs[until:]

    monkeypatch.setattr("follicle_stager.batch._run_in_processes", run)
    study = Study(tmp_path)
    jobs = [Job(study, SlideSource(f"s{n}", tmp_path / f"s{n}.tif"), Config(), None, True) for n in range(100)]
    _ThisMachine(8).process(jobs, lambda *said: None, finished.append)
    assert {o.slide_id for o in finished if o.state == "failed"} == fatal
    assert sorted(o.slide_id for o in finished) == sorted(job.source.slide_id for job in jobs)
    assert sum(jobs == 1 for jobs, _ in calls) <= 16
    assert calls[0] == (100, 8)
    assert next(processes for jobs, processes in reversed(calls) if jobs > 1) == at_once


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_callback_ends_the_run_and_no_slide(jobs, cohort, tmp_path):
    """With processes, it ended the thread that listens, and the run waited for ever."""
    study = Study.create(tmp_path / "study", Config())

    def wrong(slide, step, done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_batch(study, list_slides(cohort), Config(), jobs=jobs, on_progress=wrong)
    assert study.slide_ids(), "the slide that was processed meanwhile is kept"
    outcomes = run_batch(study, list_slides(cohort), Config(), jobs=jobs)
    assert {o.state for o in outcomes} == {"done", "kept"}


@pytest.mark.parametrize(
    "verb", sorted(command.name or command.callback.__name__ for command in app.registered_commands)
)
def test_help(cli, verb):
    code, shown = cli(verb, "--help")
    assert code == 0
    assert "Usage" in shown


def test_verdict_report_and_outlines_of_a_finished_study(cli, finished, tmp_path):
    study = shutil.copytree(finished[0], tmp_path / "study")
    code, shown = cli("compare", study, "--count", "profiles")
    assert code == 0
    assert "Igfals -/-: " in shown
    assert "secondary to early antral" in shown
    assert "2 animals in a group" in shown
    before = (study / "report.html").read_text(encoding="utf-8")
    toml = study / "study.toml"
    toml.write_text(toml.read_text().replace("equivalence_ratio = 2.0", "equivalence_ratio = 3.0"))
    code, shown = cli("report", study, "--count", "healthy")
    assert code == 0
    assert "report.html" in shown
    page = (study / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "without atretic ones" in page
    assert "factor of 3" in " ".join(page.split())
    assert "without atretic ones" not in before
    assert "<td>unsure</td>" in page
    for name in (
        "statistics/arrest.csv",
        "statistics/per_stage.csv",
        "statistics/analysis.R",
        "tables/prism_grouped.csv",
    ):
        assert (study / name).stat().st_size > 50, name
    slide = Study.open(study).slide_ids()[0]
    code, shown = cli("convert", study / "slides" / slide / "follicles.geojson", tmp_path / "rois.zip")
    assert (code, len(roifile.roiread(tmp_path / "rois.zip"))) == (0, len(Study.open(study).follicles(slide)))


@pytest.fixture
def in_browser(tmp_path):
    """Run a browser without a window on a page, with options; skipped where there is none."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser")

    def run(page, *options):
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += [*options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout

    return run


def test_the_report_is_printed_whole(finished, in_browser, tmp_path):
    """What is folded on the screen is open on paper."""
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext")
    in_browser(finished[0] / "report.html", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    done = subprocess.run(["pdftotext", "-layout", "report.pdf", "-"], cwd=tmp_path, capture_output=True, check=True)
    printed = " ".join(done.stdout.decode("utf-8").split())
    ways = pd.read_csv(finished[0] / "statistics" / "sensitivity.csv")["changed"]
    assert all(way in printed for way in ways)
    assert "countable follicles per ovary" in printed, "the figure has its text"


def test_the_report_is_whole_in_a_browser(finished, in_browser, tmp_path):
    """No error, nothing fetched from anywhere, all pictures shown, and as narrow as a telephone."""
    page = (finished[0] / "report.html").read_text("utf-8")
    watch = "<script>window.wrong = 0; window.addEventListener('error', () => window.wrong++, true)</script>"
    ask = """<script>window.addEventListener('load', () => {
        const empty = [...document.images].filter(picture => !picture.naturalWidth).length
        const fetched = performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:')).length
        const seen = [document.images.length, empty, fetched, window.wrong, document.documentElement.scrollWidth]
        document.title = 'seen ' + seen.join(' ')
    })</script>"""
    (tmp_path / "report.html").write_text(page.replace("<head>", "<head>" + watch).replace("</body>", ask + "</body>"))
    shown = in_browser(tmp_path / "report.html", "--window-size=390,800", "--dump-dom")
    pictures, empty, fetched, wrong, width = map(int, re.search("seen ([0-9 ]+)", shown)[1].split())
    assert pictures > 4
    assert (empty, fetched, wrong) == (0, 0, 0)
    assert width <= 500, "headless browsers have no narrower window"


def test_a_table_of_hand_counts_is_compared(cli, tmp_path):
    table = tmp_path / "counts.csv"
    rows = ["mouse;genotype;Secondary;Early antral;Antral"]
    rows += [f"c{i};WT;{50 + i};{24 + i};{14 + i}" for i in range(4)] + [
        f"k{i};KO;{52 + i};{5 + i};2" for i in range(4)
    ]
    table.write_text("\n".join(rows))
    code, shown = cli("compare", table)
    assert code == 0
    assert "arrest at the secondary stage" in " ".join(shown.split())
    code, shown = cli("report", table)
    assert (code, "give --out FOLDER" in " ".join(shown.split())) == (2, True)
    code, shown = cli("report", table, "--out", tmp_path / "out")
    assert code == 0
    assert {"verdict.csv", "stages_1.svg", "steps_1.pdf"} <= {p.name for p in (tmp_path / "out/statistics").iterdir()}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Counts from counts.csv." in page
    assert "arrest at the secondary stage" in page
    for name in ("stages_1", "steps_1"):
        drawn = (tmp_path / "out" / "statistics" / f"{name}.svg").read_text("utf-8")
        assert drawn[drawn.index("<svg") :] in page, "the file and the page show the same figure"
    config = tmp_path / "question.toml"
    config.write_text('[comparison]\ncontrast = "early_antral"\n')
    code, shown = cli("compare", table, "--config", config)
    assert (code, "early antral to all later (arrest)" in " ".join(shown.split())) == (0, True)
    table.write_text("\n".join([*rows, "k9;KO;5,5;1;1"]))
    code, shown = cli("compare", table)
    assert code == 2
    assert "line 10, column Secondary: '5,5' is not a whole number" in " ".join(shown.split())


def test_another_persons_corrections_are_taken_in(cli, finished, tmp_path):
    mine, theirs = (shutil.copytree(finished[0], tmp_path / name) for name in ("mine", "theirs"))
    slide, other = Study.open(mine).slide_ids()[:2]
    with Study.open(theirs).review(slide, author="Grace") as session:
        one, two = (f.id for f in session.follicles[:2])
        session.set_stage([one], Stage.ANTRAL)
        session.set_stage([two], Stage.PRIMARY)
    with Study.open(mine).review(slide, author="Ada") as session:
        session.set_stage([two], Stage.PREOVULATORY)
        session.set_included([session.sections[0].section_id], False, "torn")
    with Study.open(theirs).review(slide, author="Grace") as session:
        session.set_included([session.sections[0].section_id], False, "pen")
    # The other slide was changed in QuPath alone.
    path = Study.open(theirs).slide_folder(other) / "follicles.geojson"
    path.write_text(
        path.read_text().replace('"classification": {"name": "Primary"', '"classification": {"name": "Antral"')
    )
    code, shown = cli("review", mine, "--take-in", theirs)
    assert code == 0
    assert f"{slide}: 1 corrections added" in shown
    assert "set_stage by Grace" in shown
    assert f"{other}: 1 corrections added" in shown
    stages = {f.id: f.stage for f in Study.open(mine).follicles(slide)}
    assert (stages[one], stages[two]) == (Stage.ANTRAL, Stage.PREOVULATORY)
    assert Stage.ANTRAL in {f.stage for f in Study.open(mine).follicles(other) if f.status == Status.CORRECTED}


def test_power_takes_pilot_data_and_unequal_groups(cli, finished, tmp_path):
    table = tmp_path / "pilot.csv"
    table.write_text("animal,group,secondary,antral\n" + "".join(f"m{i},control,{50 + i},{20 + i}\n" for i in range(4)))
    code, shown = cli("power", "--pilot", table, "--animals", "4,6+3", "--studies", "20", "--stage-sd", "0.2")
    assert code == 0
    assert "6 + 3" in shown
    assert "has –, –, 51.5, –, 21.5 counted follicles" in " ".join(shown.split())
    assert "3 animals beyond the group means" in " ".join(shown.split())
    assert cli("power", "--pilot", finished[0], "--animals", "4", "--studies", "10")[0] == 0
    code, shown = cli("power", "--stage-sd", "0.2,0.3")
    assert (code, "one number from 0 to 2, or 5 separated by commas" in " ".join(shown.split())) == (2, True)


def test_power_of_a_study(cli):
    code, shown = cli("power", "--animals", "4", "--studies", "20", "--block", "0.8")
    assert code == 0
    assert "controls + knockouts" in shown


def test_power_of_a_study_with_a_treatment(cli):
    """Where neither group responds, 5 % of studies or fewer show a difference; where one does, most."""
    command = ("power", "--animals", "12", "--studies", "400", "--block", "0")
    code, shown = cli(*command, "--response", "1")
    assert code == 0
    assert max(int(share) for share in re.findall(r"(\d+)%", shown)) <= 7
    code, shown = cli(*command, "--response", "4")
    assert code == 0
    differ, control, knockout, _, late = map(int, re.findall(r"(\d+)%", shown))
    assert min(differ, control, late) > 80
    assert knockout <= 7
    code, shown = cli("power", "--response", "0")
    assert (code, "must be larger than 0" in " ".join(shown.split())) == (2, True)


def test_the_readme_states_the_power_of_the_example_slides(cli):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    stated, command = re.search(
        r"In (\d+) % of simulated studies of this design, it is found \(`(.*?)`\)", readme
    ).groups()
    _, *words = command.split()
    code, shown = cli(*(str(ROOT / word) if word == "example_slides" else word for word in words))
    assert code == 0
    assert re.search(r"4 \+ 4 +(\d+)%", shown)[1] == stated
    assert int(stated) > 90


def test_doctor_and_version(cli):
    assert "tifffile" in cli("doctor")[1]
    assert "follicle-stager 0." in cli("--version")[1]


def test_doctor_says_how_a_slide_is_read(cli, tmp_path):
    write_svs(tmp_path / "a.svs", tissue())
    code, shown = cli("doctor", tmp_path / "a.svs")
    assert code == 0
    for said in ("tifffile, as svs", "512 x 384, 256 x 192", "0.499", "Aperio MPP", "Macro (1600 x 629 px)"):
        assert said in shown


def test_rois_of_imagej_come_in(cli, tmp_path):
    """And what is no follicle is counted in a line."""
    own = [make_follicle(str(n), "", Point(100 * n, 50).buffer(20), stage=Stage.PRIMARY) for n in (1, 2)]
    write_rois(tmp_path / "RoiSet.zip", own)
    assert cli("convert", tmp_path / "RoiSet.zip", tmp_path / "a.geojson")[0] == 0
    data = json.loads((tmp_path / "a.geojson").read_text())
    data["features"].append({"type": "Feature", "geometry": mapping(Point(5, 5)), "properties": {}})
    (tmp_path / "a.geojson").write_text(json.dumps(data))
    code, shown = cli("convert", tmp_path / "a.geojson", tmp_path / "b.zip")
    assert (code, "Not taken for follicles: points: 1" in shown) == (0, True)
    code, shown = cli("evaluate", tmp_path / "b.zip", tmp_path / "a.geojson")
    assert code == 0
    assert "a.geojson: not taken for follicles: points: 1" in shown


def test_what_has_no_stage_cannot_be_evaluated(cli, tmp_path):
    for name, stage in (("a", Stage.PRIMARY), ("b", Stage.UNSURE)):
        write_geojson(tmp_path / f"{name}.geojson", [make_follicle("f", "", Point(9, 9).buffer(5), stage=stage)])
    (tmp_path / "c.geojson").write_text("[]")
    code, shown = cli("evaluate", tmp_path / "a.geojson", tmp_path / "b.geojson")
    assert (code, "no follicle of a known stage" in shown) == (2, True)
    code, shown = cli("agreement", tmp_path / "a.geojson", tmp_path / "a.geojson", "--mpp", 1)
    assert (code, "not taken" in shown) == (0, False)
    code, shown = cli("agreement", tmp_path / "a.geojson", tmp_path / "c.geojson", "--mpp", 1)
    assert (code, "c.geojson: no mark in it" in shown) == (2, True)


def test_points_cannot_be_evaluated(cli, tmp_path):
    points = [{"type": "Feature", "geometry": mapping(Point(5, 5)), "properties": {"classification": "Primary"}}]
    (tmp_path / "a.geojson").write_text(json.dumps(points))
    code, shown = cli("evaluate", tmp_path / "a.geojson", tmp_path / "a.geojson")
    assert code == 2
    assert "a.geojson: no outline of a follicle in it" in shown
    assert "agreement" in shown


def test_another_picture_of_the_same_name_replaces_none(cli, tmp_path):
    for place, picture in (("a", tissue()), ("b", tissue(seed=9))):
        (tmp_path / place).mkdir()
        tifffile.imwrite(tmp_path / place / "x.tif", picture, photometric="rgb")
    options = ("--out", tmp_path / "s", "--detector", "classical", "--mpp", 2)
    assert cli("stage", tmp_path / "a" / "x.tif", *options)[0] == 0
    code, shown = cli("stage", tmp_path / "b" / "x.tif", *options)
    assert code == 2
    assert "already has a slide x" in shown
    (tmp_path / "a" / "x.tif").rename(tmp_path / "x.tif")  # the same picture, moved
    assert cli("stage", tmp_path / "x.tif", *options, "--min-score", 0.6)[0] == 0


def test_settings_that_a_person_wrote_are_those_of_the_next_run(cli, cohort, tmp_path):
    slide = next(iter(sorted(cohort.glob("*.tif"))))
    study = tmp_path / "s"
    assert cli("stage", slide, "--out", study, "--detector", "classical")[0] == 0
    text = (study / "study.toml").read_text()
    (study / "study.toml").write_text(text.replace("min_section_mm2 = 0.05", "min_section_mm2 = 90.0  # mine"))
    code, shown = cli("stage", slide, "--out", study)
    assert code == 2, "no piece of tissue is so large"
    assert "90 mm" in shown
    assert "# mine" in (study / "study.toml").read_text()


def test_two_runs_with_different_settings_do_not_mix(cohort, tmp_path):
    """Both begin in the same moment: one does its work, and study.toml is that one's."""
    command = [sys.executable, "-m", "follicle_stager", "stage", str(cohort), "--out", str(tmp_path / "s")]
    options = [["--detector", "classical", "--min-score", score] for score in ("0.3", "0.6")]
    runs = [subprocess.Popen([*command, *own], stderr=subprocess.PIPE, text=True) for own in options]
    said = [run.communicate(timeout=300)[1] for run in runs]
    study = Study.open(tmp_path / "s")
    config = load_config(study.path / "study.toml")
    codes = [run.returncode for run in runs]
    if codes != [0, 0]:  # one may have ended before the other began to look
        assert sorted(codes) == [0, 2]
        assert "another run with other settings" in said[codes.index(2)]
        assert config.detection.min_score == float(options[codes.index(0)][-1])
    assert {study.run(slide).config for slide in study.slide_ids()} == {config.fingerprint()}


class TestBadInput:
    """Exit code 2 and a message that names the file and the mend; never a traceback."""

    def fails(self, cli, *args, code=2):
        got, shown = cli(*args)
        assert got == code, shown
        assert "Traceback" not in shown
        return shown

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(("block", "said"), [(0, "–"), (1, "100%")])
    def test_plans_at_the_edge_are_answers(self, cli, block, said):
        code, shown = cli("power", "--block", block, "--animals", 6, "--studies", 10)
        assert code == 0
        assert said in shown
        assert "nan" not in shown

    def test_comparing_converting_learning_and_planning(self, cli, finished, tmp_path):
        study = finished[0]
        assert "write countable, healthy, profiles" in self.fails(cli, "compare", study, "--count", "all")
        assert "this is not a covariate" in self.fails(cli, "compare", study, "--covariates", "colour")
        assert "it is empty for animals" in self.fails(cli, "compare", study, "--covariates", "estrous_stage")
        assert "age_days: it is the same for all animals" in self.fails(
            cli, "compare", study, "--covariates", "age_days"
        )
        outlines = next(study.glob("slides/*/follicles.geojson"))
        assert "must end in .zip" in self.fails(cli, "convert", outlines, tmp_path / "x.csv")
        assert "0 follicles of 0 animals are judged" in self.fails(cli, "learn", study)
        assert "write whole numbers" in self.fails(cli, "power", "--animals", "few")
        assert "at least 2 animals" in self.fails(cli, "power", "--animals", "1")
        assert "block_after" in self.fails(cli, "power", "--block-after", "antral")

    def test_missing_path(self, cli, tmp_path):
        assert "no such file" in self.fails(cli, "stage", tmp_path / "x.tif", "--out", tmp_path / "s")

    def test_empty_folder(self, cli, tmp_path):
        (tmp_path / "in").mkdir()
        assert "no slide in this folder" in self.fails(cli, "stage", tmp_path / "in", "--out", tmp_path / "s")

    def test_unknown_mpp(self, cli, tmp_path):
        Image.fromarray(np.full((400, 400, 3), 200, np.uint8)).save(tmp_path / "a.png", dpi=(72, 72))
        shown = self.fails(cli, "stage", tmp_path / "a.png", "--out", tmp_path / "s")
        assert "--mpp" in shown
        assert "mpp column" in shown

    def test_mpp_of_a_screen(self, cli, tmp_path):
        Image.fromarray(np.full((400, 400, 3), 200, np.uint8)).save(tmp_path / "a.png")
        shown = self.fails(cli, "stage", tmp_path / "a.png", "--mpp", 352.8, "--out", tmp_path / "s")
        assert "screen's resolution" in shown

    def test_out_is_another_folder(self, cli, cohort, tmp_path):
        (tmp_path / "thesis.docx").write_text("x")
        shown = self.fails(cli, "stage", cohort, "--out", tmp_path)
        assert "holds other files and no study" in shown

    def test_out_is_a_file(self, cli, cohort, tmp_path):
        (tmp_path / "f").write_text("x")
        assert "this is a file" in self.fails(cli, "stage", cohort, "--out", tmp_path / "f")

    def test_sheet_is_checked_before_any_slide(self, cli, cohort, tmp_path):
        (tmp_path / "s.csv").write_text("slide,animal\na,b\n")
        shown = self.fails(cli, "run", cohort, "--samples", tmp_path / "s.csv", "--out", tmp_path / "study")
        assert "missing column: genotype, group" in shown
        assert not (tmp_path / "study").exists()

    def test_no_study(self, cli, tmp_path):
        assert "no study folder" in self.fails(cli, "count", tmp_path)

    def test_bad_config(self, cli, cohort, tmp_path):
        (tmp_path / "c.toml").write_text("[detection]\nmin_scor = 0.5\n")
        shown = self.fails(cli, "stage", cohort, "--out", tmp_path / "s", "--config", tmp_path / "c.toml")
        assert "detection.min_scor" in shown

    def test_evaluate_without_truth(self, cli, finished, tmp_path):
        assert "no outlines here" in self.fails(cli, "evaluate", finished[0], tmp_path)
        assert "no such file" in self.fails(cli, "evaluate", finished[0], tmp_path / "x")
        (tmp_path / "x.png").write_bytes(b"x")
        assert "this file contains no outlines" in self.fails(cli, "evaluate", finished[0], tmp_path / "x.png")

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (["--interval", 0], "interval"),
            (["--mpp", -1], "mpp"),
            (["--depletion", 1.5], "depletion"),
            (["--block-after", "antral"], "can be blocked after"),
            (["--mode", "pretty"], "mode"),
        ],
    )
    def test_impossible_ovaries(self, cli, tmp_path, options, reason):
        assert reason in self.fails(cli, "phantom", tmp_path / "c", *options)
        assert not (tmp_path / "c").exists()

    def test_full_disk_is_said_and_costs_nothing(self, cli, cohort, tmp_path, monkeypatch):
        import errno

        from follicle_stager.study import folder

        study, real, calls = tmp_path / "s", folder.replacing, []

        def full_after_one(path):
            calls.append(path)
            if len(calls) > 2:  # study.toml, and one overlay
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path)

        monkeypatch.setattr(folder, "replacing", full_after_one)
        shown = self.fails(cli, "stage", cohort, "--out", study, "--jobs", 1, code=1)
        assert "the disk is full" in shown
        assert len(Study(study).slide_ids()) == 1


def test_a_run_reads_the_sheet_and_each_outline_once(cohort, tmp_path, cli, monkeypatch):
    """Counting, comparing and the report share what was read."""
    from collections import Counter

    from follicle_stager.annotations import geojson, sections
    from follicle_stager.study import samples

    reads = Counter()

    def counting(module, name):
        real = getattr(module, name)

        def read(path, *args):
            reads[path.name] += 1
            return real(path, *args)

        monkeypatch.setattr(module, name, read)

    counting(geojson, "read_features")
    counting(sections, "read_features")
    counting(samples, "read_table")
    code, said = cli(
        "run", cohort, "--samples", cohort / "samples.csv", "--out", tmp_path / "s", "--detector", "classical"
    )
    assert code == 0, said
    assert reads.pop("samples.csv") == 1
    slides = len(list((tmp_path / "s" / "slides").iterdir()))
    assert len(reads) == 2 * slides, "follicles and sections of each slide, as the run found them"
    assert set(reads.values()) == {1}


def test_a_report_says_which_pictures_are_missing(finished, tmp_path, cli):
    study = Study.open(shutil.copytree(finished[0], tmp_path / "study"))
    slide = study.slide_ids()[0]
    path = study.slide_folder(slide) / "run.json"
    path.write_text(path.read_text().replace(".ome.tif", ".gone.ome.tif"), encoding="utf-8")
    code, said = cli("report", study.path)
    assert code == 0
    assert f"{slide}: " in said
    assert "gone.ome.tif was not found" in said
    page = (study.path / "report.html").read_text(encoding="utf-8")
    assert "gone.ome.tif" in page
