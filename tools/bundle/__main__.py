"""Makes one archive from which the course is installed and run without a network.

    python -m tools.bundle build [--platform NAME ...] [--python VERSION ...]
    python -m tools.bundle build --here

The archive holds a clone of the last commit, the pinned wheels for each platform and Python,
and the handouts if there are any. Its Makefile installs from the folder `wheels`.
"""

import argparse
import sys
from pathlib import Path

from redisflow_lab import __version__
from tools.bundle.archive import ROOT, instructions, write
from tools.bundle.pins import read_pins
from tools.bundle.targets import PLATFORMS, PYTHONS, here, targets
from tools.bundle.wheels import NoWheelError, Wheels


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the archive is written")
    parser.add_argument("--platform", nargs="+", choices=PLATFORMS, default=list(PLATFORMS))
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=list(PYTHONS))
    parser.add_argument("--here", action="store_true", help="only this machine and this Python")
    options = parser.parse_args()

    pins = read_pins((ROOT / "requirements.txt").read_text())
    cache = options.folder / "bundle-wheels"
    cache.mkdir(parents=True, exist_ok=True)
    source = Wheels(pins, cache)
    wheels: set[Path] = set()
    done, missing = [], []
    for target in [here()] if options.here else targets(options.platform, options.python):
        try:
            found = source.download(target)
        except NoWheelError as reason:
            missing += [str(reason)] if str(reason) not in missing else []
            print(f"{target}: left out, because {reason}", flush=True)
            continue
        new = found - wheels
        wheels |= new
        done.append(target)
        size = sum(wheel.stat().st_size for wheel in new)
        print(f"{target}: {len(found)} wheels, {size / 1e6:.0f} MB more", flush=True)
    if not done:
        print("There is no kind of laptop that has all wheels, so there is no bundle.")
        return 1

    top = f"redisflow-lab-{__version__}"
    archive = options.folder / f"{top}{'-here' if options.here else ''}-bundle.tar.gz"
    handouts = options.folder / "handouts"
    write(archive, top, instructions(done, missing, handouts.is_dir()), pins, wheels, handouts)
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB")
    print(f"Without a network: tar xf {archive.name} && cd {top} && make lab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
