"""Runs Lua scripts, which check and act in one step, so that nothing happens in between."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from redisflow_lab._internal.wire import Command

MAX_ARGUMENTS = 7_000  # Lua can unpack at most 8,000 values: LUAI_MAXCSTACK


class ScriptRefusedError(ResponseError):
    """Raised if the server refuses a script: use single commands, ordered to lose nothing."""


def run_script(redis: Redis, script: str, keys: Sequence[str], *arguments: Any) -> Any:
    """EVAL: run a script on the server and return its reply.

    Raises ScriptRefusedError, and redis.RedisError as usual, for example when a command of the
    script fails. What the script did before that command is not rolled back.
    https://redis.io/docs/latest/commands/eval/
    """
    with telling_refusals():
        return redis.execute_command(*script_command(script, keys, *arguments))


def script_command(script: str, keys: Sequence[str], *arguments: Any) -> Command:
    """EVAL, to send with other commands inside `telling_refusals`.

    Raises ScriptRefusedError if there are more arguments than a script can take.
    """
    if len(arguments) > MAX_ARGUMENTS:
        raise ScriptRefusedError(f"a script cannot take {len(arguments)} arguments")
    return ("EVAL", script, len(keys), *keys, *arguments)


@contextmanager
def telling_refusals() -> Iterator[None]:
    """Raise ScriptRefusedError if this user may not run EVAL or a command of the script, or if
    the server has no EVAL.
    """
    try:
        yield
    except ResponseError as error:
        if is_refused(error):
            raise ScriptRefusedError(str(error)) from None
        raise


def is_refused(error: Exception) -> bool:
    """Whether the server refuses a command to this user, alone or in a script."""
    text = str(error)
    return (
        isinstance(error, NoPermissionError)
        or "ACL failure in script" in text
        or "The user executing the script can't run" in text  # Redis 7.0, without a code
        or ("unknown command" in text and "EVAL" in text)
    )
