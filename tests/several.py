"""Labs with several servers, for the tests of a module, and put in order after each of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.crc import key_slot

from redisflow_lab.lab import Lab


@contextmanager
def lab_of(**layout: Any) -> Iterator[Lab]:
    """A lab of processes, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDISFLOW_URL", raising=False)
        if os.environ.get("REDISFLOW_SERVER", "").startswith("docker"):
            patch.setenv("REDISFLOW_SERVER", "bundled")
        lab = Lab(**layout)
    try:
        yield lab
    finally:
        lab.close()


def put_in_order(lab: Lab) -> None:
    """Heal, resume and start everything, and wait until each replica has its primary's data."""
    lab.heal()
    for node in lab.nodes.values():
        if node.status == "paused":
            node.resume()
        node.start()
    replicas = sum(name.startswith("node-") for name in lab.nodes) - primaries(lab)
    lab.wait_until(
        lambda: (
            [*lab.replication()["behind"].fillna(-1)] == [0] * replicas
            and {*lab.replication()["link"]} == {"up"}
            and {*lab.servers().get("serves", ["yes"])} == {"yes"}
        ),
        "every replica follows a primary",
        timeout_s=20,
    )


def primaries(lab: Lab) -> int:
    return 3 if "slots" in lab.servers() else 1


def role(lab: Lab, name: str) -> str:
    """The role of a node, as it sees itself."""
    servers = lab.servers().set_index("node")
    return str(servers.loc[name, "role"])


def key_on(lab: Lab, name: str) -> str:
    """A key whose slot this node of a cluster serves."""
    return next(key for key in map(str, range(10_000)) if lab.slot_owner(key) == name)


def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))
