"""Blinded review: codes instead of the names of slides, and no names of animals, genotypes, groups or models.

``blinding.jsonl`` in the study folder holds the secret from which the codes are made, so that a slide keeps its code,
and every act of blinding and unblinding. Only labels can be hidden: the tissue itself may show the genotype.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from follicle_stager.corrections.log import LineLog, lines_of
from follicle_stager.corrections.standing import SOFTWARE
from follicle_stager.errors import UserError
from follicle_stager.files import parse_json
from follicle_stager.study import SampleSheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from follicle_stager.corrections.edits import Edit
    from follicle_stager.study import Study

NAME = "blinding.jsonl"
HIDDEN = "(hidden)"
# Letters of the codes: none that look alike, and no vowels, which would make words.
_LETTERS = "23456789BCDFGHJKMNPQRTVWXZ"
_WAIT_S = 5


@dataclass(frozen=True)
class Blinding:
    """Codes and hidden names of a study.

    Attributes
    ----------
    codes
        Code of each slide.
    hidden
        Names that must not be shown.
    """

    codes: dict[str, str]
    hidden: tuple[str, ...]

    @classmethod
    def begin(cls, study: Study, *, reader: str) -> Blinding:
        """Begin a blinded review, which is logged.

        Raises
        ------
        UserError
            If the log of blinding is damaged, or another process writes it.
        """
        with _log(study) as log:
            secret = _secret(study)
            if not secret:
                secret = secrets.token_hex(16)
                log.add(_line("codes", reader, secret=secret))
            log.add(_line("blind", reader))
        slides = study.slide_ids()
        return cls(_codes(slides, secret), _names(study, slides))

    def code(self, slide_id: str) -> str:
        """The code of a slide."""
        return self.codes[slide_id]

    def in_order(self, slides: Iterable[str]) -> list[str]:
        """Slides in the order of their codes, which is random."""
        return sorted(slides, key=lambda slide_id: self.codes[slide_id])

    def veil(self, text: str) -> str:
        """A text with codes instead of the names of slides, and without all other names."""
        for slide_id in sorted(self.codes, key=len, reverse=True):
            text = text.replace(slide_id, self.codes[slide_id])
        for name in self.hidden:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text)
        return text


def begin_or_end(study: Study, blind: bool | None, *, reader: str) -> Blinding | None:
    """Begin or end a blinded review, and log it; None leaves it as it was last.

    Returns
    -------
    Blinding or None
        The codes; None if the person may see the names.
    """
    was = is_blind(study)
    if blind or (blind is None and was):
        return Blinding.begin(study, reader=reader)
    if was:
        with _log(study) as log:
            log.add(_line("unblind", reader))
    return None


def is_blind(study: Study) -> bool:
    """Whether the last review of the study was blinded."""
    acts = [event["event"] for event in _events(study) if event["event"] != "codes"]
    return acts[-1:] == ["blind"]


def blind_decisions(edits: Sequence[Edit]) -> tuple[int, int]:
    """Number of decisions of persons in a log that were blind to labels, and of all."""
    own = [edit.blind for edit in edits if edit.changes and edit.author != SOFTWARE and edit.of == ""]
    return sum(own), len(own)


def _log(study: Study) -> LineLog:
    return LineLog(study.path / NAME, busy=f"{study.path / NAME}: another window writes it; try again.", wait_s=_WAIT_S)


def _line(event: str, reader: str, **more: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"event": event, "time": now, "reader": reader, **more}, ensure_ascii=False)


def _events(study: Study) -> list[dict[str, str]]:
    """Events of the log of blinding."""
    events = []
    for line, where in lines_of(study.path / NAME):
        event = parse_json(line, where)
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise UserError(f"{where}: this is no act of blinding. Restore the file from a copy, or delete this line.")
        events.append(event)
    return events


def _secret(study: Study) -> str:
    """The secret of the study; empty if it has none yet."""
    return next((str(event.get("secret", "")) for event in _events(study) if event["event"] == "codes"), "")


def _codes(slides: Sequence[str], secret: str) -> dict[str, str]:
    """A code of each slide that does not depend on the other slides, unless two would have the same."""
    codes: dict[str, str] = {}
    for slide_id in slides:
        digest = int(hashlib.sha256(f"{secret}/{slide_id}".encode()).hexdigest(), 16)
        letters: list[str] = []
        while len(letters) < 4 or f"slide {''.join(letters)}" in codes.values():
            digest, letter = divmod(digest, len(_LETTERS))
            letters.append(_LETTERS[letter])
        codes[slide_id] = f"slide {''.join(letters)}"
    return codes


def _names(study: Study, slides: Sequence[str]) -> tuple[str, ...]:
    """All text of the sample sheet, the names of the files and of the study, the longest first."""
    names = {study.path.resolve().name, str(study.path), str(study.path.resolve())}
    for slide_id in slides:
        names |= {study.source(slide_id).name, study.source(slide_id).stem, str(study.source(slide_id).parent)}
    if study.samples_path.exists():
        with contextlib.suppress(UserError):  # it is reported where the counts are shown
            for row in SampleSheet.read(study.samples_path).rows:
                values = row.model_dump(exclude={"sheet_line"}).values()
                names |= {value for value in values if isinstance(value, str)}
    # L and R, and numbers of sections, tell nothing, and would spoil other messages.
    telling = (name for name in names if len(name.strip()) > 1 and not name.isdigit())
    return tuple(sorted(telling, key=len, reverse=True))
