"""Half a minute of damaged files, the same each time; ``make fuzz`` tries others for longer."""

from __future__ import annotations

from fuzz import fuzz


def test_damaged_files_break_no_promise():
    tried, broken = fuzz(30, first=1_000_000)
    assert not broken, "\n".join(f"python tests/fuzz.py --seed {seed}: {why}" for seed, why in broken)
    assert tried > 10
