"""Redis Streams with Protocol Buffers messages, and a laboratory to break them in.

The ground floor, which a service can use, needs only redis, hiredis and protobuf:

- `message`       one message, and the bytes it travels as
- `producer`      writes messages to a stream
- `consumer`      reads them in a group, and acknowledges what was handled
- `handling`      what the consumer does with a message it was given
- `dead_letters`  what was given up, why, and how it comes back
- `idempotency`   a side effect that happens once, however often its message is delivered
- `interfaces`    what a replacement of either must do
- `events`        everything that happens to a message, through one hook
- `connection`    the one client configuration both use
- `wire`          many commands in one round trip
- `trouble`       what passes by itself, and how the consumer sits it out
- `signals`       SIGTERM and Ctrl-C as an event that ends its loop
- `capabilities`  what the connected server can do

The upper floor, the laboratory, is imported as `redisflow_lab.lab`.
"""

from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.dead_letters import DeadLetter, DeadLetters
from redisflow_lab.events import Event, Kind
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Consumer, Delivery, Handler, Producer
from redisflow_lab.message import Message, MessageDecodeError
from redisflow_lab.producer import RedisStreamProducer
from redisflow_lab.signals import stop_on_signals

__version__ = "0.1.0"

__all__ = [
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
    "handle_once",
    "stop_on_signals",
]
