"""What several tests do with a study."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from follicle_stager.stages import TABLE_ROWS, Stage
from follicle_stager.study import Counts, SampleSheet, count, write_counts


def count_study(study, *, samples_path=None):
    """Count a study and write its tables, as ``follicle-stager count`` does."""
    sheet = SampleSheet.read(samples_path) if samples_path is not None else None
    counts = count(study, sheet)
    notes = write_counts(study, counts, sheet)
    return replace(counts, notes=(*counts.notes, *notes))


def counts_of(rows):
    """Tables of a study from (model, group, genotype, animal, stage numbers, interval)."""
    table = []
    for model, group, genotype, animal, numbers, interval in rows:
        for stage in TABLE_ROWS:
            n = numbers.get(stage.value, 0)
            table.append(
                {
                    "model": model, "group": group, "genotype": genotype, "animal": animal, "stage": stage.value,
                    "n_profiles": 2 * n, "n_countable": n, "n_healthy": n, "n_atretic": 1, "sections": 2,
                    "interval": interval, "ovaries_sampled": 1 / interval, "thickness_um": 5.0, "ovary": "",
                    "nucleus_height_um": 20.0 if stage == Stage.ANTRAL else 10.0,
                }
            )  # fmt: skip
    animal = pd.DataFrame(table)
    none = pd.DataFrame(columns=["model", "animal", "stage", "stage_predicted", "status", "countable", "health"])
    return Counts(none, animal.assign(section="s", slide="s"), *[animal] * 3)


def study_rows(model="A", intervals=(10,) * 8):
    groups = [("control", "+/+")] * 4 + [("knockout", "-/-")] * 4
    numbers = {"primordial": 50, "transitional": 5, "primary": 20, "secondary": 12, "early_antral": 6, "antral": 3}
    return [
        (model, group, genotype, f"{model}{i}", numbers | {"preovulatory": 1}, interval)
        for i, ((group, genotype), interval) in enumerate(zip(groups, intervals, strict=True))
    ]
