"""Every chapter is executed, complete, readable and tidy; nbval compares its outputs."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from redisflow_lab.lab.chapters import kernel_settings, reason_to_skip
from redisflow_lab.lab.waiting import wait_until
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from tools.execute_notebooks import compared

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECTIONS = [
    "**What you'll do.**", "**What you'll learn**", "**What you'll need.**",
    "## Recap", "## In production", "## Next",
]  # fmt: skip
FORBIDDEN = {
    "a shell escape": r"^\s*(!|%%?(sh|bash|sx|system)\b)",
    "a bare sleep": r"\bsleep\(",
    "an nbval comment": r"NBVAL_",
    "a path of one machine": r"/(root|home|tmp|Users)/",
}

PAGE = 76
"""Characters of a printed line."""

each_chapter = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def skip_if_changed(path: Path) -> None:
    """Skip for a chapter that a learner changed: to run and save one is no mistake."""
    if not (ROOT / ".git").exists():  # a bundle: there is nothing to compare with
        return
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", path], cwd=path.parent)
    if changed.returncode == 1:
        pytest.skip(f"you changed {path.name}; `git checkout notebooks` brings it back")


def code_cells(path: Path) -> list[NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def ignored(cell: NotebookNode) -> bool:
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def test_there_are_chapters() -> None:
    assert len(NOTEBOOKS) >= 10


@each_chapter
def test_every_cell_was_executed_in_order(path: Path) -> None:
    skip_if_changed(path)
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_chapter
def test_no_output_is_an_error(path: Path) -> None:
    assert not [
        output
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "error"
    ]


@each_chapter
def test_nine_in_ten_outputs_are_compared(path: Path) -> None:
    shown = [cell for cell in code_cells(path) if cell.outputs]
    compared = [cell for cell in shown if not ignored(cell)]
    assert len(compared) >= 0.9 * len(shown)


@each_chapter
def test_a_cell_whose_output_varies_is_followed_by_one_that_is_compared(path: Path) -> None:
    cells = code_cells(path)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if ignored(cell):
            assert following is not None
            assert following.outputs
            assert not ignored(following)


@each_chapter
def test_every_figure_has_alt_text(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                assert output.metadata["image/png"]["alt"]
            for tag in re.findall(r"<img[^>]*", data.get("text/html", "")):
                assert re.search(r'alt="[^"]+"', tag)


@each_chapter
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_cell_contains(path: Path, what: str) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not re.search(FORBIDDEN[what], cell.source, re.MULTILINE), cell.source


@each_chapter
def test_no_chapter_imports_a_private_name(path: Path) -> None:
    assert private_imports("\n".join(cell.source for cell in code_cells(path))) == []


@pytest.mark.parametrize(
    ("line", "private"),
    [
        ("import redisflow_lab._internal.wire", ["redisflow_lab._internal.wire"]),
        ("from redisflow_lab import _internal", ["redisflow_lab._internal"]),
        ("from redisflow_lab._internal import wire", ["redisflow_lab._internal.wire"]),
        ("def f():\n    from bookshop import _till", ["bookshop._till"]),
        ("%matplotlib inline\nfrom redisflow_lab.lab import Lab", []),
        ("from __future__ import annotations", []),
    ],
)
def test_a_private_import_is_recognised(line: str, private: list[str]) -> None:
    assert private_imports(line) == private


def private_imports(source: str) -> list[str]:
    """The imported modules and names that have a part with a leading underscore."""
    imported = []
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in imported if re.search(r"(^|\.)_(?!_)", name)]


@each_chapter
def test_cells_are_short_and_no_line_is_cut_in_print(path: Path) -> None:
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 16, cell.source
        texts = [cell.source, *map(plain_text, cell.outputs)]
        for line in "\n".join(texts).splitlines():
            assert len(line) <= PAGE, line


def plain_text(output: NotebookNode) -> str:
    """What an output is in print, pictures aside."""
    data = output.get("data", {})
    return str(output.get("text", "" if "image/png" in data else data.get("text/plain", "")))


@pytest.mark.slow
@each_chapter
def test_each_cell_can_be_run_twice(path: Path) -> None:
    if reason := reason_to_skip(path):
        pytest.skip(reason)
    notebook = nbformat.read(path, as_version=4)
    client = executing(notebook, path)
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            for _ in range(2 if cell.cell_type == "code" else 0):
                client.execute_cell(cell, number)


def executing(notebook: NotebookNode, path: Path) -> NotebookClient:
    return NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        config=Config(KernelManager=kernel_settings()),
    )


@each_chapter
def test_the_chapter_has_its_sections(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert [section for section in SECTIONS if section not in text] == []


@each_chapter
def test_the_metadata_is_the_same_wherever_a_chapter_was_executed(path: Path) -> None:
    skip_if_changed(path)
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.language_info == {"name": "python"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set().union(*(cell.metadata for cell in notebook.cells)) <= {"tags"}


@pytest.mark.slow
@each_chapter
def test_a_learner_who_solves_each_exercise_sees_the_chapter_as_it_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind, and what the solutions set changes no other cell."""
    if reason := reason_to_skip(path):
        pytest.skip(reason)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    stored = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    answers = iter([task.solution for task in chapter_of(path).exercises])
    for cell in notebook.cells:
        if cell.source.startswith("# your turn"):
            cell.source = next(answers)
    executing(notebook, path).execute()
    wait_until(lambda: not living_below(tmp_path), "no process of the chapter is left")
    wait_until(lambda: not list(tmp_path.glob("redisflow-*")), "no folder is left")
    for before, cell in zip(stored.cells, notebook.cells, strict=True):
        if cell.cell_type != "code":
            continue
        if "task.check()" in cell.source:
            assert "✓ Passed" in cell.outputs[-1].data["text/plain"], cell.outputs
        elif cell.source == before.source and not ignored(cell):
            assert compared(cell.outputs) == compared(before.outputs), cell.source


