"""The prefix of the lab's keys on a shared server."""

import re
import secrets

_FORM = re.compile(r"^redisflow:[0-9a-f]{8}:")


def new_prefix() -> str:
    """A prefix for the keys of one lab, with a random part: "redisflow:1f0c63d2:"."""
    return f"redisflow:{secrets.token_hex(4)}:"


def without_prefix(key: str) -> str:
    """`key` without such a prefix, so that tables show the same name on each server."""
    return _FORM.sub("", key)
