"""Learn a lab's own staging from its corrections: collect what was judged, hold animals back, compare, write.

The classifier takes over only where it beats the criteria on animals that it did not see. Both are asked for their best
guess there, so that neither gains by answering less often.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import follicle_stager
from follicle_stager.config import load_config
from follicle_stager.errors import StudyError, UserError
from follicle_stager.evaluation import weighted_kappa
from follicle_stager.stages import LADDER, Stage, Status
from follicle_stager.staging import learned
from follicle_stager.staging.criteria import stage_probabilities
from follicle_stager.study.samples import animals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from follicle_stager.config import StagingConfig
    from follicle_stager.morphometry import Measurements
    from follicle_stager.study import Study

# Of these one asks which, of the other, were called what.
_ANTRAL = frozenset({Stage.EARLY_ANTRAL, Stage.ANTRAL, Stage.PREOVULATORY})
_FOLDS, _RESAMPLES = 8, 2000


@dataclass(frozen=True)
class Examples:
    """Follicles that a person staged: of each its measurements, stage and animal."""

    measurements: tuple[Measurements, ...]
    stages: tuple[Stage, ...]
    animals: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of all that is learned from."""
        text = "\n".join(map(repr, zip(self.measurements, self.stages, self.animals, strict=True)))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Learned:
    """What came of learning.

    Attributes
    ----------
    folder
        Of the classifier.
    card
        How it was made.
    scores
        ``figure``, ``criteria``, ``classifier``; on animals that the classifier had not seen.
    difference
        Of the share with the right stage, classifier minus criteria: value, and ends of the 95 % interval over animals.
    """

    folder: Path
    card: learned.Card
    scores: pd.DataFrame
    difference: tuple[float, float, float]


def learn(study: Study, *, progress: Callable[[int, int], None] = lambda done, total: None, seed: int = 0) -> Learned:
    """Learn from what was judged in a study, and write the classifier to its folder ``staging``.

    Parameters
    ----------
    study
        With corrections.
    progress
        Called with the number of parts of the animals that were held back, and of all.
    seed
        Of the bootstrap.

    Raises
    ------
    UserError
        If too little was judged.
    """
    criteria = load_config(study.path / "study.toml").staging.model_copy(update={"classifier": ""})
    examples = collect(study)
    held_out = _held_out(examples, criteria, progress)
    scores, difference = compare(examples, held_out, criteria, seed=seed)
    stager = learned.fit(examples.measurements, examples.stages, examples.animals, criteria)
    card = learned.Card(
        software=f"follicle-stager {follicle_stager.__version__}",
        follicles=len(examples.stages),
        animals=len(set(examples.animals)),
        data_sha256=examples.sha256,
        stages=stager.stages,
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
    """Follicles of a study that a person judged and gave a stage of the ladder.

    Raises
    ------
    UserError
        If they are of fewer than two animals.
    """
    if not study.samples_path.is_file():
        raise StudyError(
            f"{study.samples_path}: no such file; animals are held back to see whether learning helps, and the sample "
            "sheet says which slide is of which animal. 'follicle-stager count --samples' puts one into the study."
        )
    animals = animals_of(study.samples_path)
    rows: list[tuple[Measurements, Stage, str]] = []
    for slide_id in study.slide_ids():
        animal = animals.get(slide_id, slide_id)
        rows += [
            (learned.measurements_of(f.measurements), f.stage, animal)
            for f in study.follicles(slide_id)
            if f.status in (Status.ACCEPTED, Status.CORRECTED, Status.ADDED) and f.stage in LADDER and f.measurements
        ]
    if (count := len({animal for *_, animal in rows})) < 2:
        raise UserError(
            f"{study.path}: {len(rows)} follicles of {count} animals are judged; follicles of at least 2 animals are "
            "needed, so that one can be held back. Judge some in 'follicle-stager review'."
        )
    return Examples(*(tuple(column) for column in zip(*rows, strict=True)))


def compare(
    examples: Examples, held_out: Sequence[dict[Stage, float]], criteria: StagingConfig, *, seed: int = 0
) -> tuple[pd.DataFrame, tuple[float, float, float]]:
    """Set the best guesses of criteria and classifier against the person's stages.

    Parameters
    ----------
    examples
        What the person said.
    held_out
        The classifier's probabilities for each, from animals other than its own.
    criteria
        Their parameters.
    seed
        Of the bootstrap over animals.

    Returns
    -------
    scores : DataFrame
        ``figure``, ``criteria``, ``classifier``.
    difference : tuple of float
        Of the share with the right stage, classifier minus criteria, with its 95 % interval over animals.
    """
    guesses = {
        "criteria": [_best(stage_probabilities(m, criteria)) for m in examples.measurements],
        "classifier": [_best(p) for p in held_out],
    }
    scores = pd.DataFrame({name: _figures(examples.stages, guess) for name, guess in guesses.items()})
    right = {
        name: np.array([a == b for a, b in zip(guess, examples.stages, strict=True)]) for name, guess in guesses.items()
    }
    gain = right["classifier"].astype(float) - right["criteria"]
    _, of = np.unique(examples.animals, return_inverse=True)
    sums, counts = np.bincount(of, gain), np.bincount(of)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(_RESAMPLES, len(counts)))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return scores.rename_axis("figure").reset_index(), (float(gain.mean()), float(low), float(high))


def _held_out(
    examples: Examples, criteria: StagingConfig, progress: Callable[[int, int], None]
) -> list[dict[Stage, float]]:
    """Probabilities of each follicle from a classifier that did not see its animal."""
    from sklearn.model_selection import GroupKFold

    n, animals = len(examples.stages), np.array(examples.animals)
    parts = min(_FOLDS, len(set(examples.animals)))
    answers: list[dict[Stage, float]] = [{} for _ in range(n)]

    def of(rows: NDArray[np.intp]) -> tuple[list[Measurements], list[Stage], list[str]]:
        return (
            [examples.measurements[i] for i in rows],
            [examples.stages[i] for i in rows],
            [examples.animals[i] for i in rows],
        )

    for part, (seen, back) in enumerate(GroupKFold(parts).split(np.zeros(n), groups=animals)):
        progress(part, parts)
        try:
            given = learned.fit(*of(seen), criteria).probabilities(of(back)[0])
        except UserError:  # without these animals too little is left: the criteria would have decided
            given = [stage_probabilities(m, criteria) for m in of(back)[0]]
        for row, probabilities in zip(back, given, strict=True):
            answers[row] = probabilities
    progress(parts, parts)
    return answers


def _figures(true: Sequence[Stage], given: Sequence[Stage]) -> dict[str, float]:
    secondary = [g for t, g in zip(true, given, strict=True) if t == Stage.SECONDARY]
    antral = [g for t, g in zip(true, given, strict=True) if t in _ANTRAL]
    said, guessed = ([LADDER.index(stage) for stage in stages] for stages in (true, given))
    return {
        "right_stage": float(np.mean([t == g for t, g in zip(true, given, strict=True)])),
        "weighted_kappa": weighted_kappa(said, guessed, len(LADDER)),
        "secondary_called_antral": _share([g in _ANTRAL for g in secondary]),
        "antral_called_secondary": _share([g == Stage.SECONDARY for g in antral]),
    }


def _share(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else float("nan")


def _best(probabilities: dict[Stage, float]) -> Stage:
    return max(probabilities, key=lambda stage: probabilities[stage])


def _plain(value: object) -> float | None:
    """JSON knows no NaN."""
    number = float(str(value))
    return round(number, 4) if np.isfinite(number) else None
