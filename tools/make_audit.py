"""Write the tables of docs/audit.md: whether audited comparisons hold, on simulated studies.

    python tools/make_audit.py [--studies 1000] [--jobs 2]

About three quarters of an hour on two cores. Only the part between the two marks of the page is written.
"""

from __future__ import annotations

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context

import numpy as np
import pandas as pd
from make_accuracy import DOCS, markdown
from shapely import box, intersects, prepare

from follicle_stager.audit.estimates import AuditedAnimal, all_totals
from follicle_stager.audit.sampling import draw, fields_to_draw, strata_of
from follicle_stager.config import AuditConfig, ComparisonConfig
from follicle_stager.files import write_text
from follicle_stager.phantom import GenotypeModel, build_ovary, series
from follicle_stager.phantom.sectioning import nuclei_in, section_outline
from follicle_stager.stages import LADDER, RUNGS
from follicle_stager.statistics.decision import Tests, all_effects, decide, with_imputed
from follicle_stager.statistics.effects import two_groups
from follicle_stager.statistics.simulate import SPREADS, matrix_of
from follicle_stager.statistics.stage_errors import _RUNG_OF, StageErrors, _prior

BEGIN, END = "<!-- tables: tools/make_audit.py -->", "<!-- end of tables -->"
FIELD_UM = AuditConfig().field_um
SHARES, SIZES = (0.05, 0.1, 0.2), (4, 6)
#: Countable follicles of a control animal on the first three rungs; both antral rungs have the number of the row.
EARLIER, ANTRAL = (50.0, 20.0, 20.0), (10.0, 2.0, 0.5)
GROUPS = ([0], [1, 2], [3, 4])
OVARIES, ANTRAL_OVARIES, INTERVAL = 40, 8, 20
QUESTION = 2


