"""Changes of sections: merge several, cut out a part, and carry these changes over to a later run.

A part that was cut out becomes a section of its own that is not counted, so its follicles need no special rule. Who
includes it again, or assigns it to another animal, has cut a section in two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shapely import prepare, unary_union
from shapely.geometry import MultiPolygon, Polygon

from follicle_stager.errors import UserError
from follicle_stager.matching import valid
from follicle_stager.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from follicle_stager.records import Follicle, Section

# Share of a section that must be found again for it to be the same; a larger share of a found section outside the known
# ones is a section of its own, not a margin.
_MOST = 0.5
# Shares below which an area results from imprecise drawing: rest of a covered section, and overlap with a region.
_REST, _SEAM = 0.01, 1e-3


def merged(parts: Sequence[Section]) -> Section:
    """Merge sections, given in the order of the slide; the first one determines name, place and whether it counts.

    Raises
    ------
    UserError
        If there are fewer than two sections, or they belong to different animals or ovaries.
    """
    if len(parts) < 2:
        raise UserError("Merging needs at least two sections: select more.")
    owners = {(s.animal, s.ovary) for s in parts if s.animal}
    if len(owners) > 1:
        raise UserError("These sections are assigned to different animals or ovaries: assign them to one first.")
    animal, ovary = next(iter(owners), ("", ""))
    whole = all(s.judged_whole for s in parts)
    return replace(_joined(parts[0], parts), animal=animal, ovary=ovary, judged_whole=whole)


def cut_out(
    sections: Iterable[Section], region: Polygon | MultiPolygon, reason: str = ""
) -> tuple[list[Section], list[Section]]:
    """Cut a region out of the sections that are counted.

    Parameters
    ----------
    sections
        Sections of the slide.
    region
        Region to cut out, level-0 pixels.
    reason
        Reason why it is not counted.

    Returns
    -------
    before, after : list of Section
        Sections that are removed, and their replacements: the rest of each section, if any, and the part cut out.

    Raises
    ------
    UserError
        If the region lies on no section that is counted.
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
    """Carry changes of sections over from an earlier run to a later one.

    The tissue of a changed section becomes this section again, whatever the later run made of it; the same applies to
    other old sections that the later run joined with it. Tissue outside these sections stays as it was found, but a
    margin that the later run outlines differently goes to the adjacent section.

    Parameters
    ----------
    old
        Sections after the earlier run and its corrections.
    touched
        Sections of ``old`` that a person changed.
    found
        Sections of the later run.

    Returns
    -------
    sections : list of Section
        Sections in the order of the slide.
    orphans : tuple of str
        Changed sections that were mostly not found again; they are kept, because the next run may find them.
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
    """Each follicle with the id of its section; see `section_of`."""
    for section in sections:
        prepare(section.outline)
    return ((follicle, section_of(follicle, sections)) for follicle in follicles)


def judged_whole(follicles: Iterable[Follicle], sections: Sequence[Section]) -> list[Section]:
    """Sections that a person judged as a whole, and in which no later search has claimed another follicle."""
    if not any(s.judged_whole for s in sections):
        return []
    claimed = (f for f in follicles if f.status == Status.PREDICTED and not f.is_corpus_luteum)
    unclear = {own for _, own in places(claimed, sections)}
    return [s for s in sections if s.judged_whole and s.section_id not in unclear]


def section_of(follicle: Follicle, sections: Sequence[Section]) -> str | None:
    """Id of the section on which a follicle lies; None if it was drawn outside all sections.

    The section may have been merged or cut since the follicle was found.
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
    # The run found it next to its section, which may now be part of another one.
    return (own or [min(sections, key=lambda s: s.outline.distance(centre))])[0].section_id


def _share(found: Section, old: Section) -> bool:
    """Whether two sections share tissue, not only a border."""
    shared = found.outline.intersection(old.outline).area
    return bool(shared > _SEAM * min(found.outline.area, old.outline.area))


def _with_what_was_joined(
    old: Sequence[Section], touched: Sequence[Section], found: Sequence[Section]
) -> list[Section]:
    """Changed sections, and old sections that share a found section with one of them."""
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
    """A section with the tissue of several, and the first doubt among them."""
    return replace(
        first,
        outline=_area(unary_union([s.outline for s in parts])),
        area_mm2=sum(s.area_mm2 for s in parts),
        doubt=next((s.doubt for s in parts if s.doubt), ""),
    )


def _part(section: Section, outline: MultiPolygon) -> Section:
    """A section reduced to a part of it."""
    return replace(section, outline=outline, area_mm2=section.area_mm2 * outline.area / section.outline.area)


def _free_name(section_id: str, names: set[str], *, first: str = "_x1") -> str:
    """A free name, which is added to the taken names."""
    endings = (first, *(f"_x{n}" for n in range(1, len(names) + 2)))
    name = next(section_id + ending for ending in endings if section_id + ending not in names)
    names.add(name)
    return name


def _area(geometry: BaseGeometry) -> MultiPolygon:
    """The parts of a geometry that have an area."""
    parts = getattr(geometry, "geoms", [geometry])
    return MultiPolygon([p for p in parts if isinstance(p, Polygon) and p.area])
