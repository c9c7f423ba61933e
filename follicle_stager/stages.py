"""Stages of follicle growth, in one table: name, colour, classes of other protocols, rung of the ladder.

Stage and health are two fields (a follicle can be secondary *and* atretic), so ``atretic`` is no stage. The criteria of
the stages and their sources are in ``staging/criteria.py``. docs/architecture.md has the recipe for a new stage.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum


class Stage(StrEnum):
    """Growth stage of a follicle, or what else an outline may turn out to be.

    The columns of the table are the attributes.

    Attributes
    ----------
    color
        Colour of the outline, RGB 0-255. Okabe-Ito (safe for colour-blind readers), in an order in which neighbours on
        the ladder differ most, and each can be seen on purple tissue.
    rung
        Step of the ladder on which the statistics count the stage; empty for what is on no step. In the order of
        growth: transitional follicles are resting ones as primordial ones are, preovulatory ones are antral.
    four_class
        Class in the public four-class protocol; None for what is in none.
    ontology_id
        UBERON id; None where the ontology has none.
    """

    color: tuple[int, int, int]
    rung: str
    four_class: str | None
    ontology_id: str | None

    def __new__(
        cls,
        value: str,
        color: tuple[int, int, int] = (170, 170, 170),
        rung: str = "",
        four_class: str | None = None,
        ontology_id: str | None = None,
    ) -> Stage:
        """Make a row of the table."""
        stage = str.__new__(cls, value)
        stage._value_ = value
        stage.color, stage.rung, stage.four_class, stage.ontology_id = color, rung, four_class, ontology_id
        return stage

    PRIMORDIAL = "primordial", (240, 228, 66), "primordial", "Primordial", "UBERON:0003981"
    TRANSITIONAL = "transitional", (255, 190, 120), "primordial", "Primordial"
    PRIMARY = "primary", (0, 114, 178), "primary", "Primary", "UBERON:0000035"
    SECONDARY = "secondary", (0, 158, 115), "secondary", "Secondary", "UBERON:0000036"
    EARLY_ANTRAL = "early_antral", (230, 159, 0), "early_antral", "Tertiary"
    ANTRAL = "antral", (213, 94, 0), "antral", "Tertiary", "UBERON:0000037"
    PREOVULATORY = "preovulatory", (190, 20, 90), "antral", "Tertiary"
    CORPUS_LUTEUM = "corpus_luteum", (130, 90, 60)
    UNSURE = "unsure", (70, 70, 70)
    NOT_FOLLICLE = "not_follicle", (170, 170, 170)

    @property
    def label(self) -> str:
        """The name as people write it, e.g. ``"Early antral"``."""
        return self.value.replace("_", " ").capitalize()

    @property
    def resting(self) -> bool:
        """Whether the follicle has not begun to grow. Such follicles are small, and need a fine resolution."""
        return self.rung == "primordial"

    @property
    def antral(self) -> bool:
        """Whether the follicle has an antrum, or the fluid spaces that become one."""
        return self.rung in ("early_antral", "antral")


class Health(StrEnum):
    """Whether the follicle degenerates."""

    HEALTHY = "healthy"
    ATRETIC = "atretic"
    UNKNOWN = "unknown"


class Countable(StrEnum):
    """Visible-nucleus rule: a follicle counts if the nucleus of its oocyte lies in the section."""

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


def next_health(health: Health) -> Health:
    """Health after a switch between atretic and healthy."""
    return Health.HEALTHY if health == Health.ATRETIC else Health.ATRETIC


def next_countable(countable: Countable) -> Countable:
    """Countability after a switch between visible and not visible."""
    return Countable.NO if countable == Countable.YES else Countable.YES


#: The ladder of growth, earliest first.
LADDER: tuple[Stage, ...] = tuple(stage for stage in Stage if stage.rung)

#: Rows of every count table: the ladder, and the follicles that could not be staged. No row is ever dropped.
TABLE_ROWS: tuple[Stage, ...] = (*LADDER, Stage.UNSURE)

#: What outlines are of: the rows of the count tables, and corpora lutea, which have tables of their own.
OUTLINED: tuple[Stage, ...] = (*TABLE_ROWS, Stage.CORPUS_LUTEUM)

#: Rungs of the ladder, earliest first, and the stages that are counted on each.
RUNGS: dict[str, tuple[Stage, ...]] = {
    rung: tuple(stage for stage in LADDER if stage.rung == rung)
    for rung in dict.fromkeys(stage.rung for stage in LADDER)
}

#: Names of the four classes, earliest first.
FOUR_CLASSES: tuple[str, ...] = tuple(dict.fromkeys(stage.four_class for stage in LADDER if stage.four_class))


# Names by which people call stages, without spaces, beside those of the table.
_NAMES = {stage.value.replace("_", ""): stage for stage in Stage} | {
    "transitory": Stage.TRANSITIONAL,
    "intermediate": Stage.TRANSITIONAL,
    "smallantral": Stage.EARLY_ANTRAL,
    "lateantral": Stage.ANTRAL,
    "largeantral": Stage.ANTRAL,
    "graafian": Stage.PREOVULATORY,
    "corporalutea": Stage.CORPUS_LUTEUM,
    "notafollicle": Stage.NOT_FOLLICLE,
}
# Words of a class that do not name the stage.
_FILLERS = {"follicle", "follicles", "foll", "stage"}
_COUNT_OF = re.compile(
    r"^\W*(number of|no\.? of|count of|n of|number|count|n|#)(?![a-z])|(?<![a-z])(count|counts|n)\W*$"
)
_HEALTH_WORDS = {"atretic": Health.ATRETIC, "atresia": Health.ATRETIC, "healthy": Health.HEALTHY}


@functools.lru_cache(maxsize=1024)
def read_class(text: str) -> tuple[Stage | None, Health | None]:
    """Read a class as people write it: the stage and the health that it names, None for what it does not name.

    Parameters
    ----------
    text
        Class name such as ``"Primordial follicle"``, or several with colons, as QuPath writes them: ``"Follicle:
        Primary"``, ``"Secondary: Atretic"``. Numbers are ignored, and *number of*. A part with any other word names no
        stage: ``"Preantral"`` is not antral, nor is ``"Antral wall"``. If two parts name different stages, neither
        counts.
    """
    read = [_read_part(part) for part in text.split(":")]
    stages = {stage for stage, _ in read if stage is not None}
    return (stages.pop() if len(stages) == 1 else None), next((health for _, health in read if health), None)


def _read_part(text: str) -> tuple[Stage | None, Health | None]:
    spaced = _COUNT_OF.sub(" ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower().strip())
    words = [word for word in re.split(r"[\s;,./()?_\-]+", spaced) if word and not re.fullmatch(r"f?\d+", word)]
    whole = _NAMES.get("".join(words))
    if whole is not None:
        return whole, None
    health = next((_HEALTH_WORDS[word] for word in words if word in _HEALTH_WORDS), None)
    return _NAMES.get("".join(word for word in words if word not in _FILLERS and word not in _HEALTH_WORDS)), health
