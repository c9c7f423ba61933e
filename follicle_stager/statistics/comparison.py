"""The comparison of a study: each group of each mouse model with its reference."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from follicle_stager.config import ComparisonConfig
from follicle_stager.errors import UserError
from follicle_stager.files import plain_cell
from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import Arrest, find_arrest
from follicle_stager.statistics.designs import comparisons, models_of
from follicle_stager.statistics.matrix import KIND_WORDS
from follicle_stager.statistics.per_stage import COVARIATES, per_stage
from follicle_stager.statistics.points import points
from follicle_stager.statistics.responses import Responses, responses
from follicle_stager.statistics.sensitivity import NOT_AUDITED, sensitivity
from follicle_stager.statistics.stage_errors import stage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from follicle_stager.audit.results import AuditResult
    from follicle_stager.statistics.matrix import CountKind, CountMatrix
    from follicle_stager.study import Counts

    # A comparison, and its imputed counts if any.
    _Drawn = tuple[CountMatrix, NDArray[np.float64] | None]


_OF_PROFILES = (
    "Profiles per section are compared, not follicles. A large follicle shows in more sections than a small one: if "
    "the size of the follicles differs between the groups, so do their profiles."
)


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes
    ----------
    arrests
        Results of each comparison: each group against the reference, for each mouse model and treatment.
    stages, steps, question, animals, imputations, exposures, settings, verdicts
        Tables over all comparisons, as they are written.
    config
        The question, and limits of the verdict.
    kind
        Kind of counts that were compared.
    points
        Values of animals, ovaries and sections on one scale, for figures.
    sensitivity
        The verdicts if the comparison is made in other ways.
    responses, response_weights, said
        Differences between treatments, the weights of the groups in them, and sentences; empty if there is one
        treatment and no order of dose.
    audited, accuracy, confusion, audit_words
        What the audit says, as tables and in words for a methods section; empty without one.
    notes
        Notes on animals and sections without counts, and on decisions that differ from the sample sheet.
    covariates
        Covariates in the comparison of single stages.
    """

    arrests: tuple[Arrest, ...]
    stages: pd.DataFrame
    steps: pd.DataFrame
    question: pd.DataFrame
    animals: pd.DataFrame
    imputations: pd.DataFrame
    verdicts: pd.DataFrame
    config: ComparisonConfig
    kind: CountKind
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    responses: pd.DataFrame = field(default_factory=pd.DataFrame)
    response_weights: pd.DataFrame = field(default_factory=pd.DataFrame)
    said: tuple[str, ...] = ()
    audited: pd.DataFrame = field(default_factory=pd.DataFrame)
    accuracy: pd.DataFrame = field(default_factory=pd.DataFrame)
    confusion: pd.DataFrame = field(default_factory=pd.DataFrame)
    audit_words: str = ""
    notes: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()

    @property
    def settings(self) -> pd.DataFrame:
        """The question and the limits of the verdict, one row."""
        return pd.DataFrame([self.config.model_dump() | {"dose": ", ".join(self.config.dose)}])

    @property
    def sampling(self) -> pd.DataFrame:
        """Variances of the sampling errors of audited counts by rung, one row per animal; empty without an audit."""
        return self._by_rung(lambda matrix: matrix.sampling)

    @property
    def exposures(self) -> pd.DataFrame:
        """Offsets: numbers of sampled ovaries by rung, one row per animal."""
        return self._by_rung(lambda matrix: matrix.exposure)

    def _by_rung(self, values: Callable[[CountMatrix], NDArray[np.float64] | None]) -> pd.DataFrame:
        """Values of the animals of all comparisons by rung; empty if there are none."""
        own = [
            pd.DataFrame(of, columns=list(RUNGS)).assign(comparison=a.matrix.comparison, animal=a.matrix.animals)
            for a in self.arrests
            if (of := values(a.matrix)) is not None
        ]
        return pd.concat(own, ignore_index=True) if own else pd.DataFrame()

    @property
    def together(self) -> str:
        """Sentence on whether several models block at the same step; empty for one model, or without a block."""
        blocked = {a.matrix.model: a.verdict.blocks for a in self.arrests if a.verdict.blocks}
        if len(self.arrests) < 2 or not blocked or len({a.matrix.model for a in self.arrests}) < len(self.arrests):
            return ""
        shared = set.intersection(*(set(b) for b in blocked.values())) if len(blocked) == len(self.arrests) else set()
        if shared:
            where = ", ".join(name.replace("_", " ") for name in RUNGS if name in shared)
            return f"All {len(self.arrests)} models block after the {where} stage."
        return "It is not certain that the models block at the same step."


