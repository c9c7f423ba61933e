"""What several tests do with a study."""

from __future__ import annotations

from dataclasses import replace

from follicle_stager.study import SampleSheet, count, write_counts


def count_study(study, *, samples_path=None):
    """Count a study and write its tables, as ``follicle-stager count`` does."""
    sheet = SampleSheet.read(samples_path) if samples_path is not None else None
    counts = count(study, sheet)
    notes = write_counts(study, counts, sheet)
    return replace(counts, notes=(*counts.notes, *notes))
