"""Execute the chapters in place and normalise them, so that a diff shows only real changes.

    python tools/execute_notebooks.py [notebooks/01_produce.ipynb ...]

A cell whose source did not change keeps its stored outputs if the new ones differ only in
what notebooks/sanitize.cfg makes nbval ignore, or in the pixels of a picture. To redraw the
picture of a cell, clear its outputs first. A chapter that needs a command which the server
does not support is skipped.
"""

import configparser
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from redisflow_lab.lab.chapters import kernel_settings, reason_to_skip

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def rules() -> list[tuple[re.Pattern[str], str]]:
    """The rules of the sanitizer in their order: a pattern and its replacement."""
    parser = configparser.RawConfigParser()
    parser.read(NOTEBOOKS / "sanitize.cfg")
    return [
        (re.compile(parser.get(name, "regex")), parser.get(name, "replace"))
        for name in parser.sections()
    ]


def ignored(cell: NotebookNode) -> bool:
    """Whether nbval ignores the outputs of this cell, such as a live view."""
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def compared(outputs: list[NotebookNode]) -> list[object]:
    """The part of these outputs that nbval compares."""
    shown: list[object] = []
    for output in outputs:
        data = output.get("data", {"text": output.get("text", "")})
        for kind, text in sorted(data.items()):
            if kind == _WIDGET:  # not stored
                continue
            if kind.startswith("image/"):
                shown.append(kind)
                continue
            for pattern, replacement in rules():
                text = pattern.sub(replacement, text)
            shown.append((kind, text))
    return shown


def normalise(notebook: NotebookNode) -> None:
    """Keep what a reader sees, and nothing that depends on the machine that executed it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(_WIDGET, None)  # useless without its kernel
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})


def execute(path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    before = {
        (cell.id, cell.source): cell.outputs
        for cell in stored.cells
        if cell.cell_type == "code" and cell.outputs
    }
    notebook = nbformat.from_dict(stored)
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        config=Config(KernelManager=kernel_settings()),
    )
    client.execute()
    normalise(notebook)
    for cell in notebook.cells:
        kept = before.get((cell.get("id"), cell.source))
        if kept and (ignored(cell) or compared(kept) == compared(cell.outputs)):
            cell.outputs = kept
            for output in kept:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    nbformat.write(notebook, path)


def main(paths: list[Path]) -> None:
    for path in paths or sorted(NOTEBOOKS.glob("*.ipynb")):
        if reason := reason_to_skip(path):
            print(f"skipped {path.name}: {reason}", flush=True)
            continue
        print(f"executing {path.name} ...", flush=True)
        execute(path.resolve())


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
