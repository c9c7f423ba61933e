"""The core knows no screen."""

from __future__ import annotations

import subprocess
import sys


def test_library_imports_no_qt_and_no_napari():
    code = (
        "import pkgutil, sys, importlib, follicle_stager\n"
        "for m in pkgutil.walk_packages(follicle_stager.__path__, 'follicle_stager.'):\n"
        "    importlib.import_module(m.name)\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in "
        "('napari', 'qtpy', 'PySide6', 'PyQt5', 'PyQt6', 'vispy', 'torch')]\n"
        "sys.exit(f'imported: {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
