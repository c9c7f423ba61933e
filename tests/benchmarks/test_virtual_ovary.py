"""How fast virtual sections are drawn."""

from __future__ import annotations

import time
from multiprocessing import get_context

import numpy as np
from scipy import ndimage as ndi

from follicle_stager.phantom import Cut, GenotypeModel, build_ovary, faithful, patches
from follicle_stager.phantom.appearance import develop, handle
from follicle_stager.phantom.slide import draw

PATCHES = 192


def _patches_per_second(seed: int) -> float:
    stream = patches(seed)
    for _ in range(8):  # compiled, and the first ovary grown
        next(stream)
    started = time.perf_counter()
    for _ in range(PATCHES):
        next(stream)
    return PATCHES / (time.perf_counter() - started)


def test_rendering_training_patches(record):
    """Patches for training, rendered by two processes."""
    _patches_per_second(0)
    with get_context("spawn").Pool(2) as pool:
        rates = pool.map(_patches_per_second, [1, 2])
    record(f"randomised patches of 256 px, growing the ovaries included: {sum(rates):.1f} per second, two processes")


def test_rendering_a_section(record):
    """One section, as for the evaluation cohort."""
    rng = np.random.default_rng(2)
    ovary = build_ovary(rng, GenotypeModel())
    look, shape = faithful(rng, "H&E", faults=0.2), (4000, 4000)
    draw(ovary, Cut(0, 0.0, 5.0), look, x_um=0, y_um=0, shape=(64, 64), mpp=0.5)  # compiled
    started = time.perf_counter()
    maps = draw(ovary, Cut(0, 0.0, 5.0), look, x_um=-1000, y_um=-1000, shape=shape, mpp=0.5)
    picture = develop(look, rng, *handle(look, rng, maps.nuclear, maps.counter, mpp=0.5), mpp=0.5)
    seconds = time.perf_counter() - started
    tissue = (maps.kind > 0).mean() * 4
    started = time.perf_counter()
    ndi.gaussian_filter(picture.astype(np.float32), (1, 1, 0))
    blur = time.perf_counter() - started
    record(
        f"faithful section of 2 x 2 mm at 0.5 µm/px ({tissue:.1f} mm² of tissue): {seconds:.0f} s in one process, "
        f"{seconds / blur:.0f} times as long as blurring the same picture once"
    )
