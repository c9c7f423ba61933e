"""Counts from anywhere: tables typed by hand or written by other software, long or wide.

Long: one row for each animal and stage, with the columns ``stage`` and ``count``. Wide: one row for each animal, with a
column for each stage. Several rows of an animal are added up; they need a column ``section`` or ``ovary`` that tells
them apart. Names of columns and stages may be written as people write them. What is not understood is an error that
names the cell; columns that are no part of the table are left alone.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.config import ComparisonConfig
from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, RUNGS, Health, Stage, read_class
from follicle_stager.statistics.comparison import Comparison, compared
from follicle_stager.statistics.designs import FACTORS, comparisons
from follicle_stager.statistics.matrix import AllCounts
from follicle_stager.study.samples import read_group
from follicle_stager.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

# Names of columns, as `_key` writes them, the most specific first.
_COLUMNS = {
    "animal": ("animal", "animalid", "mouse", "mouseid", "subject", "id"),
    "genotype": ("genotype",),
    "group": ("group",),
    "model": ("model",),
    "stage": ("stage", "folliclestage", "follicletype", "follicleclass"),
    "count": ("count", "counts", "number", "n", "total"),
    "ovary": ("ovary", "side"),
    "section": ("section", "sectionid", "slide"),
    "interval": ("interval", "samplinginterval"),
    "thickness_um": ("thicknessum", "thickness", "sectionthicknessum", "sectionthickness"),
    "stimulation": ("stimulation", "treatment"),
    "litter": ("litter", "litterid"),
    "batch": ("batch",),
    "age_days": ("agedays", "age"),
}
# Words in the name of a column that may have counts: of a stage, or of follicles whose stage the name does not tell.
_STAGE_WORDS = ("primordial", "transitional", "primary", "secondary", "antral", "preovulatory")
_UNCLEAR_WORDS = ("tertiary", "preantral", "pre-antral", "growing", "resting", "multilayer", "graafian")
_SUMS = (
    "summe",
    "gesamt",
    "mittelwert",
    "total",
    "totals",
    "sum",
    "mean",
    "average",
    "avg",
    "sd",
    "sem",
    "se",
    "median",
    "all",
)
_UNKNOWN = ("", "na", "n/a", "n.a.", "nd", "n.d.", "nan", "-", "–", "?")


@dataclass(frozen=True)
class _Row:
    """One count, with what the table says of it; ``count`` is NaN where it is unknown."""

    place: str
    animal: str
    model: str
    genotype: str
    group: str
    unit: tuple[str, str]
    interval: float
    thickness_um: float
    design: dict[str, str]
    stage: Stage
    count: float


@dataclass
class _Animal:
    """The counts of one animal, collected."""

    genotype: str
    group: str
    place: str
    stages: dict[Stage, float] = field(default_factory=dict)
    units: dict[tuple[str, str], float] = field(default_factory=dict)
    thickness_um: float = math.nan
    design: dict[str, str] = field(default_factory=dict)


def compare_counts(table: pd.DataFrame | str | Path, *, config: ComparisonConfig | None = None) -> Comparison:
    """Compare counts that were made by hand or with other software.

    Parameters
    ----------
    table
        A data frame, or a file (.csv, .tsv, .txt, .xlsx), long or wide; docs/statistics.md shows both. It needs
        ``animal``, and ``group`` (control, knockout) or a ``genotype`` that tells it (WT, +/+, KO, -/-).
    config
        The question, the design, and limits of the verdict.

    Returns
    -------
    Comparison
        Verdicts and tables, as those of `compare`; ``kind`` is ``given``.

    Raises
    ------
    UserError
        If a cell or a column cannot be understood. The message names it.

    Examples
    --------
    >>> import pandas as pd
    >>> counts = pd.DataFrame(
    ...     {
    ...         "mouse": ["a", "b", "c", "d", "e", "f", "g", "h"],
    ...         "genotype": ["WT"] * 4 + ["KO"] * 4,
    ...         "Secondary": [60, 55, 64, 58, 62, 57, 60, 66],
    ...         "Early antral": [25, 28, 22, 26, 6, 5, 8, 4],
    ...         "Antral": [16, 14, 18, 15, 3, 4, 2, 3],
    ...     }
    ... )
    >>> compare_counts(counts).verdicts["verdict"].item()
    'arrest'
    """
    models, notes = read_counts(table)
    config = config or ComparisonConfig()
    matrices = comparisons(models, config)
    return compared({"given": [(matrix, None) for matrix in matrices]}, config=config, notes=tuple(notes))


def read_counts(table: pd.DataFrame | str | Path) -> tuple[list[tuple[AllCounts, pd.DataFrame]], list[str]]:
    """Read the counts of each mouse model and the columns of its design, and notes; as `compare_counts`."""
    rows, notes = _rows(table)
    source = "table" if isinstance(table, pd.DataFrame) else str(table)
    return [_counts_of_all(source, model, animals) for model, animals in _collected(rows).items()], notes


def _rows(table: pd.DataFrame | str | Path) -> tuple[list[_Row], list[str]]:
    """All counts of a table, and notes on what was left out."""
    if isinstance(table, pd.DataFrame):
        name, lines = "table", [(f"row {i}", row) for i, row in zip(table.index, _cells(table), strict=True)]
        columns = [str(c) for c in table.columns]
    else:
        path = Path(table)
        read = read_table(path)
        name, lines, columns = str(path), [(f"line {n}", row) for n, row in read.rows], read.columns
    known = _known(columns)
    if not lines:
        raise UserError(f"{name}: no rows below the header; add one for each animal.")
    wide = {c: stage for c in columns if (stage := _stage(c)) is not None} if "stage" not in known else {}
    _check_columns(name, columns, known, wide)
    rows, sums, beside = list[_Row](), 0, dict[str, None]()
    for place, cells in lines:
        own = {role: cells[column].strip() for role, column in known.items()}
        if any(own.get(role, "").casefold().rstrip(":") in _SUMS for role in ("animal", "stage")):
            sums += 1
            continue
        if _on_no_rung(own.get("stage", "")):
            beside[own["stage"]] = None
            continue
        rows += _counts_of(f"{name}: {place}", own, known, cells, wide)
    used = {*known.values(), *wide}
    notes = [f"Counts from {'a data frame' if isinstance(table, pd.DataFrame) else path.name}."]
    notes += [f"Rows of sums or means that were left out: {sums}."] if sums else []
    notes += [f"Classes that are on no stage of growth, left out: {', '.join(beside)}."] if beside else []
    left = [c for c in columns if c not in used]
    return rows, notes + ([f"These columns were not used: {', '.join(left)}."] if left else [])


def _cells(table: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Rows of a data frame as text; missing values are empty."""
    for row in table.to_dict("records"):
        yield {str(c): "" if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v) for c, v in row.items()}


