"""What is on disk: plain files that people can open.

::

    study.toml                          the configuration used
    samples.csv                         the sample sheet
    slides/<slide>/run.json             the last run: versions, hashes, timings; written last, so it marks "finished"
    slides/<slide>/predictions/<run>.geojson, <run>.sections.geojson   what the software said, never changed
    slides/<slide>/edits.jsonl          every correction, one line each; only ever added to
    slides/<slide>/follicles.geojson    what stands now (opens in QuPath)
    slides/<slide>/sections.geojson     likewise: the pieces of tissue, whose they are, and which are counted
    slides/<slide>/overlay.jpg
    tables/                             follicles.csv, counts_by_*.csv
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import follicle_stager
from follicle_stager.annotations import read_geojson, read_sections
from follicle_stager.config import Config, dump_config
from follicle_stager.detection import detector_id
from follicle_stager.errors import StudyError
from follicle_stager.files import set_aside, write_text
from follicle_stager.review.log import EditLog, read_edits
from follicle_stager.review.rerun import carry_over
from follicle_stager.review.sections import places
from follicle_stager.review.session import ReviewSession
from follicle_stager.review.standing import (
    FOLLICLES,
    SECTIONS,
    Standing,
    changed_elsewhere,
    predictions,
    runs,
    standing,
    write_standing,
)
from follicle_stager.slides import PixelSize
from follicle_stager.stages import Status
from follicle_stager.staging import stager_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from follicle_stager.records import Follicle, Section, SlideResult

_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class Study:
    """A study folder."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config) -> Study:
        """Make a study folder, or go on in one.

        Raises
        ------
        StudyError
            If the folder holds something else.
        """
        if path.is_file():
            raise StudyError(f"{path}: this is a file; give a folder for the results.")
        if path.exists() and any(path.iterdir()) and not (path / "study.toml").exists():
            raise StudyError(
                f"{path}: this folder holds other files and no study; give an empty or a new folder for the results."
            )
        study = cls(path)
        write_text(path / "study.toml", dump_config(config))
        return study

    @classmethod
    def open(cls, path: Path) -> Study:
        """Open a study that exists.

        Raises
        ------
        StudyError
            If there is none.
        """
        if not (path / "study.toml").is_file():
            raise StudyError(f"{path}: this is no study folder (no study.toml in it); run 'follicle-stager run' first.")
        return cls(path)

    @property
    def samples_path(self) -> Path:
        """The sample sheet."""
        return self.path / "samples.csv"

    @property
    def tables(self) -> Path:
        """Folder of the tables."""
        return self.path / "tables"

    def slide_folder(self, slide_id: str) -> Path:
        """Folder of one slide."""
        return self.path / "slides" / slide_id

    def slide_ids(self) -> list[str]:
        """Slides that were finished."""
        return sorted(p.parent.name for p in self.path.glob("slides/*/run.json"))

    def run_info(self, slide_id: str) -> dict[str, Any] | None:
        """What ``run.json`` says, None if the slide was not finished or the file is damaged."""
        try:
            info = json.loads((self.slide_folder(slide_id) / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return info if isinstance(info, dict) else None

    def source(self, slide_id: str) -> Path:
        """File of a slide's picture."""
        info = self.run_info(slide_id) or {}
        return self.path / str(info.get("source", ""))

    def pixel_size(self, slide_id: str) -> PixelSize:
        """µm/px of a slide's run."""
        info = self.run_info(slide_id) or {}
        return PixelSize(float(info["mpp_x"]), float(info["mpp_y"]), str(info["mpp_source"]))

    def save(self, result: SlideResult, *, run_id: str, source: Path, config: Config) -> tuple[str, ...]:
        """Write one slide's result; ``run.json`` comes last. What a person corrected before is carried over.

        Returns
        -------
        tuple of str
            What a person must know: corrected follicles and sections that this run did not find.
        """
        folder = self.slide_folder(result.slide_id)
        last_run = self._last_run(result.slide_id)
        with EditLog(folder) as log:  # nobody corrects meanwhile
            told = () if last_run else _set_aside(folder, FOLLICLES) + _set_aside(folder, SECTIONS)
            state, lost = carry_over(folder, last_run, run_id, result, log)
            # From here on the slide counts as unfinished, until the new run.json is there.
            (folder / "run.json").unlink(missing_ok=True)
            write_standing(folder, state, log, run_id=run_id)
            self._finish(result, run_id=run_id, source=source, config=config)
        return told + lost

    def _finish(self, result: SlideResult, *, run_id: str, source: Path, config: Config) -> None:
        folder = self.slide_folder(result.slide_id)
        info = {
            "run_id": run_id,
            "slide": result.slide_id,
            "source": str(source.resolve()),
            "content": content_of(source),
            "software": f"follicle-stager {follicle_stager.__version__}",
            "python": platform.python_version(),
            "config": config.fingerprint(),
            "detector": detector_id(config.detection),
            "classifier": stager_id(config.staging),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "mpp_x": result.pixel_size.mpp_x,
            "mpp_y": result.pixel_size.mpp_y,
            "mpp_source": result.pixel_size.source,
            "visible_stages": [stage.value for stage in result.visible_stages],
            "sections": len(result.sections),
            "follicles": len(result.follicles),
            "quality": result.quality,
            "flags": list(result.flags),
            "seconds": result.seconds,
        }
        write_text(folder / "run.json", json.dumps(info, indent=1, ensure_ascii=False) + "\n")

    def review(
        self, slide_id: str, *, author: str, measure: Callable[[Follicle], Follicle] = lambda f: f
    ) -> ReviewSession:
        """Open a slide for correction; see `ReviewSession`.

        Raises
        ------
        UserError
            If the slide is not finished, somebody else has it open, or its files are damaged.
        """
        run_id = self._last_run(slide_id)
        if run_id is None:
            raise StudyError(f"{self.slide_folder(slide_id)}: this slide is not finished; run 'stage' first.")
        return ReviewSession(self.slide_folder(slide_id), run_id, author=author, measure=measure)

    def is_edited(self, slide_id: str) -> bool:
        """Whether a person judged or changed one of a slide's follicles."""
        stands = self._standing(slide_id)
        return stands is not None and bool(stands.touched)

    def _standing(self, slide_id: str) -> Standing | None:
        """A slide as it stands; None where nobody knows the run, as of one that was put together by hand."""
        run_id = self._last_run(slide_id)
        return standing(self.slide_folder(slide_id), run_id) if run_id is not None else None

    def _last_run(self, slide_id: str) -> str | None:
        """The run whose follicles stand; also where a later one was interrupted while it was written."""
        folder, info = self.slide_folder(slide_id), self.run_info(slide_id)
        named = [str(info["run_id"])] if info and "run_id" in info else [edit.run_id for edit in read_edits(folder)]
        known = [run for run in named if predictions(folder, run).exists()]
        every = runs(folder)
        return known[-1] if known else every[0] if len(every) == 1 else None

    def follicles(self, slide_id: str) -> list[Follicle]:
        """The follicles of a slide as they stand, each on the section where it lies.

        Raises
        ------
        StudyError
            If one lies on no section, so that it would not be counted.
        """
        return self.content(slide_id)[0]

    def sections(self, slide_id: str) -> list[Section]:
        """The sections of a slide as they stand, those that are not counted included."""
        return self.content(slide_id)[1]

    def content(self, slide_id: str) -> tuple[list[Follicle], list[Section]]:
        """Follicles and sections of a slide; see `follicles`."""
        folder, stands = self.slide_folder(slide_id), self._standing(slide_id)
        if stands is None:
            follicles, sections = read_geojson(folder / FOLLICLES), read_sections(folder / SECTIONS)
        else:
            follicles, sections = list(stands.state.follicles.values()), list(stands.state.sections.values())
        return self.placed(slide_id, follicles, sections), sections

    def counted(self, slide_id: str) -> list[Follicle]:
        """The follicles of a slide that lie on tissue that is counted; see `follicles`."""
        follicles, sections = self.content(slide_id)
        included = {section.section_id for section in sections if section.included}
        return [f for f in follicles if f.section_id in included]

    def placed(self, slide_id: str, follicles: Iterable[Follicle], sections: Sequence[Section]) -> list[Follicle]:
        """Follicles of a slide, each on the section where it lies; rejected ones that lie on none are left out.

        Raises
        ------
        StudyError
            If another one lies on none.
        """
        if not sections:
            folder = self.slide_folder(slide_id)
            raise StudyError(
                f"{folder / SECTIONS}: the sections of this slide are lost. Delete run.json in this folder, and run "
                "'stage' again; corrections are kept."
            )
        placed = []
        for follicle, section_id in places(follicles, sections):
            if section_id is not None:
                same = section_id == follicle.section_id
                placed.append(follicle if same else replace(follicle, section_id=section_id))
            elif follicle.status != Status.REJECTED:
                centre = follicle.outline.centroid
                raise StudyError(
                    f"{self.slide_folder(slide_id) / FOLLICLES}: the {follicle.stage.label} outline at "
                    f"x = {centre.x:.0f}, y = {centre.y:.0f} lies on no section and cannot be counted; move or "
                    "delete it."
                )
        return placed


def _set_aside(folder: Path, name: str) -> tuple[str, ...]:
    """Keep a file of which nobody knows the run, before a new one replaces it."""
    if not changed_elsewhere(folder, name, read_edits(folder)):
        return ()
    aside = set_aside(folder / name, "edited")
    return (f"{name} had been edited and was kept as {aside.name}; the new run does not contain it",)


def run_id_of(source: Path, config: Config, mpp: float | None) -> str:
    """Name of a run: equal for the same slide, configuration, detector, µm/px and software version."""
    settings = f"{follicle_stager.__version__} {config.fingerprint()} {detector_id(config.detection)} {mpp}"
    name = f"{settings} {stager_id(config.staging)} {source.name} {content_of(source)}"
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def content_of(source: Path) -> str:
    """Name of a picture: equal for copies of a file.

    A slide of gigabytes is not read for it: size, first, middle and last megabyte stand for the content.
    """
    digest = hashlib.sha256()
    if source.is_dir():  # an OME-Zarr of thousands of chunks: names, sizes and times stand for them
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(source).as_posix()} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:12]
    size = source.stat().st_size
    digest.update(str(size).encode())
    with source.open("rb") as handle:
        for start in sorted({0, max(0, size // 2), max(0, size - _SAMPLE_BYTES)}):
            handle.seek(start)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]
