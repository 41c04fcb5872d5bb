"""Capabilities: whether the server supports a command, and an option of it, by name."""

import pytest
from network import address_of
from redis import Redis
from redis.exceptions import ResponseError

from redisflow_lab.capabilities import supports, unsupported
from redisflow_lab.lab.laboratory import Lab, MissingCapabilityError


def test_every_server_supports_the_commands_of_the_helper(lab: Lab) -> None:
    assert unsupported(lab.redis, ["XAUTOCLAIM", "XADD MINID", "XPENDING IDLE", "XADD"]) == []


@pytest.mark.parametrize("unknown", ["XFLY", "XADD WINGS", "XFLY WINGS"])
def test_no_server_supports_an_unknown_command_or_option(lab: Lab, unknown: str) -> None:
    assert not supports(lab.redis, unknown)


@pytest.mark.parametrize(
    ("capability", "command"),
    [
        ("XADD IDMP", "XADD {} IDMP web 1 * data x"),
        ("XREADGROUP CLAIM", "XREADGROUP GROUP g alice CLAIM 1 STREAMS {} >"),
        ("XREADGROUP MAXCOUNT", "XREADGROUP GROUP g alice MAXCOUNT 1 STREAMS {} >"),
        ("XACKDEL", "XACKDEL {} g IDS 1 1-0"),
        ("XADD MAXLEN", "XADD {} MAXLEN 5 * data x"),
    ],
)
def test_a_supported_command_is_accepted_and_any_other_is_refused(
    lab: Lab, stream: str, capability: str, command: str
) -> None:
    lab.redis.xgroup_create(stream, "g", mkstream=True)
    words = [stream if word == "{}" else word for word in command.split()]
    if supports(lab.redis, capability):
        lab.redis.execute_command(*words)
    else:
        with pytest.raises(ResponseError, match=r"unknown command|syntax error|Invalid"):
            lab.redis.execute_command(*words)


@pytest.mark.parametrize("shape", [{"protocol": 2}, {"protocol": 3}])
def test_capabilities_are_found_over_either_protocol(lab: Lab, shape: dict[str, int]) -> None:
    client = Redis(**address_of(lab), **shape)  # type: ignore[arg-type]
    assert supports(client, "XADD MAXLEN")
    assert not supports(client, "XADD WINGS")


def test_a_lab_names_what_its_server_lacks_and_where_to_get_it() -> None:
    with pytest.raises(MissingCapabilityError) as missing:
        Lab("own", needs=["XADD", "XFLY", "XADD WINGS"])
    said = str(missing.value)
    assert said.startswith("This chapter needs Redis 8.10: ")
    assert " does not support XFLY, XADD WINGS. " in said
    assert "REDISFLOW_SERVER=docker make lab" in said
    assert "\n" not in said
    assert missing.value._render_traceback_() == [said]
