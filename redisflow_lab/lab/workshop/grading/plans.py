"""What happens to the commands of a program: killed at one, held at one, made to fail."""

from collections.abc import Callable
from threading import Event

from redisflow_lab.lab.workshop.grading.arena import Arena, Run
from redisflow_lab.lab.workshop.grading.proxy import Command

_LONGEST_HOLD_S = 30.0


class Plans:
    """Plans for the programs of one arena."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._redis = arena.lab.server.connect()  # the threads of proxies ask with it

    def is_effect(self, command: Command) -> bool:
        """Whether it names the key of the effects and an order: a push, or a script."""
        return any(self.is_effect_of(content, command) for content in self._arena.contents)

    def is_effect_of(self, content: str, command: Command) -> bool:
        """Whether it is the effect of this order."""
        return self._arena.effects_key.encode() in command and content.encode() in command

    def kill_when(self, is_time: Callable[[Command], bool]) -> "Killing":
        """SIGKILL at a command, which the server does not get."""
        return Killing(is_time)

    def kill_after_effects(self, count: int) -> "Killing":
        """SIGKILL once so many effects are there, at whatever command comes next."""
        return Killing(lambda _: self._redis.llen(self._arena.effects_key) >= count)

    def kill_at(self, number: int) -> "Killing":
        """SIGKILL at the so many-th command after the first order was delivered."""
        seen = 0

        def is_time(_: Command) -> bool:
            nonlocal seen
            seen += seen > 0 or bool(self._arena.pending())
            return seen >= number

        return Killing(is_time)

    def fail(self, content: str) -> "Failing":
        """Let the server refuse the effect of the message with this content."""
        return Failing(self, content)

    def hold(self, content: str) -> "Holding":
        """Keep the effect of an order back, until it is released."""
        return Holding(self, content)


class Killing:
    """Kills the program of `run` at a command. `run` is set as soon as it has started."""

    def __init__(self, is_time: Callable[[Command], bool]) -> None:
        self._is_time = is_time
        self._started = Event()
        self._run: Run | None = None
        self.killed = False
        self.at: Command = []

    def watch(self, run: Run) -> None:
        """Tell which program to kill."""
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
        # Without its arguments, so that the server itself refuses it, and with it the
        # transaction in which it is.
        return command[:1]


class Holding:
    """Keeps one effect back.

    reached: set when the program waits for it
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
