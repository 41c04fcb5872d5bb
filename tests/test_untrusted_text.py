"""Names and contents that others wrote are shown escaped and cut, and never change a screen."""

import os
from collections.abc import Callable
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from consumers import NewConsumer, Publish

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError

CLEAR_SCREEN = "\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 x Dune", "1 x Dune"),
        ("9 €, Čapek, 本, 👩‍🚀", "9 €, Čapek, 本, 👩‍🚀"),
        (CLEAR_SCREEN, r"\x1b[2J"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202eevil", r"\u202eevil"),
        ("a\u2028b", r"a\u2028b"),
        ("\x9b2J", r"\x9b2J"),
        ("\udcff", r"\udcff"),
        ("x" * 300, "x" * 200 + "… (300 characters)"),
        ("\n" * 300, r"\n" * 200 + "… (300 characters)"),
    ],
)
def test_text_is_escaped_and_cut(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_tables_show_names_escaped_and_cut(lab: Lab, stream: str) -> None:
    group, consumer = f"billing{CLEAR_SCREEN}\nforged", CLEAR_SCREEN + "x" * 5_000_000
    lab.redis.xgroup_create(stream, group, id="0", mkstream=True)
    lab.redis.xadd(stream, {"data": b""})
    lab.redis.xreadgroup(group, consumer, {stream: ">"})
    for table in (
        lab.groups(stream),
        lab.consumers(stream, group),
        lab.pending(stream, group),
        lab.pending(stream, group).set_index("consumer"),
        lab.pending(stream, group).set_index("consumer").T,
    ):
        for shown in (repr(table), table._repr_html_()):
            assert r"\x1b[2J" in shown
            assert "\x1b" not in shown
            assert "\nforged" not in shown
            assert len(shown) < 3_000
    assert list(lab.pending(stream, group)["consumer"]) == [consumer]  # the data is whole


def test_errors_show_names_escaped_and_cut(lab: Lab, stream: str) -> None:
    name = f"{stream}{CLEAR_SCREEN}\n" + "x" * 100_000
    lab.redis.xadd(stream, {"data": b""})
    for look in (
        lambda: lab.stream(name),
        lambda: lab.pending(stream, name),
        lambda: lab.consumers(stream, name),
        lambda: lab.change(stream, name).__enter__(),
    ):
        with pytest.raises(Exception, match=r"no (stream|group)") as missing:
            look()
        assert "\x1b" not in str(missing.value)
        assert "\n" not in str(missing.value)
        assert len(str(missing.value)) < 1_000


@pytest.mark.usefixtures("process_server")
def test_the_output_of_a_server_is_quoted_with_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec echo 'Redis server v=7.2.0'\n"
        "printf 'no such luck \\033[2J\\n'\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("REDISFLOW_SERVER", "path")
    with pytest.raises(ServerError, match=r"no such luck \\x1b\[2J") as refused:
        Lab()
    assert "\x1b" not in str(refused.value)


def test_the_reply_of_a_server_that_is_named_by_url_is_quoted_with_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No real server sends such a reply, so a socket gives it."""

    class Answering(StreamRequestHandler):
        def handle(self) -> None:
            while self.connection.recv(65_536):
                self.wfile.write(b"-ERR go away \x1b[2J" + b"x" * 5_000 + b"\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("REDISFLOW_URL", f"redis://127.0.0.1:{server.server_address[1]}")
        monkeypatch.delenv("REDISFLOW_SERVER", raising=False)
        with pytest.raises(ServerError, match=r"go away \\x1b\[2J") as refused:
            Lab()
        server.shutdown()
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 1_000


def with_note(text: str) -> Exception:
    error = ValueError("a")
    error.add_note(f"  {text}")
    return error


@pytest.mark.parametrize("in_hook", [True, False], ids=["of a hook", "of a handler"])
@pytest.mark.parametrize(
    "make",
    [
        ValueError,
        with_note,
        lambda text: ExceptionGroup(text, [ValueError(text)]),
        lambda text: SyntaxError(text, ("a.py", 1, 1, f"  {text}")),
    ],
    ids=["an error", "a note", "a group", "source text"],
)
def test_a_traceback_forges_no_line_and_changes_no_screen(
    publish: Publish,
    consumer: NewConsumer,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[str], Exception],
    in_hook: bool,
) -> None:
    publish("0")
    error = make(f"{CLEAR_SCREEN}\nFORGED line")

    def fail(_: object) -> None:
        raise error

    consumer(on_event=fail if in_hook else None).read_new((lambda _: None) if in_hook else fail)
    assert "in fail" in caplog.text
    assert CLEAR_SCREEN not in caplog.text
    assert not any(line.startswith("FORGED") for line in caplog.text.splitlines())
