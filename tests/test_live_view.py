"""The live view: its buttons make the calls of cells, and it draws ten times a second."""

import gc
import json
from time import monotonic

import psutil
import pytest

from redisflow_lab import Message
from redisflow_lab.lab import Lab
from redisflow_lab.lab.views.live_view import LiveView
from redisflow_lab.lab.views.steering import Steering, handle_slowly
from redisflow_lab.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("process_server")


@pytest.fixture
def steering(own_lab: Lab) -> Steering:
    return Steering(own_lab, "orders", "billing", handle_slowly)


def offered(steering: Steering) -> list[str]:
    """The texts of the buttons that apply."""
    return [button.text for button in steering.buttons() if button.applies]


def test_the_buttons_do_what_their_calls_say(own_lab: Lab, steering: Steering) -> None:
    for _ in range(4):
        steering.press("publish")
    assert own_lab.redis.xlen("orders") == 4
    steering.press("start alice")
    [alice] = own_lab.running_workers()
    alice.wait_for("delivered", 3)
    assert {"Kill alice", "Start bob", "Let carol claim"} <= {*offered(steering)}
    assert "Start alice" not in offered(steering)
    steering.press("kill alice")
    assert alice.ended
    assert "Kill alice" not in offered(steering)
    steering.press("claim")
    assert steering.told[-1].endswith("no pending entry has been idle for a minute")
    steering.press("age")
    steering.press("claim")
    assert {*own_lab.pending()["consumer"]} == {"carol"}
    steering.press("kill server")
    steering.press("start server")
    assert {*own_lab.pending()["consumer"]} == {"carol"}
    assert [line.split("\n")[0] for line in steering.told[4:]] == [
        '> lab.worker("alice", handle)',
        "> alice.kill()",
        '> r.xautoclaim(orders, "billing", "carol", 60000)',
        "> lab.age()",
        '> r.xautoclaim(orders, "billing", "carol", 60000)',
        "> lab.server.kill()",
        "> lab.server.start()",
    ]


def test_each_button_keeps_its_place_and_its_text(own_lab: Lab, steering: Steering) -> None:
    def places() -> list[tuple[int, str]]:
        return [(button.row, button.text) for button in steering.buttons()]

    before = places()
    own_lab.worker("dave", handle_slowly)
    own_lab.redis.xadd("orders", {"data": "x"})
    for press in ("start alice", "start bob", "kill alice", "kill dave"):
        steering.press(press)
        assert places() == [*before, (1, "Kill dave")]
    assert "Kill dave" not in offered(steering)


def test_the_server_is_killed_while_it_is_up_and_started_while_it_is_down(
    own_lab: Lab, steering: Steering
) -> None:
    def of_the_server() -> list[str]:
        return [text for text in offered(steering) if text.endswith("server")]

    assert of_the_server() == ["Kill the server"]
    steering.press("start server")
    assert steering.told == []
    steering.press("kill server")
    assert of_the_server() == ["Start the server"]
    own_lab.server.start()
    assert of_the_server() == ["Kill the server"]


def test_what_the_buttons_said_names_an_entry_as_its_cell_names_it(own_lab: Lab) -> None:
    view = own_lab.live()
    view._pressed(None, {"press": "publish"}, None)
    assert view._widget.told == ["> producer.publish(order)\n  #1"]
    [label] = [shape[4] for name, shape in view._widget.frame.items() if name.startswith("id ")]
    assert label == "#1"
    view.close()


def test_what_cannot_be_done_is_told_and_ends_nothing(own_lab: Lab, steering: Steering) -> None:
    steering.press("age")
    assert "NoSuchStreamError: no stream 'orders'" in steering.told[-1]
    own_lab.server.kill()
    steering.press("publish")
    assert "ConnectionError" in steering.told[-1]
    steering.press("no such button")


