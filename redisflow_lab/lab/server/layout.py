"""Which servers a lab starts when it has several."""

from dataclasses import dataclass

_FEWEST_PRIMARIES = 3


@dataclass(frozen=True)
class Layout:
    """A primary with replicas, and Sentinels if there are any; or a Redis Cluster.

    replicas:  of each primary
    sentinels: processes that put a replica in the place of a primary that is down
    cluster:   primaries of a Redis Cluster; 0 for none

    Raises TypeError or ValueError for numbers that make no such thing.
    """

    replicas: int = 0
    sentinels: int = 0
    cluster: int = 0

    def __post_init__(self) -> None:
        for name in ("replicas", "sentinels", "cluster"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool):
                raise TypeError(f"{name}={count!r} must be an int: how many to start")
            if count < 0:
                raise ValueError(f"{name}={count} is less than 0: say how many to start")
        if self.cluster and self.sentinels:
            raise ValueError(
                f"cluster={self.cluster} and sentinels={self.sentinels} exclude each other: "
                "a cluster replaces its primaries by itself. Leave sentinels out"
            )
        if self.sentinels and not self.replicas:
            raise ValueError(
                f"sentinels={self.sentinels} have no replica to put in the primary's place: "
                "write replicas=1 as well"
            )
        if 0 < self.cluster < _FEWEST_PRIMARIES:
            raise ValueError(
                f"cluster={self.cluster} is too small: when a primary is down, the majority of "
                "all primaries must still agree on what to do. Write cluster=3"
            )

    @property
    def has_several(self) -> bool:
        return bool(self.replicas or self.cluster)


ONE_SERVER = Layout()
"""Neither replicas nor a cluster."""
