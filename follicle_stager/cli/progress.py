"""Progress on a terminal: a bar for the study, and one for each slide that is being processed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from rich.console import Console

    from follicle_stager.job import Outcome


class BatchProgress:
    """Bars while a batch runs; in a pipe or a log file, one line per finished slide instead."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._total = total
        self._finished = 0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._study = self._bars.add_task("study", total=total)
        self._slides: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def step(self, slide_id: str, step: str, done: int, total: int) -> None:
        """Show that a slide has finished a part of a step."""
        name = f"{escape(slide_id)}: {step}"
        if slide_id not in self._slides:
            self._slides[slide_id] = self._bars.add_task(name, total=total)
        self._bars.update(self._slides[slide_id], description=name, completed=done, total=total)

    def done(self, outcome: Outcome) -> None:
        """Show that a slide is finished or has failed."""
        if outcome.slide_id in self._slides:
            self._bars.remove_task(self._slides.pop(outcome.slide_id))
        self.advance_to(self._finished + 1)
        if not self._console.is_terminal:
            what = outcome.state if outcome.state != "done" else f"{outcome.follicles} follicles"
            self._console.print(
                f"[{self._finished}/{self._total}] {outcome.slide_id}: {what}", markup=False, highlight=False
            )

    def advance_to(self, done: int) -> None:
        """Show how many slides of the study are finished."""
        self._finished = done
        self._bars.update(self._study, completed=done)
