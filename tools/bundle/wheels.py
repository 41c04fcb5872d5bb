"""Downloads wheels for other platforms and Pythons than this one."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.bundle.pins import Pin, pins_for
from tools.bundle.targets import Target


class NoWheelError(Exception):
    """Packages have no wheel for a platform. The text names all of them."""


class Wheels:
    """Wheels in a folder. Those for every platform are downloaded once."""

    def __init__(self, pins: list[Pin], folder: Path) -> None:
        self._pins = pins
        self._folder = folder
        self._for_all: dict[Pin, Path] = {}

    def download(self, target: Target) -> set[Path]:
        """Download the missing wheels for a target, and return all that it needs.

        Raises NoWheelError, and SubprocessError if pip fails in another way.
        """
        found: dict[Pin, Path] = {}
        without: list[Pin] = []
        for release in target.releases:
            pins = pins_for(target, release, self._pins)
            found |= {pin: self._for_all[pin] for pin in pins if pin in self._for_all}
            missing = [pin for pin in pins if pin not in found and pin not in without]
            while missing:
                try:
                    found |= _download(target, release, missing, self._folder)
                    break
                except NoWheelError as error:  # pip names one; there may be others
                    without += [pin for pin in missing if pin.version == str(error)]
                    missing = [pin for pin in missing if pin not in without]
        if without:
            names = ", ".join(pin.version for pin in without)
            raise NoWheelError(f"no wheel of {names} is for {target.platform}")
        pure = {pin: path for pin, path in found.items() if path.stem.endswith("-none-any")}
        self._for_all |= pure
        return set(found.values())


def _download(target: Target, release: str, pins: list[Pin], folder: Path) -> dict[Pin, Path]:
    with TemporaryDirectory() as temporary:
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text("\n".join(pin.line_without_marker for pin in pins))
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--disable-pip-version-check",
                "--no-deps", "--only-binary=:all:", "--require-hashes",
                *[f"--platform={tag}" for tag in target.tags],
                f"--python-version={release}", f"--dest={folder}",
                f"--requirement={requirements}",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        missing = re.search(r"No matching distribution found for ([^ \n]+)", done.stderr)
        if missing:
            raise NoWheelError(missing[1])
        raise subprocess.SubprocessError(f"pip download failed for {target}:\n{done.stderr}")
    saved = re.findall(r"(?:Saved|already downloaded) (.+\.whl)$", done.stdout, re.MULTILINE)
    by_name = {parse_wheel_filename(Path(name).name)[0]: Path(name).name for name in saved}
    return {pin: folder / by_name[canonicalize_name(pin.name)] for pin in pins}
