"""One stream entry, as the server delivered it to this consumer."""

from collections.abc import Mapping
from dataclasses import dataclass

from redisflow_lab.interfaces import NO_FIELDS
from redisflow_lab.message import FIELD, take_data


@dataclass(slots=True)
class Entry:
    """A delivered stream entry.

    id:         such as b"1730671200000-0"
    fields:     names and values, alternating; None if the entry was trimmed or deleted while
                it was pending
    deliveries: how often it was delivered in this group, this time included
    """

    id: bytes
    fields: list[bytes] | None
    deliveries: int

    def data(self) -> tuple[bytes, Mapping[bytes, bytes]]:
        """The bytes of its message, and its other fields.

        Raises MessageDecodeError if it has no field `data`.
        """
        fields = self.fields
        if fields is not None and len(fields) == 2 and fields[0] == FIELD:  # nearly always
            return fields[1], NO_FIELDS
        others = dict(self.pairs())
        return take_data(others), others

    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its fields as (name, value) pairs, in order; a name may occur twice."""
        flat = self.fields or []
        return tuple(zip(flat[::2], flat[1::2], strict=True))
