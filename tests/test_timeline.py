"""The delivery timeline of workers, and its alt text."""

from consumers import Publish

from redisflow_lab.lab import Lab


def test_the_alt_text_of_a_timeline_names_each_delivery_and_death(
    lab: Lab, stream: str, publish: Publish
) -> None:
    publish("a", "b")
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
