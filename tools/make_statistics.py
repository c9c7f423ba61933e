"""Write the tables of docs/statistics.md: how often the tests and verdicts are right, on simulated studies.

    python tools/make_statistics.py [--studies 4000] [--before CHECKOUT]

About half an hour on one core. Only the part between the two marks of the page is written. ``--before`` is a checkout
of the version before these tests (in the history at 009b7ea), whose power is shown beside; without it, this column is
left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from make_accuracy import DOCS, markdown
from scipy import stats

from follicle_stager.config import ComparisonConfig
from follicle_stager.files import write_text
from follicle_stager.phantom import GenotypeModel
from follicle_stager.statistics import decision, effects
from follicle_stager.statistics.decision import all_effects, decide
from follicle_stager.statistics.effects import Counted, Layout, holm, two_groups
from follicle_stager.statistics.power import simulate_verdicts
from follicle_stager.statistics.responses import Units, effects_of_response, trend
from follicle_stager.statistics.simulate import SPREADS, Design, Sampling, expected_counts

BEGIN, END = "<!-- tables: tools/make_statistics.py -->", "<!-- end of tables -->"
EXPECTED = expected_counts(GenotypeModel())
NOTHING = (1.0,) * 5
#: Animals of each group where responses are tested.
EACH = 5
# A number of animals, and the factors on their rungs.
Group = tuple[int, tuple[float, ...]]
GROUPS = ((4, 4), (5, 5), (6, 6), (8, 8), (8, 4), (10, 4))
SAMPLINGS = {
    "full": Sampling(),
    "uneven": Sampling(uneven=True),
    "sparse": Sampling(1 / 8),
    "sparse, uneven": Sampling(1 / 8, uneven=True),
}
#: Ratios of knockout to control on the five rungs.
BLOCKED = {
    "arrest at secondary": (1, 1, 1, None, None),
    "block after primary": (1, 1, None, None, None),
    "block after early antral": (1, 1, 1, 1, None),
}
PATTERNS: dict[str, tuple[float, ...]] = {
    "early antral halved": (1, 1, 1, 0.5, 1),
    "secondary doubled": (1, 1, 2, 1, 1),
    "99 % of all missing": (0.01,) * 5,
    "reserve lost (90 %)": (0.1, 1, 1, 1, 1),
    "over-activation": (0.3, 2, 2, 1.5, 1.5),
    "all halved": (0.5,) * 5,
    "nothing": NOTHING,
}
ABOUT = """\
{studies} simulated studies a row, unless a row says otherwise; the error (SE) of a share of 5 % is {error} %.
A control animal has {numbers} countable follicles on the five rungs (two ovaries, every 10th section of 5 µm).
Animals: *even* (SD of the logarithm 10 % for all stages together, 8 % for each), *real* (25 %; 20, 20, 25, 35 and
45 %, as in published counts), *wide* (40 %, 40 %). Sampling: *full*; *uneven* (each animal 1/3, 2/3 or all of it);
*sparse* (1/8).
"""
ABOUT_FALSE = """\
### Arrests and blocks where there is none

Share of studies with any arrest or block, in %; coverage of the 95 % intervals of all stages, steps and the question,
in %. Groups: controls + knockouts. A star: the share was above 5 % by more than two errors, and was measured again
with 20 000 other studies, which are shown.
"""
ABOUT_POWER = """
### Arrests and blocks where there is one

Share of studies that find it, in %. *Equal*: if the arrest weighs as much as each block. *Before*: the version
before, with its level set so that it finds a block in 5 % of studies of such animals without one (1000 studies).
Coverage as above, the lowest of the three.
"""
ABOUT_COVERAGE = """
### Intervals where there is an arrest

Coverage as above, in %, with an arrest at the secondary stage. A row below 94 % is explained in the summary.
"""
ABOUT_DESIGNS = """
### Groups, litters, batches, treatments, ages and models

*False*: studies with an arrest or block in any comparison, though there is none (all stages are halved in the
knockouts; for treatments, ages and models, the knockouts do not differ). *Found*: an arrest of 70 %, in any of the
comparisons that have it. *Coverage* of the 95 % interval of the shift, the lower of the two cases. In %. Real animals;
litters and batches share a factor for each stage (SD 35 %). Each comparison has 5 % of its own. Where coverage is low,
the naive analysis is biased: that it finds more is no merit.
"""
ABOUT_RESPONSE = """
### Responses to a treatment, and trends

