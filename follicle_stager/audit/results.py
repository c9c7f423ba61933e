"""What an audit says: counts of each animal with their errors, and the accuracy of the software on this study.

Only first visits count. All shares are expanded to the tissue of the animals: a field that was drawn with a chance of
1/10 counts ten times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from follicle_stager.audit.accuracy import NONE, accuracy_of
from follicle_stager.audit.estimates import AuditedAnimal, all_totals
from follicle_stager.audit.plan import AuditPlan, counts_by_field
from follicle_stager.audit.record import AuditRecord, Seen, claims_by_field, compared, found
from follicle_stager.audit.sampling import LEAST_IN_STRATUM
from follicle_stager.errors import UserError
from follicle_stager.files import plain_cell
from follicle_stager.stages import OUTLINED, Countable, Health, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from follicle_stager.study import Study

    Values = NDArray[np.float64]

#: Fewest audited follicles of a stage for an interval of a single animal; with fewer, the audit has too few.
LEAST_FOLLICLES = 10
#: Fewest fields that were visited twice, for an agreement.
LEAST_REPEATS = 20
#: What is counted, by the names of the count tables.
COUNTED: dict[str, Callable[[pd.DataFrame], pd.Series[bool]]] = {
    "profiles": lambda rows: rows["stage"].notna(),
    "countable": lambda rows: rows["countable"] == Countable.YES.value,
    "healthy": lambda rows: (rows["countable"] == Countable.YES.value) & (rows["health"] != Health.ATRETIC.value),
    "atretic": lambda rows: rows["health"] == Health.ATRETIC.value,
}
_ANIMAL = ["model", "group", "genotype", "animal"]
_COLUMNS = ["field", "stage", "health", "countable"]


@dataclass(frozen=True)
class AuditResult:
    """The audited fields of a study.

    Attributes
    ----------
    plan
        The plan.
    record
        The state of the audit.
    mpp
        Pixel size of each slide, µm/px.
    """

    plan: AuditPlan
    record: AuditRecord
    mpp: dict[str, float]

    @classmethod
    def of(cls, study: Study) -> AuditResult | None:
        """The audit of a study; None if there is none.

        Raises
        ------
        UserError
            If its files are damaged.
        """
        plan = AuditPlan.read(study)
        if plan is None:
            return None
        mpp = {slide: study.pixel_size(slide).mpp for slide in plan.fields["slide"].unique()}
        return cls(plan, AuditRecord.read(study), mpp)

    @cached_property
    def audited(self) -> list[str]:
        """Fields whose first visit is finished."""
        return [name for name, again in self.record.done(self.plan) if not again]

    def with_groups(self, section: pd.DataFrame) -> AuditResult:
        """The same fields with the current models, groups and genotypes of the animals.

        Parameters
        ----------
        section
            Counts by section of the study.
        """
        now = section.assign(piece=section["pieces"].str.split()).explode("piece").drop_duplicates("piece")
        now = now.set_index("piece")[_ANIMAL].map(plain_cell).fillna("")
        fields = self.plan.fields.assign(**{name: self.plan.fields["section"].map(now[name]) for name in _ANIMAL})
        return replace(self, plan=replace(self.plan, fields=fields))

    def check_sections(self, section: pd.DataFrame) -> None:
        """Check that the sections that are counted are those of the plan, with the same animals.

        Parameters
        ----------
        section
            Counts by section of the study.

        Raises
        ------
        UserError
            If a section was assigned, merged, cut, left out or included since the plan was made.
        """
        now = {
            (piece, plain_cell(str(animal)))
            for pieces, animal in zip(section["pieces"], section["animal"], strict=True)
            for piece in str(pieces).split()
        }
        planned = set(zip(self.plan.fields["section"], self.plan.fields["animal"], strict=True))
        if now != planned:
            changed = sorted({piece for piece, _ in now ^ planned})
            raise UserError(
                "Sections were assigned, merged, cut or left out, or animals were renamed in the sample sheet, after "
                f"the audit was planned: {', '.join(changed)}. Take this back; or move the folder audit away, and plan "
                "a new audit."
            )

    @property
    def progress(self) -> str:
        """How far the audit is, in words."""
        visits = self.plan.visits
        return f"{len(self.record.done(self.plan))} of {len(visits)} visits of the audit are finished."

    @property
    def sizes(self) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """Number of fields of each animal, and of those that are audited, (animals,) each."""
        animals = self.fields_of(lambda rows: {})
        return np.array([len(a.strata) for a in animals]), np.array([len(a.audited) for a in animals])

    @cached_property
    def animals(self) -> pd.DataFrame:
        """The animals, one row each."""
        return self.plan.fields.drop_duplicates(["model", "animal"])[_ANIMAL].reset_index(drop=True)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.plan.fields["field"])}

    @cached_property
    def _claims(self) -> dict[str, list[Seen]]:
        return claims_by_field(self.plan)

    def _of_animal(self, model: Any, animal: Any) -> NDArray[np.bool_]:
        """Which fields are of an animal."""
        return (self.plan.fields["model"].eq(model) & self.plan.fields["animal"].eq(animal)).to_numpy(bool)

    def _mpp_of(self, name: str) -> float:
        return self.mpp[str(self.plan.fields["slide"].iloc[self._places[name]])]

    def _found(self, name: str, *, again: bool = False) -> list[Seen]:
        return found(self.record.visits[name, again], self._claims.get(name, []), self._mpp_of(name))

    @cached_property
    def found(self) -> pd.DataFrame:
        """Follicles and corpora lutea in the audited fields, one row each."""
        rows = [
            {"field": name, "stage": seen.stage.value, "health": seen.health.value, "countable": seen.countable.value}
            for name in self.audited
            for seen in self._found(name)
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def fields_of(
        self, columns: Callable[[pd.DataFrame], dict[str, pd.Series[bool]]], *, least: int = LEAST_IN_STRATUM
    ) -> list[AuditedAnimal]:
        """The fields of each animal, with the objects that are counted in each column.

        Parameters
        ----------
        columns
            Function that says for each column which rows of claims or findings are counted.
        least
            Fewest audited fields of each stratum of an animal that has so many; without them there is no estimate.

        Raises
        ------
        UserError
            If a stratum has too few audited fields.
        """
        claims = counts_by_field(self.plan, self.plan.claims, columns(self.plan.claims))
        truth = counts_by_field(self.plan, self.found, columns(self.found))
        done = np.isin(self.plan.fields["field"], self.audited)
        strata = self.plan.fields["stratum"].to_numpy(str)
        animals, short = [], 0
        for row in self.animals.itertuples(index=False):
            own = self._of_animal(row.model, row.animal)
            audited = np.flatnonzero(done[own])
            places = np.unique(strata[own], return_inverse=True)[1]
            sizes = np.bincount(places)
            short += int(
                np.maximum(np.minimum(sizes, least) - np.bincount(places[audited], minlength=len(sizes)), 0).sum()
            )
            animals.append(AuditedAnimal(places, claims[own], audited, truth[own][audited]))
        if short:
            raise UserError(
                f"{self.progress} At least {least} fields of each kind are needed for every animal: {short} are "
                "missing, and come next. Go on with the audit."
            )
        return animals

    @staticmethod
    def columns(
        counted: str, groups: Sequence[Iterable[Stage]]
    ) -> Callable[[pd.DataFrame], dict[str, pd.Series[bool]]]:
        """Columns for `fields_of`: one for each group of stages; parameters as those of `totals`."""
        names = [[stage.value for stage in group] for group in groups]

        def of(rows: pd.DataFrame) -> dict[str, pd.Series[bool]]:
            kept = COUNTED[counted](rows)
            return {str(i): rows["stage"].isin(own) & kept for i, own in enumerate(names)}

        return of

    def totals(self, counted: str, groups: Sequence[Iterable[Stage]]) -> tuple[Values, Values, Values, Values]:
        """Estimated totals, variances of their sampling errors, predictions, and audited numbers.

        Parameters
        ----------
        counted
            What is counted: a key of `COUNTED`.
        groups
            Stages that are counted together.

        Returns
        -------
        tuple of ndarray
            (animals, groups) each, animals as in ``animals``.
        """
        animals = self.fields_of(self.columns(counted, groups))
        totals, variances = all_totals(animals)
        predicted = np.array([a.claims.sum(axis=0) for a in animals])
        return totals, variances, predicted, np.array([a.found.sum(axis=0) for a in animals])

    def table(self) -> pd.DataFrame:
        """Counts by animal and stage, as they are written: predicted and audited, with errors and intervals."""
        parts = []
        fields, audited = self.sizes
        for counted in COUNTED:
            totals, variances, predicted, seen = self.totals(counted, [[stage] for stage in OUTLINED])
            for i, stage in enumerate(OUTLINED):
                se = np.sqrt(variances[:, i])
                enough = seen[:, i] >= LEAST_FOLLICLES
                reach = np.where(enough, ndtri(0.975) * se, np.nan)
                parts.append(
                    self.animals.assign(
                        stage=stage.value,
                        counted=counted,
                        predicted=predicted[:, i].astype(int),
                        estimated=totals[:, i].round(2),
                        se=np.where(enough, se, np.nan).round(2),
                        low=(totals[:, i] - reach).round(2),
                        high=(totals[:, i] + reach).round(2),
                        seen=seen[:, i].astype(int),
                        audited_fields=audited,
                        fields=fields,
                        note=np.where(enough, "", "too few"),
                    )
                )
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def _weights(self) -> dict[str, float]:
        """For how many fields each audited field stands."""
        weights: dict[str, float] = {}
        for row, animal in zip(self.animals.itertuples(index=False), self.fields_of(lambda rows: {}), strict=True):
            own = self._of_animal(row.model, row.animal)
            names = self.plan.fields.loc[own, "field"].to_numpy(str)[animal.audited]
            weights |= dict(zip(names.tolist(), animal.expansion.tolist(), strict=True))
        return weights

    @cached_property
    def _pairs(self) -> pd.DataFrame:
        """Claims and findings in the audited fields, matched: one row each, with the weight of its field."""
        rows = []
        for name in self.audited:
            field = self.plan.fields.iloc[self._places[name]]
            for pair in compared(self._claims.get(name, []), self._found(name), self._mpp_of(name)):
                rows.append(
                    {key: field[key] for key in _ANIMAL}
                    | {"weight": self._weights[name], "claimed": _stage_of(pair.claim), "true": _stage_of(pair.mark)}
                )
        return pd.DataFrame(rows, columns=[*_ANIMAL, "weight", "claimed", "true"])

    def confusion(self) -> pd.DataFrame:
        """Expanded numbers by true stage (rows) and claimed stage (columns); ``none`` where there is no partner."""
        names = [*(s.value for s in OUTLINED), NONE]
        table = self._pairs.pivot_table("weight", "true", "claimed", "sum", fill_value=0.0)
        return table.reindex(index=names, columns=names, fill_value=0.0)

    def accuracy(self) -> pd.DataFrame:
        """Precision, recall, share of right stages and count error of each stage; see `accuracy_of`."""
        return accuracy_of(self._pairs, self.animals)

    def agreement(self) -> dict[str, float]:
        """Agreement of first and second visits: ``fields``, ``found`` (share of follicles in both), ``kappa``.

        ``found`` and ``kappa`` (Cohen's, of the stages of those in both) are NaN with fewer than 20 repeated fields.
        """
        both = [name for name, again in self.record.done(self.plan) if again and name in set(self.audited)]
        first: list[str] = []
        second: list[str] = []
        alone = 0
        for name in both:
            one, other = self._found(name), self._found(name, again=True)
            wide = [Seen(s.id, s.x_px, s.y_px, s.stage, s.health, s.countable, 2 * _SAME_UM) for s in one]
            for pair in compared(wide, other, self._mpp_of(name)):
                if pair.claim is None or pair.mark is None:
                    alone += 1
                else:
                    first.append(pair.claim.stage.value)
                    second.append(pair.mark.stage.value)
        enough = len(both) >= LEAST_REPEATS and bool(first)
        kappa = math.nan
        if enough and len({*first, *second}) > 1:
            from sklearn.metrics import cohen_kappa_score

            kappa = float(cohen_kappa_score(first, second))
        share = 2 * len(first) / (2 * len(first) + alone) if enough else math.nan
        return {"fields": float(len(both)), "found": share, "kappa": kappa}

    def unaided(self) -> float:
        """Share of the follicles of the fields that the person marked before the claims were shown; NaN if none."""
        seen = first = 0
        for name in self.audited:
            visit = self.record.visits[name, False]
            own = {mark.id for mark in visit.first or ()}
            there = self._found(name)
            seen, first = seen + len(there), first + sum(s.id in own for s in there)
        return first / seen if seen else math.nan

    def in_words(self) -> str:
        """How the counts were audited, as sentences for a methods section."""
        fields, done = self.sizes
        visits = [self.record.visits[name, False] for name in self.audited]
        readers = sorted({reader for visit in visits for reader in visit.readers})
        agreement, unaided = self.agreement(), self.unaided()
        blind = sum(visit.blind for visit in visits)
        said = [
            f"Counts were audited in {done.sum()} of {fields.sum()} square fields with a side of "
            f"{self.plan.settings['field_um']:g} µm ({done.min()} to {done.max()} of each animal). They were drawn at "
            "random from the tissue of every animal, stratified by what had been predicted in them.",
            f"{'One reader' if len(readers) == 1 else f'{len(readers)} readers'} visited the fields in random order; "
            + _blind(blind, len(visits)),
        ]
        hidden = sum(visit.hidden for visit in visits)
        if hidden == len(visits):
            before = "" if math.isnan(unaided) else f"; {unaided:.0%} of the follicles had been marked before"
            said.append(
                "In each field, follicles were first marked without the predictions, which were then shown, and "
                f"differences were settled{before}."
            )
        else:
            said.append(
                f"In {len(visits) - hidden} of {len(visits)} fields, the predictions were shown from the beginning, so "
                "follicles that both missed are under-found."
            )
        if not math.isnan(agreement["found"]):
            kappa = f"; Cohen's kappa of their stages was {agreement['kappa']:.2f}"
            kappa = "" if math.isnan(agreement["kappa"]) else kappa
            said.append(
                f"In {agreement['fields']:.0f} fields that were visited twice, {agreement['found']:.0%} of the "
                f"follicles were found both times{kappa}."
            )
        elif agreement["fields"] >= LEAST_REPEATS:
            said.append("No follicle was found in the fields that were visited twice, so no agreement is reported.")
        else:
            said.append(f"Fewer than {LEAST_REPEATS} fields were visited twice, so no agreement is reported.")
        for act in self.record.acts:
            if act["event"] == "reopen":
                said.append(f"The audit was opened again after its results could be seen ({act['reason']}).")
        early = [act for act in self.record.acts if act["event"] == "close" and act["fields"] < act["of"]]
        if early:
            said.append(f"The audit was closed before all {early[-1]['of']} planned visits were made.")
        if len(self.plan.settings["extended"]) > 1:
            said.append("The audit was extended after it had been planned.")
        said.append(
            "The number of follicles of each animal is the predicted number plus the differences in the audited "
            "fields, expanded by the inverse of their chances of being drawn (stratified difference estimator, with "
            "cross-fitted weights). Groups were compared by the ratio of their means with Fieller's interval."
        )
        return " ".join(said)


def _blind(blind: int, of: int) -> str:
    """How many visits were blind, in words."""
    if not blind:
        return "the reader could see the names of slides and animals."
    share = "all visits" if blind == of else f"{blind} of {of} visits"
    return (
        f"{share} were blind to the labels of slides, animals and groups (the tissue itself may still show a genotype)."
    )


# Largest distance between the marks of two visits of the same follicle, µm.
_SAME_UM = 15.0


def _stage_of(seen: Seen | None) -> str:
    return seen.stage.value if seen is not None else NONE
