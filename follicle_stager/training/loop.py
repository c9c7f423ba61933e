"""The training loop: it takes patches and writes checkpoints, a log and finally the network.

A run is a folder with ``settings.json``, ``checkpoint.pt``, ``log.csv``, ``log.png`` and ``<name>.onnx``. The same
command continues from the checkpoint. Patches, rotations and colours of a step depend only on the seed and its number.
"""

from __future__ import annotations

import copy
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from follicle_stager.detection.network import layout
from follicle_stager.errors import UserError
from follicle_stager.files import replacing, write_text
from follicle_stager.machine import processors
from follicle_stager.stain import NEARLY_WHITE, density_full
from follicle_stager.training.architecture import Answer, build
from follicle_stager.training.shards import PER_BLOCK, PER_SHARD, Arrays, Shards, render_shard, turned
from follicle_stager.training.targets import decode_rays
from follicle_stager.training.weights import read_onnx, write_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from follicle_stager.training.settings import TrainSettings

logger = logging.getLogger(__name__)

#: Weight of each class in the loss; classes that are small or decide the stage have larger weights.
_CLASS_WEIGHT = dict.fromkeys(layout.CLASSES, 1.0) | {
    "outside": 0.5,
    "other tissue": 0.5,
    "oocyte": 3.0,
    "nucleus": 4.0,
    "zona": 2.0,
    "fluid": 2.0,
    "dying granulosa": 2.5,
    "luteal": 2.0,
}
#: Weights of border, centre and rays in the loss, relative to the classes.
_BORDER, _CENTRE, _RAYS = 1.0, 1.0, 1.0
# Share of patches that are shown as those of a picture without glass.
_NO_GLASS = 0.15
# Sides of the squares that separate fine detail by size, px; and logarithm of the factor of its contrast: mean, SD
# between pictures, and SD within a picture.
_DETAIL_PX = (3, 5, 9)
_DETAIL_MEAN, _DETAIL_SD, _DETAIL_WITHIN_SD = 0.2, 0.4, 0.25
# Settings that do not affect the trained weights.
_NOT_OF_THE_WEIGHTS = {"workers", "device", "claims_to_um", "corpora_lutea", "start_share"}
#: Number of validation shards, which no run trains on, and of steps between validations.
_VALIDATION_SHARDS, _VALIDATION_STEPS = 3, 1000