def _key(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]+", "", name.casefold().replace("µ", "u").replace("μ", "u"))


def _stage(name: str) -> Stage | None:
    """The stage on the ladder that a name says; None for others, and for atretic follicles."""
    stage, health = read_class(name)
    return stage if stage in LADDER and health != Health.ATRETIC else None


def _on_no_rung(name: str) -> bool:
    """Whether a name says what is not counted on the ladder: atretic or unsure follicles, corpora lutea."""
    stage, health = read_class(name)
    return health == Health.ATRETIC or (stage is not None and stage not in LADDER)


def _known(columns: list[str]) -> dict[str, str]:
    """Columns by what they say."""
    known: dict[str, str] = {}
    for role, names in _COLUMNS.items():
        own = {_key(c): c for c in columns if _key(c) in names}
        if own:
            known[role] = next(own[key] for key in names if key in own)
    if "stage" not in known:
        known.pop("count", None)
    return known


def _check_columns(name: str, columns: list[str], known: dict[str, str], wide: dict[str, Stage]) -> None:
    stages = ", ".join(stage.label for stage in LADDER)
    if "animal" not in known:
        raise UserError(f"{name}: there is no column animal (found: {', '.join(columns)}).")
    if "group" not in known and "genotype" not in known:
        raise UserError(f"{name}: there is no column group or genotype; write control or knockout for each animal.")
    if "stage" in known and "count" not in known:
        raise UserError(f"{name}: there is a column {known['stage']}, but none with the count; name it count.")
    unclear = [c for c in columns if "stage" not in known and c not in wide and _may_have_counts(c, wide)]
    if unclear:
        raise UserError(
            f"{name}: column {unclear[0]}: this is not one stage; the stages are {stages}. Split it, name it as one of "
            "them, or delete it."
        )
    if "stage" not in known and not wide:
        raise UserError(
            f"{name}: there is neither a column stage nor one for a stage; the stages are {stages} "
            f"(found: {', '.join(columns)})."
        )
    twice = [stage for stage in set(wide.values()) if list(wide.values()).count(stage) > 1]
    if twice:
        own = " and ".join(c for c, stage in wide.items() if stage == twice[0])
        raise UserError(f"{name}: columns {own} are the same stage; delete one, or add them up.")


