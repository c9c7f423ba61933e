"""Write the tables of docs/statistics.md: how well the verdicts perform, on simulated studies.

    python tools/make_statistics.py [--studies 1000] [--single-stages]

About thirteen minutes on one core. Only the part between the two marks of the page is written.
"""

from __future__ import annotations

import argparse

import pandas as pd
from make_accuracy import DOCS, markdown

from follicle_stager.files import write_text
from follicle_stager.phantom import GenotypeModel
from follicle_stager.stages import Stage
from follicle_stager.statistics.power import Design, power, simulate_verdicts

BEGIN, END = "<!-- tables: tools/make_statistics.py -->", "<!-- end of tables -->"
#: CV of an animal's follicles, and of each stage beside it.
SPREADS = {
    "Similar animals, like the young mice of OvSim (CV 15 %, stages 10 %)": (0.15, 0.10),
    "Variable animals (CV 35 %, stages 30 %)": (0.35, 0.30),
}
PLANTED: dict[str, dict[str, object]] = {
    "none": {},
    "block after primary, 70 %": {"block_after": Stage.PRIMARY, "block_probability": 0.7},
    "block after secondary, 70 %": {"block_after": Stage.SECONDARY, "block_probability": 0.7},
    "block after secondary, 50 %": {"block_after": Stage.SECONDARY, "block_probability": 0.5},
    "block after early antral, 70 %": {"block_after": Stage.EARLY_ANTRAL, "block_probability": 0.7},
    "block after secondary, 70 %, blocked follicles die": {
        "block_after": Stage.SECONDARY,
        "block_probability": 0.7,
        "accumulate": 0.0,
    },
    "depletion by half": {"depletion": 0.5},
    "depletion by half and block after secondary, 70 %": {
        "depletion": 0.5,
        "block_after": Stage.SECONDARY,
        "block_probability": 0.7,
    },
}


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--single-stages", action="store_true", help="Only the last table.")
    options = parser.parse_args()
    studies = options.studies
    page = DOCS / "statistics.md"
    single = "### Single stages\n\n" + markdown(_single_stages(studies), digits=3) + "\n\n"
    if options.single_stages:
        text = page.read_text(encoding="utf-8")
        write_text(page, text[: text.index("### Single stages")] + single + text[text.index(END) :])
        return
    parts = [
        f"Each row summarises {studies} simulated studies with two ovaries per animal and every 10th section of 5 µm.\n"
    ]
    for title, spread in SPREADS.items():
        rows = []
        for planted, given in PLANTED.items():
            for n in (4, 6):
                share = simulate_verdicts(_design(spread, given), n, studies=studies)
                rows.append({"planted": planted, "animals per group": n} | _columns(share))
                print(rows[-1], flush=True)
        parts += [f"### {title}\n", markdown(pd.DataFrame(rows), digits=3), ""]
    parts += ["### Animals per group and power\n", markdown(_needed(studies), digits=2), ""]
    parts += ["### A tenth of the follicles staged wrongly\n", markdown(_wrong_stages(studies), digits=2), ""]
    text = page.read_text(encoding="utf-8")  # only now: somebody may have written to it meanwhile
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_text(page, head + "\n\n" + "\n".join(parts) + "\n" + single + tail)


def _wrong_stages(studies: int) -> pd.DataFrame:
    """The effect of propagating staging errors; a fifteenth of the studies, since each is drawn forty times."""
    rows = []
    for planted in ("none", "block after secondary, 70 %"):
        design = _design((0.15, 0.10), PLANTED[planted], wrong_stage=0.1)
        for n in (6, 12):
            for name, carried in (("uncorrected", False), ("errors propagated", True)):
                share = simulate_verdicts(design, n, studies=max(20, studies // 15), carried=carried)
                columns = {"any block": share["any_block"], "exactly the planted blocks": share["right"]}
                columns |= {"interval coverage": share["coverage"]}
                rows.append({"planted": planted, "animals per group": n, "stages": name} | columns)
    return pd.DataFrame(rows)


def _single_stages(studies: int) -> pd.DataFrame:
    """The models of single stages, of a fifth of the studies; with errors propagated of a fifteenth."""
    rows = []
    similar, variable = SPREADS.values()
    for planted in ("none", "block after secondary, 70 %"):
        for animals, spread in (("similar", similar), ("variable", variable)):
            for n in (4, 6):
                design = _design(spread, PLANTED[planted])
                share = simulate_verdicts(design, n, studies=studies // 5, single_stages=True)
                rows.append(_of_stages(planted, animals, n, "all correct", share))
        design = _design(similar, PLANTED[planted], wrong_stage=0.1)
        for name, carried in (("a tenth wrong, uncorrected", False), ("a tenth wrong, errors propagated", True)):
            few = max(20, studies // 15)
            share = simulate_verdicts(design, 6, studies=few, single_stages=True, carried=carried)
            rows.append(_of_stages(planted, "similar", 6, name, share))
        print(pd.DataFrame(rows).to_string(), flush=True)
    return pd.DataFrame(rows)


def _of_stages(planted: str, animals: str, n: int, stages: str, share: dict[str, float]) -> dict[str, object]:
    columns = {"planted": planted, "animals": animals, "animals per group": n, "stages": stages}
    columns |= {"any stage different": share["any_stage"], "interval coverage": share["stage_coverage"]}
    return columns | {"without the factor n/(n - 2)": share["plain_coverage"]}


def _design(spread: tuple[float, float], knockout: dict[str, object], **given: float) -> Design:
    own = {"animal_cv": spread[0], "stage_cv": spread[1]}
    genotypes = [GenotypeModel.model_validate(own | values) for values in ({}, knockout)]
    return Design(*genotypes, **given)  # type: ignore[arg-type]


def _columns(share: dict[str, float]) -> dict[str, object]:
    kinds = ("block", "block and depletion", "depletion", "none", "inconclusive")
    return {
        "any block": share["any_block"],
        "exactly the planted blocks": share["right"],
        **{f"verdict {kind}": share.get(kind, 0.0) for kind in kinds},
        "interval coverage": share["coverage"],
        "chi-square over follicles, p < 0.05": share["chi_square"],
    }


def _needed(studies: int) -> pd.DataFrame:
    columns = {}
    for title, spread in (("CV 15 %, 10 %", (0.15, 0.10)), ("CV 35 %, 30 %", (0.35, 0.30))):
        for share in (0.5, 0.7):
            for wrong in (0.0, 0.1):
                planted = {"block_after": Stage.SECONDARY, "block_probability": share}
                design = _design(spread, planted, wrong_stage=wrong)
                table = power(design, (3, 4, 6, 8, 12), studies=max(100, studies // 4))
                name = f"{share:.0%} blocked, {title}" + (f", {wrong:.0%} staged wrongly" if wrong else "")
                columns[name] = table.set_index("animals")["power"]
                print(name, columns[name].to_dict(), flush=True)
    return pd.DataFrame(columns).rename_axis("animals per group").reset_index()


if __name__ == "__main__":
    main()
