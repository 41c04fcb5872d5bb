"""The lower floor never leans on the upper one, and costs a service nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import redisflow_lab

PACKAGE = Path(redisflow_lab.__file__).parent
GROUND = ["message", "producer", "consumer", "interfaces", "events", "connection", "checks"]
UPPER = {path.stem for path in PACKAGE.glob("*.py") if path.stem not in [*GROUND, "__init__"]}


def test_importing_the_consumer_loads_no_laboratory() -> None:
    code = (
        "import sys, redisflow_lab.consumer; "
        "print([m for m in ('pandas', 'matplotlib', 'IPython', 'cloudpickle') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", [*GROUND, "__init__"])
def test_a_ground_floor_module_imports_no_upper_one(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    imported = {
        (node.module or "").removeprefix("redisflow_lab.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & UPPER
