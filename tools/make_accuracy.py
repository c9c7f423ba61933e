"""Write docs/accuracy.md: the detectors on the frozen evaluation cohorts, and the virtual ovary against theory.

    python tools/make_accuracy.py [--work build/accuracy] [--jobs 2] [--before NETWORK]

The cohorts are rendered from ``evaluation_v3.json`` and ``evaluation_v4.json`` and compared with the fingerprints in
the ``.csv`` beside them first: another renderer would make other exams. ``--freeze`` writes the fingerprints anew; that
makes a new version of an exam, and every method is scored again. ``--before`` is the folder of an earlier network, for
comparison on the second cohort; the one before the supplied network is in the history of the repository::

    git archive --prefix build/before/ c9d4564 follicle_stager/models | tar -x
    python tools/make_accuracy.py --before build/before/follicle_stager/models
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console

from follicle_stager import examples
from follicle_stager.annotations import read_geojson, write_geojson
from follicle_stager.batch import run_batch
from follicle_stager.cli.progress import BatchProgress
from follicle_stager.cli.tables import FIGURES
from follicle_stager.config import Config, TissueConfig, read_values
from follicle_stager.detection.network.engines import ENGINES, REFERENCE
from follicle_stager.evaluation import Criterion, Evaluation, SlidePair, evaluate, load_pairs
from follicle_stager.evaluation.marks import unchanged
from follicle_stager.files import write_text
from follicle_stager.phantom import build_ovary, plan_audit, series, small_ovary, write_cohort
from follicle_stager.phantom.sectioning import nuclei_in
from follicle_stager.phantom.slide import write_ome_tiff
from follicle_stager.pixel_size import PixelSize
from follicle_stager.ruler import LARGEST_ERROR, doubts, nuclear_mpp
from follicle_stager.slides import open_slide
from follicle_stager.slides.resample import grid_shape, read_at_mpp
from follicle_stager.stages import LADDER, RUNGS, Stage
from follicle_stager.study import Study, list_slides
from follicle_stager.study.sampling import abercrombie
from follicle_stager.tissue import survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCS = Path(__file__).parents[1] / "docs"
NAME, VARIED = "evaluation_v3", "evaluation_v4"
NATIVE_MPP, COARSER_MPP = 0.5, (1.0, 1.5)
#: Pixel sizes that are somewhat wrong, as shares of the right one.
WRONG_MPP = (0.9, 1.1)
#: Factors between the stated and the right µm/px, for the estimate from nuclei.
OFF_BY = (0.5, 1.0, 2.0)
OVARIES = 200
# Mean difference of grey levels that rounding, and JPEG after it, can make.
_ROUNDING = 0.01
#: Detectors, and what has to be said of each.
DETECTORS = ("classical", "network")
NOTES = {
    "classical": "This detector outlines an oocyte with its zona. The truth leaves the zona out: hence the low Dice of "
    "oocytes.",
    "network": "The network was trained on randomised sections of other ovaries, with other appearances and artefacts.",
}


def main() -> None:
    """Render, check, run, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"), help="folder for the slides (300 MB)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--before", type=Path, help="folder of an earlier network, to compare with")
    parser.add_argument("--freeze", action="store_true", help="take the rendered cohorts for the exams")
    options = parser.parse_args()
    work = options.work
    cohort, varied = (render_exam(work / name, jobs=options.jobs, freeze=options.freeze) for name in (NAME, VARIED))
    pairs = {name: examine(name, cohort, work / name, jobs=options.jobs) for name in DETECTORS}
    whole = {name: evaluate(own) for name, own in pairs.items()}
    coarser = {f"network at {NATIVE_MPP:g} µm/px": whole["network"]}
    for mpp in COARSER_MPP:
        copy = coarsened(cohort, work / f"{NAME}_{mpp:g}", mpp)
        coarser[f"at {mpp:g}"] = evaluate(
            examine("network", copy, work / f"network_{mpp:g}", jobs=options.jobs), resamples=0
        )
    wrong = {
        share: examine("network", cohort, work / f"network_wrong_{share:g}", jobs=options.jobs, mpp=NATIVE_MPP * share)
        for share in WRONG_MPP
    }
    others = {
        f"{name} ({engine.precision()})": examine(
            "network", cohort, work / f"network_{name}", jobs=options.jobs, engine=name
        )
        for name, engine in ENGINES.items()
        if name != REFERENCE and engine.can_run()
    }
    on_varied = {"network": examine("network", varied, work / "network_varied", jobs=options.jobs)}
    if options.before is not None:
        folder = str(options.before.resolve())
        before = examine("network", varied, work / "before_varied", jobs=options.jobs, network=folder)
        on_varied["network before"] = before
    write_confusion(evaluate(on_varied["network"], resamples=0))
    text = TITLE + exam(cohort) + side_by_side(whole) + scales(coarser) + wrong_scale(pairs["network"], wrong)
    text += engines(
        {f"{REFERENCE} (f32)": whole["network"]} | {name: evaluate(own, resamples=0) for name, own in others.items()}
    )
    text += "".join(detector(name, whole[name], own) for name, own in pairs.items())
    text += exam(varied) + varied_looks(on_varied) + nuclei([cohort, varied]) + stereology()
    write_text(DOCS / "accuracy.md", text)
    print(f"wrote {DOCS / 'accuracy.md'}")


