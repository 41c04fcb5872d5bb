"""Run the tests and all chapters on every server, Python and range of versions found here.

    python -m tools.matrix [--after-test]

Prints one table: server, Python, packages, tests, chapters, seconds. A row that this machine
cannot run is listed with what it would need, and counts neither as passed nor as failed.
--after-test leaves out the row that `make test` has just run.
"""

import argparse
import sys

from tools.matrix.environments import FOLDER
from tools.matrix.rows import all_rows
from tools.matrix.run import Result, run

HEAD = ("server", "Python", "packages", "tests", "chapters", "seconds")


def line(result: Result) -> tuple[str, ...]:
    row = result.row
    came = (f"{result.tests}", f"{result.chapters}", f"{result.seconds:.0f}")
    if result.missing:
        came = ("not here", "not here", "-")
    return result.server, row.python, row.packages, *came


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.matrix")
    parser.add_argument("--after-test", action="store_true", help="leave out make test's row")
    after_test = parser.parse_args().after_test
    rows = [row for row in all_rows() if not (row.whole and after_test)]
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = [run(row, number) for number, row in enumerate(rows)]
    lines = [HEAD, *map(line, results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for cells in lines:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
    for result in results:
        where = f"{result.server}, Python {result.row.python}"
        if result.missing:
            print(f"not here: {where}: {result.missing}")
        elif not result.good:
            print(f"FAILED: {where}. {result.problem}")
    print("Chapters that kill their server start one of their own, also beside a URL.")
    return 0 if all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
