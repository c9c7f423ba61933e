"""The files of a study, in formats that people can open.

::

    study.toml                          the configuration
    samples.csv                         the sample sheet
    slides/<slide>/run.json             the last run: versions, hashes, timings; written last, so it marks "finished"
    slides/<slide>/predictions/<run>.geojson, <run>.sections.geojson   the predictions of a run, never changed
    slides/<slide>/edits.jsonl          every correction, one line each; lines are only added
    slides/<slide>/follicles.geojson    the current follicles (opens in QuPath)
    slides/<slide>/sections.geojson     the current sections: tissue, animals, and whether they are counted
    slides/<slide>/overlay.jpg          a picture of the predictions
    audit/                              the plan and the log of an audit, see `audit.plan`
    blinding.jsonl                      codes of the slides, and who was blinded when, see `review.blinding`
    tables/                             follicles.csv, counts_by_*.csv, corpora_lutea_by_*.csv
"""

from __future__ import annotations

import contextlib
import platform
from dataclasses import asdict, dataclass
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
from follicle_stager.errors import StudyError
from follicle_stager.files import recorded, replacing, set_aside, sweep
from follicle_stager.slides import is_slide, open_slide
from follicle_stager.study import at_work
from follicle_stager.study.content import SlideContent, read_content
from follicle_stager.study.pictures import find_picture, relative_path
from follicle_stager.study.runs import Run, read_run, request_of, write_run
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from PIL.Image import Image

    from follicle_stager.corrections.session import Measure
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle, Section, SlideResult
    from follicle_stager.slides import Slide
    from follicle_stager.study.runs import Request

# How long a run waits for another one that writes the same slide, s.
_OTHER_RUN_S = 10
# Parameters that are options of a run and of the window; the user changes them knowingly.
_OPTIONS = {"detection.detector", "detection.min_score"}


