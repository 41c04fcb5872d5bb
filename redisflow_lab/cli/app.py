"""The commands of `redisflow`, and their options."""

from pathlib import Path
from typing import Annotated

import typer

from redisflow_lab.cli import (
    dead_letters,
    entries,
    exporter,
    groups,
    partitions,
    retention,
    streams,
    watch,
)

app = typer.Typer(
    help="RedisFlow Lab: learn what a Redis Stream promises by breaking it on purpose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def course(
    folder: Annotated[Path, typer.Argument(help="where to put your copy of the chapters")],
    reset: Annotated[
        str, typer.Option(metavar="CHAPTER", help="restore this chapter, and keep yours")
    ] = "",
    colab: Annotated[
        bool, typer.Option("--colab", help="begin each with a cell for Google Colab")
    ] = False,
) -> None:
    """Copy the chapters of the course to a folder, without outputs.

    Files that you have changed there are never overwritten.
    """
    from redisflow_lab.cli.course import lay_course

    try:
        told = lay_course(folder, reset, for_colab=colab)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--reset") from None
    except OSError as error:
        raise typer.BadParameter(f"{folder} cannot be used: {error}") from None
    print(*told, sep="\n")


@app.command(name="class")
def class_(
    files: Annotated[list[Path], typer.Argument(help="the progress.json of each learner")],
) -> None:
    """Show the progress of each learner of a class, and who may be stuck."""
    from redisflow_lab.cli.classroom import class_table

    print(class_table(files))


@app.command()
def doctor() -> None:
    """Check what this machine has, what is missing, and how to get it.

    The exit status is 1 if the course cannot be run.
    """
    from redisflow_lab.cli.doctor import examine

    raise typer.Exit(examine())


_OPERATE = "Operate streams"
for command in (
    streams.streams, streams.inspect, partitions.partitions, entries.entries,
    entries.pending, entries.publish, retention.trim, watch.watch, exporter.exporter,
):  # fmt: skip
    app.command(rich_help_panel=_OPERATE)(command)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=_OPERATE)
app.add_typer(groups.app, name="groups", rich_help_panel=_OPERATE)
consumers = typer.Typer(no_args_is_help=True, help="The names in a group.")
consumers.command()(retention.prune)
app.add_typer(consumers, name="consumers", rich_help_panel=_OPERATE)
