"""Router: one handler for each type of message in a stream.

    router = Router(
        {"order.placed": place, "stock.counted": Route(count, protobuf_codec(StockCount))}
    )
    consumer.run(router, stop=stop)

The type of a message is in the field `type` of its entry, beside `data`; see `message.TYPE`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redisflow_lab._internal.checks import check_name
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.user_code import check_handler
from redisflow_lab.codec import Codec, check_codec, decoder_of
from redisflow_lab.interfaces import Delivery, Handler
from redisflow_lab.message import TYPE

T = TypeVar("T")
Decode = Callable[[bytes], Any]

_MAX_NAMED = 20


class UnknownTypeError(LookupError):
    """Raised by a `Router` for a message of a type that it has no handler for.

    A consumer dead-letters the message at once, with the reason `unknown-type`.
    """


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """A handler of one type whose messages have a codec of their own.

    handler: called with deliveries whose `message` the codec has decoded
    codec:   is used for this type instead of the consumer's
    """

    handler: Callable[[Delivery[T]], object]
    codec: Codec[T]


class Router:
    """A handler that passes each delivery to the handler of its type.

    handlers: the handler of each type, or a `Route` if the type has a codec of its own. A
              type that this group does not need has a handler that does nothing: one that is
              left out is unknown
    untyped:  the handler of entries without a type (default: None, their type is unknown)

    Give it to any consumer in place of a handler. A message of an unknown type is
    dead-lettered at its first delivery, and the next one is handled. Its dead letter keeps
    all fields: redrive it when a consumer with its handler is deployed.

    Give the router itself to the consumer. Inside a function that calls it, the codecs of
    its routes are not used: wrap the handlers instead.
    """

    def __init__(
        self, handlers: Mapping[str, Handler | Route[Any]], *, untyped: Handler | None = None
    ) -> None:
        if not isinstance(handlers, Mapping):
            raise TypeError(
                "handlers must be a mapping from types to handlers, such as "
                f"{{'order.placed': place}}, not {type(handlers).__name__}: {handlers!r:.80}"
            )
        if not handlers and untyped is None:
            raise ValueError("handlers is empty: a router needs a handler for each type")
        self._handlers: dict[bytes | None, Handler] = {}
        self._decoders: dict[bytes | None, Decode] = {}
        for name, handler in handlers.items():
            key = check_name("type", name).encode()
            if isinstance(handler, Route):
                check_codec(handler.codec)
                self._decoders[key] = decoder_of(handler.codec)
                handler = handler.handler
            self._handlers[key] = _checked(handler)
        if untyped is not None:
            self._handlers[None] = _checked(untyped)

    def __call__(self, delivery: Delivery[Any]) -> object:
        """Call the handler of its type. Raises UnknownTypeError if there is none."""
        return self._handler_of(delivery.fields)(delivery)

    def decoder_of(self, fields: Mapping[bytes, bytes], otherwise: Decode) -> Decode:
        """What decodes an entry with these fields; `otherwise` if its type has no own codec.

        Raises UnknownTypeError if there is no handler of its type.
        """
        self._handler_of(fields)
        return self._decoders.get(fields.get(TYPE), otherwise)

    def _handler_of(self, fields: Mapping[bytes, bytes]) -> Handler:
        try:
            return self._handlers[fields.get(TYPE)]
        except KeyError:
            raise UnknownTypeError(self._unknown(fields.get(TYPE))) from None

    def _unknown(self, name: bytes | None) -> str:
        known = [_shown(each) for each in self._handlers if each is not None]
        more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
        handled = ", ".join(known[:_MAX_NAMED]) + more or "only entries without a type"
        unknown = "the entry has no type" if name is None else f"unknown type {_shown(name)}"
        return f"{unknown}; this consumer handles {handled}"


def _checked(handler: Handler) -> Handler:
    if isinstance(handler, Router):
        raise TypeError(
            "the handler of a type is a Router, which would choose by the same type again. Put "
            "its handlers into this router"
        )
    check_handler(handler)
    return handler


def _shown(name: bytes) -> str:
    return f"'{printable(name.decode(errors='backslashreplace'), 100)}'"
