"""How soon a worker process is at work, and what the chapters cost beside empty notebooks."""

import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import nbformat

from redisflow_lab import Message, RedisStreamProducer
from redisflow_lab.lab import Lab

ROOT = Path(__file__).parent.parent.parent
STARTS = 40


def worker_start_ms(lab: Lab) -> float:
    """From `lab.worker(...)` to its first acknowledgement, in ms: the median."""
    producer = RedisStreamProducer(lab.redis, "started")
    times = []
    for _ in range(STARTS):
        producer.publish(Message("web", "1 x Dune"))
        began = perf_counter()
        worker = lab.worker("alice", lambda _: None, stream="started")
        worker.wait_for("acked", 1)
        times.append(perf_counter() - began)
        worker.kill()
    return median(times) * 1_000


def chapters_to_empty_notebooks() -> tuple[float, float]:
    """Seconds for the chapters with nbval, and for as many notebooks with as many cells."""
    chapters = sorted((ROOT / "notebooks").glob("*.ipynb"))
    with TemporaryDirectory() as folder:
        for chapter in chapters:
            cells = [
                nbformat.v4.new_code_cell("pass")
                for cell in nbformat.read(chapter, as_version=4).cells
                if cell.cell_type == "code"
            ]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), Path(folder, chapter.name))
        return _seconds(ROOT / "notebooks"), _seconds(Path(folder))


def _seconds(folder: Path) -> float:
    command = [
        sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile",
        "-c", ROOT / "pyproject.toml", "--nbval", folder,
    ]  # fmt: skip
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - began


def show(start_ms: float, chapters: tuple[float, float]) -> None:
    took, empty = chapters
    print("\nlaboratory")
    print(f"worker to first acknowledgement: {start_ms:.0f} ms   (aim: at most 30 ms)")
    print(
        f"chapters to empty notebooks: {took / empty:.1f} ({took:.0f} s)   (aim: at most 1.8)"
    )
