"""The verbs. Each is thin: it reads its arguments, calls the library, and shows what came out.

Exit codes: 0 all well; 1 some slides failed, the others are done; 2 the input was not usable.
"""

from __future__ import annotations

import getpass
import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import follicle_stager
from follicle_stager import examples
from follicle_stager.annotations import read_annotations, read_geojson, write_geojson, write_rois
from follicle_stager.batch import Outcome, run_batch
from follicle_stager.config import Config, DetectionConfig, explain, load_config, read_values
from follicle_stager.detection import detector_id
from follicle_stager.doctor import report as doctor_report
from follicle_stager.errors import UserError, describe_os_error
from follicle_stager.evaluation import Criterion, load_pairs
from follicle_stager.evaluation import agreement as compare_annotators
from follicle_stager.evaluation import evaluate as evaluate_pairs
from follicle_stager.files import write_csv
from follicle_stager.learning import learn as learn_study
from follicle_stager.progress import BatchProgress
from follicle_stager.report.console import (
    agreement_tables,
    before_after_table,
    comparison_tables,
    count_tables,
    evaluation_tables,
    learned_table,
    power_table,
)
from follicle_stager.review import NothingToTakeIn, merge_edits
from follicle_stager.stages import Status
from follicle_stager.staging import stager_id
from follicle_stager.study import SlideSource, Study, count_study, list_slides, read_samples

if TYPE_CHECKING:
    from follicle_stager.evaluation import Evaluation
    from follicle_stager.statistics import Comparison

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
Detector = Annotated[
    str | None, typer.Option("--detector", help="network (the default where it can run) or classical.")
]
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
    detector: Detector = None,
) -> None:
    """Find and stage the follicles of all slides, count them per animal, and say where the knockouts block."""
    config = _config(config_file, min_score, detector)
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
    out.print(*count_tables(count_study(study, samples_path=samples)), sep="\n")
    try:
        _report(study, _compare(study, "countable"))
    except UserError as error:  # counts of one group are an answer too
        out.print(f"Not compared: {escape(str(error))}", style="yellow", highlight=False)
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
    config = _config(config_file, min_score, detector)
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
    out.print(*count_tables(count_study(Study.open(study_folder), samples_path=samples)), sep="\n")


Count = Annotated[
    str,
    typer.Option(
        "--count", help="countable (the oocyte's nucleus shows), healthy (without atretic ones) or profiles (outlines)."
    ),
]
Covariates = Annotated[
    str, typer.Option("--covariates", help="Columns of the sample sheet for the models of single stages, a,b.")
]


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
def power(
    block_after: Annotated[
        str, typer.Option("--block-after", help="primary, secondary or early_antral.")
    ] = "secondary",
    block: Annotated[float, typer.Option("--block", min=0, max=1, help="Share of follicles that is blocked.")] = 0.7,
    animals: Annotated[str, typer.Option("--animals", help="Animals per group to try.")] = "3,4,6,8,12",
    animal_cv: Annotated[float, typer.Option("--animal-cv", min=0, help="CV of an animal's follicles.")] = 0.15,
    stage_cv: Annotated[float, typer.Option("--stage-cv", min=0, help="CV of each stage beside it.")] = 0.10,
    interval: Annotated[int, typer.Option("--interval", min=1, help="Every how many-th section is counted.")] = 10,
    ovaries: Annotated[int, typer.Option("--ovaries", min=1, max=2, help="Ovaries counted of an animal.")] = 2,
    wrong_stage: Annotated[
        float, typer.Option("--wrong-stage", min=0, max=1, help="Share of follicles staged one step off.")
    ] = 0.0,
    studies: Annotated[int, typer.Option("--studies", min=10, help="Simulated for each size.")] = 300,
) -> None:
    """Say how many animals a study needs to find a block of a given size, by simulation."""
    from follicle_stager.phantom import GenotypeModel
    from follicle_stager.statistics.power import Design
    from follicle_stager.statistics.power import power as power_of

    try:
        sizes = sorted({int(n) for n in animals.split(",")})
    except ValueError:
        raise UserError(f"--animals {animals}: write whole numbers, like 4,6,8.") from None
    if min(sizes) < 2:
        raise UserError(f"--animals {animals}: a group needs 2 animals at least.")
    spread = {"animal_cv": animal_cv, "stage_cv": stage_cv}
    try:
        knockout = GenotypeModel.model_validate(spread | {"block_after": block_after, "block_probability": block})
    except ValidationError as error:
        raise UserError(f"--{explain(error)}") from None
    control = GenotypeModel.model_validate(spread)
    design = Design(control, knockout, ovaries=ovaries, interval=interval, wrong_stage=wrong_stage)
    out.print(power_table(power_of(design, sizes, studies=studies)))


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
    importlib.import_module("follicle_stager_napari.panel").review(study_folder, slide)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="follicles.geojson, or other outlines as GeoJSON.")],
    target: Annotated[Path, typer.Argument(help="A .zip for ImageJ's ROI manager, or a .geojson for QuPath.")],
) -> None:
    """Write outlines for another program: ImageJ ROIs, or QuPath's GeoJSON."""
    follicles = [f for f in read_geojson(source) if f.status != Status.REJECTED]
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


