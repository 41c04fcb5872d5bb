"""A drawing of a stream at this moment, as one group sees it."""

from redis import Redis

from redisflow_lab._internal.printable import printable
from redisflow_lab.inspection.missing import explaining_missing
from redisflow_lab.inspection.state import Reader
from redisflow_lab.lab.prefix import without_prefix
from redisflow_lab.lab.recording.moment import Moment
from redisflow_lab.lab.recording.recording import Recording
from redisflow_lab.lab.views.layout import WIDTH, Layout
from redisflow_lab.lab.views.picture import Picture
from redisflow_lab.lab.views.still import Panel, draw_still


def draw_stream(redis: Redis, stream: str, group: str) -> Picture:
    """Draw a stream as one group sees it; see `Lab.draw`."""
    with explaining_missing(redis, stream, group, called=without_prefix(stream)):
        redis.xinfo_consumers(stream, group)
        state = Reader(redis, stream, called=without_prefix(stream)).read()
    name, viewer = printable(without_prefix(stream), 40), printable(group)
    layout = Layout(Recording(without_prefix(stream), [Moment(0.0, state)], []), group)
    alt = f"Stream {name}, as the group {viewer} sees it: {layout.story.words(0)}"
    return draw_still([Panel(layout.legend(0), layout.frame(0), layout.height)], WIDTH, alt)
