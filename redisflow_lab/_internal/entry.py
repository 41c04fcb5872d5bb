"""One stream entry, as the server delivered it to this consumer."""

from dataclasses import dataclass

from redisflow_lab.message import FIELD, Message


@dataclass(slots=True)
class Entry:
    """A delivered stream entry.

    id:         such as b"1730671200000-0"
    fields:     names and values in turn; None if the entry was trimmed or deleted while it
                was pending
    deliveries: how often it was delivered in this group, this time included
    """

    id: bytes
    fields: list[bytes] | None
    deliveries: int

    def message(self) -> Message:
        """The message it carries. Raises MessageDecodeError if it carries none."""
        fields = self.fields
        if fields is not None and len(fields) == 2 and fields[0] == FIELD:  # nearly always
            return Message.from_bytes(fields[1])
        return Message.from_fields(dict(self.pairs()))

    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its fields as (name, value) pairs, in order; a name may be there twice."""
        flat = self.fields or []
        return tuple(zip(flat[::2], flat[1::2], strict=True))
