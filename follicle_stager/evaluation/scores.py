"""Compare the follicles found in a cohort with the truth, with intervals over animals.

The truth may mark a follicle as unrecognisable (measurement ``Recognisable`` 0: a cap without oocyte, nucleus and
fluid). Such profiles are neutral: they do not count as missed or as false claims. They have a separate row in the
tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from shapely import distance, line_interpolate_point

from follicle_stager.evaluation.annotators import kappa_of
from follicle_stager.evaluation.precision import average_precision, match_claims
from follicle_stager.matching import iou, match_outlines, match_points, overlaps, valid
from follicle_stager.stages import FOUR_CLASSES, LADDER, Countable, Health, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from follicle_stager.records import Follicle

#: Smallest overlap of a hit in the public protocol of the four classes.
PROTOCOL_IOU = 0.25
#: Stages that a matched follicle can be given.
_GIVEN = (*LADDER, Stage.UNSURE)


@dataclass(frozen=True)
class Criterion:
    """Criterion for a match: smallest IoU of outlines, or largest distance of centres if that is given."""

    min_iou: float = 0.5
    distance_um: float | None = None


@dataclass(frozen=True, eq=False)
class _Tally:
    """Sums over a slide, and the numbers of found follicles by true stage (rows) and given stage (columns)."""

    sums: dict[str, float]
    given: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SlidePair:
    """Found and true follicles of a slide.

    Attributes
    ----------
    slide, animal
        Names of slide and animal; animals are the units of the intervals.
    found, true
        Follicles in the same pixel coordinates.
    mpp
        Pixel size, µm/px; None if unknown, and then there are no lengths.
    visible
        Stages that slide and detector can show.
    criterion
        Criterion for a match.
    lutea_found, lutea_true
        Corpora lutea; they match by the overlap of their outlines.
    """

    slide: str
    animal: str
    found: Sequence[Follicle]
    true: Sequence[Follicle]
    mpp: float | None = None
    visible: frozenset[Stage] = frozenset({*LADDER, Stage.CORPUS_LUTEUM})
    criterion: Criterion = field(default_factory=Criterion)
    lutea_found: Sequence[Follicle] = ()
    lutea_true: Sequence[Follicle] = ()

    @cached_property
    def recognisable(self) -> list[bool]:
        """Whether each true follicle is recognisable and counts."""
        return [t.recognisable for t in self.true]

    @cached_property
    def partner(self) -> dict[int, int]:
        """Index of the found follicle that matches each true one, caps included; each claim matches only once."""
        outlines = [f.outline for f in self.found], [t.outline for t in self.true]
        if self.criterion.distance_um is None:
            matches = match_outlines(*outlines, min_iou=self.criterion.min_iou)
        else:
            mpp = self.mpp or 1.0
            centres = [[(p.centroid.x * mpp, p.centroid.y * mpp) for p in side] for side in outlines]
            matches = match_points(*centres, max_distance=self.criterion.distance_um)
        return {m.true: m.found for m in matches}

    @cached_property
    def claims(self) -> pd.DataFrame:
        """Table with one row per found follicle: its stage, section, and kind (true, cap or false)."""
        true_of = {f: t for t, f in self.partner.items()}
        rows = []
        for i, f in enumerate(self.found):
            t = true_of.get(i)
            kind = "false" if t is None else "true" if self.recognisable[t] else "cap"
            rows.append((f.stage, kind, self._section_of(f)))
        return pd.DataFrame(rows, columns=["stage", "kind", "section"])

    @cached_property
    def truths(self) -> pd.DataFrame:
        """Table with one row per true follicle that counts."""
        rows = []
        for i, t in enumerate(self.true):
            if not self.recognisable[i]:
                continue
            f = self.found[self.partner[i]] if i in self.partner else None
            rows.append(
                {
                    "stage": t.stage,
                    "section": t.section_id,
                    "found": f is not None,
                    "found_stage": f.stage if f else None,
                    "nucleus": t.countable == Countable.YES,
                    "oocyte": t.oocyte is not None,
                    "atretic": t.health == Health.ATRETIC,
                    "called_atretic": bool(f and f.health == Health.ATRETIC),
                    "dice": _dice(f.outline, t.outline) if f else np.nan,
                    "boundary_um": boundary_distance(f.outline, t.outline) * self.mpp if f and self.mpp else np.nan,
                    "oocyte_dice": _dice(f.oocyte, t.oocyte) if f and f.oocyte and t.oocyte else np.nan,
                }
            )
        columns = ["stage", "section", "found", "found_stage", "nucleus", "oocyte", "atretic", "called_atretic"]
        columns += ["dice", "boundary_um", "oocyte_dice"]
        flags = ["found", "nucleus", "oocyte", "atretic", "called_atretic"]
        kinds = dict.fromkeys(flags, bool) | dict.fromkeys(["dice", "boundary_um", "oocyte_dice"], float)
        return pd.DataFrame(rows, columns=columns).astype(kinds)

    @cached_property
    def tally(self) -> _Tally:
        """Sums from which the headline figures are computed."""
        truths, kinds = self.truths, self.claims["kind"]
        matched = truths[truths["found"]]
        given = np.zeros((len(_GIVEN), len(_GIVEN)))
        for true, found in zip(matched["stage"], matched["found_stage"], strict=True):
            given[_GIVEN.index(true), _GIVEN.index(found)] += 1
        visible = truths["stage"].isin(self.visible)
        lutea = [[f.outline for f in side] for side in (self.lutea_found, self.lutea_true)]
        sums = {
            "true": len(truths),
            "hits": len(matched),
            "claims": (kinds != "cap").sum(),
            "true_visible": visible.sum(),
            "hits_visible": (visible & truths["found"]).sum(),
            "true_nucleus": (visible & truths["nucleus"]).sum(),
            "hits_nucleus": (visible & truths["nucleus"] & truths["found"]).sum(),
            "dice": matched["dice"].sum(),
            "boundary": matched["boundary_um"].sum(),
            "boundaries": matched["boundary_um"].notna().sum(),
            "oocyte_dice": matched["oocyte_dice"].sum(),
            "oocytes": matched["oocyte_dice"].notna().sum(),
            "lutea_found": len(lutea[0]),
            "lutea_true": len(lutea[1]),
            "lutea_visible": len(lutea[1]) if Stage.CORPUS_LUTEUM in self.visible else 0,
            "lutea_hits": len(match_outlines(*lutea, min_iou=self.criterion.min_iou)),
        }
        return _Tally({name: float(value) for name, value in sums.items()}, given)

    @cached_property
    def ranked(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64], int]]:
        """Scores and verdicts of the claims, and number of true follicles, for each of the four classes."""
        out = {}
        for name in FOUR_CLASSES:
            claims = [f for f in self.found if f.stage.four_class == name]
            # True follicles of other classes are left out; unrecognisable ones are neutral.
            true = [
                (t, not ok)
                for t, ok in zip(self.true, self.recognisable, strict=True)
                if not ok or t.stage.four_class == name
            ]
            overlap = overlaps([f.outline for f in claims], [t.outline for t, _ in true])
            scores = np.array([f.score for f in claims])
            ignored = np.array([i for _, i in true], bool)
            out[name] = (scores, match_claims(overlap, scores, ignored, min_iou=PROTOCOL_IOU), int((~ignored).sum()))
        return out

    def _section_of(self, f: Follicle) -> str:
        """Section of a found follicle: that of the nearest true one."""
        if not self.true:
            return ""
        return min(self.true, key=lambda t: f.outline.centroid.distance(t.outline.centroid)).section_id


@dataclass(frozen=True)
class Evaluation:
    """Tables of an evaluation; shares are 0-1, or NaN if the divisor is 0.

    Attributes
    ----------
    summary
        Headline figures, each with a 95 % interval over animals (``low``, ``high``).
    stages
        Numbers per stage: true, found, right stage, claimed, false; precision, recall and F1 of the stage.
    kinds
        Numbers of true and found follicles by the parts that the section shows, and of atretic ones.
    confusion
        Numbers by true stage (rows) and given stage (columns), with a column ``missed`` and a row ``(false)``.
    counts
        True and found follicles per section, and the error, per stage.
    classes
        Average precision in the four-class protocol.
    """

    summary: pd.DataFrame
    stages: pd.DataFrame
    kinds: pd.DataFrame
    confusion: pd.DataFrame
    counts: pd.DataFrame
    classes: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name, as in the files."""
        return {n: getattr(self, n) for n in ("summary", "stages", "kinds", "confusion", "counts", "classes")}


