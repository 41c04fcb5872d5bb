"""`redisflow dead-letters`: lists dead letters, writes them again, or discards them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer

from redisflow_lab._internal.printable import printable
from redisflow_lab.cli.asking import Yes, confirm
from redisflow_lab.cli.durations import seconds
from redisflow_lab.cli.entries import Stream, decoded
from redisflow_lab.cli.output import Json, counted, show, show_json
from redisflow_lab.cli.server import HERE, Url, fail, server_at
from redisflow_lab.dead_letters import DeadLetter, DeadLetters, Reason
from redisflow_lab.signals import stop_on_signals

Result = TypeVar("Result")

app = typer.Typer(no_args_is_help=True, help="Messages that could not be handled, and why.")

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Their ids in the dead-letter stream."),
]
OfGroup = Annotated[str, typer.Option("--group", help="Those of this group.")]
Why = Annotated[Reason | None, typer.Option("--reason", help="Those with this reason.")]
Error = Annotated[
    str, typer.Option("--error", metavar="TEXT", help="Whose error has this text.")
]
OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="TIME", help="Those before: 7d.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which.")]

_COLUMNS = {
    "letter_id": "id", "entry_id": "entry", "group": "group", "deliveries": "deliveries",
    "reason": "reason", "error": "error", "at": "dead-lettered",
}  # fmt: skip


@app.command(name="list")
def list_(
    stream: Stream,
    group: OfGroup = "",
    reason: Why = None,
    error: Error = "",
    older_than: OlderThan = "",
    count: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show the dead letters of a stream, the oldest first."""
    with server_at(url) as redis:
        found = _matching(DeadLetters(redis, stream), group, reason, error, older_than)
        rows = [_row(letter) for letter, _ in zip(found, range(count), strict=False)]
    show(rows, _COLUMNS, as_json=as_json)


@app.command(name="show")
def show_one(
    stream: Stream,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Show one dead letter, with what its entry contained."""
    with server_at(url) as redis:
        (letter,) = _named(DeadLetters(redis, stream), [letter_id])
    flat = [part for pair in letter.fields for part in pair]
    row, entry = _row(letter), decoded(letter.entry_id.encode(), flat, raw=False)
    if as_json:
        show_json(row | {"entry": entry})
        return
    named = {f"entry {name}": value for name, value in entry.items()}
    for name, value in (row | named).items():
        print(f"{name:>16}  {printable(str(value), 1_000)}")


@app.command()
def redrive(
    stream: Stream,
    ids: Ids = None,
    every: All = False,
    group: OfGroup = "",
    reason: Why = None,
    error: Error = "",
    older_than: OlderThan = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Write dead letters to their stream again, each in one step.

    Each new entry is delivered to every group of the stream. The exit status is 1 if one could
    not be written, such as one that was trimmed.
    """
    with server_at(url) as redis:
        letters = DeadLetters(redis, stream)
        chosen = _chosen(letters, ids, every, group, reason, error, older_than)
        if dry_run:
            show(chosen, _COLUMNS, as_json=as_json)
            return
        confirm(f"write {_letters(len(chosen))} to {stream} again", yes=yes)
        rows = _until_interrupted(chosen, lambda id_: _redriven(letters, id_))
    columns = {"letter_id": "id", "entry_id": "new entry", "problem": "problem"}
    show(rows, columns, as_json=as_json)
    _say_interrupted(len(rows), len(chosen))
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


@app.command()
def discard(
    stream: Stream,
    ids: Ids = None,
    every: All = False,
    group: OfGroup = "",
    reason: Why = None,
    error: Error = "",
    older_than: OlderThan = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = HERE,
    as_json: Json = False,
) -> None:
    """Delete dead letters for good."""
    with server_at(url) as redis:
        letters = DeadLetters(redis, stream)
        chosen = _chosen(letters, ids, every, group, reason, error, older_than)
        if dry_run:
            show(chosen, _COLUMNS, as_json=as_json)
            return
        confirm(f"delete {_letters(len(chosen))} of {stream} for good", yes=yes)
        done = _until_interrupted(chosen, lambda id_: redis.xdel(letters.dead_stream, id_))
    deleted = sum(done)
    if as_json:
        show_json({"deleted": deleted})
    else:
        print(f"{_letters(deleted)} deleted.")
    _say_interrupted(len(done), len(chosen))


def _matching(
    letters: DeadLetters, group: str, reason: Reason | None, error: str, older_than: str
) -> Iterator[DeadLetter]:
    before = datetime.now(UTC) - timedelta(seconds=seconds(older_than)) if older_than else None
    return (
        letter
        for letter in letters
        if group in ("", letter.group)
        and reason in (None, letter.reason)
        and error in letter.error
        and (before is None or letter.at < before)
    )


def _named(letters: DeadLetters, ids: list[str]) -> list[DeadLetter]:
    try:
        return [letters[letter_id] for letter_id in dict.fromkeys(ids)]
    except KeyError as error:
        fail(str(error.args[0]))
    except ValueError as error:
        fail(str(error))


def _chosen(
    letters: DeadLetters,
    ids: list[str] | None,
    every: bool,
    group: str,
    reason: Reason | None,
    error: str,
    older_than: str,
) -> list[dict[str, Any]]:
    """The dead letters that a command is for: those named, those that match, or all."""
    filtered = bool(group or reason or error or older_than)
    if bool(ids) + filtered + every != 1:
        raise typer.BadParameter(
            "say which ones: by their ids; by --group, --reason, --error or --older-than; "
            "or --all"
        )
    found = (
        _named(letters, ids) if ids else _matching(letters, group, reason, error, older_than)
    )
    return [_row(letter) for letter in found]


def _letters(number: int) -> str:
    return counted(number, "dead letter", "dead letters")


def _until_interrupted(
    chosen: list[dict[str, Any]], act: Callable[[str], Result]
) -> list[Result]:
    """What came of each, until Ctrl-C or SIGTERM: the one in work is finished."""
    done: list[Result] = []
    with stop_on_signals() as stop:
        for row in chosen:
            if stop.is_set():
                break
            done.append(act(row["letter_id"]))
    return done


def _say_interrupted(done: int, chosen: int) -> None:
    """End with exit status 130, as a shell reports Ctrl-C, if not all were done."""
    if done < chosen:
        typer.echo(
            f"redisflow: interrupted after {done:,} of {chosen:,}. The others are dead letters "
            "still: repeat the command for them",
            err=True,
        )
        raise typer.Exit(130)


def _redriven(letters: DeadLetters, letter_id: str) -> dict[str, Any]:
    """What came of one: the id of its new entry, or why there is none."""
    try:
        (entry_id,) = letters.redrive(letter_id)
    except KeyError:
        problem = "it is not there any more: another redrive was faster"
    except ValueError as error:
        problem = str(error)
    else:
        return {"letter_id": letter_id, "entry_id": entry_id, "problem": None}
    return {"letter_id": letter_id, "entry_id": None, "problem": problem}


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "letter_id": letter.letter_id,
        "entry_id": letter.entry_id,
        "group": letter.group,
        "consumer": letter.consumer,
        "deliveries": letter.deliveries,
        "reason": letter.reason.value,
        "error": letter.error,
        "at": letter.at.isoformat(timespec="seconds"),
    }