def compare(
    counts: Counts,
    *,
    kind: CountKind = "countable",
    config: ComparisonConfig | None = None,
    covariates: Sequence[str] = (),
    audit: AuditResult | None = None,
) -> Comparison:
    """Compare knockouts with controls: each model, group and treatment by itself. Nothing is written.

    Parameters
    ----------
    counts
        Counts of a study, from `count`.
    kind
        Kind of counts: follicles with a visible nucleus, those of them that are not atretic, or all outlines.
    config
        The question, the design, and limits of the verdict.
    covariates
        Columns of the sample sheet, for the comparison of single stages.
    audit
        Audit of the study; the audited counts are then compared. Its result is hidden until the audit is closed.

    Returns
    -------
    Comparison
        Verdicts and tables; `write_comparison` writes them.

    Raises
    ------
    UserError
        If there is nothing to compare, a covariate is unknown or differs within an animal, or the audit is not closed.
    """
    if audit is not None and not audit.record.closed:
        left = audit.record.next_visit(audit.plan) is not None
        finish = "finish it with 'follicle-stager review STUDY --audit', then " if left else ""
        raise UserError(
            f"{audit.progress} The comparison stays hidden until the audit is closed: {finish}run 'follicle-stager "
            "audit close STUDY'."
        )
    if audit is not None:
        audit.check_sections(counts.section)
        audit = audit.with_groups(counts.section)
    _refuse_mixed_sampling(counts.section)
    beside = _covariates(counts, covariates)
    config = config or ComparisonConfig()
    kinds: dict[str, list[_Drawn]] = {kind: _of_kind(counts, kind, config, audit)}
    for other in KIND_WORDS:
        if other not in (kind, "given"):
            with suppress(UserError):  # this kind cannot be compared, e.g. because the height of nuclei is unknown
                kinds[other] = _of_kind(counts, other, config, audit)
    if audit is not None:
        kinds[NOT_AUDITED] = _of_kind(counts, kind, config)
    section = counts.section if audit is None else None  # fields of a section are too few for a value of its own
    comparison = compared(
        kinds, config=config, notes=counts.notes, covariates=tuple(covariates), beside=beside, section=section
    )
    if audit is None:
        return comparison
    return replace(
        comparison,
        audited=audit.table(),
        accuracy=audit.accuracy(),
        confusion=audit.confusion().rename_axis(columns=None).reset_index(),
        audit_words=audit.in_words(),
    )


def _of_kind(
    counts: Counts, kind: CountKind, config: ComparisonConfig, audit: AuditResult | None = None
) -> list[_Drawn]:
    """All comparisons with a kind of counts."""
    matrices = comparisons(models_of(counts, kind), config)
    if kind == "profiles":
        matrices = [replace(matrix, notes=(_OF_PROFILES, *matrix.notes)) for matrix in matrices]
    if audit is not None:
        return [(_audited(matrix, audit, kind), None) for matrix in matrices]
    errors = [stage_errors(counts.follicles, counts.rejected, matrix, kind=kind) for matrix in matrices]
    return [(m, None if e is None else e.imputed(m)) for m, e in zip(matrices, errors, strict=True)]


def _audited(matrix: CountMatrix, audit: AuditResult, kind: CountKind) -> CountMatrix:
    """The matrix with audited counts; a rung that cannot be seen on the slides stays so."""
    totals, variances, _, seen = audit.totals(kind, list(RUNGS.values()))
    place = {(row.model, row.animal): i for i, row in enumerate(audit.animals.itertuples(index=False))}
    missing = [name for name in matrix.animals if (plain_cell(matrix.model), plain_cell(name)) not in place]
    if missing:
        raise UserError(
            f"animals {', '.join(missing)} are not in the audit: they were added after it was planned. Plan a new "
            "audit, or leave them out of the sample sheet."
        )
    rows = [place[plain_cell(matrix.model), plain_cell(name)] for name in matrix.animals]
    fields, done = audit.sizes
    what = (
        f"an audit of {done[rows].sum()} of {fields[rows].sum()} fields, in which "
        f"{int(seen[rows][:, matrix.seen].sum())} {KIND_WORDS[kind]} were found"
    )
    return replace(
        matrix,
        counts=np.where(matrix.seen, totals[rows], np.nan),
        sampling=np.where(matrix.seen, variances[rows], np.nan),
        audited=what,
        seen_in_audit=seen[rows],
        profiles=None,
        beside={},
    )


