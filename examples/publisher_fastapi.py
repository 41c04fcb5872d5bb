"""A publisher behind FastAPI: an order comes in over HTTP and is written to a stream once.

    pip install fastapi uvicorn
    REDIS_URL=redis://localhost:6379 uvicorn --app-dir examples publisher_fastapi:app

    curl -X PUT localhost:8000/orders/1001 -H 'Content-Type: application/json' \\
      -d '{"item": "Dune", "quantity": 1}'

PUT is idempotent, and so is a publish with a key: a client that got no answer, or a 503, sends
the same request again, and the order is in the stream once.
"""

import os

import redis
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis import Redis

from redisflow_lab import Message, RedisStreamProducer

app = FastAPI(title="Orders")

# Connects with the first publish. All threads may use it: each takes a connection of its own
# from the pool.
producer = RedisStreamProducer(
    Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")),
    os.environ.get("STREAM", "orders"),
)


class Order(BaseModel):
    item: str
    quantity: int = Field(ge=1)


class Accepted(BaseModel):
    entry_id: str


# `def`, not `async def`: publish blocks, so FastAPI runs it in its thread pool. In an
# `async def`, every other request would wait for Redis as well.
@app.put("/orders/{number}", status_code=202)
def put_order(number: str, order: Order) -> Accepted:
    message = Message(producer="web", content=order.model_dump_json())
    return Accepted(entry_id=producer.publish(message, key=number))


# `publish` has tried several times by now. The order may have been written or not; the key
# makes another try safe either way.
@app.exception_handler(redis.ConnectionError)
@app.exception_handler(redis.TimeoutError)
def ask_to_try_again(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        {"detail": "The order could not be stored. Send the same request again."},
        status_code=503,
        headers={"Retry-After": "5"},
    )
