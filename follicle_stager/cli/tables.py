"""Tables for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from follicle_stager.stages import TABLE_ROWS, Stage, Status
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from follicle_stager.cluster import Worker
    from follicle_stager.doctor import Part
    from follicle_stager.evaluation import Agreement, Evaluation
    from follicle_stager.learning import Learned
    from follicle_stager.records import Follicle
    from follicle_stager.statistics import Comparison
    from follicle_stager.statistics.simulate import Design
    from follicle_stager.study import Counts

FIGURES = {
    "precision": "precision (share of claims that are follicles)",
    "recall_visible": "recall (share of follicles found), stages that the detector can see",
    "f1_visible": "F1, stages that the detector can see",
    "recall_nucleus_seen": "  recall of those with a visible oocyte nucleus",
    "recall": "recall, all stages",
    "f1": "F1, all stages",
    "mean_ap": "mean average precision, four classes, IoU 0.25",
    "right_stage": "right stage, of follicles found",
    "kappa": "Cohen's kappa of the stage",
    "weighted_kappa": "quadratic-weighted kappa",
    "secondary_antral_confusion": "secondary and antral confused",
    "antral_called_secondary": "  antral called secondary, of found antral",
    "secondary_called_antral": "  secondary called antral, of found secondary",
    "dice": "Dice of outlines",
    "boundary_um": "distance between outlines, µm",
    "oocyte_dice": "Dice of oocytes",
    "corpus_luteum_precision": "corpora lutea: precision",
    "corpus_luteum_recall": "corpora lutea: recall",
}


def follicle_table(slide_id: str, follicles: Iterable[Follicle]) -> Table:
    """The follicles on one slide with the reasons for their stages; rejected ones are left out."""
    table = Table(title=f"Follicles of {escape(slide_id)}")
    table.add_column("no", justify="right")
    for name in ("stage", "health", "countable"):
        table.add_column(name)
    table.add_column("score", justify="right")
    table.add_column("why", overflow="fold")
    for number, f in enumerate(follicles, start=1):
        if f.status != Status.REJECTED:
            why = "; ".join(f.reasons)
            table.add_row(str(number), f.stage.label, f.health.value, f.countable.value, f"{f.score:.2f}", why)
    return table


def parts_table(parts: Iterable[Part]) -> Table:
    """The parts of the installation."""
    table = Table("part", "version", "for", title=f"follicle-stager {__version__}")
    for part in parts:
        table.add_row(part.name, escape(part.version), part.purpose)
    return table


def workers_table(workers: Iterable[Worker], unread: Mapping[str, str]) -> Table:
    """The workers of a cluster; ``unread`` says by name what is wrong with the slide or folder there."""
    table = Table(title="Workers")
    for name in ("worker", "machine", "processors", "software", "gets slides", *(["can read it"] if unread else [])):
        table.add_column(name, overflow="fold")
    for worker in workers:
        fit = f"no: {worker.refused}" if worker.refused else "yes"
        row = [worker.name, worker.machine, str(worker.processors), worker.software, fit]
        if unread:
            said = unread.get(worker.name, "" if worker.refused else "did not answer")
            row.append("" if worker.refused else f"no: {said}" if said else "yes")
        table.add_row(*map(escape, row))
    return table


def slide_table(path: Path, described: Mapping[str, str]) -> Table:
    """How a slide is read."""
    table = Table(title=escape(path.name), show_header=False)
    for name, value in described.items():
        table.add_row(name, escape(value))
    return table


def count_tables(counts: Counts, notes: tuple[str, ...] = (), *, means: bool = True) -> list[Table | Text]:
    """Counts with stages as rows and genotypes as columns, and notes; without ``means``, only the notes."""
    groups = list(counts.genotype.groupby(["model", "group", "genotype"], sort=False, dropna=False))
    tables: list[Table | Text] = []
    for column, title in (
        ("n_profiles", "Follicle profiles per animal, mean ± SD"),
        ("n_countable", "Countable follicles (oocyte nucleus seen) per animal, mean ± SD"),
    ):
        table = Table(
            title=title, caption="NA, not zero: this stage cannot be seen on these slides with this detector."
        )
        table.add_column("stage")
        for (_, _, genotype), rows in groups:
            animals, sections = int(rows["n_animals"].iloc[0]), int(rows["sections"].iloc[0])
            head = f"{genotype}\n{animals} animal{'s' * (animals > 1)}\n{sections} section{'s' * (sections > 1)}"
            table.add_column(escape(head), justify="right")
        for stage in TABLE_ROWS:
            cells = []
            for _, rows in groups:
                row = rows[rows["stage"] == stage.value].iloc[0]
                cells.append(_mean_sd(row[f"{column}_mean"], row[f"{column}_sd"]))
            table.add_row(stage.label, *cells)
        tables += [table] if means else []
    doubtful = counts.section.loc[counts.section["doubtful_sections"] > 0, "section"].unique()
    if len(doubtful):
        said = (
            f"Counted, but doubtful: section {', '.join(doubtful)}. Check the overlay; to leave a section out, use "
            '\'follicle-stager review\', part Count, or set "included" to "no" in its sections.geojson.'
        )
        tables.append(Text(said, style="yellow"))
    tables += [Text(note, style="yellow") for note in (*counts.notes, *notes)]
    return tables


def evaluation_tables(result: Evaluation) -> list[Table]:
    """The main results: which follicles were found, which have the right stage, and whether the counts are right."""
    summary = Table("figure", box=box.SIMPLE, title="Against the truth, 95 % interval over animals")
    summary.add_column("value", justify="right")
    summary.add_column("interval", justify="right")
    for row in result.summary.itertuples():
        summary.add_row(FIGURES[str(row.figure)], _number(row.value), f"{_number(row.low)} - {_number(row.high)}")
    return [
        _table(
            result.stages,
            "Stages. found: with any stage; claimed: outlines with this stage; false: claimed, but no follicle;\n"
            "f1: of finding this stage",
            drop=("precision", "recall"),
        ),
        _table(result.kinds, "By what the section shows of the follicle"),
        _table(
            result.counts,
            "Counts per section. NA: the stage cannot be seen with this detector",
            drop=("mean_absolute_error",),
        ),
        summary,
    ]


def agreement_tables(result: Agreement) -> list[Table]:
    """Agreement of two annotators: the figures, and the classes that each of them gave."""
    figures = Table("figure", box=box.SIMPLE, title="Two annotators")
    figures.add_column("value", justify="right")
    for name, value in (
        ("marks of A", str(result.n_a)),
        ("marks of B", str(result.n_b)),
        ("of the same follicle", str(result.n_matched)),
        ("F1 of detection", _number(result.detection_f1)),
        ("same class, of these", _number(result.same_class)),
        ("Cohen's kappa", _number(result.kappa)),
        (f"quadratic-weighted kappa ({result.n_on_ladder} pairs on the ladder)", _number(result.weighted_kappa)),
    ):
        figures.add_row(name, value)
    cells = ((str(a), str(b), int(n)) for a, row in result.confusion.iterrows() for b, n in row.items())
    named = Table("A", "B", box=box.SIMPLE, title="Classes given, most frequent first")
    named.add_column("n", justify="right")
    for a, b, n in sorted((c for c in cells if c[2]), key=lambda c: -c[2]):
        named.add_row(escape(a), escape(b), str(n))
    return [figures, named]


def before_after_table(figures: pd.DataFrame) -> Table:
    """Effect of training on corrected slides, on held-out animals: ``figure``, ``before``, ``after``."""
    table = Table("figure", box=box.SIMPLE, title="On the corrected slides of held-out animals")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for row in figures.itertuples():
        table.add_row(FIGURES[str(row.figure)], _number(row.before), _number(row.after))
    return table


def learned_table(learned: Learned) -> Table:
    """Stages of the criteria and of the classifier, compared with the person's stages."""
    card = learned.card
    title = f"Learned from {card.follicles} follicles of {card.animals} animals; tested on held-out animals"
    table = Table("figure", box=box.SIMPLE, title=title)
    for name in ("criteria", "classifier"):
        table.add_column(name, justify="right")
    for row in learned.scores.itertuples():
        table.add_row(FIGURES[str(row.figure)], _number(row.criteria), _number(row.classifier))
    value, low, high = learned.difference
    table.caption = (
        f"Right stage, classifier minus criteria: {value:+.3f}; 95 % interval over animals {low:+.3f} to {high:+.3f}.\n"
        f"Learned: {', '.join(stage.label.lower() for stage in card.stages)}; the criteria decide on other stages."
    )
    return table


