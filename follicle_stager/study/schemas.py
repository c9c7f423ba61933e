"""The columns of the count tables; `write_counts` and `load_study` check them, and docs/tables.md lists them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.pandas as pa

from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, TABLE_ROWS, Countable, Health, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from follicle_stager.study.sums import Counts


_NOT_NEGATIVE = pa.Check.ge(0)
SHARE = pa.Check.in_range(0, 1)


def text(about: str, of: Iterable[str] = ()) -> pa.Column:
    """Return a column of names or sentences; with ``of``, these are the only values, and none may be missing."""
    allowed = list(of)
    return pa.Column("str", pa.Check.isin(allowed) if allowed else None, nullable=not allowed, description=about)


def whole(about: str, *, known: bool = False) -> pa.Column:
    """Return a column of counts; ``NA`` if it cannot be known."""
    return pa.Column("int64" if known else "Int64", _NOT_NEGATIVE, nullable=not known, description=about)


def number(about: str, check: pa.Check | None = _NOT_NEGATIVE) -> pa.Column:
    """Return a column of numbers; ``NA`` if it cannot be known."""
    return pa.Column("float64", check, nullable=True, description=about)


def table_of(columns: dict[str, pa.Column], *, title: str, description: str) -> pa.DataFrameSchema:
    """Return the schema of a table that has these columns and no others, with their types."""
    return pa.DataFrameSchema(columns, title=title, description=description, coerce=True, strict=True)


_ANIMAL = {
    "model": text("mouse model"),
    "group": text("control, knockout, or another group of the sample sheet"),
    "genotype": text("as in the sample sheet"),
    "animal": text("as in the sample sheet"),
}
_OVARY = {"ovary": text("L, R or empty")}
_SECTION = {"slide": text("name of the slide in the study"), "section": text("name, unique in the study")}
_STAGE = {"stage": text("stage, or unsure", [s.value for s in TABLE_ROWS])}
_COUNTS = {
    "n_profiles": whole("number of outlines"),
    "n_countable": whole("follicles with a visible oocyte nucleus"),
    "n_healthy": whole("countable follicles that are not atretic"),
    "n_atretic": whole("atretic follicles among the outlines"),
    "area_mm2": number("area of the examined tissue, mm²"),
    "sections": whole("number of examined sections", known=True),
    "doubtful_sections": whole(
        "number of these sections that are doubtful: strange to the detector, or with a doubtful µm/px", known=True
    ),
    "interval": number("sampling interval: every n-th section; NA if it is not known or differs between sections"),
    "thickness_um": number("section thickness T, µm; NA if it is not known or differs between sections"),
    "interval_scaled": whole("n_countable times the interval"),
    "nucleus_height_um": number(
        "height h over which the stage's nuclei are seen, µm: given, or from all profiles", None
    ),
    "abercrombie": number("interval_scaled times T/(T + h): number of follicles in the ovary"),
    "countable_per_mm2": number("n_countable per area, 1/mm²"),
    "countable_per_mm3": number("follicles per volume, 1/mm³: n_countable/(area (T + h))"),
}
_SAMPLED = {
    "ovaries_sampled": number(
        "exposure, number of ovaries: sum of 1/interval over the ovaries, minus the share of tissue that was left out; "
        "offset in the comparison"
    )
}
_MEASURED = {
    "diameter_um": "diameter of the circle with the area of the follicle, µm",
    "long_axis_um": "long axis of the follicle, µm",
    "short_axis_um": "short axis of the follicle, µm",
    "oocyte_um": "diameter of the circle with the area of the oocyte, µm",
    "oocyte_long_um": "long axis of the oocyte, µm",
    "oocyte_short_um": "short axis of the oocyte, µm",
    "nucleus_um": "diameter of the oocyte nucleus, µm",
    "nucleus_contrast": "hematoxylin of the oocyte nucleus minus that of the cytoplasm",
    "layers": "number of granulosa layers, median over rays",
    "layers_iqr": "interquartile range of the layers over rays",
    "two_layers_fraction": "share of rays with at least two layers",
    "granulosa_um": "thickness of the granulosa, µm",
    "cuboidal_fraction": "share of rays on which the granulosa is as high as a cuboidal cell",
    "fluid_fraction": "fluid as a share of the granulosa's area",
    "fluid_spaces": "number of fluid spaces",
    "largest_space_fraction": "largest fluid space as a share of the granulosa's area",
    "granulosa_nuclei": "number of nuclei in the granulosa",
    "pyknotic_fraction": "share of these nuclei that are pyknotic",
    "surface_distance_um": "distance from the outline to the border of the section, µm",
    "dying_fraction": "share of the granulosa that looks like that of an atretic follicle",
}

FOLLICLES = table_of(
    {
        **_ANIMAL,
        **_OVARY,
        **_SECTION,
        "number": whole("number of the follicle on the overlay and in QuPath", known=True),
        "follicle_id": text("UUID, as in follicles.geojson"),
        "x_px": number("x of the centre, pixels of the slide at full resolution", None),
        "y_px": number("y of the centre, pixels of the slide at full resolution", None),
        "stage": text("current stage", [s.value for s in Stage]),
        "stage_predicted": text("stage that the software predicted", [s.value for s in Stage]),
        "health": text("current health", [h.value for h in Health]),
        "health_predicted": text("health that the software predicted", [h.value for h in Health]),
        "countable": text("whether the oocyte nucleus is visible; current value", [c.value for c in Countable]),
        "countable_predicted": text("countable as the software predicted", [c.value for c in Countable]),
        "status": text("origin of the current values", [s.value for s in Status if s != Status.REJECTED]),
        "score": number("probability that it is a follicle", SHARE),
        **{name: number(about, None) for name, about in _MEASURED.items()},
        **{f"p_{s.value}": number(f"probability of {s.label.lower()}", SHARE) for s in LADDER},
        "reasons": text("reasons for the stage, in words"),
    },
    title="tables/follicles.csv",
    description="one row per follicle or corpus luteum",
)
SECTION = table_of(
    {**_ANIMAL, **_OVARY, **_SECTION, **_STAGE, "pieces": text("its pieces of tissue in sections.geojson"), **_COUNTS},
    title="tables/counts_by_section.csv",
    description="one row per section and stage, including zeros",
)
OVARY = table_of(
    {**_ANIMAL, **_OVARY, **_STAGE, **_COUNTS, **_SAMPLED},
    title="tables/counts_by_ovary.csv",
    description="sums over the sections of each ovary",
)
ANIMAL = table_of(
    {**_ANIMAL, **_STAGE, **_COUNTS, **_SAMPLED},
    title="tables/counts_by_animal.csv",
    description="sums over the sections of each animal",
)
GENOTYPE = table_of(
    {
        **{name: column for name, column in _ANIMAL.items() if name != "animal"},
        **_STAGE,
        "n_animals": whole("number of animals in the group", known=True),
        "sections": whole("number of sections in the group", known=True),
        "doubtful_sections": whole("number of doubtful sections in the group", known=True),
        **{
            f"{name}_{what}": number(f"{what} of {name} over animals")
            for name in ("n_profiles", "n_countable")
            for what in ("mean", "sd")
        },
    },
    title="tables/counts_by_genotype.csv",
    description="means over animals",
)
_LUTEAL = {
    "n_profiles": whole("number of profiles; one corpus luteum has profiles in many sections"),
    "luteal_mm2": number("area of these profiles, mm²"),
    "area_mm2": number("area of the examined tissue, mm²"),
    "sections": whole("number of examined sections", known=True),
    "luteal_fraction": number("luteal_mm2/area_mm2", SHARE),
}
CORPORA_LUTEA_SECTION = table_of(
    {**_ANIMAL, **_OVARY, **_SECTION, **_LUTEAL},
    title="tables/corpora_lutea_by_section.csv",
    description="corpora lutea, one row per section",
)
CORPORA_LUTEA_ANIMAL = table_of(
    {**_ANIMAL, **_LUTEAL},
    title="tables/corpora_lutea_by_animal.csv",
    description="corpora lutea, sums over the sections of each animal",
)
#: Schemas by the name of the table in `Counts`.
SCHEMAS = {
    "follicles": FOLLICLES,
    "section": SECTION,
    "ovary": OVARY,
    "animal": ANIMAL,
    "genotype": GENOTYPE,
    "corpora_lutea_section": CORPORA_LUTEA_SECTION,
    "corpora_lutea_animal": CORPORA_LUTEA_ANIMAL,
}


def checked(counts: Counts) -> Counts:
    """Return the tables with the documented types, whatever a study lacks; empty tables have their columns, too.

    Raises
    ------
    UserError
        If a value is impossible, such as a score of 2 that another program wrote.
    """
    tables: dict[str, Any] = {name: validated(getattr(counts, name), schema) for name, schema in SCHEMAS.items()}
    return replace(counts, **tables)


def validated(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return a table with the types of its schema; an empty one has its columns, too.

    Raises
    ------
    UserError
        If a value is impossible.
    """
    try:
        return schema.validate(table if len(table) else table.reindex(columns=list(schema.columns)))
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{schema.title}: a value is not allowed there ({said}).") from None


