"""A stage classifier learned from a lab's own corrections, in addition to the criteria.

The features of the gradient-boosted trees are the measurements and the probabilities by the criteria, so the trees do
not have to learn the criteria again. One temperature (Guo 2017, doi 10.48550/arXiv.1706.04599), fitted on animals that
the trees did not see, calibrates the probabilities. Follicles whose stage cannot be determined by the criteria stay
unsure.

A classifier is a folder: ``classifier.skops`` and ``classifier.json`` (how it was made, and how well it performs).
Reading it executes no code from it: only types of scikit-learn that are named here are accepted.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from follicle_stager.config import StagingConfig
from follicle_stager.errors import UserError
from follicle_stager.files import check_regular, read_json, replacing, write_text
from follicle_stager.measurements import Measurements
from follicle_stager.stages import LADDER, Stage
from follicle_stager.staging.criteria import doubts, stage_by_criteria, stage_probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from follicle_stager.records import Assessment

#: Folder of the classifier in a study.
FOLDER = "staging"
MODEL, CARD = "classifier.skops", "classifier.json"
FEATURES = (*Measurements.names(), *(f"criteria_{stage.value}" for stage in LADDER))

#: Smallest numbers of follicles and animals from which a stage is learned.
MIN_FOLLICLES, MIN_ANIMALS = 8, 2
# Inner folds; the temperature is fitted on their held-out animals.
_FOLDS = 5
# Probability of a stage that the trees of a fold never saw, and the limits of the temperature.
_LEAST, _TEMPERATURES = 1e-4, (0.3, 6.0)
# Trusted types that skops does not trust by default; this one belongs to scikit-learn.
_TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


class Card(BaseModel):
    """Description of a classifier."""

    model_config = ConfigDict(frozen=True)

    software: str
    follicles: int
    """Number of follicles that it was learned from."""
    animals: int
    data_sha256: str
    """Hash of the measurements, stages and animals that it was learned from."""
    model_sha256: str = ""
    stages: tuple[Stage, ...]
    """Stages that it has learned; the criteria decide on others."""
    features: tuple[str, ...]
    """Names of its features."""
    temperature: float
    takes_over: bool
    """Whether it is better than the criteria on held-out animals."""
    scores: dict[str, dict[str, float | None]]
    """Scores on held-out animals: figure -> ``criteria``, ``classifier``."""
    criteria: StagingConfig
    """Parameters of the criteria whose answers are among its features."""

    @property
    def id(self) -> str:
        """Hash that is equal for classifiers learned from the same follicles in the same way; their files differ."""
        return hashlib.sha256(self.model_dump_json(exclude={"model_sha256"}).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class LearnedStager:
    """A fitted classifier."""

    model: Any
    stages: tuple[Stage, ...]
    temperature: float
    criteria: StagingConfig

    def probabilities(self, table: Sequence[Measurements]) -> list[dict[Stage, float]]:
        """Probability of each stage of the ladder, for each follicle.

        A stage that was not learned keeps its probability by the criteria; the learned ones share the rest.
        """
        if not table:
            return []
        learned = _cooled(_shares(self.model, features(table, self.criteria), len(self.stages)), self.temperature)
        rows = []
        for m, shares in zip(table, learned, strict=True):
            criteria = stage_probabilities(m, self.criteria)
            rest = 1 - sum(p for stage, p in criteria.items() if stage not in self.stages)
            own = {stage: rest * float(p) for stage, p in zip(self.stages, shares, strict=True)}
            rows.append({stage: own.get(stage, criteria[stage]) for stage in LADDER})
        return rows


def features(table: Sequence[Measurements], criteria: StagingConfig) -> NDArray[np.float64]:
    """Features of the classifier, (n, len(FEATURES)); NaN for values that could not be measured."""
    rows = []
    for m in table:
        fits = stage_probabilities(m, criteria)
        rows.append([*(value for _, value in m.items()), *(fits[stage] for stage in LADDER)])
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def learnable(stages: Sequence[Stage], animals: Sequence[str]) -> tuple[Stage, ...]:
    """Stages with enough follicles from enough animals."""
    known = []
    for stage in LADDER:
        own = [animal for s, animal in zip(stages, animals, strict=True) if s == stage]
        if len(own) >= MIN_FOLLICLES and len(set(own)) >= MIN_ANIMALS:
            known.append(stage)
    return tuple(known)


def fit(
    table: Sequence[Measurements], stages: Sequence[Stage], animals: Sequence[str], criteria: StagingConfig
) -> LearnedStager:
    """Learn from follicles that a person staged.

    Parameters
    ----------
    table, stages, animals
        Measurements, the person's stage, and the animal of each follicle.
    criteria
        Parameters of the criteria, whose answers are features, too.

    Raises
    ------
    UserError
        If fewer than two stages can be learned.
    """
    from scipy.optimize import minimize_scalar
    from sklearn.model_selection import GroupKFold

    known = learnable(stages, animals)
    if len(known) < 2:
        raise UserError(
            f"Learning needs two stages with at least {MIN_FOLLICLES} judged follicles each, from at least "
            f"{MIN_ANIMALS} animals; there is {'one' if known else 'none'}. Judge more follicles."
        )
    keep = [i for i, stage in enumerate(stages) if stage in known]
    x = features([table[i] for i in keep], criteria)
    y = np.array([known.index(stages[i]) for i in keep])
    groups = np.array([animals[i] for i in keep])
    answered, given = [], []
    for seen, back in GroupKFold(min(_FOLDS, len(set(groups)))).split(x, y, groups):
        if len(set(y[seen])) > 1:  # with a single stage there is nothing to learn
            given.append(_shares(_trees(x[seen], y[seen]), x[back], len(known)))
            answered.append(y[back])
    temperature = 1.0
    if given:
        shares, true = np.concatenate(given), np.concatenate(answered)

        def loss(log_temperature: float) -> float:
            own = _cooled(shares, float(np.exp(log_temperature)))
            return float(-np.log(own[np.arange(len(true)), true]).mean())

        bounds = tuple(np.log(_TEMPERATURES))
        temperature = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
    return LearnedStager(_trees(x, y), known, temperature, criteria)


def _trees(x: NDArray[np.float64], y: NDArray[np.intp]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    # Small trees: larger ones learned the noise of the labels, and were overconfident.
    trees = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=60, max_leaf_nodes=4, min_samples_leaf=5, l2_regularization=1.0, random_state=0
    )
    # With few follicles, threads would only wait for each other, for minutes if the processors are busy.
    with threadpool_limits(1):
        return trees.fit(x, y)


def _shares(trees: Any, x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Probabilities of all stages, (n, count), including stages that these trees never saw."""
    from threadpoolctl import threadpool_limits

    shares = np.full((len(x), count), _LEAST)
    with threadpool_limits(1):
        shares[:, trees.classes_] = np.maximum(trees.predict_proba(x), _LEAST)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _cooled(shares: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    logits = np.log(shares) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def save(folder: Path, stager: LearnedStager, card: Card) -> None:
    """Write a classifier."""
    import skops.io

    content = skops.io.dumps(stager.model)
    with replacing(folder / MODEL) as temporary:
        temporary.write_bytes(content)
    card = card.model_copy(update={"model_sha256": hashlib.sha256(content).hexdigest()})
    write_text(folder / CARD, card.model_dump_json(indent=1) + "\n")


def load_card(folder: Path) -> Card:
    """Read the description of a classifier.

    Raises
    ------
    UserError
        If there is no classifier, or the file is damaged.
    """
    path = folder / CARD
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file; make a classifier with 'follicle-stager learn'.")
        return Card.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path}: this does not describe a classifier ({str(error).splitlines()[0]}).") from None


