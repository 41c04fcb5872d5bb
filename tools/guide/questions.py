"""Questions for the end of a workshop, each with its answer and the chapters that teach it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question.

    asks:     in one or two sentences
    answer:   for the instructor
    chapters: numbers of the chapters that teach it
    """

    asks: str
    answer: str
    chapters: tuple[str, ...]


QUESTIONS = (
    Question(
        "An order was acknowledged. Is it still in the stream?",
        "Yes. XACK removes it from the pending entries list of one group; only XDEL, XTRIM and "
        "their like remove an entry.",
        ("00",),
    ),
    Question(
        "A handler raises, and the consumer goes on to read with `>`, in plain Redis. When is "
        "the order delivered again, if nobody does anything else?",
        "Never. `>` passes over it. Its owner has to ask with `0`, or another consumer has to "
        "claim it.",
        ("02",),
    ),
    Question(
        "A consumer is killed after it wrote the invoice and before XACK. Can you tell from "
        "the pending entries list that the order was billed?",
        "No. It looks like an order that was never begun. Only the invoices tell.",
        ("04",),
    ),
    Question(
        "Lag is 0. Name two ways in which orders can still be in trouble.",
        "Any two of: they are pending with a consumer that crashed or whose handler failed; "
        "they were acknowledged before they were billed, and then the consumer was killed; the "
        "group was created at `$` and never saw them. Also right: trimmed before they were "
        "read (01), or dead-lettered (12).",
        ("02", "04"),
    ),
    Question(
        "A process is killed, and is started again under a new random name, for good. Which "
        "consumer is given the orders that were pending under the old name?",
        "None, until one claims them. A replay asks for what is pending under one's own name.",
        ("05",),
    ),
    Question(
        "Why must the min-idle time be longer than a whole batch takes, and not only than one "
        "order?",
        "The idle time of every order of a batch begins with the read, and the last one waits "
        "for all before it. Otherwise another consumer claims orders from one that is well, "
        "and they are handled twice.",
        ("11",),
    ),
    Question(
        "A heartbeat with `XCLAIM ... 0 id JUSTID` comes too late. What does it do?",
        "It takes the order away from its new owner: XCLAIM claims from any consumer, and "
        "min-idle 0 always holds. Compare the owner first, in one step on the server.",
        ("11",),
    ),
    Question(
        "A message fails forever. Why does its *neighbour* reach the delivery limit, and how "
        "is that prevented?",
        "Redis counts deliveries, not what a handler does: what is delivered together is "
        "counted together. Read or claim what was delivered before with COUNT 1, so that it "
        "is alone in its batch.",
        ("12",),
    ),
    Question(
        "Where must the deduplication key be written, so that an effect happens once?",
        "In the same step as the effect, in the system in which the effect happens.",
        ("13",),
    ),
    Question(
        "A handler charges a card between `multi()` and `execute()`, and is killed before "
        "`execute()`. What happens to the charge, and what makes the redelivery harmless?",
        "The bank keeps it: a transaction of Redis holds only commands of Redis. Send the bank "
        "a key, such as the order's number, so that it knows the second charge; or put a "
        "request to it into an outbox, in the transaction.",
        ("14",),
    ),
)  # fmt: skip


def questions() -> str:
    """The questions, then the answers with their chapters, as Markdown."""
    return f"{asked()}\n\n### Answers\n\n" + "\n".join(
        f"{number}. ({', '.join(one.chapters)}) {one.answer}"
        for number, one in enumerate(QUESTIONS, start=1)
    )


def asked() -> str:
    """The questions alone, as a list."""
    return "\n".join(f"{number}. {one.asks}" for number, one in enumerate(QUESTIONS, start=1))