def markdown(schemas: Mapping[str, pa.DataFrameSchema] = SCHEMAS) -> str:
    """The columns of tables, for docs/tables.md; columns that the table before has too are left out."""
    parts: list[str] = []
    before: dict[str, str] = {}
    for name, schema in schemas.items():
        part = f"## `{schema.title}` (`.{name}`): {schema.description}\n\n"
        now = {name: column.description for name, column in schema.columns.items()}
        columns = list(now)
        gone = [c for c in before if now.get(c) != before[c]]
        if before and len(gone) < len(columns) / 2:
            part += f"Like the table before, without {', '.join(gone)}"
            columns = [c for c in columns if c not in before or c in gone]
            part += ".\n" if not columns else "; with, in addition:\n\n"
        if columns:
            part += "| column | what | type |\n|---|---|---|\n"
            part += "".join(_line(c, schema.columns[c]) for c in columns)
        parts.append(part)
        before = now
    return "\n".join(parts)


def _line(name: str, column: pa.Column) -> str:
    values = next((c.statistics["allowed_values"] for c in column.checks if c.name == "isin"), ())
    kinds = {"int64": "whole number", "Int64": "whole number or `NA`", "float64": "number or `NA`"}
    what = column.description + (f": {', '.join(values)}" if len(values) > 2 else "")
    return f"| {name} | {what} | {kinds.get(str(column.dtype), 'text')} |\n"
