"""Write a comparison as tables for other programs: R, Prism, spreadsheets."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.files import write_csv, write_text
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.schemas import OPTIONAL, SCHEMAS
from follicle_stager.study.schemas import validated

if TYPE_CHECKING:
    from follicle_stager.statistics.arrest import Arrest
    from follicle_stager.statistics.comparison import Comparison
    from follicle_stager.study import Study

#: R script that repeats the fits of a comparison; a copy is written next to the tables.
R_SCRIPT = files("follicle_stager.statistics").joinpath("analysis.R")


def write_comparison(study: Study | Path, comparison: Comparison) -> None:
    """Write ``statistics/`` and the tables for Prism.

    Parameters
    ----------
    study
        Study whose counts were compared, or a folder, for counts from a table.
    comparison
        Result of `compare`.
    """
    folder = study if isinstance(study, Path) else study.path
    for name, schema in SCHEMAS.items():
        table = getattr(comparison, name)
        if name in OPTIONAL and table.empty:
            (folder / schema.title).unlink(missing_ok=True)
            continue
        write_csv(folder / schema.title, validated(table, schema).round(6))
    if comparison.audited.empty:
        write_text(folder / "statistics" / "analysis.R", R_SCRIPT.read_text("utf-8"))
    else:  # it repeats tests of counts, not of estimates
        (folder / "statistics" / "analysis.R").unlink(missing_ok=True)
    write_csv(folder / "tables" / "prism_grouped.csv", prism_grouped(comparison))
    write_csv(folder / "tables" / "prism_grouped_scaled.csv", prism_grouped(comparison, scaled=True).round(6))
    write_csv(folder / "tables" / "prism_arrest.csv", prism_arrest(comparison))


def prism_grouped(result: Comparison, *, scaled: bool = False) -> pd.DataFrame:
    """Table for Prism's *Grouped* format: stages as rows, animals as columns, ordered by genotype.

    Parameters
    ----------
    result
        All results.
    scaled
        Whether counts are over their exposures (per ovary, section or animal), as in the figure.
    """
    table = pd.DataFrame({"stage": list(RUNGS)})
    for a in result.arrests:
        values = a.matrix.counts / a.matrix.exposure if scaled else a.matrix.counts
        for group, own in (("control", ~a.matrix.knockout), ("knockout", a.matrix.knockout)):
            for i in np.flatnonzero(own):
                table[f"{_column(result, a, group == 'knockout')} {a.matrix.animals[i]}"] = values[i]
    return table


def prism_arrest(result: Comparison) -> pd.DataFrame:
    """Table for Prism's *Column* format: one column per genotype with each animal's ``arrest_log_ratio``."""
    columns = {}
    for a in result.arrests:
        ratios = a.animals["arrest_log_ratio"].to_numpy()
        columns[_column(result, a, False)] = pd.Series(ratios[~a.matrix.knockout])
        columns[_column(result, a, True)] = pd.Series(ratios[a.matrix.knockout])
    return pd.DataFrame(columns)


def _column(result: Comparison, arrest: Arrest, knockout: bool) -> str:
    """Column name of a group; it includes the comparison if several have a group of this name."""
    genotype = arrest.matrix.genotypes[knockout]
    names = [g for a in result.arrests for g in a.matrix.genotypes]
    return genotype if names.count(genotype) == 1 else f"{arrest.matrix.comparison} {genotype}"
