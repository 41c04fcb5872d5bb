"""Tables, the watch and the pictures: right numbers, units, and words for every figure."""

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.views.live import Watch


def fill(lab: Lab, stream: str) -> None:
    """Five entries; two delivered to alice, one of those acknowledged."""
    for number in range(1, 6):
        lab.redis.xadd(stream, Message("web", str(number)).to_fields(), id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=2)
    lab.redis.xack(stream, "billing", "1-0")


def test_tables_say_what_redis_says(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    name = without_prefix(stream)
    assert lab.stream(stream).to_dict("records") == [
        {"stream": name, "length": 5, "first_id": "1-0", "last_id": "5-0", "groups": 1}
    ]
    assert lab.groups(stream).to_dict("records") == [
        {
            "group": "billing",
            "consumers": 1,
            "pending": 1,
            "last_delivered_id": "2-0",
            "lag": 3,
        }
    ]
    consumers = lab.consumers(stream)
    assert consumers[["consumer", "pending"]].values.tolist() == [["alice", 1]]
    pending = lab.pending(stream)
    assert pending[["entry_id", "consumer", "deliveries"]].values.tolist() == [
        ["2-0", "alice", 1]
    ]
    assert 0 <= pending["idle_ms"][0] < 60_000


def test_the_largest_delivery_counts_add_up(lab: Lab, stream: str) -> None:
    """XNACK FATAL sets such a count; two of them are more than 64 bits hold."""
    fill(lab, stream)
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=1)
    most = 2**63 - 1
    lab.redis.xclaim(
        stream, "billing", "alice", 0, ["2-0", "3-0"], retrycount=most, justid=True
    )
    with lab.change(stream) as change:
        pass
    assert change.iloc[-1].tolist() == [
        "deliveries of pending",
        f"{2 * most}",
        f"{2 * most}",
        "0",
    ]


def test_a_lag_that_cannot_be_true_is_unknown(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    lab.redis.xgroup_create(stream, "middle", id="3-0")
    lab.redis.xdel(stream, "4-0")
    groups = lab.groups(stream).set_index("group")
    assert groups["lag"].isna()["middle"]
    assert "unknown" in repr(lab.groups(stream))
    assert "unknown" in lab.groups(stream)._repr_html_()


def test_times_carry_their_unit_and_one_width(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    table = lab.pending(stream)
    widths = []
    for idle in (1, 12_345):
        table["idle_ms"] = idle
        assert f"{idle} ms" in repr(table)
        assert f"{idle} ms" in table._repr_html_()
        widths.append([len(line) for line in repr(table).splitlines()])
    assert widths[0] == widths[1]


def test_change_shows_was_now_and_the_difference(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    with lab.change(stream, "billing") as change:
        lab.redis.xack(stream, "billing", "2-0")
        lab.redis.xadd(stream, Message("web", "6").to_fields(), id="6-0")
    assert change.to_numpy().tolist() == [
        ["length", "5", "6", "+1"],
        ["last delivered id", "2-0", "2-0", ""],
        ["lag", "3", "4", "+1"],
        ["pending", "1", "0", "-1"],
        ["deliveries of pending", "1", "0", "-1"],
    ]


def test_a_watch_keeps_its_samples_and_its_marks(lab: Lab, stream: str) -> None:
    fill(lab, stream)
    with lab.watch(stream) as watch:
        watch.mark("before")
        RedisStreamProducer(lab.redis, stream).publish(Message("web", "6"))
        watch.mark("written")
    samples = watch.samples
    assert list(samples.columns) == ["t_s", "group", "length", "lag", "pending"]
    assert samples[["length", "lag", "pending"]].iloc[-1].tolist() == [6, 4, 1]
    assert samples["t_s"].is_monotonic_increasing
    assert list(watch.marks["text"]) == ["before", "written"]
    assert "billing: lag up to 4, in the end 4" in watch.plot().alt


def test_a_watch_of_nothing_is_empty(lab: Lab) -> None:
    watch = Watch(lab.redis, lab.key("no such stream"))
    watch.sample()
    assert watch.samples.empty
    assert watch.plot().png.startswith(b"\x89PNG")


def test_the_timeline_tells_in_words_what_it_shows(lab: Lab, stream: str) -> None:
    RedisStreamProducer(lab.redis, stream).publish_many(Message("web", c) for c in "ab")
    first = lab.worker("alice", lambda _: None, stream=stream, crash="before-ack", after=2)
    first.wait_end()
    second = lab.worker("alice", lambda _: None, stream=stream)
    second.wait_for("acked", 1)
    second.stop()
    picture = lab.timeline(first, second)
    assert picture.alt == (
        "Delivery timeline. #1 by alice: handled, acknowledged; "
        "#2 by alice: handled, not acknowledged; #2 by alice: handled, acknowledged; "
        "the process of alice died."
    )
    data, metadata = picture._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == picture.alt
