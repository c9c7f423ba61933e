"""report.html: one self-contained file for a screen, a phone and paper."""

from __future__ import annotations

import base64
import io
import math
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from follicle_stager.audit.results import LEAST_FOLLICLES
from follicle_stager.corrections.log import read_edits
from follicle_stager.errors import StudyError, UserError
from follicle_stager.files import check_regular, write_text
from follicle_stager.report.figures import axis_top, write_figures
from follicle_stager.review.blinding import blind_decisions
from follicle_stager.review.queue import Progress, progress
from follicle_stager.slides.crops import crop_of
from follicle_stager.stages import LADDER, RUNGS, Countable, Health, Status
from follicle_stager.statistics.effects import LEAST_PER_ANIMAL
from follicle_stager.statistics.matrix import KIND_WORDS
from follicle_stager.statistics.sensitivity import NOT_AUDITED, called, in_words
from follicle_stager.study import count
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from follicle_stager.records import Follicle
    from follicle_stager.statistics import Arrest, Comparison
    from follicle_stager.study import Counts, SlideContent, Study

_UNKNOWN = "–"
# Width of the overlays, px, and how many are shown; the others are on disk.
_OVERLAY_PX, _MAX_OVERLAYS = 900, 8
# Verdicts that are no claim of their own beside the arrest, blocks and equivalence.
_NOT_TESTED_APART = {"arrest", "block", "none", "inconclusive", "not estimable"}
# Pictures per stage, and their side, px.
_PER_STAGE, _CROP_PX = 4, 130