@dataclass(frozen=True)
class Study:
    """A study folder; all access to its files goes through this class."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, *, told: Callable[[str], None] = lambda said: None) -> Study:
        """Make a study folder, or continue in an existing one.

        Parameters
        ----------
        path
            Folder of the study.
        config
            Parameters, written to study.toml; an existing file with other values is kept under another name.
        told
            Function that is called with a note on values that changed.

        Raises
        ------
        StudyError
            If the folder contains something else, or a run with other settings is in progress there.
        """
        if path.is_file():
            raise StudyError(f"{path}: this is a file; choose a folder for the results.")
        study = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        with at_work.door(path):
            # Files of a run that was killed or has just started do not count as other files.
            others = [p for p in path.iterdir() if not p.name.startswith((".runs.lock", ".run-", ".tmp-"))]
            if others and not (path / "study.toml").exists():
                raise StudyError(
                    f"{path}: this folder holds other files and no study; choose an empty or a new folder for the "
                    "results."
                )
            at_work.refuse_others(path, config.fingerprint())
            study._set_config(config, told)
        return study

    def _set_config(self, config: Config, told: Callable[[str], None] = lambda said: None) -> None:
        """Write study.toml if its values differ; the file that a person may have edited is kept under another name."""
        path = self.path / "study.toml"
        before = self.config if path.exists() else None
        if not config.comparison.named_on:
            stage, date = config.comparison.contrast, datetime.now(UTC).date().isoformat()
            if before and before.comparison.contrast == stage:
                date = before.comparison.named_on or date
            named = f"{stage}, {date}"
            config = config.with_options(comparison={"contrast_named": named})
        if before == config:
            return
        changed = changes(before, config) if before is not None else {}
        with replacing(path) as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8", newline="\n")
            said = f"study.toml was changed: {'; '.join(changed.values())}."
            if changed.keys() - _OPTIONS:
                said += f" The previous file is now {set_aside(path, 'replaced').name}."
        if changed:
            told(said)

    @property
    def config(self) -> Config:
        """Current parameters of the study, read from study.toml.

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
        """Mark a run with these settings as in progress; runs with other settings are then refused.

        Parameters
        ----------
        config
            Parameters of the run.
        mpp
            Pixel size that was given for all slides, µm/px, if any.

        Raises
        ------
        StudyError
            If a run with other settings is in progress.
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
        """Open an existing study.

        Raises
        ------
        StudyError
            If the folder is not a study.
        """
        path = Path(path)
        if not (path / "study.toml").is_file():
            raise StudyError(f"{path}: this is no study folder (no study.toml in it); run 'follicle-stager run' first.")
        return cls(path)

    @property
    def samples_path(self) -> Path:
        """Path of the sample sheet."""
        return self.path / "samples.csv"

    @property
    def tables(self) -> Path:
        """Folder of the tables."""
        return self.path / "tables"

    def slide_folder(self, slide_id: str) -> Path:
        """Folder of one slide."""
        return self.path / "slides" / slide_id

    def slide_ids(self) -> list[str]:
        """Names of the finished slides."""
        return sorted(p.parent.name for p in self.path.glob("slides/*/run.json"))

    def has_run(self, slide_id: str) -> bool:
        """Whether a slide is finished."""
        return (self.slide_folder(slide_id) / "run.json").is_file()

    def run(self, slide_id: str) -> Run:
        """The record of a slide's last run.

        Raises
        ------
        StudyError
            If the slide is not finished, or the file is damaged.
        """
        run = read_run(self.slide_folder(slide_id))
        if run is None:
            raise StudyError(
                f"{self.slide_folder(slide_id)}: this slide is not finished; run 'follicle-stager stage' first."
            )
        return run

    def source(self, slide_id: str) -> Path:
        """Path of a slide's image, also if the study or its slides were moved; see `find_picture`.

        Raises
        ------
        StudyError
            If the slide is not finished, or its record is damaged.
        """
        run = self.run(slide_id)
        path = find_picture(run, self.path)
        return path if path.exists() else find_picture(run, self.path, _folders_of(self.sources().values()))

    def sources(self) -> dict[str, Path]:
        """Paths of the images of all finished slides, by slide id; see `source`."""
        runs = {slide_id: self.run(slide_id) for slide_id in self.slide_ids()}
        paths = {slide_id: find_picture(run, self.path) for slide_id, run in runs.items()}
        folders = _folders_of(paths.values())
        gone = {slide_id: run for slide_id, run in runs.items() if not paths[slide_id].exists()}
        return paths | {slide_id: find_picture(run, self.path, folders) for slide_id, run in gone.items()}

    def missing(self) -> dict[str, Path]:
        """Slides whose image is not found, with the path that it had during the search."""
        return {slide_id: path for slide_id, path in self.sources().items() if not path.exists()}

    def pixel_size(self, slide_id: str) -> PixelSize:
        """Pixel size with which a slide was searched.

        Raises
        ------
        StudyError
            If the slide is not finished, or run.json does not contain it.
        """
        size = self.run(slide_id).pixel_size
        if size is None:
            raise StudyError(
                f"{self.slide_folder(slide_id) / 'run.json'}: mpp_x and mpp_y are missing; run 'follicle-stager stage' "
                "on this slide again. Corrections are kept."
            )
        return size

    def open_slide(self, slide_id: str) -> Slide:
        """Open the image of a slide, with the pixel size of its run and within the limits of the study.

        Raises
        ------
        UserError
            If the slide is not finished, or the image is not found.
        """
        source = self.source(slide_id)
        if not source.exists():
            raise StudyError(
                f"{source}: the image of slide {slide_id} is no longer there. Put it back or next to the study, or run "
                "the same command as before on its new folder: finished slides are kept."
            )
        slide = open_slide(source, limits=self.config.slides)
        slide.stated_pixel_size = self.pixel_size(slide_id)
        return slide

    def locate(self, folder: Path) -> tuple[list[str], list[str]]:
        """Search a folder for the images that are not found, and record their paths.

        Parameters
        ----------
        folder
            Folder with the images, or with folders of them.

        Returns
        -------
        found, missing : list of str
            Slides whose image was found there, and those whose image is still missing.
        """
        folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir() and not is_slide(path))]
        found: list[str] = []
        missing: list[str] = []
        for slide_id in self.missing():
            path = find_picture(self.run(slide_id), self.path, folders)
            if path.exists():
                self.moved_to(slide_id, path)
            (found if path.exists() else missing).append(slide_id)
        return found, missing

    def moved_to(self, slide_id: str, source: Path) -> None:
        """Record the new path of the image of a finished slide."""
        run, now = self.run(slide_id), {"source": recorded(source)}
        now["source_in_study"] = relative_path(source, self.path)
        if run.model_copy(update=now) != run:
            write_run(self.slide_folder(slide_id), run.model_copy(update=now))

    def request(
        self,
        source: Path,
        config: Config,
        *,
        mpp: float | None = None,
        parts: Sequence[Path] = (),
        find: bool = True,
    ) -> Request:
        """What is asked of a run in this study; see `request_of`."""
        relative = relative_path(source, self.path)
        return request_of(source, config, source_in_study=relative, mpp=mpp, parts=parts, find=find)

    def save(self, result: SlideResult, request: Request, *, overlay: Image | None = None) -> tuple[str, ...]:
        """Write the result of one slide, ``run.json`` last. Earlier corrections are carried over.

        Parameters
        ----------
        result
            Result of the slide.
        request
            What was asked of the run.
        overlay
            Picture of the outlines; it is replaced only together with them.

        Returns
        -------
        tuple of str
            Notes for the user: corrected follicles and sections that this run did not find.
        """
        folder = self.slide_folder(result.slide_id)
        last_run = self._last_run(result.slide_id)
        with EditLog(folder, wait_s=_OTHER_RUN_S) as log:  # no corrections until this is done
            if self._run_of(folder) == request.run_id:
                return ()  # another process of the same job was faster
            told = () if last_run else _set_aside(folder, FOLLICLES) + _set_aside(folder, SECTIONS)
            state, lost = carry_over(folder, last_run, request.run_id, result, log)
            # From here on, the slide counts as unfinished until the new run.json is written.
            (folder / "run.json").unlink(missing_ok=True)
            write_standing(folder, state, log, run_id=request.run_id)
            if overlay is not None:
                with replacing(folder / "overlay.jpg") as temporary:
                    overlay.save(temporary, quality=88)
            self._finish(result, request)
        return told + lost

    def _finish(self, result: SlideResult, request: Request) -> None:
        folder = self.slide_folder(result.slide_id)
        size = result.pixel_size
        run = Run(
            **asdict(request),
            slide=result.slide_id,
            software=f"follicle-stager {__version__}",
            python=platform.python_version(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            mpp_x=size.mpp_x,
            mpp_y=size.mpp_y,
            mpp_source=size.source,
            visible_stages=result.visible_stages,
            sections=len(result.sections),
            follicles=result.number_of_follicles,
            quality=result.quality,
            flags=result.flags,
            seconds=result.seconds,
        )
        write_run(folder, run)

    def review(
        self, slide_id: str, *, author: str, measure: Measure = lambda outline: None, blind: bool = False
    ) -> ReviewSession:
        """Open a slide for correction; see `ReviewSession`.

        Raises
        ------
        UserError
            If the slide is not finished, another person or window has it open, or its files are damaged.
        """
        run_id = self._last_run(slide_id)
        if run_id is None:
            raise StudyError(
                f"{self.slide_folder(slide_id)}: this slide is not finished; run 'follicle-stager stage' first."
            )
        return ReviewSession(self.slide_folder(slide_id), run_id, author=author, measure=measure, blind=blind)

    def is_edited(self, slide_id: str) -> bool:
        """Whether a person judged or changed a follicle of the slide."""
        stands = self._standing(slide_id)
        return stands is not None and bool(stands.touched)

    def _standing(self, slide_id: str) -> Standing | None:
        """Current state of a slide; None if its run is not known, as in a study that was put together by hand."""
        run_id = self._last_run(slide_id)
        return standing(self.slide_folder(slide_id), run_id) if run_id is not None else None

    def _last_run(self, slide_id: str) -> str | None:
        """The run of the current follicles, also if a later run was interrupted while it was written."""
        folder = self.slide_folder(slide_id)
        own = self._run_of(folder)
        named = [own] if own else [edit.run_id for edit in read_edits(folder)]
        known = [run for run in named if predictions(folder, run).exists()]
        every = runs(folder)
        return known[-1] if known else every[0] if len(every) == 1 else None

    def _run_of(self, folder: Path) -> str:
        """The run that finished a slide; empty if it is not known."""
        try:
            run = read_run(folder)
        except StudyError:  # reported when the slide is counted; a new run repairs it
            return ""
        return run.run_id if run is not None else ""

    def follicles(self, slide_id: str) -> list[Follicle]:
        """Current follicles of a slide, each assigned to its section; see `content`."""
        return list(self.content(slide_id).follicles)

    def sections(self, slide_id: str) -> list[Section]:
        """Current sections of a slide, including those that are not counted."""
        return list(self.content(slide_id).sections)

    def content(self, slide_id: str) -> SlideContent:
        """Current follicles and sections of a slide, with notes for the user.

        Raises
        ------
        StudyError
            If a follicle lies on no section and would not be counted.
        """
        return read_content(self.slide_folder(slide_id), self._standing(slide_id))

    def contents(self) -> dict[str, SlideContent]:
        """Current content of all finished slides, by slide id; see `content`."""
        return {slide_id: self.content(slide_id) for slide_id in self.slide_ids()}


def _folders_of(paths: Iterable[Path]) -> list[Path]:
    """Folders of the files that exist."""
    return list(dict.fromkeys(path.parent for path in paths if path.exists()))


def _set_aside(folder: Path, name: str) -> tuple[str, ...]:
    """Keep a file whose run is not known under another name, before a new file replaces it."""
    if not changed_elsewhere(folder, name, read_edits(folder)):
        return ()
    aside = set_aside(folder / name, "edited")
    return (f"{name} had been edited and was kept as {aside.name}; the new run does not contain these edits",)
