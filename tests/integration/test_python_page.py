"""The scripts of docs/howto-python.md and docs/statistics.md do what the pages say, as they are printed there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from follicle_stager import compare, count
from follicle_stager.annotations import read_geojson, read_outlines
from follicle_stager.statistics import write_comparison
from follicle_stager.study import Study

ROOT = Path(__file__).parents[2]
SCRIPTS, STATISTICS = (
    re.findall(r"```(?:python|r)\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.S)
    for page in ("howto-python.md", "statistics.md")
)
HEAVY = {"numpy", "pandas", "scipy", "skimage", "shapely", "matplotlib", "sklearn", "pydantic", "zarr"}


@pytest.fixture(scope="module")
def desk(cohort, tmp_path_factory):
    """A folder with small slides that have the names of example slides."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "slides").mkdir()
    sheet = (cohort / "samples.csv").read_text(encoding="utf-8")
    for slide in cohort.glob("*.ome.tif"):
        name = slide.name.replace(".ome.tif", "_1.ome.tif")
        shutil.copy(slide, folder / "slides" / name)
        sheet = sheet.replace(slide.name, name)
    (folder / "slides" / "samples.csv").write_text(sheet, encoding="utf-8")
    return folder


def run(script, folder):
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, "-X", "utf8", path.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_then_its_counts(desk):
    folder, one, _, statistics = SCRIPTS
    said = run(folder, desk)
    assert all(f"{slide} done" in said for slide in Study.open(desk / "study").slide_ids())
    assert (desk / "study" / "tables" / "counts_by_animal.csv").is_file()

    said = run(one, desk)
    follicles = read_geojson(desk / "Igfals_WT_1_1.geojson")
    assert len(said.splitlines()) == len(follicles) == len(Study.open(desk / "study").follicles("Igfals_WT_1_1"))
    assert len(read_outlines(desk / "Igfals_WT_1_1.zip").follicles) == len(follicles)

    said = run(statistics, desk)
    assert re.search(r"Igfals: antral / secondary, .* t = -?\d+\.\d+, p = \d\.\d+", said)
    assert len(pd.read_csv(desk / "counts_for_R.csv")) == 4

    study = Study.open(desk / "study")
    write_comparison(study, compare(count(study)))
    in_python, in_r = STATISTICS
    said = run(in_python, desk)
    assert "C(group)[T.knockout]" in said
    assert re.search(r"knockout +2\.0", said)
    if shutil.which("Rscript"):
        done = subprocess.run(["Rscript", "-e", in_r], cwd=desk, capture_output=True, text=True, check=False)
        assert "Welch Two Sample t-test" in done.stdout, done.stderr


def test_the_library_is_imported_when_it_is_used():
    code = (
        "import sys, follicle_stager as fs\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "missing = [name for name in fs.__all__ if not hasattr(fs, name)]\n"
        "assert not missing, missing\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_needs_no_numbers():
    """``--help`` answers at once: what computes is imported by the verb that needs it."""
    code = (
        "import sys\n"
        "sys.argv = ['follicle-stager', '--help']\n"
        "from follicle_stager.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
