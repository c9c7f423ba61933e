"""The columns of the tables in ``statistics/``; `write_comparison` checks them, and docs/tables.md lists them."""

from __future__ import annotations

from typing import get_args

from follicle_stager.audit.results import COUNTED
from follicle_stager.stages import OUTLINED, RUNGS
from follicle_stager.statistics.decision import VerdictKind
from follicle_stager.statistics.matrix import CountKind
from follicle_stager.study.schemas import SHARE, number, table_of, text, whole

_YES_NO = ("yes", "no")
_COMPARISON = {"comparison": text("mouse model, groups and treatment, if there are several; else study")}
_INTERVAL = {"low": number("lower end of its 95 % interval"), "high": number("upper end of its 95 % interval")}
_EFFECT = {
    **_INTERVAL,
    "low_90": number("lower end of its 90 % interval"),
    "high_90": number("upper end of its 90 % interval"),
    "upper": number("upper end of its one-sided 95 % interval"),
    "se": number("standard error of the log ratio"),
    "df": number("degrees of freedom"),
}

VERDICT = table_of(
    {
        **_COMPARISON,
        "counted": text("kind of counts that were compared", get_args(CountKind)),
        "verdict": text("answer to the question of the study", get_args(VerdictKind)),
        "blocks_after": text("stages after which the knockouts are blocked, separated by spaces"),
        "sentence": text("the verdict in words, and what it rests on"),
        "warnings": text("what limits the verdict"),
    },
    title="statistics/verdict.csv",
    description="one row per comparison",
)
QUESTION = table_of(
    {
        **_COMPARISON,
        "contrast": text("stage of the question", RUNGS),
        "test": text(
            "shift: all later stages together to this stage; total: all later stages together; arrest: both, and every "
            "later stage lower in its estimate",
            ("shift", "total", "arrest"),
        ),
        "ratio": number("ratio, knockout to control"),
        **_EFFECT,
        "p": number("one-sided p that the ratio is below 1; for the arrest, the larger of the two", SHARE),
        "p_holm": number("p of the arrest; weighted Holm correction over it and the blocks after other stages", SHARE),
        "arrest": text("whether there is an arrest at this stage", _YES_NO),
    },
    title="statistics/question.csv",
    description="the question of the study",
)
ARREST = table_of(
    {
        **_COMPARISON,
        "from": text("stage before the step", RUNGS),
        "to": text("stage after the step", RUNGS),
        "ratio": number("ratio of the counts after and before the step, knockout to control"),
        **_EFFECT,
        "p": number("one-sided p that the ratio is below 1", SHARE),
        "later_ratio": number("ratio of all later stages together, knockout to control"),
        "later_upper": number("upper end of its one-sided 95 % interval"),
        "later_p": number("one-sided p that it is below 1", SHARE),
        "p_holm": number("p of a block (the larger of p and later_p) or of the arrest; weighted Holm", SHARE),
        "block": text("whether there is a block after the stage, or an arrest at it (question.csv)", _YES_NO),
        "note": text("why there is no result; if it is the arrest; if the sums of the groups were compared"),
    },
    title="statistics/arrest.csv",
    description="each step of the ladder between stages that every animal has a count of",
)
PER_STAGE = table_of(
    {
        **_COMPARISON,
        "stage": text("stage, unsure or atretic", (*RUNGS, "unsure", "atretic")),
        "n_control": number("number of follicles in control animals; estimated if there is an audit", None),
        "n_knockout": number("number of follicles in knockout animals; estimated if there is an audit", None),
        "ratio": number("ratio of the follicles per sampled ovary, knockout to control"),
        **_INTERVAL,
        "p": number("its two-sided p", SHARE),
        "p_holm": number("p, Holm correction over the stages; NA for unsure and atretic", SHARE),
        "se": number("standard error of the log ratio"),
        "df": number("degrees of freedom"),
        "method": text("how it was compared"),
    },
    title="statistics/per_stage.csv",
    description="each stage, and unsure and atretic follicles",
)
ANIMALS = table_of(
    {
        **_COMPARISON,
        "group": text("control (the reference) or knockout", ("control", "knockout")),
        "animal": text("as in the sample sheet"),
        **{
            name: number(f"follicles on the rung {name.replace('_', ' ')}; estimated if there is an audit", None)
            for name in RUNGS
        },
        "unit": text("what is independent: the animal, or its litter and group"),
        "pair": text("litter in which the groups are compared; empty if animals are not paired"),
        "batch": text("batch that is held constant; else empty"),
        "arrest_log_ratio": number(
            "log of later follicles to those of the question's stage, 0.5 added to both at the mean offset", None
        ),
    },
    title="statistics/animals.csv",
    description="counts on the rungs, one row per animal",
)
EXPOSURES = table_of(
    {
        **{name: number(f"offset of the rung {name.replace('_', ' ')}: number of ovaries sampled") for name in RUNGS},
        **_COMPARISON,
        "animal": text("as in the sample sheet"),
    },
    title="statistics/exposures.csv",
    description="offsets",
)
IMPUTATIONS = table_of(
    {
        **_COMPARISON,
        "draw": whole("number of the draw"),
        "animal": text("as in the sample sheet"),
        **{name: whole(f"follicles on the rung {name.replace('_', ' ')}") for name in RUNGS},
    },
    title="statistics/imputations.csv",
    description="counts with staging errors drawn at random; no rows if every follicle was judged",
)
POINTS = table_of(
    {
        **_COMPARISON,
        "genotype": text("as in the sample sheet"),
        "level": text("what the value is of", ("animal", "ovary", "section")),
        "animal": text("as in the sample sheet"),
        "ovary": text("L, R or empty"),
        "section": text("name of the section, or empty"),
        "stage": text("stage", RUNGS),
        "counted": number("number of follicles counted; estimated if there is an audit", None),
        "value": number(
            "follicles per ovary, section or animal: counted over the offset; for sections and ovaries, as if all "
            "of the animal were alike",
            None,
        ),
    },
    title="statistics/points.csv",
    description="numbers behind the figure of stages (those behind the figure of steps: arrest.csv and question.csv)",
)
SENSITIVITY = table_of(
    {
        **_COMPARISON,
        "changed": text("what is done differently"),
        "verdict": text("answer to the question of the study", get_args(VerdictKind)),
        "blocks_after": text("stages after which the knockouts are blocked, separated by spaces"),
        **{
            f"{test}_{part}": column
            for test in ("shift", "total")
            for part, column in {
                "ratio": number(f"ratio of the {test}, knockout to control"),
                **_INTERVAL,
                "p": number("its one-sided p", SHARE),
            }.items()
        },
    },
    title="statistics/sensitivity.csv",
    description="the verdict if the comparison is made in other ways, one change at a time",
)
RESPONSES = table_of(
    {
        "response": text("treatments, ages or other values that are compared"),
        "effect": text("in a genotype; or one genotype against the other (the interaction)"),
        "test": text("all later stages to the stage of the question, all later stages in total, or a step"),
        "ratio": number("ratio of the treatments, or ratio of the two responses"),
        **_INTERVAL,
        "se": number("standard error of the log ratio"),
        "df": number("degrees of freedom"),
        "p": number("its two-sided p", SHARE),
        "p_holm": number("p of a step, Holm correction over the steps", SHARE),
    },
    title="statistics/responses.csv",
    description="differences between treatments, or a trend over gene dose; only if the study has them",
)
RESPONSE_WEIGHTS = table_of(
    {
        "response": text("as in responses.csv"),
        "effect": text("as in responses.csv"),
        **_COMPARISON,
        "group": text("control (the reference) or knockout", ("control", "knockout")),
        "weight": number("weight of the mean of this group in the effect (logarithms)", None),
    },
    title="statistics/response_weights.csv",
    description="how the effects in responses.csv are made of the groups",
)
_GROUPS = {
    "model": text("mouse model"),
    "group": text("control, knockout, or another group of the sample sheet"),
    "genotype": text("as in the sample sheet"),
    "animal": text("as in the sample sheet"),
}
AUDITED = table_of(
    {
        **_GROUPS,
        "stage": text("stage, unsure or corpus luteum", [s.value for s in OUTLINED]),
        "counted": text("what is counted, as in counts_by_animal.csv", tuple(COUNTED)),
        "predicted": whole("number when the audit was planned"),
        "estimated": number("number by the audit; it may be negative, and is not cut off at zero", None),
        "se": number("standard error of the sampling of fields; NA if fewer than 10 were seen"),
        "low": number("lower end of the 95 % interval for this animal; NA if fewer than 10 were seen", None),
        "high": number("upper end", None),
        "seen": whole("number in the audited fields"),
        "audited_fields": whole("number of audited fields of the animal"),
        "fields": whole("number of all fields of the animal"),
        "note": text("too few, if fewer than 10 were seen"),
    },
    title="tables/audited_by_animal.csv",
    description="counts by the audit; only if there is one",
)
ACCURACY = table_of(
    {
        "stage": text("stage, or all stages"),
        "measure": text(
            "precision: share of claims that are follicles; recall: share of follicles that are claimed; right stage: "
            "of those that are claimed; count error: claims minus follicles, as a share of the follicles",
            ("precision", "recall", "right stage", "count error"),
        ),
        "group": text("all animals, or a difference between groups"),
        "n": whole("number of audited claims or follicles"),
        "value": number("value, expanded to the tissue of the animals", None),
        "low": number("lower end of its 95 % interval, over animals", None),
        "high": number("upper end of its 95 % interval", None),
    },
    title="statistics/audit_accuracy.csv",
    description="accuracy of the counts on the slides of this study; only if there is an audit",
)
CONFUSION = table_of(
    {
        "true": text("stage by the audit; none: no follicle"),
        **{
            name: number(f"expanded number that was claimed to be {name.replace('_', ' ')}")
            for name in (*(s.value for s in OUTLINED), "none")
        },
    },
    title="statistics/audit_confusion.csv",
    description="true and claimed stages; only if there is an audit",
)
SAMPLING = table_of(
    {
        **_COMPARISON,
        "animal": text("as in the sample sheet"),
        **{name: number(f"variance of the estimate on the rung {name.replace('_', ' ')}") for name in RUNGS},
    },
    title="statistics/sampling.csv",
    description="sampling errors of the audited counts in animals.csv; only if there is an audit",
)
SETTINGS = table_of(
    {
        "contrast": text("stage of the question, as named in study.toml", RUNGS),
        "contrast_named": text("stage and date of the question when it was named"),
        "reference": text("group with which the others are compared; empty: control"),
        "dose": text("groups in the order of gene dose"),
        "by": text("column of the sample sheet whose values are not pooled"),
        "litters": text("whether litters are used"),
        "batches": text("whether batches are held constant"),
        "alpha": number("significance level"),
        "equivalence_ratio": number("limit of equivalence"),
        "total_loss_ratio": number("limit of total loss"),
    },
    title="statistics/settings.csv",
    description="settings of the comparison, one row",
)
#: Schemas by the name of the table in `Comparison`.
SCHEMAS = {
    "verdicts": VERDICT,
    "question": QUESTION,
    "steps": ARREST,
    "stages": PER_STAGE,
    "animals": ANIMALS,
    "exposures": EXPOSURES,
    "imputations": IMPUTATIONS,
    "points": POINTS,
    "sensitivity": SENSITIVITY,
    "responses": RESPONSES,
    "response_weights": RESPONSE_WEIGHTS,
    "settings": SETTINGS,
    "audited": AUDITED,
    "accuracy": ACCURACY,
    "confusion": CONFUSION,
    "sampling": SAMPLING,
}
#: Tables that a comparison may lack.
OPTIONAL = ("responses", "response_weights", "audited", "accuracy", "confusion", "sampling")
