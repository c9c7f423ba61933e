"""The sample sheet: which slide belongs to which animal. It is checked before any slide is read.

Every error message names the file, the line, the column, the value and the remedy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from follicle_stager.errors import SampleSheetError, UserError
from follicle_stager.study.sources import SlideNames, SlideSource
from follicle_stager.tables import Table, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Other names of the two groups of the simple case.
_GROUPS = {
    "control": ("controls", "ctrl", "ctl", "wt", "wildtype", "wild-type", "+/+"),
    "knockout": ("knockouts", "ko", "cko", "mutant", "mut", "null", "-/-"),
}
REQUIRED = ("slide", "animal", "genotype", "group")


class Sample(BaseModel):
    """One row of the sample sheet: a slide, or one section of it.

    Attributes
    ----------
    sheet_line
        Line of the file, for messages.
    section
        Name of the section. If empty, all sections found on the slide belong to this row.
    interval
        Sampling interval: every n-th section was collected. Without it, nothing is extrapolated.
    """

    model_config = ConfigDict(extra="allow", frozen=True, str_strip_whitespace=True)

    sheet_line: int
    slide: str = Field(min_length=1)
    animal: str = Field(min_length=1)
    genotype: str = Field(min_length=1)
    group: str = Field(min_length=1)
    model: str = ""
    ovary: Literal["L", "R", ""] = ""
    section: str = ""
    interval: int | None = Field(default=None, ge=1, le=10_000)
    thickness_um: float | None = Field(default=None, gt=0, le=200)
    mpp: float | None = Field(default=None, ge=0.02, le=20)
    age_days: float | None = Field(default=None, ge=0)
    body_weight_g: float | None = Field(default=None, gt=0)
    estrous_stage: str = ""
    stimulation: str = ""
    litter: str = ""
    batch: str = ""

    @field_validator("group")
    @classmethod
    def _known_group(cls, value: str) -> str:
        """Groups may have any names; what looks like a mistyped control or knockout is an error."""
        group = read_group(value)
        if group in _GROUPS or (re.search(r"\w", value) and not get_close_matches(value.lower(), _GROUPS, cutoff=0.8)):
            return group
        raise ValueError(value)

    @field_validator("interval", "thickness_um", "mpp", "age_days", "body_weight_g", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, str):
            # In many countries, spreadsheets write 0,5.
            value = value.strip().replace(",", ".")
            return None if value in ("", "NA", "na", "nan") else value
        return value


_MENDS = {
    "group": "write control or knockout; or other names, and the reference in [comparison] of study.toml",
    "ovary": "write L or R, or leave it empty",
    "interval": "write a whole number from 1 to 10000, e.g. 10 if every tenth section was collected",
    "thickness_um": "write the section thickness in µm, e.g. 5",
    "mpp": "write the size of one pixel in µm, e.g. 0.5",
    "age_days": "write the age in days, or leave it empty",
    "body_weight_g": "write the weight in g, or leave it empty",
}


@dataclass(frozen=True)
class SampleSheet:
    """A sample sheet as written, read once; see `SampleSheet.read` and `for_slides`.

    Attributes
    ----------
    path
        Path of the file.
    text
        Sheet as CSV text, for a copy in the study.
    rows
        Valid rows; ``slide`` is as written.
    invalid
        Errors of the other rows, in words.
    """

    path: Path
    text: str
    rows: tuple[Sample, ...]
    invalid: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path) -> SampleSheet:
        """Read a sheet from CSV or xlsx (Excel); see `read_table`.

        Raises
        ------
        SampleSheetError
            If the file is not a table, or lacks a column.
        """
        path = Path(path)
        table, rows, invalid = _read_table(path), [], []
        for line, row in table.rows:
            try:
                rows.append(Sample.model_validate({**row, "sheet_line": line}))
            except ValidationError as error:
                for detail in error.errors():
                    column = str(detail["loc"][0])
                    mend = _MENDS.get(column, "fill it in")
                    invalid.append(f"line {line}, column {column}: {row.get(column, '')!r} is not valid; {mend}")
        return cls(path, table.text, tuple(rows), tuple(invalid))

    def for_slides(
        self, slides: Sequence[SlideSource], *, without_row: str = "add one, or move the file out of the folder"
    ) -> list[Sample]:
        """Match the rows with slides, and check them.

        Parameters
        ----------
        slides
            All slides; each must have a row, and each row must have a slide.
        without_row
            Remedy for a slide without a row, for the message.

        Returns
        -------
        list of Sample
            Rows in the order of the file, with ``slide`` replaced by the slide id.

        Raises
        ------
        SampleSheetError
            If there are problems; the message lists them, one per line.
        """
        problems = _Problems(self.path, self.invalid)
        samples = _with_ids(self.rows, slides, problems)
        _check_duplicates(samples, problems)
        _check_contradictions(samples, problems)
        if not problems.count:
            named = {s.slide for s in samples}
            for source in slides:
                if source.slide_id not in named:
                    problems.add(f"slide {source.path.name} has no row; {without_row}")
        problems.raise_any()
        return samples


def read_group(text: str) -> str:
    """Read the name of a group: ``control`` and ``knockout`` for their other names (WT, -/-), else as it is."""
    plain = text.strip().casefold().replace(" ", "").replace("−", "-")
    for group, names in _GROUPS.items():
        if plain == group or plain in names or plain.endswith(names[-1]):
            return group
    return text.strip()


def read_samples(path: Path, slides: Sequence[SlideSource]) -> list[Sample]:
    """Read a sample sheet and match it with slides; see `SampleSheet`."""
    return SampleSheet.read(path).for_slides(slides)


class _Problems:
    """The problems of a sheet; if there are very many, only the first are kept."""

    _MOST = 20

    def __init__(self, path: Path, known: Iterable[str] = ()) -> None:
        self._path, self._said = path, list[str]()
        self.count = 0
        for problem in known:
            self.add(problem)

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= self._MOST:
            self._said.append(f"{self._path}: {problem}")

    def raise_any(self) -> None:
        if self.count > self._MOST:
            self._said.append(f"{self._path}: and {self.count - self._MOST:,} more like these")
        if self._said:
            raise SampleSheetError("\n".join(self._said))


def animals_of(path: Path, slides: Iterable[str]) -> dict[str, str]:
    """Animal of each slide by a sample sheet, without slides that have sections of several animals."""
    names = SlideNames(SlideSource(slide, Path(slide)) for slide in slides)
    owners: dict[str, set[str]] = {}
    for _, row in read_rows(path):
        for source in names.find(row["slide"]):
            owners.setdefault(source.slide_id, set()).add(row["animal"])
    return {slide: next(iter(own)) for slide, own in owners.items() if len(own) == 1}


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a sample sheet as text, with their line numbers; required columns are checked."""
    return _read_table(path).rows