def load(folder: Path) -> LearnedStager:
    """Read a classifier.

    Raises
    ------
    UserError
        If it is missing, was replaced, or contains anything else than a classifier of this kind.
    """
    card, path = load_card(folder), folder / MODEL
    if not path.exists():
        raise UserError(f"{path}: no such file; run 'follicle-stager learn' again.")
    check_regular(path)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.model_sha256:
        raise UserError(f"{path}: this is not the file that {CARD} describes; run 'follicle-stager learn' again.")
    if card.features != FEATURES:
        raise UserError(
            f"{path}: this was learned by another version of the software; run 'follicle-stager learn' again."
        )
    return LearnedStager(_model(content, path), card.stages, card.temperature, card.criteria)


def _model(content: bytes, path: Path) -> Any:
    import skops.io
    from sklearn.ensemble import HistGradientBoostingClassifier

    try:
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        model = None if strange else skops.io.loads(content, trusted=_TRUSTED)
    except Exception as error:  # skops can raise any exception
        raise UserError(f"{path}: this is no classifier ({error}); run 'follicle-stager learn' again.") from None
    if strange or not isinstance(model, HistGradientBoostingClassifier):
        what = strange[0] if strange else type(model).__name__
        raise UserError(f"{path}: this is not a classifier (it contains {what}), and is not read.")
    return model


def stage_by_classifier(m: Measurements, stager: LearnedStager, config: StagingConfig) -> Assessment:
    """Stage one follicle by the classifier; the criteria decide on health, countability and doubts."""
    criteria = stage_by_criteria(m, config)
    (probabilities,) = stager.probabilities([m])
    best = max(probabilities, key=lambda stage: probabilities[stage])
    sure = probabilities[best] >= config.min_probability and not doubts(m, config)
    told = f"learned from corrections: {best.label.lower()} {probabilities[best]:.0%}"
    told += "" if criteria.stage == best else f"; the criteria say {criteria.stage.label.lower()}"
    return replace(
        criteria,
        stage=best if sure else Stage.UNSURE,
        probabilities=probabilities,
        reasons=(*criteria.reasons, told),
    )


def stager_id(config: StagingConfig) -> str:
    """Id of the classifier, on which stages depend besides the configuration; empty if there is none.

    Raises
    ------
    UserError
        If the classifier cannot be read, or is not better than the criteria.
    """
    return _named(config.classifier).id if config.classifier else ""


def stage_follicle(m: Measurements, config: StagingConfig) -> Assessment:
    """Stage one follicle by the criteria, or by the classifier that the configuration names.

    Raises
    ------
    UserError
        If the classifier cannot be read, or is not better than the criteria.
    """
    if not config.classifier:
        return stage_by_criteria(m, config)
    card = _named(config.classifier)
    return stage_by_classifier(m, _loaded(config.classifier, card.model_sha256), config)


@functools.lru_cache(maxsize=1)
def _loaded(folder: str, model_sha256: str) -> LearnedStager:
    """Read a classifier once, and again after it was learned again."""
    return load(Path(folder))


def _named(folder: str) -> Card:
    card = load_card(Path(folder))
    if not card.takes_over:
        raise UserError(
            f"{Path(folder) / CARD}: this classifier is not better than the criteria on held-out animals, so it is not "
            "used; remove staging.classifier from the configuration, or judge more follicles and learn again."
        )
    return card
