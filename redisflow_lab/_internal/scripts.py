"""Lua scripts: steps that check and act at once, so that nothing can happen in between."""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

_MOST_ARGUMENTS = 7_000  # Lua passes on at most 8,000 values: LUAI_MAXCSTACK


class ScriptRefusedError(ResponseError):
    """The step cannot be a script: do it in single commands, in an order that loses nothing."""


def run_script(redis: Redis, script: str, keys: Sequence[str], *arguments: Any) -> Any:
    """EVAL: run a script on the server and return its reply.

    Raises ScriptRefusedError if this user may not run EVAL, if the server does not have it, or
    if there are more arguments than a script can take; then nothing was done. Raises
    redis.RedisError as usual, for example when a command of the script fails: what the script
    did before that command stays done. https://redis.io/docs/latest/commands/eval/
    """
    if len(arguments) > _MOST_ARGUMENTS:
        raise ScriptRefusedError(f"a script cannot take {len(arguments)} arguments")
    try:
        return redis.execute_command("EVAL", script, len(keys), *keys, *arguments)
    except ResponseError as error:
        if _is_about_eval(error):
            raise ScriptRefusedError(str(error)) from None
        raise


def _is_about_eval(error: ResponseError) -> bool:
    text = str(error).lower()
    refused = isinstance(error, NoPermissionError) or "unknown command" in text
    return refused and "'eval'" in text
