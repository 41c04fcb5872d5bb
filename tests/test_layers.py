"""The helper never imports the laboratory or the command, nor a library only they need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import redisflow_lab

PACKAGE = Path(redisflow_lab.__file__).parent
ABOVE = {
    "redisflow_lab.lab", "redisflow_lab.cli", "typer", "pandas", "matplotlib", "IPython",
    "testcontainers",
}  # fmt: skip
HELPER = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in ("lab", "cli", "__main__.py")
]


def imported_by(source: str) -> set[str]:
    """Every module that a source text imports, however it is written."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            package = node.module or "redisflow_lab"
            found |= {package, *(f"{package}.{alias.name}" for alias in node.names)}
    return found


def imports_from_above(source: str) -> set[str]:
    """What a source text imports from above the helper, or of libraries only needed there."""
    return {
        name
        for name in imported_by(source)
        if any(name == part or name.startswith(f"{part}.") for part in ABOVE)
    }


@pytest.mark.parametrize("path", HELPER, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_helper_imports_nothing_from_above(path: Path) -> None:
    assert imports_from_above(path.read_text()) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import redisflow_lab.lab",
        "from redisflow_lab import lab",
        "from redisflow_lab.lab import Lab",
        "from redisflow_lab.cli import main",
        "def f():\n    import pandas as pd",
        "from matplotlib.figure import Figure",
    ],
)
def test_every_way_to_import_something_from_above_is_recognised(line: str) -> None:
    assert imports_from_above(line)


def test_importing_the_helper_loads_no_laboratory() -> None:
    code = (
        "import sys, redisflow_lab; "
        "print([m for m in ('redisflow_lab.lab', 'pandas', 'matplotlib', 'IPython', "
        "'testcontainers', 'cloudpickle') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_architecture_page_names_every_module_of_the_helper() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    modules = [path.name for path in HELPER if "pb" not in path.parts]
    assert [name for name in modules if name != "__init__.py" and name not in page] == []
