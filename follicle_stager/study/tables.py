"""Read and write the tables and the sample sheet of a study; tables are checked against the schemas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.files import read_text, replacing, set_aside, sweep, write_csv
from follicle_stager.study.counts import count
from follicle_stager.study.folder import Study
from follicle_stager.study.schemas import SCHEMAS, checked

if TYPE_CHECKING:
    from os import PathLike

    from follicle_stager.study.samples import SampleSheet
    from follicle_stager.study.sums import Counts


def load_study(path: str | PathLike[str]) -> Counts:
    """Count the current state of a study, including corrections, in tables with the documented column types.

    Parameters
    ----------
    path
        Folder of the study.

    Returns
    -------
    Counts
        Data frames ``follicles``, ``section``, ``ovary``, ``animal``, ``genotype``, ``corpora_lutea_section`` and
        ``corpora_lutea_animal``; columns: docs/tables.md.

    Raises
    ------
    UserError
        If the folder is not a study, or the sample sheet does not match it.
    """
    return checked(count(Study.open(Path(path))))


def write_counts(study: Study, counts: Counts, sheet: SampleSheet | None = None) -> tuple[str, ...]:
    """Write the tables of a study into ``tables/``.

    Parameters
    ----------
    study
        Study that was counted.
    counts
        Its counts.
    sheet
        Sample sheet with which it was counted, if that is not the study's own; it becomes the study's own. A different
        one, which a person may have edited, is kept beside it.

    Returns
    -------
    tuple of str
        What a person must know, in words.

    Raises
    ------
    UserError
        If a value is not allowed in its column; nothing is then written.
    """
    sweep(study.path)
    checked(counts)
    told = _keep_sheet(study.samples_path, sheet) if sheet is not None else ()
    for name, schema in SCHEMAS.items():
        write_csv(study.path / str(schema.title), getattr(counts, name))
    return told


def _keep_sheet(path: Path, sheet: SampleSheet) -> tuple[str, ...]:
    told: tuple[str, ...] = ()
    if path.exists() and read_text(path) == sheet.text:
        return told
    with replacing(path) as temporary:  # on a full disk this fails, and the old file stays
        temporary.write_bytes(sheet.text.encode("utf-8", "backslashreplace"))
        if path.exists():
            aside = set_aside(path, "replaced").name
            told = (f"samples.csv of the study was replaced by the given sheet; the previous one is now {aside}",)
    return told
