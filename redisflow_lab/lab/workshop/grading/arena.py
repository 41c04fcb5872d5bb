"""What a stage works with: a server, fresh keys, programs, and waiting with a limit."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.exceptions import ResponseError

from redisflow_lab.lab.laboratory import Lab
from redisflow_lab.lab.workshop.exercise import NotYetError
from redisflow_lab.lab.workshop.grading.program import Program
from redisflow_lab.lab.workshop.grading.proxy import CommandProxy, Plan, forward
from redisflow_lab.message import Message

GROUP = "workers"
MIN_IDLE_MS = 5_000
"""An entry that has been idle for this long may be claimed."""
MAX_DELIVERIES = 5
"""A message that failed at this many deliveries is dead-lettered."""
SOON_S = 10.0
"""Time limit for what a program should do at once."""


@dataclass(frozen=True)
class Pending:
    """One row of the pending entries list."""

    entry_id: str
    consumer: str
    content: str | None


class Run:
    """A program at work, and the proxy between it and the server."""

    def __init__(self, name: str, program: Program, proxy: CommandProxy) -> None:
        self.name, self.program, self.proxy = name, program, proxy

    def end(self) -> None:
        self.program.kill()
        self.proxy.close()


class Arena:
    """The keys and programs of one attempt at one stage.

    command: of the learner's program
    folder:  in which it runs
    """

    def __init__(self, lab: Lab, command: Sequence[str], folder: Path) -> None:
        self.lab, self._command, self._folder = lab, command, folder
        self.redis = lab.redis
        token = secrets.token_hex(2)
        self.stream, self.effects_key = f"orders-{token}", f"effects-{token}"
        self.runs: list[Run] = []
        self.contents: list[str] = []

    def start(self, name: str, plan: Plan | None = None) -> Run:
        """Start the program as a consumer of this name, with a plan for its commands."""
        address = self.redis.connection_pool.connection_kwargs
        proxy = CommandProxy((address["host"], address["port"]), plan or forward)
        parts = urlsplit(self.lab.url)
        url = parts._replace(netloc=parts.netloc.rsplit(":", 1)[0] + f":{proxy.port}")
        options = {
            "--url": urlunsplit(url),
            "--stream": self.stream,
            "--group": GROUP,
            "--name": name,
            "--effects": self.effects_key,
        }
        arguments = [part for option in options.items() for part in option]
        run = Run(name, Program([*self._command, *arguments], self._folder), proxy)
        self.runs.append(run)
        return run

    def publish(self, count: int) -> list[str]:
        """Publish `count` more orders; returns their contents."""
        first = len(self.contents) + 1
        contents = [f"order {number}" for number in range(first, first + count)]
        for content in contents:
            self.publish_one(content)
        return contents

    def publish_one(self, content: str) -> str:
        """Publish a message; returns its entry id."""
        self.contents.append(content)
        fields: Any = Message("web", content).to_fields()
        entry_id: Any = self.redis.xadd(self.stream, fields)
        return str(entry_id.decode())

    def effects(self) -> list[str]:
        """The effects so far, in order."""
        found: Any = self.redis.lrange(self.effects_key, 0, -1)
        return [content.decode(errors="replace") for content in found]

    def pending(self) -> list[Pending]:
        """The pending entries of the group, oldest first; empty if there is no group."""
        try:
            rows: Any = self.redis.xpending_range(self.stream, GROUP, "-", "+", 1_000)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._groups()  # raises if the stream is gone too
            return []
        return [
            Pending(
                row["message_id"].decode(),
                row["consumer"].decode(),
                self._content(row["message_id"].decode()),
            )
            for row in rows
        ]

    def undelivered(self) -> int:
        """How many entries have not been delivered to the group yet."""
        named = (row for row in self._groups() if row["name"] == GROUP.encode())
        last = next((b"(" + row["last-delivered-id"] for row in named), b"-")
        found: Any = self.redis.xrange(self.stream, min=last)
        return len(found)

    def has_group(self) -> bool:
        return GROUP.encode() in [group["name"] for group in self._groups()]

    def dead_letters(self) -> list[str | None]:
        """The contents of the dead letters, oldest first."""
        found: Any = self.redis.xrange(f"{self.stream}:dead")
        return [_content(fields) for _, fields in found]

    def age(self, *consumers: str, idle_ms: int = 600_000) -> None:
        """Set the idle time of the pending entries of these consumers."""
        for row in self.pending():
            if row.consumer in consumers:
                self.redis.xclaim(
                    self.stream, GROUP, row.consumer, 0, [row.entry_id], idle=idle_ms,
                    justid=True,
                )  # fmt: skip

    def wait(
        self,
        state: Callable[[], object],
        failure: Callable[[], str],
        *,
        run: Run | None = None,
        limit_s: float = SOON_S,
    ) -> None:
        """Return as soon as the state is reached.

        failure: returns the message if it is not, without the limit
        run:     a program that must not end before

        Raises NotYetError after the limit, or when the program has ended.
        """
        until = monotonic() + limit_s
        pause = Event()
        while not state():
            ended = run is not None and not run.program.running
            if ended and state():
                return
            if ended or monotonic() > until:
                told = f"\nYour process: {run.program.describe()}." if run else ""
                waited = "" if ended else f" Waited for {limit_s:g} s."
                raise NotYetError(f"{failure()}.{waited}{told}")
            pause.wait(0.005)

    def end(self) -> None:
        """Kill all programs."""
        for run in self.runs:
            run.end()

    def _groups(self) -> Any:
        # No EXISTS before it: the program may delete the stream between two commands.
        try:
            return self.redis.xinfo_groups(self.stream)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            raise NotYetError(
                f"The stream {self.stream} is gone. Your program must not delete it."
            ) from None

    def _content(self, entry_id: str) -> str | None:
        found: Any = self.redis.xrange(self.stream, entry_id, entry_id)
        return _content(found[0][1]) if found else None


def _content(fields: dict[bytes, bytes]) -> str | None:
    try:
        return Message.from_fields(fields).content
    except ValueError:  # not a message
        return None
