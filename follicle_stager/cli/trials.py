"""Commands that need no study: synthetic slides, evaluation, sample size, agreement, and training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

import follicle_stager as fs
from follicle_stager.cli.common import (
    PROCESSORS,
    ClusterAt,
    ClusterSize,
    Jobs,
    Mpp,
    Shared,
    app,
    cluster_at,
    err,
    need,
    out,
    say,
)
from follicle_stager.cli.studies import run
from follicle_stager.errors import UserError
from follicle_stager.files import as_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from follicle_stager.evaluation import Evaluation
    from follicle_stager.statistics.simulate import Spread


@app.command()
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Study folder for the results.")] = Path("demo_study"),
    jobs: Jobs = None,
) -> None:
    """Run the whole analysis on the synthetic example slides, and compare the counts with the known truth."""
    from follicle_stager import examples
    from follicle_stager.evaluation import Criterion

    folder = examples.folder()
    run(folder, folder / "samples.csv", out_folder, jobs=jobs)
    out.print(
        "\nThe slides are synthetic, so the truth is known: the knockouts have an arrest after the secondary stage "
        "(fewer antral follicles, but not fewer secondary ones):\n"
    )
    _show_evaluation(fs.evaluate(fs.load_pairs(out_folder, folder, criterion=Criterion())), out_folder / "evaluation")


@app.command()
def power(
    block_after: Annotated[
        str, typer.Option("--block-after", help="primary, secondary or early_antral.")
    ] = "secondary",
    block: Annotated[float, typer.Option("--block", min=0, max=1, help="Share of follicles that are blocked.")] = 0.7,
    animals: Annotated[
        str, typer.Option("--animals", help="Numbers of animals per group to try; 8+4: 8 controls, 4 knockouts.")
    ] = "3,4,6,8,12",
    pilot: Annotated[
        Path | None,
        typer.Option(
            "--pilot", help="Study, table of counts, or synthetic cohort, whose animals show numbers and spread."
        ),
    ] = None,
    response: Annotated[
        float | None,
        typer.Option("--response", min=0, help="Study with a treatment that multiplies later stages by this."),
    ] = None,
    response_knockout: Annotated[
        float, typer.Option("--response-knockout", min=0, help="The same in knockouts; 1: they do not respond.")
    ] = 1.0,
    animal_sd: Annotated[
        float | None,
        typer.Option("--animal-sd", min=0, max=2, help="Spread between animals: SD of the logarithm of their counts."),
    ] = None,
    stage_sd: Annotated[
        str,
        typer.Option("--stage-sd", help="Additional spread of each stage of an animal: one number, or one per stage."),
    ] = "",
    interval: Annotated[
        int, typer.Option("--interval", min=1, help="Sampling interval k: every k-th section is counted.")
    ] = 10,
    ovaries: Annotated[int, typer.Option("--ovaries", min=1, max=2, help="Ovaries counted per animal.")] = 2,
    wrong_stage: Annotated[
        float, typer.Option("--wrong-stage", min=0, max=1, help="Share of follicles staged one step off.")
    ] = 0.0,
    studies: Annotated[int, typer.Option("--studies", min=10, help="Simulated studies for each group size.")] = 2000,
) -> None:
    """Simulate how many animals a study needs to find an arrest of a given size.

    The question of the study is an arrest at the stage of --block-after. Numbers of follicles are those of adult
    ovaries of the virtual animal model, and animals differ as in published counts, unless --pilot, --animal-sd or
    --stage-sd say otherwise. With --response, both groups are studied with and without a treatment, and the response
    is the ratio of all later stages to the stage of --block-after.
    """
    from dataclasses import replace
    from functools import partial

    from pydantic import ValidationError

    from follicle_stager.cli.tables import power_table
    from follicle_stager.config import ComparisonConfig, explain, read_values
    from follicle_stager.phantom import GenotypeModel, plan_audit
    from follicle_stager.stages import RUNGS
    from follicle_stager.statistics.power import power as power_of
    from follicle_stager.statistics.power import response_power
    from follicle_stager.statistics.simulate import SPREADS, Design, Spread, expected_counts

    sizes = _sizes(animals)
    both: tuple[float, float] | None = None if response is None else (response, response_knockout)
    if both is not None and min(both) <= 0:
        raise UserError("--response and --response-knockout must be larger than 0; 1 means no response.")
    control, spread = GenotypeModel(), SPREADS["real"]
    counted = partial(expected_counts, ovaries=ovaries, interval=interval)
    title = "Adult ovaries of the virtual model"
    if pilot is not None and (pilot / "truth" / "plan.json").is_file():
        plan = plan_audit(read_values(pilot / "truth" / "plan.json"))
        control, title = plan.control, f"Ovaries of {pilot}"
        counted = partial(
            expected_counts, ovaries=plan.ovaries, interval=plan.mean_interval, thickness_um=plan.thickness_um
        )
        spread, pilot = Spread(control.animal_cv, (control.stage_cv,) * len(RUNGS)), None
    try:
        changed = {"block_after": block_after, "block_probability": block}
        knockout = GenotypeModel.model_validate(control.model_dump() | changed)
    except ValidationError as error:
        raise UserError(f"--{explain(error)}") from None
    counts, fewer = (counted(genotype) for genotype in (control, knockout))
    ratios = tuple(b / a for a, b in zip(counts, fewer, strict=True))
    question = ComparisonConfig.model_validate({"contrast": block_after})
    if pilot is not None:
        numbers, spread, free = _pilot(pilot)
        counts, title = tuple(numbers.tolist()), f"Numbers and spread of {pilot}"
        if free < _ENOUGH_FOR_A_SPREAD:
            say(f"{pilot}: {free} animals beyond the group means say little of the spread; also try --animal-sd.")
    if animal_sd is not None:
        spread = replace(spread, animal=animal_sd)
    if stage_sd:
        spread = replace(spread, stages=_stage_sds(stage_sd, len(counts)))
    design = Design(ratios, counts, spread, wrong_stage=wrong_stage)
    table = (
        power_of(design, sizes, studies=studies, config=question)
        if both is None
        else response_power(design, sizes, both, studies=studies, config=question)
    )
    out.print(power_table(table, design, title, both))


# Number of animals, beyond those that the group means take up, from which a spread is not very uncertain.
_ENOUGH_FOR_A_SPREAD = 10


def _sizes(animals: str) -> list[tuple[int, int]]:
    """Numbers of controls and knockouts, from text such as ``4,6,8+4``."""
    try:
        pairs = [[int(n) for n in one.split("+")] for one in animals.split(",")]
        sizes = sorted({(pair[0], pair[-1]) for pair in pairs if len(pair) <= 2})
    except ValueError:
        sizes = []
    if not sizes:
        raise UserError(f"--animals {animals}: write whole numbers, like 4,6,8+4.")
    if min(map(min, sizes)) < 2:
        raise UserError(f"--animals {animals}: a group needs at least 2 animals.")
    return sizes


def _stage_sds(text: str, stages: int) -> tuple[float, ...]:
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, stages) or not all(0 <= value <= 2 for value in values):
        raise UserError(f"--stage-sd {text}: write one number from 0 to 2, or {stages} separated by commas.")
    return tuple(values * stages)[:stages]


def _pilot(path: Path) -> tuple[NDArray[np.float64], Spread, int]:
    """Numbers and spread of the animals of a study, or of a table of counts."""
    from follicle_stager.config import ComparisonConfig
    from follicle_stager.statistics.designs import models_of
    from follicle_stager.statistics.hand_counts import read_counts
    from follicle_stager.statistics.power import pilot as pilot_of

    if path.is_file():
        return pilot_of(read_counts(path)[0], ComparisonConfig())
    study = fs.Study.open(path)
    return pilot_of(models_of(fs.count(study), "countable"), study.config.comparison)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the cohort.")],
    animals: Annotated[int | None, typer.Option("--animals", help="Animals per group.")] = None,
    sections: Annotated[int | None, typer.Option("--sections", help="Sections per ovary, evenly spaced.")] = None,
    interval: Annotated[
        int | None, typer.Option("--interval", help="Instead: sampling interval k, every k-th section.")
    ] = None,
    ovary: Annotated[str | None, typer.Option("--ovary", help="small (the default) or adult.")] = None,
    block_after: Annotated[
        str | None,
        typer.Option("--block-after", help="Planted arrest: none, primary, secondary or early_antral."),
    ] = None,
    block: Annotated[float | None, typer.Option("--block", help="Share of follicles that are blocked there.")] = None,
    depletion: Annotated[
        float | None, typer.Option("--depletion", help="Share of all follicles that are missing.")
    ] = None,
    mpp: Annotated[float | None, typer.Option("--mpp", help="µm per pixel.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="faithful, or randomised for training.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Also write label images.")] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Random seed; the same seed gives the same cohort.")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="All parameters as TOML, or a truth/plan.json.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that render slides.")] = PROCESSORS,
) -> None:
    """Render a synthetic cohort with known truth: slides, samples.csv and truth/."""
    from follicle_stager.cli.progress import BatchProgress
    from follicle_stager.config import read_values
    from follicle_stager.phantom import plan_audit, write_cohort

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
    # Options override the file; sections and interval exclude each other.
    if interval is not None and sections is None:
        values["sections"] = None
    elif sections is not None and interval is None:
        values["interval"] = None
    plan = plan_audit(values)
    total = 2 * len(plan.models) * plan.animals
    with BatchProgress(err, total=total) as progress:
        write_cohort(folder, plan, jobs=jobs, progress=lambda done, total: progress.advance_to(done))
    out.print(f"The slides of {total} animals, samples.csv and truth/ are in {escape(str(folder))}")


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Predictions: a study, a folder of GeoJSON, or one file.")],
    truth: Annotated[Path, typer.Argument(help="Truth: a phantom cohort, a folder of GeoJSON, or one file.")],
    min_iou: Annotated[float, typer.Option("--iou", min=0, max=1, help="Smallest IoU of a match.")] = 0.5,
    distance_um: Annotated[
        float | None, typer.Option("--distance-um", min=0, help="Match by distance of the centres instead, µm.")
    ] = None,
    mpp: Mpp = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Also write the tables to this folder.")] = None,
) -> None:
    """Compare predictions with a truth: detection, stages, counts and outlines, with intervals over animals."""
    from follicle_stager.evaluation import Criterion

    if out_folder is not None and out_folder.is_file():
        raise UserError(f"{out_folder}: this is a file; name a folder for the tables.")
    pairs = fs.load_pairs(predicted, truth, criterion=Criterion(min_iou, distance_um), mpp=mpp, told=say)
    _show_evaluation(fs.evaluate(pairs), out_folder)


@app.command()
def agreement(
    a: Annotated[Path, typer.Argument(help="One annotator: QuPath measurement table, GeoJSON or ImageJ ROIs.")],
    b: Annotated[Path, typer.Argument(help="The other annotator of the same slide.")],
    distance_um: Annotated[
        float, typer.Option("--distance-um", min=0, help="Largest distance of two marks of one follicle, µm.")
    ] = 40.0,
    mpp: Mpp = None,
) -> None:
    """Compare two annotators of one slide: which follicles both marked, and whether they gave the same stage."""
    from follicle_stager.annotations import in_words, read_marks
    from follicle_stager.cli.tables import agreement_tables

    marks = [read_marks(path, mpp=mpp) for path in (a, b)]
    for path, own in zip((a, b), marks, strict=True):
        if own.left_out:
            say(f"{path}: not taken for marks: {in_words(own.left_out)}")
    if not all(own.annotations for own in marks):
        empty = next(path for path, own in zip((a, b), marks, strict=True) if not own.annotations)
        raise UserError(f"{empty}: no mark in it; there is nothing to compare.")
    result = fs.agreement(marks[0].annotations, marks[1].annotations, distance_um=distance_um)
    out.print(*agreement_tables(result), sep="\n")


@app.command()
def train(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; the same command continues it.")],
    recipe: Annotated[
        Path | None, typer.Argument(help="Training recipe, TOML (default: that of the shipped network).")
    ] = None,
    from_study: Annotated[
        Path | None,
        typer.Option("--from-study", help="Instead: fine-tune the network on a study's corrected slides."),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option("--start-from", help="Folder of a network with the same scales, to train further."),
    ] = None,
    textures: Annotated[
        Path | None,
        typer.Option("--textures", help="Folder with pictures of tissue without follicles, shown between follicles."),
    ] = None,
    patches: Annotated[
        Path | None,
        typer.Option("--patches", help="Folder for rendered patches; runs can share it (default: in --out)."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that render patches.")] = PROCESSORS,
) -> None:
    """Train a detection network (extra "train"); an interrupted run can be continued."""
    need("torch", "train")
    from follicle_stager import training
    from follicle_stager.cli.progress import BatchProgress
    from follicle_stager.cli.tables import before_after_table

    shipped = training.FINE_TUNE if from_study else training.MOUSE_OVARY
    given = {"workers": jobs} | ({"textures": str(textures)} if textures else {})
    settings = training.load_recipe(recipe or shipped, **given)
    if start_from is not None and not from_study:
        settings = training.starting_from(settings, start_from)
    base = {"base": start_from} if start_from is not None else {}
    study = fs.Study.open(from_study) if from_study else None
    patches = patches or out_folder / "patches"
    steps = {scale.name: scale.steps for scale in settings.scales}

    def show(scale: str, step: int, losses: dict[str, float]) -> None:
        progress.step(scale, f"loss {sum(losses.values()):.2f}", step, steps[scale])

    try:
        with BatchProgress(err, total=len(steps)) as progress:
            if study is None:
                network = training.train_network(settings, out_folder, patches=patches, on_step=show)
            else:
                network, table = training.fine_tune(study, settings, out_folder, patches=patches, on_step=show, **base)
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to continue.")
        raise typer.Exit(130) from None
    if study is not None:
        out.print(before_after_table(table))
    out.print(
        f'To use it, put this into a --config file:\n\\[network]\nfolder = "{escape(network.resolve().as_posix())}"',
        soft_wrap=True,
    )


@app.command()
def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A slide: show how it is read, and why. With --cluster, also a folder that is shared.", parser=as_path
        ),
    ] = None,
    cluster: ClusterAt = None,
    workers: ClusterSize = 0,
    shared: Shared = None,
) -> None:
    """Show what this installation can read and run; for a slide, which image of it is searched, and its pixel size.

    With --cluster, show the workers of a Dask cluster: what they run, and whether they can read the slide or folder.
    """
    from follicle_stager.cli.tables import parts_table, slide_table, workers_table
    from follicle_stager.doctor import describe_slide, parts

    if cluster is not None:
        with cluster_at(cluster, workers, shared or []) as there:
            there.wait_for_workers(say)
            found = there.workers(fs.Config())
            said = there.readable(file) if file is not None else {}
        if found:
            out.print(workers_table(found, said))
        else:
            say(
                "No worker came. Start one (dask worker ADDRESS), or look at the queue of the batch system and at the "
                "output of its jobs."
            )
        if not found or any(worker.refused for worker in found) or any(said.values()):
            raise typer.Exit(1)
        return
    out.print(parts_table(parts()) if file is None else slide_table(file, describe_slide(file)))


def _show_evaluation(result: Evaluation, folder: Path | None) -> None:
    from follicle_stager.cli.tables import evaluation_tables
    from follicle_stager.files import write_csv

    out.print(*evaluation_tables(result), sep="\n")
    if folder is not None:
        for name, table in result.tables().items():
            write_csv(folder / f"{name}.csv", table)
        out.print(f"Tables: {escape(str(folder))}")
