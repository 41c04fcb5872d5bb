"""Writes the generated parts of the instructor's guide: python -m tools.guide"""

from pathlib import Path

from tools.guide.chapters import agendas, chapters, minutes_table, stages
from tools.guide.questions import questions
from tools.marked import with_part

GUIDE = Path(__file__).parent.parent.parent / "docs" / "instructor.md"


def updated(text: str) -> str:
    """The text of the guide with its generated parts."""
    for name, part in (
        ("minutes", minutes_table()), ("agendas", agendas()), ("chapter notes", chapters()),
        ("stages", stages()), ("questions", questions()),
    ):  # fmt: skip
        text = with_part(text, name, f"\n{part}\n")
    return text


if __name__ == "__main__":
    GUIDE.write_text(updated(GUIDE.read_text()))
