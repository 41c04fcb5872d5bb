"""Chapter 30 beside a real Prometheus: the same alerts fire, for what the chapter breaks."""

import ast
import time
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pytest
from prometheus import Ask, needs_prometheus, scraping
from test_notebooks import executing

from redisflow_lab.lab.waiting import wait_until

CHAPTER = Path(__file__).parent.parent / "notebooks" / "30_observe_and_alert.ipynb"
FIVE = {
    "StreamLagGrows", "StreamGroupWithoutConsumers", "StreamEntriesStranded",
    "StreamEntriesTrimmedWhilePending", "StreamDeadLetters",
}  # fmt: skip
FAILING = "StreamHandlersFail"
"""The chapter does not compute this one: it needs two scrapes, and fires for minutes."""

pytestmark = [pytest.mark.once, needs_prometheus]


@pytest.mark.slow
@pytest.mark.usefixtures("process_server")
def test_a_real_prometheus_fires_what_the_chapter_says(tmp_path: Path) -> None:
    notebook = nbformat.read(CHAPTER, as_version=4)
    serving = next(n for n, cell in enumerate(notebook.cells) if "\nurl = " in cell.source)
    told = nbformat.v4.new_code_cell("print(url)")
    notebook.cells.insert(serving + 1, told)
    client = executing(notebook, CHAPTER)
    fired: set[str] = set()
    ask: Ask | None = None
    with ExitStack() as stack:
        stack.enter_context(client.setup_kernel())
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            client.execute_cell(cell, number)
            if cell is told:
                target = cell.outputs[0].text.split("//")[1].split("/")[0]
                ask = stack.enter_context(scraping(tmp_path, target))
            if cell.source.endswith("\nfiring()"):
                assert ask
                says = {*ast.literal_eval(cell.outputs[-1].data["text/plain"])}
                assert firing_after(time.time(), ask) - {FAILING} == says, cell.source
                fired |= {alert.split()[0] for alert in says}
        assert fired == FIVE
        assert ask
        assert FAILING in firing_after(time.time(), ask)


def firing_after(moment: float, ask: Ask) -> set[str]:
    """What fires, with the stream, by a scrape and an evaluation after this moment."""

    def evaluated() -> float:
        return max((float(row["value"]) for row in ask("rules_know_scrapes_until")), default=0)

    # When a second evaluation has begun, all rules of the first one are evaluated.
    for _ in range(2):
        after = moment
        wait_until(
            lambda after=after: evaluated() > after,
            "Prometheus has scraped and evaluated",
            timeout_s=60,
        )
        moment = evaluated()
    alerts = ask('ALERTS{alertstate="firing"}')
    return {f"{alert['alertname']} {alert.get('stream', '')}".strip() for alert in alerts}
