"""`make docs`: the API reference, written from the docstrings."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import redisflow_lab
from tools.reference.__main__ import to_markdown

pytestmark = pytest.mark.slow  # half a minute, to write it

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "tools.reference", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_it_has_every_public_name_with_its_docstring(pages: Path) -> None:
    html = (pages / "redisflow_lab.html").read_text()
    for name in redisflow_lab.__all__:
        assert f'id="{name}"' in html, name
    text = text_of(pages / "redisflow_lab.html")
    assert "min_idle_ms: int = 60000" in text  # the constructor, with its defaults
    assert f"RedisFlow Lab {redisflow_lab.__version__}" in text
    assert 'id="Lab.worker"' in (pages / "redisflow_lab" / "lab.html").read_text()


def test_it_has_no_private_module(pages: Path) -> None:
    made = {path.relative_to(pages).as_posix() for path in pages.rglob("*.html")}
    assert "redisflow_lab/consumer.html" in made
    assert not [name for name in made if "/_" in name or "/pb" in name]


def test_every_module_can_be_reached_from_the_first_page(pages: Path) -> None:
    first = (pages / "redisflow_lab.html").read_text()
    for page in (pages / "redisflow_lab").rglob("*.html"):
        assert f'href="{page.relative_to(pages).as_posix()}"' in first


def test_arguments_become_a_list_and_sentences_do_not() -> None:
    docstring = (
        "note: the first line.\n\n"
        "batch:  entries to request per read,\n"
        "        all of them pending\n"
        "stream, group: the keys\n\n"
        "lag: a sentence that goes on\nin the next line.\n"
    )
    listed = to_markdown(None, docstring)  # type: ignore[arg-type]
    assert "note: the first line.\n" in listed
    assert "- **batch**: entries to request per read, all of them pending\n" in listed
    assert "\n- **stream, group**: the keys\n" in listed
    assert "\nlag: a sentence that goes on\nin the next line.\n" in listed
