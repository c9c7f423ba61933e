"""What this machine offers to a process."""

from __future__ import annotations

import os

import psutil


def processors() -> int:
    """Number of processors that this process may use.

    A batch system, or ``taskset``, may give a process fewer than the machine has; macOS cannot tell.
    """
    this = psutil.Process()
    return len(this.cpu_affinity()) if hasattr(this, "cpu_affinity") else (os.cpu_count() or 1)
