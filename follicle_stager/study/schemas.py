"""What the tables of a study hold, column by column: `load_study` and docs/tables.md are made from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.pandas as pa

from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, TABLE_ROWS, Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.study.sums import Counts


_NOT_NEGATIVE = pa.Check.ge(0)
_SHARE = pa.Check.in_range(0, 1)


def _text(about: str, of: Iterable[str] = ()) -> pa.Column:
    allowed = list(of)
    return pa.Column("str", pa.Check.isin(allowed) if allowed else None, nullable=not allowed, description=about)


def _whole(about: str, *, known: bool = False) -> pa.Column:
    """A count; ``NA`` where it cannot be known."""
    return pa.Column("int64" if known else "Int64", _NOT_NEGATIVE, nullable=not known, description=about)


def _number(about: str, check: pa.Check | None = _NOT_NEGATIVE) -> pa.Column:
    return pa.Column("float64", check, nullable=True, description=about)


_ANIMAL = {
    "model": _text("mouse model"),
    "group": _text("control or knockout", ("control", "knockout")),
    "genotype": _text("as in the sample sheet"),
    "animal": _text("as in the sample sheet"),
}
_OVARY = {"ovary": _text("L, R or empty")}
_SECTION = {"slide": _text("name of the slide in the study"), "section": _text("name, unique in the study")}
_STAGE = {"stage": _text("the ladder, then unsure", [s.value for s in TABLE_ROWS])}
_COUNTS = {
    "n_profiles": _whole("outlines"),
    "n_countable": _whole("those whose oocyte nucleus shows"),
    "n_healthy": _whole("countable ones that are not atretic"),
    "n_atretic": _whole("atretic ones among the outlines"),
    "area_mm2": _number("tissue that was looked at"),
    "sections": _whole("sections that were looked at", known=True),
    "doubtful_sections": _whole("how many of them are unlike all that the detector knows", known=True),
    "interval": _number("every how many-th section was taken; NA where it is not known, or sections differ"),
    "thickness_um": _number("of a section; NA likewise"),
    "interval_scaled": _whole("n_countable times the interval"),
    "nucleus_height_um": _number("height over which the stage's nuclei are seen: given, or from all profiles", None),
    "abercrombie": _number("interval_scaled times T/(T + h): follicles of the ovary"),
    "countable_per_mm2": _number("n_countable per area"),
    "countable_per_mm3": _number("follicles per volume: n_countable/(area (T + h))"),
}
_SAMPLED = {
    "ovaries_sampled": _number(
        "sum of 1/interval over the ovaries, less the share of tissue that was left out: offset of single stages"
    )
}
_MEASURED = {
    "diameter_um": "of the follicle: diameter of the circle of equal area",
    "long_axis_um": "of the follicle",
    "short_axis_um": "of the follicle",
    "oocyte_um": "of the oocyte, likewise",
    "oocyte_long_um": "of the oocyte",
    "oocyte_short_um": "of the oocyte",
    "nucleus_um": "of the oocyte's nucleus",
    "nucleus_contrast": "how clearly it stands out",
    "layers": "granulosa layers, median over rays",
    "layers_iqr": "range of the middle half of the rays",
    "two_layers_fraction": "share of rays with two layers at least",
    "granulosa_um": "thickness of the granulosa",
    "cuboidal_fraction": "share of rays on which it is as high as a cuboidal cell",
    "fluid_fraction": "fluid as a share of the granulosa's area",
    "fluid_spaces": "number of fluid spaces",
    "largest_space_fraction": "the largest one as a share of the granulosa's area",
    "granulosa_nuclei": "nuclei counted in the granulosa",
    "pyknotic_fraction": "share of them that is pyknotic",
    "surface_distance_um": "from the outline to the section's border",
    "dying_fraction": "share of the granulosa that looks like an atretic follicle's",
}

FOLLICLES = pa.DataFrameSchema(
    {
        **_ANIMAL,
        **_OVARY,
        **_SECTION,
        "number": _whole("on the overlay and in QuPath", known=True),
        "follicle_id": _text("UUID; the same in follicles.geojson"),
        "x_px": _number("centre, pixels of the slide at full resolution", None),
        "y_px": _number("likewise", None),
        "stage": _text("as it stands", [s.value for s in Stage]),
        "stage_predicted": _text("what the software had said", [s.value for s in Stage]),
        "health": _text("as it stands", [h.value for h in Health]),
        "health_predicted": _text("what the software had said", [h.value for h in Health]),
        "countable": _text("yes where the oocyte's nucleus shows; as it stands", [c.value for c in Countable]),
        "countable_predicted": _text("what the software had said", [c.value for c in Countable]),
        "status": _text("who said it", [s.value for s in Status if s != Status.REJECTED]),
        "score": _number("probability that it is a follicle", _SHARE),
        **{name: _number(about, None) for name, about in _MEASURED.items()},
        **{f"p_{s.value}": _number(f"how well {s.label.lower()} fits", _SHARE) for s in LADDER},
        "reasons": _text("why, in words"),
    },
    title="tables/follicles.csv",
    description="a row for each follicle",
    coerce=True,
    strict=True,
)
SECTION = pa.DataFrameSchema(
    {**_ANIMAL, **_OVARY, **_SECTION, **_STAGE, "pieces": _text("its tissue in sections.geojson"), **_COUNTS},
    title="tables/counts_by_section.csv",
    description="a row for each section and stage, zeros included",
    coerce=True,
    strict=True,
)
OVARY = pa.DataFrameSchema(
    {**_ANIMAL, **_OVARY, **_STAGE, **_COUNTS, **_SAMPLED},
    title="tables/counts_by_ovary.csv",
    description="sections added up",
    coerce=True,
    strict=True,
)
ANIMAL = pa.DataFrameSchema(
    {**_ANIMAL, **_STAGE, **_COUNTS, **_SAMPLED},
    title="tables/counts_by_animal.csv",
    description="sections added up",
    coerce=True,
    strict=True,
)
GENOTYPE = pa.DataFrameSchema(
    {
        **{name: column for name, column in _ANIMAL.items() if name != "animal"},
        **_STAGE,
        "n_animals": _whole("in the group", known=True),
        "sections": _whole("in the group", known=True),
        "doubtful_sections": _whole("in the group", known=True),
        **{
            f"{name}_{what}": _number(f"{what} over animals of {name}")
            for name in ("n_profiles", "n_countable")
            for what in ("mean", "sd")
        },
    },
    title="tables/counts_by_genotype.csv",
    description="means over animals",
    coerce=True,
    strict=True,
)
#: By the name of the table in `Counts`.
SCHEMAS = {"follicles": FOLLICLES, "section": SECTION, "ovary": OVARY, "animal": ANIMAL, "genotype": GENOTYPE}


def checked(counts: Counts) -> Counts:
    """The tables with the types that are documented, whatever a study lacks; empty ones have their columns too.

    Raises
    ------
    UserError
        If a value cannot be, as a score of 2 that another program wrote.
    """
    tables: dict[str, Any] = {}
    for name, schema in SCHEMAS.items():
        table = getattr(counts, name)
        try:
            tables[name] = schema.validate(table if len(table) else table.reindex(columns=list(schema.columns)))
        except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
            said = " ".join(str(error).split())
            raise UserError(f"{schema.title}: a value is not what it can be ({said}).") from None
    return replace(counts, **tables)


def markdown() -> str:
    """The columns of all tables, for docs/tables.md; those that are as in the table before are named only."""
    parts: list[str] = []
    before: list[str] = []
    for name, schema in SCHEMAS.items():
        part = f"## `{schema.title}` (`.{name}`): {schema.description}\n\n"
        columns = list(schema.columns)
        gone = [c for c in before if c not in columns]
        if before and len(gone) < len(columns) / 2:
            part += f"As the table before, without {', '.join(gone)}"
            columns = [c for c in columns if c not in before]
            part += ".\n" if not columns else "; and:\n\n"
        if columns:
            part += "| column | what | type |\n|---|---|---|\n"
            part += "".join(_line(c, schema.columns[c]) for c in columns)
        parts.append(part)
        before = list(schema.columns)
    return "\n".join(parts)


def _line(name: str, column: pa.Column) -> str:
    values = next((c.statistics["allowed_values"] for c in column.checks if c.name == "isin"), ())
    kinds = {"int64": "whole number", "Int64": "whole number or `NA`", "float64": "number or `NA`"}
    what = column.description + (f": {', '.join(values)}" if len(values) > 2 else "")
    return f"| {name} | {what} | {kinds.get(str(column.dtype), 'text')} |\n"
