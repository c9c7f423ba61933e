"""Commands that work on a study: from slides to a report, with corrections in between.

They are thin: each calls the public interface (``fs``), which is imported when a command runs to keep ``--help`` fast.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

import follicle_stager as fs
from follicle_stager.cli.common import (
    ClusterAt,
    ClusterSize,
    ConfigFile,
    Count,
    Covariates,
    Detector,
    Jobs,
    MinScore,
    Mpp,
    Out,
    Shared,
    Slides,
    app,
    err,
    out,
    say,
)
from follicle_stager.cli.processing import Where, parameters, process
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from follicle_stager.study import SlideContent


@app.command()
def run(
    slides: Slides,
    samples: Annotated[Path, typer.Option("--samples", help="Sample sheet: which slide belongs to which animal.")],
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = None,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
    detector: Detector = None,
    cluster: ClusterAt = None,
    workers: ClusterSize = 0,
    shared: Shared = None,
) -> None:
    """Find, stage and count the follicles on all slides; report where growth is blocked in the knockouts."""
    config = parameters(out_folder, config_file, min_score, detector)
    sources, sheet = fs.list_slides(slides), fs.SampleSheet.read(samples)
    study, outcomes = process(sources, out_folder, sheet, config, mpp, Where(jobs, cluster, workers, shared or []))
    if all(o.state == "failed" for o in outcomes):
        raise typer.Exit(2 if len(outcomes) == 1 else 1)
    if any(o.state == "failed" for o in outcomes):
        older = " The existing tables are from an earlier run." if study.tables.exists() else ""
        out.print(
            "Counts are not written, because slides failed: repair them, or remove them from the folder and the "
            f"sample sheet, and run the same command again. Finished slides are kept.{older}"
        )
        raise typer.Exit(1)
    contents = study.contents()
    counts = _count(study, sheet, contents)
    try:
        _report(study, _compare(study, counts, "countable"), counts, contents)
    except UserError as error:  # counts of one group are also a result
        out.print(f"Not compared: {escape(str(error))}", style="yellow", highlight=False)
        if (study.path / "report.html").exists():
            out.print("report.html and statistics/ are from an earlier comparison.", style="yellow", highlight=False)
    out.print(f"Tables: {escape(str(study.tables))}   Pictures: {escape(str(study.path / 'slides'))}")


@app.command()
def stage(
    slides: Slides,
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = None,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
    detector: Detector = None,
    cluster: ClusterAt = None,
    workers: ClusterSize = 0,
    shared: Shared = None,
) -> None:
    """Find and stage the follicles on a slide or on all slides of a folder, without a sample sheet."""
    config = parameters(out_folder, config_file, min_score, detector)
    study, outcomes = process(
        fs.list_slides(slides), out_folder, None, config, mpp, Where(jobs, cluster, workers, shared or [])
    )
    failed = sum(o.state == "failed" for o in outcomes)
    if len(outcomes) == 1 and not failed:
        from follicle_stager.cli.tables import follicle_table

        slide_id = outcomes[0].slide_id
        out.print(follicle_table(slide_id, study.follicles(slide_id)))
        out.print(f"Picture: {escape(str(study.slide_folder(slide_id) / 'overlay.jpg'))}", soft_wrap=True)
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
    _count(fs.Study.open(study_folder), fs.SampleSheet.read(samples) if samples is not None else None)


StudyOrTable = Annotated[Path, typer.Argument(help="A study folder, or a table of counts (.csv, .tsv, .xlsx).")]
OutOfTable = Annotated[Path | None, typer.Option("--out", help="Folder for the results, for a table of counts.")]
ConfigOfTable = Annotated[
    Path | None, typer.Option("--config", help="Parameters as TOML, for a table of counts; only [comparison] is used.")
]


@app.command()
def compare(
    study_folder: StudyOrTable,
    counted: Count = "countable",
    covariates: Covariates = "",
    out_folder: OutOfTable = None,
    config_file: ConfigOfTable = None,
) -> None:
    """Report whether and where growth is blocked in the knockouts; write tables (also for Prism) and an R script."""
    if study_folder.is_file():
        _compare_table(study_folder, out_folder, config_file, counted, covariates)
        if out_folder is None:
            out.print("Nothing was written; --out FOLDER writes the tables and an R script.")
        return
    _check_of_study(out_folder, config_file)
    study = fs.Study.open(study_folder)
    _compare(study, _counts(study), counted, covariates)


@app.command()
def report(
    study_folder: StudyOrTable,
    counted: Count = "countable",
    covariates: Covariates = "",
    out_folder: OutOfTable = None,
    config_file: ConfigOfTable = None,
) -> None:
    """Compare the groups, and write report.html with its figures."""
    if study_folder.is_file():
        if out_folder is None:
            raise UserError(f"{study_folder}: the report of a table needs a folder; give --out FOLDER.")
        comparison = _compare_table(study_folder, out_folder, config_file, counted, covariates)
        out.print(f"Report: {escape(str(fs.write_report(out_folder, comparison)))}", soft_wrap=True)
        return
    _check_of_study(out_folder, config_file)
    study = fs.Study.open(study_folder)
    contents = study.contents()
    counts = _counts(study, contents)
    _report(study, _compare(study, counts, counted, covariates), counts, contents)


@app.command()
def review(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    slide: Annotated[str, typer.Option("--slide", help="Open this slide first.")] = "",
    take_in: Annotated[
        Path | None,
        typer.Option("--take-in", help="Instead of opening napari: add another person's corrections from this copy."),
    ] = None,
    blind: Annotated[
        bool | None,
        typer.Option("--blind/--no-blind", help="Hide the names of slides, animals and groups; by default as before."),
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Visit the fields of the planned audit instead.")] = False,
    show_claims: Annotated[
        bool,
        typer.Option("--show-claims", help="In an audit, show the claims at once; misses are then under-found."),
    ] = False,
) -> None:
    """Review and correct the follicles of a study in napari, or visit the fields of its audit."""
    study = fs.Study.open(study_folder)
    if audit and (slide or take_in is not None):
        raise UserError("--audit leads through the fields of its plan: leave --slide and --take-in out.")
    if show_claims and not audit:
        raise UserError("--show-claims is for an audit: add --audit.")
    if audit and fs.AuditPlan.read(study) is None:
        raise UserError(f"{study.path}: no audit is planned; run 'follicle-stager audit plan {study.path}'.")
    if take_in is not None:
        _take_in(study, fs.Study.open(take_in), [slide] if slide else study.slide_ids())
    else:
        say("Opening napari. The first time on a computer, it compiles parts of itself, which can take half a minute.")
        fs.review_study(study_folder, slide, blind=blind, audit=audit, hidden=not show_claims)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="follicles.geojson, other GeoJSON, or ImageJ's RoiSet.zip.")],
    target: Annotated[Path, typer.Argument(help="A .zip for ImageJ's ROI manager, or a .geojson for QuPath.")],
) -> None:
    """Write outlines for another program: ImageJ ROIs, or QuPath's GeoJSON."""
    from follicle_stager.annotations import in_words

    outlines = fs.read_outlines(source)
    follicles = [f for f in outlines.follicles if f.status != fs.Status.REJECTED]
    if outlines.left_out:
        say(f"Not taken for follicles: {in_words(outlines.left_out)}")
    writers = {".zip": fs.write_rois, ".geojson": fs.write_geojson}
    if target.suffix.lower() not in writers:
        raise UserError(f"{target}: the name must end in .zip (ImageJ) or .geojson (QuPath).")
    writers[target.suffix.lower()](target, follicles)
    out.print(f"{len(follicles)} outlines: {escape(str(target))}")


