"""Plans for the commands of a program: kill it at one, hold one back, or make one fail."""

from collections.abc import Callable
from threading import Event

from redisflow_lab.lab.workshop.grading.arena import Arena, Run
from redisflow_lab.lab.workshop.grading.proxy import Command

_LONGEST_HOLD_S = 30.0


class Plans:
    """Plans for the programs of one arena."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._redis = arena.lab.server.connect()  # for the threads of the proxies

    def is_effect(self, command: Command) -> bool:
        """Whether a command pushes the content of an order to the effects, or a script may."""
        return any(self.is_effect_of(content, command) for content in self._arena.contents)

    def is_effect_of(self, content: str, command: Command) -> bool:
        """Whether a command pushes this content to the effects, or a script may."""
        return self._arena.effects_key.encode() in command and content.encode() in command

    def kill_when(self, is_time: Callable[[Command], bool]) -> "Killing":
        """Kill the program at a command, which is not sent to the server."""
        return Killing(is_time)

    def kill_after_effects(self, count: int) -> "Killing":
        """Kill the program at the next command after `count` effects."""
        return Killing(lambda _: self._redis.llen(self._arena.effects_key) >= count)

    def kill_at(self, number: int) -> "Killing":
        """Kill the program at the `number`th command after the first delivery."""
        seen = 0

        def is_time(_: Command) -> bool:
            nonlocal seen
            seen += seen > 0 or bool(self._arena.pending())
            return seen >= number

        return Killing(is_time)

    def fail(self, content: str) -> "Failing":
        """Make the server refuse the effect of the message with this content."""
        return Failing(self, content)

    def hold(self, content: str) -> "Holding":
        """Hold back the effect of an order until it is released."""
        return Holding(self, content)


class Killing:
    """Kills a program at a command. `watch` sets which program, once it has started."""

    def __init__(self, is_time: Callable[[Command], bool]) -> None:
        self._is_time = is_time
        self._started = Event()
        self._run: Run | None = None
        self.killed = False
        self.at: Command = []

    def watch(self, run: Run) -> None:
        """Set the program to kill."""
        self._run = run
        self._started.set()

    def __call__(self, command: Command) -> Command | None:
        if self.killed:
            return None
        if not self._is_time(command):
            return command
        self.killed, self.at = True, command
        self._started.wait(_LONGEST_HOLD_S)
        if self._run is not None:
            self._run.program.kill()
        return None


class Failing:
    """Refuses the effect of one message.

    tries:  how often the effect was tried
    """

    def __init__(self, plans: Plans, content: str) -> None:
        self._plans, self._content = plans, content
        self.tries = 0

    def __call__(self, command: Command) -> Command:
        if not self._plans.is_effect_of(self._content, command):
            return command
        self.tries += 1
        # Without arguments, so that the server refuses the command and any transaction that
        # it is part of.
        return command[:1]


class Holding:
    """Holds back one effect.

    reached: set when the program has sent it
    """

    def __init__(self, plans: Plans, content: str) -> None:
        self._plans, self._content = plans, content
        self.reached, self._released = Event(), Event()

    def release(self) -> None:
        self._released.set()

    def __call__(self, command: Command) -> Command:
        is_it = self._plans.is_effect_of(self._content, command)
        if is_it and not self.reached.is_set():
            self.reached.set()
            self._released.wait(_LONGEST_HOLD_S)
        return command
