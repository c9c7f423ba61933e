"""What a person makes of the sections of a slide: one of several, a part cut out; and that again on a later run.

A part that was cut out is a section of its own that is not counted: what lies on it needs no rule beside, and whoever
includes it again, or gives it to another animal, has cut a section in two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shapely import prepare, unary_union
from shapely.geometry import MultiPolygon, Polygon

from follicle_stager.errors import UserError
from follicle_stager.matching import valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from follicle_stager.records import Follicle, Section

# So much of a section must be found again for it to be the same; and so much of a found one is a section, not a margin.
_MOST = 0.5
# What is left of a section that a region covers, and of a region that another section touches: the drawing, not tissue.
_REST, _SEAM = 0.01, 1e-3


def merged(parts: Sequence[Section]) -> Section:
    """One section of several, in the order of the slide; the first gives name, place and whether it counts.

    Raises
    ------
    UserError
        If they are fewer than two, or of two animals.
    """
    if len(parts) < 2:
        raise UserError("Merging needs two sections at least: select more.")
    owners = {(s.animal, s.ovary) for s in parts if s.animal}
    if len(owners) > 1:
        raise UserError("These sections were given to different animals or ovaries: give them to one first.")
    animal, ovary = next(iter(owners), ("", ""))
    return replace(_joined(parts[0], parts), animal=animal, ovary=ovary)


def cut_out(
    sections: Iterable[Section], region: Polygon | MultiPolygon, reason: str = ""
) -> tuple[list[Section], list[Section]]:
    """Cut a region out of the sections that are counted.

    Parameters
    ----------
    sections
        Of the slide.
    region
        Level-0 pixels.
    reason
        Why it is not counted.

    Returns
    -------
    before, after : list of Section
        What goes, and what comes: of each section what is left of it, if anything, and what was cut out.

    Raises
    ------
    UserError
        If it lies on no section that is counted.
    """
    sections, area = list(sections), valid(region)
    names = {s.section_id for s in sections}
    before, after = [], []
    for section in sections:
        inside = _area(section.outline.intersection(area))
        if not section.included or inside.area <= _SEAM * min(area.area, section.outline.area):
            continue
        before.append(section)
        if inside.area > (1 - _REST) * section.outline.area:
            after.append(replace(section, included=False, reason=reason))
            continue
        name = _free_name(section.section_id, names)
        after.append(_part(section, _area(section.outline.difference(area))))
        after.append(replace(_part(section, inside), section_id=name, included=False, reason=reason))
    if not before:
        raise UserError("This region lies on no section that is counted: draw it on the tissue.")
    return before, after


def carried(
    old: Sequence[Section], touched: Sequence[Section], found: Sequence[Section]
) -> tuple[list[Section], tuple[str, ...]]:
    """Sections of a later run, with what a person made of those of an earlier one.

    The tissue of a touched section is that section again, whatever the later run made of it, and so is that of others
    which the later run joined to it. What lies on none stays as it was found; a margin that the later run draws
    otherwise goes to the section beside it.

    Parameters
    ----------
    old
        Sections as they stood after the earlier run.
    touched
        Those of them that a person changed.
    found
        Those of the later run.

    Returns
    -------
    sections : list of Section
        In the order of the slide.
    orphans : tuple of str
        Touched sections of which most was not found again: they are kept as they were, and may be found by the next.
    """
    again = _with_what_was_joined(old, touched, found)
    known = unary_union([s.outline for s in again])
    parts: list[list[Section]] = [[] for _ in again]
    left: list[Section] = []
    for new in found:
        there = [i for i, s in enumerate(again) if _share(new, s)]
        if not there:
            left.append(new)
            continue
        own = {i: _part(new, _area(new.outline.intersection(again[i].outline))) for i in there}
        rest = _part(new, _area(new.outline.difference(known)))
        if rest.outline.area > _MOST * new.outline.area:
            left.append(rest)
        else:
            parts[max(there, key=lambda i: own[i].outline.area)].append(rest)
        for i in there:
            parts[i].append(own[i])
    sections, orphans = [], []
    for was, mine in zip(again, parts, strict=True):
        if sum(p.outline.area for p in mine) < _MOST * was.outline.area:
            sections.append(was)
            orphans.append(f"section {was.section_id}")
        else:
            sections.append(replace(_joined(was, mine), order=mine[0].order))
    names = {s.section_id for s in sections}
    sections += [replace(s, section_id=_free_name(s.section_id, names, first="")) for s in left]
    return sorted(sections, key=lambda s: s.place), tuple(orphans)


def places(follicles: Iterable[Follicle], sections: Sequence[Section]) -> Iterator[tuple[Follicle, str | None]]:
    """Each follicle, and the section where it lies; see `section_of`."""
    for section in sections:
        prepare(section.outline)
    return ((follicle, section_of(follicle, sections)) for follicle in follicles)


def section_of(follicle: Follicle, sections: Sequence[Section]) -> str | None:
    """Id of the section where a follicle lies; None for one that was drawn beside all of them.

    A person may have merged sections since it was found, or cut one.
    """
    centre = follicle.outline.centroid
    own = [s for s in sections if s.section_id == follicle.section_id]
    for section in (*own, *sections):
        if section.outline.contains(centre):
            return section.section_id
    outline = valid(follicle.outline)
    best = max(sections, key=lambda s: s.outline.intersection(outline).area, default=None)
    if best is not None and best.outline.intersects(outline):
        return best.section_id
    if not follicle.section_id or best is None:
        return None
    # The run had found it beside a section, which may be part of another one now.
    return (own or [min(sections, key=lambda s: s.outline.distance(centre))])[0].section_id


def _share(found: Section, old: Section) -> bool:
    """Whether they have tissue in common, not only a border."""
    shared = found.outline.intersection(old.outline).area
    return bool(shared > _SEAM * min(found.outline.area, old.outline.area))


def _with_what_was_joined(
    old: Sequence[Section], touched: Sequence[Section], found: Sequence[Section]
) -> list[Section]:
    """Touched sections, and those that lie on one found section with one of them."""
    again = list(touched)
    waiting = [s for s in old if s not in again]
    while True:
        reached = [new for new in found if any(_share(new, s) for s in again)]
        joined = [s for s in waiting if any(_share(new, s) for new in reached)]
        if not joined:
            return again
        again += joined
        waiting = [s for s in waiting if s not in joined]


def _joined(first: Section, parts: Sequence[Section]) -> Section:
    """A section that has the tissue of several, and the doubts of the first that has any."""
    return replace(
        first,
        outline=_area(unary_union([s.outline for s in parts])),
        area_mm2=sum(s.area_mm2 for s in parts),
        doubt=next((s.doubt for s in parts if s.doubt), ""),
    )


def _part(section: Section, outline: MultiPolygon) -> Section:
    """A section of which only a part is left."""
    return replace(section, outline=outline, area_mm2=section.area_mm2 * outline.area / section.outline.area)


def _free_name(section_id: str, names: set[str], *, first: str = "_x1") -> str:
    """A name that no section has, and which is taken from now on."""
    endings = (first, *(f"_x{n}" for n in range(1, len(names) + 2)))
    name = next(section_id + ending for ending in endings if section_id + ending not in names)
    names.add(name)
    return name


def _area(geometry: BaseGeometry) -> MultiPolygon:
    """The parts of a geometry that have an area."""
    parts = getattr(geometry, "geoms", [geometry])
    return MultiPolygon([p for p in parts if isinstance(p, Polygon) and p.area])