@dataclass(frozen=True)
class Detector:
    """Errors of a detector in one group.

    Attributes
    ----------
    recall
        Share of the follicles of each rung that are claimed.
    called
        P(claimed rung | true rung), (5, 5).
    false
        False claims per true claim, of each claimed rung.
    """

    recall: np.ndarray
    called: np.ndarray
    false: np.ndarray

    def claims(self, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Claims by field and rung, (fields, 5)."""
        found = rng.binomial(truth, self.recall)
        claimed = np.sum([rng.multinomial(found[:, rung], self.called[rung]) for rung in range(len(RUNGS))], axis=0)
        wrong = rng.poisson(self.false * claimed.sum(axis=0) / len(truth), truth.shape)
        return np.asarray(claimed + wrong, np.float64)


def bad(recall: float, precision: float, wrong: float, earlier: float) -> Detector:
    """A bad detector: a share of the stages is one rung wrong, of which a share is one rung too early."""
    n = len(RUNGS)
    called = np.eye(n) * (1 - wrong)
    for k in range(n):
        below = earlier if 0 < k < n - 1 else float(k > 0)
        called[k, max(k - 1, 0)] += wrong * below
        called[k, min(k + 1, n - 1)] += wrong * (1 - below)
    return Detector(np.full(n, recall), called, np.full(n, (1 - precision) / precision))


#: Recall 0.6, precision 0.7 and 20 % of stages wrong on average, each different in the knockout.
BAD = (bad(0.85, 0.85, 0.05, 0.5), bad(0.35, 0.55, 0.35, 1.0))


def shipped() -> tuple[Detector, Detector]:
    """The shipped detector, with its errors on the exam (docs/accuracy.md, evaluation_v4; confusion.csv)."""
    page = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    table = page[page.index("cohort: `evaluation_v4`") :]
    table = table[table.index("### Stages") :]
    true, found = np.zeros(len(RUNGS)), np.zeros(len(RUNGS))
    for stage in LADDER:
        row = re.search(rf"^\| {stage.label.lower()} \| (\d+) \| (\d+) \|", table, re.MULTILINE)
        if row:
            true[_RUNG_OF[stage.value]] += int(row[1])
            found[_RUNG_OF[stage.value]] += int(row[2])
    confusion, false = _prior()
    one = Detector(found / true, confusion / confusion.sum(axis=1, keepdims=True), false[:, 0] / false[:, 1])
    return one, one


def ovary_fields(seed: int) -> np.ndarray:
    """Countable follicles of a virtual ovary by field and rung, in every 20th section."""
    rng = np.random.default_rng(seed)
    ovary = build_ovary(rng, GenotypeModel())
    rungs = [_RUNG_OF[LADDER[int(stage)].value] for stage in ovary.follicles["stage"]]
    parts = []
    for cut in series(ovary, thickness_um=5.0, interval=INTERVAL, start=int(rng.integers(INTERVAL))):
        outline = section_outline(ovary, cut)
        if outline is None or outline.area < 5000:
            continue
        left, top, right, bottom = outline.bounds
        left, top = left - rng.uniform(0, FIELD_UM), top - rng.uniform(0, FIELD_UM)
        columns, rows = int((right - left) // FIELD_UM) + 1, int((bottom - top) // FIELD_UM) + 1
        prepare(outline)
        place = np.full((rows, columns), -1)
        for row, column in product(range(rows), range(columns)):
            x, y = left + column * FIELD_UM, top + row * FIELD_UM
            if intersects(outline, box(x, y, x + FIELD_UM, y + FIELD_UM)):
                place[row, column] = place.max() + 1
        counts = np.zeros((place.max() + 1, len(RUNGS)), int)
        for i in np.flatnonzero(nuclei_in(ovary, cut)):
            row = int((ovary.follicles["ny"][i] - top) // FIELD_UM)
            column = int((ovary.follicles["nx"][i] - left) // FIELD_UM)
            if 0 <= row < rows and 0 <= column < columns and place[row, column] >= 0:
                counts[place[row, column], rungs[i]] += 1
        parts.append(counts)
    return np.concatenate(parts)


@cache
def bank() -> list[np.ndarray]:
    """Fields of virtual ovaries; the antral follicles of several lie in the tissue of each, to be thinned."""
    ovaries = [ovary_fields(seed) for seed in range(OVARIES)]
    rng = np.random.default_rng(1)
    crowded = []
    for ovary in ovaries:
        fields = ovary.copy()
        for other in rng.integers(OVARIES, size=ANTRAL_OVARIES - 1):
            late = ovaries[other][:, 3:]
            rows = np.flatnonzero(late.sum(axis=1))
            np.add.at(fields[:, 3:], rng.integers(len(fields), size=len(rows)), late[rows])
        crowded.append(fields)
    return crowded


def animal(rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """True follicles of an animal by field and rung: an ovary of the bank, thinned to these numbers on average."""
    ovaries, spread = bank(), SPREADS["real"]
    mean = np.mean([fields.sum(axis=0) for fields in ovaries], axis=0)
    logs = spread.animal * rng.standard_normal() + np.array(spread.stages) * rng.standard_normal(len(RUNGS))
    own = ovaries[int(rng.integers(len(ovaries)))]
    return np.asarray(rng.binomial(own, np.minimum(rates / mean * np.exp(logs), 1.0)))


@dataclass(frozen=True)
class Studies:
    """Numbers of many studies, (studies, animals, 5), with the variances of their sampling errors.

    ``audited``: by the audit; ``alone``: by the audited fields without the claims; ``random``: by as many fields that
    are drawn without the claims, as a person would count who has no software.
    """

    audited: np.ndarray
    audited_chance: np.ndarray
    alone: np.ndarray
    alone_chance: np.ndarray
    random: np.ndarray
    random_chance: np.ndarray
    claimed: np.ndarray
    seen: np.ndarray
    truth: np.ndarray


def simulate(
    n: int, share: float, antral: float, ratio: float, detectors: tuple[Detector, Detector], studies: int
) -> Studies:
    """Simulate studies of n + n animals; the ratio is that of both antral rungs."""
    rng = np.random.default_rng([n, *(round(100 * x) for x in (share, antral, ratio))])
    control = np.array([*EARLIER, antral, antral])
    rows = []
    for _ in range(studies):
        animals, true, random = [], [], []
        for group in (0, 1):
            rates = control * np.where(np.arange(len(RUNGS)) > QUESTION, ratio if group else 1.0, 1.0)
            for _ in range(n):
                truth = animal(rates, rng)
                true.append(truth.sum(axis=0))
                claims = detectors[group].claims(truth, rng)
                strata = np.unique(strata_of(claims, GROUPS), return_inverse=True)[1]
                number = fields_to_draw(strata, claims, share)
                places = draw(strata, number, rng)
                some = rng.choice(len(truth), len(places), replace=False)
                random.append(AuditedAnimal(np.zeros(len(truth), int), claims, some, truth[some].astype(float)))
                animals.append(AuditedAnimal(strata, claims, places, truth[places].astype(float)))
        totals, chance = all_totals(animals)
        by = [np.array([a.totals(np.zeros(len(RUNGS))) for a in own]) for own in (animals, random)]
        fields = (by[0][:, 0], by[0][:, 1], by[1][:, 0], by[1][:, 1])
        claimed, seen = ([getattr(a, name).sum(axis=0) for a in animals] for name in ("claims", "found"))
        rows.append((totals, chance, *fields, np.array(claimed), np.array(seen), np.array(true)))
    return Studies(*(np.array(column) for column in zip(*rows, strict=True)))


def modelled(claimed: np.ndarray, n: int) -> tuple[float, float, np.ndarray]:
    """The correction by a model: false blocks, coverage of the antral rungs (truth: 1), and of single studies."""
    confusion, false = _prior()
    blocks, covered = [], []
    for own in claimed:
        matrix = matrix_of(own, np.ones_like(own), (n, n))
        errors = StageErrors(np.zeros_like(own), own, confusion, false)
        tests = with_imputed(own, errors.imputed(matrix), matrix.exposure, matrix.layout, QUESTION)
        blocks.append(decide(tests, ComparisonConfig()).blocks.any())
        covered.append(_covered(tests, 1.0))
    return float(np.mean(blocks)), float(np.nanmean(covered)), np.array(blocks)


def _covered(tests: Tests, ratio: float) -> np.ndarray:
    """Whether the intervals of the antral rungs hold the true ratio; NaN where there is none."""
    low, high = tests.rungs.interval()
    inside = (low <= np.log(ratio)) & (high >= np.log(ratio))
    return np.where(np.isfinite(tests.rungs.log_ratio), inside, np.nan)[..., 3:]


def row(of: tuple[int, float, float, float, str, int]) -> dict[str, object]:
    """One row of a table."""
    n, share, antral, ratio, name, studies = of
    detectors = BAD if name == "bad" else shipped()
    drawn = simulate(n, share, antral, ratio, detectors, studies)
    layout, exposure, config = two_groups(np.arange(2 * n) >= n), np.ones_like(drawn.audited), ComparisonConfig()
    audited = all_effects(drawn.audited, exposure, layout, QUESTION, sampling=drawn.audited_chance)
    alone = all_effects(drawn.alone, exposure, layout, QUESTION, sampling=drawn.alone_chance)
    random = all_effects(drawn.random, exposure, layout, QUESTION, sampling=drawn.random_chance)
    naive = all_effects(drawn.claimed, exposure, layout, QUESTION)
    low, high = audited.rungs.interval()
    secondary = (low[:, QUESTION] <= 0) & (high[:, QUESTION] >= 0)
    error = [float(((x - drawn.truth)[..., 3:] ** 2).mean()) for x in (drawn.audited, drawn.alone, drawn.random)]
    errors = {
        "error to these fields alone": f"{error[0] / error[1]:.2f}",
        "to random fields": f"{error[0] / error[2]:.2f}",
    }
    known = np.isfinite(audited.rungs.log_ratio[:, 3:])
    out: dict[str, object] = {
        "antral": f"{antral:g}",
        "animals": f"{n} + {n}",
        "fields": f"{share:.0%}",
        "seen": " + ".join(f"{drawn.seen[:, own, 3].sum(axis=1).mean():.0f}" for own in (slice(n), slice(n, None))),
    }
    claims = {key: decide(tests, config) for key, tests in (("audit", audited), ("alone", alone), ("naive", naive))}
    if ratio == 1:
        false_model, covered_model, _ = modelled(drawn.claimed, n)
        out |= {
            "coverage: audit": percent(np.nanmean(_covered(audited, 1.0))),
            "secondary": percent(secondary.mean()),
            "uncorrected": percent(np.nanmean(_covered(naive, 1.0))),
            "model": percent(covered_model),
            "no limit": percent(np.isinf(high[:, 3:])[known].mean()),
            "false blocks: audit": percent(claims["audit"].blocks.any(axis=-1).mean()),
            "uncorrected ": percent(claims["naive"].blocks.any(axis=-1).mean()),
            "model ": percent(false_model),
            **errors,
        }
    else:
        out |= {
            "coverage": percent(np.nanmean(_covered(audited, ratio))),
            "arrest found: audit": percent(claims["audit"].arrest.mean()),
            "these fields alone": percent(claims["alone"].arrest.mean()),
            "random fields": percent(decide(random, config).arrest.mean()),
            "upper limit: audit": _limit(audited),
            "random fields ": _limit(random),
            **errors,
        }
    return out


def _limit(tests: Tests) -> str:
    """Median upper end of the 95 % interval of all antral follicles together."""
    upper = float(np.nanmedian(np.exp(tests.later.at(QUESTION).interval()[1])))
    return "no limit" if np.isinf(upper) else f"{upper:.2f}"


def percent(share: float) -> str:
    """A share in %, one decimal."""
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


ABOUT = """\
{studies} simulated studies a row; the error (SE) of a share of 5 % is {error} %. Animals vary as in published counts.
An animal has about {fields:.0f} fields of {side:g} µm (a virtual ovary, every {interval}th section); a control animal
has 50, 20 and 20 countable primordial, primary and secondary follicles, and on each of the two antral rungs the number
in the first column. *Seen*: early antral follicles in the audited fields of the controls and of the knockouts; a stage
with fewer than 10 in a group is marked as *too few* in a report.
"""
ABOUT_BAD = """
### A bad detector, worse in the knockout, and no difference between the groups

Recall 0.85 in the control and 0.35 in the knockout, precision 0.85 and 0.55, wrong stages 5 % and 35 % (in the
knockout always one too early). Coverage of the 95 % intervals of the two antral rungs (audit, uncorrected counts, and
the correction by a model of the errors of the exam), and of the secondary rung with the audit; *no limit*: intervals
without an upper end; studies with a false arrest or block. In %. Last columns: mean squared error of the numbers of
antral follicles of an animal, as a share of that of the same fields without the claims, and of that of as many fields
that are drawn without the claims, which is what a person has who counts without software.
"""
ABOUT_ARREST = """
### The same detector, and an arrest of 70 %

Coverage, and studies that find the arrest, in %, with the audit, with the audited fields alone, and with as many random
fields. *Upper limit*: of the 95 % interval of the ratio of all antral follicles (truth: 0.3), median.
"""
ABOUT_SHIPPED = """
### The shipped detector, with its errors on the exam, and an arrest of 70 %

What a person gains who audits, against one who counts as many random fields.
"""


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tables = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for ratio, name in ((1.0, "bad"), (0.3, "bad"), (0.3, "shipped")):
            cells = [(n, s, a, ratio, name, options.studies) for a, n, s in product(ANTRAL, SIZES, SHARES)]
            tables.append(markdown(pd.DataFrame(list(pool.map(row, cells)))))
            print(tables[-1], flush=True)
    about = ABOUT.format(
        studies=options.studies,
        error=f"{100 * np.sqrt(0.05 * 0.95 / options.studies):.1f}",
        fields=np.mean([len(fields) for fields in bank()]),
        side=FIELD_UM,
        interval=INTERVAL,
    )
    parts = [about]
    for said, table in zip((ABOUT_BAD, ABOUT_ARREST, ABOUT_SHIPPED), tables, strict=True):
        parts += [said, table]
    page = DOCS / "audit.md"
    text = page.read_text(encoding="utf-8")
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_text(page, head + "\n\n" + "\n".join(parts) + "\n\n" + tail)


if __name__ == "__main__":
    main()