@pytest.mark.slow
@pytest.mark.parametrize("number", ["04", "13"])
def test_cells_that_were_split_copied_and_renamed_change_no_verdict(
    number: str, tmp_path: Path
) -> None:
    """A cell for each statement, each task and check twice, in a notebook of another name."""
    chapter = next(chapter for chapter in CHAPTERS if chapter.number == number)
    answers = iter([task.solution for task in chapter.exercises])
    split = []
    for cell in code_cells(ROOT / "notebooks" / chapter.file):
        source = next(answers) if cell.source.startswith("# your turn") else cell.source
        for statement in ast.parse(source).body:
            code = ast.get_source_segment(source, statement)
            copies = 2 if "exercise(" in code or "task.check()" in code else 1
            split += [nbformat.v4.new_code_cell(code) for _ in range(copies)]
    notebook = nbformat.v4.new_notebook(cells=split)
    executing(notebook, tmp_path / "mine.ipynb").execute()
    verdicts = [
        cell.outputs[-1].data["text/plain"] for cell in split if "task.check()" in cell.source
    ]
    assert len(verdicts) == 2 * len(chapter.exercises)
    assert [text for text in verdicts if "✓ Passed" not in text] == []


def chapter_of(path: Path) -> Chapter:
    return next(chapter for chapter in CHAPTERS if chapter.file == path.name)


@pytest.mark.slow
def test_a_chapter_that_needs_more_than_the_server_supports_is_not_rewritten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chapter.ipynb"
    first = nbformat.v4.new_code_cell('lab = Lab(needs=["XADD", "XNOSUCH"])')
    nbformat.write(nbformat.v4.new_notebook(cells=[first]), path)
    before = path.read_bytes()
    tool = [sys.executable, ROOT / "tools" / "execute_notebooks.py", path]
    done = subprocess.run(tool, capture_output=True, text=True, check=True)
    assert re.search("skipped chapter.ipynb: .* does not support XNOSUCH", done.stdout)
    assert path.read_bytes() == before


def outcome(folder: Path, *sources: str) -> str:
    """The output of nbval for notebooks of one cell each, with the settings of the chapters."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", folder)
    for number, source in enumerate(sources):
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{number}.ipynb")
    line = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--nbval", folder]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_broken_chapter_does_not_keep_the_others_from_running(
    tmp_path: Path,
) -> None:
    said = outcome(
        tmp_path,
        "from redisflow_lab.lab import Lab; Lab(needs=['XNOSUCH'])",
        "this is no Python (",
        "NEEDS = ['XADD']; Lab = dict; Lab(needs=NEEDS)",
        "dict(needs=5)",
    )
    assert "1 failed, 2 passed, 1 skipped" in said


@pytest.mark.parametrize("layout", ["replicas=1, sentinels=3", "cluster=3"])
def test_a_chapter_with_several_servers_of_its_own_runs_whatever_server_is_named(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chapter.ipynb"
    first = nbformat.v4.new_code_cell(f"lab = Lab({layout})")
    nbformat.write(nbformat.v4.new_notebook(cells=[first]), path)
    monkeypatch.setenv("REDISFLOW_SERVER", "docker:redis:8.10.2")
    assert reason_to_skip(path) is None
    monkeypatch.setenv("REDISFLOW_SERVER", "")
    monkeypatch.setenv("REDISFLOW_URL", "redis://127.0.0.1:1")
    assert reason_to_skip(path) is None


@pytest.mark.slow
def test_a_chapter_without_any_server_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISFLOW_SERVER", "docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    said = outcome(tmp_path, "from redisflow_lab.lab import Lab\nLab(needs=['XADD'])")
    assert "no Docker engine answers" in said
    assert "1 failed" in said


def living_below(folder: Path) -> list[int]:
    """Processes that keep their temporary files in this folder, as servers and workers do."""
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(folder)
    ]
