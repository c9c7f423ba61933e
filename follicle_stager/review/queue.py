"""Order and selection of follicles for review, and progress."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from follicle_stager.stages import LADDER, Countable, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from follicle_stager.records import Follicle

    #: Probabilities of each follicle by a classifier, by follicle id
    Opinions = Mapping[str, Mapping[Stage, float]]
    #: What follicles are sorted by
    Rank = tuple[int | float | str, ...]


class Order(StrEnum):
    """Order of follicles for review."""

    UNCERTAINTY = "uncertainty"
    """Overlapping outlines first, then ``unsure`` follicles, then others from least to most certain; then corpora
    lutea."""
    STAGE = "stage"
    """Stage by stage along the ladder, the least certain follicles of each stage first."""
    POSITION = "position"
    """From each follicle to the nearest other one."""
    DISAGREEMENT = "disagreement"
    """Follicles first whose stage is least probable by a classifier learned from corrections."""
    RANDOM = "random"
    """A random sample for an audit."""


@dataclass(frozen=True)
class Filter:
    """Criteria for follicles to review; an empty set accepts all."""

    stages: frozenset[Stage] = frozenset()
    statuses: frozenset[Status] = frozenset({Status.PREDICTED})
    countable: frozenset[Countable] = frozenset()

    def lets(self, follicle: Follicle) -> bool:
        """Whether a follicle meets the criteria."""
        chosen = (
            (self.stages, follicle.stage),
            (self.statuses, follicle.status),
            (self.countable, follicle.countable),
        )
        return all(not wanted or own in wanted for wanted, own in chosen)

    @property
    def with_judged(self) -> Filter:
        """The same criteria for any status: judged follicles are skipped, but it is possible to go back to them."""
        return replace(self, statuses=frozenset())


@dataclass(frozen=True)
class Progress:
    """Number of follicles that a person has judged, and number of all follicles."""

    judged: int
    total: int

    def __add__(self, other: Progress) -> Progress:
        return Progress(self.judged + other.judged, self.total + other.total)


def progress(follicles: Iterable[Follicle]) -> Progress:
    """Progress on one slide, corpora lutea not included; the progress of a study is the sum."""
    statuses = [f.status for f in follicles if f.stage is not Stage.CORPUS_LUTEUM]
    return Progress(sum(s != Status.PREDICTED for s in statuses), len(statuses))


def is_unstaged(follicle: Follicle) -> bool:
    """Whether a person added the follicle, and nobody has staged it."""
    return follicle.status == Status.ADDED and not follicle.staged_by_person


def is_due(follicle: Follicle, only: Filter, overlapping: Container[str]) -> bool:
    """Whether a follicle is to be reviewed: it meets the criteria, nobody staged it, or it may be counted twice.

    Parameters
    ----------
    follicle
        The follicle.
    only
        Criteria for follicles.
    overlapping
        Ids of follicles that overlap another one.
    """
    unjudged = follicle.id in overlapping and follicle.status == Status.PREDICTED
    return unjudged or is_unstaged(follicle) or only.lets(follicle)


def uncertainty(follicle: Follicle) -> float:
    """1 minus the probability that it is a follicle of its stage; 1 for ``unsure``, the highest value."""
    if follicle.stage == Stage.UNSURE:
        return 1.0
    if follicle.stage is Stage.CORPUS_LUTEUM:
        return 1 - follicle.score
    return 1 - follicle.score * follicle.probabilities.get(follicle.stage, 0.0)


def queue(
    follicles: Sequence[Follicle],
    order: Order = Order.UNCERTAINTY,
    *,
    only: Filter | None = None,
    opinions: Opinions | None = None,
    overlapping: Container[str] = (),
    seed: int = 0,
) -> list[str]:
    """Ids of the follicles to review, in order; the parameters are those of `ranks`, and ``only``.

    Parameters
    ----------
    only
        Criteria for follicles; by default, those that are not judged.

    Returns
    -------
    list of str
        Ids, the first to review first.
    """
    chosen = [f for f in follicles if (only or Filter()).lets(f)]
    rank = ranks(chosen, order, opinions=opinions, overlapping=overlapping, seed=seed)
    return sorted(rank, key=rank.__getitem__)


def ranks(
    follicles: Sequence[Follicle],
    order: Order,
    *,
    opinions: Opinions | None = None,
    overlapping: Container[str] = (),
    seed: int = 0,
) -> dict[str, Rank]:
    """What sorts the follicles of a slide, by id; except for ``position``, it also sorts those of several slides.

    Parameters
    ----------
    follicles
        Follicles of a slide.
    order
        Order of the follicles.
    opinions
        Probabilities of the stages from a classifier, by id, for ``disagreement``. Follicles without any come last.
    overlapping
        Ids of follicles that overlap another one and may be counted twice, for ``uncertainty``.
    seed
        Seed for ``random``.
    """
    if order == Order.POSITION:
        return {follicle_id: (place,) for place, follicle_id in enumerate(_path(follicles))}
    if order == Order.RANDOM:
        # A number of its own for each follicle, so that the sample does not depend on the other ones.
        return {f.id: (random.Random(f"{seed}/{f.section_id}/{f.id}").random(),) for f in follicles}
    if order == Order.DISAGREEMENT:
        known = opinions or {}
        return {
            f.id: (known[f.id].get(f.stage, 0.0) if f.id in known and not f.is_corpus_luteum else 2.0,)
            for f in follicles
        }
    place = {stage: number for number, stage in enumerate((Stage.UNSURE, *LADDER))}

    def first(f: Follicle) -> int:
        if order == Order.STAGE:
            return place.get(f.stage, 99)
        return 2 if f.stage is Stage.CORPUS_LUTEUM else int(f.id not in overlapping)

    return {f.id: (first(f), -uncertainty(f), f.id) for f in follicles}


def _path(follicles: Sequence[Follicle]) -> list[str]:
    """Section by section, from the top left always to the nearest follicle, so that the view moves little."""
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