def test_a_shared_server_has_no_button_that_kills_it(lab: Lab, stream: str) -> None:
    texts = offered(Steering(lab, stream, "billing", handle_slowly))
    assert ("Kill the server" in texts) == (not lab.server.prefix)


def drawn_in_a_second(view: LiveView) -> int:
    began, before = monotonic(), view.drawn
    wait_until(lambda: monotonic() >= began + 1, "a second has passed")
    return view.drawn - before


def shown(view: LiveView) -> None:
    view._ipython_display_()


def test_it_is_drawn_at_least_ten_times_a_second(own_lab: Lab) -> None:
    own_lab.redis.xadd("orders", {"data": "x"}, id="1-0")
    view = own_lab.live()
    shown(view)
    # In one of ten seconds: this machine may be busy with other tests.
    assert any(drawn_in_a_second(view) >= 10 for _ in range(10))
    view.close()


def test_it_says_the_same_as_the_server_and_what_happened_last(own_lab: Lab) -> None:
    fields = Message("web", "1 x Dune").to_fields()
    view = own_lab.live()
    shown(view)
    own_lab.redis.xadd("orders", fields, id="1-0")  # type: ignore[arg-type]
    own_lab.redis.xgroup_create("orders", "billing", id="0")
    own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"})
    widget = view._widget
    wait_until(lambda: "1-0 pending with alice" in widget.words, "alice owns it")
    assert widget.frame["deliveries 1-0"][4] == "1 x"
    assert widget.caption.startswith("XREADGROUP GROUP billing alice")
    json.dumps(widget.get_state(["frame", "buttons", "told"]))
    view.close()


def test_an_arc_stays_when_a_command_changes_nothing(own_lab: Lab) -> None:
    """As when the recorder sees a claim before its reply, and the reply keeps a moment more."""
    view = own_lab.live()
    own_lab.redis.xadd("orders", {"data": b""}, id="1-0")
    own_lab.redis.xgroup_create("orders", "billing", id="0")
    own_lab.redis.xreadgroup("billing", "alice", {"orders": ">"})
    own_lab.redis.xclaim("orders", "billing", "bob", 0, ["1-0"])
    own_lab.redis.xack("orders", "billing", "9-9")

    def drawn() -> str:
        view._draw()
        return str(view._widget.caption)

    own_lab.wait_until(lambda: drawn().startswith("XACK orders billing 9-9"), "it is drawn")
    assert "arc 1-0" in view._widget.frame


def test_a_second_view_of_a_stream_ends_the_first(own_lab: Lab) -> None:
    first, second = own_lab.live(), None
    shown(first)
    second = own_lab.live()
    shown(second)
    drawn = first.drawn
    wait_until(lambda: second.drawn > 5, "the second one is drawn")
    assert first.drawn == drawn


def test_it_may_be_shown_twice_and_a_button_of_a_closed_lab_does_nothing() -> None:
    lab = Lab("own")
    view = lab.live()
    shown(view)
    shown(view)
    lab.close()
    view._pressed(None, {"press": "publish"}, None)
    assert view._steering.told == []


def test_without_the_widget_a_picture_takes_its_place(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("redisflow_lab.lab.views.live_view.find_spec", lambda _: None)
    own_lab.redis.xadd("orders", {"data": "x"}, id="1-0")
    view = own_lab.live()
    shown(view)
    assert "1-0 not delivered" in capsys.readouterr().out
    wait_until(lambda: view.drawn > 2, "it is drawn again")
    view.close()


def test_a_lab_that_is_forgotten_ends_its_server_in_spite_of_a_view() -> None:
    lab = Lab("own")
    pid = lab.server.pid  # type: ignore[attr-defined]
    view = lab.live()
    shown(view)
    lab.redis.xadd("orders", {"data": "x"})
    lab.replay()
    del lab
    gc.collect()
    wait_until(lambda: ended(pid), "the server has ended")
    wait_until(lambda: not view._thread.is_alive(), "nothing draws")


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
