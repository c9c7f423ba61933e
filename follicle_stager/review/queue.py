"""In which order a person looks at follicles, which of them, and how far they have come."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.stages import LADDER, Countable, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from follicle_stager.records import Follicle


class Order(StrEnum):
    """What comes first."""

    UNCERTAINTY = "uncertainty"
    """Outlines that overlap, then ``unsure``, then the least likely to be right."""
    STAGE = "stage"
    """Along the ladder, the least sure of each first."""
    POSITION = "position"
    """Each beside the one before."""
    DISAGREEMENT = "disagreement"
    """What a classifier learned from corrections thinks least likely."""
    RANDOM = "random"
    """A sample for an audit."""


@dataclass(frozen=True)
class Filter:
    """Which follicles are looked at; empty lets all through."""

    stages: frozenset[Stage] = frozenset()
    statuses: frozenset[Status] = frozenset({Status.PREDICTED})
    countable: frozenset[Countable] = frozenset()

    def lets(self, follicle: Follicle) -> bool:
        """Whether a follicle is looked at."""
        chosen = (
            (self.stages, follicle.stage),
            (self.statuses, follicle.status),
            (self.countable, follicle.countable),
        )
        return all(not wanted or own in wanted for wanted, own in chosen)


@dataclass(frozen=True)
class Progress:
    """How many follicles a person has judged, of how many."""

    judged: int
    total: int

    def __add__(self, other: Progress) -> Progress:
        return Progress(self.judged + other.judged, self.total + other.total)


def progress(follicles: Iterable[Follicle]) -> Progress:
    """Progress on one slide; that of a study is the sum."""
    statuses = [f.status for f in follicles]
    return Progress(sum(s != Status.PREDICTED for s in statuses), len(statuses))


def uncertainty(follicle: Follicle) -> float:
    """1 - probability that it is a follicle and of its stage; 1 without a stage, more than any with one."""
    if follicle.stage == Stage.UNSURE:
        return 1.0
    return 1 - follicle.score * follicle.probabilities.get(follicle.stage, 0.0)


def queue(
    follicles: Sequence[Follicle],
    order: Order = Order.UNCERTAINTY,
    *,
    only: Filter | None = None,
    opinions: Mapping[str, Mapping[Stage, float]] | None = None,
    overlapping: Container[str] = (),
    seed: int = 0,
) -> list[str]:
    """Ids of the follicles to look at, the first first.

    Parameters
    ----------
    follicles
        Of a slide.
    order
        What comes first.
    only
        Which; by default those that nobody has judged.
    opinions
        For ``disagreement``: probabilities by id, from a classifier. A follicle without any comes last.
    overlapping
        For ``uncertainty``: ids of follicles that overlap another one, and may be counted twice.
    seed
        For ``random``.
    """
    chosen = [f for f in follicles if (only or Filter()).lets(f)]
    if order == Order.POSITION:
        return _path(chosen)
    if order == Order.RANDOM:
        # Sorted first: the sample is of the follicles and not of their order in the file.
        ids = sorted(f.id for f in chosen)
        random.Random(seed).shuffle(ids)
        return ids
    if order == Order.DISAGREEMENT:
        known = opinions or {}
        return [f.id for f in sorted(chosen, key=lambda f: known[f.id].get(f.stage, 0.0) if f.id in known else 2.0)]
    place = {stage: number for number, stage in enumerate((Stage.UNSURE, *LADDER))}

    def first(f: Follicle) -> int:
        return place.get(f.stage, 99) if order == Order.STAGE else int(f.id not in overlapping)

    return [f.id for f in sorted(chosen, key=lambda f: (first(f), -uncertainty(f), f.id))]


def _path(follicles: Sequence[Follicle]) -> list[str]:
    """Section by section, from the top left to whatever is nearest: the view moves little."""
    ids: list[str] = []
    for section in dict.fromkeys(f.section_id for f in follicles):
        own = [f for f in follicles if f.section_id == section]
        at = np.array([f.outline.centroid.coords[0] for f in own])
        left, here = np.ones(len(own), bool), int(at.sum(axis=1).argmin())
        for _ in own:
            ids.append(own[here].id)
            left[here] = False
            if left.any():
                away = np.where(left, ((at - at[here]) ** 2).sum(axis=1), np.inf)
                here = int(away.argmin())
    return ids
