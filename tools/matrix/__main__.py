"""The tests and all chapters, on every server, Python and range of versions there is here.

    python -m tools.matrix

Prints one table: server, Python, packages, tests, chapters, seconds. A row that cannot be
had here is named with what would get it, and counts neither way.
"""

import sys

from tools.matrix.environments import FOLDER, MissingError
from tools.matrix.rows import Row, all_rows
from tools.matrix.run import Result, run

HEAD = ("server", "Python", "packages", "tests", "chapters", "seconds")


def line(row: Row, result: Result | MissingError) -> tuple[str, ...]:
    if isinstance(result, MissingError):
        return row.wanted, row.python, row.packages, "not here", "not here", "-"
    return (
        result.server,
        result.python,
        result.packages,
        str(result.tests),
        str(result.chapters),
        f"{result.seconds:.0f}",
    )


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = [(row, run(row, number)) for number, row in enumerate(all_rows())]
    lines = [HEAD, *(line(row, result) for row, result in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for cells in lines:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
    good = True
    for row, result in results:
        if isinstance(result, MissingError):
            print(f"not here: {row.wanted}, Python {row.python}: {result}")
        elif not result.good:
            good = False
            print(f"FAILED: {result.server}, Python {result.python}. {result.problem}")
    print("The chapters that kill their server use one of the lab's own, also beside a URL.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
