"""Pair results and truth of the same slides, from study folders or GeoJSON files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.annotations import in_words, read_outlines
from follicle_stager.errors import UserError
from follicle_stager.evaluation.scores import Criterion, SlidePair
from follicle_stager.slides import slide_name
from follicle_stager.stages import LADDER, Stage
from follicle_stager.study import Study
from follicle_stager.study.samples import animals_of
from follicle_stager.study.sources import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from follicle_stager.records import Follicle


_ENDINGS = (".geojson", ".json", ".zip")


def load_pairs(
    predicted: str | Path,
    truth: str | Path,
    *,
    criterion: Criterion | None = None,
    mpp: float | None = None,
    told: Callable[[str], None] = lambda said: None,
) -> list[SlidePair]:
    """Read results and truth.

    Parameters
    ----------
    predicted
        Study folder, folder of GeoJSON files, or one such file.
    truth
        Cohort that ``phantom`` wrote, study that a person corrected, folder of GeoJSON files, or one such file. Files
        are paired by name.
    criterion
        Criterion for a match of a found and a true follicle.
    mpp
        Pixel size, µm/px, for files that are not a study.
    told
        Function that is called with notes for the user, on objects of a file that are not follicles.

    Returns
    -------
    list of SlidePair
        One pair per slide of the truth. Animals are read from ``samples.csv`` next to either; without it, each slide
        counts as an animal of its own.

    Raises
    ------
    UserError
        If something cannot be read or compared, slides of the truth have no result, or a distance is given without
        µm/px.
    """
    predicted, truth, criterion = Path(predicted), Path(truth), criterion or Criterion()
    if mpp is not None and not 0 < mpp < math.inf:
        raise UserError(f"--mpp is {mpp:g}; it must be more than 0.")
    if mpp is not None and _is_study(predicted):
        raise UserError(f"{predicted}: this study already contains the µm per pixel; leave --mpp out.")
    found, true = _files(predicted), _files(truth)
    alike = {folded(name): name for name in found}
    name_of = {slide: alike.get(folded(slide), slide) for slide in true}
    if truth.is_file() and len(found) == 1:
        # A single file may have any name.
        name_of = {next(iter(true)): next(iter(found))}
    missing = sorted(name for name in name_of.values() if name not in found)
    if missing:
        raise UserError(
            f"{predicted}: no result for {len(missing)} of {len(true)} slides of the truth: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Process them, or remove their truth; files belong together by name."
        )
    _check_cohort(predicted, truth, true)
    animals = _animals(truth, name_of.values()) | _animals(predicted, name_of.values())
    pairs = []
    for slide, path in sorted(true.items()):
        name = name_of[slide]
        own_mpp, visible = _mpp_and_stages(predicted, name, mpp)
        if criterion.distance_um is not None and own_mpp is None:
            raise UserError(f"{found[name]}: the file is in pixels; give the µm per pixel with --mpp.")
        sides = _follicles(predicted, name, found[name], told), _follicles(truth, slide, path, told)
        lutea_found, lutea_true = (_only_corpora_lutea(side) for side in sides)
        pairs.append(
            SlidePair(
                slide=slide,
                animal=animals.get(name, name),
                found=only_follicles(sides[0]),
                true=only_follicles(sides[1]),
                mpp=own_mpp,
                visible=visible,
                criterion=criterion,
                lutea_found=lutea_found,
                lutea_true=lutea_true,
            )
        )
    if not any(any(pair.recognisable) for pair in pairs):
        raise UserError(
            f"{truth}: no follicle of a known stage in it, so there is nothing to compare; give its outlines classes "
            "such as Primary or Antral."
        )
    return pairs


def _files(place: Path) -> dict[str, Path]:
    """File of outlines of each slide, by slide name."""
    if not place.exists():
        raise UserError(f"{place}: no such file or folder; check the path.")
    if place.is_file():
        if _stem(place) is None:
            raise UserError(
                f"{place}: this file contains no outlines; name a study, GeoJSON or ROIs, or a folder of such files."
            )
        return {str(_stem(place)): place}
    if _is_study(place):
        study = Study.open(place)
        if not study.slide_ids():
            raise UserError(f"{place}: no slide is finished in this study; run 'follicle-stager stage' first.")
        return {slide: study.slide_folder(slide) / "follicles.geojson" for slide in study.slide_ids()}
    folder = place / "truth" if (place / "truth").is_dir() else place
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _stem(path) is None or path.suffix.lower() == ".json":
            continue
        other = files.setdefault(str(_stem(path)), path)
        if other != path:
            raise UserError(
                f"{folder}: {other.name} and {path.name} both belong to slide {_stem(path)}; move one away."
            )
    if not files:
        raise UserError(f"{place}: no outlines here; name a study, a folder of .geojson or ROI .zip files, or a file.")
    return files


def _stem(path: Path) -> str | None:
    """Name of the slide to which a file of outlines belongs, by the file name; None for any other file."""
    name = path.name
    for ending in (".gz", *_ENDINGS):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            if ending in _ENDINGS:
                return slide_name(name)
    return None


def _follicles(place: Path, slide: str, path: Path, told: Callable[[str], None]) -> list[Follicle]:
    if _is_study(place):
        return Study(place).follicles(slide)
    outlines = read_outlines(path)
    left_out = in_words(outlines.left_out)
    if left_out and not outlines.follicles:
        only = " Points have no outline: 'follicle-stager agreement' compares them." if "points" in left_out else ""
        raise UserError(f"{path}: no outline of a follicle in it, only other objects ({left_out}).{only}")
    if left_out:
        told(f"{path}: not taken for follicles: {left_out}")
    return outlines.follicles


def _is_study(place: Path) -> bool:
    return (place / "study.toml").is_file()


def _check_cohort(predicted: Path, truth: Path, slides: Iterable[str]) -> None:
    """Refuse the truth of another synthetic cohort, whose slides can have the same names."""
    plan = truth / "truth" / "plan.json"
    if not _is_study(predicted) or not plan.is_file():
        return
    for slide in slides:
        source = Study(predicted).source(slide)
        own = source.parent / "truth" / "plan.json"
        if own.is_file() and own.read_bytes() != plan.read_bytes():
            raise UserError(f"{predicted}: its slides are from {source.parent}, but {truth} is another cohort.")


def only_follicles(follicles: list[Follicle]) -> list[Follicle]:
    """Leave out objects that are not follicles, and rejected follicles."""
    return [f for f in follicles if f.is_follicle]


def _only_corpora_lutea(follicles: list[Follicle]) -> list[Follicle]:
    return [f for f in follicles if f.is_corpus_luteum]


def _animals(place: Path, slides: Iterable[str]) -> dict[str, str]:
    """Animal of each slide, if there is a sample sheet in the folder or next to it."""
    for sheet in (place / "samples.csv", place.parent / "samples.csv"):
        if sheet.is_file():
            return animals_of(sheet, slides)
    return {}


def _mpp_and_stages(place: Path, slide: str, mpp: float | None) -> tuple[float | None, frozenset[Stage]]:
    """µm per pixel of a result, and the stages that it can contain."""
    if not _is_study(place):
        return mpp, frozenset({*LADDER, Stage.CORPUS_LUTEUM})
    study = Study(place)
    return study.pixel_size(slide).mpp, frozenset(study.run(slide).visible_stages)
