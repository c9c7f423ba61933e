"""Counts that people type: read right however they are written, or refused with the cell named."""

from __future__ import annotations

import doctest
import re

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from follicle_stager import compare_counts, write_comparison
from follicle_stager.errors import UserError
from follicle_stager.stages import RUNGS
from follicle_stager.statistics import hand_counts

COUNTS = np.array(
    [
        [820, 61, 52, 22, 14],
        [905, 66, 60, 25, 17],
        [770, 58, 49, 20, 12],
        [880, 70, 55, 24, 16],
        [850, 63, 54, 5, 3],
        [790, 60, 58, 7, 2],
        [910, 69, 50, 4, 4],
        [840, 64, 57, 6, 3],
    ]
)
ANIMALS = [f"m{i}" for i in range(8)]
GROUPS = ["control"] * 4 + ["knockout"] * 4


def wide(names=("Primordial", "Primary", "Secondary", "Early antral", "Antral"), **columns):
    return pd.DataFrame({"animal": ANIMALS, "group": GROUPS} | columns | dict(zip(names, COUNTS.T, strict=True)))


def long():
    table = wide(tuple(RUNGS)).melt(["animal", "group"], var_name="stage", value_name="count")
    return table.sample(frac=1, random_state=0)


def semicolons(path):
    wide().to_csv(path, sep=";", index=False)


def decimal_commas(path):
    table = wide(interval=["2,5"] * 8).astype(str)
    for name in ("Primordial", "Antral"):
        table[name] += ",0"
    table.to_csv(path, sep=";", index=False, encoding="cp1252")


def lab_names(path):
    names = ("Primordial follicles", "n primary", "No. of secondary follicles", "Small antral", "Late antral")
    table = wide(names).rename(columns={"animal": "Mouse ID", "group": "Genotype"})
    table["Genotype"] = ["Igfals +/+"] * 4 + ["Igfals -/-"] * 4
    table.to_csv(path, sep="\t", index=False)


def totals_and_comments(path):
    table = wide(Comment="", Weight=21.5)
    table["Total"] = COUNTS.sum(axis=1)
    sums = {"animal": "Total", "Primordial": 6765, "Comment": "checked"}
    pd.concat([table, pd.DataFrame([sums, {"animal": "Mean:", "Antral": 8.9}])]).to_csv(path, index=False)


def excel(path):
    book = openpyxl.Workbook()
    book.active.append(["mouse", "genotype", "primordial", "primary", "secondary", "early_antral", "antral"])
    for animal, group, row in zip(ANIMALS, ["WT"] * 4 + ["KO"] * 4, COUNTS.tolist(), strict=True):
        book.active.append([animal, group, *row])
    book.save(path)


def split_stages(path):
    table = wide()
    table["Preovulatory"], table["Transitional"] = 1, 20
    table["Antral"] -= 1
    table["Primordial"] -= 20
    table.to_csv(path, index=False)


def sections(path):
    half = wide()
    stages = list(half.columns[2:])
    rest = half.copy()
    half[stages] //= 3
    rest[stages] -= half[stages]
    pd.concat([half.assign(section="1"), rest.assign(section="2")]).to_csv(path, index=False)


WAYS = {
    "semicolons.csv": semicolons,
    "commas.csv": decimal_commas,
    "names.tsv": lab_names,
    "totals.csv": totals_and_comments,
    "book.xlsx": excel,
    "split.csv": split_stages,
    "sections.csv": sections,
    "long.csv": lambda path: long().to_csv(path, index=False),
}


@pytest.mark.parametrize("name", WAYS)
def test_counts_are_read_as_they_are_typed(name, tmp_path):
    WAYS[name](tmp_path / name)
    result = compare_counts(tmp_path / name)
    (arrest,) = result.arrests
    rows = [arrest.matrix.animals.index(animal) for animal in ANIMALS]
    np.testing.assert_array_equal(arrest.matrix.counts[rows], COUNTS)
    assert arrest.matrix.knockout[rows].tolist() == [False] * 4 + [True] * 4
    assert arrest.verdict.kind == "arrest"


def test_what_is_left_out_is_said(tmp_path):
    totals_and_comments(tmp_path / "counts.csv")
    notes = " ".join(compare_counts(tmp_path / "counts.csv").notes)
    assert "left out: 2." in notes
    assert "not used: Comment, Weight, Total" in notes


def test_what_is_on_no_stage_of_growth_is_left_out_and_said():
    beside = {"Atretic secondary": 7, "Corpora lutea": 5, "Antral diameter (um)": 300}
    result = compare_counts(wide(**beside))
    np.testing.assert_array_equal(result.arrests[0].matrix.counts, COUNTS)
    assert "not used: Atretic secondary, Corpora lutea, Antral diameter (um)" in result.notes[-1]
    classes = {"Atretic": 3, "Corpora lutea": 5, "Total": 999}
    rows = [{"animal": "m0", "group": "control", "stage": stage, "count": n} for stage, n in classes.items()]
    result = compare_counts(pd.concat([long(), pd.DataFrame(rows)], ignore_index=True))
    assert result.arrests[0].matrix.counts.sum() == COUNTS.sum()
    assert result.notes[1:] == (
        "Rows of sums or means that were left out: 1.",
        "Classes that are on no stage of growth, left out: Atretic, Corpora lutea.",
    )


