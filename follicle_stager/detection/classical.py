"""The detector that needs no weights: oocytes first, one outline for each, large antral follicles also by cavity.

seeds (disc in a ring) -> oocyte borders -> score -> outlines; cavities -> outlines; claims to the same tissue
are settled in `found.resolve_overlaps` once all windows of a slide are done.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from shapely import Point

from follicle_stager.detection.cavities import trace_cavities
from follicle_stager.detection.found import FoundFollicle
from follicle_stager.detection.oocytes import judge_oocytes, trace_oocytes
from follicle_stager.detection.outlines import trace_outlines
from follicle_stager.detection.seeds import find_seeds

if TYPE_CHECKING:
    from follicle_stager.config import DetectionConfig
    from follicle_stager.field import Field

# Granulosa around an oocyte, µm: from one flattened layer to a late secondary follicle with gaps.
_THICKNESS_UM = (3.0, 130.0)
# Mural granulosa around a cavity, µm.
_WALL_UM = (10.0, 80.0)


def find_follicles(field: Field, config: DetectionConfig, *, primordial: bool = False) -> list[FoundFollicle]:
    """Find the follicles in one window.

    Parameters
    ----------
    field
        At ``config.working_mpp``, or at ``config.primordial_mpp`` for the second pass.
    config
        Sizes and threshold.
    primordial
        Second pass: oocytes below ``config.min_oocyte_um`` instead of those above.

    Returns
    -------
    list of FoundFollicle
        All claims of at least ``config.min_score``; they may overlap.
    """
    if not field.tissue.any():
        return []
    if primordial:
        return _from_oocytes(field, config, config.min_primordial_oocyte_um, config.min_oocyte_um)
    from_oocytes = _from_oocytes(field, config, config.min_oocyte_um, config.max_oocyte_um)
    return _join(from_oocytes, _from_cavities(field, config))


def _from_oocytes(
    field: Field, config: DetectionConfig, min_diameter_um: float, max_diameter_um: float
) -> list[FoundFollicle]:
    seeds = find_seeds(
        field,
        min_diameter_um=min_diameter_um,
        max_diameter_um=max_diameter_um,
        min_response=config.min_seed,
    )
    if not len(seeds):
        return []
    oocytes = trace_oocytes(field, seeds, max_diameter_um=1.3 * max_diameter_um)
    evidence = judge_oocytes(field, oocytes)
    score = evidence.score()
    fits = (evidence.diameter_um >= 0.9 * min_diameter_um) & (evidence.diameter_um <= 1.2 * max_diameter_um)
    chosen = np.nonzero(fits & (score >= config.min_score))[0]
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


def _from_cavities(field: Field, config: DetectionConfig) -> list[FoundFollicle]:
    cavities, score = trace_cavities(
        field, min_diameter_um=config.min_cavity_um, max_diameter_um=config.max_follicle_um
    )
    chosen = np.nonzero(score >= config.min_score)[0]
    if not len(chosen):
        return []
    low, high = _WALL_UM
    outlines, strength = trace_outlines(
        field, cavities.take(chosen), min_thickness_um=low, max_thickness_um=high
    )
    return [
        FoundFollicle(
            outlines.polygon(i), None, float(score[index]), {"outline_strength": float(strength[i])}
        )
        for i, index in enumerate(chosen)
    ]


def _join(from_oocytes: list[FoundFollicle], from_cavities: list[FoundFollicle]) -> list[FoundFollicle]:
    """Give each cavity the oocyte that lies in it; the cavity's outline is the better one then."""
    free = list(from_oocytes)
    joined = []
    for cavity in from_cavities:
        own = [
            f for f in free if f.oocyte is not None and cavity.outline.contains(Point(f.oocyte.centroid.coords[0]))
        ]
        if own:
            best = max(own, key=lambda f: f.score)
            free = [f for f in free if f not in own]
            joined.append(
                FoundFollicle(
                    cavity.outline, best.oocyte, max(best.score, cavity.score), best.evidence | cavity.evidence
                )
            )
        else:
            joined.append(cavity)
    return free + joined
