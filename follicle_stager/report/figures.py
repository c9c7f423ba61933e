"""Figures of a comparison: every animal as a dot, and the steps of the ladder with their intervals.

Controls are open circles and knockouts are filled circles, so the groups differ not only in colour.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from follicle_stager.files import replacing
from follicle_stager.stages import RUNGS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.lines import Line2D

    from follicle_stager.statistics import Arrest

_LABELS = [name.replace("_", " ") for name in RUNGS]
_CONTROL, _KNOCKOUT = "#0072b2", "#d55e00"
# Limit of the axis: longer intervals are cut, and an arrow shows this.
_WIDEST = 64.0


def stage_figure(arrest: Arrest) -> Figure:
    """Plot the counts of each animal on each rung, and the means of the groups."""
    matrix = arrest.matrix
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    handles: dict[str, Line2D] = {}
    for group, (own, color, shift) in {
        matrix.genotypes[0]: (~matrix.knockout, _CONTROL, -0.17),
        matrix.genotypes[1]: (matrix.knockout, _KNOCKOUT, 0.17),
    }.items():
        filled = color if shift > 0 else "white"
        for rung in np.flatnonzero(matrix.seen):
            values = matrix.counts[own, rung]
            x = rung + shift + rng.uniform(-0.07, 0.07, len(values))
            (dots,) = axes.plot(x, values, "o", mfc=filled, mec=color, ms=6)
            handles.setdefault(group, dots)
            axes.hlines(values.mean(), rung + shift - 0.13, rung + shift + 0.13, color=color, lw=2)
    for rung in np.flatnonzero(~matrix.seen):
        axes.text(
            float(rung), 0.5, "no counts", rotation=90, ha="center", transform=axes.get_xaxis_transform(), color="0.45"
        )
    axes.set(xticks=range(len(_LABELS)), xticklabels=_LABELS, ylabel="follicles counted per animal", xlim=(-0.6, 4.6))
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
    axes.spines[["top", "right"]].set_visible(False)
    # Show names unchanged: matplotlib reads $ as mathematics, and leaves out labels that begin with _.
    legend = axes.legend(handles.values(), [str(number) for number in range(len(handles))], frameon=False)
    for text, group in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(group)
    return figure


def step_figure(arrest: Arrest) -> Figure:
    """Plot the ratio of each step with its 95 % interval; below 1, fewer follicles take the step in the knockout."""
    steps = arrest.steps
    figure = Figure(figsize=(6.4, 2.7), layout="constrained")
    axes = figure.subplots()
    names = [
        f"{a.replace('_', ' ')} to\n{b.replace('_', ' ')}" for a, b in zip(steps["from"], steps["to"], strict=True)
    ]
    axes.axvline(1, color="0.6", lw=1)
    for y, (to, ratio, first, last) in enumerate(steps[["to", "ratio", "low", "high"]].to_numpy(object)):
        if math.isnan(ratio):
            axes.text(1, y, "  not estimable", va="center", color="0.45")
            continue
        low, high = max(first, 1 / _WIDEST), min(last, _WIDEST)
        blocked = to in _after(arrest)
        color = _KNOCKOUT if blocked else "0.25"
        axes.hlines(y, low, high, color=color, lw=2)
        axes.plot(ratio, y, "s" if blocked else "o", color=color, ms=7)
        for end, marker in ((first < low, "<"), (last > high, ">")):
            if end:
                axes.plot(low if marker == "<" else high, y, marker, color=color, ms=7)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5), xscale="log")
    axes.set_xlim(1 / _WIDEST / 1.3, _WIDEST * 1.3)
    ticks = [1 / 64, 1 / 16, 1 / 4, 1, 4, 16, 64]
    axes.set_xticks(ticks, ["1/64", "1/16", "1/4", "1", "4", "16", "64"], minor=False)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel(f"the step is taken x times as often in {arrest.matrix.genotypes[1]}", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_figures(folder: Path, arrest: Arrest, number: int) -> dict[str, Figure]:
    """Draw the figures of a mouse model, and write them into ``statistics/`` of a folder as SVG and PDF.

    Parameters
    ----------
    folder
        Study folder, or the folder of a comparison.
    arrest
        Results of the model.
    number
        Number of the model, for the names of the files.
    """
    figures = {"stages": stage_figure(arrest), "steps": step_figure(arrest)}
    for name, figure in figures.items():
        for ending in ("svg", "pdf"):
            with replacing(folder / "statistics" / f"{name}_{number}.{ending}") as temporary:
                save_figure(figure, temporary, ending)
    return figures


def svg(figure: Figure) -> str:
    """A figure as SVG; the same data give the same text."""
    buffer = io.BytesIO()
    save_figure(figure, buffer, "svg")
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]


def save_figure(figure: Figure, target: Path | io.BytesIO, ending: str) -> None:
    """Write a figure as ``svg`` or ``pdf``; the same data give the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "follicle-stager", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about missing glyphs, and names too long for the layout
        figure.savefig(target, format=ending, metadata={"CreationDate" if ending == "pdf" else "Date": None})


def _after(arrest: Arrest) -> set[str]:
    """Rungs directly after a block."""
    steps = arrest.steps
    return set(steps.loc[steps["from"].isin(arrest.verdict.blocks), "to"])
