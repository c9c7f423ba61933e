"""Learn a lab's own staging from its corrections: collect judged follicles, hold out animals, compare, write.

The classifier replaces the criteria only if it is better on held-out animals, by the answers that both would give:
``unsure`` counts as wrong.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from follicle_stager.errors import StudyError, UserError
from follicle_stager.evaluation import weighted_kappa
from follicle_stager.stages import LADDER, Stage, Status
from follicle_stager.staging import learned
from follicle_stager.staging.criteria import stage_by_criteria
from follicle_stager.study import section_animals
from follicle_stager.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from follicle_stager.config import StagingConfig
    from follicle_stager.measurements import Measurements
    from follicle_stager.records import Follicle
    from follicle_stager.study import Study

_FOLDS = 8


@dataclass(frozen=True)
class Examples:
    """Follicles that a person staged: measurements, stage and animal of each."""

    measurements: tuple[Measurements, ...]
    stages: tuple[Stage, ...]
    animals: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of all training data."""
        text = "\n".join(map(repr, zip(self.measurements, self.stages, self.animals, strict=True)))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Learned:
    """Result of learning.

    Attributes
    ----------
    folder
        Folder of the classifier.
    card
        Description of the classifier and how it was made.
    scores
        Scores on held-out animals: ``figure``, ``criteria``, ``classifier``.
    difference
        Difference in the share with the right stage, classifier minus criteria: mean over animals, and the limits of
        its 95 % interval.
    """

    folder: Path
    card: learned.Card
    scores: pd.DataFrame
    difference: tuple[float, float, float]


