"""How chapters run as tests: whether this server can, and kernels that start for certain."""

import ast
import io
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from uuid import uuid4

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from redisflow_lab.lab.laboratory import Lab, MissingCapabilityError
from redisflow_lab.lab.server import ServerError
from redisflow_lab.lab.server.layout import Layout
from redisflow_lab.lab.server.network import can_cut


def read_needs(path: Path) -> list[str]:
    """The `needs` of `Lab(...)` in the first code cell of a notebook.

    Empty if the cell has none, or is not valid Python: then running it shows the error.
    """
    needs = _arguments(path).get("needs", [])
    return needs if isinstance(needs, list) else []


def read_layout(path: Path) -> dict[str, int]:
    """Which servers `Lab(...)` has there, such as replicas=1; empty if it is one server."""
    arguments = _arguments(path)
    names = [field.name for field in fields(Layout)]
    return {name: arguments[name] for name in names if arguments.get(name)}


def _arguments(path: Path) -> dict[str, Any]:
    """The named arguments of `Lab(...)` in the first code cell, if they are literals."""
    cells = nbformat.read(path, as_version=4).cells
    first = next((cell.source for cell in cells if cell.cell_type == "code"), "")
    try:
        plain = TransformerManager().transform_cell(first)  # handles %magic
        return {
            argument.arg: ast.literal_eval(argument.value)
            for call in ast.walk(ast.parse(plain))
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Lab"
            for argument in call.keywords
            if argument.arg
        }
    except (SyntaxError, ValueError, TypeError):
        return {}


def reason_to_skip(path: Path) -> str | None:
    """Why this notebook cannot run on the current server; None if it can.

    Also None if no server is available at all: then its first cell raises that error.
    """
    if read_layout(path) and "lab.partition(" in path.read_text() and not can_cut():
        return "this system cannot cut servers off from each other; Linux can"
    needs = read_needs(path)
    try:
        if needs:
            with redirect_stdout(io.StringIO()):  # Lab prints which server it uses
                Lab(needs=needs).close()
    except MissingCapabilityError as reason:
        return str(reason)
    except ServerError:
        pass
    return None


def kernel_settings() -> dict[str, str]:
    """Settings with which a `jupyter_client.KernelManager` needs no ports; for one kernel.

    It chooses five free ports, which the kernel binds a second later. By then another program
    may have one of them, and the kernel dies. Sockets in the file system have no such race.
    """
    return {"transport": "ipc", "connection_file": f"{gettempdir()}/kernel-{uuid4()}.json"}
