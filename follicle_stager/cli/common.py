"""Parts that all commands share: the application, its two consoles, and options that several commands have."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from follicle_stager.errors import UserError, how_to_install
from follicle_stager.files import as_path
from follicle_stager.machine import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from follicle_stager.cluster import Cluster

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find, stage and count ovarian follicles in mouse histology.",
)
out = Console()
err = Console(stderr=True)

PROCESSORS = processors()

Slides = Annotated[
    Path,
    typer.Argument(
        help="A slide, or a folder of slides; or the address of an OME-Zarr image (https://, s3://).", parser=as_path
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Study folder for the results.")]
Mpp = Annotated[
    float | None,
    typer.Option("--mpp", help="µm per pixel, if the slides do not contain it (used for all of them)."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Number of slides processed at the same time; by default, as many as processors and free memory allow.",
    ),
]
ClusterAt = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Process the slides on a Dask cluster: address of its scheduler, or local, slurm, sge, pbs "
        "(docs/howto-cluster.md).",
    ),
]
ClusterSize = Annotated[
    int, typer.Option("--workers", min=0, help="Number of workers that --cluster starts; 0: processors, or 4.")
]
Shared = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="HERE=THERE", help="A folder that the workers of --cluster know by another path; repeatable."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Parameters as TOML (see docs/parameters.md).")]
Detector = Annotated[str | None, typer.Option("--detector", help="network (the default if it can run) or classical.")]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", min=0, max=1, help="Detection threshold; lower finds more follicles, also false ones."),
]
Count = Annotated[
    str,
    typer.Option(
        "--count", help="countable (oocyte nucleus visible), healthy (without atretic ones) or profiles (all outlines)."
    ),
]
Covariates = Annotated[
    str, typer.Option("--covariates", help="Sample sheet columns for the comparison of single stages: a,b.")
]


def need(module: str, extra: str) -> None:
    """Raise an error if an extra is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{module} is not installed: {how_to_install(extra)}.")


@contextlib.contextmanager
def cluster_at(
    where: str, workers: int, shared: Sequence[str], *, told: Callable[[str], None] = lambda said: None
) -> Iterator[Cluster]:
    """The workers that --cluster, --workers and --map name; of Dask's messages, only what --verbose asks for."""
    from follicle_stager.cluster import SharedFolder, connect_cluster

    with contextlib.suppress(ImportError):
        import distributed  # noqa: F401  when it is imported, it sets the levels of its messages

    verbose = logging.getLogger().isEnabledFor(logging.INFO)
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)
    folders = [SharedFolder.parse(text) for text in shared]
    with connect_cluster(where, workers=workers, shared=folders, told=told) as cluster:
        yield cluster


def say(message: str) -> None:
    """Show a note that the user must see although everything worked."""
    err.print(escape(message), style="yellow", highlight=False, soft_wrap=True)
