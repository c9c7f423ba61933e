"""The detector without a network. It finds oocytes and outlines their follicles; large antral ones also by cavity.

seeds (disc in a ring) -> oocyte borders -> score -> outlines; cavities -> outlines. `found.resolve_overlaps` resolves
overlapping claims once all windows of a slide are done.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Polygon
from shapely.ops import unary_union

from follicle_stager.detection.cavities import trace_cavities
from follicle_stager.detection.found import FoundFollicle
from follicle_stager.detection.oocytes import score_oocytes, trace_oocytes
from follicle_stager.detection.outlines import trace_outlines
from follicle_stager.detection.polar import Contours
from follicle_stager.detection.seeds import find_seeds

if TYPE_CHECKING:
    from follicle_stager.config import ClassicalConfig
    from follicle_stager.field import Field

# Thickness of the granulosa around an oocyte, µm: from one flattened layer to a late secondary follicle with gaps.
_THICKNESS_UM = (3.0, 130.0)
# Thickness of the mural granulosa around a cavity, µm.
_WALL_UM = (10.0, 80.0)
# Largest distance between a cavity and the oocyte in its cumulus, µm.
_CUMULUS_UM = 30.0


def find_follicles(field: Field, config: ClassicalConfig, *, min_score: float) -> list[FoundFollicle]:
    """Find the follicles in one window.

    Parameters
    ----------
    field
        The window, at the µm/px of measurement.
    config
        Sizes.
    min_score
        Detection threshold, 0-1.

    Returns
    -------
    list of FoundFollicle
        All claims with a score of at least ``min_score``; they may overlap.
    """
    if not field.tissue.any():
        return []
    return _with_cavities(field, config, _from_oocytes(field, config, min_score=min_score), min_score=min_score)


def _from_oocytes(field: Field, config: ClassicalConfig, *, min_score: float) -> list[FoundFollicle]:
    low_um, high_um = config.min_oocyte_um, config.max_oocyte_um
    seeds = find_seeds(
        field,
        min_diameter_um=low_um,
        max_diameter_um=high_um,
        min_response=config.min_seed,
    )
    if not len(seeds):
        return []
    oocytes = trace_oocytes(field, seeds, max_diameter_um=1.3 * high_um)
    evidence = score_oocytes(field, oocytes)
    score = evidence.score()
    fits = (evidence.diameter_um >= 0.9 * low_um) & (evidence.diameter_um <= 1.2 * high_um)
    chosen = np.nonzero(fits & (score >= min_score))[0]
    if not len(chosen):
        return []
    oocytes = oocytes.take(chosen)
    low, high = _THICKNESS_UM
    outlines, strength = trace_outlines(field, oocytes, min_thickness_um=low, max_thickness_um=high)
    found = []
    for i, index in enumerate(chosen):
        facts = {f.name: float(getattr(evidence, f.name)[index]) for f in fields(evidence)}
        facts["outline_strength"] = float(strength[i])
        found.append(FoundFollicle(outlines.polygon(i), oocytes.polygon(i), float(score[index]), facts))
    return found


def _with_cavities(
    field: Field, config: ClassicalConfig, from_oocytes: list[FoundFollicle], *, min_score: float
) -> list[FoundFollicle]:
    """Add the antral follicles: a cavity, with the oocyte next to it if the section shows one.

    The wall is traced around cavity and oocyte together; a path around the oocyte alone would stop at its cumulus.
    """
    cavities, score = trace_cavities(
        field, min_diameter_um=config.min_cavity_um, max_diameter_um=config.max_follicle_um
    )
    free = list(from_oocytes)
    bodies, owners, scores = [], [], []
    for i in np.nonzero(score >= min_score)[0].tolist():
        cavity = cavities.polygon(i)
        near = [f for f in free if f.oocyte is not None and f.oocyte.distance(cavity) < _CUMULUS_UM]
        owner = max(near, key=lambda f: f.score, default=None)
        free = [f for f in free if f is not owner]
        parts = [cavity] + ([owner.oocyte.buffer(5)] if owner and owner.oocyte else [])
        bodies.append(Polygon(unary_union(parts).convex_hull.boundary.coords))
        owners.append(owner)
        scores.append(max(float(score[i]), owner.score if owner else 0.0))
    if not bodies:
        return free
    low, high = _WALL_UM
    outlines, strength = trace_outlines(field, Contours.around(bodies), min_thickness_um=low, max_thickness_um=high)
    found = []
    for i, owner in enumerate(owners):
        evidence = (owner.evidence if owner else {}) | {"outline_strength": float(strength[i])}
        found.append(FoundFollicle(outlines.polygon(i), owner.oocyte if owner else None, scores[i], evidence))
    return free + found
