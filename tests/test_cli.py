"""The command `redisflow`: the course in a folder, a class, and what a machine lacks."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from typer.testing import CliRunner

from redisflow_lab.cli.app import app
from redisflow_lab.lab.workshop.chapters import CHAPTERS
from redisflow_lab.lab.workshop.progress import Progress

pytestmark = pytest.mark.once

DOCTOR = Path(__file__).parent.parent / "redisflow_lab" / "cli" / "doctor.py"


def run(*arguments: object) -> tuple[int, str]:
    """The exit status, and what was printed."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def test_course_lays_the_chapters_and_keeps_what_was_changed(tmp_path: Path) -> None:
    folder = tmp_path / "Lehrgang für alle"
    status, said = run("course", folder)
    assert status == 0
    assert f"jupyter lab {folder}" in said
    mine = folder / CHAPTERS[0].file
    mine.write_text("mine")
    assert run("course", folder)[0] == 0
    assert mine.read_text() == "mine"
    assert {chapter.file for chapter in CHAPTERS} <= {path.name for path in folder.iterdir()}
    assert "Yours is" in run("course", folder, "--reset", "00")[1]
    assert mine.read_text() != "mine"


def test_course_names_what_is_wrong(tmp_path: Path) -> None:
    assert "there is no chapter '99'" in run("course", tmp_path, "--reset", "99")[1]
    file = tmp_path / "file"
    file.touch()
    status, said = run("course", file)
    assert status == 2
    assert "cannot be used" in said


def test_the_first_cell_for_colab_does_nothing_elsewhere(tmp_path: Path) -> None:
    assert run("course", tmp_path, "--colab")[0] == 0
    for chapter in CHAPTERS:
        cell = nbformat.read(tmp_path / chapter.file, as_version=4).cells[0]
        assert "google.colab" in cell.source
        result = InteractiveShell.instance().run_cell(cell.source)
        assert result.success


def progress(folder: Path, **exercise: object) -> Path:
    learner = Progress(folder)
    learner.begin()
    learner.write("predictions", "04-bob", predicted=0, right=True)
    learner.write("predictions", "04-lost", predicted="1-0", right=False)
    learner.write("predictions", "04-invoices", predicted=4, right=None)  # not revealed
    learner.write("exercises", "04-after-delivery", passed=True, checks=2)
    learner.write("exercises", "04-settle", passed=False, **exercise)
    learner.write("stages", "acknowledges after success", passed=True)
    return folder / "progress.json"


def test_class_has_a_row_a_learner_with_what_is_tried_now(tmp_path: Path) -> None:
    ada = progress(tmp_path / "ada" / "redisflow-lab" / "work", checks=5, hints=2)
    grace = progress(tmp_path / "grace", checks=1)
    broken = tmp_path / "alan" / "progress.json"
    broken.parent.mkdir()
    broken.write_text("{")
    status, said = run("class", ada, grace, broken, tmp_path / "nobody" / "progress.json")
    assert status == 0
    assert "learner predicted right exercises stages next tries hints" in said
    assert "ada 2.0 1.0" not in said  # numbers, and no floats
    assert " ada 2 1 1 of " in f" {said}"
    assert "04-settle 5 2" in said
    assert "04-settle 1 0" in said
    assert "alan cannot be read: " in said
    assert "nobody cannot be read: " in said
    assert broken.read_text() == "{"  # only a learner's own lab puts it aside


Doctor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Runs the file as `make doctor` does, in a folder without an environment."""

    def examine(
        *, folder: Path = tmp_path, code: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        here = {name: of for name, of in os.environ.items() if name[:10] != "REDISFLOW_"}
        program = f"{code}\nimport runpy\nrunpy.run_path({str(DOCTOR)!r}, run_name='__main__')"
        return subprocess.run(
            [sys.executable, "-c", program], cwd=folder, text=True, capture_output=True,
            env=here | variables, check=False,
        )  # fmt: skip

    return examine


def test_doctor_says_that_all_is_well_and_how_soon_the_first_message_came(
    doctor: Doctor,
) -> None:
    done = doctor(REDISFLOW_SERVER="bundled", REDISFLOW_URL="")
    assert done.returncode == 0, done.stdout
    assert "The first message took" in done.stdout
    assert "All is well" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.version_info = (3, 10, 4)", "3.10.4: the course needs 3.11"),
        (
            "import sys; sys.prefix = sys.base_prefix; "
            "import importlib.util as u; find = u.find_spec; "
            "u.find_spec = lambda name: None if name == 'ensurepip' else find(name)",
            "apt install python3-venv",
        ),
        (
            "import shutil, collections; import importlib.util as u; find = u.find_spec; "
            "u.find_spec = lambda name: None if name == 'redis' else find(name); "
            "shutil.disk_usage = lambda _: collections.namedtuple('U', 'free')(3e8)",
            "0.3 GB free: installing takes",
        ),
        (
            "import tempfile\ndef refuse(**_): raise OSError(30, 'Read-only file system')\n"
            "tempfile.TemporaryFile = refuse",
            "cannot be written to: Read-only file system",
        ),
        (
            "import importlib.util as u; find = u.find_spec; "
            "u.find_spec = lambda name: None if name == 'redis' else find(name)",
            "make install: one or two minutes",
        ),
    ],
    ids=["old Python", "no venv", "no disk", "read-only", "not installed"],
)
def test_doctor_says_what_is_missing_and_the_way_to_it(
    doctor: Doctor, code: str, says: str
) -> None:
    done = doctor(code=code)
    assert done.returncode == 1
    assert says in done.stdout
    assert "The course cannot be run yet. First: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_names_a_proxy_that_does_not_answer_and_no_password(doctor: Doctor) -> None:
    done = doctor(HTTPS_PROXY="http://me:secret@127.0.0.1:1")
    assert "127.0.0.1:1 (HTTPS_PROXY) does not answer" in done.stdout
    assert "secret" not in done.stdout


def test_doctor_gives_the_reason_why_there_is_no_server(doctor: Doctor) -> None:
    done = doctor(REDISFLOW_URL="redis://127.0.0.1:1")
    assert done.returncode == 1
    assert "✗ course" in done.stdout
    assert "127.0.0.1:1" in done.stdout


def test_without_its_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from redisflow_lab.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert "needs typer: pip install 'redisflow-lab[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
