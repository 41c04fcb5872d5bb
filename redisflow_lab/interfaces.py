"""What a handler receives, and the interfaces of producers and consumers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Event as ThreadEvent
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol

from redisflow_lab.message import Message

if TYPE_CHECKING:  # `Delivery` means Delivery[Message]
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Message)
else:
    from typing import TypeVar

    T = TypeVar("T")

NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})


@dataclass(slots=True)
class Delivery(Generic[T]):
    """One delivery of a message to a handler.

    entry_id:   id of the stream entry that carries it, such as "1730671200000-0"
    message:    the message, as the consumer's codec has decoded it
    deliveries: how often the entry was delivered in this group, this time included. If it is
                above 1, the effect may have happened before
    heartbeat:  renews the lease: call it in a handler that takes longer than
                `max_handler_ms`. If it returns False, another consumer has claimed the entry:
                stop working on it. It stays pending with its new owner, whether you return or
                raise
    fields:     the fields of the entry besides `data`, names and values as bytes. If a name
                occurs twice, the last value
    stream:     the stream that the entry was read from
    """

    entry_id: str
    message: T
    deliveries: int
    heartbeat: Callable[[], bool]
    fields: Mapping[bytes, bytes] = field(default_factory=lambda: NO_FIELDS)
    stream: str = ""


Handler = Callable[[Delivery[Any]], object]
"""Does the work for one delivery. Returning means done; raising leaves the entry pending."""


class TransientError(Exception):
    """Raised by a handler for an error that waiting cures, when the message is not to blame.

    For example while its database is down: `raise TransientError(...) from error`. The
    consumer waits with exponential backoff, 2 s at most, and calls the handler again with the
    same message, as often as it takes. This uses up no delivery. Meanwhile the consumer keeps
    its lease on everything in flight, and still stops when `stop` is set. An ExceptionGroup
    that contains nothing else, as asyncio tasks may raise it, counts as a TransientError. The
    `decode` of a codec may raise it too.

    A message whose handler raises it at every try blocks all later messages of this consumer.
    So raise it only for errors that affect every message.
    """


class Producer(Protocol):
    """Writes messages to a stream."""

    def publish(self, message: Message, *, key: str | None = None) -> str:
        """Write one message and return its entry id.

        key: an idempotency key. If it was published before, nothing is written, and the id of
             the first entry is returned (default: None, always write)
        """

    def publish_many(self, messages: Iterable[Message]) -> list[str]:
        """Write all messages in order, and return their entry ids in the same order."""


class Consumer(Protocol):
    """Reads messages of a stream in a consumer group."""

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Handle and acknowledge messages until `stop` is set."""


if TYPE_CHECKING:  # mypy checks here that the classes conform
    from redisflow_lab.consumer import RedisStreamConsumer
    from redisflow_lab.producer import RedisStreamProducer
    from redisflow_lab.several_streams import MultiStreamConsumer

    _producer: type[Producer] = RedisStreamProducer
    _consumer: type[Consumer] = RedisStreamConsumer
    _multi: type[Consumer] = MultiStreamConsumer
