"""The lower floor never leans on the upper one, and costs a service nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import redisflow_lab

PACKAGE = Path(redisflow_lab.__file__).parent
GROUND = [
    "capabilities",
    "checks",
    "connection",
    "consumer",
    "dead_letters",
    "events",
    "handling",
    "idempotency",
    "interfaces",
    "message",
    "producer",
    "signals",
    "trouble",
    "wire",
]
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
    imported = {name for node in ast.walk(tree) for name in imported_by(node)}
    assert not {name.removeprefix("redisflow_lab.").split(".")[0] for name in imported} & UPPER


def imported_by(node: ast.AST) -> list[str]:
    """The modules an import names, in each of the ways there are to write one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = node.module or "redisflow_lab"
        return [package, *(f"{package}.{alias.name}" for alias in node.names)]
    return []


@pytest.mark.parametrize("line", ["import redisflow_lab.lab", "from redisflow_lab import lab"])
def test_every_way_to_import_the_laboratory_would_be_seen(line: str) -> None:
    names = [name for node in ast.walk(ast.parse(line)) for name in imported_by(node)]
    assert "redisflow_lab.lab" in names