@app.command()
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Study folder for the results.")] = Path("demo_study"),
    jobs: Jobs = _PROCESSORS,
) -> None:
    """Run the whole job on the example slides (synthetic), and compare the counts with their truth."""
    folder = examples.folder()
    run(folder, folder / "samples.csv", out_folder, jobs=jobs)
    out.print(
        "\nThe slides are synthetic: an arrest after the secondary stage is planted in the knockouts (fewer antral "
        "follicles, not fewer secondary ones), and the truth is known:\n"
    )
    _show_evaluation(evaluate_pairs(load_pairs(out_folder, folder, criterion=Criterion())), out_folder / "evaluation")


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the cohort.")],
    animals: Annotated[int | None, typer.Option("--animals", help="Animals per group.")] = None,
    sections: Annotated[int | None, typer.Option("--sections", help="Sections per ovary, spread evenly.")] = None,
    interval: Annotated[int | None, typer.Option("--interval", help="Instead: every how many-th section.")] = None,
    ovary: Annotated[str | None, typer.Option("--ovary", help="small (the default) or adult.")] = None,
    block_after: Annotated[
        str | None,
        typer.Option("--block-after", help="Planted arrest: none, primary, secondary or early_antral."),
    ] = None,
    block: Annotated[float | None, typer.Option("--block", help="Share of follicles that is blocked there.")] = None,
    depletion: Annotated[float | None, typer.Option("--depletion", help="Share of all follicles missing.")] = None,
    mpp: Annotated[float | None, typer.Option("--mpp", help="µm per pixel.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="faithful, or randomised for training.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Also write label images.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Everything follows from it.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="All parameters as TOML, or a truth/plan.json.")
    ] = None,
    jobs: Jobs = _PROCESSORS,
) -> None:
    """Render a synthetic cohort with full truth: slides, samples.csv and truth/."""
    from follicle_stager.phantom import make_plan, write_cohort

    values = read_values(config_file) if config_file else {}
    given = {
        "animals": animals,
        "sections": sections,
        "interval": interval,
        "ovary": ovary,
        "block_after": block_after,
        "block_probability": block,
        "depletion": depletion,
        "mpp": mpp,
        "mode": mode,
        "labels": labels or None,
        "seed": seed,
    }
    values |= {name: value for name, value in given.items() if value is not None}
    # What is typed wins over the file: sections and interval exclude each other.
    if interval is not None and sections is None:
        values["sections"] = None
    elif sections is not None and interval is None:
        values["interval"] = None
    plan = make_plan(values)
    total = 2 * len(plan.models) * plan.animals
    with BatchProgress(err, total=total) as progress:
        write_cohort(folder, plan, jobs=jobs, progress=lambda done, total: progress.advance_to(done))
    out.print(f"The slides of {total} animals, samples.csv and truth/ are in {escape(str(folder))}")


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="What was found: a study, a folder of GeoJSON, or one file.")],
    truth: Annotated[Path, typer.Argument(help="What is true: a phantom cohort, a folder of GeoJSON, or one file.")],
    min_iou: Annotated[float, typer.Option("--iou", min=0, max=1, help="Least overlap of a match.")] = 0.5,
    distance_um: Annotated[
        float | None, typer.Option("--distance-um", min=0, help="Match by distance of the centres instead.")
    ] = None,
    mpp: Mpp = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Also write the tables there, as CSV.")] = None,
) -> None:
    """Compare what was found with a truth: detection, stages, counts, outlines; intervals over animals."""
    if out_folder is not None and out_folder.is_file():
        raise UserError(f"{out_folder}: this is a file; give a folder for the tables.")
    pairs = load_pairs(predicted, truth, criterion=Criterion(min_iou, distance_um), mpp=mpp)
    _show_evaluation(evaluate_pairs(pairs), out_folder)


