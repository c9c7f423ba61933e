"""Write docs/parameters.md from the parameter objects' own docstrings:  python tools/make_parameters.py."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from follicle_stager import config
from follicle_stager.phantom import biology, cohort

if TYPE_CHECKING:
    from types import ModuleType

PAGE = Path(__file__).parents[1] / "docs" / "parameters.md"

HEAD = """# Parameters

This page lists all parameters with their defaults. `python tools/make_parameters.py` writes it from the code. [M] marks
values that are widely used or were set by eye and have no published source.

## Finding and staging

To change parameters, write them into a TOML file and use `--config my.toml`. Each study records its parameters in
`study.toml`.

```toml
[detection]
min_score = 0.3
```

| parameter | default | what it is |
|---|---|---|
"""

OVARY = """
## The virtual ovary

For `follicle-stager phantom FOLDER --config my.toml`. The cohort records its parameters in `truth/plan.json`.

```toml
animals = 6
block_after = "early_antral"
[models]
Igf1r = "PAS"
[control]
animal_cv = 0.3
[control.stages.antral]
per_ovary = 2
```

`ovary = "adult"` (or `--ovary adult`) starts from a cycling adult ovary of 2 - 2.5 mm with corpora lutea. The default
is a small ovary before the first ovulation, as in this table.

| parameter | default | what it is |
|---|---|---|
"""

STAGE = """
For each stage, `control.stages.<stage>.<name>`. Ranges go from the youngest to the oldest follicles of the stage:

"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page."""
    docs = _docstrings(config)
    text = HEAD + "\n".join(
        f"| `{part}.{name}` | {value} | {docs[type(values).__name__, name]} |"
        for part, values in config.Config()
        for name, value in values
    )
    docs = _docstrings(biology) | _docstrings(cohort)
    plan = cohort.CohortPlan()
    own = [("", plan, "control"), ("control.", plan.control, "stages")]
    text += (
        "\n"
        + OVARY
        + "\n".join(
            f"| `{prefix}{name}` | {_shown(value)} | {docs.get((type(values).__name__, name), '')} |"
            for prefix, values, nested in own
            for name, value in values
            if name != nested
        )
    )
    names = list(biology.StageModel.model_fields)
    stages = list(plan.control.stages)
    text += "\n" + STAGE + "| name | " + " | ".join(stages) + " | what it is |\n" + "|---" * (len(stages) + 2) + "|\n"
    text += "\n".join(
        f"| `{name}` | "
        + " | ".join(_shown(getattr(plan.control.stages[s], name)) for s in stages)
        + f" | {docs.get(('StageModel', name), '')} |"
        for name in names
    )
    return text + "\n"


def _docstrings(module: ModuleType) -> dict[tuple[str, str], str]:
    """The text under each field of each class."""
    docs: dict[tuple[str, str], str] = {}
    for cls in (n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef)):
        for field, text in zip(cls.body, cls.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[cls.name, field.target.id] = " ".join(str(text.value.value).split())
    return docs


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {v}" for k, v in value.items())
    return "none" if value is None else str(value)


if __name__ == "__main__":
    main()
