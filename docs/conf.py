"""Settings of Sphinx for the documentation site; `make docs` builds it into docs/_build/html."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import follicle_stager

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "follicle-stager"
author = "The follicle-stager developers"
project_copyright = author
release = version = follicle_stager.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"follicle-stager {release}"
highlight_language = "none"

# Pages link to headings of other pages, as GitHub names them.
myst_heading_anchors = 3

# Single backticks in docstrings hold code.
default_role = "literal"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = True

#: What docs/api.md has where the public names belong.
PUBLIC = "<!-- public names -->"


def public_names() -> str:
    """Directives for all of ``follicle_stager.__all__``: a summary, then each name in full.

    Names may be imported only when they are asked for, which ``automodule`` does not see.
    """
    names = [name for name in follicle_stager.__all__ if not name.startswith("__")]
    lines = [".. currentmodule:: follicle_stager", "", ".. autosummary::", ""]
    lines += [f"   {name}" for name in names]
    for name in names:
        found = getattr(follicle_stager, name)
        kind = "class" if inspect.isclass(found) else "function" if callable(found) else "data"
        kind = "module" if inspect.ismodule(found) else kind
        lines += ["", f".. auto{kind}:: follicle_stager.{name}"]
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _fill_api(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == "api":
        source[0] = source[0].replace(PUBLIC, public_names())


def setup(app: Sphinx) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", _fill_api)
