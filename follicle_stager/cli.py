"""The verbs. Each is thin: it reads its arguments, calls the library, and shows what came out.

Exit codes: 0 all well; 1 some slides failed, the others are done; 2 the input was not usable.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import follicle_stager
from follicle_stager import examples
from follicle_stager.batch import Outcome, run_batch
from follicle_stager.config import Config, load_config
from follicle_stager.doctor import report as doctor_report
from follicle_stager.errors import UserError, describe_os_error
from follicle_stager.progress import BatchProgress
from follicle_stager.stages import COUNTED
from follicle_stager.study import SlideSource, Study, count_study, list_slides, read_samples

if TYPE_CHECKING:
    from follicle_stager.study.counts import Counts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find, stage and count ovarian follicles in mouse histology.",
)
out = Console()
err = Console(stderr=True)

_PROCESSORS = os.cpu_count() or 1

Slides = Annotated[Path, typer.Argument(help="A slide, or a folder of slides.")]
Out = Annotated[Path, typer.Option("--out", help="Study folder for the results.")]
Mpp = Annotated[
    float | None,
    typer.Option("--mpp", help="µm per pixel, for slides that do not say it (it then stands for all)."),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Slides processed at the same time.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Parameters as TOML (see docs/parameters.md).")]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", min=0, max=1, help="Detection threshold; lower finds more and claims more."),
]


@app.command()
def run(
    slides: Slides,
    samples: Annotated[Path, typer.Option("--samples", help="Sample sheet: which slide is of which animal.")],
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = 1,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
) -> None:
    """Find and stage the follicles of all slides, and count them per animal and genotype."""
    config = _config(config_file, min_score)
    sources = list_slides(slides)
    sheet = read_samples(samples, sources)
    study = Study.create(out_folder, config)
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
    _show_counts(count_study(study, samples_path=samples))
    out.print(f"\nTables: {escape(str(study.tables))}   Pictures: {escape(str(study.path / 'slides'))}")


@app.command()
def stage(
    slides: Slides,
    out_folder: Out,
    mpp: Mpp = None,
    jobs: Jobs = 1,
    config_file: ConfigFile = None,
    min_score: MinScore = None,
) -> None:
    """Find and stage the follicles of a slide or a folder, without a sample sheet."""
    config = _config(config_file, min_score)
    sources = list_slides(slides)
    study = Study.create(out_folder, config)
    outcomes = _process(study, sources, config, mpp, jobs)
    failed = sum(o.state == "failed" for o in outcomes)
    if len(outcomes) == 1 and not failed:
        _show_follicles(study, outcomes[0].slide_id)
    if failed:
        raise typer.Exit(2 if len(outcomes) == 1 else 1)


@app.command()
def count(
    study_folder: Annotated[Path, typer.Argument(help="A study folder.")],
    samples: Annotated[Path | None, typer.Option("--samples", help="Sample sheet, if the study has none yet.")] = None,
) -> None:
    """Count the follicles of a study again, e.g. after corrections."""
    _show_counts(count_study(Study.open(study_folder), samples_path=samples))


@app.command()
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Study folder for the results.")] = Path("demo_study"),
    jobs: Jobs = _PROCESSORS,
) -> None:
    """Run the whole job on the example slides (synthetic), and compare the counts with their truth."""
    folder = examples.folder()
    run(folder, folder / "samples.csv", out_folder, jobs=jobs)
    out.print()
    out.print(examples.comparison(Study.open(out_folder)))


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the cohort.")],
    animals: Annotated[int, typer.Option("--animals", min=1, help="Animals per group.")] = 4,
    sections: Annotated[int, typer.Option("--sections", min=1, help="Sections per animal.")] = 3,
    arrest: Annotated[
        float, typer.Option("--arrest", min=0, max=1, help="Share of follicles blocked before the antrum.")
    ] = 0.8,
    mpp: Annotated[float, typer.Option("--mpp", min=0.2, max=4, help="µm per pixel.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Everything follows from it.")] = 20260101,
) -> None:
    """Render a synthetic cohort with truth: slides, samples.csv and truth/*.geojson."""
    from follicle_stager.phantom import CohortPlan, write_cohort

    plan = CohortPlan(animals=animals, sections=sections, arrest=arrest, mpp=mpp, seed=seed)
    with BatchProgress(err, total=4 * animals) as progress:
        write_cohort(folder, plan, progress=lambda done, total: progress.advance_to(done))
    out.print(f"{4 * animals} slides in {escape(str(folder))}")


@app.command()
def doctor() -> None:
    """Say what this installation can read and run."""
    out.print(doctor_report())


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what goes on.")] = False,
) -> None:
    # Its warnings on damaged files come before our own error, and frighten.
    logging.getLogger("tifffile").setLevel(logging.INFO if verbose else logging.CRITICAL)
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if version:
        out.print(f"follicle-stager {follicle_stager.__version__}")
        raise typer.Exit


def _config(config_file: Path | None, min_score: float | None) -> Config:
    config = load_config(config_file) if config_file else Config()
    if min_score is not None:
        detection = config.detection.model_copy(update={"min_score": min_score})
        config = config.model_copy(update={"detection": detection})
    return config


def _process(
    study: Study, sources: list[SlideSource], config: Config, mpp: dict[str, float] | float | None, jobs: int
) -> list[Outcome]:
    try:
        with BatchProgress(err, total=len(sources)) as progress:
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


def _show_counts(counts: Counts) -> None:
    """Stages down, genotypes across: it fits a terminal, and reads like the figure in a paper."""
    groups = list(counts.genotype.groupby(["model", "group", "genotype"], sort=False, dropna=False))
    for column, title in (
        ("n_profiles", "Follicle profiles per animal, mean ± SD"),
        ("n_countable", "Countable follicles (oocyte nucleus seen) per animal, mean ± SD"),
    ):
        table = Table(
            title=title, caption="NA: this stage cannot be seen on these slides with this detector, which is not zero."
        )
        table.add_column("stage")
        for (_, _, genotype), rows in groups:
            animals, sections = int(rows["n_animals"].iloc[0]), int(rows["sections"].iloc[0])
            head = f"{genotype}\n{animals} animal{'s' * (animals > 1)}\n{sections} section{'s' * (sections > 1)}"
            table.add_column(escape(head), justify="right")
        for stage_ in COUNTED:
            cells = []
            for _, rows in groups:
                row = rows[rows["stage"] == stage_.value].iloc[0]
                cells.append(_mean_sd(row[f"{column}_mean"], row[f"{column}_sd"]))
            table.add_row(stage_.label, *cells)
        out.print(table)


def _mean_sd(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "NA"
    return f"{mean:.1f}" if math.isnan(sd) else f"{mean:.1f} ± {sd:.1f}"


def main() -> None:
    """Run the command line; no traceback for anything that a user can cause."""
    try:
        app()
    except UserError as error:
        err.print(f"error: {escape(str(error))}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        err.print(f"error: {escape(describe_os_error(error))}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