@app.command()
def learn(study_folder: Annotated[Path, typer.Argument(help="A study folder with corrections.")]) -> None:
    """Learn your own staging from your corrections; report whether it beats the criteria on held-out animals."""
    from follicle_stager.cli.progress import BatchProgress
    from follicle_stager.cli.tables import learned_table

    study = fs.Study.open(study_folder)
    with BatchProgress(err, total=1) as progress:
        learned = fs.learn(study, progress=lambda done, total: progress.step("animals held back", "", done, total))
    out.print(learned_table(learned))
    if not learned.card.takes_over:
        out.print(
            "It is not clearly better than the criteria, so keep using these. Judge more follicles, of more animals."
        )
        return
    out.print(
        "It is better than the criteria on animals that it has not seen. To use it, put this into a --config file "
        "and run again:\n"
        f'\\[staging]\nclassifier = "{escape(learned.folder.resolve().as_posix())}"',
        soft_wrap=True,
    )


def _counts(study: fs.Study, contents: Mapping[str, SlideContent] | None = None) -> fs.Counts:
    """Count the follicles, and write the tables."""
    counts = fs.count(study, contents=contents)
    fs.write_counts(study, counts)
    return counts


def _count(
    study: fs.Study, sheet: fs.SampleSheet | None, contents: Mapping[str, SlideContent] | None = None
) -> fs.Counts:
    """Count the follicles, save a newly given sample sheet, write the tables and show them."""
    from follicle_stager.audit import is_open
    from follicle_stager.cli.tables import count_tables

    counts = fs.count(study, sheet, contents=contents)
    notes = fs.write_counts(study, counts, sheet)
    hidden = is_open(study)
    out.print(*count_tables(counts, notes, means=not hidden), sep="\n")
    if hidden:
        say("The means of the groups are not shown, because an audit is open ('follicle-stager audit status').")
    return counts


