"""The record of a run, ``run.json``. It is written last and therefore marks the slide as finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, field_validator

from follicle_stager.config import explain
from follicle_stager.errors import StudyError, UserError
from follicle_stager.files import check_regular, is_remote, read_json, read_remote, recorded, write_text
from follicle_stager.pixel_size import PLAUSIBLE_MPP, PixelSize
from follicle_stager.stages import LADDER, Stage
from follicle_stager.staging import stager_id
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from follicle_stager.config import Config

NAME = "run.json"
_SAMPLE_BYTES = 1 << 20


def _as_path(value: object) -> str:
    """A path as text, which may contain surrogates: file names in Latin-1 are not valid UTF-8."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r} is not a path")
    return value


class Run(BaseModel):
    """Record of how a slide was searched, and of the result.

    Attributes
    ----------
    run_id
        Name of the run of the current follicles; empty in a study that was put together by hand.
    slide
        Name of the slide in the study.
    source, source_in_study, content
        Path of the image, its path relative to the study folder (with ``/``), and a hash of the image. The relative
        path is used if a study was moved together with its slides.
    software, python, config, detector, classifier, finished
        Versions, fingerprint of the configuration, ids of detector and classifier, and the time of the run.
    mpp_x, mpp_y, mpp_source
        Size of a level-0 pixel, µm, and the source of these numbers.
    visible_stages
        Stages that can be seen on the slide; counts of other stages are not available.
    sections, follicles
        Numbers of sections and follicles found.
    quality, flags
        Quality of the slide, as numbers and in words.
    seconds
        Time of each step, s.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=True)

    run_id: str = ""
    slide: str = ""
    source: Annotated[str, PlainValidator(_as_path)] = ""
    source_in_study: Annotated[str, PlainValidator(_as_path)] = ""
    content: str = ""
    software: str = ""
    python: str = ""
    config: str = ""
    detector: str = ""
    classifier: str = ""
    finished: str = ""
    mpp_x: float | None = Field(default=None, ge=PLAUSIBLE_MPP[0], le=PLAUSIBLE_MPP[1])
    mpp_y: float | None = Field(default=None, ge=PLAUSIBLE_MPP[0], le=PLAUSIBLE_MPP[1])
    mpp_source: str = ""
    visible_stages: tuple[Stage, ...] = Field(min_length=1)
    sections: int = Field(default=0, ge=0)
    follicles: int = Field(default=0, ge=0)
    quality: dict[str, float] = {}
    flags: tuple[str, ...] = ()
    seconds: dict[str, float] = {}

    @field_validator("visible_stages")
    @classmethod
    def _whole_rungs(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        """A run of an older version may not know a stage that shares its rung with one that was visible."""
        rungs = {stage.rung for stage in stages}
        beside = [stage for stage in stages if stage is Stage.CORPUS_LUTEUM]
        return (*(stage for stage in LADDER if stage.rung in rungs), *beside)

    @property
    def pixel_size(self) -> PixelSize | None:
        """Size of a level-0 pixel; None if the record lacks it."""
        if self.mpp_x is None or self.mpp_y is None:
            return None
        return PixelSize(self.mpp_x, self.mpp_y, self.mpp_source)


def read_run(folder: Path) -> Run | None:
    """Read the record of the run in a slide's folder; None if the slide is not finished.

    Raises
    ------
    StudyError
        If the file is damaged.
    """
    path = folder / NAME
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return Run.model_validate(read_json(path))
    except (UserError, ValidationError) as error:
        why = explain(error) if isinstance(error, ValidationError) else str(error).removeprefix(f"{path}: ")
        raise StudyError(
            f"{path}: the file is damaged ({why}). Delete it and run 'follicle-stager stage' on this slide again; "
            "corrections are kept."
        ) from None


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json``, which marks the slide as finished."""
    write_text(folder / NAME, json.dumps(run.model_dump(), indent=1, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Request:
    """What is asked of a run on a slide, as its record will keep it; the fields are those of `Run`.

    A worker on another machine may know the files by other paths. It reads them there, and records these.
    """

    run_id: str
    source: str
    source_in_study: str
    content: str
    config: str
    detector: str
    classifier: str


def request_of(
    source: Path,
    config: Config,
    *,
    source_in_study: str,
    mpp: float | None = None,
    parts: Sequence[Path] = (),
    find: bool = True,
) -> Request:
    """What is asked of a run; its name is equal for the same slide, configuration, detector, µm/px and version.

    Parameters
    ----------
    source
        File of the slide.
    config
        All parameters.
    source_in_study
        Path of the file relative to the study.
    mpp
        Pixel size that replaces the one in the file, µm/px; None if none was given.
    parts
        Other files of the same slide, such as those of a DICOM series.
    find
        Whether follicles are searched for.
    """
    from follicle_stager.detection import detector_id  # takes long to import, and most commands only read records

    detector, classifier = detector_id(config), stager_id(config.staging)
    settings = f"{__version__} {config.fingerprint()} {detector} {mpp}"
    contents = [content_of(path) for path in (source, *sorted(parts))]
    name = f"{settings} {classifier} {source.name} {' '.join(contents)}"
    return Request(
        run_id=hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12] + ("" if find else "-opened"),
        source=recorded(source),
        source_in_study=source_in_study,
        content=contents[0],
        config=config.fingerprint(),
        detector=detector,
        classifier=classifier,
    )


def content_of(source: Path) -> str:
    """Hash of an image; equal for copies of a file.

    To avoid reading gigabytes, only the size and the first, middle and last megabyte are hashed.
    """
    digest = hashlib.sha256()
    if is_remote(source):  # an OME-Zarr that may not be listed: hash its address and metadata
        digest.update(str(source).encode())  # other scans of the same size have the same metadata
        for name in ("zarr.json", ".zattrs", "0/zarr.json", "0/.zarray"):
            digest.update(read_remote(source, name) or b"")
        return digest.hexdigest()[:12]
    if source.is_dir():  # an OME-Zarr with thousands of chunks: hash names, sizes and times
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(source).as_posix()} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:12]
    check_regular(source)
    size = source.stat().st_size
    digest.update(str(size).encode())
    with source.open("rb") as handle:
        for start in sorted({0, max(0, size // 2), max(0, size - _SAMPLE_BYTES)}):
            handle.seek(start)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]
