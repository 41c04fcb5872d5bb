"""A real Chromium for the tests, and a JupyterLab to open in it."""

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from redisflow_lab.lab.process import Child
from redisflow_lab.lab.waiting import wait_until

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def new_page(**options: Any) -> Iterator[Any]:
    """A page of a new browser. Skips the test where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: make browser"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium, from Debian's package chromium for example")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(**options)
        page.complaints = []
        page.requested = []
        page.on(
            "console", lambda said: said.type == "error" and page.complaints.append(said.text)
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        try:
            yield page
        except BaseException:
            page.screenshot(path=SCREENSHOTS / "failed.png")
            raise
        finally:
            browser.close()


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab on this folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "jupyter.log"
    lab = Child(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
            f"--LabApp.workspaces_dir={folder / '.workspaces'}", str(folder),
        ],
        cwd=folder, log=log,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: _answers(f"{address}/api"), "JupyterLab answers", timeout_s=60,
            details=lambda: log.read_text(),
        )  # fmt: skip
        yield address
    finally:
        lab.kill()


def _note_errors(said: Any, complaints: list[str]) -> None:
    if said.type == "error":
        complaints.append(said.text)


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=1):
            return True
    except (URLError, TimeoutError):
        return False
