"""The live view: what it samples, what is marked, and what it leaves behind."""

import base64

from consumers import Publish, numbered
from idle import deliver_to

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.live import Watch


def test_a_sample_has_one_row_for_each_group(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "abc")
    for group in ("audit", "billing"):
        lab.redis.xgroup_create(stream, group, id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    watch = Watch(lab.redis, stream)
    watch.sample()
    rows = watch.samples[["group", "length", "lag", "pending"]].values.tolist()
    assert rows == [["audit", 3, 3, 0], ["billing", 3, 1, 2]]


def test_an_unknown_lag_is_sampled_as_unknown(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "abc")
    middle, last = (entry_id for entry_id, _ in lab.redis.xrange(stream)[1:])
    lab.redis.xgroup_create(stream, "billing", id=middle)
    lab.redis.xdel(stream, last)
    lab.redis.xadd(stream, {"data": b""})
    watch = Watch(lab.redis, stream)
    watch.sample()
    lag = lab.groups(stream)["lag"]
    assert watch.samples["lag"].isna().tolist() == lag.isna().tolist()
    assert watch.plot().png.startswith(b"\x89PNG")


def test_a_watch_takes_samples_while_its_block_runs(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    with lab.watch(stream) as watch:
        lab.wait_until(lambda: len(watch.samples) >= 3, "three samples are taken")
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "a"))
        lab.wait_until(lambda: watch.samples["lag"].max() == 1, "the new entry is sampled")
    settled = len(watch.samples)
    assert watch.samples["lag"].iloc[-1] == 1
    assert len(watch.samples) == settled


def test_a_watch_may_begin_before_the_stream_exists(lab: Lab, stream: str) -> None:
    with lab.watch(stream) as watch:
        lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    assert watch.samples["length"].iloc[-1] == 0


def test_a_killed_server_leaves_a_gap_and_the_watch_goes_on(own_lab: Lab) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.wait_until(lambda: len(watch.samples) > 0, "a sample is taken")
        own_lab.server.kill()
        before = len(watch.samples)
        own_lab.server.start()
        RedisStreamProducer(own_lab.redis, "orders").publish(Message("web", "a"))
        own_lab.wait_until(
            lambda: len(watch.samples) > before and watch.samples["lag"].iloc[-1] == 1,
            "samples are taken again",
        )


def test_a_watch_ends_without_an_error_when_the_server_is_down(own_lab: Lab) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.wait_until(lambda: len(watch.samples) > 0, "a sample is taken")
        own_lab.server.kill()
    assert "the server is down" in watch._html().data


def test_an_error_in_the_block_ends_the_watch_and_is_raised(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    try:
        with lab.watch(stream) as watch:
            raise OSError("my own mistake")
    except OSError as error:
        seen = str(error)
    assert seen == "my own mistake"
    assert watch._over.is_set()


def test_marks_are_kept_in_order_and_named_in_the_alt_text(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    watch = Watch(lab.redis, stream)
    watch.mark("alice stopped")
    watch.mark("alice restarted")
    assert list(watch.marks["text"]) == ["alice stopped", "alice restarted"]
    assert watch.marks["t_s"].is_monotonic_increasing
    assert len(watch.samples) == 2  # each mark takes a sample
    name = without_prefix(stream)
    assert watch.plot().alt == (
        f"Lag and pending of {name}. billing: lag up to 0, in the end 0; pending in the "
        "end 0. Marked: alice stopped; alice restarted."
    )


def test_a_picture_has_its_alt_text_in_every_representation(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "<b>", id="0", mkstream=True)
    watch = Watch(lab.redis, stream)
    watch.sample()
    picture = watch.plot()
    data, metadata = picture._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == picture.png
    assert metadata["image/png"]["alt"] == data["text/plain"] == repr(picture) == picture.alt
    assert "&lt;b&gt;: lag up to 0" in picture.to_html()
    assert "<b>" not in picture.to_html()


def test_a_mark_can_be_set_while_the_server_is_down(own_lab: Lab) -> None:
    own_lab.redis.xgroup_create("orders", "billing", id="0", mkstream=True)
    with own_lab.watch("orders") as watch:
        own_lab.server.kill()
        watch.mark("server killed")
        own_lab.server.start()
    assert list(watch.marks["text"]) == ["server killed"]


def test_a_watch_keeps_its_samples_and_its_marks(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish(*numbered(5))
    lab.redis.xgroup_create(stream, "billing", id="0")
    first, _ = deliver_to(lab, stream, "alice", 2)
    lab.redis.xack(stream, "billing", first)
    with lab.watch(stream) as watch:
        watch.mark("before")
        publish("6")
        watch.mark("written")
    samples = watch.samples
    assert list(samples.columns) == ["t_s", "group", "length", "lag", "pending"]
    assert samples[["length", "lag", "pending"]].iloc[-1].tolist() == [6, 4, 1]
    assert samples["t_s"].is_monotonic_increasing
    assert list(watch.marks["text"]) == ["before", "written"]
    assert "billing: lag up to 4, in the end 4" in watch.plot().alt


def test_a_watch_of_a_missing_stream_is_empty(lab: Lab) -> None:
    watch = Watch(lab.redis, lab.key("no such stream"))
    watch.sample()
    assert watch.samples.empty
    assert watch.plot().png.startswith(b"\x89PNG")
