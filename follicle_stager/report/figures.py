"""Figures of a comparison: animals, ovaries and sections as dots, and the steps of the ladder with their intervals.

Controls are open circles and knockouts are filled circles, so the groups differ not only in colour.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.special import stdtrit

from follicle_stager.files import replacing
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.points import points

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

    from follicle_stager.statistics import Arrest, Comparison

# Size of the dots, points, and opacity: sections, ovaries and animals.
_LEVELS = {"section": (2.2, 0.45), "ovary": (3.6, 0.7), "animal": (6.0, 1.0)}
_LABELS = [name.replace("_", " ") for name in RUNGS]
_CONTROL, _KNOCKOUT = "#0072b2", "#d55e00"
# Share of the height of the figure of stages that its legend takes.
_LEGEND = 0.1
# Limit of the axis: longer intervals are cut, and an arrow shows this.
_WIDEST = 64.0
# Largest distance of a point from the middle of its group, as a share of the distance between groups.
_WIDEST_OFFSET = 0.44


def stage_figure(arrest: Arrest, shown: pd.DataFrame | None = None, counted: str = "follicles") -> Figure:
    """Plot animals, ovaries and sections of both groups for each rung, with means and 95 % intervals over animals.

    Parameters
    ----------
    arrest
        Results of the comparison.
    shown
        The values, `Comparison.points` of this comparison; those of the animals by default.
    counted
        What was counted, for the axis.
    """
    matrix = arrest.matrix
    shown = points(matrix, pd.DataFrame(), "given") if shown is None else shown
    figure = Figure(figsize=(7.4, 3.0), layout=ConstrainedLayoutEngine(rect=(0, _LEGEND, 1, 1 - _LEGEND)))
    handles: dict[str, Line2D] = {}
    for rung, (axes, stage, seen) in enumerate(zip(figure.subplots(1, len(RUNGS)), RUNGS, matrix.seen, strict=True)):
        axes.set_title(_LABELS[rung], fontsize="medium")
        axes.set(xticks=[], xlim=(-0.6, 1.6))
        axes.spines[["top", "right"]].set_visible(False)
        if not seen:
            axes.text(0.5, 0.5, "not compared", ha="center", transform=axes.transAxes, color="0.45")
            axes.set_yticks([])
            continue
        own = shown[shown["stage"] == stage]
        top = axis_top(own)
        lowest = min(float(own["value"].min()), 0.0)  # estimates of an audit may be negative
        axes.set_ylim(1.05 * lowest - 0.04 * top, top)
        for place, (genotype, color) in enumerate(zip(matrix.genotypes, (_CONTROL, _KNOCKOUT), strict=True)):
            of_group = own[own["genotype"] == genotype]
            for level, (size, alpha) in _LEVELS.items():
                values = of_group.loc[of_group["level"] == level, "value"].to_numpy(float)
                shape = {"mfc": color if place else "white", "mec": color, "alpha": alpha, "mew": 0.5 + size / 12}
                inside, beyond = values[values <= top], int((values > top).sum())
                x = place + beside_each_other(inside, size / 180 * 1.04 * top, size / 36)
                (dots,) = axes.plot(x, inside, "o", ms=size, **shape)
                if beyond:
                    x = place + np.linspace(-0.04, 0.04, beyond) * min(beyond, 10)
                    axes.plot(x, [0.96 * top] * beyond, "^", ms=1.6 * size, **shape)
                if level == "animal":
                    handles.setdefault(genotype, dots)
                    _mean_and_interval(axes, values, place, color)
    figure.axes[0].set_ylabel(f"{counted} per {matrix.per}")
    # Show names unchanged: matplotlib reads $ as mathematics, and leaves out labels that begin with _.
    numbers = [str(number) for number in range(len(handles))]
    legend = figure.axes[0].legend(
        handles.values(), numbers, frameon=False, ncols=2,
        loc="lower center", bbox_to_anchor=(0.5, 0), bbox_transform=figure.transFigure,
    )  # fmt: skip
    legend.set_in_layout(False)  # it stands below all axes
    for text, group in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(group)
    return figure


def axis_top(shown: pd.DataFrame) -> float:
    """Upper end of the axis of a stage: animals, ovaries and intervals; sections may lie beyond.

    Where follicles are few, most sections have none and some have one, which is many if scaled to the whole animal.
    """
    larger = shown[shown["level"] != "section"]
    of_animals = larger[larger["level"] == "animal"].groupby("genotype")["value"]
    ends = [_interval(values.to_numpy(float))[1] for _, values in of_animals]
    return 1.08 * (float(max([larger["value"].max(), *ends])) or 1.0)


def beside_each_other(values: NDArray[np.float64], height: float, width: float) -> NDArray[np.float64]:
    """Offsets along x at which points of this height and width do not overlap, (n,)."""
    x = np.zeros(len(values))
    steps = np.arange(2 * math.ceil(4 * _WIDEST_OFFSET / width) + 1)
    offsets = (steps + 1) // 2 * width / 4 * (-1.0) ** steps  # 0, to the left, to the right, further to the left
    order = np.argsort(values, kind="stable")
    for rank, i in enumerate(order):
        before = order[:rank]
        near = before[values[i] - values[before] < height]
        away = ((offsets[:, None] - x[near]) / width) ** 2 + ((values[i] - values[near]) / height) ** 2
        free = (away >= 1).all(axis=1)
        x[i] = offsets[free.argmax()] if free.any() else offsets[-1 - rank % 2]  # no room: at the edge
    return np.clip(x, -_WIDEST_OFFSET, _WIDEST_OFFSET)


def _mean_and_interval(axes: Axes, values: NDArray[np.float64], place: float, color: str) -> None:
    axes.hlines(values.mean(), place - 0.32, place + 0.32, color=color, lw=1.8)
    axes.vlines(place, *_interval(values), color=color, lw=1.2)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean (t), cut at 0; the mean itself if there is one value."""
    mean, n = float(values.mean()), len(values)
    reach = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0
    return max(mean - reach, 0.0), mean + reach


