"""Install the wheel in an empty environment, and run the demo from it:  python tools/try_wheel.py dist.

The environment and the results are in a temporary folder outside the repository, so that nothing is taken from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def main(folder: Path) -> None:
    """Install the one wheel of a folder, and run it."""
    (wheel,) = (path.resolve() for path in folder.glob("*.whl"))
    # Variables that would let the environment see packages outside it.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    with tempfile.TemporaryDirectory() as place:
        environment = Path(place) / "venv"
        venv.create(environment, with_pip=True)
        scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
        for command in (
            [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel],
            [scripts / "follicle-stager", "--version"],
            [scripts / "follicle-stager", "demo", "--out", "demo_study"],
        ):
            subprocess.run([str(part) for part in command], cwd=place, env=clean, check=True)
        if not (Path(place) / "demo_study" / "report.html").is_file():
            raise SystemExit("the demo wrote no report")
    print(f"{wheel.name}: installed and tried")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
