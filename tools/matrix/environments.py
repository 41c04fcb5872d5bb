"""Makes environments for other Pythons and other versions of the packages, with uv."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "matrix"
UV = Path(sys.executable).parent / "uv"


class MissingError(Exception):
    """This machine cannot run the row. The text says why, and what it needs."""


def environment(python: str, packages: str) -> Path:
    """Make an environment and return its interpreter.

    python:   a version, such as "3.12"
    packages: "locked" for requirements.txt, "lowest" and "newest" for the ends of the
              ranges in pyproject.toml; their own dependencies are always the newest

    Raises MissingError without that Python, and CalledProcessError if uv fails.
    """
    folder = FOLDER / f"python-{python}-{packages}"
    interpreter = folder / "bin" / "python"
    print(f"making an environment: Python {python}, {packages} packages ...", flush=True)
    try:
        _uv("venv", "--clear", "--no-python-downloads", "--python", python, folder)
    except subprocess.CalledProcessError:
        raise MissingError(f"no Python {python} here; install it beside this one") from None
    install = ("pip", "install", "--compile-bytecode", "--python", interpreter)
    project = (*install, "--no-deps", "--no-build-isolation", "--editable", ".")
    if packages == "locked":
        _uv(*install, "--require-hashes", "--requirement", "requirements.txt")
        _uv(*project)
    else:
        resolution = {"lowest": "lowest-direct", "newest": "highest"}[packages]
        _uv(*install, "--resolution", resolution, "--editable", ".[lab,metrics,otel,test]")
    return interpreter


def _uv(*arguments: str | Path) -> None:
    done = subprocess.run(
        [UV, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
        done.check_returncode()
