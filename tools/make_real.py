"""Write docs/real-sections.md: what is found on real pictures, which cannot be part of the project.

    python tools/make_real.py [--marked ../shared/real_sections/marked] [--textures ../shared/textures]

``--marked`` is a folder of pictures with their marks (``X.truth.json``, see docs/contribute-data.md), ``--textures`` a
folder of pictures of other organs with a table SOURCES.csv (columns file, mpp, use, organ, licence, repository); each
can be missing. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from make_accuracy import DOCS, WRONG_MPP, markdown
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.rates import confint_poisson

from follicle_stager.config import Config
from follicle_stager.detection.network.engines import ENGINES, REFERENCE
from follicle_stager.errors import SlideError, UserError
from follicle_stager.evaluation.marks import (
    ENDING,
    SMALLEST_FIELD_MM2,
    SOURCES,
    MarkedPicture,
    MarkScore,
    is_right,
    picture_of,
    read_marked,
    read_sources,
    score_marks,
    unchanged,
)
from follicle_stager.files import write_text
from follicle_stager.pipeline import process_slide
from follicle_stager.ruler import LARGEST_ERROR, doubts
from follicle_stager.slides import open_slide
from follicle_stager.stages import LADDER, RUNGS, Stage
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.records import SlideResult

SHARED = Path(__file__).parents[2] / "shared"
CONFIG = Config.model_validate({"tissue": {"min_section_mm2": SMALLEST_FIELD_MM2}, "network": {"engine": REFERENCE}})
GROWING = [stage for stage in LADDER if not stage.resting]
# Less tissue of a source than this gives no rate, mm².
LEAST_MM2 = 0.05
# Words of the column mpp_basis that say that µm/px does not come from the size of cells.
STATED = re.compile(r"stated|scale bar|BCSS is")

HEAD = """# Real sections

This page is written by `make real`, version {version}.
"""

OURS = """
**These figures show how the detector copes with the looks of real tissue. They are no estimate of its accuracy on mouse
slides.** One person, who is not an expert, marked the follicles by eye. Most pictures are teaching micrographs of other
mammals, or of no stated species. Marks in one picture are not independent, so the true intervals are wider than those
given. This project most needs mouse sections marked by experts: see [Contribute marked sections](contribute-data.md).

The pictures are not part of this project, as the authors of the marked ones state no licence. If you have other
pictures, run the same command on them: `python tools/make_real.py --marked FOLDER --textures FOLDER`. Nothing is
trained on the marked pictures, or on the sources of other tissue that are used for scoring. But the marked pictures
were looked at to find what the virtual ovary lacks. Networks and settings were scored on them about forty times,
and the supplied network was chosen among those that find the most. Expect less on other pictures.
"""

MARKED = """
## Marked pictures

A mark is found if an outline contains its centre and is 0.4 to 2.5 times as wide. These stages count as right, too:
early antral for antral and the reverse, preovulatory for antral, and transitional for primordial or primary.
Primordial and transitional follicles are not required on pictures that are too coarse for them. A claim is extra if it
is on no mark. Marks of which the person was not sure are not required, but a claim on them is not extra, nor is a
second claim on a mark. Pictures that are not of mouse, or have no µm/px, are read at a µm/px at which the marked
follicles have the size of a mouse's: they test looks, not sizes. Intervals are exact 95 % intervals (Clopper-Pearson),
as if marks were independent.

{summary}

By stage:

{stages}

Of the {secondary} secondary follicles found, {layered} have two or more counted layers (median over rays), as the eye
saw them; in {thick} the granulosa is thick enough for two.

By picture. Pictures in brackets are not in the sums: {left_out}.

{pictures}

## Marked pictures if µm/px is 10 % wrong

The same pictures were searched as if their µm/px were 10 % lower or higher. *Unchanged* is the number of the claims
that are found again (IoU 0.5) with the same stage.

{scales}

## Marked pictures with other engines

The same network, computed by other libraries that are installed here (`network.engine`).

{engines}
"""

TEXTURES = """
## Tissue without follicles

Pictures of other organs, most of them human, in H&E. Every claim on them is false. Sources marked *train* may be used
for training, those marked *score* may not. For some sources, µm/px was estimated from the size of cells. Intervals are
exact 95 % intervals (Poisson), as if claims were independent.

{textures}

Means over the sources, each with the same weight:

{means}

Claims by stage: {claims}.

## µm/px from nuclei

A section is doubted if the size of its nuclei suggests another µm/px than the stated one, by more than a factor of
{largest_error}. Here the stated one is taken for right, so every doubt is a false alarm. It is known only where the
basis is *stated* (by the file, its authors, or a scale bar); elsewhere it was estimated from the size of cells, which
is no independent test. The nuclei of other organs differ from those of the ovary.

