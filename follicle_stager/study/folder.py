"""What is on disk: plain files that people can open.

::

    study.toml                          the configuration used
    samples.csv                         the sample sheet
    slides/<slide>/run.json             the last run: versions, hashes, timings; written last, so it marks "finished"
    slides/<slide>/predictions/<run>.geojson   what the software said, one file per run, never changed
    slides/<slide>/follicles.geojson    what stands now (opens in QuPath)
    slides/<slide>/sections.geojson
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
from follicle_stager.annotations import read_geojson, read_sections, write_geojson, write_sections
from follicle_stager.config import Config, dump_config
from follicle_stager.detection import detector_id
from follicle_stager.errors import StudyError
from follicle_stager.files import write_text

if TYPE_CHECKING:
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

    def save(self, result: SlideResult, *, run_id: str, source: Path, config: Config) -> tuple[str, ...]:
        """Write one slide's result; ``run.json`` comes last.

        Returns
        -------
        tuple of str
            What a person must know: corrections in ``follicles.geojson`` that were set aside.
        """
        folder = self.slide_folder(result.slide_id)
        kept = self._set_corrections_aside(result.slide_id)
        sections = self._as_excluded(result.slide_id, result.sections)
        # From here on the slide counts as unfinished, until the new run.json is there.
        (folder / "run.json").unlink(missing_ok=True)
        write_geojson(folder / "predictions" / f"{run_id}.geojson", result.follicles)
        write_geojson(folder / "follicles.geojson", result.follicles)
        write_sections(folder / "sections.geojson", sections)
        info = {
            "run_id": run_id,
            "slide": result.slide_id,
            "source": str(source.resolve()),
            "software": f"follicle-stager {follicle_stager.__version__}",
            "python": platform.python_version(),
            "config": config.fingerprint(),
            "detector": detector_id(config.detection),
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
        return kept

    def is_edited(self, slide_id: str) -> bool:
        """Whether a person changed a slide's follicles.geojson."""
        current = self.slide_folder(slide_id) / "follicles.geojson"
        before = (self.run_info(slide_id) or {}).get("run_id")
        if before is None or not current.exists():
            return False
        predicted = self.slide_folder(slide_id) / "predictions" / f"{before}.geojson"
        return not predicted.exists() or predicted.read_bytes() != current.read_bytes()

    def _set_corrections_aside(self, slide_id: str) -> tuple[str, ...]:
        """Keep a follicles.geojson that a person changed under another name before a new run replaces it."""
        if not self.is_edited(slide_id):
            return ()
        folder, number = self.slide_folder(slide_id), 1
        while (aside := folder / f"follicles.edited_{number}.geojson").exists():
            number += 1
        (folder / "follicles.geojson").replace(aside)
        return (f"follicles.geojson had been edited and was kept as {aside.name}; the new run does not contain it",)

    def _as_excluded(self, slide_id: str, sections: tuple[Section, ...]) -> tuple[Section, ...]:
        """Sections of a new run; those that a person left out of an earlier one stay out."""
        if not (self.slide_folder(slide_id) / "sections.geojson").exists():
            return sections
        out = {s.section_id: s for s in self.sections(slide_id) if not s.included}

        def again(new: Section) -> Section:
            old = out.get(new.section_id)
            if old is None or old.outline.intersection(new.outline).area < 0.5 * old.outline.union(new.outline).area:
                return new
            return replace(new, included=False, reason=old.reason)

        return tuple(again(section) for section in sections)

    def follicles(self, slide_id: str) -> list[Follicle]:
        """The follicles of a slide as they stand; those that a person drew elsewhere are given to a section.

        Raises
        ------
        StudyError
            If one lies on no section, so that it would not be counted.
        """
        path = self.slide_folder(slide_id) / "follicles.geojson"
        sections = self.sections(slide_id)
        known = {section.section_id for section in sections}
        placed = []
        for follicle in read_geojson(path):
            if follicle.section_id not in known:
                best = max(sections, key=lambda s: s.outline.intersection(follicle.outline).area, default=None)
                if best is None or not best.outline.intersects(follicle.outline):
                    centre = follicle.outline.centroid
                    raise StudyError(
                        f"{path}: the {follicle.stage.label} outline at x = {centre.x:.0f}, y = {centre.y:.0f} lies on "
                        "no section and cannot be counted; move or delete it."
                    )
                follicle = replace(follicle, section_id=best.section_id)
            placed.append(follicle)
        return placed

    def sections(self, slide_id: str) -> list[Section]:
        """The sections of a slide."""
        return read_sections(self.slide_folder(slide_id) / "sections.geojson")


def run_id_of(source: Path, config: Config, mpp: float | None) -> str:
    """Name of a run: equal for the same slide, configuration, detector, µm/px and software version.

    A slide of gigabytes is not read for it: size, first, middle and last megabyte stand for the content.
    """
    digest = hashlib.sha256()
    detector = detector_id(config.detection)
    digest.update(f"{follicle_stager.__version__} {config.fingerprint()} {detector} {mpp}".encode())
    if source.is_dir():  # an OME-Zarr of thousands of chunks: names, sizes and times stand for them
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(source).as_posix()} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:12]
    size = source.stat().st_size
    digest.update(f"{source.name} {size}".encode())
    with source.open("rb") as handle:
        for start in sorted({0, max(0, size // 2), max(0, size - _SAMPLE_BYTES)}):
            handle.seek(start)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]
