"""Skip where Qt cannot start: it would end the whole test run, not one test."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def _screen():
    code = "from qtpy.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        pytest.skip(f"Qt cannot open a window here: {done.stderr.strip()[-200:]}")
