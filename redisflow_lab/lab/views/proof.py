"""The redis-cli commands that prove a picture, with their answers."""

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.recording.moment import Moment

_ROWS = 8


def prove(stream: str, group: str, moment: Moment) -> list[str]:
    """Lines of text: commands as typed in redis-cli, each with the numbers of its answer."""
    key, name = printable(stream, 40), printable(group, 40)
    state = moment.state
    if state is None:
        return [f"> XINFO STREAM {key}", f"  {moment.trouble}"]
    lines = [f"> XINFO STREAM {key}", f"  length {state.length}"]
    lines += [f"> XINFO GROUPS {key}"]
    for other, of in state.groups.items():
        lag = "unknown" if of.lag is None else of.lag
        lines.append(
            f"  {printable(other, 20)}: pending {of.pending}, last-delivered-id {of.read}, "
            f"lag {lag}"
        )
    found = state.groups.get(group)
    if found is None:
        return [*lines, "  (no such group yet)"]
    lines.append(f"> XPENDING {key} {name} - + {_ROWS}")
    lines += [
        f"  {entry_id}  {printable(owned.consumer, 20)}  idle {owned.idle_ms} ms  "
        f"deliveries {owned.deliveries}"
        for entry_id, owned in [*found.owned.items()][:_ROWS]
    ] or ["  (empty)"]
    lines.append(f"> XINFO CONSUMERS {key} {name}")
    lines += [
        f"  {printable(consumer, 20)}: pending {of.pending}, idle {of.idle_ms} ms"
        for consumer, of in [*found.consumers.items()][:_ROWS]
    ] or ["  (empty)"]
    if state.dead:
        lines += [f"> XLEN {key}:dead", f"  {state.dead}"]
    return lines
