"""The plan of an audit: all fields of the tissue, what is claimed in them, and which of them are drawn.

Each section is divided into square fields by a grid with a random offset. A follicle belongs to the field that holds
its reference point: the centre of the oocyte nucleus if it is visible, else the centre of the outline. So each follicle
belongs to exactly one field, however large it is (the associated-point rule of stereology: Miles 1978; Howard and Reed,
*Unbiased Stereology*, 2005, chapter 2).

``audit/`` in the study folder::

    plan.json     seed, shares and times of the plan
    fields.csv    every field: animal, place, stratum, chance of being drawn, its visits
    claims.csv    every follicle that was claimed when the plan was made, with its field
    log.jsonl     what was seen in the fields, see `record`

The claims are frozen: later corrections change the counts of the study, but not what the audit is compared with.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from shapely import box, distance, intersects, prepare
from shapely.geometry import Point

from follicle_stager.audit.sampling import LEAST_IN_STRATUM, draw, fields_to_draw, strata_of
from follicle_stager.errors import StudyError, UserError
from follicle_stager.files import parse_json, plain_cell, read_text, write_csv, write_text
from follicle_stager.stages import OUTLINED, Stage, Status
from follicle_stager.study import Tally
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.config import AuditConfig
    from follicle_stager.pixel_size import PixelSize
    from follicle_stager.records import Follicle, Section
    from follicle_stager.study import Study

FOLDER = "audit"
#: Strata, and the stages whose claims put a field into them; the last one that applies counts.
STRATA: dict[str, tuple[Stage, ...]] = {
    "no claim": (),
    "resting": (Stage.PRIMORDIAL, Stage.TRANSITIONAL),
    "preantral": (Stage.UNSURE, Stage.PRIMARY, Stage.SECONDARY),
    "antral or luteal": (Stage.EARLY_ANTRAL, Stage.ANTRAL, Stage.PREOVULATORY, Stage.CORPUS_LUTEUM),
}
_KEYS = ["model", "group", "genotype", "animal"]
#: Columns with the borders of a field, level-0 pixels.
BORDERS = ("left_px", "top_px", "right_px", "bottom_px")
_FIELD_TEXTS = ("field", *_KEYS, "slide", "section", "stratum")
_CLAIM_TEXTS = ("field", "follicle_id", "stage", "health", "countable")
_RESTORE = "Restore the folder audit from a copy."
# What plan.json must hold, and its types.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "made", "fields.csv", "claims.csv"), str),
    **dict.fromkeys(("seed", "repeats"), int),
    **dict.fromkeys(("share", "field_um"), (int, float)),
    "extended": list,
}
# Largest difference of extended plans that is no extension.
_SAME = 1e-9


@dataclass(frozen=True)
class AuditPlan:
    """The plan of an audit.

    Attributes
    ----------
    fields
        All fields: ``field`` (name), animal, ``slide``, ``section``, borders ``left_px`` to ``bottom_px`` (level-0
        pixels), ``stratum``, ``chance`` of being drawn, and the places of its first and second visit in the order of
        the audit (``visit``, ``again``; NaN without a visit).
    claims
        Follicles as they were when the plan was made: ``field``, ``follicle_id``, reference point ``x_px``, ``y_px``,
        ``diameter_um``, ``stage``, ``health``, ``countable``.
    settings
        ``id`` of the plan, ``seed``, ``share``, ``field_um``, ``repeats``, ``made``, ``author``, ``software``,
        ``extended``.
    """

    fields: pd.DataFrame
    claims: pd.DataFrame
    settings: dict[str, Any]

    @cached_property
    def visits(self) -> list[tuple[str, bool]]:
        """Names of the fields in the order of their visits, and whether it is the second visit."""
        first = self.fields.loc[self.fields["visit"].notna(), ["field", "visit"]].assign(again=False)
        second = self.fields.loc[self.fields["again"].notna(), ["field", "again"]]
        second = second.rename(columns={"again": "visit"}).assign(again=True)
        ordered = pd.concat([first, second]).sort_values("visit")
        return list(zip(ordered["field"], ordered["again"].astype(bool), strict=True))

    def extended(self, share: float) -> AuditPlan:
        """The same plan with more fields; those that are drawn already stay."""
        return _drawn(self, share)

    def write(self, study: Study) -> None:
        """Write the plan into the study; ``plan.json`` is written last and makes it valid."""
        folder = study.path / FOLDER
        write_csv(folder / "fields.csv", self.fields)
        write_csv(folder / "claims.csv", self.claims)
        known = {name: _fingerprint(folder / name) for name in ("fields.csv", "claims.csv")}
        write_text(folder / "plan.json", json.dumps(self.settings | known, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, study: Study) -> AuditPlan | None:
        """Read the plan of a study; None if there is none.

        Raises
        ------
        UserError
            If a file is missing or damaged.
        """
        folder = study.path / FOLDER
        if not (folder / "plan.json").exists():
            if (folder / "fields.csv").exists() or (folder / "log.jsonl").exists():
                raise StudyError(
                    f"{folder / 'plan.json'}: this file is missing. {_RESTORE} Or move the folder away, to plan a new "
                    "audit."
                )
            return None
        settings = parse_json(read_text(folder / "plan.json"), str(folder / "plan.json"))
        whole = isinstance(settings, dict) and all(
            isinstance(settings.get(name), kind) for name, kind in _SETTINGS.items()
        )
        if not whole:
            raise StudyError(f"{folder / 'plan.json'}: this is no plan of an audit. {_RESTORE}")
        for name in ("fields.csv", "claims.csv"):
            if settings[name] != _fingerprint(folder / name):
                raise StudyError(f"{folder / name}: this file was changed since the audit was planned. {_RESTORE}")
        fields, claims = _table(folder / "fields.csv", _FIELD_TEXTS), _table(folder / "claims.csv", _CLAIM_TEXTS)
        # Names that a spreadsheet would take for a formula are disarmed in the file.
        names = {plain_cell(slide_id): slide_id for slide_id in study.slide_ids()}
        return cls(fields.assign(slide=fields["slide"].replace(names)), claims, settings)


def plan_audit(study: Study, *, config: AuditConfig | None = None, seed: int = 0, author: str = "") -> AuditPlan:
    """Divide the tissue of every animal into fields, and draw those to audit. Nothing is written.

    Parameters
    ----------
    study
        Study with finished slides and a sample sheet.
    config
        Size and share of the fields; by default, those of the study.
    seed
        Seed of the grids and the draw.
    author
        Name of the person who makes the plan.

    Raises
    ------
    UserError
        If the study cannot be counted.
    """
    config = config or study.config.audit
    rng = np.random.default_rng(seed)
    fields: list[dict[str, object]] = []
    claims: list[dict[str, object]] = []
    tally = Tally(study)
    for slide_id in study.slide_ids():
        size, content = study.pixel_size(slide_id), study.content(slide_id)
        for assigned in tally.assigned(slide_id, content.sections):
            keys = {name: str(assigned.keys()[name]) for name in [*_KEYS, "slide"]}
            for piece in assigned.pieces:
                own = [f for f in content.follicles if f.section_id == piece.section_id]
                cells = _grid(piece, config.field_um, size, rng)
                fields += [keys | cell for cell in cells]
                claims += _claims_of(own, cells, size)
    if not fields:
        raise StudyError(
            f"{study.path}: no section is included in the counts; include some in 'follicle-stager review'."
        )
    plan = AuditPlan(
        pd.DataFrame(fields).sort_values(_KEYS, kind="stable", ignore_index=True),
        pd.DataFrame(claims, columns=["field", "follicle_id", "x_px", "y_px", "diameter_um", *_CLAIM_TEXTS[2:]]),
        {
            "id": uuid.uuid4().hex,
            "seed": seed,
            "share": 0.0,
            "field_um": config.field_um,
            "repeats": config.repeats,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "author": author,
            "software": f"follicle-stager {__version__}",
            "extended": [],
        },
    )
    return _drawn(_with_strata(plan), config.share)


def plan_id(study: Study) -> str:
    """The id of the plan of a study; empty if there is none or it is damaged."""
    path = study.path / FOLDER / "plan.json"
    settings = parse_json(read_text(path), str(path)) if path.exists() else {}
    return str(settings.get("id", "")) if isinstance(settings, dict) else ""


def reference_point(follicle: Follicle) -> tuple[float, float]:
    """The point that decides to which field a follicle belongs, level-0 pixels: oocyte nucleus, else the centre."""
    centre = (follicle.nucleus or follicle.outline).centroid
    return centre.x, centre.y


def counts_by_field(plan: AuditPlan, rows: pd.DataFrame, columns: dict[str, pd.Series[Any]]) -> NDArray[np.float64]:
    """Count objects in each field of a plan, (fields, columns).

    Parameters
    ----------
    plan
        The plan.
    rows
        Objects, with their ``field``.
    columns
        For each column, which objects it counts.
    """
    place = {name: i for i, name in enumerate(plan.fields["field"])}
    where = rows["field"].map(place).to_numpy(np.intp) if len(rows) else np.zeros(0, np.intp)
    counted = np.zeros((len(plan.fields), len(columns)))
    for column, chosen in enumerate(columns.values()):
        np.add.at(counted[:, column], where[chosen.to_numpy(bool)], 1.0)
    return counted


def _grid(section: Section, field_um: float, size: PixelSize, rng: np.random.Generator) -> list[dict[str, object]]:
    """Fields of a section that hold tissue, with a random offset of the grid."""
    width, height = field_um / size.mpp_x, field_um / size.mpp_y
    left, top, right, bottom = section.outline.bounds
    left, top = left - rng.uniform(0, width), top - rng.uniform(0, height)
    columns, rows = int((right - left) // width) + 1, int((bottom - top) // height) + 1
    prepare(section.outline)
    cells: list[dict[str, object]] = []
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * width, top + row * height
            if intersects(section.outline, box(x, y, x + width, y + height)):
                borders = dict(zip(BORDERS, np.round([x, y, x + width, y + height], 2).tolist(), strict=True))
                name = {"field": f"{section.section_id}.{row}.{column}", "section": section.section_id}
                cells.append({**name, **borders})
    return cells


def _claims_of(follicles: list[Follicle], cells: list[dict[str, object]], size: PixelSize) -> list[dict[str, object]]:
    """Claims with their fields; a reference point outside all fields goes to the nearest one."""
    borders = np.array([[cell[name] for name in BORDERS] for cell in cells], np.float64)
    boxes = box(*borders.T.tolist())
    rows = []
    for follicle in follicles:
        if follicle.status == Status.REJECTED or follicle.stage not in OUTLINED:
            continue
        x, y = reference_point(follicle)
        nearest = cells[int(np.argmin(distance(boxes, Point(x, y))))]
        area_um2 = follicle.outline.area * size.mpp_x * size.mpp_y
        rows.append(
            {
                "field": nearest["field"],
                "follicle_id": follicle.id,
                "x_px": round(x, 2),
                "y_px": round(y, 2),
                "diameter_um": round(2 * float(np.sqrt(area_um2 / np.pi)), 2),
                "stage": follicle.stage.value,
                "health": follicle.health.value,
                "countable": follicle.countable.value,
            }
        )
    return rows


def _claims_by_stage(plan: AuditPlan) -> NDArray[np.float64]:
    """Claims of each stage in each field, (fields, stages)."""
    return counts_by_field(plan, plan.claims, {s.value: plan.claims["stage"] == s.value for s in OUTLINED})


def _with_strata(plan: AuditPlan) -> AuditPlan:
    counts = _claims_by_stage(plan)
    groups = [[OUTLINED.index(stage) for stage in stages] for stages in list(STRATA.values())[1:]]
    names = np.array(list(STRATA))[strata_of(counts, groups)]
    empty = {"chance": 0.0, "visit": np.nan, "again": np.nan}
    return replace(plan, fields=plan.fields.assign(stratum=names, **empty))


def _drawn(plan: AuditPlan, share: float) -> AuditPlan:
    """Draw fields up to a share; fields that are drawn already stay, with their visits."""
    before = float(plan.settings["share"])
    if share <= before + _SAME:
        raise UserError(f"The plan covers {before:.0%} of the fields already; give a larger share to extend it.")
    rng = np.random.default_rng([int(plan.settings["seed"]), len(plan.settings["extended"]), 1])
    fields, counts = plan.fields.copy(), _claims_by_stage(plan)
    early: list[int] = []
    late: list[int] = []
    for _, own in fields.groupby(["model", "animal"], sort=False):
        rows = own.index.to_numpy()
        names, strata = np.unique(own["stratum"], return_inverse=True)
        wanted = fields_to_draw(strata, counts[rows], share)
        known = own["visit"].notna().to_numpy()
        wanted = np.maximum(wanted, np.bincount(strata, known, len(names)).astype(int))
        fields.loc[rows, "chance"] = (wanted / np.bincount(strata))[strata]
        new = wanted - np.bincount(strata, known, len(names)).astype(int)
        free = np.flatnonzero(~known)
        chosen = rows[free[draw(strata[free], new, rng)]]
        # The first of each stratum come early, so that an audit that is closed early has an estimate of each animal.
        for stratum in names:
            inside = [int(i) for i in chosen if fields["stratum"].loc[i] == stratum]
            first = 0 if known.any() else LEAST_IN_STRATUM
            early, late = early + inside[:first], late + inside[first:]
    order = [*rng.permutation(np.array(early, int)).tolist(), *rng.permutation(np.array(late, int)).tolist()]
    return _with_visits(replace(plan, fields=fields), order, share, rng)


def _with_visits(plan: AuditPlan, order: list[int], share: float, rng: np.random.Generator) -> AuditPlan:
    """Add visits after those that are planned; the repeats lie at random places in the second half."""
    fields, settings = plan.fields, plan.settings
    start = int(np.nan_to_num(fields[["visit", "again"]].max().max(), nan=0.0))
    again = []
    if not fields["again"].notna().any():
        again = rng.permutation(np.array(order[: max(len(order) // 2, 1)], int))[: int(settings["repeats"])].tolist()
    places = rng.permutation(np.arange(len(again) + (len(order) + 1) // 2))[: len(again)]
    sequence: list[tuple[str, int]] = [("visit", row) for row in order]
    later = iter(again)
    tail: list[tuple[str, int]] = []
    first_of_tail = iter(sequence[len(order) // 2 :])
    for place in range(len(again) + len(sequence) - len(order) // 2):
        tail.append(("again", next(later)) if place in places else next(first_of_tail))
    for number, (column, row) in enumerate([*sequence[: len(order) // 2], *tail], start=start + 1):
        fields.loc[row, column] = number
    now = datetime.now(UTC).isoformat(timespec="seconds")
    extended = [*settings["extended"], {"share": share, "time": now, "fields": len(order)}]
    return replace(plan, fields=fields, settings=settings | {"share": share, "extended": extended})


def _fingerprint(path: Path) -> str:
    """SHA-256 of a file; empty if it is missing."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _table(path: Path, texts: tuple[str, ...]) -> pd.DataFrame:
    try:
        return pd.read_csv(
            path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values={"visit": ["NA"], "again": ["NA"]}
        )
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: this file of the audit cannot be read ({error}). {_RESTORE}") from None
