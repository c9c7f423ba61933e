"""Pages that are written from the code are up to date, links lead somewhere, and quoted figures are those measured."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

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
    caps, atretic = seen["a cap: nobody could tell; neutral"], seen["of all growing: atretic"]
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


def test_the_aims_of_the_network_are_compared_with_the_figures_of_that_page(accuracy):
    quoted = table((ROOT / "docs" / "network-detector.md").read_text(encoding="utf-8"), "## Accuracy")
    for name in ("network", "classical"):
        own = accuracy[accuracy.index(f"## The {name} detector\n") :]
        figures, counts = table(own, "### Headline figures"), table(own, "### Counts per section")
        measured = {
            "F1 of all follicles": figures["F1, with the stages that it cannot see"]["value"],
            "mean average precision, four classes, IoU 0.25": figures["mean average precision, four classes, IoU 0.25"][
                "value"
            ],
            "secondary <-> antral confused": figures["secondary <-> antral confused"]["value"],
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
