"""Checks user code: handlers, effects and hooks, what they return and what they raise."""

import inspect
import io
from collections.abc import Iterator

ENDS_THE_PROCESS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions of user code that are raised on. Every other one counts as a failure, even if it
is not an Exception, such as asyncio.CancelledError."""


def check_handler(handler: object) -> None:
    """Raise TypeError if `handler` cannot be called with a delivery, or is asynchronous."""
    if not callable(handler):
        raise TypeError(f"handler must be callable, not {type(handler).__name__}: {handler!r}")
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        type(handler).__call__
    ):
        raise TypeError(
            f"handler is asynchronous: {handler!r}; its coroutine would never run. "
            "Wrap it: lambda delivery: asyncio.run(handler(delivery))"
        )
    try:
        inspect.signature(handler).bind("delivery")
    except ValueError:
        return  # a function written in C may have no signature
    except TypeError as error:
        raise TypeError(
            f"handler is called with one argument, the delivery, but {handler!r} does not take "
            f"that: {error}"
        ) from None


def check_finished(what: str, result: object) -> None:
    """Raise TypeError if user code returned unfinished work.

    Unfinished work is anything awaitable, a generator or another iterator such as `map`, a
    future, a coroutine function, or a list with one of these in it.
    """
    if isinstance(result, list | tuple | set):
        for part in result:
            check_finished(what, part)
        return
    if not (
        inspect.isawaitable(result)
        or (isinstance(result, Iterator) and not isinstance(result, io.IOBase))
        or inspect.isasyncgen(result)
        or inspect.iscoroutinefunction(result)
        or hasattr(result, "add_done_callback")
    ):
        return
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that it was never awaited
    raise TypeError(
        f"{what} returned {type(result).__name__!r}: the work in it is not done yet, and a "
        f"crash would lose it. Finish it before you return: asyncio.run(...) for a coroutine, "
        ".result() for a future, a loop for a generator"
    )


def described(error: BaseException) -> str:
    """Type and message of an exception, as text that can be encoded as UTF-8."""
    try:
        text = f"{type(error).__name__}: {error}"
    except ENDS_THE_PROCESS:
        raise
    except BaseException:  # the exception is the user's, and so is its __str__
        return type(error).__name__
    return text.encode(errors="backslashreplace").decode()
