"""Asks before something is destroyed."""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirm(what: str, *, yes: bool) -> None:
    """Say what will be done, and go on only if it is wanted.

    Without a terminal there is nobody to ask: then `--yes` has to say so.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"this would {what}. Add --yes to do it", param_hint="--yes")
    typer.confirm(f"This will {what}. Go on?", abort=True, err=True)
