"""What travels to a worker: a slide to process, with the paths that the worker knows."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from follicle_stager.config import Config
from follicle_stager.detection import detector_id
from follicle_stager.errors import UserError
from follicle_stager.files import as_path, is_remote
from follicle_stager.job import Job
from follicle_stager.staging import stager_id
from follicle_stager.study import SlideSource, Study
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from follicle_stager.detection.search import Seen
    from follicle_stager.study.runs import Request


@dataclass(frozen=True)
class SharedFolder:
    """A folder that the workers know by another path.

    Attributes
    ----------
    here, there
        Its path on this machine and on the workers.
    """

    here: str
    there: str

    @classmethod
    def parse(cls, text: str) -> SharedFolder:
        """Read ``HERE=THERE``.

        Raises
        ------
        UserError
            If it is not two paths.
        """
        here, _, there = text.partition("=")
        if not here or not there:
            raise UserError(f"--map {text}: write the path here, =, and the path on the workers: /data=/mnt/lab/data.")
        return cls(str(Path(here).absolute()), there.rstrip("/\\") or there)

    def to_there(self, path: PurePath) -> str | None:
        """Path on the workers; None if the path is not in the folder."""
        if not path.is_relative_to(self.here):
            return None
        rest = path.relative_to(self.here).as_posix()
        return self.there if rest == "." else f"{self.there.rstrip('/')}/{rest}"


def place_there(path: Path, shared: Sequence[SharedFolder]) -> str:
    """Path of a file or folder on the workers; addresses are the same everywhere."""
    if is_remote(path):
        return str(path)
    path = path.absolute()
    return next((there for folder in shared if (there := folder.to_there(path)) is not None), str(path))


def said_here(message: str, here: dict[str, str]) -> str:
    """A message of a worker, with the paths of this machine.

    Parameters
    ----------
    message
        The message.
    here
        Paths on this machine, by the paths that the worker knows.
    """
    known = {there.rstrip("/\\"): path for there, path in here.items()}
    any_of = "|".join(re.escape(there) for there in sorted(known, key=len, reverse=True))

    def translate(found: re.Match[str]) -> str:
        there, slash = found[1], found[2] or ""
        if not there and not message[found.end() : found.end() + 1].isalnum():
            return found[0]  # a slash that begins no path
        return known[there].rstrip("/\\") + slash if slash else known[there]

    # Not within a longer path or name: /data is not in /database, /x/data or /data.old.
    return re.sub(rf"(?<![\w./\\-])({any_of})(?:([/\\])|(?![\w-]|\.\w))", translate, message) if known else message


def config_there(config: Config, shared: Sequence[SharedFolder]) -> str:
    """The parameters with the paths of the workers, as JSON."""
    network, classifier = (
        place_there(Path(folder), shared) if folder else ""
        for folder in (config.network.folder, config.staging.classifier)
    )
    there = config.with_options(network={"folder": network}, staging={"classifier": classifier})
    return there.model_dump_json()


def identity_of(config: Config | str) -> tuple[str, str, str]:
    """Version, detector and classifier on this machine, for parameters (or their JSON): all workers need the same."""
    if isinstance(config, str):
        config = Config.model_validate_json(config)
    return __version__, detector_id(config), stager_id(config.staging)


@dataclass(frozen=True)
class Order:
    """A job with the paths of the workers, as text: a worker may run another system."""

    slide_id: str
    path: str  # of the slide, on the machine of the user
    study: str
    source: str
    parts: tuple[str, ...]
    config: str
    mpp: float | None
    find: bool
    request: Request
    shared: tuple[SharedFolder, ...]
    seen: tuple[Seen, ...] | None = None

    @classmethod
    def of(cls, job: Job, shared: Sequence[SharedFolder]) -> Order:
        """The order for a job."""
        assert job.request is not None
        source = job.source
        there = functools.partial(place_there, shared=shared)
        return cls(
            source.slide_id,
            str(source.path),
            there(job.study.path),
            there(source.path),
            tuple(map(there, source.parts)),
            config_there(job.config, shared),
            job.mpp,
            job.find,
            job.request,
            tuple(shared),
        )

    def job(self) -> Job:
        """The job, on a worker."""
        config = Config.model_validate_json(self.config)
        source = SlideSource(self.slide_id, as_path(self.source), tuple(map(Path, self.parts)))
        return Job(Study(Path(self.study)), source, config, self.mpp, self.find, self.request, self.seen)

    def said_here(self, message: str) -> str:
        """A worker's message, with the paths of this machine."""
        here = {self.source: self.path} | {folder.there: folder.here for folder in self.shared}
        windows = {str(PureWindowsPath(there)): path for there, path in here.items()}
        return said_here(message, windows | here)
