"""Packs the bundle: the files of a clone, the wheels, the handouts, and instructions."""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tools.bundle.pins import Pin
from tools.bundle.targets import Target

ROOT = Path(__file__).parent.parent.parent

_BEGIN = """\
# RedisFlow Lab, without a network

Everything that the course needs is in this folder. On a laptop with Python and `make`:

    make lab     # install from wheels/, and open your copy of the course in JupyterLab
    make test    # run the tests: the package and every chapter

The folder `wheels` makes the difference: while it is here, pip asks no network.
{handouts}
It is for these laptops, with Python {pythons}:

{platforms}
{missing}
Without `make`, these commands do the same:

    python3 -m venv .venv
    .venv/bin/pip install --no-index --find-links wheels -r wheels/requirements.txt
    .venv/bin/pip install --no-index --no-deps --no-build-isolation --editable .
    .venv/bin/redisflow course work
    .venv/bin/jupyter lab work

Not in it: what `make lint`, `make handouts`, `make bench` and `make matrix` need, and Redis
8.10, which chapters 21 and 22 need: `make redis8` gets it in a clone, with a network.
"""


def instructions(targets: Iterable[Target], missing: list[str], has_handouts: bool) -> str:
    """The page BUNDLE.md."""
    targets = list(targets)
    pythons = sorted({target.python for target in targets}, key=lambda name: name.split("."))
    platforms = dict.fromkeys(target.platform for target in targets)
    return _BEGIN.format(
        pythons=", ".join(pythons),
        platforms="\n".join(f"- {name}" for name in platforms),
        handouts="The handouts, to read or to print, are in `handouts`.\n"
        if has_handouts
        else "",
        missing="".join(f"\nNot for every laptop: {reason}.\n" for reason in missing),
    )


def write(
    archive: Path, top: str, page: str, pins: list[Pin], wheels: Iterable[Path], handouts: Path
) -> None:
    """Write the archive, with one folder named `top` in it."""
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "archive", f"--prefix={top}/", "HEAD"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    # Wheels are compressed already, so the lowest level is enough.
    with tarfile.open(archive, "w:gz", compresslevel=1) as bundle:
        with tarfile.open(fileobj=io.BytesIO(tracked.stdout)) as clone:
            for member in clone:
                bundle.addfile(member, clone.extractfile(member) if member.isreg() else None)
        requirements = "\n".join(["# What is in this folder.", *(pin.line for pin in pins), ""])
        _add_text(bundle, f"{top}/BUNDLE.md", page)
        _add_text(bundle, f"{top}/wheels/requirements.txt", requirements)
        for path in sorted(wheels):
            bundle.add(path, f"{top}/wheels/{path.name}", filter=_anonymous)
        for path in sorted(handouts.glob("*")) if handouts.is_dir() else ():
            bundle.add(path, f"{top}/handouts/{path.name}", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the owner and the permissions of the machine that made the bundle."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _add_text(bundle: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    bundle.addfile(member, io.BytesIO(content))
