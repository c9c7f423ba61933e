"""Write the synthetic slides of a study: models x genotypes x animals, with full truth and a sample sheet.

Files written, besides the slides and ``samples.csv``:

- ``truth/<slide>.geojson``: every profile, with its stage as visible in the section;
- ``truth/profiles.csv``: for each profile, its follicle in the ovary, how it is cut, and whether its nucleus shows;
- ``truth/ovaries.csv``: the true number of follicles per ovary and stage, and the inputs of Abercrombie's formula;
- ``truth/genotypes.csv``: the true means;
- ``truth/fingerprints.csv`` and ``truth/plan.json``: to check that two cohorts are equal, and to make one again.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
import tifffile
from pydantic import Field, ValidationError, field_validator, model_validator
from shapely import get_coordinates

from follicle_stager.annotations import write_geojson
from follicle_stager.annotations.geojson import as_written
from follicle_stager.config import explain
from follicle_stager.errors import UserError
from follicle_stager.files import replacing, write_csv, write_text
from follicle_stager.phantom.anatomy import Ovary, animal_levels, build_ovary
from follicle_stager.phantom.appearance import STAINS, faithful, randomised, varied
from follicle_stager.phantom.biology import Fraction, GenotypeModel, Part, small_ovary
from follicle_stager.phantom.sectioning import Cut, section_outline, series
from follicle_stager.phantom.slide import render_slide, write_ome_tiff
from follicle_stager.phantom.tissues import CODE
from follicle_stager.stages import LADDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from follicle_stager.records import Follicle

Count = Annotated[int, Field(ge=1)]

#: Smallest section, 80 µm across. Smaller ones are left out, because they would be lost on the slide. Larger ones must
#: be kept, or every estimate would lack the follicles near the poles.
_MIN_SECTION_UM2 = 5_000.0


class CohortPlan(Part):
    """The contents of a cohort."""

    models: dict[str, str] = {"Igfals": "H&E", "Igf1r": "hematoxylin"}
    """Stain of the slides of each mouse model."""
    animals: Count = 4
    """Animals per group."""
    ovaries: Annotated[int, Field(ge=1, le=2)] = 1
    """Ovaries per animal."""
    sections: Count | None = 3
    """Sections per ovary, evenly spread; they determine the sampling interval."""
    interval: Count | None = None
    """Sampling interval, instead of ``sections``: 10 takes every tenth section."""
    sections_per_slide: Count = 4
    """Largest number of sections on a slide; further ones go on another slide of the same ovary."""
    thickness_um: Annotated[float, Field(gt=0, le=100)] = 5.0
    """Thickness of a section."""
    control: GenotypeModel = small_ovary()
    """Ovaries of the controls. Those of the knockouts differ only by the next four parameters."""
    block_after: Stage | None = Stage.SECONDARY
    """Stage after which the knockouts' follicles are blocked: primary, secondary, early_antral, or none."""
    block_probability: Fraction = 0.8
    """Share of blocked follicles among those that reach that stage."""
    accumulate: Fraction = 0.5
    """Share of the blocked follicles that stay at that stage; the others vanish."""
    depletion: Fraction = 0.0
    """Share of all follicles that is missing in the knockouts."""
    mode: Literal["faithful", "randomised"] = "faithful"
    """Good slides, or looks far beyond the natural range."""
    faults: tuple[Fraction, ...] = (0.12,)
    """Probability of each fault of a slide; several values are assigned in turn to the animals of a group."""
    variety: tuple[Fraction, ...] = (0.0,)
    """Share of follicles, vessels and slides with looks that good slides do not have: pink, granular or shrunken fluid,
    pale or vacuolated oocytes, thick thecae, clefts, vessels full of red cells, coloured light. Several values are
    assigned in turn to the animals of a group."""
    washed_out: tuple[Fraction, ...] = (0.0,)
    """Share of oocytes and antra that are nearly as clear as glass, and of resting follicles with few granulosa nuclei,
    as after poor fixation. Several values are assigned in turn to the animals of a group."""
    mpp: Annotated[float, Field(ge=0.2, le=4)] = 1.0
    """Pixel size, µm/px."""
    jpeg: Annotated[int, Field(ge=20, le=100)] = 70
    """JPEG quality of the slides."""
    labels: bool = False
    """Whether label images are written too."""
    seed: Annotated[int, Field(ge=0)] = 20260101
    """Seed of the whole cohort."""

    @field_validator("block_after", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "none" else value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.models:
            raise ValueError("models: name at least one mouse model and its stain")
        for model, stain in self.models.items():
            if stain not in STAINS:
                raise ValueError(f"models: {stain!r} (of {model}) is not a known stain; use {', '.join(STAINS)}")
            if not model.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"models: {model!r} becomes part of file names; use letters, digits, - and _")
        names = [model.replace("-", "_").casefold() for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError("models: two of them would write files of the same name")
        if (self.sections is None) == (self.interval is None):
            raise ValueError("give either sections or interval, because one follows from the other")
        for name in ("faults", "variety", "washed_out"):
            if not getattr(self, name):
                raise ValueError(f"{name}: give at least one value (0 for none)")
        self.genotype("knockout")
        return self

    def interval_of(self, length_um: float) -> float:
        """Sampling interval of an ovary of this length; not rounded if it follows from the number of sections."""
        return self.interval or max(1.0, length_um / self.thickness_um / (self.sections or 1))

    @property
    def mean_interval(self) -> float:
        """Sampling interval of an ovary of mean length."""
        return self.interval_of(1000 * float(np.mean(self.control.length_mm)))

    def genotype(self, group: str) -> GenotypeModel:
        """Parameters of the ovaries of a group."""
        if group == "control":
            return self.control
        changes = {
            name: getattr(self, name) for name in ("block_after", "block_probability", "accumulate", "depletion")
        }
        if self.block_after is None:
            changes["block_probability"] = 0.0
        return GenotypeModel.model_validate(self.control.model_dump() | changes)


def plan_audit(values: dict[str, Any]) -> CohortPlan:
    """Check the parameters of a cohort.

    Parameters
    ----------
    values
        Fields of `CohortPlan`. ``ovary`` selects the defaults of ``control`` and its ``stages``: ``"small"`` (before
        the first ovulation) or ``"adult"``; without it, ``"small"``.

    Raises
    ------
    UserError
        If a parameter is invalid; the message names it and the reason.
    """
    kinds: dict[str, Callable[[], GenotypeModel]] = {"small": small_ovary, "adult": GenotypeModel}
    values = dict(values)
    kind = values.pop("ovary", "small")
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"this cohort cannot be made: ovary: {kind!r} is not one of {', '.join(kinds)}.")
    if values.get("interval") is not None:
        values.setdefault("sections", None)  # one follows from the other
    if isinstance(given := values.get("control", {}), dict):
        values["control"] = _over(kinds[kind]().model_dump(mode="json"), given)
    try:
        return CohortPlan.model_validate(values)
    except ValidationError as error:
        raise UserError(f"this cohort cannot be made: {explain(error)}.") from None


