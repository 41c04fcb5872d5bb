"""Bad arguments of a consumer: one error that names the value, before a message is read."""

import pytest
import redis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster

from redisflow_lab import DeadLetters, RedisStreamConsumer, RedisStreamProducer
from redisflow_lab.lab import Lab


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"stream": ""}, ValueError, "stream is blank: ''"),
        ({"group": "  "}, ValueError, "group is blank"),
        ({"name": ""}, ValueError, "name is blank"),
        ({"name": 7}, TypeError, "name must be a str, not int: 7"),
        ({"batch": 0}, ValueError, "batch must be at least 1, not 0"),
        ({"ack_every": True}, TypeError, "ack_every must be an int, not bool"),
        ({"block_ms": 0.5}, TypeError, "block_ms must be an int, not float: 0.5"),
        ({"max_deliveries": 0}, ValueError, "max_deliveries must be at least 1, not 0"),
        ({"min_idle_ms": 0}, ValueError, "min_idle_ms must be at least 1, not 0"),
        ({"max_handler_ms": 60_000}, ValueError, "max_handler_ms.*60000|60000.*max_handler_ms"),
        ({"dead_stream": "messages"}, ValueError, "dead_stream is the stream itself"),
        ({"dead_stream": " "}, ValueError, "dead_stream is blank"),
    ],
)
def test_a_bad_argument_is_refused_by_name(
    lab: Lab, arguments: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        RedisStreamConsumer(lab.redis, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [{"batch": 0}, {"block_ms": 0}, {"ack_every": -1}, {"name": " "}], ids=str
)
def test_a_bad_argument_creates_no_group(lab: Lab, stream: str, bad: dict[str, object]) -> None:
    lab.redis.xadd(stream, {"data": "x"})
    with pytest.raises(ValueError, match=next(iter(bad))):
        RedisStreamConsumer(lab.redis, stream, "billing", **bad)  # type: ignore[arg-type]
    assert lab.redis.xinfo_groups(stream) == []


@pytest.mark.parametrize(
    ("kind", "named", "way_out"),
    [
        (redis.asyncio.Redis, r"redis\.asyncio\.client\.Redis", "asyncio.to_thread"),
        (AsyncRedisCluster, r"redis\.asyncio\.cluster\.RedisCluster", "asyncio.to_thread"),
        (redis.ConnectionPool, r"redis\.connection\.ConnectionPool", "from_url"),
        (str, r"str\.", "from_url"),
        (type(None), r"NoneType\.", "from_url"),
    ],
)
@pytest.mark.parametrize("user", [RedisStreamConsumer, RedisStreamProducer, DeadLetters])
def test_what_is_not_a_synchronous_client_of_one_server_is_refused_by_name(
    user: type[object], kind: type[object], named: str, way_out: str
) -> None:
    client = kind.__new__(kind)  # a cluster would look for its nodes
    with pytest.raises(TypeError, match=f"not {named}.*{way_out}"):
        user(client, "orders")  # type: ignore[call-arg]
