"""Matrices of animals by rungs of the ladder: counts, and the exposure (how much of the animal was examined).

`count_matrices` makes a matrix of all animals of a mouse model; `designs.comparisons` takes from it the animals of each
comparison. The ladder has five rungs: transitional follicles count with primordial ones, preovulatory with antral ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, RUNGS, Stage
from follicle_stager.statistics.effects import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

#: Kind of counts: follicles with a visible nucleus, those of them that are not atretic, all outlines, or a table's own.
CountKind = Literal["countable", "healthy", "profiles", "given"]
KIND_WORDS: dict[CountKind, str] = {
    "countable": "follicles with a visible oocyte nucleus",
    "healthy": "follicles with a visible oocyte nucleus, without atretic ones",
    "profiles": "follicle profiles",
    "given": "follicles, from a table of counts",
}
# Smallest number of animals per group for estimates.
_LEAST_ANIMALS = 2


@dataclass(frozen=True)
class CountMatrix:
    """The counts of one comparison: animals of two groups.

    Attributes
    ----------
    model
        Name of the mouse model, as in the sample sheet.
    animals
        Names of the n animals.
    knockout
        Whether each animal is of the group that is compared with the reference, (n,) bool.
    counts
        Whole numbers, (n, 5); NaN if a stage cannot be seen on the slides.
    exposure
        Expected number of counted follicles per follicle of one ovary, up to a common factor, (n, 5); the models use
        it as an offset. See `count_matrices`.
    genotypes
        Names of control (the reference) and knockout.
    exposure_note
        Explanation of the exposure, in words.
    per
        What a count over its exposure is per: ``ovary``, ``section`` or ``animal``.
    profiles
        Outlines, whether or not they are counted, (n, 5); None if only counts are known.
    beside
        Counts and exposures, (n,) each, of profiles on no rung (``unsure``), and of dying ones on the ladder
        (``atretic``).
    group
        Name of the group that is compared with the reference, as in the sample sheet.
    title
        Name of the comparison, if there are several; else empty.
    stratum
        Treatment, age or other value that these animals share, if others of the study differ.
    stratum_value
        This value if it is a number.
    litters
        Litter of each animal, (n,) str; None if animals are independent.
    paired
        Whether the animals of each litter are compared with each other.
    batches
        Batch of each animal, (n,) str, if batches are held constant.
    notes
        What a reader must know of the design.
    sampling
        If the counts are those of an audit, the variances of their sampling errors, (n, 5); effects are then on the
        linear scale.
    audited
        What was audited, in words.
    seen_in_audit
        Numbers in the audited fields, (n, 5).
    """

    model: str
    animals: tuple[str, ...]
    knockout: NDArray[np.bool_]
    counts: NDArray[np.float64]
    exposure: NDArray[np.float64]
    genotypes: tuple[str, str] = ("control", "knockout")
    exposure_note: str = ""
    per: str = "animal"
    profiles: NDArray[np.float64] | None = None
    beside: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    group: str = "knockout"
    title: str = ""
    stratum: str = ""
    stratum_value: float | None = None
    litters: NDArray[np.str_] | None = None
    paired: bool = False
    batches: NDArray[np.str_] | None = None
    notes: tuple[str, ...] = ()
    sampling: NDArray[np.float64] | None = None
    audited: str = ""
    seen_in_audit: NDArray[np.float64] | None = None

    @property
    def comparison(self) -> str:
        """Name of the comparison in the tables."""
        return self.title or "study"

    @property
    def group_sizes(self) -> tuple[int, int]:
        """Numbers of control and knockout animals."""
        return int((~self.knockout).sum()), int(self.knockout.sum())

    def only(self, kept: NDArray[np.bool_]) -> CountMatrix:
        """The counts of some of the animals, (n,) bool."""
        return replace(
            self,
            knockout=self.knockout[kept],
            **rows_of(self, np.flatnonzero(kept).tolist()),
            litters=None if self.litters is None else self.litters[kept],
            batches=None if self.batches is None else self.batches[kept],
            sampling=None if self.sampling is None else self.sampling[kept],
            seen_in_audit=None if self.seen_in_audit is None else self.seen_in_audit[kept],
        )

    @property
    def units(self) -> tuple[str, ...]:
        """What is independent: the animal, or its litter with its group, (n,)."""
        if self.litters is None:
            return self.animals
        groups = np.where(self.knockout, "knockout", "control")
        return tuple(f"{litter}, {group}" for litter, group in zip(self.litters, groups, strict=True))

    def by_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the animals of each unit: (..., n, 5) to (..., units, 5)."""
        return np.asarray(np.einsum("un,...nr->...ur", self._of_unit, values))

    @cached_property
    def _of_unit(self) -> NDArray[np.float64]:
        """Which animals are of each unit, (units, n); units in the order of their first animals."""
        names = list(dict.fromkeys(self.units))
        return np.asarray(np.array(names)[:, None] == np.array(self.units), np.float64)

    @cached_property
    def layout(self) -> Layout:
        """The groups of units, their litters if they are paired, and the batches that are held constant."""
        knockout = self.of_units(self.knockout)
        pairs = beside = None
        if self.paired and self.litters is not None:
            pairs = np.unique(self.of_units(self.litters), return_inverse=True)[1]
        if self.batches is not None:
            beside = indicators(self.of_units(self.batches))
        return Layout((knockout, ~knockout), beside=beside, pairs=pairs)

    def of_units(self, values: NDArray[Any]) -> NDArray[Any]:
        """What the animals of each unit share: (n,) to (units,)."""
        return np.asarray(values[self._of_unit.argmax(axis=1)])

    @property
    def enough(self) -> bool:
        """Whether both groups have enough animals for a test."""
        return min(self.group_sizes) >= _LEAST_ANIMALS and min(self.layout.free) > 0.5

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether each rung can be seen in all animals, (5,) bool."""
        return np.asarray(np.isfinite(self.counts).all(axis=0))


def rows_of(table: CountMatrix | AllCounts, rows: Sequence[int]) -> dict[str, Any]:
    """The columns that both tables have, for some of their animals."""
    own = list(rows)
    return {
        "animals": tuple(table.animals[i] for i in own),
        "counts": table.counts[own],
        "exposure": table.exposure[own],
        "profiles": None if table.profiles is None else table.profiles[own],
        "beside": {name: (counts[own], exposure[own]) for name, (counts, exposure) in table.beside.items()},
    }


def indicators(values: NDArray[np.str_]) -> NDArray[np.float64]:
    """Columns that hold batches or other categories constant: one for each but the first, (n, categories - 1)."""
    columns = [values == value for value in sorted(set(values))[1:]]
    return np.asarray(columns, np.float64).reshape(len(columns), len(values)).T


@dataclass(frozen=True)
class AllCounts:
    """The counts of all animals of a mouse model: as `CountMatrix`, with group and genotype of each animal, (n,)."""

    model: str
    animals: tuple[str, ...]
    groups: tuple[str, ...]
    genotypes: tuple[str, ...]
    counts: NDArray[np.float64]
    exposure: NDArray[np.float64]
    exposure_note: str = ""
    per: str = "animal"
    profiles: NDArray[np.float64] | None = None
    beside: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    #: For messages: where the animals are described, and where parameters are.
    source: str = "samples.csv"
    settings: str = "[comparison] of study.toml"

    @property
    def name(self) -> str:
        """The model in words."""
        return self.model or ("the study" if self.source == "samples.csv" else "the table")


def count_matrices(animal: pd.DataFrame, *, kind: CountKind = "countable") -> list[AllCounts]:
    """Make the matrices of all mouse models from the counts by animal.

    The exposure of an animal is the sum of 1/k over its ovaries, where k is the sampling interval. For countable
    follicles, it is multiplied by (T + h)/T, where T is the section thickness and h the height of the nuclei of the
    stage (the inverse of Abercrombie's correction). If no interval is known, it is the number of sections, so that
    counts are per section.

    Parameters
    ----------
    animal
        Table ``counts_by_animal`` of a study.
    kind
        Kind of counts.

    Returns
    -------
    list of AllCounts
        One matrix per mouse model.

    Raises
    ------
    UserError
        If only some animals of a model have an interval or a thickness.
    """
    return [_matrix(str(model), rows, kind) for model, rows in animal.groupby("model", sort=False, dropna=False)]


def _matrix(model: str, rows: pd.DataFrame, kind: CountKind) -> AllCounts:
    name = model or "the study"
    who = rows.drop_duplicates("animal").set_index("animal")
    by_stage = {str(stage): part.set_index("animal").reindex(who.index) for stage, part in rows.groupby("stage")}
    counts, profiles = (
        np.column_stack(
            [
                np.sum([by_stage[stage.value][column].astype(float) for stage in stages], axis=0)
                for stages in RUNGS.values()
            ]
        )
        for column in (f"n_{kind}", "n_profiles")
    )
    exposure, sampled, note = _exposure(who, by_stage, kind, name)
    per = "section" if who["ovaries_sampled"].isna().all() else "ovary"
    if kind == "profiles" and per == "ovary":
        # Profiles are no number of follicles. The same offsets, counted in sections:
        exposure = exposure * who["sections"].sum() / sampled.sum()
        note, per = "profiles per section, a large follicle shows in several", "section"
    beside = {
        "unsure": by_stage[Stage.UNSURE.value]["n_profiles"].to_numpy(np.float64),
        "atretic": _of_stages_that_all_show([by_stage[s.value]["n_atretic"].astype(float) for s in LADDER]),
    }
    return AllCounts(
        model=model,
        animals=tuple(map(str, who.index)),
        groups=tuple(map(str, who["group"])),
        genotypes=tuple(map(str, who["genotype"])),
        counts=counts,
        exposure=exposure,
        exposure_note=note,
        per=per,
        profiles=profiles,
        beside={name: (own, sampled) for name, own in beside.items()},
    )


def _exposure(
    who: pd.DataFrame, by_stage: dict[str, pd.DataFrame], kind: CountKind, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Exposures by rung, exposure for profiles, and how they were calculated, in words."""
    sampled = who["ovaries_sampled"].to_numpy(np.float64)
    if np.isnan(sampled).all():
        sections = who["sections"].to_numpy(np.float64)
        per_section = np.asarray(np.repeat(sections[:, None], len(RUNGS), axis=1), np.float64)
        return per_section, sections, "follicles per section (no sampling interval is known)"
    if np.isnan(sampled).any():
        without = ", ".join(str(a) for a in who.index[np.isnan(sampled)])
        raise UserError(
            f"samples.csv, column interval: of {name}, animals {without} have no sampling interval, or several in one "
            "ovary, but others have one; write one for each ovary, or none at all."
        )
    exposure = np.asarray(np.repeat(sampled[:, None], len(RUNGS), axis=1), np.float64)
    uncorrected = exposure.copy(), sampled, "counts times the sampling interval"
    thickness = who["thickness_um"].to_numpy(np.float64)
    if kind == "profiles" or np.isnan(thickness).all():
        return uncorrected
    differ = len(set(thickness)) > 1
    if np.isnan(thickness).any():
        without = ", ".join(str(a) for a in who.index[np.isnan(thickness)])
        raise UserError(
            f"samples.csv, column thickness_um: of {name}, animals {without} have no thickness, or several, but others "
            "have one; write one for each animal, or none at all."
        )
    unknown = []
    for column, (rung, stages) in enumerate(RUNGS.items()):
        heights = by_stage[stages[0].value]["nucleus_height_um"].astype(float).to_numpy()
        if np.isfinite(heights).all():
            exposure[:, column] *= (thickness + heights) / thickness
        elif any(by_stage[stage.value][f"n_{kind}"].astype(float).sum() for stage in stages):
            unknown.append(rung)
    if not unknown:
        note = "countable follicles times the sampling interval, corrected for section thickness (Abercrombie)"
        return exposure, sampled, note
    words = ", ".join(rung.replace("_", " ") for rung in unknown)
    if differ:
        raise UserError(
            f"samples.csv, column thickness_um: sections of {name} differ in thickness, but too few nuclei were "
            f"measured for the height of these stages: {words}. Give it as counting.nucleus_height_um in study.toml."
        )
    # If all sections have the same thickness, the factor is the same in both groups.
    why = f"not corrected for section thickness (the same for all), as too few nuclei were measured ({words})"
    return uncorrected[0], sampled, f"{uncorrected[2]}, {why}"


def _of_stages_that_all_show(stages: list[pd.Series[float]]) -> NDArray[np.float64]:
    """Sum over the stages that can be seen in all animals."""
    values = np.array([stage.to_numpy(np.float64) for stage in stages])
    return np.asarray(values[np.isfinite(values).all(axis=1)].sum(axis=0), np.float64)
