"""A logger that goes on when one of its logging handlers fails."""

import logging
import sys
from collections.abc import Callable

from redisflow_lab._internal.printable import printable_traceback
from redisflow_lab._internal.user_code import ENDS_THE_PROCESS, described


class GuardedLog:
    """A logger by name. Prints what one of its logging handlers raises to stderr.

    With a plain logger, a log server that is down could end the loop of a consumer, or make a
    publish that has succeeded look as if it had failed.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self.enabled_for = self._logger.isEnabledFor
        """Whether a line of this level would be written."""

    def debug(self, text: str, *args: object) -> None:
        self._write(logging.DEBUG, text, args)

    def info(self, text: str, *args: object) -> None:
        self._write(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        self._write(logging.WARNING, text, args)

    def error(self, text: str, *args: object) -> None:
        self._write(logging.ERROR, text, args)

    def record(
        self,
        level: int,
        text: str,
        *args: object,
        exception: BaseException | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        """Write a line with the traceback of an exception, its control characters escaped.

        extra: attributes of the record
        """
        exc_info = None
        if exception is not None:
            exc_info = (type(exception), exception, exception.__traceback__)
        record = self._logger.makeRecord(
            self._logger.name, level, __file__, 0, text, args, exc_info, extra=extra
        )
        if exception is not None:
            record.exc_text = printable_traceback(exception)  # a Formatter uses this text
        _guarded(lambda: self._logger.handle(record))

    def _write(self, level: int, text: str, args: tuple[object, ...]) -> None:
        if self.enabled_for(level):
            # Report the caller's line: skip the four frames of this file.
            _guarded(lambda: self._logger.log(level, text, *args, stacklevel=5))


def _guarded(write: Callable[[], None]) -> None:
    try:
        write()
    except ENDS_THE_PROCESS:
        raise
    except BaseException as error:
        print(f"a logging handler failed: {described(error)}", file=sys.stderr)
