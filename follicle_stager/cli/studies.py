"""Verbs that work on a study: from slides to a report, and what a person corrects in between."""

from __future__ import annotations

import getpass
import importlib
import importlib.util
import os
import sys
from pathlib import Path  # noqa: TC003  typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from follicle_stager.annotations import in_words, read_outlines, write_geojson, write_rois
from follicle_stager.batch import Outcome, run_batch
from follicle_stager.cli.common import (
    ConfigFile,
    Count,
    Covariates,
    Detector,
    Jobs,
    MinScore,
    Mpp,
    Out,
    Slides,
    app,
    err,
    out,
    say,
)
from follicle_stager.config import Config, DetectionConfig, explain, load_config
from follicle_stager.corrections import NothingToTakeIn, merge_edits
from follicle_stager.detection import detector_id
from follicle_stager.errors import UserError
from follicle_stager.learning import learn as learn_study
from follicle_stager.progress import BatchProgress
from follicle_stager.report.console import (
    comparison_tables,
    count_tables,
    learned_table,
)
from follicle_stager.stages import Status
from follicle_stager.staging import stager_id
from follicle_stager.study import SlideSource, Study, count_study, list_slides, read_samples

if TYPE_CHECKING:
    from follicle_stager.statistics import Comparison


@app.command()
def run(
    slides: Slides,
    samples: Annotated[Path, typer.Option("--samples", help="Sample sheet: which slide is of which animal.")],
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = 1,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
    detector: Detector = None,
) -> None:
    """Find and stage the follicles of all slides, count them per animal, and say where the knockouts block."""
    config = _config(out_folder, config_file, min_score, detector)
    sources = list_slides(slides)
    sheet = read_samples(samples, sources)
    study = Study.create(out_folder, config, told=say)
    scales: dict[str, float] | float | None = mpp
    if mpp is None:
        scales = {s.slide: s.mpp for s in sheet if s.mpp is not None}
    outcomes = _process(study, sources, config, scales, jobs)
    if all(o.state == "failed" for o in outcomes):
        raise typer.Exit(2 if len(outcomes) == 1 else 1)
    if any(o.state == "failed" for o in outcomes):
        older = (
            " Tables of an earlier run are still there, and are older than this one." if study.tables.exists() else ""
        )
        out.print(
            "Counts are not written, because slides are missing: mend them, or take them out of the folder and "
            f"the sample sheet, and run the same command again. Finished slides are kept.{older}"
        )
        raise typer.Exit(1)
    out.print(*count_tables(count_study(study, samples_path=samples)), sep="\n")
    try:
        _report(study, _compare(study, "countable"))
    except UserError as error:  # counts of one group are an answer too
        out.print(f"Not compared: {escape(str(error))}", style="yellow", highlight=False)
        if (study.path / "report.html").exists():
            out.print("report.html and statistics/ are of an earlier comparison.", style="yellow", highlight=False)
    out.print(f"Tables: {escape(str(study.tables))}   Pictures: {escape(str(study.path / 'slides'))}")


@app.command()
def stage(
    slides: Slides,
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = 1,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
    detector: Detector = None,
) -> None:
    """Find and stage the follicles of a slide or a folder, without a sample sheet."""
    config = _config(out_folder, config_file, min_score, detector)
    sources = list_slides(slides)
    study = Study.create(out_folder, config, told=say)
    outcomes = _process(study, sources, config, mpp, jobs)
    failed = sum(o.state == "failed" for o in outcomes)
    if len(outcomes) == 1 and not failed:
        _show_follicles(study, outcomes[0].slide_id)
    if failed:
        raise typer.Exit(2 if len(outcomes) == 1 else 1)


@app.command()
def count(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    samples: Annotated[
        Path | None, typer.Option("--samples", help="Another sample sheet; it replaces the study's.")
    ] = None,
) -> None:
    """Count the follicles of a study again, e.g. after corrections."""
    out.print(*count_tables(count_study(Study.open(study_folder), samples_path=samples)), sep="\n")


