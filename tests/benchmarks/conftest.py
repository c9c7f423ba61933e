"""What benchmarks share: a slide of gigabytes, made once, and the page that keeps what they measured.

``make bench`` writes ``docs/benchmarks.md`` and ``docs/performance.md``. A section of the first, or rows of the second,
are replaced if their benchmark was run; all others stay.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import re
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile

from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary

WIDTH, HEIGHT, MPP, TILE = 30_000, 20_000, 0.5, 512
LEVELS = 5
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
PERFORMANCE_HEAD = """# Performance

This page is written by `make bench` (`tests/benchmarks/test_performance.py`). Machines differ by a factor of three, and
so does one machine at different times. Read the ratios: each compares two measurements of the same run. Times are
medians of several runs, except those of whole studies. [The network detector](network-detector.md#speed) says what was
tried to make the network faster.

With all 10,000 outlines of a slide in view, zooming is slower than with 500: most of it is napari's time for each
outline, whatever its corners, as the row about outlines of 4 corners shows.

| figure | measured | ratio | to | aim | when, machine, versions |
|---|---|---|---|---|---|"""
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

This page is written by `make bench`: times, memory, and tests on pictures that have no complete truth. Each section
has the date and the machine. Times are those of one run. On other machines, and on the same machine at other times,
they may differ by a factor of three. The benchmarks of the real sections need pictures that are not part of the
project.
"""


class Figure(NamedTuple):
    """A row of docs/performance.md."""

    name: str
    measured: str
    ratio: float
    to: str
    aim: float | None


def pytest_addoption(parser):
    parser.addoption("--page", action="store_true", help="write what is measured into docs/")
    parser.addoption("--before", help="a version in the history of the repository to compare with, e.g. db3a7d9")


@pytest.fixture(scope="session")
def before(request, tmp_path_factory):
    """Folder of an earlier version of the code; None if none was given."""
    revision = request.config.getoption("--before")
    if not revision:
        return None
    folder = tmp_path_factory.mktemp("before") / revision
    folder.mkdir()
    root = PAGE.parents[1]  # in a folder of the repository, git packs this folder only
    archive = subprocess.run(["git", "archive", revision], capture_output=True, check=True, cwd=root)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture
def figure(request):
    """Print a figure, and with ``--page`` keep it as a row of docs/performance.md.

    ``figure(name, measured, ratio, to, aim)``: what is measured, its value in words, its ratio to a baseline that was
    measured in the same run, what that is, and the aim for the ratio (None without one).
    """
    rows: list[Figure] = []

    def say(name: str, measured: str, ratio: float, to: str, aim: float | None) -> None:
        rows.append(Figure(name, measured, ratio, to, aim))
        print(f"\n{name}: {measured}, {ratio:.2f} times {to}" + (f"; aim {aim:.2f}" if aim is not None else ""))

    yield say
    if rows and request.config.getoption("--page"):
        keep_figures(rows)


@pytest.fixture
def record(request):
    """Print what was measured, and with ``--page`` keep it as the section of this benchmark."""

    def say(text: str) -> None:
        print(f"\n{text}")
        if request.config.getoption("--page"):
            keep(request.node, text)

    return say


def keep_figures(rows: list[Figure]) -> None:
    """Replace rows of docs/performance.md, or add them."""
    old = PERFORMANCE.read_text(encoding="utf-8") if PERFORMANCE.exists() else ""
    kept = {
        tuple(line.split(" | ")[::3][:2]): line
        for line in old.splitlines()
        if line.startswith("| ") and "---" not in line
    }
    kept.pop(("| figure", "to"), None)
    machine = f"{processor()}, {os.cpu_count()} cores"
    packages = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("onnxruntime", "tifffile"))
    said = f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {packages}"
    for row in rows:
        aim = f"{row.aim:.3g}" if row.aim is not None else ""
        line = f"| {row.name} | {row.measured} | {row.ratio:.2f} | {row.to} | {aim} | {said} |"
        kept[f"| {row.name}", row.to] = line
    table = "\n".join(kept.values())
    PERFORMANCE.write_text(f"{PERFORMANCE_HEAD}\n{table}\n", encoding="utf-8")


def keep(node: pytest.Item, text: str) -> None:
    """Replace the section of a benchmark on the page, or add it; sections are in order of their names."""
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD, flags=re.MULTILINE)
    sections = {part.split("\n", 1)[0]: part for part in parts[1:]}
    name = node.name.removeprefix("test_").replace("_", " ").capitalize()
    machine = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    measured = f"*`{node.path.name}`, {datetime.now(UTC):%Y-%m-%d}, {machine}*"
    lines = "\n".join(line.rstrip() for line in text.strip().split("\n"))
    about = " ".join(node.obj.__doc__.split()) if node.obj.__doc__ else ""
    sections[name] = "\n\n".join(filter(None, (name, measured, about, f"```text\n{lines}\n```"))) + "\n"
    PAGE.write_text(HEAD + "".join(f"\n## {sections[n].rstrip()}\n" for n in sorted(sections)), encoding="utf-8")


def processor() -> str:
    """The processor's name, where Linux says it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text(encoding="utf-8")) if info.exists() else []
    return names[0] if names else platform.processor()


def _tiles(picture: np.ndarray, spots: list[tuple[int, int]], level: int):
    """Tiles of one level, made as they are written, so that the slide never is in memory."""
    down = 2**level
    small = picture[::down, ::down]
    for y in range(0, HEIGHT // down, TILE):
        for x in range(0, WIDTH // down, TILE):
            tile = np.full((TILE, TILE, 3), 248, np.uint8)
            for spot_x, spot_y in spots:
                left, top = spot_x // down - x, spot_y // down - y
                x0, y0 = max(0, left), max(0, top)
                x1, y1 = min(TILE, left + small.shape[1]), min(TILE, top + small.shape[0])
                if x0 < x1 and y0 < y1:
                    tile[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
            yield tile


@pytest.fixture(scope="session")
def large_slide(tmp_path_factory):
    """Twelve copies of a synthetic section on a large glass, as a JPEG-compressed OME-TIFF pyramid."""
    rng = np.random.default_rng(1)
    ovary = build_ovary(rng, small_ovary())
    picture = render_slide(ovary, [Cut(0, 0.0, 5.0)], faithful(rng, "H&E", faults=0), rng, mpp=MPP).picture
    spots = [(2000 + 6500 * i, 2000 + 5500 * j) for j in range(3) for i in range(4)]
    path = tmp_path_factory.mktemp("large") / "large.ome.tif"
    options = {
        "photometric": "rgb",
        "tile": (TILE, TILE),
        "compression": "jpeg",
        "compressionargs": {"level": 80},
        "dtype": np.uint8,
    }
    metadata = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tif:
        for level in range(LEVELS):
            shape = (HEIGHT // 2**level, WIDTH // 2**level, 3)
            extra = {"subifds": LEVELS - 1, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            tif.write(_tiles(picture, spots, level), shape=shape, **extra, **options)
    return path