def test_a_stage_that_was_not_counted_is_not_zero():
    table = wide().astype({"Primary": object})
    table.loc[2, "Primary"] = ""
    arrest = compare_counts(table.drop(columns="Primordial")).arrests[0]
    assert np.isnan(arrest.matrix.counts[:, 0]).all()
    assert np.isnan(arrest.matrix.counts[2, 1])
    assert arrest.steps["from"].tolist() == ["secondary", "early_antral"]
    assert "were not counted in every animal: primordial, primary." in arrest.verdict.warnings[0]


def test_intervals_are_offsets():
    """Every tenth section of one animal's ovaries was counted, every fifth of the others': it has twice as many."""
    table = wide(interval=[10, *[5] * 7], ovary="L")
    both = pd.concat([table, table.assign(ovary="R")])
    exposure = compare_counts(both).arrests[0].matrix.exposure
    np.testing.assert_allclose(exposure[:, 0], [0.2, *[0.4] * 7])


@settings(max_examples=25)
@given(st.permutations(range(8)), st.booleans())
def test_the_order_of_rows_and_the_form_do_not_matter(order, as_long):
    table = (long() if as_long else wide()).iloc[: 40 if as_long else 8]
    shuffled = table.iloc[list(order) + list(range(8, len(table)))]
    own = compare_counts(shuffled).steps[["ratio", "p", "p_holm"]]
    pd.testing.assert_frame_equal(own, compare_counts(wide()).steps[["ratio", "p", "p_holm"]])


def cell(row, column, value):
    def change(table):
        table = table.astype(object)
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cell(2, "Antral", "12.5"), "row 2, column Antral: '12.5' is not a whole number"),
        (cell(2, "Antral", "1,234"), "row 2, column Antral: '1,234' is not a whole number"),
        (cell(2, "Antral", "twelve"), "row 2, column Antral: 'twelve'"),
        (cell(2, "Antral", -3), "row 2, column Antral: '-3'"),
        (cell(5, "group", ""), "row 5, column group: it is empty; write control, knockout or another group"),
        (lambda t: t.assign(group=["a"] * 4 + ["b"] * 4), "groups of the table are a, b; name the one with which"),
        (cell(5, "animal", ""), "row 5, column animal: it is empty"),
        (cell(5, "animal", "m4"), "row 5: animal m4 has primordial follicles already in row 4"),
        (lambda t: t.rename(columns={"Antral": "Tertiary"}), "column Tertiary: this is not one stage"),
        (lambda t: t.rename(columns={"Antral": "Antral/ovary"}), "column Antral/ovary: this is not one stage"),
        (lambda t: t.assign(Preantral=9), "column Preantral: this is not one stage"),
        (lambda t: t.assign(Graafian=1, Preovulatory=1), "columns Graafian and Preovulatory are the same stage"),
        (lambda t: t[["animal", "group"]], "neither a column stage nor one for a stage"),
        (lambda t: t.drop(columns="animal"), "there is no column animal"),
        (lambda t: t.drop(columns="group"), "there is no column group or genotype"),
        (lambda t: t.iloc[:4], "table has no knockout animal"),
        (lambda t: t.assign(interval=[10, *[""] * 7]), "animals m1, m2, m3, m4, m5, m6, m7 have no interval"),
        (lambda t: t.assign(interval=0), "row 0, column interval: '0' is not a number above 0"),
        (lambda t: t.assign(thickness_um=[5, *[8] * 7]), "sections of several thicknesses"),
        (lambda t: t.iloc[:0], "no rows below the header"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(change, said):
    with pytest.raises(UserError, match=re.escape(said)):
        compare_counts(change(wide()))


def test_a_stage_that_is_not_known_is_listed_with_the_known_ones():
    with pytest.raises(UserError, match=r"'Blastocyst' is not a known stage; they are Primordial, .*Preovulatory"):
        compare_counts(long().replace({"stage": {"antral": "Blastocyst"}}))


def test_the_tables_can_be_written(tmp_path):
    write_comparison(tmp_path, compare_counts(wide()))
    verdict = pd.read_csv(tmp_path / "statistics" / "verdict.csv")
    assert verdict.loc[0, ["verdict", "counted"]].tolist() == ["arrest", "given"]
    assert (tmp_path / "tables" / "prism_grouped.csv").exists()


def test_the_example_of_the_documentation_runs():
    assert doctest.testmod(hand_counts).attempted == 3
    assert doctest.testmod(hand_counts).failed == 0
