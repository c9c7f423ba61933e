"""Where the command line starts, and ``python -m follicle_stager``.

The library takes seconds to import. A person who presses Ctrl+C meanwhile wants an end, and no traceback; nothing has
begun yet that could be lost.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Import the command line, and run it."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from follicle_stager.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
