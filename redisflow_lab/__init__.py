"""Redis Streams with Protocol Buffers messages: a producer, a consumer, and a laboratory.

The helper, which a service imports, needs only redis, hiredis and protobuf:

- `message`       one message, and how it is stored as bytes
- `codec`         a message type of your own instead of `Message`
- `producer`      writes messages to a stream
- `consumer`      reads them in a consumer group, and acknowledges after success
- `several_streams` does so for several streams at once, in turn
- `partitions`    does so for a stream that is spread over the shards of a cluster
- `router`        one handler for each type of message
- `dead_letters`  messages that were dead-lettered, why, and how to redrive them
- `idempotency`   idempotent effects in Redis, deduplicated by key
- `inspection`    the exact state of a stream at one moment: lag, pending entries, owners
- `retention`     removes old entries, but none that is pending
- `events`        hooks for everything that happens to a message
- `health`        what a running consumer is doing, for the probes of a service
- `metrics`       producers, consumers and streams for Prometheus; needs prometheus-client
- `otel`          producers and consumers for OpenTelemetry; needs opentelemetry-api
- `interfaces`    what a handler receives; what a producer and a consumer must do
- `signals`       SIGTERM and Ctrl-C as an event that ends a loop
- `capabilities`  which commands the connected server supports

`_internal` is what these are built from. A notebook imports `redisflow_lab.lab`.
"""

from redisflow_lab.codec import Codec, protobuf_codec
from redisflow_lab.consumer import RedisStreamConsumer
from redisflow_lab.dead_letters import DeadLetter, DeadLetters
from redisflow_lab.events import Event, Kind
from redisflow_lab.idempotency import handle_once
from redisflow_lab.interfaces import Consumer, Delivery, Handler, Producer, TransientError
from redisflow_lab.message import Message, MessageDecodeError
from redisflow_lab.producer import NotReplicatedError, RedisStreamProducer
from redisflow_lab.router import Route, Router, UnknownTypeError
from redisflow_lab.several_streams import MultiStreamConsumer
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
    "MultiStreamConsumer",
    "NotReplicatedError",
    "Producer",
    "RedisStreamConsumer",
    "RedisStreamProducer",
    "Route",
    "Router",
    "TransientError",
    "UnknownTypeError",
    "handle_once",
    "protobuf_codec",
    "stop_on_signals",
]