def power_table(table: pd.DataFrame, design: Design, title: str, response: tuple[float, float] | None = None) -> Table:
    """How often studies of different sizes find the simulated arrest, or a response, and with which animals."""
    numbers = ", ".join("–" if math.isnan(n) else f"{n:.0f}" if n > 99 else f"{n:.1f}" for n in design.expected)
    spread = ", ".join(f"{100 * sd:.0f}" for sd in design.spread.stages)
    shown = Table("controls + knockouts", box=box.SIMPLE, title=title)
    shown.caption = (
        f"A control animal has {numbers} counted follicles (primordial, primary, secondary, early antral, antral).\n"
        f"Animals differ by an SD of {100 * design.spread.animal:.0f} % in all stages together, and {spread} % in each."
    )
    names = {"power": "finds the block", "other_block": "finds another", "none": "none", "inconclusive": "inconclusive"}
    if response is not None:
        shown.caption += (
            f"\nThese numbers hold without the treatment. It multiplies all later stages by {response[0]:g} in "
            f"controls and by {response[1]:g} in knockouts. The numbers of animals are those of each treatment."
        )
        names = {
            "differ": "responses differ",
            "control": "controls respond",
            "knockout": "knockouts respond",
            "without": "arrest without it",
            "with": "arrest with it",
        }
    for name in names.values():
        shown.add_column(name, justify="right")
    for row in table.to_dict("records"):
        size = f"{row['controls']} + {row['knockouts']}"
        shown.add_row(size, *("–" if math.isnan(row[n]) else f"{row[n]:.0%}" for n in names))
    return shown


