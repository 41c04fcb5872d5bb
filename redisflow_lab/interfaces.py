"""What a handler receives, and what a producer and a consumer must do to be replaceable."""

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
    message:    the message: what the consumer's codec has decoded
    deliveries: how often the entry was delivered in this group, this time included. Above 1,
                its effect may have happened before
    heartbeat:  renews the lease: call it from a handler that takes longer than
                `max_handler_ms`. Returns False if another consumer has claimed the entry; then
                stop working on it. It stays pending with its new owner, whether you return or
                raise
    fields:     the other fields of the entry, beside `data`: names and values, as bytes. Of a
                name that is there twice, the last
    """

    entry_id: str
    message: T
    deliveries: int
    heartbeat: Callable[[], bool]
    fields: Mapping[bytes, bytes] = field(default_factory=lambda: NO_FIELDS)


Handler = Callable[[Delivery[Any]], object]
"""Does the work. Returning means done; raising leaves the entry pending."""


class TransientError(Exception):
    """Raised by a handler when the message is not to blame, and waiting cures the trouble.

    For example while its database is down: `raise TransientError(...) from error`. The
    consumer waits with exponential backoff, 2 s at most, and calls the handler again with the
    same message, as often as it takes. That uses up no delivery. Meanwhile the consumer keeps
    everything it has in flight, and stops when it is told to. An ExceptionGroup in which
    there is nothing else, as tasks of asyncio raise it, counts as one. The `decode` of a codec
    may raise it too.

    A message that raises it at every try holds up all that come after it in this consumer. So
    raise it only for what affects every message.
    """


class Producer(Protocol):
    """Writes messages to a stream."""

    def publish(self, message: Message, *, key: str | None = None) -> str:
        """Write one message and return its entry id.

        key: an idempotency key: a message whose key was published before is not written
             again, and the id of the first entry is returned (default: None, always write)
        """

    def publish_many(self, messages: Iterable[Message]) -> list[str]:
        """Write all messages in order and return their entry ids in the same order."""


class Consumer(Protocol):
    """Reads messages of a stream on behalf of a group."""

    def run(self, handler: Handler, *, stop: ThreadEvent) -> None:
        """Handle and acknowledge messages until `stop` is set."""


if TYPE_CHECKING:  # mypy checks here that the classes conform
    from redisflow_lab.consumer import RedisStreamConsumer
    from redisflow_lab.producer import RedisStreamProducer

    _producer: type[Producer] = RedisStreamProducer
    _consumer: type[Consumer] = RedisStreamConsumer