def _may_have_counts(column: str, wide: dict[str, Stage]) -> bool:
    """Whether a column may have counts of a stage that no other column has."""
    name = column.casefold()
    if _on_no_rung(column):
        return False
    missing = [word for word in _STAGE_WORDS if word not in wide.values()]
    return any(word in name for word in (*_UNCLEAR_WORDS, *missing))


def _counts_of(
    where: str, own: dict[str, str], known: dict[str, str], cells: dict[str, str], wide: dict[str, Stage]
) -> Iterable[_Row]:
    """The counts of one row of the table."""
    if not own["animal"]:
        raise UserError(f"{where}, column {known['animal']}: it is empty; write the animal.")
    genotype, group = _group(where, own, known)

    def positive(role: str) -> float:
        text = own.get(role, "")
        value = _number(text)
        if text.casefold() not in _UNKNOWN and not value > 0:
            raise UserError(f"{where}, column {known[role]}: {text!r} is not a number above 0.")
        return value

    values = {wide[c]: (c, cells[c]) for c in wide}
    if "stage" in known:
        stage = _stage(own["stage"])
        if stage is None:
            stages = ", ".join(s.label for s in LADDER)
            raise UserError(
                f"{where}, column {known['stage']}: {own['stage']!r} is not a known stage; they are {stages}."
            )
        values = {stage: (known["count"], own["count"])}
    unit = own.get("ovary", ""), own.get("section", "")
    interval, thickness = positive("interval"), positive("thickness_um")
    design = {factor: own[factor] for factor in FACTORS if factor in own}
    for stage, (column, text) in values.items():
        count = _number(text)
        if text.strip().casefold() not in _UNKNOWN and not (count >= 0 and count == int(count)):
            raise UserError(
                f"{where}, column {column}: {text!r} is not a whole number; write the follicles counted, no mean or "
                "estimate, or leave it empty if they were not counted."
            )
        model = own.get("model", "")
        yield _Row(where, own["animal"], model, genotype, group, unit, interval, thickness, design, stage, count)


def _number(text: str) -> float:
    """A number with a point or comma as decimal sign; NaN for anything else."""
    plain = re.sub(r"[\s\u00a0\u202f]", "", text)
    if re.fullmatch(r"[+]?\d+([.,]\d+)?", plain) is None or re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", plain):
        return math.nan  # 1,234 may be a thousand or one
    return float(plain.replace(",", "."))


def _group(where: str, own: dict[str, str], known: dict[str, str]) -> tuple[str, str]:
    """Genotype and group of a row; the group comes from the genotype if there is no column for it."""
    role = "group" if "group" in known else "genotype"
    if not own[role]:
        raise UserError(
            f"{where}, column {known[role]}: it is empty; write control, knockout or another group. (Rows of sums are "
            "left out if they are named total or mean.)"
        )
    group = read_group(own[role])
    return own.get("genotype", "") or group, group


