"""The house has floors: imports go down only, and in no circle (pyproject.toml, ``tool.importlinter``)."""

from __future__ import annotations

from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_no_import_goes_up_or_in_a_circle_and_the_core_knows_no_screen(capsys):
    assert lint_imports(str(PYPROJECT), no_cache=True) == EXIT_STATUS_SUCCESS, capsys.readouterr().out
