"""Each way to start installs what requirements.txt pins, with the settings of `make lab`."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from traitlets.config import Config

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(path: str) -> set[str]:
    """The lines that pin a package, with their markers and without their hashes."""
    text = (ROOT / path).read_text()
    assert "://" not in text
    blocks = re.findall(r"^[a-z0-9].*(?:\n +.*)*", text, re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks)
    return {block.splitlines()[0].rstrip(" \\") for block in blocks}


def test_binder_installs_what_the_course_needs_as_it_is_pinned_elsewhere() -> None:
    in_binder = pins("binder/requirements.txt")
    assert in_binder < pins("requirements.txt")
    names = {Requirement(pin).name for pin in in_binder}
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["cli"], *extras["colab"], *extras["lab"]]
    needed += PYPROJECT["dependency-groups"]["binder"]
    named = {Requirement(line).name for line in needed} - {project["name"]}
    assert named <= names
    assert "pytest" not in names


def test_binder_has_a_supported_python() -> None:
    runtime = (ROOT / "binder" / "runtime.txt").read_text().strip()
    python = runtime.removeprefix("python-")
    assert python in SpecifierSet(PYPROJECT["project"]["requires-python"])


def test_binder_has_the_settings_of_make_install() -> None:
    script = (ROOT / "binder" / "postBuild").read_text().replace('"', "")
    copied = re.findall(r"cp (tools/\S+) \.venv/(\S+)", (ROOT / "Makefile").read_text())
    assert len(copied) == 2
    for source, target in copied:
        assert f"cp {source} $prefix/{target}" in script


def test_the_dev_container_uses_the_targets_of_the_makefile() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    container = json.loads(re.sub(r"^ *//.*", "", text, flags=re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    for when in ("postCreateCommand", "postAttachCommand"):
        target = container[when].removeprefix("make ")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    _, config = container["remoteEnv"]["JUPYTER_CONFIG_PATH"].split("/", 1)
    assert (ROOT / config / "jupyter_server_config.py").exists()


def jupyter_config() -> Config:
    config = Config()
    path = ROOT / ".devcontainer" / "jupyter" / "jupyter_server_config.py"
    runpy.run_path(str(path), {"get_config": lambda: config})
    return config


def test_jupyterlab_in_a_codespace_is_opened_from_its_address_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CODESPACE_NAME", "fancy-train-1")
    monkeypatch.delenv("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", raising=False)
    allowed = jupyter_config().ServerApp.allow_origin_pat
    assert re.match(allowed, "https://fancy-train-1-8888.app.github.dev")
    for other in (
        "https://other-8888.app.github.dev",
        "https://fancy-train-1-8888.appXgithub.dev",
    ):
        assert not re.match(allowed, other)
        assert not re.match(allowed, f"https://fancy-train-1-8888.app.github.dev.{other[8:]}")


def test_jupyterlab_in_another_container_accepts_no_other_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CODESPACE_NAME", raising=False)
    assert "allow_origin_pat" not in jupyter_config().ServerApp