def compared(
    kinds: Mapping[str, Sequence[_Drawn]],
    *,
    config: ComparisonConfig | None = None,
    notes: tuple[str, ...] = (),
    covariates: tuple[str, ...] = (),
    beside: pd.DataFrame | None = None,
    section: pd.DataFrame | None = None,
) -> Comparison:
    """Make all comparisons, with the first kind of counts.

    Parameters
    ----------
    kinds
        The comparisons with each kind of counts.
    config
        The question, the design, and limits of the verdict.
    notes, covariates
        As in `Comparison`.
    beside
        The covariates by model and animal.
    section
        Counts by section, for figures.
    """
    config = config or ComparisonConfig()
    first, *others = kinds
    kind: CountKind = first  # type: ignore[assignment]
    matrices, drawn = zip(*kinds[first], strict=True)
    arrests = tuple(find_arrest(m, config, imputed=d) for m, d in zip(matrices, drawn, strict=True))
    stages = [per_stage(m, covariates=_of_animals(beside, m), imputed=d) for m, d in zip(matrices, drawn, strict=True)]
    if len(matrices) > 1:
        notes = (
            *notes,
            f"There are {len(matrices)} comparisons. Each has its own chance of {100 * config.alpha:g} % of a false "
            "arrest or block, which is not corrected for their number.",
        )
    if any(matrix.sampling is not None for matrix in matrices):
        between = Responses(pd.DataFrame(), pd.DataFrame(), ())
        notes = (*notes, "Responses to treatments and trends are not calculated from audited counts.")
    else:
        between = responses(matrices, drawn, config)
    shown = [points(matrix, pd.DataFrame() if section is None else section, kind) for matrix in matrices]
    ways = [
        sensitivity(matrix, own, config, of_kinds={other: kinds[other][i] for other in others})
        for i, (matrix, own) in enumerate(kinds[first])
    ]
    verdicts = [
        {
            "comparison": a.matrix.comparison,
            "counted": kind,
            "verdict": a.verdict.kind,
            "blocks_after": " ".join(a.verdict.blocks),
            "sentence": a.verdict.sentence,
            "warnings": " ".join(a.verdict.warnings),
        }
        for a in arrests
    ]
    return Comparison(
        arrests=arrests,
        stages=pd.concat(stages, ignore_index=True),
        steps=pd.concat([a.steps for a in arrests], ignore_index=True),
        question=pd.concat([a.question for a in arrests], ignore_index=True),
        animals=pd.concat([a.animals for a in arrests], ignore_index=True),
        imputations=pd.concat([_imputed(m, d) for m, d in zip(matrices, drawn, strict=True)], ignore_index=True),
        verdicts=pd.DataFrame(verdicts),
        config=config,
        kind=kind,
        points=pd.concat(shown, ignore_index=True),
        sensitivity=pd.concat(ways, ignore_index=True),
        responses=between.table,
        response_weights=between.weights,
        said=between.said,
        notes=notes,
        covariates=covariates,
    )


def _imputed(matrix: CountMatrix, drawn: NDArray[np.float64] | None) -> pd.DataFrame:
    """Imputed counts of each draw and animal; no rows if every follicle was judged."""
    drawn = np.zeros((0, *matrix.counts.shape)) if drawn is None else drawn
    table = pd.DataFrame(drawn.reshape(-1, len(RUNGS)), columns=list(RUNGS))
    table.insert(0, "animal", list(matrix.animals) * len(drawn))
    table.insert(0, "draw", np.repeat(np.arange(1, len(drawn) + 1), len(matrix.animals)))
    table.insert(0, "comparison", matrix.comparison)
    return table


def _refuse_mixed_sampling(section: pd.DataFrame) -> None:
    """Refuse mixed sampling, for which no offset can be calculated: it would look like a difference between animals.

    Raises
    ------
    UserError
        If an ovary has several sampling intervals, some have none, or some animals' ovaries are named and others' not.
    """
    for model in section["model"].unique():
        own = section[section["model"] == model]
        if own["interval"].isna().all():
            continue
        per_ovary = own.groupby(["animal", "ovary"], sort=False)["interval"].nunique(dropna=False)
        mixed = [animal for animal, _ in per_ovary.index[per_ovary > 1]]
        mixed += list(own.loc[own["interval"].isna(), "animal"])
        if mixed:
            raise UserError(
                f"samples.csv, column interval: animals {', '.join(dict.fromkeys(map(str, mixed)))} have no sampling "
                "interval, or several in one ovary; write one for each ovary, or none at all."
            )
        unnamed = own.loc[own["ovary"] == "", "animal"].unique()
        if len(unnamed) and (own["ovary"] != "").any():
            raise UserError(
                f"samples.csv, column ovary: of {model or 'the study'}, animals {', '.join(map(str, unnamed))} have no "
                "name of their ovary, but others have; fill in all (L, R), or none."
            )


def _of_animals(covariates: pd.DataFrame | None, matrix: CountMatrix) -> pd.DataFrame | None:
    if covariates is None:
        return None
    return covariates.loc[[(matrix.model, animal) for animal in matrix.animals]].reset_index(drop=True)


def _covariates(counts: Counts, names: Sequence[str]) -> pd.DataFrame | None:
    """Columns of the sample sheet by model and animal; None if no covariate is requested."""
    if not names:
        return None
    unknown = [name for name in names if name not in COVARIATES]
    if unknown:
        raise UserError(f"{unknown[0]}: this is not a covariate; covariates are {', '.join(COVARIATES)}.")
    keys = ["model", "animal"]
    for name in names:
        per_animal = counts.samples.groupby(keys)[name].nunique(dropna=False)
        if (per_animal > 1).any():
            animal = str(per_animal.index[per_animal > 1][0][1])
            raise UserError(f"samples.csv, column {name}: animal {animal} has several values; write one.")
    return counts.samples.drop_duplicates(keys).set_index(keys)[list(names)]
