"""Speed and memory on a slide of 30,000 x 20,000 px."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from follicle_stager.slides import open_slide
from follicle_stager.slides.resample import grid_shape, read_at_mpp


def test_a_large_slide(large_slide, tmp_path, record):
    """The command `stage` on a large slide of twelve sections, most of it glass, compared with decoding alone.

    The target is less than 2 GB of memory at the peak.
    """
    with open_slide(large_slide) as slide:
        size = f"{slide.width} x {slide.height} px at {slide.pixel_size.mpp} µm/px"
        started = time.perf_counter()
        height, width = grid_shape(slide, 1.0)
        for y in range(0, height, 1024):
            for x in range(0, width, 1024):
                read_at_mpp(slide, x, y, 1024, 1024, 1.0)
        decoding = time.perf_counter() - started
    command = [sys.executable, "-m", "follicle_stager", "stage", str(large_slide), "--out", str(tmp_path / "s")]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    info = json.loads((tmp_path / "s" / "slides" / "large" / "run.json").read_text())
    tissue = info["quality"]["tissue_mm2"]
    parts = ", ".join(f"{part} {s:.1f} s" for part, s in info["seconds"].items())
    record(
        f"{size}, {tissue:.1f} mm² of tissue, {info['follicles']} follicles\n"
        f"  whole run: {seconds:.0f} s, {seconds / tissue:.2f} s per mm² of tissue\n"
        f"  of it: {parts}\n"
        f"  decoding the slide at 1 µm/px alone: {decoding:.1f} s; the run takes {seconds / decoding:.1f} times that\n"
        f"  peak memory: {peak_gb:.2f} GB"
    )
    assert peak_gb < 2.0
