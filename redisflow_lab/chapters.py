"""What a chapter needs of its server, and whether the server at hand has it."""

import ast
import io
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from redisflow_lab.lab import Lab, MissingCapabilityError


def needs_of(path: Path) -> list[str]:
    """What the first code cell of a chapter asks for: the `needs` of its `Lab(...)`."""
    cells = nbformat.read(path, as_version=4).cells
    first = next((cell.source for cell in cells if cell.cell_type == "code"), "")
    plain = TransformerManager().transform_cell(first)  # a learner's may begin with %magic
    return [
        need
        for call in ast.walk(ast.parse(plain))
        if isinstance(call, ast.Call)
        for argument in call.keywords
        if argument.arg == "needs"
        for need in ast.literal_eval(argument.value)
    ]


def reason_to_skip(path: Path) -> str | None:
    """What the first cell of the chapter would say, where it stops there."""
    needs = needs_of(path)
    try:
        if needs:
            with redirect_stdout(io.StringIO()):  # which server it got is of no interest
                Lab(needs=needs).close()
    except MissingCapabilityError as reason:
        return str(reason)
    return None