Share of studies in which the effect is shown (two-sided p ≤ 5 %), and coverage of its 95 % interval, in %. Real
animals, {each} in each group; in the control, the treatment multiplies antral follicles of all kinds by 2.5, and they
triple between the first and the third age. Without the treatment, and at all ages, the knockouts have half of the
control's. *Naive*: for treatments and ages, the effect is significant in one genotype only; for gene dose, any pair of
groups differs (no correction).
"""
ABOUT_PATTERNS = """
### Other patterns

Share of studies with each verdict, in %, with 6 + 6 animals.
"""
ABOUT_STAGES = """
### A tenth of the follicles staged wrongly

Even animals, 8 + 8; 1000 studies a row (SE of 5 %: 0.7 %). In %.
"""
ABOUT_TRIED = """
### Tests that were tried

Share of studies without an effect in which any of the four steps is significant (Holm; *max-T*: step-down), in %;
coverage of the four intervals; share in which the step after the secondary stage is significant, if 70 % are arrested
there. {studies} studies a row, 500 for the permutation test.
"""
#: Program that tests studies with the version before: counts and exposures in, p of each step out.
OLD = """
import sys, numpy as np
from follicle_stager.statistics.effects import holm, ratio_of_ratios
data = np.load(sys.argv[1])
ko, out = data["knockout"], []
for c, e in zip(data["counts"], data["exposure"]):
    p = []
    for k in range(4):
        some = c[:, k].any() and c[:, k + 1].any() and all(c[g][:, [k, k + 1]].any() for g in (ko, ~ko))
        p.append(ratio_of_ratios(c[:, k + 1], e[:, k + 1], c[:, k], e[:, k], ko).p_lower if some else np.nan)
    out.append(holm(np.array(p)))
np.save(sys.argv[2], np.array(out))
"""


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    studies = options.studies
    error = np.sqrt(0.05 * 0.95 / studies)
    numbers = ", ".join(f"{n:.0f}" for n in EXPECTED)
    parts = [
        ABOUT.format(studies=studies, error=f"{100 * error:.1f}", numbers=numbers),
        ABOUT_FALSE,
        markdown(false_claims(studies)),
        ABOUT_POWER,
        markdown(power_table(studies, options.before)),
        ABOUT_COVERAGE,
        markdown(coverage(studies)),
        ABOUT_DESIGNS,
        markdown(designs(studies)),
        ABOUT_RESPONSE.format(each=EACH),
        markdown(treated(studies)),
        ABOUT_PATTERNS,
        markdown(patterns(studies)),
        ABOUT_STAGES,
        markdown(wrong_stages(min(studies, 1000))),
        ABOUT_TRIED.format(studies=studies),
        markdown(tried(studies)),
        "",
    ]
    page = DOCS / "statistics.md"
    text = page.read_text(encoding="utf-8")  # only now: somebody may have written to it meanwhile
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_text(page, head + "\n\n" + "\n".join(parts) + "\n" + tail)


def percent(share: float) -> str:
    """A share in %, one decimal."""
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def false_claims(studies: int) -> pd.DataFrame:
    """Rows of spread, sampling and knockouts; a column for each pair of groups."""
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    rows = []
    truths = {
        "nothing": NOTHING,
        "all halved": PATTERNS["all halved"],
        "secondary doubled": PATTERNS["secondary doubled"],
    }
    for (true, ratios), (name, spread), sampled, wider in product(
        truths.items(), SPREADS.items(), SAMPLINGS, (1.0, 2.0)
    ):
        if true != "nothing" and "uneven" in sampled:
            continue
        design = Design(ratios, EXPECTED, spread, knockout_spread=wider, sampling=SAMPLINGS[sampled])
        row = {
            "true": true,
            "animals": name,
            "sampling": sampled,
            "knockouts": "as variable" if wider == 1 else "twice",
        }
        for n in GROUPS:
            share = simulate_verdicts(design, n, studies=studies)
            again = "*" if share["false_block"] > limit else ""
            if again:
                share = simulate_verdicts(design, n, studies=20_000, seed=2)
            row[f"{n[0]} + {n[1]}"] = f"{percent(share['false_block'])}{again}; {100 * share['coverage']:.0f}"
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


def power_table(studies: int, before: Path | None) -> pd.DataFrame:
    """Each block, with the product's weights and equal ones, and in the version before."""
    rows = []
    for (planted, ratios), (name, spread) in product(BLOCKED.items(), SPREADS.items()):
        level = {n: old_level(spread, n, studies, before) for n in (4, 6, 8)} if before else {}
        for lost in (0.5, 0.7, 0.9):
            row: dict[str, object] = {"planted": f"{planted}, {lost:.0%}", "animals": name}
            design = Design(tuple(1 - lost if r is None else float(r) for r in ratios), EXPECTED, spread)
            covered = []
            for n in (4, 6, 8):
                share = simulate_verdicts(design, (n, n), studies=studies)
                row[f"{n} + {n}"] = percent(share["right"])
                row[f"{n} + {n}, equal"] = percent(of_equal_weights(design, n, studies))
                if before:
                    place = int(np.flatnonzero(design.blocks)[0])
                    p = old(design, n, studies, before)[:, place]
                    row[f"{n} + {n}, before"] = percent(float((p <= level[n]).mean()))
                covered.append(share["coverage"])
            row["coverage"] = f"{100 * min(covered):.0f}"
            rows.append(row)
            print(row, flush=True)
    return pd.DataFrame(rows)


