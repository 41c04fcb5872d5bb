"""The one way in which the lab connects to a server, its own or yours."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S = 5.0
"""How long a client waits for a reply before it raises redis.TimeoutError, in seconds."""


def connect(url: str) -> Redis:
    """A client for the server at `url` (redis://, rediss:// or unix://). It connects when used.

    - It returns bytes: a serialized message is not text.
    - It does not retry, unlike redis-py's default of ten retries: a command whose reply was
      lost would be sent twice, and a lesson about a killed server would not see the error.
    - It waits 5 s for a reply, so that a cell does not hang on a server that is silent.

    Options in the query of `url` win over these. Raises ValueError if `url` is malformed.
    """
    return Redis.from_url(
        url,
        decode_responses=False,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=SOCKET_TIMEOUT_S,
    )
