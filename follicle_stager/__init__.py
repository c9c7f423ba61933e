"""follicle-stager: find, stage and count ovarian follicles in mouse histology.

The library reads brightfield sections, outlines follicles, measures them in micrometres and gives each a
stage with readable reasons. It imports no Qt and no napari; the screen lives in ``follicle_stager_napari``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from follicle_stager.study.counts import Counts

__version__ = "0.3.0"

__all__ = ["__version__", "load_study"]


def load_study(path: str | PathLike[str]) -> Counts:
    """The tables of a study as they stand, corrections included.

    Parameters
    ----------
    path
        Of the study's folder.

    Returns
    -------
    Counts
        Data frames ``follicles``, ``section``, ``ovary``, ``animal`` and ``genotype``, checked against the pandera
        schemas of `follicle_stager.study.schemas`; columns: docs/tables.md.

    Raises
    ------
    UserError
        If it is no study, or the sample sheet does not fit.
    """
    from pathlib import Path

    from follicle_stager.study import Study, Tally
    from follicle_stager.study.schemas import checked

    return checked(Tally(Study.open(Path(path))).counts())