{nuclei}
"""


@dataclass
class Source:
    """Tissue of one source, and what was claimed on it."""

    use: str
    organ: str
    licence: str
    repository: str
    pictures: int = 0
    mm2: float = 0.0
    claims: Counter[str] = field(default_factory=Counter)
    scale_stated: bool = False
    ratios: list[float] = field(default_factory=list)
    """Estimate of µm/px from nuclei, relative to the given one; NaN where they could not be measured."""

    @property
    def growing(self) -> int:
        """Number of claims of growing stages."""
        return sum(self.claims[stage.label] for stage in GROWING)


def main() -> None:
    """Search, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marked", type=Path, default=SHARED / "real_sections" / "marked")
    parser.add_argument("--textures", type=Path, default=SHARED / "textures")
    parser.add_argument("--page", type=Path, default=DOCS / "real-sections.md")
    options = parser.parse_args()
    try:
        truths = sorted(options.marked.rglob(f"*{ENDING}"))
        sources = options.textures / SOURCES
        text = HEAD.format(version=__version__) + (OURS if options.marked.resolve().is_relative_to(SHARED) else "")
        text += MARKED.format(**on_marked(truths)) if truths else ""
        text += TEXTURES.format(**on_textures(options.textures)) if sources.is_file() else ""
        if not truths and not sources.is_file():
            raise UserError(
                f"{options.marked}: no marked pictures here, nor {sources}. The pictures are not part of the project; "
                "name your own with --marked or --textures (docs/contribute-data.md)."
            )
        write_text(options.page, text)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"wrote {options.page}")


def searched(path: Path, mpp: float, engine: str = REFERENCE) -> SlideResult | None:
    """What is found on a picture; None if it is refused, for example as empty."""
    with open_slide(path, mpp=mpp) as slide:
        try:
            return process_slide(slide, CONFIG.with_options(network={"engine": engine}))
        except SlideError as error:
            print(f"refused: {error}")
            return None


def on_marked(truths: Iterable[Path]) -> dict[str, str]:
    """Text of each part of the page that is about marked pictures."""
    scores: list[tuple[MarkedPicture, MarkScore]] = []
    rows, again, left_out = [], {scale: [0, 0] for scale in WRONG_MPP}, []
    by_engine: dict[str, list[MarkScore]] = {name: [] for name, engine in ENGINES.items() if engine.can_run()}
    for path in truths:
        marked, picture = read_marked(path), picture_of(path)
        mpp, name = marked.mpp_to_read, path.name.removesuffix(ENDING)
        if mpp is None:
            left_out.append(f"{name} (no µm/px, and no mark with a diameter to infer it from)")
            continue
        result = searched(picture, mpp)
        visible = result.visible_stages if result else LADDER
        score = score_marks(result.follicles if result else (), marked, visible=visible)
        rows.append(_picture_row(name, marked, mpp, score, refused=result is None))
        print(rows[-1], flush=True)
        if marked.report_only:
            left_out.append(f"{name} ({marked.report_only})")
            continue
        scores.append((marked, score))
        by_engine[REFERENCE].append(score)
        for engine in by_engine.keys() - {REFERENCE}:
            found = searched(picture, mpp, engine)
            by_engine[engine].append(score_marks(found.follicles if found else (), marked, visible=visible))
        for scale, counted in again.items():
            other = searched(picture, mpp * scale)
            if result and other:
                both = set(result.visible_stages) & set(other.visible_stages)
                same, of = unchanged(result.follicles, other.follicles, visible=both)
                counted[0], counted[1] = counted[0] + same, counted[1] + of
    mouse = [s for marked, s in scores if marked.of_mouse]
    others = [s for marked, s in scores if not marked.of_mouse]
    groups = {"mouse": mouse, "other species, or not stated": others, "all": [*mouse, *others]}
    return {
        "summary": markdown(pd.DataFrame([_summed(name, own) for name, own in groups.items()])),
        "stages": markdown(pd.DataFrame(_by_stage([s for _, s in scores]))),
        **_layers([s for _, s in scores]),
        "pictures": markdown(pd.DataFrame(rows)),
        "left_out": "; ".join(left_out) or "none",
        "engines": markdown(
            pd.DataFrame([{"engine": name} | _summed("", own) for name, own in by_engine.items()]).drop(
                columns="pictures"
            )
        ),
        "scales": markdown(
            pd.DataFrame(
                {"µm/px": f"{100 * scale:.0f} % of the right one", "claims": of, "unchanged": share(same, of)}
                for scale, (same, of) in again.items()
            )
        ),
    }


def _picture_row(name: str, marked: MarkedPicture, mpp: float, score: MarkScore, *, refused: bool) -> dict[str, object]:
    words = [f"{m.stage.label}: {c.stage.label.lower() if c else 'missed'}" for m, c in score.answers]
    words += [f"extra: {claim.stage.label.lower()}" for claim in score.extra]
    return {
        "picture": f"({name})" if marked.report_only else name,
        "species": "mouse" if marked.of_mouse else "other",
        "µm/px": round(mpp, 2),
        "marks": len(score.answers),
        "found": score.found,
        "right stage": score.right,
        "extra": len(score.extra),
        "mark: claim": "refused" if refused else "; ".join(words),
    }


