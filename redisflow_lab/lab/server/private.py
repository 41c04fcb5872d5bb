"""Configuration, start and kill of the lab's own servers, whether process or container."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis
from redis import Redis

from redisflow_lab.lab.server.interface import ServerError
from redisflow_lab.lab.waiting import wait_until

_START_S = 10.0


def render_config(port: int, password: str, folder: str, *, appendonly: bool, bind: str) -> str:
    """The text of a redis.conf. Command-line arguments would show the password in `ps`.

    hz is raised from 10 to 100, because the server checks that often whether a BLOCK has
    timed out: with 10, a BLOCK of 20 ms would last up to 100 ms.
    """
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"bind {bind}\nport {port}\nrequirepass {password}\nhz 100\n"
        f'dir "{quoted}"\nappendonly {"yes" if appendonly else "no"}\n'
    )


def write_config(path: Path, text: str) -> None:
    """Write a configuration, which holds a password, for this user only."""
    path.touch(mode=0o600)
    path.chmod(0o600)  # it may exist
    path.write_text(text)


def local_url(port: int, password: str) -> str:
    """The address of the lab's own server on this port."""
    return f"redis://default:{password}@127.0.0.1:{port}"


def wait_for_answer(
    client: Redis, running: Callable[[], bool], details: Callable[[], str]
) -> None:
    """Wait until the server answers PING or has stopped running.

    Raises ServerError, with what `details` returns, after 10 s.
    """
    try:
        with client:
            wait_until(
                lambda: not running() or _answers(client),
                "the server answers PING",
                timeout_s=_START_S,
                details=details,
            )
    except TimeoutError as error:
        raise ServerError(str(error)) from None


def wait_for_written_aof(client: Redis) -> None:
    """Wait until each acknowledged write has reached the operating system, at most 3 s.

    With appendfsync everysec and a slow disk, the server may buffer writes for up to two
    seconds after it answered them. A SIGKILL would lose those, although the rule that a
    chapter shows says that a killed process loses nothing that was answered:
    https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
    """
    with client, suppress(redis.RedisError, TimeoutError):
        wait_until(
            lambda: int(client.info("persistence").get("aof_buffer_length", 0)) == 0,
            "the append-only file is written",
            timeout_s=3.0,
        )


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
