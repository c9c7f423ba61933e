"""Files of a study that are damaged, changed by hand, or left by runs that were killed."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from crashes import RUN, follicle, slide_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from studies import count_study

from follicle_stager.config import Config, load_config
from follicle_stager.corrections import ReviewSession
from follicle_stager.corrections.edits import Edit
from follicle_stager.errors import StudyError, UserError
from follicle_stager.files import replacing, write_text
from follicle_stager.report.figures import beside_each_other, drawn_as, stage_figure, svg
from follicle_stager.report.html import _corpora_lutea, _overlay
from follicle_stager.stages import LADDER, Stage
from follicle_stager.statistics import find_arrest
from follicle_stager.statistics.matrix import CountMatrix
from follicle_stager.statistics.points import points
from follicle_stager.study import Counts, Study

INFO = {"run_id": RUN, "mpp_x": 0.5, "mpp_y": 0.5, "mpp_source": "a", "visible_stages": list(LADDER), "source": "s.tif"}


@pytest.fixture
def study(tmp_path):
    """A study of one slide with two follicles."""
    study = Study.create(tmp_path / "study", Config())
    folder = slide_folder(study.slide_folder("s"), [follicle(100), follicle(300)])
    (folder / "run.json").write_text(json.dumps(INFO))
    study.samples_path.write_text("slide,animal,genotype,group\ns,1,+/+,control\n")
    return study


def test_the_date_of_the_question_is_kept_until_the_question_changes(study):
    toml = study.path / "study.toml"
    first = study.config.comparison
    assert first.named_on == datetime.now(UTC).date().isoformat()
    toml.write_text(toml.read_text().replace(first.named_on, "2026-01-01"))
    assert Study.create(study.path, Config()).config.comparison.named_on == "2026-01-01"
    other = Config().with_options(comparison={"contrast": "primary"})
    assert Study.create(study.path, other).config.comparison.contrast_named == f"primary, {first.named_on}"
    toml.write_text(toml.read_text().replace('contrast = "primary"', 'contrast = "secondary"'))
    assert study.config.comparison.named_on == "", "changed by hand"
    assert Study.create(study.path, study.config).config.comparison.named_on == first.named_on


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class TestRunJson:
    @pytest.mark.parametrize(
        "content",
        [
            json.dumps(INFO)[:40],
            "",
            "[]",
            "null",
            "[" * 100_000,
            json.dumps(INFO | {"visible_stages": None}),
            json.dumps(INFO | {"visible_stages": ["blastocyst"]}),
            json.dumps(INFO | {"mpp_x": 0}),
            json.dumps(INFO | {"flags": 5}),
            json.dumps(INFO | {"follicles": -1}),
            json.dumps({k: v for k, v in INFO.items() if k != "visible_stages"}),
            json.dumps(INFO | {"visible_stages": []}),
            json.dumps(INFO | {"source": "a\0b"}),
            json.dumps(INFO | {"mpp_y": 900}),
            "\0\1",
        ],
    )
    def test_damage_is_never_na_in_a_table(self, study, content):
        path = study.slide_folder("s") / "run.json"
        path.write_text(content)
        with pytest.raises(StudyError, match=r"run\.json: the file is damaged .* corrections are kept"):
            count_study(study)
        assert not study.tables.exists()

    def test_no_scale(self, study):
        path = study.slide_folder("s") / "run.json"
        path.write_text(json.dumps({k: v for k, v in INFO.items() if k != "mpp_x"}))
        with pytest.raises(StudyError, match=r"run\.json: mpp_x and mpp_y are missing"):
            study.pixel_size("s")


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("follicles.geojson", lambda d: d["features"][0].update(properties=[1])),
            ("follicles.geojson", lambda d: d["features"][0]["geometry"].update(coordinates=[[[1e999, 0]] * 4])),
            ("sections.geojson", lambda d: d["features"][0]["properties"]["measurements"].update(Order=float("inf"))),
            ("sections.geojson", lambda d: d["features"][0]["properties"]["metadata"].update(section_id=[5])),
            ("sections.geojson", lambda d: d["features"][0]["properties"]["measurements"].update({"Area mm2": -1})),
            ("sections.geojson", lambda d: d["features"][0].pop("properties")),
        ],
    )
    def test_geojson(self, study, name, damage):
        path = study.slide_folder("s") / name
        data = json.loads(path.read_text())
        damage(data)
        path.write_text(json.dumps(data))
        with pytest.raises(UserError, match=re.escape(name)):
            count_study(study)

    @pytest.mark.parametrize("change", [{"of": None}, {"author": 5}, {"before": {}}, {"kind": "x"}, {"id": None}])
    def test_one_bad_line_in_the_middle_of_the_log(self, study, change):
        with study.review("s", author="A") as session:
            for one in session.follicles:
                session.set_stage([one.id], Stage.PRIMARY)
        path = study.slide_folder("s") / "edits.jsonl"
        lines = path.read_text().splitlines()
        lines[1] = json.dumps(json.loads(lines[1]) | change)
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(
            UserError, match=r"edits\.jsonl: line 2: this is not an edit .*[Rr]estore the file from a copy"
        ):
            count_study(study)

    @pytest.mark.parametrize("text", ["x = " + "[" * 900 + "]" * 900, "x = " + "9" * 5000, "[detection", "a = 1"])
    def test_study_toml(self, study, text):
        with (study.path / "study.toml").open("a") as file:
            file.write(text + "\n")
        with pytest.raises(UserError, match=r"study\.toml"):
            count_study(study)

    @pytest.mark.parametrize("text", ["", "[slides]\nmax_decoded_mb = 500.0\n"])
    def test_a_study_toml_that_is_cut_off_is_no_default(self, study, text):
        (study.path / "study.toml").write_text(text)
        with pytest.raises(UserError, match=r"study\.toml: parts of the file are missing"):
            count_study(study)
        with pytest.raises(UserError, match="parts of the file are missing"):
            Study.create(study.path, Config())

    def test_what_a_run_found_is_damaged(self, study):
        (study.slide_folder("s") / "predictions" / f"{RUN}.geojson").write_text("{")
        with pytest.raises(UserError, match=r"predictions.*delete the files in .*corrections are kept"):
            count_study(study)

    def test_outlines_that_another_program_took_away_are_said(self, study):
        (study.slide_folder("s") / "follicles.geojson").write_text('{"type": "FeatureCollection", "features": []}')
        notes = count_study(study).notes
        assert any("2 follicles were removed from follicles.geojson" in note for note in notes)

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
    def test_an_overlay_is_a_jpeg_or_an_error(self, tmp_path, content):
        (tmp_path / "overlay.jpg").write_bytes(content)
        with pytest.raises(StudyError, match=r"overlay\.jpg: the overlay is damaged .*Delete it"):
            _overlay(tmp_path / "overlay.jpg")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    @pytest.mark.parametrize("name", ["study.toml", "samples.csv", "run.json", "edits.jsonl", "follicles.geojson"])
    def test_a_pipe_does_not_hang(self, study, name):
        path = study.path / name if name in ("study.toml", "samples.csv") else study.slide_folder("s") / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        with pytest.raises(UserError, match="regular file|no study folder|damaged"):
            count_study(Study.open(study.path))

    @pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
    @pytest.mark.parametrize("name", ["edits.jsonl", ".edits.jsonl.lock", "edits.torn"])
    def test_a_log_that_is_a_link_is_refused(self, study, tmp_path, name):
        folder, other = study.slide_folder("s"), tmp_path / "mine"
        other.write_bytes(b"first line\nimportant bytes")
        if name == "edits.torn":
            (folder / "edits.jsonl").write_bytes(b"torn")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(other)
        with pytest.raises(UserError, match="this is a link"):
            ReviewSession(folder, RUN, author="A")
        assert other.read_bytes() == b"first line\nimportant bytes"

    def test_half_characters_in_names_are_kept(self, tmp_path):
        write_text(tmp_path / "a.json", json.dumps({"source": "a\udcff.tif"}, ensure_ascii=False))
        assert json.loads((tmp_path / "a.json").read_text("utf-8"))["source"] == "a\udcff.tif"


class TestRuns:
    def test_settings_of_a_person_stay(self, study):
        path = study.path / "study.toml"
        path.write_text(path.read_text().replace("nucleus_height_um = {}", "nucleus_height_um = {secondary = 17.0}"))
        mine, said = path.read_text(), []
        Study.create(study.path, load_config(path), told=said.append)
        assert path.read_text() == mine
        assert not said
        Study.create(study.path, Config(), told=said.append)
        assert 'counting.nucleus_height_um was {"secondary": 17.0}, now {}' in said[0]
        assert (study.path / "study.replaced_1.toml").read_text() == mine

    def test_options_of_a_run_are_said_and_fill_no_folder(self, study):
        said = []
        config = Config.model_validate({"detection": {"min_score": 0.3}})
        Study.create(study.path, config, told=said.append)
        assert "detection.min_score was 0.4, now 0.3" in said[0]
        assert not list(study.path.glob("study.replaced*"))

    def test_a_second_run_with_other_settings_is_refused(self, study):
        other = Config.model_validate({"detection": {"min_score": 0.3}})
        with study.running(Config()):
            with study.running(Config()):  # another process of the same job
                pass
            with pytest.raises(StudyError, match="another run with other settings"), study.running(other):
                pass
            with pytest.raises(StudyError, match="another run with other settings"):
                Study.create(study.path, other)
            with pytest.raises(StudyError, match="other settings"), study.running(Config(), mpp=0.5):
                pass
            assert load_config(study.path / "study.toml").detection == Config().detection
        with study.running(other):
            pass
        assert not list(study.path.glob(".run-*"))

    def test_what_a_killed_run_left_is_swept(self, study):
        folder = study.slide_folder("s")
        code = (
            "import os, sys, pathlib; from follicle_stager.files import replacing\n"
            "files = [replacing(pathlib.Path(sys.argv[1]) / name) for name in ('run.json', 'overlay.jpg')]\n"
            "[file.__enter__() for file in files]\n"
            "os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
        assert len(list(folder.glob(".tmp-*"))) == 2
        (folder / ".overlay-k3j_2x1a.jpg").write_bytes(b"of version 0.1")
        with replacing(folder / "mine.txt") as mine:
            with study.running(Config()):
                pass
            assert mine.exists(), "a writer at work keeps its file"
        assert {p.name for p in folder.glob(".*")} <= {".edits.jsonl.lock"}

    def test_a_killed_run_leaves_a_folder_that_can_be_used(self, tmp_path):
        for name in (".runs.lock", ".run-abc-1.lock", ".tmp-00000000-1-x"):
            (tmp_path / name).write_bytes(b"")
        assert Study.create(tmp_path, Config()).path == tmp_path

    def test_a_full_disk_leaves_the_old_sample_sheet(self, study, tmp_path, monkeypatch):
        sheet = tmp_path / "new.csv"
        sheet.write_text(study.samples_path.read_text().replace("+/+", "WT"))
        before, real = study.samples_path.read_text(), os.fsync

        def full(handle):
            if os.readlink(f"/proc/self/fd/{handle}").endswith(".csv"):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("needs /proc")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            count_study(study, samples_path=sheet)
        assert study.samples_path.read_text() == before
        assert not list(study.path.glob("samples.replaced*"))

    def test_an_overlay_goes_with_its_outlines(self, study, monkeypatch):
        """A run that may not touch a slide, since somebody corrects it, leaves its overlay too."""
        monkeypatch.setattr("follicle_stager.study.folder._OTHER_RUN_S", 0.1)
        folder = study.slide_folder("s")
        (folder / "overlay.jpg").write_bytes(b"old")
        from follicle_stager.pixel_size import PixelSize
        from follicle_stager.records import SlideResult

        result = SlideResult("s", PixelSize(0.5, 0.5, "a"), tuple(study.sections("s")), (), LADDER)
        (study.path / "s.tif").write_bytes(b"picture")
        request, overlay = study.request(study.path / "s.tif", Config()), Image.new("RGB", (9, 9))
        with study.review("s", author="A"), pytest.raises(UserError, match="is open for correction"):
            study.save(result, request, overlay=overlay)
        assert (folder / "overlay.jpg").read_bytes() == b"old"
        study.save(result, request, overlay=overlay)
        assert (folder / "overlay.jpg").read_bytes() != b"old"


class TestFigures:
    @staticmethod
    def figure(genotype):
        ko = np.array([0, 0, 1, 1], bool)
        matrix = CountMatrix("m", tuple("abcd"), ko, np.ones((4, 5)), np.ones((4, 5)), (genotype, "KO"))
        return stage_figure(find_arrest(matrix))

    @pytest.mark.parametrize("genotype", ["WT", "_WT", "KO $\\frac{$", "$x$", "+/+", "<b>"])
    def test_genotypes_are_written_as_they_are(self, genotype):
        figure = self.figure(genotype)
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [genotype, "KO"]
        assert svg(figure).startswith("<svg")

    @pytest.mark.parametrize("ending", ["svg", "pdf"])
    def test_the_same_bytes_each_time(self, ending):
        drawn = drawn_as(self.figure("WT"), ending)
        assert drawn == drawn_as(self.figure("WT"), ending)
        assert b"CreationDate" not in drawn

    def test_text_stays_text(self):
        """It can be edited in other programs, and searched."""
        assert b">early antral</text>" in drawn_as(self.figure("WT"), "svg")
        written = drawn_as(self.figure("WT"), "pdf")
        assert b"/CIDFontType2" in written, "TrueType"
        assert b"/Type3" not in written

    def test_the_axis_is_that_of_the_animals(self):
        """A section with the only antral follicle of an animal would stretch it; it is a triangle at the top."""
        ko = np.array([0, 0, 1, 1], bool)
        matrix = CountMatrix("m", tuple("abcd"), ko, np.ones((4, 5)), np.ones((4, 5)), ("WT", "KO"))
        shown = points(matrix, pd.DataFrame(), "given")
        shown = pd.concat([shown, shown.assign(level="section", value=[0.5, 40] * (len(shown) // 2))])
        axes = stage_figure(find_arrest(matrix), shown).axes[4]
        assert axes.get_ylim()[1] == pytest.approx(1.08)
        drawn = {marker: [line for line in axes.lines if line.get_marker() == marker] for marker in "o^"}
        assert sum(len(line.get_ydata()) for line in drawn["^"]) == 2
        assert max(line.get_ydata().max() for line in drawn["^"]) < 1.08
        assert sum(len(line.get_ydata()) for line in drawn["o"]) == 6

    @given(st.lists(st.integers(0, 12), min_size=1, max_size=14))
    def test_dots_do_not_lie_on_each_other(self, values):
        x, y = beside_each_other(np.array(values, float), 1.5, 0.05), np.array(values, float)
        apart = [((x[i] - x[j]) / 0.05) ** 2 + ((y[i] - y[j]) / 1.5) ** 2 for i in range(len(y)) for j in range(i)]
        assert min(apart, default=1) > 0.99


def test_an_edit_is_text(tmp_path):
    with pytest.raises(UserError, match="line 1: this is not an edit"):
        Edit.from_line(b'{"of": null, "kind": "saved", "before": [], "after": []}', "line 1")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.3])
def test_ctrl_c_while_the_library_loads_ends_quietly(tmp_path, after_s):
    import signal
    import time

    run = subprocess.Popen(
        [sys.executable, "-m", "follicle_stager", "count", "nowhere"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    time.sleep(after_s)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=60)[1]
    assert "Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_within_an_import_ends_quietly_and_elsewhere_is_an_interrupt(tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    start = "import signal, follicle_stager.__main__ as m; signal.signal(signal.SIGINT, m.interrupt)\n"
    within = start + "try:\n    import slow\nexcept BaseException:\n    print('caught')\n"
    elsewhere = start + "try:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('caught')\n"
    for code, ends_with, said in ((within, 130, ""), (elsewhere, 0, "caught\n")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (ends_with, said, "")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_python_ends_ends_quietly(tmp_path):
    code = (
        "import atexit, os, signal, sys, follicle_stager.__main__ as m\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "sys.argv = ['follicle-stager', '--version']\n"
        "m.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.startswith("follicle-stager ")
    assert done.stderr == ""


def test_a_console_of_another_code_page(tmp_path):
    command = [sys.executable, "-m", "follicle_stager", "stage", "b😀.tif"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([*command, "--out", "o"], capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"no such file" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Linux alone")
def test_a_slide_whose_name_is_not_utf8(tmp_path):
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import SlideResult

    source = tmp_path / os.fsdecode(b"a\xff.tif")
    try:
        source.write_bytes(b"picture")
    except OSError:
        pytest.skip("this file system takes no such name")
    study = Study.create(tmp_path / "s", Config())
    result = SlideResult("aÿ", PixelSize(0.5, 0.5, "a"), (), (), LADDER)
    study.slide_folder("aÿ").mkdir(parents=True)
    study.save(result, study.request(source, Config()))
    assert study.source("aÿ") == source


def test_a_slide_of_several_files_is_another_one_if_any_of_them_changes(tmp_path):
    first, second = tmp_path / "a.dcm", tmp_path / "b.dcm"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    study = Study(tmp_path)
    before = study.request(first, Config(), parts=[second]).run_id
    assert before == study.request(first, Config(), parts=[second]).run_id
    second.write_bytes(b"three")
    assert before != study.request(first, Config(), parts=[second]).run_id


def test_the_report_has_means_of_corpora_lutea_over_animals():
    """By hand: an animal counts as one, however many sections it has; NA stays NA; no table without any profile."""
    animals = pd.DataFrame(
        {
            "model": ["M"] * 3,
            "group": ["control", "control", "knockout"],
            "genotype": ["+/+", "+/+", "-/-"],
            "n_profiles": pd.array([2, 9, pd.NA], "Int64"),
            "sections": [1, 3, 2],
            "luteal_fraction": [0.2, 0.1, np.nan],
        }
    )
    control, knockout = _corpora_lutea(Counts(*[pd.DataFrame()] * 5, corpora_lutea_animal=animals))
    assert (control["name"], control["animals"], control["profiles"]) == ("M +/+", 2, 11)
    assert control["per_section"] == pytest.approx((2 + 3) / 2)
    assert control["fraction"] == pytest.approx(0.15)
    assert np.isnan([knockout["profiles"], knockout["per_section"], knockout["fraction"]]).all()
    none = animals.assign(n_profiles=pd.array([0, 0, 0], "Int64"))
    assert _corpora_lutea(Counts(*[pd.DataFrame()] * 5, corpora_lutea_animal=none)) == []


def test_remote_images_of_the_same_size_are_not_taken_for_one():
    """Their metadata are equal; only the address tells them apart."""
    pytest.importorskip("upath", reason="the remote extra is not installed")
    from follicle_stager.files import as_path
    from follicle_stager.study.runs import content_of

    scans = [as_path(f"memory://lab/mouse{number}/scan.zarr") for number in (1, 2)]
    for scan in scans:
        (scan / "zarr.json").write_bytes(b"{}")
    assert content_of(scans[0]) == content_of(scans[0]) != content_of(scans[1])