def _read_table(path: Path) -> Table:
    try:
        table = read_table(path)
    except UserError as error:
        raise SampleSheetError(str(error)) from None
    columns, line = table.columns, table.header_line
    for column in columns:
        if (meant := _meant(column)) and meant not in columns:
            raise SampleSheetError(f"{path}: line {line}: there is no column {column!r}; did you mean {meant!r}?")
    missing = [c for c in REQUIRED if c not in columns]
    if missing:
        raise SampleSheetError(
            f"{path}: line {line}: missing column: {', '.join(missing)}; the sheet needs "
            f"{', '.join(REQUIRED)} (found: {', '.join(columns) or 'nothing, the file is empty'})"
        )
    if not table.rows:
        raise SampleSheetError(f"{path}: no rows below the header; add one per slide.")
    return table


def _meant(column: str) -> str:
    """The known column that a misspelt name means; empty for a known column or an additional one of the user."""
    known = [name for name in Sample.model_fields if name != "sheet_line"]
    if column in known or not column or any(column.startswith(f"{name}_") for name in known):
        return ""
    return next(iter(get_close_matches(column.lower().replace(" ", "_"), known, n=1, cutoff=0.8)), "")


def _with_ids(samples: Sequence[Sample], slides: Sequence[SlideSource], problems: _Problems) -> list[Sample]:
    names, known = SlideNames(slides), []
    for sample in samples:
        found = names.find(sample.slide)
        if len(found) == 1:
            known.append(sample.model_copy(update={"slide": found[0].slide_id}))
            continue
        listed = _listed(found or slides)
        said = f"there is no slide {sample.slide!r}; the slides are {listed}"
        if found:
            said = f"{sample.slide!r} may be {listed.replace(', ', ' or ')}; write which one"
        problems.add(f"line {sample.sheet_line}, column slide: {said}")
    return known


def _listed(slides: Sequence[SlideSource]) -> str:
    return ", ".join(s.path.name for s in slides[:4]) + (" ..." if len(slides) > 4 else "")


def _check_duplicates(samples: list[Sample], problems: _Problems) -> None:
    on_slide: dict[tuple[str, str], int] = {}
    of_ovary: dict[tuple[str, str, str, str], int] = {}
    for s in samples:
        first = on_slide.setdefault((s.slide, s.section), s.sheet_line)
        if first != s.sheet_line:
            name = f"section {s.section!r}" if s.section else "a row without section"
            problems.add(
                f"line {s.sheet_line}, column section: slide {s.slide} has {name} already in line {first}; "
                "give each row a section of its own, or remove one"
            )
            continue
        if s.section:
            first = of_ovary.setdefault((s.model, s.animal, s.ovary, s.section), s.sheet_line)
            if first != s.sheet_line:
                problems.add(
                    f"line {s.sheet_line}, column section: animal {s.animal}, ovary {s.ovary or '(empty)'} has section "
                    f"{s.section!r} already in line {first}; a section is counted once"
                )


def _check_contradictions(samples: list[Sample], problems: _Problems) -> None:
    """Check that each animal has one genotype and group, and each slide one µm/px."""
    animals: dict[tuple[str, str], Sample] = {}
    slides: dict[str, Sample] = {}
    for s in samples:
        first = animals.setdefault((s.model, s.animal), s)
        if (first.genotype, first.group) != (s.genotype, s.group):
            problems.add(
                f"line {s.sheet_line}, column genotype: animal {s.animal} is {s.genotype} ({s.group}) here and "
                f"{first.genotype} ({first.group}) in line {first.sheet_line}; write the same, or name two animals"
            )
        first = slides.setdefault(s.slide, s)
        if first.mpp != s.mpp:
            problems.add(
                f"line {s.sheet_line}, column mpp: slide {s.slide} has {s.mpp} here and {first.mpp} in line "
                f"{first.sheet_line}; write the same"
            )
