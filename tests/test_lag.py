"""The lag that the lab shows is true, or unknown."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pandas as pd

from redisflow_lab.inspection.groups import status_of
from redisflow_lab.lab import Lab


def shown(lab: Lab, stream: str) -> int | None:
    """The lag of the one group in `lab.groups`."""
    [lag] = lab.groups(stream)["lag"]
    return None if lag is pd.NA else int(lag)


def add(lab: Lab, stream: str, count: int) -> None:
    pipeline = lab.redis.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(stream, {"data": b""})
    pipeline.execute()


def read(lab: Lab, stream: str, count: int) -> None:
    lab.redis.xreadgroup("billing", "alice", {stream: ">"}, count=count)


@contextmanager
def writing(lab: Lab, stream: str) -> Iterator[None]:
    stop = Event()

    def write() -> None:
        while not stop.is_set():
            add(lab, stream, 1)

    writer = Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_it_is_known_while_a_producer_writes(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    with writing(lab, stream):
        assert None not in [shown(lab, stream) for _ in range(300)]
        lab.record(stream)
        lab.wait_until(
            lambda: len(lab.recording(stream).samples) >= 5, "five samples are taken"
        )
    assert not lab.recording(stream).samples["lag"].isna().any()


def test_the_seconds_are_the_age_of_the_oldest_that_was_not_delivered(
    lab: Lab, stream: str
) -> None:
    seconds, micros = lab.redis.time()
    now_ms = seconds * 1_000 + micros // 1_000
    for age_s in (90, 30):
        lab.redis.xadd(stream, {"data": b""}, id=f"{now_ms - 1_000 * age_s}-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    for oldest_s in (90, 30):
        (group,) = status_of(lab.redis, stream).groups
        assert group.lag_s is not None
        assert oldest_s <= group.lag_s < oldest_s + 30
        read(lab, stream, 1)
    (group,) = status_of(lab.redis, stream).groups
    assert (group.lag, group.lag_s, group.pending, group.consumers) == (0, 0.0, 2, 1)
    assert group.oldest_pending_id == f"{now_ms - 90_000}-0"


def test_the_seconds_are_unknown_if_a_producer_chose_the_ids(lab: Lab, stream: str) -> None:
    lab.redis.xadd(stream, {"data": b""}, id="5-0")
    lab.redis.xgroup_create(stream, "billing", id="0")
    (group,) = status_of(lab.redis, stream).groups
    assert (group.lag, group.lag_s) == (1, None)


def test_it_is_the_length_after_trimming_past_what_was_delivered(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    add(lab, stream, 1_000)
    read(lab, stream, 100)
    lab.redis.xtrim(stream, maxlen=500, approximate=False)
    assert shown(lab, stream) == 500
    assert "500" in repr(lab.groups(stream))


def test_it_is_zero_when_all_was_delivered(lab: Lab, stream: str) -> None:
    lab.redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    assert shown(lab, stream) == 0
    add(lab, stream, 1_000)
    read(lab, stream, 100)
    lab.redis.xtrim(stream, maxlen=500, approximate=False)
    read(lab, stream, 500)
    assert shown(lab, stream) == 0
    lab.redis.xtrim(stream, maxlen=0, approximate=False)
    assert shown(lab, stream) == 0


def test_it_is_unknown_after_a_deletion_in_the_middle(lab: Lab, stream: str) -> None:
    for number in range(1, 7):
        lab.redis.xadd(stream, {"data": b""}, id=f"{number}-0")
    lab.redis.xgroup_create(stream, "billing", id="3-0")
    lab.redis.xdel(stream, "5-0")
    assert shown(lab, stream) is None
