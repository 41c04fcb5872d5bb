"""A custom protobuf message type, carried as the content of a message.

    REDIS_URL=redis://localhost:6379 python examples/own_message_type/orders.py

`content` is text, so an Order travels in it as JSON, which protobuf defines for every message
type: readable in redis-cli, and by services that have no protobuf. It takes about four times
the bytes of the binary form. Generate the module after a change of `order.proto`:

    cd examples/own_message_type
    python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. order.proto
"""

import logging
import os

from google.protobuf.json_format import MessageToJson, Parse
from order_pb2 import Order
from redis import Redis

from redisflow_lab import Delivery, Message, RedisStreamConsumer, RedisStreamProducer

log = logging.getLogger("orders")


def to_message(order: Order) -> Message:
    # Zeros are written, too: a reader in another language sees every field.
    content = MessageToJson(order, indent=None, always_print_fields_with_no_presence=True)
    return Message(producer="shop", content=content)


def order_of(message: Message) -> Order:
    """The Order in a message. Raises ParseError if the content is none.

    In a handler that is a failure like any other: the message is tried again, and at last
    goes to the dead letters, with the reason. Fields that a newer producer has added are
    ignored, as they are in the binary form.
    """
    return Parse(message.content, Order(), ignore_unknown_fields=True)


def bill(delivery: Delivery) -> None:
    order = order_of(delivery.message)
    log.info("bill %d x %s: %.2f", order.quantity, order.item, order.total_cents / 100)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))

    order = Order(number="1001", item="Dune", quantity=2, total_cents=2_398)
    RedisStreamProducer(redis, "orders").publish(to_message(order), key=order.number)

    consumer = RedisStreamConsumer(redis, "orders", "billing", "billing-0")
    consumer.ensure_group()
    consumer.read_new(bill)


if __name__ == "__main__":
    main()
