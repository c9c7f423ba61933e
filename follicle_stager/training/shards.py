"""Training patches on disk, rendered by worker processes during training and read in blocks.

Shard ``i`` holds 64 patches of one virtual ovary and depends only on the settings and ``i``. The number of workers
therefore has no effect, an interrupted run finds its patches again, and runs with different networks share them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import multiprocessing
import time
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.errors import UserError
from follicle_stager.files import replacing
from follicle_stager.phantom.fields import renderer_id
from follicle_stager.phantom.patches import patches
from follicle_stager.training import targets, textures
from follicle_stager.training.corrected import corrected_patches
from follicle_stager.training.targets import Target, make_target
from follicle_stager.training.textures import load_textures, textures_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.training.settings import TrainSettings

PER_SHARD = 64
#: Number of shards that are in memory at once; their patches are shuffled together.
PER_BLOCK = 32
# Settings that patches depend on; all others may differ between runs that share patches.
_PATCH_SETTINGS = ("mpp", "mpp_spread", "smallest_um", "largest_um", "stages", "without", "patch_px", "data_seed")

#: Arrays by name, one row per patch.
Arrays = dict[str, "NDArray[np.uint8]"]


def patch_key(settings: TrainSettings) -> str:
    """Short hash of everything that patches depend on, used as the name of their folder."""
    chosen = settings.model_dump(mode="json", include=set(_PATCH_SETTINGS))
    chosen |= {"renderer": renderer_id(), "targets": inspect.getsource(targets)}
    if settings.textures:
        chosen |= {"textures": textures_id(settings.textures), "reader": inspect.getsource(textures)}
    if settings.study:  # the slides may have been corrected further, so these patches are not shared
        chosen |= {"study": settings.study, "start": settings.start}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def render_shard(settings: TrainSettings, number: int) -> Arrays:
    """Render the patches of one shard with their targets; with a study, half of them come from it."""
    spread = 1 + settings.mpp_spread
    stream = patches(
        [settings.data_seed, number],
        size=settings.patch_px,
        mpp=(settings.mpp / spread, settings.mpp * spread),
        stages=settings.stages,
        per_ovary=PER_SHARD,
        without=settings.without,
        grounds=load_textures(settings.textures),
    )
    rows: dict[str, list[NDArray[np.uint8]]] = {
        name: [] for name in ("picture", "white", *(f.name for f in fields(Target)))
    }
    made = (
        (
            patch.picture,
            patch.white,
            make_target(patch, smallest_um=settings.smallest_um, largest_um=settings.largest_um),
        )
        for patch in stream
    )
    own = corrected_patches(settings, number) if settings.study else made
    for picture, white, target in (*islice(made, PER_SHARD // 2), *islice(own, PER_SHARD // 2)):
        rows["picture"].append(picture)
        rows["white"].append(np.round(np.clip(white, 0, 255)).astype(np.uint8))
        for f in fields(Target):
            rows[f.name].append(getattr(target, f.name))
    return {name: np.stack(values) for name, values in rows.items()}


class Shards:
    """The patches of a run, which workers render ahead of the training.

    Parameters
    ----------
    folder
        Folder in which patches are kept.
    settings
        Settings of the run.
    count
        Total number of shards.
    """

    def __init__(self, folder: Path, settings: TrainSettings, count: int) -> None:
        self._folder = folder / patch_key(settings)
        self._folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self._workers = [
            context.Process(
                target=_work, args=(self._folder, settings, range(first, count, settings.workers)), daemon=True
            )
            for first in range(settings.workers)
        ]
        self._count = count

    def __enter__(self) -> Shards:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.terminate()
            worker.join()

    @property
    def busy(self) -> int:
        """Number of workers that are still rendering."""
        return sum(worker.is_alive() for worker in self._workers)

    def block(self, number: int) -> Arrays:
        """Patches of a block; waits until all are rendered."""
        first = number * PER_BLOCK
        shards = [self._read(i) for i in range(first, min(first + PER_BLOCK, self._count))]
        return {name: np.concatenate([s[name] for s in shards]) for name in shards[0]}

    def _read(self, number: int) -> Arrays:
        path = _path(self._folder, number)
        while not path.exists():
            if any(worker.exitcode for worker in self._workers):
                raise UserError(
                    f"{self._folder}: a process that renders training patches died (see above). Run the same "
                    "command again; it continues from its checkpoint."
                )
            time.sleep(0.2)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _work(folder: Path, settings: TrainSettings, numbers: range) -> None:
    parent = multiprocessing.parent_process()
    for number in numbers:
        if parent is not None and not parent.is_alive():
            return  # the parent was killed
        path = _path(folder, number)
        if path.exists():
            continue
        arrays = render_shard(settings, number)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def turned(arrays: Arrays, rows: NDArray[np.intp], rng: np.random.Generator) -> Iterator[Arrays]:
    """Patches in random orientation: one of four rotations, mirrored or not."""
    for row in rows:
        quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        out = {}
        for name, values in arrays.items():
            value = values[row]
            if name == "white":
                out[name] = value
                continue
            axes = (1, 2) if name == "rays" else (0, 1)
            if name == "rays":
                value = _turn_rays(value, quarter, mirrored)
            value = np.rot90(value, quarter, axes)
            out[name] = np.flip(value, axes[1]) if mirrored else value
        yield out


def _turn_rays(rays: NDArray[np.uint8], quarter: int, mirrored: bool) -> NDArray[np.uint8]:
    """Reorder the rays after quarter turns (counter-clockwise, y down) and a mirroring of x."""
    n = len(rays)
    rays = np.roll(rays, -quarter * n // 4, axis=0)
    return np.roll(rays[::-1], n // 2 + 1, axis=0) if mirrored else rays
