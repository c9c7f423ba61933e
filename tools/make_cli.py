"""Write docs/cli.md, the reference of all commands, from the typer application:  python tools/make_cli.py."""

from __future__ import annotations

import inspect
import re
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.models import ArgumentInfo, OptionInfo

from follicle_stager.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# Command line

Written from the code by `python tools/make_cli.py`. `follicle-stager COMMAND --help` shows the same text.

`follicle-stager --version` shows the version. `follicle-stager --verbose COMMAND` reports more details while it runs.

Exit codes: 0, everything worked; 1, some slides failed and the others are finished; 2, the input could not be used;
130, stopped with Ctrl+C.
"""
#: How a value is written on the command line.
KINDS = {Path: "PATH", int: "INTEGER", float: "NUMBER", str: "TEXT"}


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page."""
    commands = {c.callback.__name__: c.callback for c in app.registered_commands if c.callback}
    for group in app.registered_groups:
        of_group = group.typer_instance.registered_commands if group.typer_instance else ()
        commands |= {f"{group.name} {c.callback.__name__}": c.callback for c in of_group if c.callback}
    links = " · ".join(f"[{name}](#{name.replace(' ', '-')})" for name in sorted(commands))
    return f"{HEAD}\n{links}\n" + "".join(_command(name, commands[name]) for name in sorted(commands))


def _command(called: str, callback: Callable[..., Any]) -> str:
    hints = typing.get_type_hints(callback, include_extras=True)
    arguments, options, rows = [], [], []
    optional = False
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = typing.get_args(hints[name])
        required = parameter.default is inspect.Parameter.empty
        value = _value(kind)
        if isinstance(info, ArgumentInfo):
            word = name.upper()
            arguments.append(word if required else f"[{word}]")
            first = f"`{word}`"
        elif isinstance(info, OptionInfo):
            names = [n for n in (info.default, *(info.param_decls or ())) if isinstance(n, str) and n.startswith("-")]
            if required:
                options.append(f"{names[0]} {value}")
            optional = optional or not required
            first = f"{', '.join(f'`{n}`' for n in names)} {value}".strip()
        else:
            continue
        rows.append((first, _default(callback, name, parameter.default), info.help))
    line = " ".join(["follicle-stager", called, *arguments, *options, *(["[OPTIONS]"] if optional else [])])
    table = "| parameter | default | meaning |\n|---|---|---|\n" if rows else ""
    table += "".join(f"| {first} | {default} | {about} |\n" for first, default, about in rows)
    return f"\n## {called}\n\n{inspect.getdoc(callback)}\n\n```\n{line}\n```\n\n{table}"


def _value(kind: object) -> str:
    """The placeholder for a value; nothing for a flag."""
    if isinstance(kind, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if typing.get_origin(kind) is list:
        (kind,) = typing.get_args(kind)
    return "" if kind is bool else KINDS[typing.cast("type", kind)]


def _default(callback: Callable[..., Any], name: str, default: object) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if re.search(rf"\b{name}: .*= PROCESSORS\b", inspect.getsource(callback)):
        return "number of processors"  # the page must be the same on every machine
    return "" if default is None or default is False or default == "" else f"`{default}`"


if __name__ == "__main__":
    main()