def _over(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Values, replaced by the given ones at every level."""
    out = values | given
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            out[name] = _over(values[name], value)
    return out


@dataclass(frozen=True)
class _Animal:
    """One animal of the plan."""

    index: int
    model: str
    group: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.model}-{'KO' if self.group == 'knockout' else 'WT'}-{self.number}"

    @property
    def genotype(self) -> str:
        return f"{self.model} {'-/-' if self.group == 'knockout' else '+/+'}"


def write_cohort(
    folder: Path,
    plan: CohortPlan,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Render a cohort.

    Parameters
    ----------
    folder
        Folder to write to; it is created.
    plan
        The cohort to render.
    jobs
        Number of animals rendered at the same time; the result does not depend on it.
    progress
        Function that is called with the number of animals done and the total number.

    Raises
    ------
    UserError
        If the folder holds anything other than this cohort.
    """
    animals = [
        _Animal(index, model, group, number)
        for index, (model, group, number) in enumerate(
            (model, group, number)
            for model in plan.models
            for group in ("control", "knockout")
            for number in range(1, plan.animals + 1)
        )
    ]
    written = folder / "truth" / "plan.json"
    text = plan.model_dump_json(indent=1) + "\n"
    if folder.is_file():
        raise UserError(f"{folder}: this is a file; give a folder for the cohort.")
    if folder.exists() and any(folder.iterdir()) and not (written.exists() and written.read_text("utf-8") == text):
        raise UserError(f"{folder}: this folder holds something else; give an empty or a new folder for the cohort.")
    write_text(written, text)
    tables: dict[str, list[dict[str, object]]] = {"samples": [], "ovaries": [], "profiles": [], "fingerprints": []}
    for done, rows in enumerate(_in_order(folder, plan, animals, jobs), start=1):
        for name, table in tables.items():
            table.extend(rows[name])
        progress(done, len(animals))
    write_csv(folder / "samples.csv", pd.DataFrame(tables.pop("samples")))
    if plan.labels:
        write_csv(folder / "labels" / "classes.csv", pd.DataFrame({"code": CODE.values(), "tissue": CODE.keys()}))
    for name, table in tables.items():
        write_csv(folder / "truth" / f"{name}.csv", pd.DataFrame(table))
    planted = [
        {"group": group, "stage": stage.value, "mean_per_ovary": round(mean, 3)}
        for group in ("control", "knockout")
        for stage, mean in plan.genotype(group).means().items()
    ]
    write_csv(folder / "truth" / "genotypes.csv", pd.DataFrame(planted))


Rows = dict[str, list[dict[str, object]]]


def _in_order(folder: Path, plan: CohortPlan, animals: list[_Animal], jobs: int) -> Iterator[Rows]:
    if jobs <= 1:
        yield from (_write_animal(folder, plan, animal) for animal in animals)
        return
    with ProcessPoolExecutor(min(jobs, len(animals)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_write_animal, [folder] * len(animals), [plan] * len(animals), animals)


def _write_animal(folder: Path, plan: CohortPlan, animal: _Animal) -> Rows:
    # Animal, ovary and slide have separate random streams, so the result does not depend on the order of rendering, and
    # the biology does not depend on the appearance.
    model = plan.genotype(animal.group)
    levels = animal_levels(np.random.default_rng([plan.seed, animal.index]), model)
    rows: Rows = {"samples": [], "ovaries": [], "profiles": [], "fingerprints": []}
    for number_of_side, side in enumerate(("L", "R")[: plan.ovaries], start=1):
        rng = np.random.default_rng([plan.seed, animal.index, number_of_side])
        ovary = build_ovary(rng, model, levels=levels)
        cuts, interval = _sample(rng, plan, ovary)
        keys = {"animal": animal.name, "genotype": animal.genotype, "group": animal.group, "model": animal.model}
        nuclei = {s: _nuclei(ovary, s) for s in LADDER}
        rows["ovaries"] += [
            keys
            | {
                "ovary": side,
                "stage": stage.value,
                "n_true": n,
                "n_with_nucleus": nuclei[stage][0],
                "n_expected": round(model.means().get(stage, 0.0) * levels.get(stage, 1.0), 3),
                "nucleus_height_um": nuclei[stage][1],
                "interval": interval,
                "thickness_um": plan.thickness_um,
                "lost_cap_um": model.lost_cap_um,
            }
            for stage, n in ovary.counts().items()
        ]
        groups = [cuts[i : i + plan.sections_per_slide] for i in range(0, len(cuts), plan.sections_per_slide)]
        for number, group in enumerate(groups, start=1):
            name = animal.name.replace("-", "_")
            name += f"_{side}" if plan.ovaries > 1 else ""
            name += f"_{number}" if len(groups) > 1 else ""
            rng = np.random.default_rng([plan.seed, animal.index, number_of_side, number])
            faults, variety, washed_out = (
                values[(animal.number - 1) % len(values)] for values in (plan.faults, plan.variety, plan.washed_out)
            )
            stain = plan.models[animal.model]
            look = faithful(rng, stain, faults=faults) if plan.mode == "faithful" else randomised(rng)
            if variety:
                look = varied(rng, look, variety)
            look = replace(look, washed_out=washed_out)
            slide = render_slide(ovary, group, look, rng, mpp=plan.mpp)
            file = folder / f"{name}.ome.tif"
            write_ome_tiff(file, slide.picture, mpp=plan.mpp, quality=plan.jpeg)
            write_geojson(folder / "truth" / f"{name}.geojson", slide.follicles)
            if plan.labels:
                for kind in ("classes", "instances"):
                    with replacing(folder / "labels" / f"{name}.{kind}.tif") as temporary:
                        tifffile.imwrite(temporary, getattr(slide, kind), compression="zlib")
            rows["samples"].append(
                {"slide": file.name}
                | keys
                | {
                    "ovary": side,
                    "section": "",
                    "interval": interval,
                    "thickness_um": plan.thickness_um,
                    "age_days": 56 if model.corpora_lutea else 28,
                    "stimulation": "none",
                }
            )
            rows["profiles"] += [
                {"slide": name, "animal": animal.name, "ovary": side} | {str(k): v for k, v in row.items()}
                for row in slide.profiles.to_dict("records")
            ]
            rows["fingerprints"].append(
                {
                    "slide": name,
                    "pixels_sha256": hashlib.sha256(slide.picture.tobytes()).hexdigest(),
                    "truth_sha256": fingerprint(slide.follicles),
                }
            )
    return rows


def fingerprint(follicles: Iterable[Follicle]) -> str:
    """SHA-256 of what is true of the follicles: outlines to 0.01 px, stage, health, countable and numbers.

    It does not depend on the format of the file that holds them. Corpora lutea are left out.
    """
    digest = hashlib.sha256()
    for f in as_written(f for f in follicles if f.stage is not Stage.CORPUS_LUTEUM):
        parts = [p for p in (f.outline, f.oocyte, f.nucleus, *f.fluid) if p is not None]
        corners = [get_coordinates(p).tolist() for p in parts]
        said = [f.section_id, f.stage, f.health, f.countable, sorted(f.other_numbers.items()), corners]
        digest.update(json.dumps(said).encode())
    return digest.hexdigest()


def _sample(rng: np.random.Generator, plan: CohortPlan, ovary: Ovary) -> tuple[list[Cut], int]:
    """Systematic sample of an ovary's sections with a random start, and its interval."""
    low, high = ovary.extent_z
    interval = round(plan.interval_of(high - low))
    cuts = series(ovary, thickness_um=plan.thickness_um, interval=interval, start=int(rng.integers(interval)))
    kept = [cut for cut in cuts if (border := section_outline(ovary, cut)) and border.area >= _MIN_SECTION_UM2]
    if not kept:  # the middle of the ovary is always large enough
        kept = [Cut(int((0 - low) / plan.thickness_um), -plan.thickness_um / 2, plan.thickness_um)]
    return kept, interval


def _nuclei(ovary: Ovary, stage: Stage) -> tuple[int, float]:
    """Number of follicles of a stage with a nucleus (atretic ones have none), and its mean height, µm."""
    f = ovary.follicles
    own = f["nucleus"][(f["stage"] == LADDER.index(stage)) & (f["nucleus"] > 0)]
    return len(own), round(float(2 * own.mean()), 3) if len(own) else 0.0
