"""Checks what this machine has for the course, what is missing, and how to get it.

`make doctor` runs this file with the Python of the system, before anything is installed: it
imports nothing but the standard library, and is written for old Pythons too.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

OLDEST = (3, 11)
NEEDED_GB = 1.5  # the environment takes 1.0, and pip caches what it downloads
LONGEST_S = 60

# Runs in the environment of the course: prints the server, and the seconds to a first message.
PROBE = """
import json, time
began = time.perf_counter()
from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab
lab = Lab()
stream = lab.key("doctor")
RedisStreamProducer(lab.redis, stream).publish(Message("doctor", "hello"))
lab.redis.delete(stream)
lab.close()
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


class Finding(NamedTuple):
    """One line of the output.

    what:  what was checked
    is_ok: True; False if the course cannot be run; None if that does not depend on it
    says:  what was found
    way:   the shortest way to get what is missing; empty if nothing is
    """

    what: str
    is_ok: bool | None
    says: str
    way: str = ""


def examine(root: Path = Path()) -> int:
    """Print all findings. Returns the exit status: 1 if the course cannot be run.

    root: of the clone, if there is one
    """
    findings = []
    for look in (_python, _venv, _disk, _folder, _proxy, _course, _port, _browser, _docker):
        finding = look(root)
        print(_line(finding), flush=True)
        findings.append(finding)
    missing = [finding for finding in findings if finding.is_ok is False]
    print()
    if missing:
        print(f"The course cannot be run yet. First: {missing[0].way}")
        return 1
    print("All is well: make lab" if (root / "Makefile").exists() else "All is well.")
    return 0


def _line(finding: Finding) -> str:
    sign = {True: "✓", False: "✗", None: "·"}[finding.is_ok]
    line = f"{sign} {finding.what:<12} {finding.says}"
    return f"{line}\n{'':15}{finding.way}" if finding.way else line


def _python(_: Path) -> Finding:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST:
        return Finding("Python", True, f"{here} ({sys.executable})")
    others = [
        f"python3.{minor}" for minor in range(14, 10, -1) if shutil.which(f"python3.{minor}")
    ]
    way = (
        f"there is a newer one: make PYTHON={others[0]} lab" if others
        else "install Python 3.12: apt install python3.12 python3.12-venv, or python.org"
    )  # fmt: skip
    return Finding("Python", False, f"{here}: the course needs 3.11 or newer", way)


def _venv(_: Path) -> Finding:
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if not missing or sys.prefix != sys.base_prefix:
        return Finding("venv", True, "here")
    version = "{}.{}".format(*sys.version_info[:2])
    return Finding(
        "venv", False, "Python's module {} is missing".format(" and ".join(missing)),
        f"on Debian and Ubuntu: apt install python3-venv (or python{version}-venv)",
    )  # fmt: skip


def _disk(root: Path) -> Finding:
    free_gb = shutil.disk_usage(root.absolute()).free / 1e9
    if free_gb >= NEEDED_GB or _interpreter(root) is not None:
        return Finding("disk", True, f"{free_gb:.1f} GB free")
    return Finding(
        "disk", False, f"{free_gb:.1f} GB free: installing takes {NEEDED_GB} GB",
        "make room on the disk of this folder, or clone to another one",
    )  # fmt: skip


def _folder(root: Path) -> Finding:
    folder = root.absolute()
    try:
        with tempfile.TemporaryFile(dir=str(folder)):
            return Finding("folder", True, f"{folder} can be written to")
    except OSError as error:
        return Finding(
            "folder", False, f"{folder} cannot be written to: {error.strerror}",
            "copy or clone the course into a folder of your own, such as your home",
        )  # fmt: skip


def _proxy(root: Path) -> Finding:
    """A proxy that does not answer matters only while something is to be installed."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        address = os.environ.get(name)
        if not address:
            continue
        try:
            parts = urlsplit(address if "//" in address else f"//{address}")
            host, port = parts.hostname or "", parts.port or 8080
            socket.create_connection((host, port), timeout=3).close()
        except (OSError, ValueError) as error:
            says = f"{_without_password(address)} ({name}) does not answer: {error}"
            way = f"if pip fails: unset {name}, or set it to the proxy of this network"
            return Finding("proxy", None if _interpreter(root) else False, says, way)
        return Finding("proxy", None, f"{name}: {host}:{port} answers")
    return Finding("proxy", None, "none is set")


def _course(root: Path) -> Finding:
    interpreter = _interpreter(root)
    if interpreter is None:
        return Finding(
            "course", False, "not installed here", "make install: one or two minutes"
        )
    try:
        done = subprocess.run(
            [interpreter, "-c", PROBE], capture_output=True, text=True, timeout=LONGEST_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(
            "course", False, f"no message within {LONGEST_S} s",
            "a server of your own: see REDISFLOW_URL and REDISFLOW_SERVER in README.md",
        )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it failed without a message"])[-1]
        return Finding("course", False, last[:300], _way_from(last, root))
    runs_on, *_, answer = done.stdout.splitlines()
    seconds = json.loads(answer)["seconds"]
    return Finding("course", True, f"{runs_on} The first message took {seconds:.1f} s.")


def _way_from(error: str, root: Path) -> str:
    if not error.startswith("ModuleNotFoundError"):
        return "see the sentence above; REDISFLOW_SERVER=bundled chooses the bundled server"
    in_clone = (root / "Makefile").exists()
    return "make install" if in_clone else "pip install 'redisflow-lab[lab]'"


def _port(_: Path) -> Finding:
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("ports", False, f"none can be opened on 127.0.0.1: {error.strerror}",
                       "allow programs to listen on the loopback address")  # fmt: skip
    with socket.socket() as usual:
        taken = usual.connect_ex(("127.0.0.1", 8888)) == 0
    says = "8888 is taken, so JupyterLab takes the next one" if taken else "8888 is free"
    return Finding("ports", True, says)


def _browser(_: Path) -> Finding:
    try:
        name = webbrowser.get().name
    except (webbrowser.Error, AttributeError):
        return Finding("browser", None, "none found: open the address that make lab prints")
    return Finding("browser", None, str(name))


def _docker(_: Path) -> Finding:
    here = shutil.which("docker") is not None
    return Finding(
        "Docker", None, "here, and not needed" if here else "not here, and not needed"
    )


def _interpreter(root: Path) -> str | None:
    """The Python in which the course is installed."""
    own = root / ".venv" / "bin" / "python"
    if (root / ".venv" / ".installed").exists():
        return str(own.absolute())
    if find_spec("redis") is not None and find_spec("redisflow_lab") is not None:
        return sys.executable
    return None


def _without_password(address: str) -> str:
    return address.rsplit("@", 1)[-1]


if __name__ == "__main__":
    sys.exit(examine())
