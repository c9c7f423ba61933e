"""Matrices of animals by rungs of the ladder: counts, and the exposure (how much of the animal was examined).

The ladder has five rungs: transitional follicles count with primordial ones, preovulatory with antral ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from follicle_stager.errors import UserError
from follicle_stager.stages import LADDER, RUNGS, Stage

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Kind of counts: follicles with a visible nucleus, those of them that are not atretic, all outlines, or a table's own.
CountKind = Literal["countable", "healthy", "profiles", "given"]
KIND_WORDS: dict[CountKind, str] = {
    "countable": "follicles with a visible oocyte nucleus",
    "healthy": "follicles with a visible oocyte nucleus, without atretic ones",
    "profiles": "follicle profiles",
    "given": "follicles as counted in the table",
}
# Smallest number of animals per group for estimates.
_LEAST_ANIMALS = 2


@dataclass(frozen=True)
class CountMatrix:
    """The counts of one mouse model.

    Attributes
    ----------
    model
        Name of the model, as in the sample sheet.
    animals
        Names of the n animals.
    knockout
        Whether each animal is a knockout, (n,) bool.
    counts
        Whole numbers, (n, 5); NaN if a stage cannot be seen on the slides.
    exposure
        Expected number of counted follicles per follicle of one ovary, up to a common factor, (n, 5); the models use
        it as an offset. See `count_matrices`.
    genotypes
        Names of control and knockout.
    exposure_note
        Explanation of the exposure, in words.
    profiles
        Outlines, whether or not they are counted, (n, 5); None if only counts are known.
    beside
        Counts and exposures, (n,) each, of profiles on no rung (``unsure``), and of dying ones on the ladder
        (``atretic``).
    """

    model: str
    animals: tuple[str, ...]
    knockout: NDArray[np.bool_]
    counts: NDArray[np.float64]
    exposure: NDArray[np.float64]
    genotypes: tuple[str, str] = ("control", "knockout")
    exposure_note: str = ""
    profiles: NDArray[np.float64] | None = None
    beside: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    @property
    def group_sizes(self) -> tuple[int, int]:
        """Numbers of control and knockout animals."""
        return int((~self.knockout).sum()), int(self.knockout.sum())

    @property
    def enough(self) -> bool:
        """Whether both groups have enough animals for a test."""
        return min(self.group_sizes) >= _LEAST_ANIMALS

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether each rung can be seen in all animals, (5,) bool."""
        return np.asarray(np.isfinite(self.counts).all(axis=0))


def count_matrices(animal: pd.DataFrame, *, kind: CountKind = "countable") -> list[CountMatrix]:
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
    list of CountMatrix
        One matrix per mouse model.

    Raises
    ------
    UserError
        If a model lacks controls or knockouts, has several genotypes in a group, or only some animals have an interval
        or a thickness.
    """
    return [_matrix(str(model), rows, kind) for model, rows in animal.groupby("model", sort=False, dropna=False)]


def _matrix(model: str, rows: pd.DataFrame, kind: CountKind) -> CountMatrix:
    name = model or "the study"
    who = rows.drop_duplicates("animal").set_index("animal")
    for group in ("control", "knockout"):
        genotypes = sorted(set(who.loc[who["group"] == group, "genotype"]))
        if not genotypes:
            raise UserError(
                f"samples.csv, column group: {name} has no {group} animal, so there is nothing to compare; give each "
                "model its own controls (column model)."
            )
        if len(genotypes) > 1:
            raise UserError(
                f"samples.csv, column genotype: the {group} animals of {name} have {len(genotypes)} genotypes "
                f"({', '.join(genotypes)}); write one, or give each a model of its own (column model)."
            )
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
    beside = {
        "unsure": by_stage[Stage.UNSURE.value]["n_profiles"].to_numpy(np.float64),
        "atretic": _of_stages_that_all_show([by_stage[s.value]["n_atretic"].astype(float) for s in LADDER]),
    }
    return CountMatrix(
        model=model,
        animals=tuple(map(str, who.index)),
        knockout=(who["group"] == "knockout").to_numpy(),
        counts=counts,
        exposure=exposure,
        genotypes=tuple(str(who.loc[who["group"] == g, "genotype"].iloc[0]) for g in ("control", "knockout")),  # type: ignore[arg-type]
        exposure_note=note,
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
