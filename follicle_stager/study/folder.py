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

import contextlib
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.config import Config, changes, dump_config, load_config
from follicle_stager.corrections.log import EditLog, read_edits
from follicle_stager.corrections.rerun import carry_over
from follicle_stager.corrections.session import ReviewSession
from follicle_stager.corrections.standing import (
    FOLLICLES,
    SECTIONS,
    Standing,
    changed_elsewhere,
    predictions,
    runs,
    standing,
    write_standing,
)
from follicle_stager.detection import detector_id
from follicle_stager.errors import StudyError
from follicle_stager.files import replacing, set_aside, sweep
from follicle_stager.slides import open_slide
from follicle_stager.staging import stager_id
from follicle_stager.study import at_work
from follicle_stager.study.content import SlideContent, read_content
from follicle_stager.study.pictures import find_picture, relative_path
from follicle_stager.study.runs import Run, content_of, read_run, write_run
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from PIL.Image import Image

    from follicle_stager.corrections.session import Measure
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle, Section, SlideResult
    from follicle_stager.slides import Slide

# As long a run waits for another one that writes the same slide.
_OTHER_RUN_S = 10
# Parameters that are options of a run and of the window: whoever changes these knows it.
_OPTIONS = {"detection.detector", "detection.min_score"}


@dataclass(frozen=True)
class Study:
    """A study folder: the one door to what is in it."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, *, told: Callable[[str], None] = lambda said: None) -> Study:
        """Make a study folder, or go on in one.

        Parameters
        ----------
        path
            The folder.
        config
            Becomes its study.toml; one with other values is kept beside it.
        told
            Called with what a person must know: which values changed.

        Raises
        ------
        StudyError
            If the folder holds something else, or another run is at work there with other settings.
        """
        if path.is_file():
            raise StudyError(f"{path}: this is a file; give a folder for the results.")
        study = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        with at_work.door(path):
            # What a run leaves that was killed, or has just begun, is no other file.
            others = [p for p in path.iterdir() if not p.name.startswith((".runs.lock", ".run-", ".tmp-"))]
            if others and not (path / "study.toml").exists():
                raise StudyError(
                    f"{path}: this folder holds other files and no study; give an empty or a new folder for the "
                    "results."
                )
            at_work.refuse_others(path, config.fingerprint())
            study._set_config(config, told)
        return study

    def _set_config(self, config: Config, told: Callable[[str], None] = lambda said: None) -> None:
        """Write study.toml where it says something else; what a person wrote there is kept."""
        path = self.path / "study.toml"
        before = self.config if path.exists() else None
        if before == config:
            return
        changed = changes(before, config) if before is not None else {}
        with replacing(path) as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8", newline="\n")
            said = f"study.toml was changed: {'; '.join(changed.values())}."
            if changed.keys() - _OPTIONS:
                said += f" The file before is {set_aside(path, 'replaced').name}."
        if changed:
            told(said)

    @property
    def config(self) -> Config:
        """The parameters of the study, as study.toml has them now.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        path = self.path / "study.toml"
        config = load_config(path)
        if not {"detection", "staging"} <= config.model_fields_set:  # each study has all parts
            raise StudyError(
                f"{path}: parts of the file are missing; restore it from a copy. Or delete it and run 'follicle-stager "
                "stage' again, with the default parameters; corrections are kept."
            )
        return config

    @contextlib.contextmanager
    def running(self, config: Config, *, mpp: float | None = None) -> Iterator[None]:
        """Say that a run with these settings is at work; runs with others are refused meanwhile.

        Parameters
        ----------
        config
            Parameters of the run.
        mpp
            µm/px that stands for all its slides, if one was given.

        Raises
        ------
        StudyError
            If one with other settings is at work.
        """
        with at_work.door(self.path):
            settings = f"{config.fingerprint()}_{mpp or ''}"
            at_work.refuse_others(self.path, f"{settings}-")
            mark = at_work.mark(self.path, settings)
        with mark:
            sweep(self.path)
            yield

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Open a study that exists.

        Raises
        ------
        StudyError
            If there is none.
        """
        path = Path(path)
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

    def has_run(self, slide_id: str) -> bool:
        """Whether a slide was finished."""
        return (self.slide_folder(slide_id) / "run.json").is_file()

    def run(self, slide_id: str) -> Run:
        """The record of a slide's last run.

        Raises
        ------
        StudyError
            If the slide was not finished, or the file is damaged.
        """
        run = read_run(self.slide_folder(slide_id))
        if run is None:
            raise StudyError(f"{self.slide_folder(slide_id)}: this slide is not finished; run 'stage' first.")
        return run

    def source(self, slide_id: str) -> Path:
        """Path of a slide's picture, also if the study or its slides were moved; see `find_picture`.

        Raises
        ------
        StudyError
            If the slide was not finished, or its record is damaged.
        """
        run = self.run(slide_id)
        path = find_picture(run, self.path)
        return path if path.exists() else find_picture(run, self.path, _folders_of(self.sources().values()))

    def sources(self) -> dict[str, Path]:
        """Paths of the pictures of all finished slides, by slide id; see `source`."""
        runs = {slide_id: self.run(slide_id) for slide_id in self.slide_ids()}
        paths = {slide_id: find_picture(run, self.path) for slide_id, run in runs.items()}
        folders = _folders_of(paths.values())
        gone = {slide_id: run for slide_id, run in runs.items() if not paths[slide_id].exists()}
        return paths | {slide_id: find_picture(run, self.path, folders) for slide_id, run in gone.items()}

    def missing(self) -> dict[str, Path]:
        """Slides whose picture is not found, and where it was when it was searched."""
        return {slide_id: path for slide_id, path in self.sources().items() if not path.exists()}

    def pixel_size(self, slide_id: str) -> PixelSize:
        """Pixel size with which a slide was searched.

        Raises
        ------
        StudyError
            If the slide was not finished, or run.json does not say.
        """
        size = self.run(slide_id).pixel_size
        if size is None:
            raise StudyError(
                f"{self.slide_folder(slide_id) / 'run.json'}: mpp_x and mpp_y are missing; run 'follicle-stager stage' "
                "on this slide again. Corrections are kept."
            )
        return size

    def open_slide(self, slide_id: str) -> Slide:
        """Open the picture of a slide, with the pixel size of its run and within the limits of the study.

        Raises
        ------
        UserError
            If the slide was not finished, or the picture is not found.
        """
        source = self.source(slide_id)
        if not source.exists():
            raise StudyError(
                f"{source}: the picture of slide {slide_id} is not there any more. Put it back or beside the study; or "
                "run the same command as before on the folder where it is now: finished slides are kept."
            )
        slide = open_slide(source, limits=self.config.slides)
        slide.stated_pixel_size = self.pixel_size(slide_id)
        return slide

    def moved_to(self, slide_id: str, source: Path) -> None:
        """Remember where the picture of a finished slide is now."""
        run, now = self.run(slide_id), {"source": str(source.resolve())}
        now["source_in_study"] = relative_path(source, self.path)
        if run.model_copy(update=now) != run:
            write_run(self.slide_folder(slide_id), run.model_copy(update=now))

    def save(
        self, result: SlideResult, *, run_id: str, source: Path, config: Config, overlay: Image | None = None
    ) -> tuple[str, ...]:
        """Write one slide's result; ``run.json`` comes last. What a person corrected before is carried over.

        Parameters
        ----------
        result
            What was found.
        run_id
            See `run_id_of`.
        source
            The picture.
        config
            Parameters of the run.
        overlay
            A picture of the outlines; it is replaced only together with them.

        Returns
        -------
        tuple of str
            What a person must know: corrected follicles and sections that this run did not find.
        """
        folder = self.slide_folder(result.slide_id)
        last_run = self._last_run(result.slide_id)
        with EditLog(folder, wait_s=_OTHER_RUN_S) as log:  # nobody corrects meanwhile
            if self._run_of(folder) == run_id:
                return ()  # another process of the same job was faster
            told = () if last_run else _set_aside(folder, FOLLICLES) + _set_aside(folder, SECTIONS)
            state, lost = carry_over(folder, last_run, run_id, result, log)
            # From here on the slide counts as unfinished, until the new run.json is there.
            (folder / "run.json").unlink(missing_ok=True)
            write_standing(folder, state, log, run_id=run_id)
            if overlay is not None:
                with replacing(folder / "overlay.jpg") as temporary:
                    overlay.save(temporary, quality=88)
            self._finish(result, run_id=run_id, source=source, config=config)
        return told + lost

    def _finish(self, result: SlideResult, *, run_id: str, source: Path, config: Config) -> None:
        folder = self.slide_folder(result.slide_id)
        size = result.pixel_size
        run = Run(
            run_id=run_id,
            slide=result.slide_id,
            source=str(source.resolve()),
            source_in_study=relative_path(source, self.path),
            content=content_of(source),
            software=f"follicle-stager {__version__}",
            python=platform.python_version(),
            config=config.fingerprint(),
            detector=detector_id(config),
            classifier=stager_id(config.staging),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            mpp_x=size.mpp_x,
            mpp_y=size.mpp_y,
            mpp_source=size.source,
            visible_stages=result.visible_stages,
            sections=len(result.sections),
            follicles=len(result.follicles),
            quality=result.quality,
            flags=result.flags,
            seconds=result.seconds,
        )
        write_run(folder, run)

    def review(self, slide_id: str, *, author: str, measure: Measure = lambda outline: None) -> ReviewSession:
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
        folder = self.slide_folder(slide_id)
        own = self._run_of(folder)
        named = [own] if own else [edit.run_id for edit in read_edits(folder)]
        known = [run for run in named if predictions(folder, run).exists()]
        every = runs(folder)
        return known[-1] if known else every[0] if len(every) == 1 else None

    def _run_of(self, folder: Path) -> str:
        """The run that finished a slide; empty where it is not known."""
        try:
            run = read_run(folder)
        except StudyError:  # said where it is counted; a new run mends it
            return ""
        return run.run_id if run is not None else ""

    def follicles(self, slide_id: str) -> list[Follicle]:
        """The follicles of a slide as they stand, each on the section where it lies; see `content`."""
        return list(self.content(slide_id).follicles)

    def sections(self, slide_id: str) -> list[Section]:
        """The sections of a slide as they stand, those that are not counted included."""
        return list(self.content(slide_id).sections)

    def content(self, slide_id: str) -> SlideContent:
        """Follicles and sections of a slide as they stand, and what a person must know of them.

        Raises
        ------
        StudyError
            If a follicle lies on no section, so that it would not be counted.
        """
        return read_content(self.slide_folder(slide_id), self._standing(slide_id))

    def contents(self) -> dict[str, SlideContent]:
        """What stands on all finished slides, by slide id; see `content`."""
        return {slide_id: self.content(slide_id) for slide_id in self.slide_ids()}


def _folders_of(paths: Iterable[Path]) -> list[Path]:
    """Folders of the files that exist."""
    return list(dict.fromkeys(path.parent for path in paths if path.exists()))


def _set_aside(folder: Path, name: str) -> tuple[str, ...]:
    """Keep a file of which nobody knows the run, before a new one replaces it."""
    if not changed_elsewhere(folder, name, read_edits(folder)):
        return ()
    aside = set_aside(folder / name, "edited")
    return (f"{name} had been edited and was kept as {aside.name}; the new run does not contain it",)