def evaluate(pairs: Sequence[SlidePair], *, resamples: int = 1000, seed: int = 1) -> Evaluation:
    """Compare found follicles with the truth.

    Parameters
    ----------
    pairs
        Found and true follicles, one pair per slide.
    resamples
        Number of bootstrap samples of whole animals for the intervals.
    seed
        Seed of the bootstrap.

    Returns
    -------
    Evaluation
    """
    truths = pd.concat([p.truths for p in pairs], ignore_index=True)
    claims = pd.concat([p.claims for p in pairs], ignore_index=True)
    return Evaluation(
        summary=_summary(pairs, resamples, seed),
        stages=_stages(truths, claims),
        kinds=_kinds(truths, pairs),
        confusion=_confusion(truths, claims),
        counts=_counts(pairs),
        classes=pd.DataFrame(
            [{"class": n, "n_true": sum(p.ranked[n][2] for p in pairs), "ap": _ap(pairs, n)} for n in FOUR_CLASSES]
        ),
    )


def boundary_distance(a: Polygon, b: Polygon) -> float:
    """Mean distance between two outlines, averaged over both directions, in their unit.

    It is measured from 100 points on each outline; 0 for equal outlines.
    """
    return 0.5 * (_one_way(a, b) + _one_way(b, a))


def _one_way(a: Polygon, b: Polygon) -> float:
    ring, other = a.exterior, b.exterior
    steps = line_interpolate_point(ring, np.linspace(0, 1, 100, endpoint=False), normalized=True)
    return float(np.mean(distance(steps, other)))


