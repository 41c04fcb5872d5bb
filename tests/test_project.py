"""The files around the code agree with each other."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from redisflow_lab.lab.server.identity import OLDEST

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [
    Requirement(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines
]


def conda() -> tuple[dict[str, SpecifierSet], list[str]]:
    """environment.yml: the ranges of its conda packages, and what it installs with pip."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = [item["pip"] for item in listed if isinstance(item, dict)]
    packages = [Requirement(item) for item in listed if isinstance(item, str)]
    return {package.name: package.specifier for package in packages}, by_pip


def pinned() -> dict[str, str]:
    text = (ROOT / "requirements.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE))


def test_conda_installs_the_python_packages_from_pyproject_only() -> None:
    packages, by_pip = conda()
    (line,) = by_pip
    found = re.fullmatch(r"--editable \.\[(.+)\]", line)
    assert found
    assert set(found[1].split(",")) == set(EXTRAS)
    assert not {requirement.name for requirement in DIRECT} & set(packages)


def test_conda_installs_a_supported_python_and_a_supported_server() -> None:
    packages, _ = conda()
    supported = SpecifierSet(PROJECT["requires-python"])
    for version in ("3.10", "3.11", "3.12", "3.13"):
        if version in packages["python"]:
            assert version in supported
    assert "3.11" in packages["python"]
    assert "8.8" in packages["redis-server"]
    assert f"{OLDEST[0]}.{OLDEST[1] - 1}" not in packages["redis-server"]


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert pinned()[requirement.name.lower()] in requirement.specifier


def test_every_pin_has_a_hash_and_no_address() -> None:
    text = (ROOT / "requirements.txt").read_text()
    blocks = re.split(r"\n(?=[a-z])", text)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    assert "://" not in text


def test_the_generated_modules_are_not_stale(tmp_path: Path) -> None:
    tool = ROOT / "tools" / "generate_pb.py"
    subprocess.run([sys.executable, tool, tmp_path], check=True)
    for made in tmp_path.rglob("*_pb2.py*"):
        stored = ROOT / "redisflow_lab" / "pb" / made.relative_to(tmp_path)
        assert stored.read_text() == made.read_text(), "run: make proto"


def test_the_readme_lists_every_chapter_and_only_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for chapter in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{chapter.name}" in readme
    for target in re.findall(r"`make ([a-z0-9]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_sanitizer_has_few_rules_and_explains_each() -> None:
    text = (ROOT / "notebooks" / "sanitize.cfg").read_text()
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert len(parser.sections()) <= 6
    for name in parser.sections():
        assert f"[{name}]\n#" in text
        assert re.compile(parser.get(name, "regex"))