def coverage(studies: int) -> pd.DataFrame:
    """Coverage with effects, where less is counted or the knockouts vary more."""
    rows = []
    for lost, (name, spread), (sampled, wider) in product(
        (0.5, 0.7, 0.9), SPREADS.items(), (("uneven", 1.0), ("sparse", 1.0), ("full", 2.0), ("sparse", 2.0))
    ):
        ratios = tuple(1 - lost if r is None else float(r) for r in BLOCKED["arrest at secondary"])
        design = Design(ratios, EXPECTED, spread, knockout_spread=wider, sampling=SAMPLINGS[sampled])
        row = {"lost": f"{lost:.0%}", "animals": name, "sampling": sampled}
        row["knockouts"] = "as variable" if wider == 1 else "twice"
        for n in GROUPS:
            row[f"{n[0]} + {n[1]}"] = f"{100 * simulate_verdicts(design, n, studies=studies)['coverage']:.0f}"
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


def antral(factor: float) -> tuple[float, ...]:
    """A factor on the two antral rungs."""
    return (1.0, 1.0, 1.0, factor, factor)


def drawn(studies: int, groups: list[Group]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts and exposures of animals of several groups, one after the other, and the place of each animal's group."""
    rng = np.random.default_rng(12)
    parts = [Design(factors, EXPECTED).draw(studies, (0, n), rng) for n, factors in groups]
    counts, exposure = (np.concatenate(own, axis=1) for own in zip(*parts, strict=True))
    return counts, exposure, np.repeat(range(len(groups)), [n for n, _ in groups])


def covers(effect: effects.Effect, truth: float) -> float:
    """How often the 95 % intervals hold the true logarithms."""
    low, high = effect.interval()
    known = np.isfinite(low)
    return float(((low <= truth) & (truth <= high))[known].mean())


def designs(studies: int) -> pd.DataFrame:
    """Studies of several designs: as the product compares them, and naively."""
    rows = [*shared_factors(studies), *several_comparisons(studies)]
    return pd.DataFrame(rows)


def shared_factors(studies: int) -> list[dict[str, object]]:
    """Animals of a litter or batch share a factor for each stage. Naive: all animals are independent."""
    six = np.repeat([False, True], 6)
    pairs, batch = tuple(range(6)) * 2, (0,) * 4 + (1,) * 2 + (0,) * 2 + (1,) * 4
    litters = two_groups(np.repeat([False, True], 3))
    cases = {
        "6 litters, one animal of each group in each": (pairs, Layout((six, ~six), pairs=np.array(pairs)), None),
        **{
            f"3 + 3 litters, {n} animals of one group in each": (
                tuple(np.repeat(range(6), n).tolist()),
                litters,
                np.repeat(np.eye(6), n, axis=1),
            )
            for n in (2, 4)
        },
        "2 batches, 4 + 2 and 2 + 4 animals": (
            batch,
            Layout((six, ~six), beside=np.array(batch, float)[:, None]),
            None,
        ),
    }
    rows = []
    for name, (shared, layout, units) in cases.items():
        row: dict[str, object] = {"design": name, "naive": "all independent"}
        held: dict[str, list[float]] = {"naive": [], "product": []}
        for ratios, column in ((PATTERNS["all halved"], "false"), (antral(0.3), "found")):
            design = Design(ratios, EXPECTED, shared_sd=0.35, shared=shared)
            half = len(shared) // 2
            counts, exposure = design.draw(studies, (half, half), np.random.default_rng(11))
            naive = two_groups(np.repeat([False, True], half))
            for label, own, unit in (("naive", naive, None), ("product", layout, units)):
                given = [c if unit is None else np.einsum("un,snr->sur", unit, c) for c in (counts, exposure)]
                tests = all_effects(given[0], given[1], own, 2)
                blocks = decide(tests, ComparisonConfig()).blocks
                share = blocks[:, 2] if column == "found" else blocks.any(axis=1)
                row[f"{column}, {label}"] = percent(float(share.mean()))
                held[label].append(covers(tests.shift, np.log(ratios[3] / ratios[2])))
        rows.append(_in_order(row, held))
    return rows


def _in_order(row: dict[str, object], held: dict[str, list[float]]) -> dict[str, object]:
    columns = ("design", "naive", "false, naive", "false, product", "found, naive", "found, product")
    covered = {f"coverage, {label}": f"{100 * min(own):.0f}" for label, own in held.items()}
    row = {column: row[column] for column in columns} | covered
    print(row, flush=True)
    return row


def several_comparisons(studies: int) -> list[dict[str, object]]:
    """Several groups, treatments, ages or models: compared apart, or naively together."""
    halved, quarter, three_quarters = ((f,) * 5 for f in (0.5, 0.25, 0.75))
    # Groups without and with an arrest; the comparisons (control, knockout), those with the arrest first; and the
    # groups that are put together naively.
    cases: dict[str, tuple[str, list[Group], list[Group], list[tuple[int, int]], tuple[list[int], list[int]]]] = {
        "WT, het and KO, 5 each (2 comparisons)": (
            "het counted with WT",
            [(5, NOTHING), (5, three_quarters), (5, halved)],
            [(5, NOTHING), (5, antral(0.65)), (5, antral(0.3))],
            [(0, 2), (0, 1)],
            ([0, 1], [2]),
        ),
        "two knockouts with one control, 5 each (2 comparisons); one has the arrest": (
            "both knockouts together",
            [(5, NOTHING), (5, halved), (5, quarter)],
            [(5, NOTHING), (5, antral(0.3)), (5, NOTHING)],
            [(0, 1), (0, 2)],
            ([0], [1, 2]),
        ),
        "2 + 5 untreated and 5 + 2 treated (2.5 times the antral follicles; 2 comparisons)": (
            "pooled",
            [(2, NOTHING), (5, NOTHING), (5, antral(2.5)), (2, antral(2.5))],
            [(2, NOTHING), (5, antral(0.3)), (5, antral(2.5)), (2, antral(0.75))],
            [(0, 1), (2, 3)],
            ([0, 2], [1, 3]),
        ),
        "three ages, 3 + 5, 4 + 4, 5 + 3 (1, 2 and 3 times the antral follicles; 3 comparisons)": (
            "pooled",
            [(n, antral(f)) for f, sizes in ((1, (3, 5)), (2, (4, 4)), (3, (5, 3))) for n in sizes],
            [
                (n, antral(f * left))
                for f, sizes in ((1, (3, 5)), (2, (4, 4)), (3, (5, 3)))
                for n, left in zip(sizes, (1, 0.3), strict=True)
            ],
            [(0, 1), (2, 3), (4, 5)],
            ([0, 2, 4], [1, 3, 5]),
        ),
        "two models, 3 + 6 and 6 + 3 (the second has 3 times the antral follicles; 2 comparisons)": (
            "pooled",
            [(3, NOTHING), (6, NOTHING), (6, antral(3)), (3, antral(3))],
            [(3, NOTHING), (6, antral(0.3)), (6, antral(3)), (3, antral(0.9))],
            [(0, 1), (2, 3)],
            ([0, 2], [1, 3]),
        ),
    }
    rows = []
    for name, (naive, without, planted, comparisons, pooled) in cases.items():
        row: dict[str, object] = {"design": name, "naive": naive}
        held: dict[str, list[float]] = {"naive": [], "product": []}
        for groups, column in ((without, "false"), (planted, "found")):
            counts, exposure, place = drawn(studies, groups)
            together = np.isin(place, pooled[1])
            tests = all_effects(counts, exposure, two_groups(together), 2)
            blocks = decide(tests, ComparisonConfig()).blocks
            row[f"{column}, naive"] = percent(float((blocks[:, 2] if column == "found" else blocks.any(axis=1)).mean()))
            truth = [np.log(np.divide(groups[knockout][1], groups[control][1])) for control, knockout in comparisons]
            held["naive"].append(covers(tests.shift, truth[0][3] - truth[0][2]))
            claims = []
            for (control, knockout), true in zip(comparisons, truth, strict=True):
                own = np.isin(place, (control, knockout))
                tests = all_effects(counts[:, own], exposure[:, own], two_groups(place[own] == knockout), 2)
                blocks = decide(tests, ComparisonConfig()).blocks
                held["product"].append(covers(tests.shift, true[3] - true[2]))
                arrested = true[3] - true[2] < np.log(0.5)
                claims.append(blocks.any(axis=1) if column == "false" else blocks[:, 2] & arrested)
            row[f"{column}, product"] = percent(float(np.any(claims, axis=0).mean()))
        rows.append(_in_order(row, held))
    return rows


def treated(studies: int) -> pd.DataFrame:
    """Interaction of genotype and treatment, trends over ages, and over gene dose."""
    rows = []
    for response in (2.5, 1.5, 1.0):
        groups = [(EACH, antral(f)) for f in (1, 0.5, 2.5, 0.5 * response)]
        design = f"treatment; the knockouts' follicles are multiplied by {response:g}"
        rows.append(_interaction(design, studies, groups, [-1.0, 1.0], np.log(response / 2.5)))
    for last in (3.0, 2.0, 1.0):
        groups = [(EACH, antral(f)) for t in (0, 0.5, 1) for f in (3**t, 0.5 * last**t)]
        weights = [2 * w for w in trend([0, 1, 2])]
        design = f"three ages; the knockouts' follicles are multiplied by {last:g}"
        rows.append(_interaction(design, studies, groups, weights, np.log(last / 3)))
    for step in (1.0, 0.7, 0.5):
        counts, exposure, place = drawn(studies, [(EACH, antral(step**k)) for k in range(3)])
        cells = dict(zip([(0, False), (0, True), (1, True)], trend([0, 1, 2]), strict=True))
        units = Units(tuple(cells), place, counts, exposure)
        shift = units.tested(cells, 2).shift
        pairs = [units.tested({a: 1.0, b: -1.0}, 2).shift.p_two_sided for a, b in combinations(cells, 2)]
        design = f"gene dose; each step multiplies antral follicles by {step:g}"
        rows.append(_effect_row(design, np.min(pairs, axis=0) <= 0.05, shift, np.log(step)))
    return pd.DataFrame(rows)


def _interaction(
    design: str, studies: int, groups: list[Group], weights: list[float], truth: float
) -> dict[str, object]:
    """Controls and knockouts at each treatment or age, one after the other."""
    counts, exposure, place = drawn(studies, groups)
    cells = tuple((i, side) for i in range(len(weights)) for side in (False, True))
    units = Units(cells, place, counts, exposure)
    control, knockout, both = (units.tested(effect, 2).shift for effect in effects_of_response(weights))
    one_only = (control.p_two_sided <= 0.05) != (knockout.p_two_sided <= 0.05)
    return _effect_row(design, one_only, both, truth)


def _effect_row(design: str, naive: np.ndarray, effect: effects.Effect, truth: float) -> dict[str, object]:
    """How often the effect is shown, naively and by the product, and how often its interval holds the truth."""
    row: dict[str, object] = {"design": design, "naive": percent(float(naive.mean()))}
    row |= {"product": percent(float((effect.p_two_sided <= 0.05).mean()))}
    row |= {"coverage": f"{100 * covers(effect, truth):.0f}"}
    print(row, flush=True)
    return row


def of_equal_weights(design: Design, n: int, studies: int) -> float:
    """Share of studies that find the block if the arrest weighs as much as the blocks."""
    own = decision.QUESTION_WEIGHT
    decision.QUESTION_WEIGHT = 1.0
    try:
        return simulate_verdicts(design, (n, n), studies=studies)["right"]
    finally:
        decision.QUESTION_WEIGHT = own


def old(design: Design, n: int, studies: int, before: Path) -> np.ndarray:
    """P of each step in the version before, with Holm's correction, (studies, 4)."""
    counts, exposure = design.draw(min(studies, 1000), (n, n), np.random.default_rng([3, n]))
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "given.npz", Path(folder) / "out.npy"
        np.savez(given, counts=counts, exposure=exposure, knockout=np.repeat([False, True], n))
        environment = {**os.environ, "PYTHONPATH": str(before)}
        # Not from the current folder, which may hold this version.
        command = [sys.executable, "-c", OLD, str(given), str(out)]
        subprocess.run(command, env=environment, cwd=folder, check=True)
        return np.asarray(np.load(out))


def old_level(spread: object, n: int, studies: int, before: Path) -> float:
    """Level at which the version before finds a block in 5 % of studies without one."""
    design = Design(NOTHING, EXPECTED, spread)  # type: ignore[arg-type]
    return float(np.quantile(np.nanmin(old(design, n, studies, before), axis=1), 0.05))


def patterns(studies: int) -> pd.DataFrame:
    """Patterns that are no block."""
    blocks, others = ("arrest", "block"), ("accumulation", "acceleration", "loss of the reserve", "total loss")
    kinds = (*blocks, *others, "depletion", "none", "inconclusive")
    rows = []
    for (planted, ratios), (name, spread) in product(PATTERNS.items(), SPREADS.items()):
        share = simulate_verdicts(Design(tuple(ratios), EXPECTED, spread), (6, 6), studies=studies)
        row = {"true": planted, "animals": name} | {kind: percent(share[kind]) for kind in kinds}
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


def wrong_stages(studies: int) -> pd.DataFrame:
    """The effect of propagating staging errors."""
    rows = []
    for planted, ratios in (("nothing", NOTHING), ("arrest at secondary, 70%", (1, 1, 1, 0.3, 0.3))):
        for stages, wrong, carried in (("right", 0.0, False), ("uncorrected", 0.1, False), ("propagated", 0.1, True)):
            design = Design(ratios, EXPECTED, SPREADS["even"], wrong_stage=wrong)
            share = simulate_verdicts(design, (8, 8), studies=studies, carried=carried)
            names = {"false arrest or block": "false_block", "found": "right", "coverage": "coverage"}
            rows.append({"true": planted, "stages": stages} | {k: percent(share[v]) for k, v in names.items()})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def tried(studies: int) -> pd.DataFrame:
    """Other tests of the steps, on the same studies."""
    cases = [
        (name, sampled, n, wider)
        for name, sampled in (("even", "full"), ("real", "full"), ("real", "sparse"), ("wide", "uneven"))
        for n, wider in (((4, 4), 1.0), ((6, 6), 1.0), ((8, 4), 2.0))
    ]
    rows = []
    for name, sampled, n, wider in cases:
        given = {"knockout_spread": wider, "sampling": SAMPLINGS[sampled]}
        drawn = [
            Design(ratios, EXPECTED, SPREADS[name], **given).draw(studies, n, np.random.default_rng(5))  # type: ignore[arg-type]
            for ratios in (NOTHING, (1, 1, 1, 0.3, 0.3))
        ]
        row = {"animals": name, "sampling": sampled, "groups": f"{n[0]} + {n[1]}" + (", twice" if wider == 2 else "")}
        for test, rule in TRIED.items():
            few = 500 if rule is max_t else studies
            (p, held), (found, _) = (rule(c[:few], e[:few], np.repeat([False, True], n)) for c, e in drawn)
            values = ((p <= 0.05).any(axis=1).mean(), held, (found[:, 2] <= 0.05).mean())
            row[test] = "; ".join([percent(values[0]), *("–" if np.isnan(v) else f"{100 * v:.0f}" for v in values[1:])])
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


def _stages(counts: np.ndarray, exposure: np.ndarray, k: int) -> list[tuple[int, Counted]]:
    return [(1, Counted(counts[..., k + 1], exposure[..., k + 1])), (-1, Counted(counts[..., k], exposure[..., k]))]


def _result(found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Adjusted p, (studies, 4), and how often the intervals cover 0."""
    p = np.stack([stats.t.cdf(d / se, df) for d, se, df in found], axis=-1)
    held = np.mean([np.abs(d) <= stats.t.ppf(0.975, df) * se for d, se, df in found])
    return holm(np.nan_to_num(p, nan=1.0)), float(held)


def product_test(counts: np.ndarray, exposure: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, float]:
    """Test as in the product."""
    steps = [_stages(counts, exposure, k) for k in range(4)]
    found = [effects.ratio_of_ratios(upper, lower, two_groups(knockout)) for (_, upper), (_, lower) in steps]
    return _result([(e.log_ratio, e.se, e.df) for e in found])


def sums(counts: np.ndarray, exposure: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, float]:
    """Test the sums of the groups always: a count model with a dispersion for each group (CR2, Satterthwaite)."""
    return _result([effects._sums(_stages(counts, exposure, k), two_groups(knockout)) for k in range(4)])


def welch(counts: np.ndarray, exposure: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, float]:
    """Test the animals always, with their variance as it is."""
    logs = np.stack([effects.log_rates(Counted(counts[..., k], exposure[..., k])) for k in range(5)], axis=-1)
    return _result([_welch(logs[..., k + 1] - logs[..., k], knockout) for k in range(4)])


def half_before_offsets(counts: np.ndarray, exposure: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, float]:
    """Test the animals, with half a follicle added to the counts as they are."""
    logs = np.log((counts + 0.5) / exposure)
    return _result([_welch(logs[..., k + 1] - logs[..., k], knockout) for k in range(4)])


def max_t(counts: np.ndarray, exposure: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, float]:
    """Step-down max-T over permutations of the animals, studentised; no interval."""
    logs = np.stack([effects.log_rates(Counted(counts[..., k], exposure[..., k])) for k in range(5)], axis=-1)
    steps = np.diff(logs, axis=-1)
    n, size = len(knockout), int(knockout.sum())
    ways = np.array(list(combinations(range(n), size)))
    if len(ways) > 500:
        ways = ways[np.random.default_rng(0).permutation(len(ways))[:499]]
    groups = [knockout, *(np.isin(np.arange(n), way) for way in ways)]
    t = np.stack([np.stack([d / np.maximum(se, 1e-12) for d, se, _ in (_welch(steps[..., k], g) for k in range(4))], -1)
                  for g in groups])  # fmt: skip
    order = np.argsort(t[0], axis=-1)
    ranked = np.take_along_axis(t, order[None], -1)
    least = np.flip(np.minimum.accumulate(np.flip(ranked, -1), axis=-1), -1)
    p = np.maximum.accumulate((least <= ranked[0] + 1e-9).mean(axis=0), axis=-1)
    out = np.empty_like(p)
    np.put_along_axis(out, order, p, -1)
    return out, float("nan")


def _welch(values: np.ndarray, knockout: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = (values[..., own] for own in (knockout, ~knockout))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [(v.var(-1, ddof=1) / v.shape[-1], np.float64(v.shape[-1] - 1)) for v in (a, b)]
        return effects._with_satterthwaite(a.mean(-1) - b.mean(-1), parts)  # type: ignore[arg-type]


TRIED = {
    "**animals; sums if few**": product_test,
    "animals (Welch)": welch,
    "animals, 0.5 before offsets": half_before_offsets,
    "sums (CR2)": sums,
    "permutation, max-T": max_t,
}


if __name__ == "__main__":
    main()
