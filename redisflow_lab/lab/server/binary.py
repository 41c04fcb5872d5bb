"""The program of a server: whether it runs here, and whether the lab supports it."""

import re
import subprocess
from pathlib import Path

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.server.identity import check_version
from redisflow_lab.lab.server.interface import UnsupportedServerError


def check_binary(binary: Path) -> None:
    """Check the version before the server starts and writes files that others cannot read."""
    try:
        version = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:  # built for another system, for example for glibc on Alpine
        raise UnsupportedServerError(f"{binary} cannot be run: {error.strerror}") from None
    found = re.search(r"(\S+) server v=(\d+\.\d+\.\d+)", version.stdout)
    if found is None:
        raise UnsupportedServerError(
            f"{binary} is no Redis or Valkey server: --version printed "
            f"{printable(version.stdout)!r}"
        )
    try:
        check_version(found[1], found[2])
    except UnsupportedServerError as error:
        raise UnsupportedServerError(f"{binary} {error}") from None
