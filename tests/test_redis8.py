"""`make redis8` says what is missing, where the error of a tool does not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.once


def test_without_a_newer_python_and_without_a_network_it_says_what_to_install(
    tmp_path: Path,
) -> None:
    make = shutil.which("make")
    assert make
    done = subprocess.run(
        [
            make, "-C", tmp_path, "-f", ROOT / "Makefile", "redis8",
            "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}",
        ],
        # No Python on PATH, none that uv keeps, and none that it may download.
        env={
            "PATH": str(tmp_path),
            "HOME": str(tmp_path),
            "UV_PYTHON_INSTALL_DIR": str(tmp_path / "none"),
            "UV_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Redis 8.10 comes in a package for Python 3.12 or newer" in said
    assert "Install Python 3.12" in said
    assert "REDISFLOW_SERVER=docker make lab" in said
    assert not (tmp_path / "build" / "redis8" / "redis-server").exists()
