"""Find what belongs together: results and truth of the same slides, from study folders or GeoJSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from follicle_stager.annotations import read_geojson
from follicle_stager.errors import UserError
from follicle_stager.evaluation.scores import Criterion, SlidePair
from follicle_stager.stages import LADDER, Stage, Status
from follicle_stager.study import Study, slide_name

if TYPE_CHECKING:
    from pathlib import Path

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
    found, true = _files(predicted), _files(truth)
    if len(found) == len(true) == 1:
        # Two single files belong together whatever they are called.
        found = {next(iter(true)): next(iter(found.values()))}
    missing = sorted(set(true) - set(found))
    if missing:
        raise UserError(
            f"{predicted}: no result for {len(missing)} of {len(true)} slides of the truth: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Run them, or take their truth away; files belong together by name."
        )
    animals = _animals(truth) | _animals(predicted)
    pairs = []
    for slide, path in sorted(true.items()):
        scale, visible = _scale(predicted, slide, mpp)
        if criterion.distance_um is not None and scale is None:
            raise UserError(f"{found[slide]}: the file is in pixels; say with --mpp how many µm a pixel has.")
        pairs.append(
            SlidePair(
                slide=slide,
                animal=animals.get(slide, slide),
                found=_counted(read_geojson(found[slide])),
                true=_counted(read_geojson(path)),
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
    if place.is_file():
        return {slide_name(place.with_suffix("")): place}
    if (place / "study.toml").is_file():
        study = Study.open(place)
        return {slide: study.slide_folder(slide) / "follicles.geojson" for slide in study.slide_ids()}
    folder = place / "truth" if (place / "truth").is_dir() else place
    files = {slide_name(p.with_suffix("")): p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".geojson"}
    if not files:
        raise UserError(f"{place}: no GeoJSON here; give a study folder, a folder of .geojson files, or one file.")
    return files


def _counted(follicles: list[Follicle]) -> list[Follicle]:
    """Without what is no follicle, or was rejected."""
    no_follicle = (Stage.NOT_FOLLICLE, Stage.CORPUS_LUTEUM)
    return [f for f in follicles if f.stage not in no_follicle and f.status != Status.REJECTED]


def _animals(place: Path) -> dict[str, str]:
    """Animal of each slide, where a sample sheet lies beside."""
    for sheet in (place / "samples.csv", place.parent / "samples.csv"):
        if not sheet.is_file():
            continue
        try:
            table = pd.read_csv(sheet, dtype=str, sep=None, engine="python", encoding="utf-8-sig")
            return {slide_name(n): a for n, a in zip(table["slide"], table["animal"], strict=True)}
        except (KeyError, TypeError, ValueError, pd.errors.ParserError) as error:
            raise UserError(f"{sheet}: the slides' animals cannot be read from it ({error}).") from None
    return {}


def _scale(place: Path, slide: str, mpp: float | None) -> tuple[float | None, frozenset[Stage]]:
    """µm per pixel of a result, and the stages that it could show."""
    info = Study(place).run_info(slide) if (place / "study.toml").is_file() else None
    if info is None:
        return mpp, frozenset(LADDER)
    visible = frozenset(Stage(s) for s in info.get("visible_stages", []))
    return (info["mpp_x"] * info["mpp_y"]) ** 0.5, visible
