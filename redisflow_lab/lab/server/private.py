"""What the servers of our own have in common: their settings, their password, their end."""

from collections.abc import Callable
from contextlib import suppress

import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.waiting import wait_until

_START_S = 10.0


def settings(port: int, password: str, folder: str, *, appendonly: bool, bind: str) -> str:
    """The text of a configuration file. Not as arguments: everybody can read those.

    hz: how often the server looks whether a BLOCK is over; 10 times a second by default, so
    that each short one would last 100 ms.
    """
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"bind {bind}\nport {port}\nrequirepass {password}\nhz 100\n"
        f'dir "{quoted}"\nappendonly {"yes" if appendonly else "no"}\n'
    )


def client_of(port: int, password: str) -> Redis:
    """A client of a server on this machine that never retries."""
    return Redis(host="127.0.0.1", port=port, password=password, retry=Retry(NoBackoff(), 0))


def wait_for_answer(
    client: Redis, running: Callable[[], bool], details: Callable[[], str]
) -> None:
    """Return when the server answers, or does not run any more. Raises ServerError."""
    try:
        with client:
            wait_until(
                lambda: not running() or _answers(client),
                "the server answers",
                timeout_s=_START_S,
                details=details,
            )
    except TimeoutError as error:
        raise ServerError(str(error)) from None


def wait_until_writes_are_out(client: Redis) -> None:
    """Return when all that was answered has been handed to the operating system.

    While the disk is slow, a server that syncs every second may keep answered writes to
    itself for up to two seconds. It is killed when there are none, so that a lesson shows
    the rule: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
    """
    with client, suppress(redis.RedisError, TimeoutError):
        wait_until(
            lambda: int(client.info("persistence").get("aof_buffer_length", 0)) == 0,
            "writes are out",
            timeout_s=3.0,
        )


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # loading is one of the former
        return False
