"""The example slides, and how the demo's counts compare with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from follicle_stager.annotations import read_geojson
from follicle_stager.errors import StudyError
from follicle_stager.evaluation import match_outlines
from follicle_stager.stages import LADDER, Countable, Stage

if TYPE_CHECKING:
    from follicle_stager.records import Follicle
    from follicle_stager.study import Study


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


def comparison(study: Study) -> Table:
    """Truth against what was found, per stage, over all example slides.

    A true follicle is found if an outline overlaps it by IoU 0.5 or more. Follicles that the section cuts beside
    the oocyte are listed apart: the classical detector finds follicles by their oocyte or their cavity.
    """
    table = Table(
        box=box.SIMPLE,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        title="Example slides against their truth (synthetic; outlines matched at IoU 0.5)",
        caption="nucleus seen: countable ones of 'true'; right stage, unsure: of 'found'; "
        "claimed: all outlines called so; false: those of them that match no true follicle.",
    )
    for name in (
        "stage",
        "true",
        "found",
        "nucleus\nseen",
        "found\nof these",
        "right\nstage",
        "unsure",
        "claimed",
        "false",
    ):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    slide_ids = study.slide_ids()
    pairs = [_matched(study, slide_id) for slide_id in slide_ids]
    visible = {s for slide_id in slide_ids for s in (study.run_info(slide_id) or {})["visible_stages"]}
    for stage in LADDER:
        if stage.value not in visible:
            continue
        true = [(t, f) for matched, _ in pairs for t, f in matched if t.stage == stage]
        if not true:
            continue
        found = [(t, f) for t, f in true if f is not None]
        countable = [(t, f) for t, f in true if t.countable == Countable.YES]
        claimed = sum(c.stage == stage for _, claims in pairs for c, _ in claims)
        false = sum(c.stage == stage and not hit for _, claims in pairs for c, hit in claims)
        table.add_row(
            stage.label,
            str(len(true)),
            str(len(found)),
            str(len(countable)),
            str(sum(f is not None for _, f in countable)),
            str(sum(f.stage == stage for _, f in found)),
            str(sum(f.stage == Stage.UNSURE for _, f in found)),
            str(claimed),
            str(false),
        )
    return table


def _matched(study: Study, slide_id: str) -> tuple[list[tuple[Follicle, Follicle | None]], list[tuple[Follicle, bool]]]:
    """Each true follicle with the found one or None, and each found one with whether it is true."""
    truth = read_geojson(folder() / "truth" / f"{slide_id}.geojson")
    found = study.follicles(slide_id)
    matches = match_outlines([f.outline for f in found], [t.outline for t in truth], min_iou=0.5)
    by_true = {m.true: found[m.found] for m in matches}
    hits = {m.found for m in matches}
    return (
        [(t, by_true.get(i)) for i, t in enumerate(truth)],
        [(f, i in hits) for i, f in enumerate(found)],
    )
