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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import follicle_stager
from follicle_stager.annotations import in_words, read_outlines, read_sections
from follicle_stager.config import Config, changes, dump_config, load_config
from follicle_stager.corrections.log import EditLog, read_edits
from follicle_stager.corrections.rerun import carry_over
from follicle_stager.corrections.sections import places
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
from follicle_stager.stages import Status
from follicle_stager.staging import stager_id
from follicle_stager.study import at_work
from follicle_stager.study.run_info import RunInfo, content_of, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

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
    """A study folder."""

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
        before = self.config() if path.exists() else None
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

    def config(self) -> Config:
        """The parameters of the study, as study.toml has them.

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

    def run_info(self, slide_id: str) -> RunInfo | None:
        """What ``run.json`` says, None if the slide was not finished.

        Raises
        ------
        StudyError
            If the file is damaged.
        """
        return read_run(self.slide_folder(slide_id))

    def _finished(self, slide_id: str) -> RunInfo:
        info = self.run_info(slide_id)
        if info is None:
            raise StudyError(f"{self.slide_folder(slide_id)}: this slide is not finished; run 'stage' first.")
        return info

    def source(self, slide_id: str) -> Path:
        """File of a slide's picture."""
        return self.path / self._finished(slide_id).source

    def pixel_size(self, slide_id: str) -> PixelSize:
        """µm/px of a slide's run.

        Raises
        ------
        StudyError
            If the slide is not finished, or run.json does not say.
        """
        size = self._finished(slide_id).pixel_size
        if size is None:
            raise StudyError(
                f"{self.slide_folder(slide_id) / 'run.json'}: mpp_x and mpp_y are missing; run 'follicle-stager stage' "
                "on this slide again. Corrections are kept."
            )
        return size

    def open_picture(self, slide_id: str) -> Slide:
        """Open the picture of a slide, at the µm/px of its run and within the limits of the study.

        Raises
        ------
        UserError
            If the slide is not finished, or the picture is not where it was.
        """
        slide = open_slide(self.source(slide_id), limits=self.config().slides)
        slide.stated_pixel_size = self.pixel_size(slide_id)
        return slide

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
        info = RunInfo(
            run_id=run_id,
            slide=result.slide_id,
            source=str(source.resolve()),
            content=content_of(source),
            software=f"follicle-stager {follicle_stager.__version__}",
            python=platform.python_version(),
            config=config.fingerprint(),
            detector=detector_id(config.detection),
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
        write_run(folder, info)

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
            info = read_run(folder)
        except StudyError:  # said where it is counted; a new run mends it
            return ""
        return info.run_id if info is not None else ""

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

    def content(self, slide_id: str) -> tuple[list[Follicle], list[Section], tuple[str, ...]]:
        """Follicles and sections of a slide, and what a person must know of them; see `follicles`."""
        folder, stands = self.slide_folder(slide_id), self._standing(slide_id)
        if stands is None:
            outlines, sections = read_outlines(folder / FOLLICLES), read_sections(folder / SECTIONS)
            follicles, left_out = outlines.follicles, in_words(outlines.left_out)
        else:
            follicles, sections = list(stands.state.follicles.values()), list(stands.state.sections.values())
            left_out = stands.left_out
        notes = [f"{slide_id}: in {FOLLICLES}, not taken for follicles: {left_out}"] if left_out else []
        gone = sum(f.status == Status.REJECTED for edit in (stands.imported if stands else ()) for f in edit.after)
        if gone:
            notes.append(f"{slide_id}: {gone} follicles are not in {FOLLICLES} any more, and count as rejected")
        return self.placed(slide_id, follicles, sections), sections, tuple(notes)

    def counted(self, slide_id: str) -> list[Follicle]:
        """The follicles of a slide that lie on tissue that is counted; see `follicles`."""
        follicles, sections, _ = self.content(slide_id)
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
