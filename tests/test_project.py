"""The files around the code agree with each other."""

import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import redisflow_lab
from redisflow_lab.lab.server.identity import OLDEST
from redisflow_lab.lab.workshop.chapters import CHAPTERS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [
    requirement
    for lines in (PROJECT["dependencies"], *EXTRAS.values())
    for requirement in map(Requirement, lines)
    if requirement.name != PROJECT["name"]  # one extra names another
]


def with_extras(names: set[str]) -> set[str]:
    """These extras and those that they name."""
    named = {
        extra
        for name in names
        for requirement in map(Requirement, EXTRAS[name])
        if requirement.name == PROJECT["name"]
        for extra in requirement.extras
    }
    return names if named <= names else with_extras(names | named)


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
    assert with_extras(set(found[1].split(","))) == set(EXTRAS)
    assert not {requirement.name for requirement in DIRECT} & set(packages)


def test_conda_installs_a_supported_python_and_a_supported_server() -> None:
    packages, _ = conda()
    supported = SpecifierSet(PROJECT["requires-python"])
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
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


def test_the_generated_descriptor_and_stub_are_not_stale(tmp_path: Path) -> None:
    tool = ROOT / "tools" / "generate_pb.py"
    subprocess.run([sys.executable, tool, tmp_path], check=True)
    made = {path.name: path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(made) == {"stream_message.binpb", "stream_message.pyi"}
    for path in made.values():
        stored = ROOT / "redisflow_lab" / "pb" / path.relative_to(tmp_path)
        assert stored.read_bytes() == path.read_bytes(), "run: make proto"


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as a user's pip would, of the files in this folder, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_has_the_package_and_nothing_beside_it(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"redisflow_lab"}
    assert {"redisflow_lab/py.typed", "redisflow_lab/lab/__init__.py"} <= set(names)
    assert "redisflow_lab/pb/redisflow/v1/stream_message.binpb" in names
    assert not [name for name in names if "test" in name]


def test_the_wheel_carries_each_chapter(wheel: zipfile.ZipFile) -> None:
    carried = [name for name in wheel.namelist() if "/notebooks/" in name]
    assert [Path(name).name for name in carried] == [chapter.file for chapter in CHAPTERS]


def test_the_wheel_carries_the_licence_and_its_metadata_name_it(wheel: zipfile.ZipFile) -> None:
    told = metadata(wheel)
    assert told["License-Expression"] == "MIT"
    assert told.get_all("License-File") == ["LICENSE"]
    (name,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()
    assert "the RedisFlow Lab authors" in wheel.read(name).decode()


def test_the_wheel_has_the_version_that_the_package_says(wheel: zipfile.ZipFile) -> None:
    assert metadata(wheel)["Version"] == redisflow_lab.__version__


def test_the_classifiers_name_the_pythons_that_are_tested(wheel: zipfile.ZipFile) -> None:
    from tools.matrix.rows import PYTHONS

    named = re.findall(r"Python :: (3\.\d+)$", str(metadata(wheel)), re.MULTILINE)
    assert named == list(PYTHONS)


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    entries = re.findall(r"^## \[(.+?)\] - (Unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert entries[0][0] == redisflow_lab.__version__
    assert len(entries) == len(re.findall(r"^## ", text, re.MULTILINE))
    assert all(date != "Unreleased" for _, date in entries[1:])


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def test_pre_commit_runs_what_make_lint_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("lint")
    for hook in local["hooks"]:
        assert hook["language"] == "system"  # the versions that requirements.txt pins
        assert hook["always_run"]
        assert not hook["pass_filenames"]


WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def test_the_workflow_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 90


def test_the_workflow_uses_the_same_script_as_any_other_ci_and_the_readmes_commands() -> None:
    linux, macos = (
        [step.get("run", "") for step in WORKFLOW["jobs"][name]["steps"]]
        for name in ("linux", "macos")
    )
    assert linux[-1].endswith("bash .ci/run")
    assert macos[-2:] == ["make test", "bash .ci/lab"]
    for line in (*linux, *macos):
        for script in re.findall(r"\.ci/\w+", line):
            assert (ROOT / script).exists()


def test_the_workflow_sets_up_the_pythons_that_are_tested() -> None:
    from tools.matrix.rows import PYTHONS

    (versions,) = (
        step["with"]["python-version"].split()
        for step in WORKFLOW["jobs"]["linux"]["steps"]
        if "setup-python" in step.get("uses", "")
    )
    assert sorted(versions) == sorted(PYTHONS)


def test_the_workflow_names_each_action_by_a_major_version() -> None:
    used = [
        step["uses"]
        for job in WORKFLOW["jobs"].values()
        for step in job["steps"]
        if "uses" in step
    ]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", action)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
)
def test_links_and_targets_of_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+?)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z0-9]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_test_that_the_promises_name_is_there() -> None:
    page = (ROOT / "docs" / "promises.md").read_text()
    named = set(re.findall(r"`(test_\w+\.py)`", page))
    assert len(named) > 15
    assert named <= {path.name for path in (ROOT / "tests").glob("test_*.py")}