@app.command()
def agreement(
    a: Annotated[Path, typer.Argument(help="One annotator: QuPath measurement table or GeoJSON.")],
    b: Annotated[Path, typer.Argument(help="The other annotator, of the same slide.")],
    distance_um: Annotated[
        float, typer.Option("--distance-um", min=0, help="Marks further apart are not of one follicle.")
    ] = 40.0,
    mpp: Mpp = None,
) -> None:
    """Compare two annotators of one slide: which follicles both saw, and whether they call them the same."""
    result = compare_annotators(read_annotations(a, mpp=mpp), read_annotations(b, mpp=mpp), distance_um=distance_um)
    out.print(*agreement_tables(result), sep="\n")


@app.command()
def train(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; the same command goes on with it.")],
    recipe: Annotated[
        Path | None, typer.Argument(help="What to train, as TOML (default: how the shipped network was made).")
    ] = None,
    from_study: Annotated[
        Path | None,
        typer.Option("--from-study", help="Instead: train the network further on a study's corrected slides."),
    ] = None,
    patches: Annotated[
        Path | None, typer.Option("--patches", help="Folder for rendered patches, to share (default: in --out).")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that render patches.")] = _PROCESSORS,
) -> None:
    """Train a detection network (extra "train"); it goes on after an interruption."""
    _need("torch", "train")
    from follicle_stager import training

    shipped = training.FINE_TUNE if from_study else training.MOUSE_OVARY
    settings = training.load_recipe(recipe or shipped, workers=jobs)
    study = Study.open(from_study) if from_study else None
    patches = patches or out_folder / "patches"
    steps = {scale.name: scale.steps for scale in settings.scales}

    def show(scale: str, step: int, losses: dict[str, float]) -> None:
        progress.step(scale, f"loss {sum(losses.values()):.2f}", step, steps[scale])

    try:
        with BatchProgress(err, total=len(steps)) as progress:
            if study is None:
                network = training.train_network(settings, out_folder, patches=patches, on_step=show)
            else:
                network, table = training.fine_tune(study, settings, out_folder, patches=patches, on_step=show)
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on.")
        raise typer.Exit(130) from None
    if study is not None:
        out.print(before_after_table(table))
    out.print(
        f'To use it, put into a --config file:\n\\[detection]\nnetwork = "{escape(network.resolve().as_posix())}"',
        soft_wrap=True,
    )


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


def _need(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f'{module} is not installed; pip install "follicle-stager[{extra}]"')


def _config(config_file: Path | None, min_score: float | None, detector: str | None) -> Config:
    config = load_config(config_file) if config_file else Config()
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


def _show_evaluation(result: Evaluation, folder: Path | None) -> None:
    out.print(*evaluation_tables(result), sep="\n")
    if folder is not None:
        for name, table in result.tables().items():
            write_csv(folder / f"{name}.csv", table)
        out.print(f"Tables: {escape(str(folder))}")


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
