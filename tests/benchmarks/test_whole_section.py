"""The network on one whole mouse section of a 40x scan, beside decoding the same pixels."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np

from follicle_stager.detection.network import layout, model
from follicle_stager.phantom import GenotypeModel, build_ovary, faithful, render_slide, series
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.slides import open_slide

WIDTH, HEIGHT, MPP = 12_000, 8_000, 0.25
# The command, and at the end its own peak in kB: what the system reports of a child counts this process too.
RUN = """
import sys
from pathlib import Path
from follicle_stager.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


def test_a_whole_section(tmp_path, record):
    """The command `stage` on one mouse section of a 40x scan.

    The targets are 15 s on two cores and 1.5 GB.
    """
    rng = np.random.default_rng(2)
    ovary = build_ovary(rng, GenotypeModel())
    cuts = series(ovary, thickness_um=5, interval=1)
    picture = render_slide(ovary, [cuts[len(cuts) // 2]], faithful(rng, "H&E", faults=0), rng, mpp=2 * MPP).picture
    canvas = np.full((HEIGHT // 2, WIDTH // 2, 3), 246, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture[: HEIGHT // 2, : WIDTH // 2]
    path = tmp_path / "section.ome.tif"
    # Finer pixels than the renderer needs to draw: the network reads them averaged.
    write_ome_tiff(path, canvas.repeat(2, axis=0).repeat(2, axis=1), mpp=MPP)
    with open_slide(path) as slide:
        started = time.perf_counter()
        for y in range(0, HEIGHT, 2000):
            slide.read_region(0, y, WIDTH, 2000, 0)
        decoding = time.perf_counter() - started
    shown = np.zeros((3, 32 * layout.STEP, 32 * layout.STEP), np.float32)
    network = model.load(model.SHIPPED, 0)
    network(shown)
    started = time.perf_counter()
    network(shown)
    inferring = shown[0].size / 1e6 / (time.perf_counter() - started)
    command = [sys.executable, "-c", RUN, "stage", str(path), "--out", str(tmp_path / "s")]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "s" / "slides" / "section" / "run.json").read_text())
    parts = ", ".join(f"{part} {s:.1f} s" for part, s in info["seconds"].items())
    record(
        f"{WIDTH} x {HEIGHT} px at {MPP} µm/px, {info['quality']['tissue_mm2']:.1f} mm² of tissue, "
        f"{info['follicles']} follicles\n"
        f"  whole run, start of Python included: {seconds:.0f} s; of it {parts}\n"
        f"  decoding all its pixels: {WIDTH * HEIGHT / 1e6 / decoding:.0f} MP/s; network: {inferring:.1f} MP/s\n"
        f"  peak memory: {int(done.stderr.split()[-1]) / 1e6:.2f} GB"
    )
