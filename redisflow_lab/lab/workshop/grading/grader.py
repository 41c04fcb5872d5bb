"""Runs the stages in order, and prints what is wrong."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from redis.exceptions import RedisError

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.laboratory import Lab
from redisflow_lab.lab.workshop.exercise import NotYetError
from redisflow_lab.lab.workshop.grading.arena import Arena
from redisflow_lab.lab.workshop.grading.stages import STAGES, Stage
from redisflow_lab.lab.workshop.progress import Progress
from redisflow_lab.lab.workshop.verdict import indented

FILE = "consumer.py"


def grade(
    command: Sequence[str] | None,
    folder: Path,
    progress: Progress,
    *,
    stages: Sequence[Stage] = STAGES,
) -> bool:
    """Grade a program stage by stage, up to the first that it does not pass.

    command: of the program; None for `consumer.py` in the folder
    folder:  in which it runs
    stages:  which ones, in order

    Returns whether it passed. Prints a line for each stage, and what is wrong.
    """
    if command is None:
        if not (folder / FILE).exists():
            print(
                f"There is no {FILE} in this folder. `make lab` opens a folder that has one, "
                "to which you add a few lines in each chapter."
            )
            return False
        command, shown = [sys.executable, FILE], FILE
    else:
        shown = " ".join(command)
    print(f"{printable(shown)}, graded in {len(STAGES)} stages of real crashes\n")
    with _server_of_its_own() as lab:
        for stage in stages:
            print(f"  {stage.number}  {stage.name:<50}", end=" ", flush=True)
            problem = _problem(stage, lab, command, folder)
            print("✗" if problem else "✓", flush=True)
            progress.write("stages", stage.name, passed=not problem)
            if problem:
                print(indented(problem, "     "))
                later = (
                    ", and the stages after it were not tried" if stage != stages[-1] else ""
                )
                print(f"Chapter {stage.taught} teaches this stage{later}.")
                return False
    return True


def _problem(stage: Stage, lab: Lab, command: Sequence[str], folder: Path) -> str:
    """Why the program does not pass; empty if it does."""
    arenas: list[Arena] = []

    def new() -> Arena:
        arenas.append(Arena(lab, command, folder))
        return arenas[-1]

    try:
        stage.try_(new)
    except NotYetError as error:
        return str(error)
    except (RedisError, UnicodeDecodeError) as error:
        return (
            f"The server of your program can no longer be queried: "
            f"{str(error).rstrip('.')}. Did your program stop it, or change a user, a setting "
            "or the type of a key? It needs its stream, its effects, and keys of its own."
        )
    finally:
        for arena in arenas:
            arena.end()
    return ""


@contextmanager
def _server_of_its_own() -> Iterator[Lab]:
    with redirect_stdout(io.StringIO()):  # Lab prints which server it uses
        lab = Lab("own")
    try:
        yield lab
    finally:
        lab.close()
