"""What a chapter needs of its server, and whether the server at hand has it."""

import ast
import io
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from redisflow_lab.lab.laboratory import Lab, MissingCapabilityError
from redisflow_lab.lab.server import ServerError


def needs_of(path: Path) -> list[str]:
    """What the first code cell of a chapter asks for: the `needs` of its `Lab(...)`.

    Nothing where they cannot be read: a learner's cell may be anything, and says so when run.
    """
    cells = nbformat.read(path, as_version=4).cells
    first = next((cell.source for cell in cells if cell.cell_type == "code"), "")
    try:
        plain = TransformerManager().transform_cell(first)  # it may begin with %magic
        return [
            need
            for call in ast.walk(ast.parse(plain))
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Lab"
            for argument in call.keywords
            if argument.arg == "needs"
            for need in ast.literal_eval(argument.value)
        ]
    except (SyntaxError, ValueError, TypeError):
        return []


def reason_to_skip(path: Path) -> str | None:
    """What the first cell of the chapter would say, where it stops there.

    None as well where no server can be had: the chapter is run, and says that itself.
    """
    needs = needs_of(path)
    try:
        if needs:
            with redirect_stdout(io.StringIO()):  # which server it got is of no interest
                Lab(needs=needs).close()
    except MissingCapabilityError as reason:
        return str(reason)
    except ServerError:
        pass
    return None
