"""Follicles of a slide that overlap so much that one may be counted twice, updated after each edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from follicle_stager.matching import overlapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.records import Follicle


class Overlaps:
    """Overlapping outlines on one slide.

    Parameters
    ----------
    follicles
        Follicles of the slide.

    Attributes
    ----------
    by_id
        Ids of the overlapping follicles, by follicle id; follicles without overlap are left out.
    """

    def __init__(self, follicles: Iterable[Follicle] = ()) -> None:
        self._counted: dict[str, Follicle] = {}
        self.by_id: dict[str, list[str]] = {}
        self.update((), follicles)

    def update(self, before: Iterable[Follicle], after: Iterable[Follicle]) -> None:
        """Update after an edit that replaces follicles; only new outlines are compared."""
        gone = {f.id: f for f in before}
        come = {f.id: f for f in after if f.is_follicle}
        stay = {i for i in gone.keys() & come.keys() & self._counted.keys() if gone[i].outline == come[i].outline}
        for follicle_id in gone.keys() - stay:
            self._counted.pop(follicle_id, None)
            for other in self.by_id.pop(follicle_id, []):
                self.by_id[other].remove(follicle_id)
                if not self.by_id[other]:
                    del self.by_id[other]
        self._counted |= come
        if come.keys() <= stay:  # for example after a change of stage
            return
        ids = list(self._counted)
        new = [place for place, i in enumerate(ids) if i in come and i not in stay]
        for first, second in overlapping([f.outline for f in self._counted.values()], new):
            self.by_id.setdefault(ids[first], []).append(ids[second])
            self.by_id.setdefault(ids[second], []).append(ids[first])