def train(
    settings: TrainSettings,
    folder: Path,
    *,
    patches: Path,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> Path:
    """Train a network, or continue an earlier run.

    Parameters
    ----------
    settings
        Settings of the run.
    folder
        Folder of the run.
    patches
        Folder in which rendered patches are kept; runs can share it.
    on_step
        Function that is called with the number of steps done and the losses of the last one.

    Returns
    -------
    Path
        File of the exported network.

    Raises
    ------
    UserError
        If the folder holds a run with other settings.
    """
    _claim(folder, settings)
    run = _Run(settings, folder)
    if run.step >= settings.steps:
        return run.export()
    shards_needed = -(-settings.steps * settings.batch // (settings.reuse * PER_SHARD))
    with Shards(patches, settings, shards_needed) as shards:
        for step, rows in _batches(settings, shards, run.step):
            losses = run.learn(rows, step)
            on_step(run.step, losses)
            if run.step % settings.checkpoint_steps == 0 or run.step == settings.steps:
                run.save()
    return run.export()


def _claim(folder: Path, settings: TrainSettings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "settings.json", settings.model_dump_json(indent=1, exclude=_NOT_OF_THE_WEIGHTS)
    if path.exists() and path.read_text("utf-8") != text:
        raise UserError(f"{folder}: this folder holds a run with other settings (settings.json); choose another --out.")
    write_text(path, text)


def _batches(settings: TrainSettings, shards: Shards, start: int) -> Iterator[tuple[int, list[Arrays]]]:
    """Steps from ``start`` and their patches: each block ``reuse`` times, in a new order each time."""
    per_block = PER_BLOCK * PER_SHARD * settings.reuse // settings.batch
    for step in range(start, settings.steps):
        block, place = divmod(step, per_block)
        if step % 20 == 0 or step == start:
            # The network uses the cores that the workers leave free; more threads than cores would wait for each other.
            torch.set_num_threads(max(1, processors() - shards.busy))
        if place == 0 or step == start:
            arrays = shards.block(block)
            rng = np.random.default_rng([settings.seed, block])
            count = len(arrays["picture"])
            order = np.concatenate([rng.permutation(count) for _ in range(settings.reuse)])
        rows = order.take(range(place * settings.batch, (place + 1) * settings.batch), mode="wrap")
        yield step, list(turned(arrays, rows, np.random.default_rng([settings.seed, 1, step])))


class _Run:
    """Weights, optimiser and log of a run."""

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        wanted = settings.device
        self._device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        # ImageNet weights are not needed if weights are read below.
        encoder = "lite" if settings.start and settings.encoder == "imagenet" else settings.encoder
        self.net = build(encoder, settings.widths).to(self._device)
        if settings.start:
            read_onnx(self.net, Path(settings.start))
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.05
        )
        self.step = 0
        self.log: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._weights = torch.tensor([_CLASS_WEIGHT[name] for name in layout.CLASSES], device=self._device)
        self._validation: list[Arrays] | None = None
        self._started = time.perf_counter()
        if self._checkpoint.exists():
            self._load()

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def learn(self, patches: list[Arrays], step: int) -> dict[str, float]:
        """Make one training step, and return its losses."""
        self.net.train()
        x, target = self._prepare(patches, np.random.default_rng([self.settings.seed, 2, step]))
        half = self._device.type == "cuda"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            answer = self.net(x)
        parts = self._losses(answer, target)
        loss = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.step = step + 1
        losses = {name: value.item() for name, value in parts.items()}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        return losses

    def _prepare(self, patches: list[Arrays], rng: np.random.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        pictures = np.stack([_shown(p["picture"], p["white"], rng) for p in patches])
        x = torch.from_numpy(pictures).to(self._device, memory_format=torch.channels_last)
        if rng is not None:
            x = regrained(x, rng)
        stacked = {
            name: np.stack([p[name] for p in patches]) for name in patches[0] if name not in ("picture", "white")
        }
        target = {name: torch.from_numpy(v).to(self._device) for name, v in stacked.items() if name != "rays"}
        target["rays"] = torch.from_numpy(decode_rays(stacked["rays"])).to(self._device)
        return x, target

    def _losses(self, answer: Answer, target: dict[str, Tensor]) -> dict[str, Tensor]:
        classes = functional.cross_entropy(
            answer.classes.float(), target["classes"].long(), self._weights, ignore_index=layout.IGNORE
        )
        border = functional.binary_cross_entropy_with_logits(
            answer.border.float(), target["border"].float() / 255, pos_weight=torch.tensor(3.0, device=self._device)
        )
        known = target["centre"] != layout.IGNORE
        aim = target["centre"].float() / 254
        centre = functional.binary_cross_entropy_with_logits(answer.centre.float(), aim, reduction="none")
        centre = (centre * known).sum() / known.sum().clamp(min=1)
        # Pixels near the centre count more, because they determine the outline; at the edge, rays are very short.
        follicle = target["follicle"]
        weight = torch.where(follicle == 1, 0.2 + aim, torch.where(follicle == 2, 0.3, 0.0))
        away = functional.smooth_l1_loss(answer.rays.float(), target["rays"], beta=0.1, reduction="none").mean(1)
        rays = (away * weight).sum() / weight.sum().clamp(min=1)
        return {"classes": classes, "border": _BORDER * border, "centre": _CENTRE * centre, "rays": _RAYS * rays}

    def save(self) -> None:
        """Write checkpoint and log, with validation figures at intervals."""
        count = self.step - (int(self.log[-1]["step"]) if self.log else 0)
        row: dict[str, float] = {"step": self.step, "seconds": round(self._seconds(), 1)}
        row |= {name: round(value / count, 4) for name, value in self._sums.items()}
        if self.step % _VALIDATION_STEPS == 0 or self.step == self.settings.steps:
            row |= self.validate()
        self.log.append(row)
        self._sums = {}
        state = {
            "step": self.step,
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "log": self.log,
        }
        with replacing(self._checkpoint) as temporary:
            torch.save(state, temporary)
        table = pd.DataFrame(self.log)
        write_text(self.folder / "log.csv", table.to_csv(index=False))
        _plot(table, self.folder / "log.png")

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.log = state["step"], state["log"]

    def _seconds(self) -> float:
        """Total time of the run in seconds, including earlier calls."""
        now = time.perf_counter()
        spent = now - self._started
        self._started = now
        return float(self.log[-1]["seconds"] if self.log else 0.0) + spent

    def validate(self) -> dict[str, float]:
        """IoU of each class, and errors of centre and rays, on patches of ovaries that no run trains on."""
        if self._validation is None:
            held_back = self.settings.model_copy(update={"data_seed": 10**6})
            self._validation = [render_shard(held_back, i) for i in range(_VALIDATION_SHARDS)]
        n = len(layout.CLASSES)
        confusion = np.zeros((n, n))
        losses: dict[str, list[float]] = {}
        self.net.eval()
        for shard in self._validation:
            for first in range(0, PER_SHARD, self.settings.batch):
                last = min(first + self.settings.batch, PER_SHARD)
                rows = [{k: v[i] for k, v in shard.items()} for i in range(first, last)]
                x, target = self._prepare(rows, None)
                with torch.no_grad():
                    answer = self.net(x)
                for name, value in self._losses(answer, target).items():
                    losses.setdefault(f"validation_{name}", []).append(value.item())
                given, true = answer.classes.argmax(1), target["classes"].long()
                known = true != layout.IGNORE
                pair = (true[known] * n + given[known]).cpu().numpy()
                confusion += np.bincount(pair, minlength=n * n).reshape(n, n)
        both = np.diag(confusion)
        iou = both / np.maximum(confusion.sum(0) + confusion.sum(1) - both, 1)
        figures = {name: round(float(np.mean(v)), 4) for name, v in losses.items()}
        return figures | {f"iou {name}": round(float(v), 3) for name, v in zip(layout.CLASSES, iou, strict=True)}

    def export(self) -> Path:
        """Write the network as ONNX, with the share of the weights that it started from."""
        path, share = self.folder / f"{self.settings.name}.onnx", self.settings.start_share
        net = self.net
        if self.settings.start and share:
            net = copy.deepcopy(self.net)
            read_onnx(net, Path(self.settings.start))
            after = self.net.state_dict()
            net.load_state_dict({name: _mean(own, after[name], share) for name, own in net.state_dict().items()})
        write_onnx(net, path)
        return path


def _mean(before: Tensor, after: Tensor, share: float) -> Tensor:
    """Mean with the given share of ``before``; counters, which are integers, are those of ``after``."""
    return torch.lerp(after, before, share) if after.is_floating_point() else after


def _shown(
    picture: NDArray[np.uint8], white: NDArray[np.uint8], rng: np.random.Generator | None
) -> NDArray[np.float32]:
    """Convert a patch to the network's input, with random variation of the stain.

    The stain of a slide is measured over all of its tissue, but that of a patch only over the patch. The variation
    covers this difference, and differences between slides.
    """
    glass = np.maximum(white.astype(np.float64), 1)
    if rng is not None:
        # In a picture without glass, its brightness is a guess.
        glass = NEARLY_WHITE if rng.random() < _NO_GLASS else glass * rng.uniform(0.96, 1.03)
    full = density_full(picture, glass)
    if rng is not None:
        full = full * rng.lognormal(0, 0.15) * rng.lognormal(0, 0.08, 3)
    return layout.shown(picture, glass, full)


def regrained(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary the contrast of fine detail from picture to picture, and slowly within each, (batch, channel, y, x).

    Lenses, cameras and compression sharpen or blur, and drawn tissue has less fine detail than real tissue. Without
    this variation, a network could learn that whatever has much fine detail is real, and therefore no follicle.
    """
    out, soft = torch.zeros_like(x), x
    for side in _DETAIL_PX:
        softer = functional.avg_pool2d(soft, side, 1, side // 2, count_include_pad=False)
        amount = _DETAIL_MEAN + _DETAIL_SD * rng.standard_normal((len(x), 1, 1, 1))
        amount = amount + _DETAIL_WITHIN_SD * rng.standard_normal((len(x), 1, 5, 5))
        factor = functional.interpolate(torch.from_numpy(amount.astype(np.float32)), x.shape[2:], mode="bilinear")
        out, soft = out + (soft - softer) * factor.exp().to(x.device), softer
    return (out + soft).clamp(-1, 1)


def _plot(table: pd.DataFrame, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, name in enumerate(("classes", "border", "centre", "rays")):
        axes.plot(table["step"], table[name], f"C{i}-", alpha=0.6, label=name)
        held_back = f"validation_{name}"
        if held_back in table:
            seen = table.dropna(subset=[held_back])
            axes.plot(seen["step"], seen[held_back], f"C{i}o")
    axes.set(xlabel="step", ylabel="loss (dots: held-back ovaries)", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
