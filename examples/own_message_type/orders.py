"""A protobuf message type of your own, in the place of `Message`.

    REDIS_URL=redis://localhost:6379 python examples/own_message_type/orders.py

Producer and consumer get the same codec. Generate the module after a change of `order.proto`:

    cd examples/own_message_type
    python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. order.proto
"""

import logging
import os

from order_pb2 import Order
from redis import Redis

from redisflow_lab import (
    Delivery,
    RedisStreamConsumer,
    RedisStreamProducer,
    protobuf_codec,
)

log = logging.getLogger("orders")

CODEC = protobuf_codec(Order)


def bill(delivery: Delivery[Order]) -> None:
    order = delivery.message
    if not order.number:  # protobuf reads many other bytes as an order without any value
        raise ValueError(f"entry {delivery.entry_id} is an order without a number")
    trace = delivery.fields.get(b"trace", b"-").decode()
    log.info(
        "bill %d x %s: %.2f (trace %s)",
        order.quantity, order.item, order.total_cents / 100, trace,
    )  # fmt: skip


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))

    order = Order(number="1001", item="Dune", quantity=2, total_cents=2_398)
    producer = RedisStreamProducer(redis, "orders", codec=CODEC)
    producer.publish(order, key=order.number, fields={"trace": "4bf92f35"})

    consumer = RedisStreamConsumer(redis, "orders", "billing", "billing-0", codec=CODEC)
    consumer.ensure_group()
    consumer.read_new(bill)


if __name__ == "__main__":
    main()
