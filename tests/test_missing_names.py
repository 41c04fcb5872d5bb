"""A stream or a group that does not exist, or a key of another type, is named in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redisflow_lab.lab import Lab


def change(lab: Lab, stream: str, group: str) -> None:
    with lab.change(stream, group):
        raise AssertionError("the block must not run")


LOOKS: dict[str, Callable[[Lab, str, str], Any]] = {
    "consumers": lambda lab, stream, group: lab.consumers(stream, group),
    "pending": lambda lab, stream, group: lab.pending(stream, group),
    "change": change,
}
each_look = pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)


@each_look
def test_a_missing_group_is_named(
    lab: Lab, stream: str, look: Callable[[Lab, str, str], Any]
) -> None:
    lab.redis.xadd(stream, {"data": b""})
    with pytest.raises(ResponseError, match=r"^no group 'biling' on .*: start a consumer"):
        look(lab, stream, "biling")


@each_look
def test_a_missing_stream_is_named(
    lab: Lab, stream: str, look: Callable[[Lab, str, str], Any]
) -> None:
    with pytest.raises(ResponseError, match=r"^no stream '.*': publish a message to it"):
        look(lab, stream, "billing")


@pytest.mark.parametrize(
    "look",
    [
        *LOOKS.values(),
        lambda lab, key, _: lab.stream(key),
        lambda lab, key, _: lab.groups(key),
    ],
    ids=[*LOOKS, "stream", "groups"],
)
def test_a_key_of_another_type_is_named(
    lab: Lab, stream: str, look: Callable[[Lab, str, str], Any]
) -> None:
    lab.redis.rpush(stream, "not a stream")
    with pytest.raises(ResponseError, match=r"^'.*' is a list and not a stream"):
        look(lab, stream, "billing")


def test_a_group_that_is_removed_while_its_change_is_measured_is_named(
    lab: Lab, stream: str
) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    with pytest.raises(ResponseError, match=r"^no group 'billing' on "), lab.change(stream):
        lab.redis.xgroup_destroy(stream, "billing")


def test_dead_letters_that_are_no_stream_are_named(lab: Lab, stream: str) -> None:
    lab.redis.set(f"{stream}:dead", "text")
    with pytest.raises(ResponseError, match=r":dead' is a string and not a stream"):
        lab.dead_letters(stream)
