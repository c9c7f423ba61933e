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


def test_the_summary_of_the_statistics_has_the_figures_of_its_tables():
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    summary = " ".join(page[page.index("**Summary.**") : page.index("## In R")].split())
    null = rows_of(page, "### Arrests and blocks where there is none")
    numbers = [(row, cell.replace("*", "").split(";")) for row in null for name, cell in row.items() if "+" in name]
    cells = [(row, float(false), float(covered)) for row, (false, covered) in numbers]
    without = max(false for row, false, _ in cells if row["true"] == "nothing")
    assert all(
        (row["animals"], row["knockouts"]) == ("wide", "twice") and "sparse" in row["sampling"]
        for row, _, covered in cells
        if covered < 94
    )
    for row in rows_of(page, "### Intervals where there is an arrest"):
        low = [float(cell) for name, cell in row.items() if "+" in name and float(cell) < 94]
        named = (row["animals"], row["sampling"]) == ("wide", "sparse") or (row["lost"], row["sampling"]) == (
            "90%",
            "full",
        )
        assert not low or (row["knockouts"] == "twice" and named and min(low) == 93)
    litters = {r["design"]: r for r in rows_of(page, "### Groups, litters, batches, treatments, ages and models")}
    two = next(row for name, row in litters.items() if name.startswith("two knockouts"))
    held = {name: int(row["coverage, product"]) for name, row in litters.items()}
    of_two_animals = held.pop(next(name for name in held if name.startswith("2 + 5 untreated")))
    responses = [
        row
        for row in rows_of(page, "### Responses to a treatment, and trends")
        if row["design"].startswith("treatment")
    ]
    alike, none = responses[0], responses[-1]
    mates = litters["3 + 3 litters, 4 animals of one group in each"]
    pairs = litters["6 litters, one animal of each group in each"]
    found = {(r["planted"], r["animals"]): r for r in rows_of(page, "### Arrests and blocks where there is one")}

    def power(planted):
        row = found[f"{planted}, 70%", "real"]
        return [row[f"{n} + {n}{which}"] for which in ("", ", before") for n in (4, 6)]

    arrest, primary, early = map(power, ("arrest at secondary", "block after primary", "block after early antral"))
    pattern = {(r["true"], r["animals"]): r for r in rows_of(page, "### Other patterns")}
    halved, doubled = (
        [f"{float(pattern[name, a]['arrest']) + float(pattern[name, a]['block']):.1f} %" for a in ("even", "real")]
        for name in ("early antral halved", "secondary doubled")
    )
    for sentence in (
        f"in at most {max(false for _, false, _ in cells):.1f} % of studies in every row",
        f"at most {without:.1f} % if the knockouts do not differ",
        f"truth in {min(c for *_, c in cells):.0f} to {max(c for *_, c in cells):.0f} % of studies",
        f"in {arrest[0]} % of studies with 4 + 4 real animals (before: {arrest[2]} %), and in {arrest[1]} % with 6 + 6 "
        f"(before: {arrest[3]} %)",
        f"in {primary[0]} % and {primary[1]} % of such studies (before: {primary[2]} % and {primary[3]} %)",
        f"in {early[0]} % and {early[1]} % (before: {early[2]} % and {early[3]} %)",
        f"in {halved[0]} of studies of even animals and in {halved[1]} of real ones",
        f"doubled secondary follicles in {doubled[0]} and {doubled[1]}",
        f"false arrest or block in {mates['false, naive']} % of studies; the product in {mates['false, product']} %",
        f"find an arrest of 70 % in {mates['found, product']} % of studies",
        f"find more ({pairs['found, product']} % with 6)",
        f"in {two['false, product']} % of studies in one of the two comparisons",
        f"in {min(held.values())} to {max(held.values())} % of studies; where a group has only 2 animals, in "
        f"{of_two_animals} %",
        f"in one of them only in {alike['naive']} % of studies, and the interaction in {alike['product']} %",
        f"in {none['product']} % of studies",
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


def test_the_text_on_staging_errors_has_the_figure_of_the_exam():
    page = " ".join((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").split())
    confusion = pd.read_csv(ROOT / "follicle_stager" / "statistics" / "confusion.csv").set_index("true")
    false = confusion["primordial"]["none"] / confusion["primordial"].sum()
    assert f"({100 * false:.0f} % of what is called primordial)" in page


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