def learn(study: Study, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Learned:
    """Learn from the judgements in a study, and write the classifier to its folder ``staging``.

    Parameters
    ----------
    study
        Study with corrections.
    progress
        Function that is called with the number of finished folds and the number of all folds.

    Raises
    ------
    UserError
        If too few follicles were judged.
    """
    criteria = study.config.staging.model_copy(update={"classifier": ""})
    examples = collect(study)
    held_out = _held_out(examples, criteria, progress)
    scores, difference = compare(examples, held_out, criteria)
    stager = learned.fit(examples.measurements, examples.stages, examples.animals, criteria)
    card = learned.Card(
        software=f"follicle-stager {__version__}",
        follicles=len(examples.stages),
        animals=len(set(examples.animals)),
        data_sha256=examples.sha256,
        stages=stager.stages,
        features=learned.FEATURES,
        temperature=stager.temperature,
        takes_over=difference[1] > 0,
        scores={
            str(row.figure): {"criteria": _plain(row.criteria), "classifier": _plain(row.classifier)}
            for row in scores.itertuples()
        },
        criteria=criteria,
    )
    folder = study.path / learned.FOLDER
    learned.save(folder, stager, card)
    return Learned(folder, learned.load_card(folder), scores, difference)


def collect(study: Study) -> Examples:
    """Collect the follicles of a study that a person judged and that have a stage of the ladder.

    Raises
    ------
    UserError
        If they are from fewer than two animals.
    """
    if not study.samples_path.is_file():
        raise StudyError(
            f"{study.samples_path}: no such file; the sample sheet says which slide belongs to which animal, and "
            "animals are held out to test the classifier. 'follicle-stager count --samples' adds one to the study."
        )
    rows: list[tuple[Measurements, Stage, str]] = []
    for slide_id, animals in section_animals(study).items():
        rows += [
            (f.measurements, f.stage, animals[f.section_id])
            for f in study.follicles(slide_id)
            if f.measurements is not None and _staged_by_person(f) and f.section_id in animals
        ]
    if (count := len({animal for *_, animal in rows})) < 2:
        raise UserError(
            f"{study.path}: {len(rows)} follicles of {count} animals are judged; at least 2 animals are needed, to "
            "hold one out. Judge some in 'follicle-stager review'."
        )
    return Examples(*(tuple(column) for column in zip(*rows, strict=True)))


def compare(
    examples: Examples, held_out: Sequence[Stage], criteria: StagingConfig
) -> tuple[pd.DataFrame, tuple[float, float, float]]:
    """Compare the answers of criteria and classifier with the person's stages.

    Parameters
    ----------
    examples
        Follicles with the person's stages.
    held_out
        Answer of the classifier for each follicle, learned from other animals.
    criteria
        Parameters of the criteria.

    Returns
    -------
    scores : DataFrame
        Scores: ``figure``, ``criteria``, ``classifier``.
    difference : tuple of float
        Difference in an animal's share with the right stage, classifier minus criteria: mean over animals, and the
        limits of the 95 % interval by Student's t, as there are few animals.
    """
    answers = {
        "criteria": [stage_by_criteria(m, criteria).stage for m in examples.measurements],
        "classifier": list(held_out),
    }
    scores = pd.DataFrame({name: _figures(examples.stages, given) for name, given in answers.items()})
    right = {
        name: np.array([a == b for a, b in zip(given, examples.stages, strict=True)], float)
        for name, given in answers.items()
    }
    _, of = np.unique(examples.animals, return_inverse=True)
    gains = np.bincount(of, right["classifier"] - right["criteria"]) / np.bincount(of)
    n, mean = len(gains), float(gains.mean())
    reach = float(stdtrit(n - 1, 0.975) * gains.std(ddof=1) / n**0.5) if n > 1 else float("inf")
    return scores.rename_axis("figure").reset_index(), (mean, mean - reach, mean + reach)


def _staged_by_person(follicle: Follicle) -> bool:
    """Whether a person gave the stage, and did not only change outline, health or nucleus."""
    said = follicle.status == Status.ACCEPTED or (
        follicle.status in (Status.CORRECTED, Status.ADDED) and follicle.stage != follicle.assessment.stage
    )
    return said and follicle.stage in LADDER


def _held_out(examples: Examples, criteria: StagingConfig, progress: Callable[[int, int], None]) -> list[Stage]:
    """Answer for each follicle by a classifier that was learned from other animals."""
    from sklearn.model_selection import GroupKFold

    n, animals = len(examples.stages), np.array(examples.animals)
    parts = min(_FOLDS, len(set(examples.animals)))
    answers = [Stage.UNSURE] * n
    for part, (seen, back) in enumerate(GroupKFold(parts).split(np.zeros(n), groups=animals)):
        progress(part, parts)
        try:
            stager = learned.fit(
                [examples.measurements[i] for i in seen],
                [examples.stages[i] for i in seen],
                [examples.animals[i] for i in seen],
                criteria,
            )
        except UserError:  # without these animals there are too few follicles: the criteria decide
            stager = None
        for i in back:
            m = examples.measurements[i]
            if stager is None:
                answers[i] = stage_by_criteria(m, criteria).stage
            else:
                answers[i] = learned.stage_by_classifier(m, stager, criteria).stage
    progress(parts, parts)
    return answers


def _figures(true: Sequence[Stage], given: Sequence[Stage]) -> dict[str, float]:
    secondary = [g for t, g in zip(true, given, strict=True) if t.rung == "secondary"]
    antral = [g for t, g in zip(true, given, strict=True) if t.antral]
    ladder = [(LADDER.index(t), LADDER.index(g)) for t, g in zip(true, given, strict=True) if g in LADDER]
    return {
        "right_stage": float(np.mean([t == g for t, g in zip(true, given, strict=True)])),
        "weighted_kappa": weighted_kappa([t for t, _ in ladder], [g for _, g in ladder], len(LADDER)),
        "secondary_called_antral": _share([g.antral for g in secondary]),
        "antral_called_secondary": _share([g.rung == "secondary" for g in antral]),
    }


def _share(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else float("nan")


def _plain(value: object) -> float | None:
    """A number for JSON, which has no NaN."""
    number = float(str(value))
    return round(number, 4) if np.isfinite(number) else None