def step_figure(arrest: Arrest) -> Figure:
    """Plot the question and each step: ratios with 95 % intervals; below 1, the knockout has fewer follicles later."""
    question, steps = arrest.question, arrest.steps
    stage = str(question["contrast"].iloc[0]).replace("_", " ")
    shift = question[question["test"] == "shift"].to_dict("records")[0]
    rows = [(f"{stage} to\nall later", shift, arrest.verdict.kind == "arrest")]
    for row in steps.to_dict("records"):
        name = f"{row['from'].replace('_', ' ')} to\n{row['to'].replace('_', ' ')}"
        # An arrest is a claim of the question, in the first row, and not of the step.
        of_question = arrest.verdict.kind == "arrest" and row["from"] == question["contrast"].iloc[0]
        rows.append((name, row, row["from"] in arrest.verdict.blocks and not of_question))
    figure = Figure(figsize=(6.4, 0.8 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color="0.6", lw=1)
    axes.axhline(0.5, color="0.85", lw=1)  # the question is apart
    for y, (_, row, blocked) in enumerate(rows):
        if math.isnan(row["ratio"]):
            axes.text(1, y, "  not estimable", va="center", color="0.45")
            continue
        low, high = max(row["low"], 1 / _WIDEST), min(row["high"], _WIDEST)
        color = "0" if blocked else "0.45"
        axes.hlines(y, low, high, color=color, lw=2.6 if blocked else 1.6)
        axes.plot(row["ratio"], y, "s" if blocked else "o", color=color, ms=8 if blocked else 6)
        for end, marker in ((row["low"] < low, "<"), (row["high"] > high, ">")):
            if end:
                axes.plot(low if marker == "<" else high, y, marker, color=color, ms=7)
    axes.set(yticks=range(len(rows)), yticklabels=[name for name, _, _ in rows], ylim=(len(rows) - 0.5, -0.5))
    axes.set_xscale("log")
    axes.set_xlim(1 / _WIDEST / 1.3, _WIDEST * 1.3)
    ticks = [1 / 64, 1 / 16, 1 / 4, 1, 4, 16, 64]
    axes.set_xticks(ticks, ["1/64", "1/16", "1/4", "1", "4", "16", "64"], minor=False)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    control, knockout = arrest.matrix.genotypes
    axes.set_xlabel(f"ratio of {knockout} to {control}", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_figures(folder: Path, comparison: Comparison, number: int) -> dict[str, str]:
    """Draw the figures of one comparison, and write them into ``statistics/`` of a folder as SVG and PDF.

    Parameters
    ----------
    folder
        Study folder, or the folder of a comparison.
    comparison
        All results.
    number
        Place of the comparison, from 1, for the names of the files.

    Returns
    -------
    dict of str to str
        Each figure as an SVG element, for a page.
    """
    arrest = comparison.arrests[number - 1]
    shown = comparison.points[comparison.points["comparison"] == arrest.matrix.comparison]
    counted = {"given": "follicles", "profiles": "profiles", "healthy": "healthy countable follicles"}
    what = counted.get(comparison.kind, "countable follicles")
    figures = {"stages": stage_figure(arrest, shown, what), "steps": step_figure(arrest)}
    elements = {}
    for name, figure in figures.items():
        for ending in ("svg", "pdf"):
            drawn = drawn_as(figure, ending)
            with replacing(folder / "statistics" / f"{name}_{number}.{ending}") as temporary:
                temporary.write_bytes(drawn)
            if ending == "svg":
                elements[name] = _element(drawn)
                figure.set_layout_engine("none")  # the PDF has the same layout, which takes long to find
    return elements


def svg(figure: Figure) -> str:
    """A figure as an SVG element, for a page; the same data give the same text."""
    return _element(drawn_as(figure, "svg"))


def _element(drawn: bytes) -> str:
    text = drawn.decode()
    return text[text.index("<svg") :]


def drawn_as(figure: Figure, ending: str) -> bytes:
    """A figure as ``svg`` or ``pdf``; the same data give the same bytes."""
    buffer = io.BytesIO()
    # Text stays text: it can be edited in other programs (SVG), and searched (PDF, TrueType).
    context = mpl.rc_context({"svg.hashsalt": "follicle-stager", "svg.fonttype": "none", "pdf.fonttype": 42})
    with context, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about missing glyphs, and names too long for the layout
        figure.savefig(buffer, format=ending, metadata={"CreationDate" if ending == "pdf" else "Date": None})
    return buffer.getvalue()
