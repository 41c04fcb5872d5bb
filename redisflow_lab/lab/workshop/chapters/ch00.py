"""Predictions of chapter 00: the first order."""

from redisflow_lab.lab.workshop.chapter import Chapter

CHAPTER = Chapter(
    file="00_start_here.ipynb",
    title="Send your first order",
    goal="Say what a stream, a group, lag and pending are, and find your way in the course.",
    reading=14,
    predicting=1,
    extra=2,
    builds_on=(),
    mistakes=(
        "Reading or acknowledging an entry removes it from the stream.",
        "An order that was delivered is done.",
        "Closing the browser tab ends the lab and its server.",
    ),
    skippable="Nothing; it is short.",
    surprise="The order is acknowledged, and it is still in the stream.",
    trouble=(
        "If the first cell fails, run `make doctor` in a terminal: it says what the laptop "
        "lacks."
    ),
    predictions={
        "00-entries": (
            "In a queue, what one consumer has taken is gone. A stream is a log: each group is "
            "given every entry, so no group may take one away from the others."
        ),
        "00-lag-pending": (
            "Many people count a delivered order as done. It is pending until it is "
            "acknowledged, and lag counts only what was not delivered yet."
        ),
    },
)