def expected_table(expected: pd.DataFrame, planned: float) -> Table:
    """Expected intervals of audited ratios, for shares of the fields."""
    table = Table(box=box.SIMPLE, title="Expected 95 % interval of the ratio knockout/control, if they do not differ")
    table.caption = (
        "no limit: too small an audit, or too few animals, for an upper end. –: nothing is claimed, or there is no "
        "control or knockout. A strong loss in the knockouts has a narrower interval. At least 20 fields of each "
        "animal are drawn. Counted: follicles with a visible nucleus."
    )
    table.add_column("stage")
    for share, own in expected.groupby("share"):
        mark = " (planned)" if share == planned else ""
        table.add_column(f"{share:.0%}: {own['fields'].iloc[0]} fields{mark}", justify="right")
    for stage, own in expected.groupby("stage", sort=False):
        cells = [
            "–" if math.isnan(low) else f"{low:.2f} - {_number(high)}"
            for low, high in zip(own["low"], own["high"], strict=True)
        ]
        table.add_row(str(stage).replace("_", " "), *cells)
    return table


def comparison_tables(result: Comparison) -> list[Table | Text]:
    """The verdict for each mouse model first, then its steps."""
    from follicle_stager.statistics.sensitivity import in_words

    parts: list[Table | Text] = []
    for arrest in result.arrests:
        parts.append(Text(f"{arrest.matrix.model or 'Verdict'}: {arrest.verdict.sentence}", style="bold"))
        parts += [Text(warning, style="yellow") for warning in arrest.verdict.warnings]
        table = Table("step", box=box.SIMPLE)
        for name in ("ratio", "95 % interval", "p of the block (Holm)"):
            table.add_column(name, justify="right")
        question = arrest.question.set_index("test")
        stage = str(question["contrast"].iloc[0])
        shift = {str(name): value for name, value in question.loc["shift"].items()}
        rows = [shift | {"step": f"{stage} to all later (arrest)", "p_holm": question.loc["arrest", "p_holm"]}]
        rows += [{"step": f"{row['from']} to {row['to']}", **row} for row in arrest.steps.to_dict("records")]
        for row in rows:
            step = row["step"].replace("_", " ")
            interval = f"{_number(row['low'])} - {_number(row['high'])}"
            estimable = not math.isnan(row["ratio"])
            cells = (_number(row["ratio"]), interval, _p_value(row["p_holm"])) if estimable else ("NA", "NA", "NA")
            table.add_row(step, *cells)
        parts.append(table)
        ways = result.sensitivity
        parts.append(Text(in_words(ways[ways["comparison"] == arrest.matrix.comparison])))
    parts += [Text(f"Response to {sentence}", style="bold") for sentence in result.said]
    return parts + ([Text(result.together)] if result.together else [])


def _table(data: pd.DataFrame, title: str, drop: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title=title)
    data = data.drop(columns=list(drop))
    for index, name in enumerate(data.columns):
        table.add_column(str(name).replace("_", " "), justify="right" if index else "left")
    for row in data.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float) or value is pd.NA:
        return _number(value)
    return Stage(str(value)).label if value in set(Stage) else str(value)


def _number(value: object) -> str:
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "NA"
    if isinstance(value, float) and math.isinf(value):
        return "no limit"
    return f"{value:.2f}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else _number(value)


def _mean_sd(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "NA"
    return f"{mean:.1f}" if math.isnan(sd) else f"{mean:.1f} ± {sd:.1f}"
