"""The platforms and Pythons that a bundle is for: their tags for pip, and their markers."""

import platform
import sys
from dataclasses import dataclass
from itertools import product

from packaging.markers import Marker

_GLIBC_2 = (28, 27, 26, 24, 17, 12, 5)
"""Wheels for these versions run on glibc 2.28, which is Debian 10, Ubuntu 20.04 or RHEL 8."""


def _manylinux(machine: str) -> list[str]:
    old = ["manylinux2014", "manylinux2010", "manylinux1"] if machine == "x86_64" else []
    new = [f"manylinux_2_{minor}" for minor in _GLIBC_2]
    return [f"{name}_{machine}" for name in [*new, *(old or ["manylinux2014"])]]


PLATFORMS = {
    "linux-x86_64": _manylinux("x86_64"),
    "linux-aarch64": _manylinux("aarch64"),
    "macos-arm64": ["macosx_14_0_arm64"],
    "macos-x86_64": ["macosx_14_0_x86_64"],
}
"""For each name of `--platform`, the tags that pip knows it by.

pip adds the tags of older versions of macOS by itself.
"""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Target:
    """A platform, and a minor version of Python."""

    platform: str
    python: str

    @property
    def tags(self) -> list[str]:
        return PLATFORMS[self.platform]

    @property
    def releases(self) -> tuple[str, str]:
        """The first release of this Python, and one newer than all: markers may differ."""
        return f"{self.python}.0", f"{self.python}.99"

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}"

    def needs(self, marker: Marker | None, release: str) -> bool:
        """Whether a marker holds on this target. pip evaluates it on its own machine."""
        system, machine = self.platform.split("-")
        return marker is None or marker.evaluate({
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": {"linux": "Linux", "macos": "Darwin"}[system],
            "python_full_version": release,
            "python_version": self.python,
            "sys_platform": {"linux": "linux", "macos": "darwin"}[system],
        })  # fmt: skip


def here() -> Target:
    """This machine and this Python. Raises ValueError if no bundle can be made for them."""
    system = {"linux": "linux", "darwin": "macos"}.get(sys.platform, sys.platform)
    name = f"{system}-{platform.machine()}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if name not in PLATFORMS or python not in PYTHONS:
        raise ValueError(f"no bundle can be made for {name} with Python {python}")
    return Target(name, python)


def targets(platforms: list[str], pythons: list[str]) -> list[Target]:
    return [Target(*pair) for pair in product(platforms, pythons)]
