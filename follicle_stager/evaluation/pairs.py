"""Find what belongs together: results and truth of the same slides, from study folders or GeoJSON files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager.annotations import read_geojson
from follicle_stager.errors import UserError
from follicle_stager.evaluation.scores import Criterion, SlidePair
from follicle_stager.stages import LADDER, Stage, Status
from follicle_stager.study import Study, slide_name
from follicle_stager.study.samples import animals_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from follicle_stager.records import Follicle


def load_pairs(predicted: Path, truth: Path, *, criterion: Criterion, mpp: float | None = None) -> list[SlidePair]:
    """Read results and truth.

    Parameters
    ----------
    predicted
        A study folder, a folder of GeoJSON files, or one such file.
    truth
        A cohort that ``phantom`` wrote, a study that a person corrected, a folder of GeoJSON files, or one such
        file. Files belong together by name.
    criterion
        When a found follicle is a true one.
    mpp
        µm per pixel, for files that are no study (a study knows).

    Returns
    -------
    list of SlidePair
        One per slide of the truth. Animals are read from ``samples.csv`` beside either; without it each slide is
        its own.

    Raises
    ------
    UserError
        If something cannot be read, slides of the truth have no result, or a distance is asked for without µm/px.
    """
    if mpp is not None and not 0 < mpp < math.inf:
        raise UserError(f"--mpp is {mpp:g}; it must be more than 0.")
    if mpp is not None and _is_study(predicted):
        raise UserError(f"{predicted}: this study knows its µm per pixel; leave --mpp out.")
    found, true = _files(predicted), _files(truth)
    name_of = {slide: slide for slide in true}
    if truth.is_file() and len(found) == 1:
        # A single file may be called as it likes; what it belongs to is clear.
        name_of = {next(iter(true)): next(iter(found))}
    missing = sorted(name for name in name_of.values() if name not in found)
    if missing:
        raise UserError(
            f"{predicted}: no result for {len(missing)} of {len(true)} slides of the truth: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Run them, or take their truth away; files belong together by name."
        )
    _check_cohort(predicted, truth, true)
    animals = _animals(truth) | _animals(predicted)
    pairs = []
    for slide, path in sorted(true.items()):
        name = name_of[slide]
        scale, visible = _scale(predicted, name, mpp)
        if criterion.distance_um is not None and scale is None:
            raise UserError(f"{found[name]}: the file is in pixels; say with --mpp how many µm a pixel has.")
        pairs.append(
            SlidePair(
                slide=slide,
                animal=animals.get(name, name),
                found=counted(_follicles(predicted, name, found[name])),
                true=counted(_follicles(truth, slide, path)),
                mpp=scale,
                visible=visible,
                criterion=criterion,
            )
        )
    return pairs


def _files(place: Path) -> dict[str, Path]:
    """GeoJSON of each slide."""
    if not place.exists():
        raise UserError(f"{place}: no such file or folder; check the path.")
    if place.is_file() and place.suffix.lower() not in (".geojson", ".json"):
        raise UserError(f"{place}: this is no GeoJSON; give a study folder, a folder of .geojson files, or one file.")
    if place.is_file():
        return {slide_name(place.with_suffix("")): place}
    if _is_study(place):
        study = Study.open(place)
        if not study.slide_ids():
            raise UserError(f"{place}: no slide is finished in this study; run 'follicle-stager stage' first.")
        return {slide: study.slide_folder(slide) / "follicles.geojson" for slide in study.slide_ids()}
    folder = place / "truth" if (place / "truth").is_dir() else place
    files = {slide_name(p.with_suffix("")): p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".geojson"}
    if not files:
        raise UserError(f"{place}: no GeoJSON here; give a study folder, a folder of .geojson files, or one file.")
    return files


def _follicles(place: Path, slide: str, path: Path) -> list[Follicle]:
    return Study(place).follicles(slide) if _is_study(place) else read_geojson(path)


def _is_study(place: Path) -> bool:
    return (place / "study.toml").is_file()


def _check_cohort(predicted: Path, truth: Path, slides: Iterable[str]) -> None:
    """Refuse the truth of another synthetic cohort: its slides have the same names."""
    plan = truth / "truth" / "plan.json"
    if not _is_study(predicted) or not plan.is_file():
        return
    for slide in slides:
        source = Path(str((Study(predicted).run_info(slide) or {}).get("source", "")))
        own = source.parent / "truth" / "plan.json"
        if own.is_file() and own.read_bytes() != plan.read_bytes():
            raise UserError(f"{predicted}: its slides are those of {source.parent}, and {truth} is another cohort.")


def counted(follicles: list[Follicle]) -> list[Follicle]:
    """Without what is no follicle, or was rejected."""
    no_follicle = (Stage.NOT_FOLLICLE, Stage.CORPUS_LUTEUM)
    return [f for f in follicles if f.stage not in no_follicle and f.status != Status.REJECTED]


def _animals(place: Path) -> dict[str, str]:
    """Animal of each slide, where a sample sheet lies beside."""
    for sheet in (place / "samples.csv", place.parent / "samples.csv"):
        if sheet.is_file():
            return animals_of(sheet)
    return {}


def _scale(place: Path, slide: str, mpp: float | None) -> tuple[float | None, frozenset[Stage]]:
    """µm per pixel of a result, and the stages that it could show."""
    info = Study(place).run_info(slide) if _is_study(place) else None
    if info is None:
        return mpp, frozenset(LADDER)
    try:
        visible = frozenset(Stage(s) for s in info["visible_stages"])
        return (float(info["mpp_x"]) * float(info["mpp_y"])) ** 0.5, visible
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{place}: run.json of slide {slide} is damaged; run the slide again.") from None
