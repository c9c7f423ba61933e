"""The part of the panel with the counts, and with the sections and their animals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from follicle_stager.errors import UserError
from follicle_stager.records import NOT_OVARY
from follicle_stager.stages import OUTLINED, Stage
from follicle_stager_napari.layers import short_name
from follicle_stager_napari.widgets import Said, foldable, name_list, push_button, row

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from follicle_stager.review.desk import Desk
    from follicle_stager.study import Counts
    from follicle_stager_napari.reviewer import Reviewer

_ROW_PX = 21
#: Reasons in the list; the user can also type another one.
_REASONS = ("fold", "tear", "pen or dirt", "out of focus", NOT_OVARY)
# What a mark behind the name of a section means.
_WHOLE = "judged whole: every follicle is marked"
_NEW_CLAIMS = "judged whole, but a later search claimed follicles on which nobody decided"
_BY_SHEET = "as in the sample sheet"
_SLIDE_TIP = "section: in the section of the current follicle; slide: on this slide"
_GROUPS_TIP = "animal: in this animal; each group: mean of its animals"
# Number of sections that are visible at once; the list scrolls.
_SECTIONS_SEEN = 5


class CountPart(QWidget):
    """Sections and counts of the open slide, its animals, and their groups.

    Parameters
    ----------
    at_work
        Function that returns the reviewer if a slide is open.
    tried
        Function that runs another function, and shows a message if it fails.
    """

    def __init__(self, at_work: Callable[[], Reviewer | None], tried: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._table, self._groups = _CountTable(_SLIDE_TIP), _CountTable(_GROUPS_TIP)
        self._why, self._notes = Said(3), Said(3)
        self._why.hide()
        self._sections = SectionsPart(at_work, tried)
        self._at_work, self._tried = at_work, tried
        #: Whether sections, and animals and groups, are unfolded.
        self.sections_open = self.groups_open = False
        # Folded at first: a person who stages should not see which group needs more follicles.
        self._groups_part = foldable("Animals and groups", self._groups, opened=self._groups_opened)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        sections = foldable("Sections", self._sections, opened=self._opened)
        for widget in (self._table, self._why, self._notes, self._groups_part, sections):
            layout.addWidget(widget)

    def _opened(self, opened: bool) -> None:
        self.sections_open = opened
        reviewer = self._at_work()
        if reviewer is not None:
            reviewer.tissue.show(opened)
            self._sections.show_of(reviewer.desk)

    def _groups_opened(self, opened: bool) -> None:
        self.groups_open = opened
        reviewer = self._at_work()
        if reviewer is not None and opened:
            self._tried(lambda: self.show_of(reviewer.desk))

    def show_of(self, desk: Desk) -> None:
        """Show the counts; below the table, show notes, or the reason why the study cannot be counted."""
        self._groups_part.setVisible(not desk.hides_groups)
        self._table.fill(_of_slide(desk))
        if self.sections_open:
            self._sections.show_of(desk)
        if desk.blinding is not None:  # notes have names, too
            self._why.setText("")
            self._notes.setText("")
            return
        counts, why = None, ""
        try:
            counts = desk.numbers.counts()
        except UserError as error:
            why = f"Animals and groups are not counted yet. {error}"
        self._why.setText(why)
        self._why.setVisible(bool(why))
        self._notes.setVisible(not why)  # only one of the two is shown
        self._notes.setText("\n".join(counts.notes) if counts is not None else "")
        if self.groups_open and not desk.hides_groups:
            self._groups.fill(_columns(desk, counts))


class _CountTable(QTableWidget):
    """Counts by stage."""

    def __init__(self, tip: str) -> None:
        super().__init__(len(OUTLINED), 1)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setToolTip(tip)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW_PX)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(_ROW_PX * (len(OUTLINED) + 2))

    def fill(self, columns: dict[str, dict[str, str]]) -> None:
        """Show columns of counts, each by stage."""
        self.setColumnCount(1 + len(columns))
        self.setHorizontalHeaderLabels(["stage", *columns])
        for line, stage in enumerate(OUTLINED):
            cells = (stage.label, *(own.get(stage.value, "") for own in columns.values()))
            for place, text in enumerate(cells):
                self.setItem(line, place, QTableWidgetItem(text))


class SectionsPart(QWidget):
    """The sections on the open slide: their animals, and which of them are counted.

    Parameters
    ----------
    at_work, tried
        Functions as in `CountPart`.
    """

    _COLUMNS = ("section", "animal", "ovary", "mm²", "counted")

    def __init__(self, at_work: Callable[[], Reviewer | None], tried: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._at_work, self._tried = at_work, tried
        self._ids: list[str] = []
        self._table = QTableWidget(0, len(self._COLUMNS))
        self._table.setHorizontalHeaderLabels(list(self._COLUMNS))
        self._table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(_ROW_PX)
        self._table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setFixedHeight(_ROW_PX * (_SECTIONS_SEEN + 1) + 8)
        self._table.setToolTip("Select sections; their outlines become thick on the slide.")
        self._table.itemSelectionChanged.connect(self._selected)
        self._owner = name_list()
        self._owner.setToolTip("Animals and ovaries that the sample sheet names for this slide.")
        self._reason = QComboBox()
        self._reason.setEditable(True)
        self._reason.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._reason.addItems(list(_REASONS))
        self._reason.setToolTip(
            "Why it is not counted; choose or type. Any reason except 'no ovary' reduces the sampled area."
        )
        for box in (self._owner, self._reason):
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._of_animals = row(
            QLabel("animal"),
            self._owner,
            push_button("Assign", "Assign the selected sections to this animal and ovary.", self._assign),
        )
        for widget in (
            self._table,
            self._of_animals,
            row(
                QLabel("reason"),
                self._reason,
                push_button(
                    "Leave out", "Exclude the selected sections from the counts.", lambda: self._include(False)
                ),
            ),
            row(
                push_button("Merge", "Make one section of the selected pieces.", self._merge),
                push_button(
                    "Cut out ...", "Draw around a part to exclude from the counts, e.g. a fold.", self._cut_out
                ),
                push_button("Count again", "Include the selected sections in the counts.", lambda: self._include(True)),
            ),
            push_button(
                "Judged whole",
                "Say that every follicle in the selected sections is marked, or that they have none. Claims on which "
                "you did not decide are accepted. Training then learns the rest of these sections as background. "
                "Click again to take it back.",
                lambda: self._do(lambda desk, ids: desk.tissue.judge_whole(ids)),
            ),
        ):
            layout.addWidget(widget)

    def show_of(self, desk: Desk) -> None:
        """Show the sections of the open slide."""
        open_names = desk.blinding is None
        self._of_animals.setVisible(open_names)
        for place in (1, 2):  # animal and ovary
            self._table.setColumnHidden(place, not open_names)
        sections, chosen = desk.tissue.sections, set(self._chosen())
        owners = desk.tissue.owner_of() if open_names else {}
        judged = desk.tissue.judged_whole
        self._ids = [s.section_id for s in sections]
        self._table.blockSignals(True)
        self._table.setRowCount(len(sections))
        self._table.clearSelection()
        for line, section in enumerate(sections):
            animal, ovary = owners.get(section.section_id, ("?", "") if section.included else ("", ""))
            counted = "yes" if section.included else f"no: {section.reason}" if section.reason else "no"
            mark, said = "", section.doubt
            if section.judged_whole:
                mark, said = (" ✓", _WHOLE) if section in judged else (" ?", _NEW_CLAIMS)
            name = section.section_id if open_names else short_name(section)
            cells = (name + mark, animal, ovary, f"{section.area_mm2:.2f}", counted)
            for place, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(said)
                self._table.setItem(line, place, item)
                item.setSelected(section.section_id in chosen)
        self._table.blockSignals(False)
        self._mark()
        choices = [*desk.tissue.owners, None] if open_names and desk.tissue.owners else []
        if [self._owner.itemData(i) for i in range(self._owner.count())] != choices:
            self._owner.clear()
            for owner in choices:
                self._owner.addItem(" ".join(owner).strip() if owner is not None else _BY_SHEET, owner)

    def _chosen(self) -> list[str]:
        lines = sorted({index.row() for index in self._table.selectedIndexes()})
        return [self._ids[line] for line in lines if line < len(self._ids)]

    def _selected(self) -> None:
        """Mark the sections that the user selected; if it is only one, bring it into view."""
        self._mark()
        reviewer, chosen = self._at_work(), self._chosen()
        if reviewer is not None and len(chosen) == 1:
            self._tried(lambda: reviewer.look_at_section(chosen[0]))

    def _mark(self) -> None:
        reviewer = self._at_work()
        if reviewer is not None:
            reviewer.tissue.mark(self._chosen())

    def _assign(self) -> None:
        owner = self._owner.currentData(Qt.ItemDataRole.UserRole)
        if not self._owner.count():
            self._tried(_no_sheet)
        else:
            self._do(lambda desk, ids: desk.tissue.assign(ids, tuple(owner) if owner is not None else None))

    def _merge(self) -> None:
        self._do(lambda desk, ids: desk.tissue.merge(ids))

    def _include(self, included: bool) -> None:
        reason = "" if included else self._reason.currentText().strip()
        self._do(lambda desk, ids: desk.tissue.include(ids, included, reason))

    def _do(self, command: Callable[[Desk, list[str]], None]) -> None:
        def do() -> None:
            reviewer, ids = self._at_work(), self._chosen()
            if reviewer is None:
                return
            if not ids:
                raise UserError("No section is selected: click one in the list, or several with Ctrl.")
            command(reviewer.desk, ids)
            reviewer.show()
            self.show_of(reviewer.desk)

        self._tried(do)

    def _cut_out(self) -> None:
        reviewer = self._at_work()
        if reviewer is not None:
            reason = self._reason.currentText().strip()
            reviewer.ask_for("region", lambda region: reviewer.desk.tissue.exclude_region(region, reason))


def _no_sheet() -> None:
    raise UserError(
        "The sample sheet names no animal for this slide: add rows for it to samples.csv, open the study again, and "
        "then assign."
    )


def _of_slide(desk: Desk) -> dict[str, dict[str, str]]:
    """Counts in the section of the current follicle and on the open slide, by stage."""
    since, here = desk.numbers.since_prediction(), desk.numbers.in_section()
    columns: dict[str, dict[str, str]] = {"section": {}, "slide": {}}
    for stage in OUTLINED:
        found, now = since[stage]
        changed, section = f"{now} (found {found})" if found != now else str(now), str(here.get(stage, ""))
        if not now and stage is not Stage.UNSURE and stage not in desk.visible_stages:
            changed = section = "NA"
        columns["section"][stage.value], columns["slide"][stage.value] = section, changed
    return columns


def _columns(desk: Desk, counts: Counts | None) -> dict[str, dict[str, str]]:
    """Counts of the slide's animals, and means of the groups of their mouse model, by stage."""
    if counts is None:
        return {"animal": {}, "control": {}, "knockout": {}}
    own = counts.section[counts.section["slide"] == desk.slide_id]
    animals = counts.animal[counts.animal["animal"].isin(own["animal"])]
    groups = counts.genotype[counts.genotype["model"].isin(own["model"])]
    names = list(dict.fromkeys(map(str, groups["group"])))
    columns = {"animal": _by_stage(animals, "n_profiles")}
    columns |= {name: _by_stage(groups[groups["group"] == name], "n_profiles_mean") for name in names}
    lutea = counts.corpora_lutea_animal
    lutea = lutea.assign(stage=Stage.CORPUS_LUTEUM.value, n_profiles=lutea["n_profiles"].astype(float))
    columns["animal"] |= _by_stage(lutea[lutea["animal"].isin(own["animal"])], "n_profiles")
    of_model = lutea[lutea["model"].isin(own["model"])]
    for name in names:
        mean = of_model[of_model["group"] == name].groupby("stage")["n_profiles"].agg(lambda v: v.mean(skipna=False))
        columns[name] |= _by_stage(mean.reset_index(), "n_profiles")
    return columns


def _by_stage(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Counts of each stage as text; several animals on one slide are joined by +."""
    grouped = table.astype({column: float}).groupby("stage", sort=False)[column]
    return {str(stage): " + ".join("NA" if math.isnan(v) else f"{v:g}" for v in values) for stage, values in grouped}
