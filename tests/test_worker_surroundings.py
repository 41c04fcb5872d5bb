"""A worker runs where its notebook runs, tells what it prints, shares its name with none."""

import sys
from pathlib import Path

import pytest

from redisflow_lab import Delivery, Message, RedisStreamProducer
from redisflow_lab.lab import Lab


def write_module(folder: Path) -> None:
    folder.mkdir()
    (folder / "shop.py").write_text("def price(content):\n    return len(content)\n")


def say(delivery: Delivery) -> None:
    print(delivery.message.content)  # noqa: T201


def publish(lab: Lab, stream: str, *contents: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in contents)


@pytest.fixture
def notebook_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this process works, with a module in it, as beside a notebook."""
    folder = tmp_path / "my notebooks"
    write_module(folder)
    # It would replace a module of the standard library that the process itself needs.
    (folder / "signal.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")
    return folder


def test_a_handler_imports_a_module_that_lies_beside_the_notebook(
    lab: Lab, stream: str, notebook_folder: Path
) -> None:
    client, done = lab.redis, f"{stream}:done"

    def charge(delivery: Delivery) -> None:
        from shop import price  # type: ignore[import-not-found]

        client.set(done, price(delivery.message.content))

    publish(lab, stream, "1 x Dune")
    worker = lab.worker("alice", charge, stream=stream)
    worker.wait_for("acked", 1)
    assert client.get(done) == b"8"


def test_a_handler_imports_from_a_folder_that_the_notebook_added(
    lab: Lab, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import shop

    publish(lab, stream, "1 x Dune")
    worker = lab.worker("alice", lambda d: shop.price(d.message.content), stream=stream)
    worker.wait_for("acked", 1)
    monkeypatch.delitem(sys.modules, "shop")


def test_a_handler_writes_a_relative_file_beside_the_notebook(
    lab: Lab, stream: str, notebook_folder: Path
) -> None:
    def write(delivery: Delivery) -> None:
        Path("invoices.txt").write_text(delivery.message.content)

    publish(lab, stream, "1 x Dune")
    lab.worker("alice", write, stream=stream).wait_for("acked", 1)
    assert (notebook_folder / "invoices.txt").read_text() == "1 x Dune"


def test_what_a_handler_prints_can_be_read_even_after_a_kill(lab: Lab, stream: str) -> None:
    publish(lab, stream, "1 x Dune", "1 x Emma")
    worker = lab.worker("alice", say, stream=stream, crash="before-ack", after=2)
    worker.wait_end()
    assert worker.output == "1 x Dune\n1 x Emma\n"


def test_what_a_handler_printed_can_be_read_after_the_lab_is_closed(stream: str) -> None:
    lab = Lab("own")
    publish(lab, "orders", "1 x Dune")
    worker = lab.worker("alice", say)
    worker.wait_for("acked", 1)
    assert worker.output == "1 x Dune\n"
    lab.close()
    assert worker.output == "1 x Dune\n"


def test_an_error_quotes_the_output_of_a_worker_with_escapes(lab: Lab, stream: str) -> None:
    publish(lab, stream, "\x1b[2J")
    worker = lab.worker("alice", say, stream=stream)
    worker.wait_for("acked", 1)
    with pytest.raises(TimeoutError) as late:
        worker.wait_for("failed", timeout_s=0.1)
    assert r"Its output was:" in str(late.value)
    assert r"\x1b[2J" in str(late.value)
    assert "\x1b" not in str(late.value)


def test_an_error_shows_the_name_of_a_worker_with_escapes(lab: Lab, stream: str) -> None:
    worker = lab.worker("a\x1b[2J", print, stream=stream)
    with pytest.raises(TimeoutError, match=r"a\\x1b\[2J reports") as late:
        worker.wait_for("acked", timeout_s=0.1)
    assert "\x1b" not in f"{late.value}{worker!r}"


def test_an_earlier_worker_of_the_same_name_is_ended_first(
    lab: Lab, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = lab.worker("alice", lambda _: None, stream=stream)
    lab.wait_until(lambda: lab.redis.exists(stream), "the first one has created its group")
    assert capsys.readouterr().out == ""
    second = lab.worker("alice", lambda _: None, stream=stream)
    assert first.ended
    assert capsys.readouterr().out == (
        "An earlier worker alice of the group billing was still running. It was killed, and "
        "the new one takes its place.\n"
    )
    publish(lab, stream, "1 x Dune")
    second.wait_for("acked", 1)


def test_workers_of_another_name_group_or_stream_go_on(
    lab: Lab, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = [
        lab.worker("alice", print, stream=stream),
        lab.worker("bob", print, stream=stream),
        lab.worker("alice", print, stream=stream, group="shipping"),
        lab.worker("alice", print, stream=f"{stream}:2"),
        lab.worker(None, print, stream=stream),
        lab.worker(None, print, stream=stream),
    ]
    assert not any(worker.ended for worker in workers)
    assert capsys.readouterr().out == ""


def test_a_worker_that_is_refused_leaves_the_earlier_one_running(lab: Lab, stream: str) -> None:
    first = lab.worker("alice", print, stream=stream)
    with pytest.raises(ValueError, match="crash point"):
        lab.worker("alice", print, stream=stream, crash="at noon")
    assert not first.ended


def test_an_error_of_waiting_says_what_to_try(lab: Lab, stream: str) -> None:
    worker = lab.worker("alice", print, stream=stream)
    for wait in (
        lambda: lab.wait_until(lambda: False, "never", timeout_s=0.01),
        lambda: worker.wait_for("acked", timeout_s=0.01),
        lambda: worker.wait_end(timeout_s=0.01),
    ):
        with pytest.raises(TimeoutError, match="restart the kernel, and run the notebook up"):
            wait()
