"""The pinned packages that a bundle holds."""

import re
from dataclasses import dataclass

from packaging.requirements import Requirement

from tools.bundle.targets import Target

LEFT_OUT = frozenset({
    "ast-serialize", "librt", "mypy", "mypy-extensions", "pandas-stubs", "ruff",
    "types-protobuf", "types-psutil", "types-pyyaml", "uv",
})  # fmt: skip
"""For `make lint`, `make lock` and `make matrix`: large, and no part of the course."""


@dataclass(frozen=True)
class Pin:
    """A requirement with one version, and the lines with its hashes."""

    requirement: Requirement
    hashes: str

    @property
    def name(self) -> str:
        return self.requirement.name

    @property
    def version(self) -> str:
        """As pip shows it: redis==8.1.0."""
        return f"{self.name}{self.requirement.specifier}"

    @property
    def line(self) -> str:
        return f"{self.requirement} \\\n{self.hashes}"

    @property
    def line_without_marker(self) -> str:
        return f"{self.version} \\\n{self.hashes}"


def read_pins(text: str) -> list[Pin]:
    """The pins of a requirements file, without those that a bundle leaves out."""
    pins = []
    for block in re.findall(r"^[a-z0-9].*(?:\n +.*)*", text, re.MULTILINE):
        first, hashes = block.split(" \\\n", 1)
        pins.append(Pin(Requirement(first), hashes))
    return [pin for pin in pins if pin.name not in LEFT_OUT]


def pins_for(target: Target, release: str, pins: list[Pin]) -> list[Pin]:
    """The pins that are installed on a target."""
    return [pin for pin in pins if target.needs(pin.requirement.marker, release)]