def _compare(study: fs.Study, counts: fs.Counts, kind: str, covariates: str = "") -> fs.Comparison:
    """Compare, write the tables and show the verdict."""
    from follicle_stager.audit import AuditResult
    from follicle_stager.cli.tables import comparison_tables
    from follicle_stager.statistics.matrix import KIND_WORDS

    kinds = {name: name for name in KIND_WORDS if name != "given"}
    if kind not in kinds:
        raise UserError(f"--count {kind}: write {', '.join(kinds)}.")
    names = [name.strip() for name in covariates.split(",") if name.strip()]
    comparison: fs.Comparison = fs.compare(
        counts, kind=kinds[kind], config=study.config.comparison, covariates=names, audit=AuditResult.of(study)
    )
    fs.write_comparison(study, comparison)
    out.print(*comparison_tables(comparison), sep="\n")
    return comparison


def _check_of_study(out_folder: Path | None, config_file: Path | None) -> None:
    """Refuse what only a table of counts needs."""
    if out_folder is not None:
        raise UserError("--out is for a table of counts; the results of a study are written into its folder.")
    if config_file is not None:
        raise UserError("--config is for a table of counts; the parameters of a study are in its study.toml.")


def _compare_table(
    path: Path, out_folder: Path | None, config_file: Path | None, kind: str, covariates: str
) -> fs.Comparison:
    """Compare the counts of a table, and show the verdict; write the tables if there is a folder for them."""
    from follicle_stager.cli.tables import comparison_tables

    if kind != "countable" or covariates:
        raise UserError("--count and --covariates are for a study; a table has one kind of counts and no covariates.")
    config = fs.load_config(config_file).comparison if config_file is not None else None
    comparison: fs.Comparison = fs.compare_counts(path, config=config)
    if out_folder is not None:
        fs.write_comparison(out_folder, comparison)
    out.print(*map(escape, comparison.notes), *comparison_tables(comparison), sep="\n")
    return comparison


def _report(
    study: fs.Study, comparison: fs.Comparison, counts: fs.Counts, contents: Mapping[str, SlideContent]
) -> None:
    path = fs.write_report(study, comparison, counts=counts, contents=contents, told=say)
    out.print(f"Report: {escape(str(path))}", soft_wrap=True)


def _take_in(study: fs.Study, other: fs.Study, slide_ids: list[str]) -> None:
    """Merge another person's log of each slide, and list the follicles and sections that both had changed."""
    from follicle_stager.corrections import NothingToTakeIn, merge_edits

    for slide_id in slide_ids:
        if not other.has_run(slide_id):
            out.print(f"{escape(slide_id)}: not in {escape(str(other.path))}", style="yellow", highlight=False)
            continue
        try:
            with study.review(slide_id, author=getpass.getuser()) as session:
                merged = merge_edits(session, other.slide_folder(slide_id))
        except NothingToTakeIn:
            out.print(f"{escape(slide_id)}: no corrections in the copy", highlight=False)
            continue
        out.print(f"{escape(slide_id)}: {len(merged.taken)} corrections added", highlight=False)
        for edit in merged.conflicts:
            at = edit.outline.centroid
            out.print(
                f"  left out: {edit.kind} by {escape(edit.author)} at x = {at.x:.0f}, y = {at.y:.0f}: you changed it "
                "too, and your version is kept",
                style="yellow",
                highlight=False,
            )
