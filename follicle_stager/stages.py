"""What a stage is: the ladder of follicle growth, its names, ontology ids, colours and collapse to four classes.

Stage and health are two fields (a follicle may be a secondary *and* atretic), so ``atretic`` is no stage.
Criteria and their sources: ``staging/criteria.py``.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Stage(StrEnum):
    """Growth stage of a follicle, or what else an outline may turn out to be."""

    PRIMORDIAL = "primordial"
    TRANSITIONAL = "transitional"
    PRIMARY = "primary"
    SECONDARY = "secondary"
    EARLY_ANTRAL = "early_antral"
    ANTRAL = "antral"
    PREOVULATORY = "preovulatory"
    CORPUS_LUTEUM = "corpus_luteum"
    UNSURE = "unsure"
    NOT_FOLLICLE = "not_follicle"

    @property
    def label(self) -> str:
        """The name as people write it, e.g. ``"Early antral"``."""
        return self.value.replace("_", " ").capitalize()

    @property
    def color(self) -> tuple[int, int, int]:
        """Colour of the outline, RGB 0-255."""
        return _COLORS[self]

    @property
    def four_class(self) -> str | None:
        """Class in the public four-class protocol; None for what is no growing or resting follicle."""
        return _FOUR_CLASSES.get(self)

    @property
    def ontology_id(self) -> str | None:
        """UBERON id of the stage, where the ontology has one."""
        return _ONTOLOGY.get(self)


class Health(StrEnum):
    """Whether the follicle degenerates; kept beside the stage that it had."""

    HEALTHY = "healthy"
    ATRETIC = "atretic"
    UNKNOWN = "unknown"


class Countable(StrEnum):
    """Visible-nucleus rule: a follicle counts where its oocyte's nucleus lies in the section."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """What a person has said about a follicle."""

    PREDICTED = "predicted"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    ADDED = "added"
    REJECTED = "rejected"


#: The ladder of growth, earliest first.
LADDER: tuple[Stage, ...] = (
    Stage.PRIMORDIAL,
    Stage.TRANSITIONAL,
    Stage.PRIMARY,
    Stage.SECONDARY,
    Stage.EARLY_ANTRAL,
    Stage.ANTRAL,
    Stage.PREOVULATORY,
)

#: Rows of every count table: the ladder, and the follicles nobody could stage. They are never dropped.
COUNTED: tuple[Stage, ...] = (*LADDER, Stage.UNSURE)

# Okabe-Ito (colour-blind safe), ordered so that neighbours on the ladder differ most, and each reads on
# purple tissue; the label beside the outline says the same in words.
_COLORS: dict[Stage, tuple[int, int, int]] = {
    Stage.PRIMORDIAL: (240, 228, 66),
    Stage.TRANSITIONAL: (255, 190, 120),
    Stage.PRIMARY: (0, 114, 178),
    Stage.SECONDARY: (0, 158, 115),
    Stage.EARLY_ANTRAL: (230, 159, 0),
    Stage.ANTRAL: (213, 94, 0),
    Stage.PREOVULATORY: (190, 20, 90),
    Stage.CORPUS_LUTEUM: (130, 90, 60),
    Stage.UNSURE: (70, 70, 70),
    Stage.NOT_FOLLICLE: (170, 170, 170),
}

_FOUR_CLASSES: dict[Stage, str] = {
    Stage.PRIMORDIAL: "Primordial",
    Stage.TRANSITIONAL: "Primordial",
    Stage.PRIMARY: "Primary",
    Stage.SECONDARY: "Secondary",
    Stage.EARLY_ANTRAL: "Tertiary",
    Stage.ANTRAL: "Tertiary",
    Stage.PREOVULATORY: "Tertiary",
}

#: Names of the four classes, earliest first.
FOUR_CLASSES: tuple[str, ...] = tuple(dict.fromkeys(_FOUR_CLASSES.values()))

_ONTOLOGY: dict[Stage, str] = {
    Stage.PRIMORDIAL: "UBERON:0003981",
    Stage.PRIMARY: "UBERON:0000035",
    Stage.SECONDARY: "UBERON:0000036",
    Stage.ANTRAL: "UBERON:0000037",
}


# Words of a class that say nothing of the stage.
_SAYS_NOTHING = {"follicle", "follicles", "stage"}
_HEALTH_WORDS = {"atretic": Health.ATRETIC, "atresia": Health.ATRETIC, "healthy": Health.HEALTHY}


def read_class(text: str) -> tuple[Stage | None, Health | None]:
    """Read a class as people write it: the stage and the health that it names, None for what it does not name.

    Parameters
    ----------
    text
        ``"Primordial follicle"``, or several classes with colons, as QuPath has them: ``"Follicle: Primary"``,
        ``"Secondary: Atretic"``. One with any other word is none of a stage: ``"Preantral"`` is not antral, nor is
        ``"Antral wall"``. Numbers say nothing. Where two name a stage, none does.
    """
    read = [_read_part(part) for part in text.split(":")]
    stages = {stage for stage, _ in read if stage is not None}
    return (stages.pop() if len(stages) == 1 else None), next((health for _, health in read if health), None)


def _read_part(text: str) -> tuple[Stage | None, Health | None]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = [word for word in re.split(r"[\s;,./()?_\-]+", spaced.lower()) if word and not re.fullmatch(r"f?\d+", word)]
    if words in (["not", "a", "follicle"], ["not", "follicle"]):
        return Stage.NOT_FOLLICLE, None
    health = next((_HEALTH_WORDS[word] for word in words if word in _HEALTH_WORDS), None)
    name = "_".join(word for word in words if word not in _SAYS_NOTHING and word not in _HEALTH_WORDS)
    name = {"corpora_lutea": "corpus_luteum"}.get(name, name)
    return (Stage(name) if name in set(Stage) else None), health