def write_confusion(result: Evaluation) -> None:
    """What the network calls follicles of each rung, for the intervals of `compare`."""
    rung_of = {stage.value: name for name, stages in RUNGS.items() for stage in stages}
    table = result.confusion.set_index("true").rename(index={"(false)": "none"} | rung_of)
    called = {name: table[[stage.value for stage in stages]].sum(axis=1) for name, stages in RUNGS.items()}
    joined = pd.DataFrame(called).groupby(level=0).sum().reindex([*RUNGS, "none"], fill_value=0)
    path = DOCS.parent / "follicle_stager" / "statistics" / "confusion.csv"
    write_text(path, joined.rename_axis("true").astype(int).to_csv(lineterminator="\n"))


def examine(
    detector: str,
    cohort: Path,
    folder: Path,
    *,
    jobs: int,
    network: str = "",
    mpp: float | None = None,
    engine: str = REFERENCE,
) -> list[SlidePair]:
    """Run a detector on the exam's slides, and put its results beside the truth; ``mpp`` replaces that of the files."""
    shutil.rmtree(folder, ignore_errors=True)
    options = {"detection": {"detector": detector}, "network": {"folder": network, "engine": engine}}
    config = Config.model_validate(options)
    study, sources = Study.create(folder, config), list_slides(cohort)
    with BatchProgress(Console(stderr=True), total=len(sources)) as progress:
        run_batch(study, sources, config, mpp=mpp, jobs=jobs, on_progress=progress.step, on_done=progress.done)
    return load_pairs(folder, cohort, criterion=Criterion())