def _dice(a: Polygon, b: Polygon) -> float:
    overlap = iou(valid(a), valid(b))
    return 2 * overlap / (1 + overlap)


def _ap(pairs: Sequence[SlidePair], name: str) -> float:
    ranked = [p.ranked[name] for p in pairs]
    scores, verdicts = (np.concatenate([r[i] for r in ranked]) for i in (0, 1))
    return average_precision(scores, verdicts, sum(r[2] for r in ranked))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _f1(precision: float, recall: float) -> float:
    if np.isnan(precision) or np.isnan(recall):
        return float("nan")
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _headline(pairs: Sequence[SlidePair]) -> dict[str, float]:
    """Headline figures. Slides may occur more than once, as drawn by the bootstrap."""
    tallies = [p.tally for p in pairs]
    n = {name: sum(t.sums[name] for t in tallies) for name in tallies[0].sums}
    given = sum((t.given for t in tallies), np.zeros_like(tallies[0].given))
    antral = [_GIVEN.index(s) for s in LADDER if s.antral]
    secondary = [_GIVEN.index(s) for s in LADDER if s.rung == "secondary"]

    def called(true: list[int], as_: list[int] | None = None) -> float:
        return float(given[true].sum() if as_ is None else given[np.ix_(true, as_)].sum())

    confused = called(antral, secondary) + called(secondary, antral)
    precision, recall = _share(n["hits"], n["claims"]), _share(n["hits"], n["true"])
    recall_visible = _share(n["hits_visible"], n["true_visible"])
    aps = [_ap(pairs, name) for name in FOUR_CLASSES]
    ladder = len(LADDER)
    return {
        "precision": precision,
        "recall_visible": recall_visible,
        "f1_visible": _f1(precision, recall_visible),
        "recall_nucleus_seen": _share(n["hits_nucleus"], n["true_nucleus"]),
        "recall": recall,
        "f1": _f1(precision, recall),
        "mean_ap": float(np.nanmean(aps)) if not np.isnan(aps).all() else float("nan"),
        "right_stage": _share(float(np.trace(given)), float(given.sum())),
        "kappa": kappa_of(given),
        "weighted_kappa": kappa_of(given[:ladder, :ladder], quadratic=True),
        "secondary_antral_confusion": _share(
            confused, confused + called(antral, antral) + called(secondary, secondary)
        ),
        "antral_called_secondary": _share(called(antral, secondary), called(antral)),
        "secondary_called_antral": _share(called(secondary, antral), called(secondary)),
        "dice": _share(n["dice"], n["hits"]),
        "boundary_um": _share(n["boundary"], n["boundaries"]),
        "oocyte_dice": _share(n["oocyte_dice"], n["oocytes"]),
        # A truth without any corpus luteum was not searched for them.
        "corpus_luteum_precision": _share(n["lutea_hits"], n["lutea_found"] if n["lutea_true"] else 0),
        "corpus_luteum_recall": _share(n["lutea_hits"], n["lutea_visible"]),
    }


