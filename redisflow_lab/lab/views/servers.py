"""Tables of a lab with several servers: what each is, and how far behind replicas are.

They have no ports and no offsets, so that a notebook shows the same at each run.
"""

from collections.abc import Callable, Sequence

from redisflow_lab.lab.server.state import NodeState
from redisflow_lab.lab.views.tables import Table


def servers_table(states: Sequence[NodeState]) -> Table:
    """One row per node, as it sees itself: two that are cut off from each other may differ.

    Columns: node, role (primary, replica, sentinel, paused or down), primary (of a replica),
    keys (how many it holds). Of a cluster also slots (that it serves, such as "0-5460") and
    serves: whether it takes commands, which a minority does not. What a node does not tell,
    because it is paused or down, is unknown.
    """
    is_cluster = any(state.slots is not None for state in states)
    rows = [
        {
            "node": state.name,
            "role": state.role,
            "primary": state.primary,
            "slots": state.slots,
            "serves": None if state.serves is None else "yes" if state.serves else "no",
            "keys": state.keys,
        }
        for state in states
    ]
    cluster_columns = ["slots", "serves"] if is_cluster else []
    table = Table(rows, columns=["node", "role", "primary", *cluster_columns, "keys"])
    table["keys"] = table["keys"].astype("Int64")
    table.attrs["caption"] = "servers"
    return table


def replication_table(
    states: Sequence[NodeState], ask_again: Callable[[str], NodeState]
) -> Table:
    """One row per replica that answers.

    Columns: replica, primary, link ("up" or "down"), behind: the bytes of what the primary had
    written when it was asked that were missing when the replica was asked after it. Unknown if
    the primary does not answer, or continues another history than the replica.
    """
    primaries = {state.name: state for state in states}
    rows = []
    for name in (state.name for state in states if state.role == "replica"):
        replica = ask_again(name)
        rows.append(
            {
                "replica": name,
                "primary": replica.primary,
                "link": "up" if replica.is_linked else "down",
                "behind": _behind(replica, primaries.get(replica.primary)),
            }
        )
    table = Table(rows, columns=["replica", "primary", "link", "behind"])
    table["behind"] = table["behind"].astype("Int64")
    table.attrs["caption"] = "replication"
    return table


def _behind(replica: NodeState, primary: NodeState | None) -> int | None:
    if primary is None or primary.offset is None or replica.offset is None:
        return None
    if not replica.histories & primary.histories:
        return None
    return max(0, primary.offset - replica.offset)