def _summed(name: str, scores: list[MarkScore]) -> dict[str, object]:
    marks = sum(len(s.answers) for s in scores)
    found, right = sum(s.found for s in scores), sum(s.right for s in scores)
    extra = sum(len(s.extra) for s in scores)
    return {
        "pictures": f"{name} ({len(scores)})",
        "marks": marks,
        "found": share(found, marks),
        "right stage": share(right, marks),
        "extra claims": extra,
    }


def _by_stage(scores: list[MarkScore]) -> list[dict[str, object]]:
    answers = [answer for score in scores for answer in score.answers]
    rows: list[dict[str, object]] = []
    for name, stages in RUNGS.items():
        own = [(mark, claim) for mark, claim in answers if mark.stage in stages]
        found = sum(claim is not None for _, claim in own)
        right = sum(is_right(mark, claim) for mark, claim in own)
        rows.append(
            {"stage": name, "marks": len(own), "found": share(found, len(own)), "right stage": share(right, len(own))}
        )
    return rows


def _layers(scores: list[MarkScore]) -> dict[str, str]:
    """How many secondary follicles that were found have two counted layers, and the thickness of two."""
    found = [c.measurements for s in scores for m, c in s.answers if m.stage is Stage.SECONDARY and c is not None]
    known = [m for m in found if m is not None]
    thick = sum(m.granulosa_um >= CONFIG.staging.two_layers_min_um for m in known)
    return {"secondary": str(len(found)), "layered": str(sum(m.layers >= 2 for m in known)), "thick": str(thick)}


def on_textures(folder: Path) -> dict[str, str]:
    """Text of each part of the page that is about tissue without follicles."""
    sources: dict[str, Source] = {}
    for picture in read_sources(folder):
        if not picture.path.is_file():
            continue
        name = picture.cells["file"].split("/", 1)[0]
        own = sources.setdefault(
            name,
            Source(
                use=picture.use,
                organ=picture.cells.get("organ", "").split(" (")[0].split(":")[0],
                licence=picture.cells.get("licence", ""),
                repository=picture.cells.get("repository", ""),
                scale_stated=bool(STATED.search(picture.cells.get("mpp_basis", ""))),
            ),
        )
        own.pictures += 1
        result = searched(picture.path, picture.mpp)
        if result is not None:
            own.mm2 += result.quality["tissue_mm2"]
            own.claims.update(f.stage.label for f in result.follicles)
            own.ratios.append(result.quality.get("mpp_by_nuclei", math.nan) / picture.mpp)
        print(picture.path.name, dict(own.claims), flush=True)
    everything = sum((own.claims for own in sources.values()), Counter[str]())
    return {
        "textures": markdown(pd.DataFrame([_source_row(name, own) for name, own in sources.items()])),
        "means": markdown(pd.DataFrame([_mean_row(use, sources.values()) for use in ("score", "train")])),
        "claims": ", ".join(f"{stage.lower()} {n}" for stage, n in everything.most_common()) or "none",
        "largest_error": f"{LARGEST_ERROR:g}",
        "nuclei": markdown(pd.DataFrame([_nuclei_row(name, own) for name, own in sources.items()])),
    }


def _nuclei_row(name: str, own: Source) -> dict[str, object]:
    ratio = np.array(own.ratios)
    known = ratio[np.isfinite(ratio)]
    return {
        "source": name,
        "basis of µm/px": "stated" if own.scale_stated else "estimated",
        "pictures": len(ratio),
        "measured": len(known),
        "doubted": int(doubts(known).sum()),
        "median of estimate / given µm/px": float(np.median(known)) if len(known) else math.nan,
    }


def _source_row(name: str, own: Source) -> dict[str, object]:
    return {
        "source": f"{name}: {own.organ}",
        "use": own.use,
        "licence": own.licence,
        "from": own.repository,
        "pictures": own.pictures,
        "mm²": own.mm2,
        "claims per mm²": rate(own.claims.total(), own.mm2),
        "growing per mm²": rate(own.growing, own.mm2),
    }


def _mean_row(use: str, sources: Iterable[Source]) -> dict[str, object]:
    own = [s for s in sources if s.use == use and s.mm2 > LEAST_MM2]
    return {
        "sources": f"{use} ({len(own)})",
        "mm²": sum(s.mm2 for s in own),
        "claims per mm²": sum(s.claims.total() / s.mm2 for s in own) / max(len(own), 1),
        "growing per mm²": sum(s.growing / s.mm2 for s in own) / max(len(own), 1),
    }


def share(part: int, whole: int) -> str:
    """A share with its exact 95 % interval."""
    if not whole:
        return "0 of 0"
    low, high = proportion_confint(part, whole, method="beta")
    return f"{part} of {whole} ({low:.2f} - {high:.2f})"


def rate(count: int, mm2: float) -> str:
    """A number per mm² with its exact 95 % interval."""
    if mm2 < LEAST_MM2:
        return "NA"
    low, high = confint_poisson(count, mm2, method="exact-c")
    return f"{count / mm2:.1f} ({low:.1f} - {high:.1f})"


if __name__ == "__main__":
    main()
