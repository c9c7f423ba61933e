"""The commands. Each is thin: it reads its arguments, calls the library and shows the result.

Exit codes: 0, everything worked; 1, some slides failed and the others are finished; 2, the input could not be used.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer
from rich.markup import escape

from follicle_stager.cli import audits, studies, trials  # noqa: F401  they add their commands to the application
from follicle_stager.cli.common import app, err, out
from follicle_stager.errors import UserError, describe_os_error
from follicle_stager.version import __version__

__all__ = ["app", "main"]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Report more details.")] = False,
) -> None:
    # These libraries report a damaged file or a lost connection before our own message does; hide this.
    for library in ("tifffile", "asyncio"):
        logging.getLogger(library).setLevel(logging.INFO if verbose else logging.CRITICAL)
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if version:
        out.print(f"follicle-stager {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; show no traceback for errors that a user can cause."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console with another code page shows what it can
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
