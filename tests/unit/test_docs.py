"""Pages that are written from the code are up to date, links lead somewhere, and quoted figures are those measured."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Rows of the table in README.md, and the stages that each adds up.
ROWS = {
    "primordial": ["primordial"],
    "transitional": ["transitional"],
    "primary": ["primary"],
    "secondary": ["secondary"],
    "early antral": ["early antral"],
    "antral, preovulatory": ["antral", "preovulatory"],
}


@pytest.fixture(scope="module")
def accuracy():
    return (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme():
    return " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def table(text, *headings):
    """The first table after these headings: by the first cell of each row, its cells by column."""
    for heading in headings:
        text = text[text.index(f"{heading}\n") :]
    lines = text[text.index("\n|") + 1 :].split("\n\n")[0].strip().split("\n")
    head, _, *rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_the_page_of_commands_is_what_the_application_has():
    page = runpy.run_path(str(ROOT / "tools" / "make_cli.py"))["page"]()
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == page, "python tools/make_cli.py writes it"
    bare = [line for line in page.splitlines() if line.endswith(("|  |", "| None |"))]
    assert not bare, "each parameter says what it is"


def test_the_page_of_tables_has_the_columns_of_the_schemas():
    written = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    page = runpy.run_path(str(ROOT / "tools" / "make_tables.py"))["page"]
    assert page(written) == written, "python tools/make_tables.py writes it"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_relative_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    targets = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    assert not [target for target in targets if target and not (page.parent / target).exists()]


def test_the_table_of_the_readme_is_that_of_the_page_of_accuracy(accuracy):
    quoted = table((ROOT / "README.md").read_text(encoding="utf-8"), "## Accuracy and limitations")
    network, classical = (table(accuracy, f"## The {name} detector", "### Stages") for name in ("network", "classical"))
    columns = {"true": "true", "found": "found", "right stage": "right stage", "claimed": "claimed"}
    columns |= {"false claims": "false"}
    assert list(quoted) == list(ROWS)
    for row, stages in ROWS.items():
        for column, name in columns.items():
            assert int(quoted[row][column]) == sum(int(network[s][name]) for s in stages), (row, column)
        assert int(quoted[row]["classical: found"]) == sum(int(classical[s]["found"]) for s in stages), row


def test_the_sentences_of_the_readme_have_the_figures_of_that_page(accuracy, readme):
    own = accuracy[accuracy.index("## The network detector\n") :]
    seen, counts = table(own, "### What the section shows of them"), table(own, "### Counts per section")
    caps, atretic = seen["cap (stage cannot be determined; not scored)"], seen["of all growing: atretic"]
    percent = {stage: round(100 * float(row["bias"])) for stage, row in counts.items()}
    sections = re.search(r"(\d+) sections at", accuracy).group(1)
    for sentence in (
        f"It was tested on {sections} other synthetic sections",
        f"A further {caps['true']} follicles are [caps](docs/glossary.md), which nobody could stage. They are not in "
        f"the table; {caps['found']} of them are",
        f"{percent['secondary']} % too high for secondary follicles, {percent['antral']} % for antral, "
        f"{percent['early antral']} % for early antral, and {percent['primordial']} % for primordial ones.",
        f"Of {atretic['true']} atretic follicles, {atretic['called atretic']} are recognised as atretic.",
    ):
        assert sentence in readme


def test_the_cohort_of_that_page_is_the_frozen_one(accuracy):
    slides = (ROOT / "docs" / "evaluation_v3.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert f": {len(slides)} slides of" in accuracy


def test_the_readme_says_what_the_page_of_real_sections_says(readme):
    page = (ROOT / "docs" / "real-sections.md").read_text(encoding="utf-8")
    marked, means = table(page, "## Marked pictures"), table(page, "Means over the sources, each with the same weight:")
    row = next(row for name, row in marked.items() if name.startswith("all ("))
    found, right = (row[what].split()[0] for what in ("found", "right stage"))
    claims = next(row for name, row in means.items() if name.startswith("score"))["claims per mm²"]
    for sentence in (
        f"Of {row['marks']} follicles that were marked by eye",
        f"it finds {found}, and gives {right} of them the right stage",
        f"it claims {float(claims):.1f} follicles per mm²",
    ):
        assert sentence in readme


def test_the_aims_of_the_network_are_compared_with_the_figures_of_that_page(accuracy):
    quoted = table((ROOT / "docs" / "network-detector.md").read_text(encoding="utf-8"), "## Accuracy")
    for name in ("network", "classical"):
        own = accuracy[accuracy.index(f"## The {name} detector\n") :]
        figures, counts = table(own, "### Headline figures"), table(own, "### Counts per section")
        measured = {
            "F1 of all follicles": figures["F1, all stages"]["value"],
            "mean average precision, four classes, IoU 0.25": figures["mean average precision, four classes, IoU 0.25"][
                "value"
            ],
            "secondary and antral confused": figures["secondary and antral confused"]["value"],
            "counts per section, secondary": counts["secondary"]["bias"],
            "counts per section, antral": counts["antral"]["bias"],
            "F1 of primordial follicles with the right stage": table(own, "### Stages")["primordial"]["f1"],
        }
        for figure, value in measured.items():
            said = quoted[figure][name]
            if value == "NA":
                assert said == "none found"
                continue
            number = float(said.removesuffix(" %")) / (100 if said.endswith("%") else 1)
            assert number == pytest.approx(float(value), abs=0.0051), (name, figure)


def rows_of(text, heading):
    """All rows of a table, as dicts of its cells: in some, the first cells are not unique."""
    text = text[text.index(f"{heading}\n") :]
    lines = text[text.index("\n|") + 1 :].split("\n\n")[0].strip().split("\n")
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def span(rows, column):
    """The range of a column, in percent."""
    values = [100 * float(row[column]) for row in rows]
    return f"{min(values):.0f} to {max(values):.0f} %"


def test_the_summary_of_the_statistics_has_the_figures_of_its_tables():
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    summary = " ".join(page[page.index("**Summary.**") : page.index("## In R")].split())
    similar = rows_of(page, "### Similar animals, like the young mice of OvSim (CV 15 %, stages 10 %)")
    variable = rows_of(page, "### Variable animals (CV 35 %, stages 30 %)")
    block_of_70 = [
        [r for r in rows if "block after" in r["planted"] and "70 %" in r["planted"] and r["animals per group"] == "4"]
        for rows in (similar, variable)
    ]
    exact = "exactly the planted blocks"
    wrong = rows_of(page, "### A tenth of the follicles staged wrongly")
    blocked = {
        how: [r for r in wrong if r["planted"] != "none" and r["stages"] == how]
        for how in ("uncorrected", "errors propagated")
    }
    naive = [float(r["chi-square over follicles, p < 0.05"]) for r in similar + variable if r["planted"] == "none"]
    assert min(naive) == pytest.approx(1 / 3, abs=0.05)
    assert max(naive) == pytest.approx(9 / 10, abs=0.05)
    assert 'finds a "difference" in a third to nine tenths of studies' in summary
    for sentence in (
        f"in {span([r for r in similar if r['planted'] == 'none'], 'any block')} of studies of similar animals",
        f"with 4 animals per group in {span(block_of_70[0], exact)} of studies of similar animals, and in "
        f"{span(block_of_70[1], exact)} of studies of variable animals.",
        f"Intervals cover the truth {span(similar + variable, 'interval coverage')} of the time.",
        f"intervals cover the truth in {span(blocked['errors propagated'], 'interval coverage')} of studies instead of "
        f"{span(blocked['uncorrected'], 'interval coverage')}.",
    ):
        assert sentence in summary


def test_the_weak_stages_of_the_network_have_the_figures_of_the_page_of_accuracy(accuracy):
    page = " ".join((ROOT / "docs" / "network-detector.md").read_text(encoding="utf-8").split())
    own = accuracy[accuracy.index("## The network detector\n") :]
    stages, counts = table(own, "### Stages"), table(own, "### Counts per section")
    transitional, preovulatory = stages["transitional"], stages["preovulatory"]
    for sentence in (
        f"transitional ({transitional['right stage']} of {transitional['true']} get the right stage",
        f"preovulatory ({preovulatory['right stage']} of {preovulatory['true']} get it)",
        f"early antral, whose counts are {100 * float(counts['early antral']['bias']):.0f} % too high",
        f"Counts of primordial follicles are {100 * float(counts['primordial']['bias']):.0f} % too high",
    ):
        assert sentence in page


def test_the_text_on_staging_errors_has_the_figures_of_the_tables():
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    flat = " ".join(page.split())
    single = [r for r in rows_of(page, "### Single stages") if r["stages"] == "all correct"]
    power = table(page, "### Animals per group and power")["12"]
    wrong_at_12 = [float(value) for column, value in power.items() if column.endswith("staged wrongly")]
    exact = {
        (r["stages"], r["animals per group"]): f"{100 * float(r['exactly the planted blocks']):.0f} %"
        for r in rows_of(page, "### A tenth of the follicles staged wrongly")
        if r["planted"] != "none"
    }
    propagated, uncorrected = ([exact[how, n] for n in ("6", "12")] for how in ("errors propagated", "uncorrected"))
    similar = rows_of(page, "### Similar animals, like the young mice of OvSim (CV 15 %, stages 10 %)")
    correct = [
        f"{100 * float(r['exactly the planted blocks']):.0f} %"
        for r in similar
        if (r["planted"], r["animals per group"]) == ("block after secondary, 70 %", "6")
    ]
    confusion = pd.read_csv(ROOT / "follicle_stager" / "statistics" / "confusion.csv").set_index("true")
    false = confusion["primordial"]["none"] / confusion["primordial"].sum()
    for sentence in (
        f"intervals cover the truth {span(single, 'interval coverage')} of the time with this factor and "
        f"{span(single, 'without the factor n/(n - 2)')} without it",
        f"with 12 animals only {100 * min(wrong_at_12):.0f} to {100 * max(wrong_at_12):.0f} % of studies",
        f"in {propagated[0]} of studies with 6 animals ({uncorrected[0]} without propagation;",
        f"in {propagated[1]} of studies with 12 animals ({uncorrected[1]} without propagation)",
        f"With all stages correct it is {correct[0]}.",
        f"({100 * false:.0f} % of what is called primordial)",
    ):
        assert sentence in flat


def test_the_interpretation_of_the_ablation_has_the_figures_of_its_tables():
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    text = " ".join(page[page.index("## Interpretation") :].split())
    rows = table(page, "## The coarse scale")
    seeds = [row for name, row in rows.items() if name.startswith("the recipe")]

    def reach(column):
        values = sorted(row[column] for row in seeds)
        return values[0], values[-1]

    plain = rows["without look-alikes"]
    assert plain["F1"] == min(row["F1"] for name, row in rows.items() if name.startswith("without"))
    assert rows["without faults"]["real: other claims"] == "1"
    assert plain["real: right stage"] == "2"
    for sentence in (
        "F1 {} to {}".format(*reach("F1")),
        "{} or {} of the 4 real boxes".format(*reach("real: right stage")),
        f"AP {plain['AP Primary']} instead of " + "{} to {}".format(*reach("AP Primary")),
        f"F1 is {rows['without random looks']['F1']} without them",
        f"a recall of {rows['no training: all candidates, perfectly verified']['recall']}.",
    ):
        assert sentence in text
    spread = table(page, "## Three seeds of the whole network")["SD"]["F1 of all"]
    network = " ".join((ROOT / "docs" / "network-detector.md").read_text(encoding="utf-8").split())
    assert f"seeds differ by about {spread} in F1" in network
