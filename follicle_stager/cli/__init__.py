"""The verbs. Each is thin: it reads its arguments, calls the library, and shows what came out.

Exit codes: 0 all well; 1 some slides failed, the others are done; 2 the input was not usable.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer
from rich.markup import escape

from follicle_stager.cli import studies, trials  # noqa: F401  they add their verbs to the application
from follicle_stager.cli.common import app, err, out
from follicle_stager.errors import UserError, describe_os_error
from follicle_stager.version import __version__

__all__ = ["app", "main"]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what goes on.")] = False,
) -> None:
    # Its warnings on damaged files come before our own error, and frighten.
    logging.getLogger("tifffile").setLevel(logging.INFO if verbose else logging.CRITICAL)
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if version:
        out.print(f"follicle-stager {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; no traceback for anything that a user can cause."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console of another code page shows what it can
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except UserError as error:
        err.print(f"error: {escape(str(error))}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        err.print(f"error: {escape(describe_os_error(error))}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