def coarsened(cohort: Path, folder: Path, mpp: float) -> Path:
    """The same slides and truth as a scanner of lower magnification would give them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "truth").mkdir(parents=True)
    shutil.copy(cohort / "samples.csv", folder / "samples.csv")
    for source in list_slides(cohort):
        with open_slide(source.path) as slide:
            copied = PixelSize(slide.pixel_size.mpp / mpp, slide.pixel_size.mpp / mpp, "pixels of the copy")
            height, width = grid_shape(slide, mpp)
            write_ome_tiff(folder / source.path.name, read_at_mpp(slide, 0, 0, width, height, mpp), mpp=mpp)
        truth = read_geojson(cohort / "truth" / f"{source.slide_id}.geojson")
        write_geojson(folder / "truth" / f"{source.slide_id}.geojson", [f.in_um(copied) for f in truth])
    return folder


def render_exam(folder: Path, *, jobs: int, freeze: bool) -> Path:
    """Render the evaluation cohort and make sure that it is the frozen one."""
    made = folder / "truth" / "fingerprints.csv"
    shutil.rmtree(folder, ignore_errors=True)
    plan = plan_audit(read_values(DOCS / f"{folder.name}.json"))
    write_cohort(folder, plan, jobs=jobs, progress=lambda done, total: print(f"rendered {done} of {total}"))
    frozen = DOCS / f"{folder.name}.csv"
    if freeze:
        write_text(frozen, made.read_text(encoding="utf-8"))
    a, b = (pd.read_csv(path).set_index("slide") for path in (made, frozen))
    if list(a["truth_sha256"]) != list(b["truth_sha256"]):
        raise SystemExit(
            f"{folder}: the truth of this cohort is not that of {folder.name}. Either the virtual ovary has changed "
            "(then it is a new version of the exam, and every method is scored again), or this machine computes "
            "otherwise than the one that froze it (Linux, x86-64)."
        )
    other = int((a["pixels_sha256"] != b["pixels_sha256"]).sum())
    if other and not _draws_as_before(folder.with_name("witness"), jobs):
        raise SystemExit(
            f"{folder}: the pixels of {other} of {len(a)} slides are not those of {folder.name}: see above."
        )
    if other:
        print(f"note: {other} of {len(a)} slides differ from the frozen ones in the rounding of some pixels")
    return folder


def _draws_as_before(folder: Path, jobs: int) -> bool:
    """Whether the example slides come out as in the repository but for rounding, in which processors differ."""
    shutil.rmtree(folder, ignore_errors=True)
    write_cohort(folder, plan_audit(read_values(examples.folder() / "truth" / "plan.json")), jobs=jobs)
    for source in list_slides(examples.folder()):
        with open_slide(source.path) as old, open_slide(folder / source.path.name) as new:
            drawn = [slide.read_region(0, 0, old.width, old.height, 0).astype(float) for slide in (old, new)]
        if np.abs(drawn[0] - drawn[1]).mean() > _ROUNDING:
            return False
    return True


TITLE = """# Accuracy

This page is written by `make accuracy` (about 25 minutes on two cores), and every number on it comes from that
command. All sections are **synthetic**. The results show what a detector can do if the truth is known. They are not
evidence about your tissue. For real sections, see [Real sections](real-sections.md). The figures are defined in
`follicle_stager/evaluation`.

Rules: outlines match at IoU 0.5, one to one, with as many matches as possible. A cap shows neither oocyte nor fluid,
so nobody could stage it. It is therefore neutral: neither a missed follicle nor a false claim (but the counts per
section include claims on caps). The stage of a follicle is the stage that its section shows: an antral follicle is
secondary if the section shows no fluid, and early antral if it shows little. Average precision is computed as in
COCO, at IoU 0.25, for the classes Primordial / Primary / Secondary / Tertiary. Intervals are 95 % intervals by
bootstrap over animals. The [glossary](glossary.md) explains the terms.
"""


def exam(cohort: Path) -> str:
    """What the cohort holds."""
    profiles = pd.read_csv(cohort / "truth" / "profiles.csv")
    seen = profiles[profiles["recognisable"]]
    sections = profiles.groupby(["slide", "section"]).ngroups
    per_stage = ", ".join(f"{s.label} {int((seen['stage'] == s.value).sum())}" for s in LADDER)
    name, plan = cohort.name, plan_audit(read_values(DOCS / f"{cohort.name}.json"))
    lutea = sum(
        f.stage is Stage.CORPUS_LUTEUM
        for source in list_slides(cohort)
        for f in read_geojson(cohort / "truth" / f"{source.slide_id}.geojson")
    )
    looks = ""
    if any(plan.variety):
        looks = (
            f" The share of follicles, vessels and slides with the looks of `variety` is {_in_turn(plan.variety)}. "
            f"{plan.control.nested:.0%} of the primordial follicles lie in nests, and follicles reach 650 µm."
        )
    return f"""
## The evaluation cohort: `{name}`

`docs/{name}.json` (plan and seed) and `docs/{name}.csv` (fingerprints): {profiles["slide"].nunique()} slides of as many
animals, {sections} sections at 0.5 µm/px. The cohort combines two mouse models x control and knockout (70 % of the
follicles blocked after the secondary stage) x three stains x {plan.animals} animals. The probability of each artefact
is {_in_turn(plan.faults)}.{looks}
Recognisable profiles: {per_stage}. In addition, {int((~profiles["recognisable"]).sum())} caps, and {lutea} profiles of
corpora lutea.

Nothing may be trained or tuned on this cohort.
"""


def _in_turn(values: Sequence[float]) -> str:
    """Values of the animals of a group, in order."""
    return ", ".join(f"{value:g}" for value in values) + " for the animals of each group in turn"


def side_by_side(results: dict[str, Evaluation]) -> str:
    """Headline figures of all detectors."""
    return f"""
