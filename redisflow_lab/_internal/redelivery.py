"""Decides which pending entries are redelivered together, and which alone."""

from collections.abc import Iterator, Sequence

from redisflow_lab._internal.group import Pending

_LIMIT_FOR_SHARING = 4
_MAX_TOGETHER = 1_000  # a script can pass some thousand ids to one command


def redelivery_batches(
    pending: Sequence[Pending], max_deliveries: int
) -> Iterator[list[bytes]]:
    """Ids to redeliver, in order. Entries delivered once go together, all others alone.

    A message that kills its process raises the delivery count of everything that was
    redelivered with it. To any other entry this happens once at most: its count is 2 then, so
    from now on it is redelivered alone. So the message gets no other entry dead-lettered, not
    even one whose handler fails once. Such an entry needs four deliveries: the first, the
    shared one, the one that fails and the one that succeeds. So with a limit below four,
    nothing is redelivered together.
    """
    together: list[bytes] = []
    for entry_id, deliveries in pending:
        shares = deliveries == 1 and max_deliveries >= _LIMIT_FOR_SHARING
        if together and not (shares and len(together) < _MAX_TOGETHER):
            yield together
            together = []
        if shares:
            together.append(entry_id)
        else:
            yield [entry_id]
    if together:
        yield together
