"""Where the example slides are."""

from __future__ import annotations

from pathlib import Path

from follicle_stager.errors import StudyError


def folder() -> Path:
    """Where the example slides are: in the package, or beside it in a checkout.

    Raises
    ------
    StudyError
        If they are in neither place.
    """
    package = Path(__file__).parent
    for place in (package / "example_slides", package.parent / "example_slides"):
        if (place / "samples.csv").is_file():
            return place
    raise StudyError("the example slides are not installed; make some with  follicle-stager phantom example_slides")