## Side by side

{_compared(results)}
"""


def scales(results: dict[str, Evaluation]) -> str:
    """The network on the same sections at lower magnification."""
    return f"""
## The network at lower magnification

These are the slides of the evaluation cohort, reduced (by averaging pixels) to the resolution of a scanner with
lower magnification. At more than 0.65 µm/px, primordial and transitional follicles cannot be seen.

{_compared(results)}
"""


def engines(results: dict[str, Evaluation]) -> str:
    """The network with each engine that can run here."""
    return f"""
## The network with other engines

The same network and slides, computed by other libraries (`network.engine`). Those of this machine are listed; the
others need other hardware. Their speed is in [Performance](performance.md).

{_compared(results)}
"""


def wrong_scale(right: Sequence[SlidePair], wrong: Mapping[float, Sequence[SlidePair]]) -> str:
    """How many follicles of the network stay as they are if µm/px is somewhat wrong."""
    rows = []
    for share, pairs in wrong.items():
        counts = [unchanged(a.found, b.found, visible=a.visible & b.visible) for a, b in zip(right, pairs, strict=True)]
        same, total = np.sum(counts, axis=0)
        rows.append({"µm/px": f"{100 * share:.0f} % of the right one", "follicles": total, "unchanged": same / total})
    return f"""
## The network if µm/px is 10 % wrong

The same slides were searched as if their µm/px were 10 % lower or higher. *Unchanged* is the share of the follicles
found at the right µm/px, false claims included, that are found again (IoU 0.5) with the same stage.

{markdown(pd.DataFrame(rows))}
"""


def detector(name: str, whole: Evaluation, pairs: Sequence[SlidePair]) -> str:
    """All tables of one detector."""
    parts = {
        "H&E": [p for p in pairs if "-HE-" in p.animal],
        "hematoxylin": [p for p in pairs if "-H-" in p.animal],
        "PAS": [p for p in pairs if "-PAS-" in p.animal],
        "few artefacts": [p for p in pairs if p.animal.endswith("1")],
        "many artefacts": [p for p in pairs if p.animal.endswith("2")],
        "Igfals": [p for p in pairs if p.animal.startswith("Igfals")],
        "Igf1r": [p for p in pairs if p.animal.startswith("Igf1r")],
    }
    results = {"all": whole} | {part: evaluate(own, resamples=0) for part, own in parts.items()}
    return f"""
## The {name} detector

### Headline figures

{_headline(whole)}

### By stain, artefacts and model

{_compared(results)}

{NOTES[name]}

### Stages

{markdown(whole.stages)}

### What the section shows of them

{markdown(whole.kinds)}

### Stage given (columns) to each true stage

{markdown(whole.confusion)}

### Counts per section

{markdown(whole.counts)}

### Average precision, four classes, IoU 0.25

{markdown(whole.classes)}
"""


def varied_looks(results: Mapping[str, Sequence[SlidePair]]) -> str:
    """Networks on the cohort with varied looks, whole and by half."""
    compared, parts = {}, {"without variety": ("1", "3"), "with variety": ("2", "4")}
    for name, pairs in results.items():
        compared[name] = evaluate(pairs, resamples=0)
        for part, animals in parts.items():
            own = [p for p in pairs if p.animal.endswith(animals)]
            compared[f"{name}, {part}"] = evaluate(own, resamples=0)
    whole = evaluate(results["network"])
    return f"""
### The network on this cohort, and on its halves

{_compared(compared)}

### Intervals

{_headline(whole)}

### Stages

{markdown(whole.stages)}

### What the section shows of them

{markdown(whole.kinds)}

### Stage given (columns) to each true stage

