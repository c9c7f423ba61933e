"""What a stage is: the ladder of follicle growth, its names, ontology ids, colours and collapse to four classes.

Stage and health are two fields (a follicle may be a secondary *and* atretic), so ``atretic`` is no stage.
Criteria and their sources: ``staging/criteria.py``.
"""

from __future__ import annotations

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


def parse_stage(text: str) -> Stage:
    """Read a stage name as people write it.

    Parameters
    ----------
    text
        ``"Early antral"``, ``"early_antral"``, ``"EARLY-ANTRAL"`` ...

    Returns
    -------
    Stage

    Raises
    ------
    ValueError
        If no stage has this name; the message lists the names.
    """
    key = text.strip().lower().replace(" ", "_").replace("-", "_")
    try:
        return Stage(key)
    except ValueError:
        names = ", ".join(stage.label for stage in Stage)
        raise ValueError(f"{text!r} is not a follicle stage; the stages are: {names}") from None
