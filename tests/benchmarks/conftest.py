"""What benchmarks share: a slide of gigabytes, made once, and the page that keeps what they measured.

``make bench`` writes ``docs/benchmarks.md``. A section of it is replaced if its benchmark was run; all others stay.
"""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from follicle_stager.phantom import Cut, build_ovary, faithful, render_slide, small_ovary

WIDTH, HEIGHT, MPP, TILE = 30_000, 20_000, 0.5, 512
LEVELS = 5
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

This page is written by `make bench`: times, memory, and tests on pictures that have no complete truth. Each section
has the date and the machine. Times are those of one run. On other machines, and on the same machine at other times,
they may differ by a factor of three. The benchmarks of the real sections need pictures that are not part of the
project.
"""


def pytest_addoption(parser):
    parser.addoption("--page", action="store_true", help="write what is measured into docs/benchmarks.md")


@pytest.fixture
def record(request):
    """Print what was measured, and with ``--page`` keep it as the section of this benchmark."""

    def say(text: str) -> None:
        print(f"\n{text}")
        if request.config.getoption("--page"):
            keep(request.node, text)

    return say


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
