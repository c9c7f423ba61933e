"""The part of the panel that writes files: the report and tables of a study, the outlines of a slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QWidget

from follicle_stager.annotations import write_geojson, write_rois
from follicle_stager.errors import UserError
from follicle_stager.stages import Status
from follicle_stager.study import count, write_counts
from follicle_stager_napari.widgets import push_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from follicle_stager.study import Study
    from follicle_stager_napari.reviewer import Reviewer
    from follicle_stager_napari.work import Tell, WorkBar


class ExportPart(QWidget):
    """Buttons that write files.

    Parameters
    ----------
    at_work
        Function that returns the reviewer if a slide is open.
    say
        Function that shows a message.
    tried
        Function that runs another function, and shows a message if it fails.
    work
        Bar that runs long tasks in a thread.
    """

    def __init__(
        self,
        at_work: Callable[[], Reviewer | None],
        say: Callable[[str], None],
        tried: Callable[[Callable[[], None]], None],
        work: WorkBar,
    ) -> None:
        super().__init__()
        self._at_work, self._say, self._tried, self._work = at_work, say, tried, work
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for button in (
            push_button("Report", "All slides: compare the groups; one page with tables and figures.", self.report),
            push_button("Tables", "All slides: follicles and counts as CSV, as 'count' writes them.", self.tables),
            push_button("QuPath ...", "Save the outlines of this slide as GeoJSON.", lambda: self._ask("geojson")),
            push_button("ImageJ ...", "Save the outlines of this slide as ROIs.", lambda: self._ask("zip")),
        ):
            layout.addWidget(button)

    def report(self) -> None:
        """Compare knockouts with controls, and write tables and report.html."""

        def write(study: Study, tell: Tell) -> str:
            from follicle_stager.audit import AuditResult
            from follicle_stager.report.html import write_report
            from follicle_stager.statistics import compare, write_comparison

            tell("counts", 0, 3)
            contents = study.contents()
            counts = count(study, contents=contents)
            write_counts(study, counts)
            tell("comparison", 1, 3)
            comparison = compare(counts, config=study.config.comparison, audit=AuditResult.of(study))
            write_comparison(study, comparison)
            tell("report", 2, 3)
            verdicts = " ".join(arrest.verdict.sentence for arrest in comparison.arrests)
            return f"{verdicts} Report: {write_report(study, comparison, counts=counts, contents=contents)}"

        self._tried(lambda: self._of_study(write))

    def tables(self) -> None:
        """Write the tables of the study."""

        def write(study: Study, tell: Tell) -> str:
            tell("counts", 0, 1)
            write_counts(study, count(study))
            return f"Tables: {study.tables}"

        self._tried(lambda: self._of_study(write))

    def outlines(self, path: Path) -> None:
        """Write the outlines of the open slide: ``.zip`` for ImageJ, otherwise GeoJSON for QuPath."""
        reviewer = self._at_work()
        if reviewer is None:
            return
        if path.suffix.lower() == ".zip":
            write_rois(path, reviewer.desk.follicles)
        else:
            write_geojson(path, [f for f in reviewer.desk.follicles if f.status != Status.REJECTED])
        self._say(f"Saved: {path}")

    def _of_study(self, write: Callable[[Study, Tell], str]) -> None:
        """Write something for the whole study in its current state, in a thread; show the message that it returns."""
        reviewer = self._at_work()
        if reviewer is None:
            return
        study = reviewer.desk.study
        if not study.samples_path.exists():
            raise UserError(
                f"{study.samples_path}: no such file. A sample sheet says which slide belongs to which animal; put one "
                "there (see the README), and press the button again."
            )
        reviewer.desk.save()
        self._work.start(lambda tell: write(study, tell), self._say)

    def _ask(self, ending: str) -> None:
        reviewer = self._at_work()
        if reviewer is None:
            return
        suggested = str(reviewer.desk.study.path / f"{reviewer.desk.slide_id}.{ending}")
        name, _ = QFileDialog.getSaveFileName(self, "Save outlines", suggested, f"*.{ending}")
        if name:
            path = Path(name) if name.lower().endswith(f".{ending}") else Path(f"{name}.{ending}")
            self._tried(lambda: self.outlines(path))