def _summary(pairs: Sequence[SlidePair], resamples: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    by_animal: dict[str, list[SlidePair]] = {}
    for pair in pairs:
        by_animal.setdefault(pair.animal, []).append(pair)
    animals = list(by_animal)
    drawn: list[dict[str, float]] = []
    if len(animals) > 1:
        for _ in range(resamples):
            picked = rng.integers(len(animals), size=len(animals))
            drawn.append(_headline([p for i in picked for p in by_animal[animals[i]]]))
    rows = []
    for name, value in _headline(pairs).items():
        known = [d[name] for d in drawn if not np.isnan(d[name])]
        # If all bootstrap samples are equal, they say nothing about the uncertainty.
        spread = len(known) > 1 and max(known) > min(known)
        low, high = np.quantile(known, [0.025, 0.975]) if spread else (np.nan, np.nan)
        rows.append({"figure": name, "value": value, "low": float(low), "high": float(high)})
    return pd.DataFrame(rows)


def _stages(truths: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for stage in LADDER:
        true, claimed = truths[truths["stage"] == stage], claims[claims["stage"] == stage]
        if not len(true) and not len(claimed):
            continue
        right = (true["found_stage"] == stage).sum()
        # Claims on unrecognisable follicles are neutral.
        real = claimed[claimed["kind"] != "cap"]
        precision, recall = _share(right, len(real)), _share(right, len(true))
        rows.append(
            {
                "stage": stage.value,
                "true": len(true),
                "found": int(true["found"].sum()),
                "right_stage": int(right),
                "unsure": int((true["found_stage"] == Stage.UNSURE).sum()),
                "claimed": len(claimed),
                "false": int((claimed["kind"] == "false").sum()),
                "precision": precision,
                "recall": recall,
                "f1": _f1(precision, recall),
            }
        )
    columns = ["stage", "true", "found", "right_stage", "unsure", "claimed", "false", "precision", "recall", "f1"]
    return pd.DataFrame(rows, columns=columns)


def _kinds(truths: pd.DataFrame, pairs: Sequence[SlidePair]) -> pd.DataFrame:
    caps = sum(not r for p in pairs for r in p.recognisable)
    on_caps = sum((p.claims["kind"] == "cap").sum() for p in pairs)
    resting = truths["stage"].isin((Stage.PRIMORDIAL, Stage.TRANSITIONAL))
    growing = truths[~resting]
    kinds = {
        "resting (primordial, transitional)": truths[resting],
        "growing: oocyte and its nucleus": growing[growing["nucleus"]],
        "growing: oocyte, no nucleus": growing[growing["oocyte"] & ~growing["nucleus"]],
        "growing: fluid, no oocyte": growing[~growing["oocyte"] & ~growing["nucleus"]],
        "  of all growing: atretic": growing[growing["atretic"]],
    }
    rows = [
        {
            "what the section shows": name,
            "true": len(own),
            "found": int(own["found"].sum()),
            "right_stage": int((own["stage"] == own["found_stage"]).sum()),
            "called_atretic": int(own["called_atretic"].sum()),
        }
        for name, own in kinds.items()
    ]
    nothing = {
        "what the section shows": "cap (stage cannot be determined; not scored)",
        "true": caps,
        "found": int(on_caps),
    }
    return pd.DataFrame([*rows, nothing]).astype(dict.fromkeys(["right_stage", "called_atretic"], "Int64"))


def _confusion(truths: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    columns = [*LADDER, Stage.UNSURE]
    rows = []
    for stage in LADDER:
        own = truths[truths["stage"] == stage]
        if len(own):
            given = {c.value: int((own["found_stage"] == c).sum()) for c in columns}
            rows.append({"true": stage.value, **given, "missed": int((~own["found"]).sum())})
    false = claims[claims["kind"] == "false"]
    rows.append({"true": "(false)", **{c.value: int((false["stage"] == c).sum()) for c in columns}, "missed": 0})
    return pd.DataFrame(rows)


def _counts(pairs: Sequence[SlidePair]) -> pd.DataFrame:
    """True and found numbers of follicles per section; found ones include claims on caps."""
    rows = []
    for stage in LADDER:
        true: list[int] = []
        found: list[int] = []
        seen = True
        for p in pairs:
            seen &= stage in p.visible
            for section in sorted({t.section_id for t in p.true} or {""}):
                true.append(int(((p.truths["section"] == section) & (p.truths["stage"] == stage)).sum()))
                found.append(int(((p.claims["section"] == section) & (p.claims["stage"] == stage)).sum()))
        if not sum(true) and not sum(found):
            continue
        error = np.array(found, float) - np.array(true, float)
        rows.append(
            {
                "stage": stage.value,
                "sections": len(true),
                "true_per_section": float(np.mean(true)),
                "found_per_section": float(np.mean(found)) if seen else np.nan,
                "bias": _share(error.sum(), sum(true)) if seen else np.nan,
                "mean_absolute_error": float(np.abs(error).mean()) if seen else np.nan,
            }
        )
    columns = ["stage", "sections", "true_per_section", "found_per_section", "bias", "mean_absolute_error"]
    return pd.DataFrame(rows, columns=columns)
