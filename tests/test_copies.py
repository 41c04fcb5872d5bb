"""The learner's folder: made without outputs, never overwritten, one chapter made anew."""

import subprocess
from pathlib import Path

import nbformat
import pytest

from redisflow_lab.lab.workshop.chapters import CHAPTERS
from redisflow_lab.lab.workshop.learner.copies import Copies
from redisflow_lab.lab.workshop.progress import Progress

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
CHAPTER = CHAPTERS[0].file


@pytest.fixture
def chapters(tmp_path: Path) -> Path:
    """A folder with chapters of one cell each."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for chapter in CHAPTERS:
        write(folder / chapter.file, "1 + 1")
    return folder


def write(file: Path, source: str) -> None:
    output = nbformat.v4.new_output(
        "execute_result", {"text/plain": "the answer"}, execution_count=1
    )
    cell = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)


def source_of(file: Path) -> str:
    return str(nbformat.read(file, as_version=4).cells[0].source)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_the_copies_have_no_outputs_and_progress_is_kept_beside_them(
    chapters: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Copies(chapters, work).update() == []
    assert "the answer" not in (work / CHAPTER).read_text()
    visible = {path.name for path in work.iterdir() if not path.name.startswith(".")}
    assert visible == {*(c.file for c in CHAPTERS), "consumer.py", "progress.json"}
    monkeypatch.delenv("REDISFLOW_WORK", raising=False)
    monkeypatch.chdir(work)
    Progress.here().write("predictions", "04-bob", predicted=1)
    assert Copies(chapters, work).update() == []
    assert Progress(work).read("predictions", "04-bob") == {"predicted": 1}


def test_an_unchanged_copy_is_renewed(chapters: Path, work: Path) -> None:
    Copies(chapters, work).update()
    write(chapters / CHAPTER, "2 + 2")
    assert Copies(chapters, work).update() == []
    assert source_of(work / CHAPTER) == "2 + 2"


def test_a_changed_copy_is_kept_and_the_newer_chapter_laid_beside_it_once(
    chapters: Path, work: Path
) -> None:
    Copies(chapters, work).update()
    write(work / CHAPTER, "my answer")
    mine = (work / CHAPTER).read_bytes()
    assert Copies(chapters, work).update() == []
    write(chapters / CHAPTER, "2 + 2")
    (told,) = Copies(chapters, work).update()
    newer = work / CHAPTER.replace(".ipynb", "-newer-1.ipynb")
    assert newer.name in told
    assert source_of(newer) == "2 + 2"
    assert (work / CHAPTER).read_bytes() == mine
    assert Copies(chapters, work).update() == []


def test_without_its_notes_every_file_counts_as_changed(chapters: Path, work: Path) -> None:
    Copies(chapters, work).update()
    write(work / CHAPTER, "my answer")
    (work / ".laid.json").write_text("{")
    Copies(chapters, work).update()
    assert source_of(work / CHAPTER) == "my answer"


@pytest.mark.parametrize("whole", [False, True])
def test_a_chapter_is_made_anew_and_the_old_one_kept(
    whole: bool, chapters: Path, work: Path
) -> None:
    Copies(chapters, work).update()
    for number in (1, 2):
        write(work / CHAPTER, f"my answer {number}")
        told = Copies(chapters, work).reset(CHAPTER if whole else str(int(CHAPTER[:2])))
        yours = work / CHAPTER.replace(".ipynb", f"-yours-{number}.ipynb")
        assert yours.name in told
        assert source_of(yours) == f"my answer {number}"
        assert source_of(work / CHAPTER) == "1 + 1"


def test_a_chapter_that_does_not_exist_is_named(chapters: Path, work: Path) -> None:
    for chapter in ("99", "104", "", "x"):
        with pytest.raises(ValueError, match=rf"no chapter '{chapter}'; say which: .*04"):
            Copies(chapters, work).reset(chapter)
    assert not work.exists()


def test_the_consumer_of_the_learner_is_made_anew_too(chapters: Path, work: Path) -> None:
    Copies(chapters, work).update()
    (work / "consumer.py").write_text("mine")
    Copies(chapters, work).reset("consumer")
    assert (work / "consumer-yours-1.py").read_text() == "mine"
    assert "def bill" in (work / "consumer.py").read_text()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone: a bundle has no .git")
def test_git_does_not_see_the_folder() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "work/anything"], cwd=ROOT)
    assert ignored.returncode == 0
