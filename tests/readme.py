"""What README.md promises, read from it."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def listed(purpose: str) -> list[str]:
    """The permissions that it lists for a purpose, such as "To publish"."""
    (line,) = re.findall(rf"^- {re.escape(purpose)}: (.*)$", README, re.MULTILINE)
    return re.findall(r"\+[a-z|]+", line)
