"""Which pending entries are delivered again together, and which alone."""

from collections.abc import Iterator, Sequence

from redisflow_lab._internal.group import Pending

_LIMIT_FOR_SHARING = 4
_MOST_TOGETHER = 1_000  # a script of the server takes some thousand ids in one command


def redelivery_batches(
    pending: Sequence[Pending], max_deliveries: int
) -> Iterator[list[bytes]]:
    """Ids to redeliver, in order. Entries delivered once go together, all others alone.

    A message that kills its process raises the delivery count of everything that was
    delivered with it. Here this happens to a neighbour once at most: its count is 2 after
    that, and from then on it is alone. The guarantee: no neighbour is dead-lettered for it,
    not even one whose own handler fails once. Its deliveries are then the first, the shared
    one, the one that fails and the one that succeeds; so below a limit of four deliveries
    nothing is shared.
    """
    together: list[bytes] = []
    for entry_id, deliveries in pending:
        shares = deliveries == 1 and max_deliveries >= _LIMIT_FOR_SHARING
        if together and not (shares and len(together) < _MOST_TOGETHER):
            yield together
            together = []
        if shares:
            together.append(entry_id)
        else:
            yield [entry_id]
    if together:
        yield together