def write_report(
    study: Study | Path,
    comparison: Comparison,
    *,
    counts: Counts | None = None,
    contents: Mapping[str, SlideContent] | None = None,
    told: Callable[[str], None] = lambda said: None,
) -> Path:
    """Write ``report.html``, and its figures as SVG and PDF into ``statistics/``.

    Parameters
    ----------
    study
        Study that was compared, or a folder, for counts from a table: the page then has no part on slides.
    comparison
        Result of the comparison.
    counts
        Counts that were compared, if they are at hand.
    contents
        Current content of the slides, if it was read before: `Study.contents`.
    told
        Function that is called with notes for the user: slides whose image is not found.

    Returns
    -------
    Path
        Path of the page.
    """
    folder = study if isinstance(study, Path) else study.path
    models = []
    for number, arrest in enumerate(comparison.arrests, start=1):
        ways = comparison.sensitivity[comparison.sensitivity["comparison"] == arrest.matrix.comparison]
        models.append(
            {
                "name": arrest.matrix.title or "Comparison",
                "verdict": arrest.verdict,
                "genotypes": arrest.matrix.genotypes,
                "n": arrest.matrix.group_sizes,
                "figures": write_figures(folder, comparison, number),
                "steps": [row | {"estimable": not math.isnan(row["ratio"])} for row in _records(arrest.steps)],
                "stages": _records(comparison.stages[comparison.stages["comparison"] == arrest.matrix.comparison]),
                "question": {row["test"]: row for row in _records(arrest.question)},
                "would_change": _would_change(arrest),
                "ways": _records(ways),
                "robust": in_words(ways),
                "aside": _aside(comparison.stages[comparison.stages["comparison"] == arrest.matrix.comparison]),
                "fragile": ways[["verdict", "blocks_after"]].nunique().max() > 1,
                "legend": _legend(arrest, comparison),
            }
        )
    slides = None
    if not isinstance(study, Path):
        contents = contents if contents is not None else study.contents()
        counts = counts or count(study, contents=contents)
        slides = _slides(study, counts, contents, told)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    words = {"words": lambda name: str(name).replace("_", " "), "called": called}
    environment.filters |= {"number": _number, "count": _count, "interval": _interval} | words
    template = environment.from_string(files("follicle_stager.report").joinpath("report.html.j2").read_text("utf-8"))
    page = template.render(
        title=folder.resolve().name,
        version=__version__,
        date=datetime.now(UTC).date().isoformat(),
        count=KIND_WORDS[comparison.kind],
        unit=_unit(comparison),
        atretic_counted=comparison.kind == "countable",
        models=models,
        together=comparison.together,
        blocked=any(arrest.verdict.blocks for arrest in comparison.arrests),
        said=comparison.said,
        responses=_records(comparison.responses),
        notes=comparison.notes,
        methods=_methods(comparison),
        audit=_audit(comparison),
        flow=_flow(comparison, counts),
        slides=slides,
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _slides(
    study: Study, counts: Counts, contents: Mapping[str, SlideContent], told: Callable[[str], None]
) -> dict[str, Any]:
    """What the page says of the slides of a study, and of the follicles on them."""
    slides = list(contents)
    shown = slides[:: max(1, math.ceil(len(slides) / _MAX_OVERLAYS))]  # evenly over the names, so from all groups
    follicles = {slide: content.included for slide, content in contents.items()}
    pictures = study.sources()
    missing = {slide: path for slide, path in pictures.items() if not path.exists()}
    for slide, path in missing.items():
        told(f"{slide}: the report does not show its follicles, because {path} was not found.")
    runs = {slide: study.run(slide) for slide in slides}
    reviewed = {slide: progress(own) for slide, own in follicles.items()}
    config = study.config
    return {
        "overlays": [(slide, _overlay(study.slide_folder(slide) / "overlay.jpg")) for slide in shown],
        "number": len(slides),
        "examples": _examples(study, follicles, pictures),
        "missing": [str(path) for path in missing.values()],
        "flags": [f"{slide}: {flag}" for slide, run in runs.items() for flag in run.flags],
        "corpora_lutea": _corpora_lutea(counts),
        "reviewed": sum(reviewed.values(), Progress(0, 0)),
        "untouched": [slide for slide, p in reviewed.items() if not p.judged],
        "blind": _blind(study, slides),
        "detector": runs[slides[0]].detector.split(" ")[0],
        "min_score": f"{config.detection.min_score:g}",
        "staged": "a classifier learned from corrections" if config.staging.classifier else "explicit criteria",
        "antral_min_fraction": f"{config.staging.antral_min_fraction:.0%}",
    }


def _audit(comparison: Comparison) -> dict[str, Any]:
    """What the page says of an audit; empty without one."""
    if comparison.accuracy.empty:
        return {}
    table = comparison.accuracy.assign(few=comparison.accuracy["n"] < LEAST_FOLLICLES)
    of_all = table[table["group"] == "all"]
    stages = [
        {"stage": stage} | {row["measure"]: row for row in _records(own)}
        for stage, own in of_all.groupby("stage", sort=False)
        if own["n"].any()
    ]
    groups = table[(table["group"] != "all") & table["stage"].eq("all stages")]
    ways = comparison.sensitivity[comparison.sensitivity["changed"] == NOT_AUDITED]
    without = [called(str(verdict)) for verdict in ways["verdict"]]
    return {
        "words": comparison.audit_words,
        "stages": stages,
        "groups": _records(groups),
        "without": ", ".join(without),
        "least": LEAST_FOLLICLES,
    }


def _blind(study: Study, slides: Sequence[str]) -> str:
    """How many decisions about follicles and sections were blind; empty without any decision."""
    counted = [blind_decisions(read_edits(study.slide_folder(slide))) for slide in slides]
    blind, of = (sum(numbers) for numbers in zip(*counted, strict=True))
    if not of:
        return ""
    if not blind:
        return f"None of the {of} decisions was blind to the labels of slides, animals and groups."
    return (
        f"{blind} of {of} decisions were blind to the labels of slides, animals and groups. (The tissue itself may "
        "still show the genotype.)"
    )


def _legend(arrest: Arrest, comparison: Comparison) -> str:
    """Legend of the figure of stages, for a paper."""
    matrix = arrest.matrix
    own = comparison.points[comparison.points["comparison"] == matrix.comparison]
    sections = own[own["level"] == "section"].drop_duplicates(["animal", "ovary", "section"])
    groups, smaller = [], []
    for genotype, n in zip(matrix.genotypes, matrix.group_sizes, strict=True):
        of_group = int((sections["genotype"] == genotype).sum())
        groups.append(f"{genotype} (n = {n} animals{f', {of_group} sections' if of_group else ''})")
    if (own["level"] == "ovary").any():
        smaller.append("middle-sized dots: ovaries")
    if len(sections):
        smaller.append("small dots: sections (as if all of the animal were like them)")
        if any((of_stage["value"] > axis_top(of_stage)).any() for _, of_stage in own.groupby("stage")):
            smaller.append("triangles: sections beyond the axis")
    dots = "; ".join(["Large dots: animals", *smaller, "lines: means over animals with 95 % intervals (t)"])
    what = KIND_WORDS[comparison.kind].capitalize()
    return f"{what}, per {matrix.per}, of {' and '.join(groups)}. {dots}. Counts are scaled: {matrix.exposure_note}."


def _flow(comparison: Comparison, counts: Counts | None) -> dict[str, Any]:
    """Numbers of follicles on their way into the comparison, by group; empty without slides."""
    if counts is None:
        return {}
    names, columns = [], []
    for arrest in comparison.arrests:
        matrix = arrest.matrix
        for genotype, own in zip(matrix.genotypes, (~matrix.knockout, matrix.knockout), strict=True):
            animals = [animal for animal, there in zip(matrix.animals, own, strict=True) if there]
            of = {
                name: table[(table["model"].fillna("") == matrix.model) & table["animal"].astype(str).isin(animals)]
                for name, table in (("follicles", counts.follicles), ("rejected", counts.rejected))
            }
            follicles = of["follicles"]
            on_ladder = follicles["stage"].isin([stage.value for stage in LADDER])
            countable = on_ladder & (follicles["countable"] == Countable.YES)
            names.append(", ".join(part for part in (genotype, matrix.stratum) if part))
            columns.append(
                [
                    len(follicles) + len(of["rejected"]),
                    len(of["rejected"]),
                    int((~on_ladder).sum()),
                    int((on_ladder & ~countable).sum()),
                    int(countable.sum()),
                    int((countable & (follicles["health"] == Health.ATRETIC)).sum()),
                    float(np.nansum(matrix.counts[own][:, matrix.seen])),
                ]
            )
    labels = (
        "outlines found or drawn",
        "rejected by a person",
        "unsure stage",
        "oocyte nucleus not seen",
        "countable: oocyte nucleus seen",
        f"of these, atretic ({'left out' if comparison.kind == 'healthy' else 'not left out'})",
        f"in the comparison ({KIND_WORDS[comparison.kind]})",
    )
    return {"names": names, "rows": list(zip(labels, zip(*columns, strict=True), strict=True))}


def _corpora_lutea(counts: Counts) -> list[dict[str, object]]:
    """Profiles of each group, and means over its animals; an animal counts as one, however many sections it has."""
    animals = counts.corpora_lutea_animal.astype({"n_profiles": float})
    if not animals["n_profiles"].fillna(0).any():
        return []
    per_section = animals["n_profiles"] / animals["sections"]
    grouped = animals.assign(per_section=per_section).groupby(["model", "group", "genotype"], sort=False, dropna=False)
    return [
        {
            "name": " ".join(str(key) for key in dict.fromkeys((model, genotype)) if key == key and key),
            "animals": len(own),
            "profiles": own["n_profiles"].sum(skipna=False),
            "per_section": own["per_section"].mean(skipna=False),
            "fraction": own["luteal_fraction"].mean(skipna=False),
        }
        for (model, _, genotype), own in grouped
    ]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _would_change(arrest: Arrest) -> str:
    """Say in words what could change the verdict."""
    if arrest.matrix.sampling is not None:
        return (
            "More audited fields, or more animals, narrow the intervals: 'follicle-stager audit status' says how much. "
            "The reader of the audit decides on each follicle; a second reader of the same fields shows how certain "
            "that is."
        )
    blocked = arrest.steps[arrest.steps["from"].isin(arrest.verdict.blocks)]
    if len(blocked):
        stages = {*blocked["from"], *blocked["to"]}
        if arrest.question["arrest"].eq("yes").any():
            stages |= set(list(RUNGS)[list(RUNGS).index(arrest.question["contrast"].iloc[0]) :])
        names = [
            name.replace("_", " ")
            for name, seen in zip(RUNGS, arrest.matrix.seen, strict=True)
            if seen and name in stages
        ]
        return (
            "Wrong stages could cause the same result, if they are more frequent than on the test slides or differ "
            f"between the groups. Check follicles of these stages first: {', '.join(names)}."
        )
    steps = arrest.steps.dropna(subset=["ratio"])
    if steps.empty:
        return "Follicles of neighbouring stages in both groups, from at least two animals each."
    row = steps.sort_values("p").iloc[0].to_dict()
    step = f"the step from {row['from']} to {row['to']}".replace("_", " ")
    return (
        f"The smallest p has {step}: ratio {_number(row['ratio'])}, 95 % interval {_number(row['low'])} to "
        f"{_number(row['high'])}. More animals, or more sections of each, narrow it."
    )


def _aside(stages: pd.DataFrame) -> str:
    """Warn if the groups differ in outlines that are unsure or atretic."""
    own = stages[stages["stage"].isin(["unsure", "atretic"]) & ((stages["low"] > 1) | (stages["high"] < 1))]
    said = [
        f"{row.stage} ones, {_number(row.ratio)} times as many (95 % interval {_interval(row.low, row.high)})"
        for row in own.itertuples()
    ]
    if not said:
        return ""
    return (
        f"The groups differ in outlines that do not enter the verdict: {'; '.join(said)}. Check them: wrong stages may "
        "be the cause."
    )


def _overlay(path: Path) -> str:
    """A slide's overlay, reduced in size, as a data URI; empty if there is none."""
    if not path.exists():
        return ""
    try:
        check_regular(path)
        with Image.open(path, formats=["JPEG"]) as picture:
            picture.draft("RGB", (_OVERLAY_PX, _OVERLAY_PX))  # a JPEG can be decoded at a smaller size
            small = picture.convert("RGB")
            small.thumbnail((_OVERLAY_PX, _OVERLAY_PX))
    except (UserError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise StudyError(
            f"{path}: the overlay is damaged ({error}). Delete it to continue without it; to make it again, also "
            "delete run.json in the same folder, and run 'follicle-stager stage' on this slide."
        ) from None
    return _data_uri(small)


def _examples(
    study: Study, follicles: dict[str, list[Follicle]], pictures: Mapping[str, Path]
) -> list[tuple[str, list[str]]]:
    """Pictures of follicles of each stage, cut from the slides, the most certain first."""
    wanted: dict[str, list[str]] = {stage.label: [] for stage in LADDER}
    for slide_id, standing in follicles.items():
        needed = [stage for stage in LADDER if len(wanted[stage.label]) < _PER_STAGE]
        own = [f for f in standing if f.stage in needed and f.status != Status.REJECTED]
        if not own or not pictures[slide_id].exists():
            continue
        try:
            with study.open_slide(slide_id) as slide:
                for follicle in sorted(own, key=lambda f: -f.score * f.probabilities.get(f.stage, 0.0)):
                    crops = wanted[follicle.stage.label]
                    if len(crops) < _PER_STAGE:
                        crops.append(_data_uri(Image.fromarray(crop_of(slide, follicle, _CROP_PX))))
        except UserError:  # a damaged slide; take pictures from the others
            continue
    return [(label, crops) for label, crops in wanted.items() if crops]


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _methods(comparison: Comparison) -> dict[str, object]:
    config = comparison.config
    return {
        "covariates": ", ".join(comparison.covariates).replace("_", " "),
        "equivalence_ratio": f"{config.equivalence_ratio:g}",
        "equivalent": _equivalent(comparison),
        "batches": any(arrest.matrix.batches is not None for arrest in comparison.arrests),
        "others": ", ".join(sorted({a.verdict.kind for a in comparison.arrests} - _NOT_TESTED_APART)),
        "contrast": config.contrast.replace("_", " "),
        "contrast_named": config.named_on,
        "least_per_animal": f"{LEAST_PER_ANIMAL:g}",
    }


def _unit(comparison: Comparison) -> str:
    """What is one observation: the animal, or what its litter is."""
    matrices = [arrest.matrix for arrest in comparison.arrests]
    if any(matrix.paired for matrix in matrices):
        return "the difference between littermates"
    return "the animal" if all(matrix.litters is None for matrix in matrices) else "the litter"


def _equivalent(comparison: Comparison) -> str:
    """Whether all steps that could be tested are equivalent, for each comparison."""
    limit = comparison.config.equivalence_ratio
    shown = []
    for arrest in comparison.arrests:
        steps = arrest.steps.dropna(subset=["ratio"])
        if len(steps) and ((steps["low_90"] > 1 / limit) & (steps["high_90"] < limit)).all():
            shown.append(arrest.matrix.comparison)
    if len(comparison.arrests) == 1:
        return "was the case" if shown else "was not the case"
    return f"was the case in: {', '.join(shown)}" if shown else "was the case in no comparison"


def _count(value: float) -> str:
    return _UNKNOWN if math.isnan(value) else f"{value:.0f}"


def _interval(low: object, high: object) -> str:
    return f"{_number(low)} to {_number(high)}" if _number(low) != _UNKNOWN else _UNKNOWN


def _number(value: object) -> str:
    """A number with three significant digits; empty text if it is not a number."""
    try:
        number = float(str(value))
    except ValueError:
        return ""
    if math.isnan(number):
        return _UNKNOWN
    if math.isinf(number):
        return "no limit"
    if number and (abs(number) < 0.001 or abs(number) >= 1000):
        return "< 0.001" if 0 < number < 0.001 else "> 1000" if number >= 1000 else f"{number:.0f}"
    return f"{number:.3g}"