@app.command()
def compare(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    counted: Count = "countable",
    covariates: Covariates = "",
) -> None:
    """Say where the knockouts block, if they do, and write the tables: models, Prism, and a script for R."""
    _compare(Study.open(study_folder), counted, covariates)


@app.command()
def report(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    counted: Count = "countable",
    covariates: Covariates = "",
) -> None:
    """Compare, and write report.html with its figures."""
    study = Study.open(study_folder)
    _report(study, _compare(study, counted, covariates))


@app.command()
def review(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    slide: Annotated[str, typer.Option("--slide", help="Open this slide first.")] = "",
    take_in: Annotated[
        Path | None,
        typer.Option("--take-in", help="Instead: take in what another person corrected in a copy of the study."),
    ] = None,
) -> None:
    """Correct the follicles of a study in napari."""
    study = Study.open(study_folder)
    if take_in is not None:
        _take_in(study, Study.open(take_in), [slide] if slide else study.slide_ids())
        return
    if importlib.util.find_spec("napari") is None:
        raise UserError('napari is not installed: pip install "follicle-stager[napari]"')
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & set(os.environ):
        raise UserError("There is no screen to open napari on: log in with one, or run it under Xvfb.")
    importlib.import_module("follicle_stager_napari.panel").review(study_folder, slide)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="follicles.geojson, other GeoJSON, or ImageJ's RoiSet.zip.")],
    target: Annotated[Path, typer.Argument(help="A .zip for ImageJ's ROI manager, or a .geojson for QuPath.")],
) -> None:
    """Write outlines for another program: ImageJ ROIs, or QuPath's GeoJSON."""
    outlines = read_outlines(source)
    follicles = [f for f in outlines.follicles if f.status != Status.REJECTED]
    if outlines.left_out:
        say(f"Not taken for follicles: {in_words(outlines.left_out)}")
    writers = {".zip": write_rois, ".geojson": write_geojson}
    if target.suffix.lower() not in writers:
        raise UserError(f"{target}: write to a name that ends in .zip (ImageJ) or .geojson (QuPath).")
    writers[target.suffix.lower()](target, follicles)
    out.print(f"{len(follicles)} outlines: {escape(str(target))}")


@app.command()
def learn(study_folder: Annotated[Path, typer.Argument(help="A study folder with corrections.")]) -> None:
    """Learn your own staging from your corrections; say whether it beats the criteria on animals held back."""
    study = Study.open(study_folder)
    with BatchProgress(err, total=1) as progress:
        learned = learn_study(study, progress=lambda done, total: progress.step("animals held back", "", done, total))
    out.print(learned_table(learned))
    if not learned.card.takes_over:
        out.print(
            "It is not surely better than the criteria, so leave these in place. Judge more follicles, of more animals."
        )
        return
    out.print(
        "It beats the criteria on animals that it had not seen. To stage with it, put this into a --config file and "
        "run again:\n"
        f'\\[staging]\nclassifier = "{escape(learned.folder.resolve().as_posix())}"',
        soft_wrap=True,
    )


def _compare(study: Study, counted: str, covariates: str = "") -> Comparison:
    from follicle_stager.statistics import compare_study
    from follicle_stager.statistics.matrix import COUNTED_WORDS

    choices = {name: name for name in COUNTED_WORDS}
    if counted not in choices:
        raise UserError(f"--count {counted}: write {', '.join(choices)}.")
    names = [name.strip() for name in covariates.split(",") if name.strip()]
    result = compare_study(study, count=choices[counted], covariates=names)
    out.print(*comparison_tables(result), sep="\n")
    return result


def _report(study: Study, result: Comparison) -> None:
    from follicle_stager.report.html import write_report

    out.print(f"Report: {escape(str(write_report(study, result)))}", soft_wrap=True)


