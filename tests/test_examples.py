"""The examples, run as a user runs them: as programs, on real servers."""

import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from grpc_tools import protoc
from network import address_of
from redis import Redis
from sentinels import Sentinels

from redisflow_lab import DeadLetters, Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.usefixtures("process_server")


def url_of(lab: Lab) -> str:
    address = address_of(lab)
    return f"redis://:{address['password']}@{address['host']}:{address['port']}"


@pytest.fixture
def redis(own_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """A client of the server that the examples find in the environment."""
    monkeypatch.setenv("REDIS_URL", url_of(own_lab))
    return own_lab.redis


def start(log: Path, *command: str | Path) -> Child:
    return Child([sys.executable, *command], cwd=ROOT, log=log)


def output_of(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


class BillingService:
    """Answers only while `open` is set; refuses what is not for sale."""

    def __init__(self) -> None:
        self.open = Event()
        self.asked: list[str] = []
        self.billed: dict[str, str] = {}  # by idempotency key
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                order = self.rfile.read(int(self.headers["Content-Length"])).decode()
                service.asked.append(order)
                service.open.wait(30)
                if order == "nonsense":
                    self.send_error(422)
                    return
                service.billed[self.headers["Idempotency-Key"]] = order
                self.send_response(201)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                logging.debug(format, *args)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/invoices"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingService]:
    service = BillingService()
    monkeypatch.setenv("BILLING_URL", service.url)
    yield service
    service.open.set()
    service.server.shutdown()
    service.server.server_close()


def test_the_worker_service_finishes_its_order_at_sigterm_and_hands_over_the_rest(
    redis: Redis, billing: BillingService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    producer = RedisStreamProducer(redis, "orders")
    first, second, third = producer.publish_many(
        [Message("web", content) for content in ("1 x Dune", "2 x Emma", "3 x Ulysses")]
    )
    monkeypatch.setenv("CONSUMER_NAME", "billing-0")
    worker = start(tmp_path / "0.log", EXAMPLES / "worker_service.py")
    wait_until(lambda: billing.asked, "the first order is being billed", timeout_s=30)

    worker.signal(signal.SIGTERM)
    billing.open.set()
    wait_until(lambda: not worker.running, "the worker ends", timeout_s=30)

    assert worker.exit_status == 0
    assert billing.billed == {first: "1 x Dune"}
    rest = redis.xpending_range("orders", "billing", "-", "+", 10)
    assert [row["message_id"].decode() for row in rest] == [second, third]
    assert all(row["time_since_delivered"] >= 60_000 for row in rest)  # free to be claimed

    monkeypatch.setenv("CONSUMER_NAME", "billing-1")
    other = start(tmp_path / "1.log", EXAMPLES / "worker_service.py")
    wait_until(lambda: len(billing.billed) == 3, "another worker bills them", timeout_s=30)
    other.signal(signal.SIGTERM)
    wait_until(lambda: not other.running, "it ends", timeout_s=30)

    assert other.exit_status == 0
    assert redis.xpending("orders", "billing")["pending"] == 0
    assert billing.asked == ["1 x Dune", "2 x Emma", "3 x Ulysses"]
    assert "billing-1 has stopped" in (tmp_path / "1.log").read_text()


def test_the_worker_service_lists_its_dead_letters_and_writes_them_again(
    redis: Redis, billing: BillingService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    billing.open.set()
    monkeypatch.setenv("MAX_DELIVERIES", "1")
    RedisStreamProducer(redis, "orders").publish(Message("web", "nonsense"))
    worker = start(tmp_path / "log", EXAMPLES / "worker_service.py")
    letters = DeadLetters(redis, "orders")
    wait_until(lambda: len(letters), "the order is given up", timeout_s=30)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: not worker.running, "the worker ends", timeout_s=30)

    (letter,) = letters
    listed = output_of(EXAMPLES / "worker_service.py", "dead-letters")
    assert letter.letter_id in listed
    assert "HTTP Error 422" in listed

    redriven = output_of(EXAMPLES / "worker_service.py", "redrive", letter.letter_id)
    ((entry_id, _),) = redis.xrevrange("orders", count=1)
    assert f"written again as {entry_id.decode()}" in redriven
    assert len(letters) == 0


def test_a_setting_that_is_no_number_stops_the_worker_service_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_DELIVERIES", "many")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        output_of(EXAMPLES / "worker_service.py")
    assert "'many'" in failed.value.stderr


def served(log: Path) -> str:
    """The address that uvicorn says it serves, once it does."""
    said = re.compile(r"running on (http://\S+)")
    wait_until(lambda: said.search(log.read_text()), "uvicorn serves", timeout_s=30)
    found = said.search(log.read_text())
    assert found
    return found[1]


@pytest.mark.slow
def test_the_fastapi_publisher_writes_each_order_once(
    own_lab: Lab, redis: Redis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    server = start(
        log, "-m", "uvicorn", "--app-dir", EXAMPLES, "--port", "0", "publisher_fastapi:app"
    )
    with httpx.Client(base_url=served(log), timeout=30) as client:

        def put(number: int) -> str:
            answer = client.put(f"/orders/{number}", json={"item": "Dune", "quantity": 1})
            assert answer.status_code == 202
            return str(answer.json()["entry_id"])

        # Many at the same time, and each of them four times.
        with ThreadPoolExecutor(8) as threads:
            numbers = [*range(10)] * 4
            entry_ids = dict(zip(numbers, threads.map(put, numbers), strict=True))
        entries = redis.xrange("orders")
        written = {entry_id.decode() for entry_id, _ in entries}
        assert len(entries) == 10
        assert written == set(entry_ids.values())
        assert json.loads(Message.from_fields(entries[0][1]).content) == {
            "item": "Dune",
            "quantity": 1,
        }

        refused = client.put("/orders/11", json={"item": "Dune", "quantity": 0})
        assert refused.status_code == 422
        assert redis.xlen("orders") == 10

        own_lab.server.kill()
        answer = client.put("/orders/12", json={"item": "Dune", "quantity": 1})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        own_lab.server.start()
        assert put(12) not in entry_ids.values()
        assert put(3) == entry_ids[3]
        assert redis.xlen("orders") == 11
    server.signal(signal.SIGTERM)
    wait_until(lambda: not server.running, "uvicorn ends", timeout_s=30)


def test_an_own_message_type_travels_in_the_place_of_message(redis: Redis) -> None:
    said = output_of(EXAMPLES / "own_message_type" / "orders.py")
    assert "bill 2 x Dune: 23.98 (trace 4bf92f35)" in said
    assert redis.xpending("orders", "billing")["pending"] == 0
    ((_, fields),) = redis.xrange("orders")
    assert set(fields) == {b"data", b"trace"}


def test_the_module_of_the_own_message_type_is_not_stale(tmp_path: Path) -> None:
    folder = EXAMPLES / "own_message_type"
    options = [f"-I{folder}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", *options, "order.proto"]) == 0
    for name in ("order_pb2.py", "order_pb2.pyi"):
        assert (folder / name).read_text() == (tmp_path / name).read_text()


@pytest.fixture
def sentinels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sentinels]:
    sentinels = Sentinels(tmp_path)
    monkeypatch.setenv("SENTINELS", f"127.0.0.1:{sentinels.port}")
    monkeypatch.setenv("REDIS_PASSWORD", sentinels.password)
    yield sentinels
    sentinels.close()


def test_producer_and_consumer_go_on_with_the_primary_that_sentinel_names(
    sentinels: Sentinels, tmp_path: Path
) -> None:
    log = tmp_path / "consumer.log"
    consumer = start(log, EXAMPLES / "sentinel.py", "consume")
    output_of(EXAMPLES / "sentinel.py", "publish", "1001", "1 x Dune")
    wait_until(lambda: "1 x Dune" in log.read_text(), "the order is handled", timeout_s=30)

    sentinels.primary.kill()

    def published() -> bool:
        command = [sys.executable, EXAMPLES / "sentinel.py", "publish", "1002", "2 x Emma"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0

    wait_until(published, "the new primary takes the order", timeout_s=60)
    wait_until(lambda: "2 x Emma" in log.read_text(), "it is handled", timeout_s=30)
    assert consumer.running
    assert published()  # under the same key

    consumer.signal(signal.SIGTERM)
    wait_until(lambda: not consumer.running, "the consumer ends", timeout_s=30)
    assert consumer.exit_status == 0
    assert log.read_text().count("2 x Emma") == 1


def test_the_readme_of_the_examples_has_a_line_for_each() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"| [{path.name}]({path.name}) |" in readme


def test_the_probes_tell_an_outage_from_a_handler_that_hangs(
    own_lab: Lab, redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("CONSUMER_NAME", "billing-0")
    log = tmp_path / "log"
    program = start(log, EXAMPLES / "probes.py")
    try:
        wait_until(lambda: "probes at" in log.read_text(), "it listens", timeout_s=30)
        address = log.read_text().split("probes at ")[1].split()[0]

        def status(path: str) -> int:
            return httpx.get(address + path).status_code

        wait_until(lambda: status("/readyz") == 200, "it is ready", timeout_s=30)
        RedisStreamProducer(redis, "orders").publish(Message("web", "1 x Dune"))
        wait_until(lambda: "billed 1 x Dune" in log.read_text(), "billed", timeout_s=30)
        acked = "redisflow_client_acked_messages_total{"
        wait_until(lambda: acked in httpx.get(f"{address}/metrics").text, "counted")
        own_lab.server.kill()
        wait_until(lambda: status("/readyz") == 503, "it is not ready", timeout_s=30)
        assert status("/livez") == 200
        state = httpx.get(f"{address}/healthz").json()
        assert state["is_running"]
        assert state["outage_s"] > 0
        own_lab.server.start()
        wait_until(lambda: status("/readyz") == 200, "it is ready again", timeout_s=30)
        program.signal(signal.SIGTERM)
        wait_until(lambda: not program.running, "it ends", timeout_s=30)
        assert program.exit_status == 0
    finally:
        program.kill()
