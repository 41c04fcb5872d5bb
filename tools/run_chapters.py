"""Run the chapters as tests, and say how long that takes beside empty notebooks.

    python tools/run_chapters.py

The aim is 3 times an empty notebook that imports redis, pandas and matplotlib. It is
printed and not enforced: the time a machine takes is no property of the chapters.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent


def run(folder: Path) -> tuple[float, int]:
    """Seconds and exit code of the documented line, for the notebooks of a folder."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", str(folder)], cwd=ROOT, check=False
    )
    return time.monotonic() - began, done.returncode


def empty_notebooks(folder: Path, how_many: int) -> None:
    imports = nbformat.v4.new_code_cell("import matplotlib.pyplot\nimport pandas\nimport redis")
    for number in range(how_many):
        notebook = nbformat.v4.new_notebook(cells=[imports])
        nbformat.write(notebook, folder / f"empty_{number}.ipynb")


def main() -> int:
    chapters = ROOT / "notebooks"
    how_many = len(list(chapters.glob("*.ipynb")))
    seconds, status = run(chapters)
    with tempfile.TemporaryDirectory() as folder:
        empty_notebooks(Path(folder), how_many)
        empty_seconds, _ = run(Path(folder))
    print(
        f"{how_many} chapters: {seconds:.1f} s; as many empty notebooks: "
        f"{empty_seconds:.1f} s; "
        f"ratio {seconds / empty_seconds:.1f} (aim: at most 3)"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