def _take_in(study: Study, other: Study, slide_ids: list[str]) -> None:
    """Merge another person's log of each slide, and list what both had changed."""
    for slide_id in slide_ids:
        if other.run_info(slide_id) is None:
            out.print(f"{escape(slide_id)}: not in {escape(str(other.path))}", style="yellow", highlight=False)
            continue
        try:
            with study.review(slide_id, author=getpass.getuser()) as session:
                merged = merge_edits(session, other.slide_folder(slide_id))
        except NothingToTakeIn:
            out.print(f"{escape(slide_id)}: nothing was corrected there", highlight=False)
            continue
        out.print(f"{escape(slide_id)}: {len(merged.taken)} corrections taken in", highlight=False)
        for edit in merged.conflicts:
            at = edit.outline.centroid
            out.print(
                f"  left out: {edit.kind} by {escape(edit.author)} at x = {at.x:.0f}, y = {at.y:.0f}: it was changed "
                "here too, and yours stands",
                style="yellow",
                highlight=False,
            )


def _config(out_folder: Path, config_file: Path | None, min_score: float | None, detector: str | None) -> Config:
    """Parameters of a run: options first, then the file that was given, or the study that is there."""
    if config_file:
        config = load_config(config_file)
    else:
        config = Study(out_folder).config() if (out_folder / "study.toml").exists() else Config()
    given = {"min_score": min_score, "detector": detector}
    try:
        detection = DetectionConfig.model_validate(
            config.detection.model_dump() | {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise UserError(f"--{explain(error)}") from None
    # A network that cannot be read is said before the first slide is opened.
    detector_id(detection)
    stager_id(config.staging)
    return config.model_copy(update={"detection": detection})


def _process(
    study: Study, sources: list[SlideSource], config: Config, mpp: dict[str, float] | float | None, jobs: int
) -> list[Outcome]:
    try:
        with (
            study.running(config, mpp=None if isinstance(mpp, dict) else mpp),
            BatchProgress(err, total=len(sources)) as progress,
        ):
            # One that began in the same moment may have written its settings before it was refused.
            Study.create(study.path, config)
            outcomes = run_batch(
                study, sources, config, mpp=mpp, jobs=jobs, on_progress=progress.step, on_done=progress.done
            )
    except KeyboardInterrupt:
        err.print("stopped; finished slides are kept. Run the same command again to go on.")
        raise typer.Exit(130) from None
    failed = [o for o in outcomes if o.state == "failed"]
    kept = sum(o.state == "kept" for o in outcomes)
    found = sum(o.follicles for o in outcomes)
    summary = f"{len(outcomes) - len(failed)} of {len(outcomes)} slides done, {found} follicles"
    if kept:
        summary += f" ({kept} slides were finished before and kept)"
    out.print(summary)
    if not found and len(failed) < len(outcomes):
        out.print("No follicle was found. Look at overlay.jpg; a lower --min-score finds more, and claims more.")
    for outcome in outcomes:
        for flag in outcome.flags:
            out.print(f"  note: {escape(outcome.slide_id)}: {flag}", style="yellow", highlight=False)
    for outcome in failed:
        err.print(f"error: {escape(outcome.message)}", style="red", highlight=False, soft_wrap=True)
    return outcomes


def _show_follicles(study: Study, slide_id: str) -> None:
    table = Table(title=f"Follicles of {slide_id}")
    table.add_column("no", justify="right")
    for name in ("stage", "health", "countable"):
        table.add_column(name)
    table.add_column("score", justify="right")
    table.add_column("why", overflow="fold")
    for number, f in enumerate(study.follicles(slide_id), start=1):
        if f.status == Status.REJECTED:
            continue
        table.add_row(
            str(number),
            f.stage.label,
            f.health.value,
            f.countable.value,
            f"{f.score:.2f}",
            "; ".join(f.reasons),
        )
    out.print(table)
    out.print(f"Picture: {escape(str(study.slide_folder(slide_id) / 'overlay.jpg'))}", soft_wrap=True)
