"""The results of a detector, and the choice between claims that overlap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shapely import STRtree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry import Polygon


@dataclass(frozen=True)
class FoundFollicle:
    """One follicle as found by a detector; polygons in µm from the slide's top-left corner.

    Attributes
    ----------
    outline
        Outer border of the granulosa.
    oocyte
        Outline of the oocyte; None if the section misses it.
    score
        Confidence, 0-1; ``DetectionConfig.min_score`` is the threshold.
    evidence
        Measurements that the score is computed from.
    nucleus
        Outline of the oocyte's nucleus.
    fluid
        Fluid spaces, largest first; None if the detector does not look for them.
    zona
        Outer border of the zona pellucida; None if the detector does not separate it from the oocyte.
    """

    outline: Polygon
    oocyte: Polygon | None
    score: float
    evidence: dict[str, float] = field(default_factory=dict)
    nucleus: Polygon | None = None
    fluid: tuple[Polygon, ...] | None = None
    zona: Polygon | None = None


@dataclass(frozen=True)
class FoundCorpusLuteum:
    """One corpus luteum: outline without its capsule, µm; ``score`` is the mean probability of luteal tissue in it."""

    outline: Polygon
    score: float


@dataclass(frozen=True, eq=False)
class Sight:
    """The result of a detector in one window.

    Attributes
    ----------
    claims
        Follicles; they may overlap.
    texture
        Appearance of the window to the detector, (channel, y, x); see `detection.network.layout`.
    corpora_lutea
        Corpora lutea, if the detector looks for them.
    """

    claims: list[FoundFollicle]
    texture: NDArray[np.float32] | None = None
    corpora_lutea: list[FoundCorpusLuteum] = field(default_factory=list)


def resolve_overlaps(found: list[FoundFollicle], *, max_overlap: float = 0.3) -> list[FoundFollicle]:
    """Keep the claim with the best score wherever claims overlap.

    Parameters
    ----------
    found
        Claims in any order; the result does not depend on it.
    max_overlap
        Largest overlap of two follicles, as a share of the smaller outline. Some is allowed, because neighbours
        press on each other and outlines have errors.

    Returns
    -------
    list of FoundFollicle
        The claims that are kept, sorted by position from top to bottom.
    """
    ranked = sorted(found, key=lambda f: (-f.score, f.outline.centroid.y, f.outline.centroid.x, -f.outline.area))
    tree = STRtree([f.outline for f in ranked])
    dropped: set[int] = set()
    for index, claim in enumerate(ranked):
        if index in dropped:
            continue
        for other in tree.query(claim.outline, predicate="intersects"):
            if other <= index or other in dropped:
                continue
            shared = claim.outline.intersection(ranked[other].outline).area
            smaller = min(claim.outline.area, ranked[other].outline.area)
            if shared > max_overlap * smaller or _same_oocyte(claim, ranked[other]):
                dropped.add(int(other))
    kept = [f for index, f in enumerate(ranked) if index not in dropped]
    return sorted(kept, key=lambda f: (f.outline.centroid.y, f.outline.centroid.x))


def without_twins(found: list[FoundCorpusLuteum]) -> list[FoundCorpusLuteum]:
    """Corpora lutea without those that two neighbouring windows found; of such a pair, the larger is kept."""
    kept: list[FoundCorpusLuteum] = []
    for one in sorted(found, key=lambda c: (-c.outline.area, c.outline.centroid.y, c.outline.centroid.x)):
        if all(one.outline.intersection(other.outline).area <= 0.3 * one.outline.area for other in kept):
            kept.append(one)
    return kept


def _same_oocyte(a: FoundFollicle, b: FoundFollicle) -> bool:
    return a.oocyte is not None and b.oocyte is not None and a.oocyte.contains(b.oocyte.centroid)