def _collected(rows: list[_Row]) -> dict[str, dict[str, _Animal]]:
    """Animals by model, each with its counts added up."""
    models: dict[str, dict[str, _Animal]] = defaultdict(dict)
    seen: dict[tuple[str, str, tuple[str, str], Stage], str] = {}
    for row in rows:
        first = seen.setdefault((row.model, row.animal, row.unit, row.stage), row.place)
        if first != row.place:
            raise UserError(
                f"{row.place}: animal {row.animal} has {row.stage.label.lower()} follicles already in "
                f"{first.rpartition(': ')[2]}; add a column section or ovary that tells the rows apart, or add them up."
            )
        animal = models[row.model].setdefault(row.animal, _Animal(row.genotype, row.group, row.place))
        if (animal.genotype, animal.group) != (row.genotype, row.group):
            raise UserError(
                f"{row.place}: animal {row.animal} is {row.genotype} ({row.group}) here, and {animal.genotype} "
                f"({animal.group}) in {animal.place.rpartition(': ')[2]}; write the same."
            )
        if animal.units.get(row.unit, row.interval) != row.interval and not math.isnan(row.interval):
            raise UserError(f"{row.place}: animal {row.animal} has several intervals in one section; write one.")
        if animal.thickness_um == animal.thickness_um and animal.thickness_um != row.thickness_um:
            raise UserError(f"{row.place}: animal {row.animal} has several thicknesses; write one.")
        animal.units[row.unit], animal.thickness_um = row.interval, row.thickness_um
        for factor, value in row.design.items():
            if animal.design.setdefault(factor, value) != value:
                raise UserError(f"{row.place}, column {factor}: animal {row.animal} has several values; write one.")
        # A section without a count makes the animal's count unknown.
        animal.stages[row.stage] = animal.stages.get(row.stage, 0.0) + row.count
    return dict(models)


def _counts_of_all(source: str, model: str, animals: dict[str, _Animal]) -> tuple[AllCounts, pd.DataFrame]:
    """Counts of all animals of a model, and their columns of the design."""
    name = model or "the table"
    if len({a.thickness_um for a in animals.values() if not math.isnan(a.thickness_um)}) > 1:
        raise UserError(
            f"{name}: animals have sections of several thicknesses. Thick sections show more follicles; counts of them "
            "can only be compared in a study, which measures the height of nuclei."
        )
    exposure, note, per = _exposure(name, animals)
    counts = [
        [sum(a.stages[s] for s in own if s in a.stages) if own[0] in a.stages else math.nan for own in RUNGS.values()]
        for a in animals.values()
    ]
    whole = AllCounts(
        model=model,
        animals=tuple(animals),
        groups=tuple(a.group for a in animals.values()),
        genotypes=tuple(a.genotype for a in animals.values()),
        counts=np.array(counts, np.float64),
        exposure=np.repeat(exposure[:, None], len(RUNGS), axis=1),
        exposure_note=note,
        per=per,
        source=source,
        settings="[comparison] of the file that --config names",
    )
    return whole, pd.DataFrame([a.design for a in animals.values()], index=list(animals))


def _exposure(name: str, animals: dict[str, _Animal]) -> tuple[NDArray[np.float64], str, str]:
    """How much of each animal was counted, (n,); in words; and what a count over it is per."""
    named = any(ovary for a in animals.values() for ovary, _ in a.units)
    intervals = [list(a.units.values()) for a in animals.values()]
    if any(not math.isnan(k) for own in intervals for k in own):
        without = [animal for animal, own in zip(animals, intervals, strict=True) if any(map(math.isnan, own))]
        if without:
            raise UserError(
                f"{name}: animals {', '.join(without)} have no interval, but others have; write all or none."
            )
        sampled = []
        for animal, a in animals.items():
            by_ovary: dict[str, set[float]] = defaultdict(set)
            for (ovary, _), interval in a.units.items():
                by_ovary[ovary].add(interval)
            if any(len(own) > 1 for own in by_ovary.values()):
                raise UserError(f"{name}: animal {animal} has several intervals in one ovary; write one for each.")
            sampled.append(sum(1 / own.pop() for own in by_ovary.values()))
        return np.array(sampled), "counts times the sampling interval", "ovary" if named else "animal"
    if any(section for a in animals.values() for _, section in a.units):
        return (
            np.array([float(len(a.units)) for a in animals.values()]),
            "follicles per section (no interval is given)",
            "section",
        )
    note = "follicles per ovary" if named else "follicles per animal, as if the same was counted in each"
    return np.array([float(len(a.units)) for a in animals.values()]), note, "ovary" if named else "animal"
