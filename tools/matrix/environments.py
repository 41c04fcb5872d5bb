"""Environments for other Pythons and other versions of the packages, made by uv."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "matrix"
UV = Path(sys.executable).parent / "uv"


class MissingError(Exception):
    """This row cannot be had here. The text says why, and what would help."""


def environment(python: str, packages: str) -> Path:
    """The interpreter of a new environment.

    python:   a version, such as "3.12"
    packages: "locked" for requirements.txt, "lowest" and "newest" for the ends of the
              ranges in pyproject.toml; what those need in turn is as new as it can be

    Raises MissingError without that Python, and CalledProcessError, after the output of uv.
    """
    folder = FOLDER / f"python-{python}-{packages}"
    interpreter = folder / "bin" / "python"
    print(f"making an environment: Python {python}, {packages} packages ...", flush=True)
    try:
        _uv("venv", "--clear", "--no-python-downloads", "--python", python, folder)
    except subprocess.CalledProcessError:
        raise MissingError(f"no Python {python} here") from None
    install = ("pip", "install", "--compile-bytecode", "--python", interpreter)
    project = (*install, "--no-deps", "--no-build-isolation", "--editable", ".")
    if packages == "locked":
        _uv(*install, "--require-hashes", "--requirement", "requirements.txt")
        _uv(*project)
    else:
        resolution = {"lowest": "lowest-direct", "newest": "highest"}[packages]
        _uv(*install, "--resolution", resolution, "--editable", ".[lab,test]")
    return interpreter


def _uv(*arguments: str | Path) -> None:
    done = subprocess.run(
        [UV, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
        done.check_returncode()
