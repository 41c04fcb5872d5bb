"""The names of our keys on a server that is not ours."""

import re
import secrets

_FORM = re.compile(r"^redisflow:[0-9a-f]{8}:")


def new_prefix() -> str:
    """What the names of one lab's keys begin with, such as "redisflow:1f0c63d2:"."""
    return f"redisflow:{secrets.token_hex(4)}:"


def without_prefix(key: str) -> str:
    """The name as a reader knows it: the same on every server."""
    return _FORM.sub("", key)
