"""Runs Lua scripts, which check and act in one step, so that nothing happens in between."""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

MOST_ARGUMENTS = 7_000  # Lua can unpack at most 8,000 values: LUAI_MAXCSTACK


class ScriptRefusedError(ResponseError):
    """Raised if the server refuses a script: use single commands, ordered to lose nothing."""


def run_script(redis: Redis, script: str, keys: Sequence[str], *arguments: Any) -> Any:
    """EVAL: run a script on the server and return its reply.

    Raises ScriptRefusedError if this user may not run EVAL or a command of the script, if the
    server has no EVAL, or if there are more arguments than a script can take. Raises
    redis.RedisError as usual, for example when a command of the script fails. What the script
    did before that command is not rolled back. https://redis.io/docs/latest/commands/eval/
    """
    if len(arguments) > MOST_ARGUMENTS:
        raise ScriptRefusedError(f"a script cannot take {len(arguments)} arguments")
    try:
        return redis.execute_command("EVAL", script, len(keys), *keys, *arguments)
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
