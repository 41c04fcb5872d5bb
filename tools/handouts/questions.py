"""The questions for the end of a workshop, as learners get them."""

from collections.abc import Iterator

from tools.guide.questions import QUESTIONS
from tools.handouts.editions import room

TITLE = "Questions for the end"


def question_sheet() -> Iterator[str]:
    """Markdown: each question with room to write, and no answer."""
    yield f"# {TITLE}"
    yield room(1, "Name")
    for number, question in enumerate(QUESTIONS, start=1):
        yield f"**{number}.** {question.asks}"
        yield room(3, "")
