"""The core knows no screen."""

from __future__ import annotations

import subprocess
import sys


def runs_through(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_library_imports_no_qt_and_no_napari():
    code = (
        "import sys, importlib, pathlib, follicle_stager\n"
        "root = pathlib.Path(follicle_stager.__path__[0])\n"
        "for path in root.rglob('*.py'):\n"
        "    parts = path.relative_to(root.parent).with_suffix('').parts\n"
        "    if 'training' not in parts:  # an extra of its own\n"
        "        importlib.import_module('.'.join(p for p in parts if p != '__init__'))\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in "
        "('napari', 'qtpy', 'PySide6', 'PyQt5', 'PyQt6', 'vispy', 'torch')]\n"
        "sys.exit(f'imported: {bad}' if bad else 0)\n"
    )
    runs_through(code)


def test_a_report_imports_nothing_slow():
    """``scipy.special`` has the distributions, and loads in a fraction of the time of ``scipy.stats``."""
    code = (
        "import sys, follicle_stager.report.html, follicle_stager.audit.accuracy\n"
        "slow = {'follicle_stager.detection', 'scipy.stats', 'skimage', 'sklearn', 'zarr'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    runs_through(code)


def test_reading_a_study_imports_nothing_slow():
    """Commands that only read a study, and processes that start, do not wait for libraries that they do not use."""
    code = (
        "import sys, follicle_stager.batch\n"
        "from follicle_stager.audit import is_open\n"
        "slow = {'follicle_stager.detection', 'scipy', 'skimage', 'sklearn', 'zarr', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    runs_through(code)
