"""Write docs/parameters.md from the configuration's own docstrings:  python docs/make_parameters.py."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from follicle_stager import config

HEAD = """# Parameters

Every parameter with its default, made from `follicle_stager/config.py` by `python docs/make_parameters.py`.
Change them in a TOML file and give it with `--config my.toml`; each study keeps the ones that it was made with in
`study.toml`.

```toml
[detection]
min_score = 0.3
```

[M] marks values that are widely used or were set by looking, and are no sourced standard.

| parameter | default | what it is |
|---|---|---|
"""


def main() -> None:
    """Write the page."""
    tree = ast.parse(inspect.getsource(config))
    docs: dict[tuple[str, str], str] = {}
    for cls in (n for n in tree.body if isinstance(n, ast.ClassDef)):
        for field, text in zip(cls.body, cls.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[cls.name, field.target.id] = " ".join(str(text.value.value).split())
    rows = []
    for part, values in config.Config():
        for name, value in values:
            rows.append(f"| `{part}.{name}` | {value} | {docs[type(values).__name__, name]} |")
    Path(__file__).with_name("parameters.md").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
