"""Interrupting a cell ends what the cell has started, and the cell can be run again."""

from collections.abc import Iterator

import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from redisflow_lab.lab.chapters import kernel_settings
from redisflow_lab.lab.waiting import wait_until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("process_server")]

EARLIER = """
from redisflow_lab.lab import Lab
import signal
lab = Lab("own")
carol = lab.worker("carol", print, group="shipping")
lab.wait_until(lambda: lab.redis.exists("orders"), "carol has made her group")
"""
CELLS = {
    "a worker": 'alice = lab.worker("alice", print)\nalice.wait_end(timeout_s=60)',
    "a process": "lab.process(signal.pause).wait_end(timeout_s=60)",
    "a state": 'lab.worker("bob", print)\nlab.wait_until(lambda: False, timeout_s=60)',
    "the server": 'lab.worker("bob", print)\nlab.redis.blpop("nothing", 60)',
}


@pytest.fixture
def manager() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3", **kernel_settings())
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def client(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()


def started_by(manager: KernelManager) -> set[int]:
    """Everything below the kernel, but for what has ended."""
    kernel = psutil.Process(manager.provisioner.pid)  # type: ignore[union-attr]
    return {
        child.pid
        for child in kernel.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    }


@pytest.mark.parametrize("waits_for", CELLS)
def test_an_interrupted_cell_leaves_no_process_and_can_be_run_again(
    waits_for: str, manager: KernelManager, client: BlockingKernelClient
) -> None:
    client.execute_interactive(EARLIER, timeout=60)
    before = started_by(manager)
    for _ in range(2):
        request = client.execute(CELLS[waits_for])
        wait_until(lambda: len(started_by(manager)) > len(before), "the cell started one")
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        assert reply["parent_header"]["msg_id"] == request
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        wait_until(lambda: started_by(manager) == before, "only what was there is left")


def test_a_kernel_of_the_tests_needs_no_port_that_another_program_may_take(
    client: BlockingKernelClient,
) -> None:
    mine, other = client.get_connection_info(), KernelManager(**kernel_settings())
    assert mine["transport"] == other.transport == "ipc"
    assert mine["ip"] != other.ip
