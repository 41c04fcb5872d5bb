"""Redis Streams with Protocol Buffers messages: a producer, a consumer, and a laboratory.

The helper, which a service can use, needs only redis, hiredis and protobuf:

- `message`       one message, and the bytes it travels as
- `codec`         a message type of your own in its place
- `producer`      writes messages to a stream
- `consumer`      reads them for a group, and acknowledges after success
- `dead_letters`  messages that could not be handled, why, and how to redrive them
- `idempotency`   effects that happen once, however often a message is delivered
- `inspection`    what the server says of a stream at one moment: the exact lag, who owns what
- `retention`     removes old entries, but none that is pending
- `events`        everything that happens to a message, through one hook
- `interfaces`    what a handler receives; what a producer and a consumer must do
- `signals`       SIGTERM and Ctrl-C as an event that ends a loop
- `capabilities`  which commands the connected server supports

`_internal` is its plumbing. Everything that a notebook needs is below `redisflow_lab.lab`.
"""

from redisflow_lab.codec import Codec, protobuf_codec
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.dead_letters import DeadLetter, DeadLetters
from redisflow_lab.events import Event, Kind
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Consumer, Delivery, Handler, Producer, TransientError
from redisflow_lab.message import Message, MessageDecodeError
from redisflow_lab.producer import RedisStreamProducer
from redisflow_lab.signals import stop_on_signals

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "Consumer",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Event",
    "Handler",
    "Kind",
    "Message",
    "MessageDecodeError",
    "Producer",
    "RedisStreamConsumer",
    "RedisStreamProducer",
    "TransientError",
    "handle_once",
    "protobuf_codec",
    "stop_on_signals",
]
