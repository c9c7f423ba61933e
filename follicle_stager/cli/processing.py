"""How ``run`` and ``stage`` process slides, here or on a cluster, and show what came out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.markup import escape

import follicle_stager as fs
from follicle_stager.cli.common import cluster_at, err, out, say
from follicle_stager.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from follicle_stager.batch import Workers
    from follicle_stager.study import SlideSource


class Where(NamedTuple):
    """Where slides are processed: the options --jobs, --cluster, --workers and --map."""

    jobs: int | None
    cluster: str | None
    workers: int
    shared: Sequence[str]


def parameters(out_folder: Path, config_file: Path | None, min_score: float | None, detector: str | None) -> fs.Config:
    """Parameters of a run: the options, then the given file, or else the existing study."""
    from follicle_stager.detection import detector_id
    from follicle_stager.staging import stager_id

    if config_file:
        config = fs.load_config(config_file)
    else:
        config = fs.Study(out_folder).config if (out_folder / "study.toml").exists() else fs.Config()
    given = {"min_score": min_score, "detector": detector}
    config = config.with_options(detection={name: value for name, value in given.items() if value is not None})
    # Report a network that cannot be read before the first slide is opened.
    detector_id(config)
    stager_id(config.staging)
    return config


@contextlib.contextmanager
def _workers(where: Where, slides: int) -> Iterator[tuple[int, Workers | None]]:
    """The number of processes, and the cluster if there is one."""
    from follicle_stager.batch import jobs_for

    if where.cluster is not None:
        if where.jobs is not None:
            raise UserError("--jobs is for this machine; with --cluster, give --workers.")
        with cluster_at(where.cluster, where.workers, where.shared, told=say) as cluster:
            yield 1, cluster
        return
    if where.workers or where.shared:
        raise UserError("--workers and --map are for a cluster: add --cluster.")
    jobs, why = jobs_for(slides) if where.jobs is None else (where.jobs, "")
    if why and slides > 1:
        err.print(why, highlight=False, soft_wrap=True)
    yield jobs, None


def process(
    sources: list[SlideSource],
    out_folder: Path,
    sheet: fs.SampleSheet | None,
    config: fs.Config,
    mpp: float | None,
    where: Where,
) -> tuple[fs.Study, list[fs.Outcome]]:
    """Process slides with progress bars, and show the result."""
    from follicle_stager.cli.progress import BatchProgress

    try:
        with _workers(where, len(sources)) as (jobs, workers), BatchProgress(err, total=len(sources)) as progress:
            study, outcomes = fs.process_folder(
                sources,
                out_folder,
                samples=sheet,
                config=config,
                mpp=mpp,
                jobs=jobs,
                workers=workers,
                on_progress=progress.step,
                on_done=progress.done,
                told=say,
            )
    except KeyboardInterrupt:
        err.print("stopped; finished slides are kept. Run the same command again to continue.")
        raise typer.Exit(130) from None
    failed = [o for o in outcomes if o.state == "failed"]
    kept = sum(o.state == "kept" for o in outcomes)
    found = sum(o.follicles for o in outcomes)
    summary = f"{len(outcomes) - len(failed)} of {len(outcomes)} slides done, {found} follicles"
    if kept:
        summary += f" ({kept} slides were finished before and kept)"
    out.print(summary)
    if not found and len(failed) < len(outcomes):
        out.print("No follicle was found. Look at overlay.jpg; a lower --min-score finds more, also false ones.")
    for outcome in outcomes:
        for flag in outcome.flags:
            out.print(f"  note: {escape(outcome.slide_id)}: {flag}", style="yellow", highlight=False)
    for outcome in failed:
        err.print(f"error: {escape(outcome.message)}", style="red", highlight=False, soft_wrap=True)
    return study, outcomes
