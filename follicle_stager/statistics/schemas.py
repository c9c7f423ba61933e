"""The columns of the tables in ``statistics/``; `write_comparison` checks them, and docs/tables.md lists them."""

from __future__ import annotations

from typing import get_args

from follicle_stager.stages import RUNGS
from follicle_stager.statistics.arrest import VerdictKind
from follicle_stager.statistics.matrix import CountKind
from follicle_stager.study.schemas import SHARE, number, table_of, text, whole

_MODEL = {"model": text("mouse model; study if the sample sheet names none")}
_INTERVAL = {"low": number("lower end of its 95 % interval"), "high": number("upper end of its 95 % interval")}
_PERMUTED = {"permutation_p": number("two-sided p of a permutation test over animals", SHARE)}
_CONTRAST = "of all antral follicles to secondary follicles, knockout to control"

VERDICT = table_of(
    {
        **_MODEL,
        "counted": text("kind of counts that were compared", get_args(CountKind)),
        "verdict": text("answer to the question of the study", get_args(VerdictKind)),
        "blocks_after": text("stages after which the knockouts are blocked, separated by spaces"),
        "sentence": text("the verdict in words"),
        "warnings": text("what limits the verdict"),
        "secondary_to_antral_ratio": number(f"ratio {_CONTRAST}"),
        "secondary_to_antral_low": number("lower end of its 95 % interval"),
        "secondary_to_antral_high": number("upper end of its 95 % interval"),
        "secondary_to_antral_p_two_sided": number("its two-sided p", SHARE),
        "secondary_to_antral_log_ratio_difference": number(
            "difference between the groups' means of arrest_log_ratio (animals.csv)", None
        ),
        "secondary_to_antral_permutation_p": number("its two-sided p, permutation test over animals", SHARE),
    },
    title="statistics/verdict.csv",
    description="one row per model",
)
ARREST = table_of(
    {
        **_MODEL,
        "from": text("stage before the step", RUNGS),
        "to": text("stage after the step", RUNGS),
        "ratio": number("ratio of the counts after and before the step, knockout to control; below 1: blocked"),
        **_INTERVAL,
        "low_90": number("lower end of its 90 % interval"),
        "high_90": number("upper end of its 90 % interval"),
        "p": number("one-sided p that the ratio is below 1", SHARE),
        "p_holm": number("p, Holm correction over the steps", SHARE),
        **_PERMUTED,
        "dispersion": number("variance between animals as a multiple of that of the model, at least 1"),
        "continuation": number("odds ratio of a later stage, among follicles of this stage or later; description only"),
        "note": text("why there is no result, or what was added"),
    },
    title="statistics/arrest.csv",
    description="each step of the ladder",
)
PER_STAGE = table_of(
    {
        **_MODEL,
        "stage": text("stage, unsure or atretic", (*RUNGS, "unsure", "atretic")),
        "n_control": whole("number of follicles in control animals"),
        "n_knockout": whole("number of follicles in knockout animals"),
        "rate_ratio": number("ratio of the follicles per sampled ovary, knockout to control"),
        **_INTERVAL,
        "p": number("its two-sided p", SHARE),
        "p_holm": number("p, Holm correction over the stages; NA for unsure and atretic", SHARE),
        "se": number("standard error of the log ratio; includes variance_factor"),
        "variance_factor": number("factor on the variance, n/(n - 2) with few animals; NA with staging errors"),
        **_PERMUTED,
        "method": text("model that was fitted"),
    },
    title="statistics/per_stage.csv",
    description="each stage, and unsure and atretic follicles",
)
ANIMALS = table_of(
    {
        **_MODEL,
        "group": text("control or knockout", ("control", "knockout")),
        "animal": text("as in the sample sheet"),
        **{name: whole(f"follicles on the rung {name.replace('_', ' ')}") for name in RUNGS},
        "arrest_log_ratio": number("log((antral + 0.5)/(secondary + 0.5)), antral of all kinds", None),
    },
    title="statistics/animals.csv",
    description="counts on the rungs, one row per animal",
)
EXPOSURES = table_of(
    {
        **{name: number(f"offset of the rung {name.replace('_', ' ')}: number of ovaries sampled") for name in RUNGS},
        **_MODEL,
        "animal": text("as in the sample sheet"),
    },
    title="statistics/exposures.csv",
    description="offsets of the models",
)
#: Schemas by the name of the table in `Comparison`.
SCHEMAS = {"verdicts": VERDICT, "steps": ARREST, "stages": PER_STAGE, "animals": ANIMALS, "exposures": EXPOSURES}