{markdown(whole.confusion)}
"""


def nuclei(cohorts: Sequence[Path]) -> str:
    """How often a wrong µm/px is noticed, and a right one doubted."""
    rows = []
    for cohort, error in ((cohort, error) for cohort in cohorts for error in OFF_BY):
        found = []
        for source in list_slides(cohort):
            with open_slide(source.path, mpp=NATIVE_MPP * error) as slide:
                overview = survey(slide, TissueConfig())
                found += [nuclear_mpp(slide, overview, section) / NATIVE_MPP for section in overview.sections]
        ratio = np.array(found)
        rows.append(
            {
                "cohort": cohort.name,
                "stated µm/px": f"{100 * error:.0f} % of the right one",
                "sections": len(ratio),
                "not measured": int(np.isnan(ratio).sum()),
                "doubted": float(doubts(ratio / error).mean()),
                "median of estimate / right µm/px": float(np.nanmedian(ratio)),
            }
        )
    return f"""
## µm/px from nuclei

A section is doubted if the size of its nuclei suggests another µm/px than the stated one, by more than a factor of
{LARGEST_ERROR:g} (`follicle_stager/ruler.py`). The nuclei of virtual sections vary less than real ones:
[Real sections](real-sections.md#µmpx-from-nuclei) has the figures for other organs.

{markdown(pd.DataFrame(rows))}
"""


def stereology() -> str:
    """Counts of 200 virtual ovaries against theory."""
    thickness, model, rows = 5.0, small_ovary(lost_cap_um=0), []
    for interval in (2, 10):
        true, seen, height = (np.zeros((OVARIES, len(LADDER))) for _ in range(3))
        for number in range(OVARIES):
            rng = np.random.default_rng([20261123, number])
            ovary = build_ovary(rng, model)
            f = ovary.follicles
            alive = f["nucleus"] > 0
            for cut in series(ovary, thickness_um=thickness, interval=interval, start=int(rng.integers(interval))):
                seen[number] += np.bincount(f["stage"][nuclei_in(ovary, cut)], minlength=len(LADDER))
            true[number] = np.bincount(f["stage"][alive], minlength=len(LADDER))
            height[number] = np.bincount(f["stage"][alive], 2 * f["nucleus"][alive], minlength=len(LADDER))
        for i, stage in enumerate(LADDER):
            n = true[:, i].sum()
            if not n:
                continue
            h = height[:, i].sum() / n
            corrected = np.array([abercrombie(s, interval, thickness_um=thickness, height_um=h) for s in seen[:, i]])
            rows.append(
                {
                    "interval": interval,
                    "stage": stage.value,
                    "true": int(n),
                    "n·k / true": seen[:, i].sum() * interval / n,
                    "theory (T + h)/T": (thickness + h) / thickness,
                    "Abercrombie / true": corrected.sum() / n,
                    "its standard error": (corrected - true[:, i]).std(ddof=1) * np.sqrt(OVARIES) / n,
                }
            )
    return f"""
## The virtual ovary against stereology

{OVARIES} small virtual ovaries are cut at 5 µm in a random direction with a random start. Every k-th section is
taken, and follicles are counted if the nucleus of their oocyte is visible. With T for the thickness of the section
and h for the mean height of the nuclei of a stage, the counts multiplied by the interval are too high by the factor
(T + h)/T. Abercrombie's correction with h gives the true number, within its sampling error.

{markdown(pd.DataFrame(rows), digits=3)}
"""


def _headline(result: Evaluation) -> str:
    rows = [
        {
            "figure": FIGURES[figure].strip(),
            "value": value,
            "95 % interval": "NA" if np.isnan(low) else f"{low:.2f} - {high:.2f}",
        }
        for figure, value, low, high in result.summary[["figure", "value", "low", "high"]].to_numpy()
    ]
    return markdown(pd.DataFrame(rows))


def _compared(results: dict[str, Evaluation]) -> str:
    rows = [
        {
            "figure": FIGURES[figure].strip(),
            **{part: r.summary.set_index("figure").loc[figure, "value"] for part, r in results.items()},
        }
        for figure in FIGURES
    ]
    return markdown(pd.DataFrame(rows))


def markdown(table: pd.DataFrame, digits: int = 2) -> str:
    """A table of Markdown; numbers that are no integers with ``digits``."""

    def cell(value: object) -> str:
        if value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return "NA"
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("_", " ")

    head = "| " + " | ".join(str(c).replace("_", " ") for c in table.columns) + " |"
    rows = ["| " + " | ".join(cell(v) for v in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join([head, "|" + "---|" * len(table.columns), *rows])


if __name__ == "__main__":
    main()
